"""What stands against an experiment, all of it at once, and what would be sent?"""

from __future__ import annotations

import pathlib
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

from lightning_adapter.errors import LightningAdapterError, SubmissionError, guess
from lightning_adapter.platform import experiment
from lightning_adapter.submission import checks, staging
from lightning_adapter.submission.checks import Typed
from lightning_adapter.submission.configuration import sent_text
from lightning_adapter.submission.context import Context, counted, human, read_context
from lightning_adapter.submission.entrypoint import Entrypoint, read_entrypoint
from lightning_adapter.submission.hook import HOOK, OWN_HOOK, Preparation, has_sources
from lightning_adapter.submission.lightnings import extras_of, imports_of, mixture
from lightning_adapter.submission.requirements import FILE, Requirements, read_requirements
from lightning_adapter.submission.target_place import elsewhere
from lightning_adapter.submission.wheel import Package

T = TypeVar("T")

_NAMED = 3


class Report(Protocol):
    """What importing a trial class has told; see `TrialReport`."""

    @property
    def error(self) -> str | None:
        """Why it is no trial."""

    @property
    def contradicts(self) -> str | None:
        """What of the experiment's hyperparameters it cannot be made of."""

    @property
    def rejected(self) -> list[str]:
        """What classes beside it override that is rejected."""

    @property
    def lightning(self) -> str:
        """The Lightning that the code imports."""

    @property
    def files(self) -> list[str]:
        """Files of the project's own modules."""

    @property
    def extras(self) -> list[str]:
        """Extras of this package that reading a configuration takes."""


#: Import a trial class from a directory, under variables, to be made of hyperparameters; None where they are not known.
Look: TypeAlias = Callable[[str, pathlib.Path, Mapping[str, str], Mapping[str, Any] | None, Sequence[str]], Report]
#: Read the words after `fit`; a ConfigurationError says what is wrong with them.
Parse: TypeAlias = Callable[[Sequence[str]], Typed]


@dataclass(frozen=True)
class Submission:
    """What is sent.

    Attributes:
        text: the experiment YAML.
        context: the project.
        made: what is generated beside it: path -> content.
        summary: what goes along, as pairs of a word and a line.
        advice: what somebody should know, and what stops nobody.
    """

    text: str
    context: Context
    made: Mapping[str, bytes]
    summary: tuple[tuple[str, str], ...]
    advice: tuple[str, ...]


class Preparing:
    """One look at everything that belongs to an experiment; faults are kept until all of it was looked at.

    Args:
        path: the experiment YAML.
        directory: the context.
        package: this one, which goes along.
    """

    def __init__(self, path: pathlib.Path, directory: pathlib.Path, package: Package) -> None:
        self._path = path
        self._directory = directory
        self._package = package
        self._faults: list[str] = []
        self._advice: list[str] = []

    def check(self, question: Callable[[], T]) -> T | None:
        """Ask one more question, and return the answer; an error of this package is a fault like others, and no answer."""
        try:
            return question()
        except LightningAdapterError as error:
            self._faults.append(str(error))
            return None

    def submission(self, name: str | None, place: tuple[str, str] | None, parse: Parse, look: Look) -> Submission:
        """Look at everything.

        Args:
            name: another name for the experiment.
            place: another workspace and project.
            parse: reads what follows `fit` in the entrypoint.
            look: imports the trial.

        Raises:
            SubmissionError: something stands against it; all of it is named.
        """
        config = self._config()
        entrypoint = self._entrypoint(config)
        context = self.check(lambda: read_context(self._directory))
        report = self._trial(config, entrypoint, parse, look, context)
        if context is None:  # which is a fault, and leaves nothing more to look at
            raise SubmissionError(_refusal(self._path, self._faults))
        requirements = read_requirements(context.root)
        self._faults += requirements.faults
        preparation = self._preparation(context, requirements, report)
        made = self.check(lambda: preparation.files(context.root)) or {}
        self._note(context.fault(counted(map(len, made.values()))))
        self._faults += staging.faults_of(context, made)
        if self._faults:
            raise SubmissionError(_refusal(self._path, self._faults))
        self._advise(context, requirements)
        return Submission(
            text=sent_text(self._path.read_text(encoding="utf-8"), name, place),
            context=context,
            made=made,
            summary=tuple(self._summary(entrypoint, context, preparation, requirements, made)),
            advice=tuple(self._advice),
        )

    def _note(self, fault: str | None) -> None:
        if fault is not None:
            self._faults.append(fault)

    def _config(self) -> dict[str, Any]:
        """The YAML's content; of one with faults the entrypoint alone, which is looked at all the same."""
        if self._path.exists() and not self._path.is_file():
            self._note(f"{self._path} is read more than once, which only a file can be; give one")
            return {}
        try:
            config = experiment.checked(self._path)[1]
            return {**config, "hyperparameters": config.get("hyperparameters") or {}}
        except LightningAdapterError as error:
            self._note(str(error))
        try:
            entrypoint = experiment.load(self._path).get("entrypoint")
        except LightningAdapterError:
            return {}  # told above
        return {"entrypoint": entrypoint} if isinstance(entrypoint, str) else {}

    def _entrypoint(self, config: Mapping[str, Any]) -> Entrypoint | None:
        value = config.get("entrypoint")
        if not value:
            if config:
                self._note(
                    "the experiment has no entrypoint. To fix, write entrypoint: python3 -m lightning_adapter fit "
                    "MODULE:TrialClass --max-epochs 5"
                )
            return None
        return self.check(lambda: read_entrypoint(value))

    def _trial(
        self,
        config: Mapping[str, Any],
        entrypoint: Entrypoint | None,
        parse: Parse,
        look: Look,
        context: Context | None,
    ) -> Report | None:
        """Check the entrypoint against the YAML, and import the trial that it names."""
        if entrypoint is None:
            return None
        typed, hyperparameters = Typed(), config.get("hyperparameters")  # none of a YAML that has faults
        arguments = entrypoint.arguments if entrypoint.kind == "fit" else ()
        if entrypoint.kind == "fit" and entrypoint.is_known:
            try:
                typed = parse(entrypoint.arguments)
            except LightningAdapterError as error:
                self._note(f"the entrypoint is {entrypoint.text!r}: {error}")
                hyperparameters, arguments = None, ()
        self._faults += checks.faults_of(config, entrypoint, typed)
        if context is None:
            return None
        if entrypoint.target is None or not entrypoint.is_known:
            self._note(_missing_script(entrypoint, context))
            if entrypoint.kind != "fit":
                self._advice.append(f"the entrypoint is {entrypoint.text!r}, whose trial cannot be looked at from here")
            return None
        variables = experiment.environment_variables(config, lambda: "cpu")
        if has_sources(context.files):
            path = [str(context.root / "src"), variables.get("PYTHONPATH", "")]
            variables["PYTHONPATH"] = ":".join(part for part in path if part)
        if hyperparameters is not None:
            hyperparameters = checks.with_typed(hyperparameters, typed.hparams or {})
        report = look(entrypoint.target, context.root, variables, hyperparameters, arguments)
        if report.error is not None:
            self._note(
                f"the trial {entrypoint.target}, as imported in {context.root}: {report.error}{self._elsewhere(entrypoint)}"
            )
        if report.contradicts is not None:
            self._note(f"the trial {entrypoint.target} cannot be made of the hyperparameters: {report.contradicts}")
        faults, advice = _not_sent(report, context)
        self._faults += faults
        self._advice += advice
        self._advice += [f"rejected if the trial uses it: {message}" for message in report.rejected]
        return report

    def _elsewhere(self, entrypoint: Entrypoint) -> str:
        """Where the trial's file lies if not in the context."""
        folder = self._path.parent
        found = elsewhere(str(entrypoint.target), self._directory, folder)
        if found is None:
            return ""
        typed = shlex.join(["lightning-adapter", "submit", str(self._path), str(folder)])
        return f"\n{found} is there. To fix, give its directory as the context: {typed}"

    def _preparation(self, context: Context, requirements: Requirements, report: Report | None) -> Preparation:
        packed = None if self._package.is_from_index() else self.check(self._package.build_wheel)
        imports = imports_of(context.root / name for name in context.files if name.endswith(".py"))
        extras = extras_of(imports, report.lightning if report is not None else "")
        extras += tuple(report.extras) if report is not None else ()
        used = {pathlib.Path(file).resolve() for file in report.files} if report is not None else set()
        mixed = mixture([each for each in imports if each.path.resolve() in used], context.root)
        self._advice += [mixed] if mixed is not None else []
        package, content = packed or (f"lightning-adapter=={self._package.release}", None)
        file = None if requirements.lines else requirements.source
        return Preparation(package, content, extras, file, requirements.lines, has_sources(context.files))

    def _advise(self, context: Context, requirements: Requirements) -> None:
        self._advice += [*context.notes(), *requirements.notes]
        if requirements.source is None and not requirements.notes:
            self._advice.append(
                f"no {FILE} in the context: beside what its image holds, the container gets this package and Lightning alone. "
                f"Other packages that the trial imports belong into {FILE}"
            )
        large = context.advice()
        if large is not None:
            self._advice.append(large)
        wheels = [name for name in context.files if name.startswith("lightning_adapter-") and name.endswith(".whl")]
        if wheels:
            self._advice.append(
                f"the context holds {', '.join(wheels)}; the package goes along by itself, so delete the file, lest a hook of "
                "yours installs another version over it"
            )

    def _summary(
        self,
        entrypoint: Entrypoint | None,
        context: Context,
        preparation: Preparation,
        requirements: Requirements,
        made: Mapping[str, bytes],
    ) -> Iterator[tuple[str, str]]:
        if entrypoint is not None and entrypoint.target is not None:
            yield "trial", entrypoint.target
        sent = staging.own_files(context, made)
        left_out = f"; left out: {', '.join(context.ignored)}" if context.ignored else ""
        yield "context", f"{context.root}: {len(sent)} files, {human(counted(sent.values()))}{left_out}"
        how = "from its index" if preparation.wheel is None else f"a wheel of {human(len(preparation.wheel))}"
        lightnings = " and ".join(preparation.extras)
        extra = f", with {lightnings} where the image lacks it" if lightnings else ""
        yield "package", f"lightning-adapter {self._package.release}, {how}{extra}"
        also = [f"what {requirements.source} asks for"] if requirements.source is not None else []
        also += ["src/ on the path"] if preparation.has_sources else []
        also += [f"your {HOOK}"] if OWN_HOOK in made else []
        if also:
            yield "project", ", ".join(also)


def _refusal(path: pathlib.Path, faults: Sequence[str]) -> str:
    # a fault may be a message of several lines
    lines = [fault.replace("\n", "\n    ") for fault in faults]
    if len(lines) == 1:
        return f"{path} is not submitted: {lines[0]}"
    return f"{path} is not submitted, for {len(lines)} reasons:" + "".join(f"\n  - {line}" for line in lines)


def _missing_script(entrypoint: Entrypoint, context: Context) -> str | None:
    script = entrypoint.script
    if script is None or "$" in script or script.removeprefix("./") in context.files:
        return None
    return f"the entrypoint starts {script}, which is not in the context {context.root}{guess(script, context.files)}"


def _not_sent(report: Report, context: Context) -> tuple[list[str], list[str]]:
    """Modules that the trial imports here and may not find there: faults, and what the image might have."""
    faults: list[str] = []
    outside: dict[pathlib.Path, None] = {}
    for index, place in enumerate(report.files):
        path = pathlib.Path(place).resolve()
        if path.is_relative_to(context.root):
            if path.relative_to(context.root).as_posix() not in context.files:
                faults.append(f"the trial imports {place}, which .detignore leaves out of the context")
        elif index == 0:
            faults.append(
                f"the trial is in {place}, outside of the context {context.root}. To fix, give a CONTEXT that holds it"
            )
        elif path.parent.parent not in outside:
            outside[path.parent] = None
    if not outside:
        return faults, []
    named = ", ".join(map(str, list(outside)[:_NAMED])) + (", ..." if len(outside) > _NAMED else "")
    return faults, [
        f"the trial imports from {named}, outside of the context; the image, or a bind mount, has to hold that"
    ]
