"""What is to be known of a trial class before it is submitted? Found out in a process of its own.

The class is imported as the container will import it: from the context's directory, with `src/` on the path, under the
variables that the YAML sets. Nothing of it stays in this process, which goes on to follow the experiment for hours.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import lightning_adapter
from lightning_adapter.errors import LightningAdapterError
from lightning_adapter.evaluation.package.own_modules import own_modules
from lightning_adapter.platform.target import names_a_configuration

_PROGRAM = "import sys; sys.path.append(sys.argv[4]); from lightning_adapter.cli.trial_report import main; main(*sys.argv[1:4])"


@dataclass(frozen=True)
class TrialReport:
    """What importing a trial class has told.

    Attributes:
        error: why it cannot be imported, or is no trial; None where it is one.
        contradicts: what of the experiment's hyperparameters the trial cannot be made of; None where it can.
        rejected: what the project's modules, datamodules and callbacks override that is rejected.
        lightning: which Lightning the project's classes derive from: "pytorch-lightning", "lightning", or "".
        files: those of imported modules that are neither Python's nor an installed package's, the trial's own first.
        extras: of this package, which the container needs beside a Lightning.
    """

    error: str | None = None
    contradicts: str | None = None
    rejected: list[str] = field(default_factory=list)
    lightning: str = ""
    files: list[str] = field(default_factory=list)
    extras: list[str] = field(default_factory=list)


def look(
    target: str,
    directory: pathlib.Path,
    variables: Mapping[str, str],
    hyperparameters: Mapping[str, Any] | None = None,
    arguments: Sequence[str] = (),
) -> TrialReport:
    """Import a trial class in a process of its own, and say what it is.

    Args:
        target: `FILE_OR_MODULE:TrialClass`.
        directory: the context.
        variables: set in the process, beside those of this one.
        hyperparameters: of the experiment, ranges among them; None where they are not known.
        arguments: what follows `fit` in the entrypoint, which may name a configuration.
    """
    package = pathlib.Path(lightning_adapter.__file__).parent.parent
    # what the project puts on the path comes before what this process has there
    paths = filter(None, (variables.get("PYTHONPATH"), os.environ.get("PYTHONPATH")))
    with tempfile.TemporaryDirectory() as folder:
        answer, asked = pathlib.Path(folder) / "report.json", pathlib.Path(folder) / "asked.json"
        asked.write_text(json.dumps([hyperparameters, list(arguments)]), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM, target, str(answer), str(asked), str(package)],
            cwd=directory, env={**os.environ, **variables, "PYTHONPATH": os.pathsep.join(paths)}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False,
        )  # fmt: skip
        if answer.is_file():
            return TrialReport(**json.loads(answer.read_text(encoding="utf-8")))
    last = "\n".join(done.stdout.strip().splitlines()[-15:])
    return TrialReport(error=f"{target}: the process that imported it ended with status {done.returncode}\n{last}")


def main(target: str, answer: str, asked: str) -> None:
    """Import a class, and write what there is to say of it.

    Args:
        target: `FILE_OR_MODULE:TrialClass`, from the current directory.
        answer: the file to write.
        asked: the file that holds the experiment's hyperparameters, and the words after `fit`.
    """
    from lightning_adapter.platform.target import load_target

    try:
        trial_class = load_target(target, here="the context")
        # comes with torch, which a class that cannot be imported needs not wait for
        from lightning_adapter.platform.construct import check_trial_class

        check_trial_class(trial_class)
        contradicts, extras = _contradicts(trial_class, *json.loads(pathlib.Path(asked).read_text(encoding="utf-8")))
        # by now the classes that a configuration names are imported too
        report = replace(_report(trial_class), contradicts=contradicts, extras=extras)
    except LightningAdapterError as error:
        report = TrialReport(error=str(error))
    pathlib.Path(answer).write_text(json.dumps(asdict(report)), encoding="utf-8")


def _contradicts(
    trial_class: Any, hyperparameters: Mapping[str, Any] | None, arguments: Sequence[str]
) -> tuple[str | None, list[str]]:
    """What stands against the hyperparameters, and the extras that reading them takes."""
    from lightning_adapter.cli import fit
    from lightning_adapter.configs.dialect import dialect_of
    from lightning_adapter.configs.merging import merged
    from lightning_adapter.configured_trial import ConfiguredTrial

    extras: list[str] = []
    try:
        values = hyperparameters
        if names_a_configuration(arguments):
            values = merged(fit.configuration_typed(trial_class, arguments), hyperparameters or {})
        if values is not None:
            extras = [dialect_of(values)] if issubclass(trial_class, ConfiguredTrial) else []
            trial_class.check_experiment(values)
    except LightningAdapterError as error:
        return str(error), extras
    return None, extras


def _report(trial_class: type) -> TrialReport:
    from lightning_adapter import monkey_patch, support
    from lightning_adapter.versions import hosts

    modules = [
        module
        for module in own_modules(sys.modules[trial_class.__module__])
        if module.__name__.partition(".")[0]
        != lightning_adapter.__name__  # whose own trials name classes of the project
    ]
    classes = [
        value
        for module in modules
        for value in list(vars(module).values())
        if isinstance(value, type) and value.__module__ == module.__name__
    ]
    found = {host.package for host in map(hosts.host_of_class, classes) if host is not None}
    rejected = [
        finding.message
        for cls in classes
        if _has_hooks(cls)
        for finding in monkey_patch.inspect_any(cls)
        if finding.support is support.Support.REJECTED
    ]
    # a trial may take its module from an installed package
    packages = found or {package for package in hosts.PACKAGES if package in sys.modules}
    lightning = "pytorch-lightning" if "pytorch_lightning" in packages else "lightning" if packages else ""
    return TrialReport(rejected=rejected, lightning=lightning, files=[str(module.__file__) for module in modules])


def _has_hooks(cls: type) -> bool:
    """Whether a class is a module, a datamodule or a callback, and not a LightningCLI, for one."""
    from lightning_adapter.versions import hosts

    host = hosts.host_of_class(cls)
    if host is None:
        return False
    return issubclass(cls, (host.pl.LightningModule, host.pl.LightningDataModule, host.pl.Callback))
