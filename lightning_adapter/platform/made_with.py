"""With which hyperparameters and which seed was the run of a checkpoint made, and what of it does a run take?

A run that goes on from the checkpoint of a search's trial, or takes its weights, needs the values that were drawn for it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypedDict

from lightning_adapter.checkpoints import form
from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.data.random_state import RandomStateDict
from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.platform import experiment
from lightning_adapter.platform.experiment.faults import dotted
from lightning_adapter.platform.experiment.ranges import is_range

logger = logging.getLogger("lightning_adapter")

Name = tuple[str, ...]


class MadeWith(TypedDict, total=False):
    """What a checkpoint holds of the making of its run.

    Attributes:
        hyperparameters: of the trial, nested.
        seed: what `seed_everything` was called with; None where it was not.
        reader: who alone reads the hyperparameters as they are meant: a LightningCLI that adds to them; absent where
            everybody does.
        data_random: the random state in which the data was set up, which a split of the data may depend on.
    """

    hyperparameters: dict[str, Any]
    seed: int | None
    reader: str
    data_random: RandomStateDict


def made_with(saved: Mapping[str, Any] | None) -> MadeWith:
    """Return what a checkpoint says; nothing where it is of Lightning's own Trainer, or of an older version.

    Raises:
        CheckpointError: it does not say it in the form that it is written in.
    """
    state = (saved or {}).get(OURS)
    if not isinstance(state, Mapping):
        return {}
    form.check(state, MadeWith, OURS)
    found: MadeWith = {}
    if "hyperparameters" in state:
        found["hyperparameters"] = state["hyperparameters"]
    if "seed" in state:
        found["seed"] = state["seed"]
    if "reader" in state:
        found["reader"] = state["reader"]
    if "data_random" in state:
        found["data_random"] = state["data_random"]
    return found


def of_run(values: dict[str, Any], seed: int | None, reader: str | None) -> MadeWith:
    """What the checkpoints of a run say of its making."""
    made = MadeWith(hyperparameters=values, seed=seed)
    if reader is not None:
        made["reader"] = reader
    return made


def check_reader(made: MadeWith, reader: str | None) -> None:
    """Refuse to read hyperparameters otherwise than the run of a checkpoint did.

    Raises:
        ConfigurationError: says what to give.
    """
    theirs = made.get("reader")
    if theirs is not None and theirs != reader:
        raise ConfigurationError(
            f"the configuration of the checkpoint was read by {theirs}, which adds arguments or links to it, and Lightning's own "
            "LightningCLI would make something else of it. Give what reads it: fit(ConfiguredTrial, "
            f"hparams={theirs}(..., run=False)), or a trial: `class Trial(ConfiguredTrial): cli_class = {theirs}`, with the "
            "cli_arguments that it needs."
        )


class FromCheckpoint:
    """What a local run takes of the hyperparameters of the checkpoint that it begins with.

    A value that was typed wins, and so does one that the configuration names; a range there, and what nobody has named,
    is filled from the checkpoint.

    Args:
        kept: the checkpoint's hyperparameters.
        spec: `hyperparameters:` of the configuration.
        given: what was typed, as `experiment.nest` returns it.

    Attributes:
        overrides: what is taken, and what was typed, nested.
        added: names of what is taken and not in the configuration at all.
    """

    def __init__(self, kept: Mapping[str, Any], spec: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        self.added: list[Name] = []
        self._taken: list[str] = []
        self._differing: list[str] = []
        self.overrides = _joined(self._of_group(kept, spec, given, ()), given)

    def _of_group(
        self, kept: Mapping[str, Any], spec: Mapping[str, Any], given: Mapping[str, Any], path: Name
    ) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in kept.items():
            name, said, typed = (*path, key), spec.get(key, {}), given.get(key, {})
            if isinstance(value, dict) and _is_group(said) and isinstance(typed, dict):
                inner = self._of_group(value, said, typed, name)
                if inner:
                    values[key] = inner
            elif key in given:
                continue
            elif key not in spec or is_range(said):
                values[key] = value
                self._taken.append(f"{dotted(name)}={shown(value)}")
                if key not in spec:
                    self.added.append(name)
            elif _constant(said) != value:
                self._differing.append(f"{dotted(name)} {shown(_constant(said))}, there {shown(value)}")
        return values

    def tell(self, seed: int | None) -> None:
        """Say what is taken, and where the configuration says otherwise than the checkpoint.

        Args:
            seed: the checkpoint's, where that is taken too.
        """
        taken = [*self._taken, *([] if seed is None else [f"seed {seed}"])]
        if taken:
            logger.warning("not given, and so taken from the checkpoint: %s", ", ".join(taken))
        if self._differing:
            logger.warning(
                "the configuration has other values than the checkpoint, and wins: %s", "; ".join(self._differing)
            )


def _is_group(spec: object) -> bool:
    """Whether others stand below a hyperparameter in the configuration, or nothing says what it is."""
    return isinstance(spec, dict) and "type" not in spec


def _joined(taken: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Two nested groups as one; a name that both have is a group in both."""
    both = {key: _joined(taken[key], given[key]) for key in taken.keys() & given.keys()}
    return {**taken, **given, **both}


def _constant(spec: object) -> object:
    return spec["val"] if isinstance(spec, dict) and spec.get("type") == "const" else spec


def from_checkpoint(
    kept: Mapping[str, Any], config: Mapping[str, Any], overrides: experiment.Hyperparameters | None
) -> FromCheckpoint:
    """Look which hyperparameters a local run takes from the checkpoint that it begins with.

    Args:
        kept: the checkpoint's.
        config: what `experiment.read` returned.
        overrides: what was typed; see `experiment.nest`.

    Raises:
        ConfigurationError: two names that were typed contradict each other.
    """
    spec = config.get("hyperparameters") or {}
    return FromCheckpoint(kept, spec, experiment.nest(overrides or {}, known=spec))
