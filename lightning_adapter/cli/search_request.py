"""What was typed after `search`: which experiment is meant, which trial, and what counts where nothing is typed?"""

from __future__ import annotations

import argparse
import pathlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lightning_adapter.errors import ConfigurationError

if TYPE_CHECKING:
    from lightning_adapter.submission.typed_in_entrypoint import TypedInEntrypoint
    from lightning_adapter.tuning.request import SearchRequest

#: What a search that goes on has recorded.
_RECORDED = (
    *(
        "--config",
        "--cli",
        "--hydra",
        "--hparam",
        "--max-epochs",
        "--max-steps",
        "--validation-period",
        "--checkpoint-period",
    ),
    *("--seed", "--search-dir", "--name"),
)


@dataclass(frozen=True)
class Asked:
    """A search that was asked for.

    Attributes:
        request: of it.
        config: the experiment's content, with all that is searched in it; empty where a search goes on.
        notices: what somebody should know who has typed this.
    """

    request: SearchRequest
    config: Mapping[str, Any]
    notices: tuple[str, ...] = ()


def asked(arguments: argparse.Namespace) -> Asked:
    """Read what was typed, the experiment among it.

    Raises:
        LightningAdapterError: it cannot be used.
    """
    _check_target(arguments.target)
    if arguments.resume_from is not None:
        return _going_on(arguments)
    from lightning_adapter.platform import experiment
    from lightning_adapter.submission.typed_in_entrypoint import typed_in_entrypoint

    made = _made(arguments) if arguments.config is None else None
    config = experiment.read(arguments.config if made is None else _content(made))
    found = _Asking(arguments, config, made, typed_in_entrypoint(config)).asked()
    if not arguments.preview:
        _check(arguments)  # takes torch, for which a file that is not there needs not wait
    return found


def _check_target(target: str | None) -> None:
    """Refuse what somebody has typed without its option.

    Raises:
        ConfigurationError: says which.
    """
    if target is not None and ":" not in target:
        option = "--config" if target.endswith((".yaml", ".yml")) else None
        if option is None and (pathlib.Path(target) / "search.json").exists():
            option = "--resume-from"
        if option is not None:
            raise ConfigurationError(f"{target} is no trial. Type {option} {target}")


def _check(arguments: argparse.Namespace) -> None:
    """Refuse values that no trial of the search could be given, as `fit` does.

    Raises:
        ConfigurationError: all that is wrong.
    """
    from lightning_adapter.platform import given

    faults: list[str] = []
    given.limit("max_epochs", arguments.max_epochs, faults)
    given.limit("max_steps", arguments.max_steps, faults)
    given.seed(arguments.seed, faults)
    given.run_name(arguments.name, faults)
    given.path("search_dir", arguments.search_dir, faults)
    if faults:
        raise ConfigurationError("\n".join(faults))


def _going_on(arguments: argparse.Namespace) -> Asked:
    from lightning_adapter.tuning.request import SearchRequest

    given = vars(arguments)
    typed = [option for option in _RECORDED if given[option[2:].replace("-", "_")] not in (None, [])]
    if typed or arguments.preview:
        options = ", ".join([*typed, *(["--preview"] if arguments.preview else [])])
        raise ConfigurationError(
            f"--resume-from goes on with the search that {arguments.resume_from} has recorded, and cannot take {options}. Leave "
            "that out, or begin another search without --resume-from."
        )
    request = SearchRequest(
        target=arguments.target,
        trials=arguments.trials,
        jobs=arguments.jobs,
        timeout_s=arguments.timeout,
        resume_from=arguments.resume_from,
    )
    return Asked(request, {})


class _Asking:
    """One experiment, and what was typed beside it.

    Args:
        arguments: as parsed.
        config: the experiment's content.
        made: its text, where it was made of a configuration.
        entrypoint: what counts where nothing is typed.
    """

    def __init__(
        self, arguments: argparse.Namespace, config: dict[str, Any], made: str | None, entrypoint: TypedInEntrypoint
    ) -> None:
        self._arguments = arguments
        self._config = config
        self._made = made
        self._entrypoint = entrypoint

    def asked(self) -> Asked:
        from lightning_adapter.submission.checks import with_typed
        from lightning_adapter.submission.typed_in_entrypoint import options_of
        from lightning_adapter.tuning.request import SearchRequest

        target = self._target()
        hparams = with_typed(self._entrypoint.hparams, self._typed())
        typed_options = options_of(vars(self._arguments))
        whole = self._whole(target, hparams)
        spec = self._config.get("hyperparameters") or {}
        is_file = self._made is None and pathlib.Path(self._arguments.config).is_file()
        request = SearchRequest(
            target=target,
            # a file is given by its name, which messages then have; a pipe can be read only once
            config=self._arguments.config if is_file else self._config,
            text=self._made,
            hyperparameters=whole,
            hparams=hparams if whole is None else {},
            trials=self._arguments.trials,
            jobs=self._arguments.jobs,
            timeout_s=self._arguments.timeout,
            options={**self._entrypoint.options, **typed_options},
            seed=self._arguments.seed,
            search_dir=self._arguments.search_dir,
            name=self._arguments.name,
        )
        searched = {**self._config, "hyperparameters": with_typed(spec, hparams) if whole is None else whole}
        return Asked(request, searched, tuple(self._notices(target, typed_options)))

    def _typed(self) -> dict[str, Any]:
        from lightning_adapter.platform.typed_hparams import hyperparameters

        return hyperparameters(self._arguments) or {}

    def _target(self) -> str | None:
        """The trial: as typed, else ConfiguredTrial for a configuration that is typed, else that of the entrypoint.

        Raises:
            ConfigurationError: nobody has named one, and one is needed.
        """
        from lightning_adapter.platform.target import CONFIGURED

        # where the experiment was made of what is typed, its entrypoint names the trial, also for a LightningCLI
        typed: str | None = self._arguments.target if self._made is None else self._entrypoint.target
        if typed is None and self._reads_configuration:
            typed = CONFIGURED
        found = typed or self._entrypoint.target
        if found is None and not self._arguments.preview:
            raise ConfigurationError(
                f"nothing says which trial {self._arguments.config} is to be searched with: its entrypoint names none. To fix, "
                f"type it: lightning-adapter search model_def.py:MNISTTrial --config {self._arguments.config}"
            )
        if typed is None and found is not None:
            self._check_is_here(found)
        return found

    def _check_is_here(self, target: str) -> None:
        """An entrypoint's target is looked for in the current directory, as by `submit` without a context.

        Raises:
            ConfigurationError: it lies beside the experiment instead.
        """
        from lightning_adapter.submission.target_place import elsewhere

        config = self._arguments.config
        if config is None or self._arguments.preview:
            return
        path = pathlib.Path(config)
        found = elsewhere(target, pathlib.Path.cwd(), path.parent)
        if found is None:
            return
        there = shlex.join(["lightning-adapter", "search", "--config", path.name])
        here = shlex.join(["lightning-adapter", "search", f"{found}:{target.rpartition(':')[2]}", "--config", config])
        raise ConfigurationError(
            f"the entrypoint of {config} names {target}, which is not in the current directory; {found} is there. To fix, go "
            f"there: cd {shlex.quote(str(path.parent))} && {there}; or type the target: {here}"
        )

    @property
    def _reads_configuration(self) -> bool:
        return bool(self._arguments.cli) or self._arguments.hydra is not None

    def _whole(self, target: str | None, hparams: Mapping[str, Any]) -> dict[str, Any] | None:
        """The configuration that is typed here, or in the entrypoint, with the experiment's ranges in it; None where none is."""
        from_entrypoint = self._entrypoint.words and target == self._entrypoint.target and not self._reads_configuration
        if self._made is not None or not (self._reads_configuration or from_entrypoint):
            return None
        from lightning_adapter.cli import fit
        from lightning_adapter.configs.searched import searched
        from lightning_adapter.platform import experiment
        from lightning_adapter.platform.environment import device_kind, variables_set
        from lightning_adapter.platform.target import imported_to, load_target

        assert target is not None
        with variables_set(experiment.environment_variables(self._config, device_kind)), imported_to("search"):
            trial_class = load_target(target)
            tree = (
                fit.configuration_typed(trial_class, self._entrypoint.words)
                if from_entrypoint
                else fit.configured(target, trial_class, None, self._arguments)
            )
        is_grid = (self._config.get("searcher") or {}).get("name") == "grid"
        return searched(tree, self._config.get("hyperparameters") or {}, hparams, is_grid)

    def _notices(self, target: str | None, typed_options: Mapping[str, Any]) -> list[str]:
        entrypoint = self._entrypoint
        notices = [] if entrypoint.notice is None else [entrypoint.notice]
        if self._made is not None:
            return notices
        if entrypoint.target is not None and target is not None and not _same(target, entrypoint.target):
            notices.append(f"{target} is searched, as typed; the entrypoint trains {entrypoint.target}")
        for name, value in typed_options.items():
            said = entrypoint.options.get(name)
            if said not in (None, value):
                option = f"--{name.replace('_', '-')}"
                notices.append(
                    f"{option} is {value}, as typed; the entrypoint says {said}, with which a cluster would train"
                )
        return notices


def _same(one: str, other: str) -> bool:
    """Whether two targets may name the same class: `path/model_def.py:Trial` is `model_def:Trial` of another directory."""
    places = [pathlib.PurePath(target.rpartition(":")[0]) for target in (one, other)]
    modules = [
        str(place.with_suffix("")).replace("/", ".") if place.suffix == ".py" else str(place) for place in places
    ]
    longer, shorter = sorted((f".{module}" for module in modules), key=len, reverse=True)
    return one.rpartition(":")[2] == other.rpartition(":")[2] and longer.endswith(shorter)


def _made(arguments: argparse.Namespace) -> str:
    """The experiment that `init` would write for the same words.

    Raises:
        LightningAdapterError: none can be made.
    """
    if not arguments.cli and arguments.hydra is None:
        raise ConfigurationError(
            "search needs an experiment with a searcher and ranges: lightning-adapter search model_def.py:MNISTTrial --config "
            "adaptive.yaml; or a configuration with a sweep: --hydra configs model.lr=0.1,0.01; or a search that goes on: "
            "--resume-from DIR"
        )
    from lightning_adapter.configs.experiment_yaml import experiment_yaml
    from lightning_adapter.configs.source_kind import read_source
    from lightning_adapter.platform.target import CONFIGURED

    origin = read_source(arguments.target or CONFIGURED, arguments.cli or (), arguments.hydra)
    if origin.advice:  # a LightningCLI that no trial names
        raise ConfigurationError("\n".join(origin.advice).removeprefix("TO CHANGE: "))
    return experiment_yaml(origin, arguments.overrides, None, False).text


def _content(text: str) -> dict[str, Any]:
    from ruamel.yaml import YAML

    found: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return found
