"""What can be asked of a configuration, in whichever dialect it is written?"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from lightning_adapter.configs import hydra_tree, lightning_cli, objective
from lightning_adapter.configs.cli_whole import whole
from lightning_adapter.configs.dialect import dialect_of
from lightning_adapter.configs.hydra_state import resolving
from lightning_adapter.configs.hydra_values import value_at
from lightning_adapter.configs.lightning_cli import Cli
from lightning_adapter.configs.listed import lists
from lightning_adapter.configs.parts import Parts, Tree
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.experiment.faults import raise_all
from lightning_adapter.versions import hosts

#: A hyperparameter of Determined's own, which counts the samples of one step over all processes.
_BATCH_SIZE = "global_batch_size"


class Configuration(Protocol):
    """A configuration in one of the dialects."""

    @property
    def tree(self) -> Tree:
        """What is written in it."""

    def check(self, run_dir: pathlib.Path) -> None:
        """Refuse what nothing can be made of.

        Args:
            run_dir: where the run writes.

        Raises:
            ConfigurationError: all that is wrong, in the library's own words.
        """

    def build(self, run_dir: pathlib.Path, seed: int | None) -> Parts:
        """Make module, datamodule and trainer arguments, as the library does before training.

        Args:
            run_dir: where the run writes.
            seed: is set before, as `seed_everything(seed, workers=True)`; None sets none.

        Raises:
            ConfigurationError: something cannot be made.
        """

    def seed(self, otherwise: int | None) -> int | None:
        """Return the seed that is written in it, else another one."""

    @property
    def monitored(self) -> tuple[str, bool] | None:
        """What a ModelCheckpoint, else an EarlyStopping, monitors, and whether smaller is better."""

    def tell_unused(self) -> None:
        """Warn of what has no effect in the training of a trial."""

    @property
    def model_name(self) -> str | None:
        """Name of the module's class, where it is written."""


def read(values: Mapping[str, Any], cli: Cli) -> Configuration:
    """Return the configuration that hyperparameters hold.

    Args:
        values: hyperparameters with a value each.
        cli: the LightningCLI that reads those of its dialect.
    """
    tree = lists(values)
    if dialect_of(tree) == "hydra":
        return _OfHydra(tree)
    tree.pop(_BATCH_SIZE, None)
    return _OfCli(tree, cli)


@dataclass(frozen=True)
class _OfCli:
    tree: Tree
    cli: Cli = field(default_factory=Cli)

    def check(self, run_dir: pathlib.Path) -> None:
        lightning_cli.check(self.tree, self.cli)

    def build(self, run_dir: pathlib.Path, seed: int | None) -> Parts:
        return lightning_cli.build(self.tree, self.cli, False if seed is None else seed)

    def seed(self, otherwise: int | None) -> int | None:
        said = lightning_cli.seed_of(self.tree, self.cli)
        if said is not None and not isinstance(said, bool):
            return said
        if said is False or otherwise is not None:
            return otherwise
        # as `LightningCLI._set_seed` does for True, and for null: Lightning chooses
        chosen: int = hosts.importable_host().pl.seed_everything()
        return chosen

    @property
    def monitored(self) -> tuple[str, bool] | None:
        return objective.monitored(whole(self.tree, self.cli))

    def tell_unused(self) -> None:
        lightning_cli.tell_unused(self.cli)

    @property
    def model_name(self) -> str | None:
        model = self.tree.get("model")
        given = model.get("class_path") if isinstance(model, dict) else model
        if not isinstance(given, str):
            given = getattr(self.cli.arguments.get("model_class"), "__name__", None)
        return None if given is None else given.rpartition(".")[2]


@dataclass(frozen=True)
class _OfHydra:
    tree: Tree

    def check(self, run_dir: pathlib.Path) -> None:
        hydra_tree.check(self.tree, run_dir)

    def build(self, run_dir: pathlib.Path, seed: int | None) -> Parts:
        if seed is not None:
            # the module's package is not known before it is made, and all of them seed alike
            hosts.importable_host().pl.seed_everything(seed, workers=True)
        return hydra_tree.build(self.tree, run_dir)

    def seed(self, otherwise: int | None) -> int | None:
        said = hydra_tree.seed_of(self.tree)
        return otherwise if said is None else said

    @property
    def monitored(self) -> tuple[str, bool] | None:
        return objective.monitored(self.tree)

    def tell_unused(self) -> None:
        """Nothing: a script's code is not known."""

    @property
    def model_name(self) -> str | None:
        model = self.tree.get("model")
        target = model.get("_target_") if isinstance(model, dict) else None
        return target.rpartition(".")[2] if isinstance(target, str) and "${" not in target else None


def checkpoint_of(tree: Mapping[str, Any]) -> str | None:
    """Return the checkpoint that a configuration names to go on from, as `Trainer.fit(ckpt_path=...)` takes it.

    Raises:
        ConfigurationError: it is one that Lightning would look for, or refers to something that is not there.
    """
    path = tree.get("ckpt_path")
    if isinstance(path, str) and "${" in path:
        with resolving(lists(tree), pathlib.Path.cwd()) as cfg:
            path, fault = value_at(cfg, "ckpt_path", "ckpt_path")
        raise_all("configuration", [fault] if fault else [])
    if path is None or (isinstance(path, str) and ("://" in path or pathlib.Path(path).exists())):
        return path
    raise ConfigurationError(
        f"ckpt_path is {path!r}, which is no file here. Give the path of a checkpoint, or leave it out and go on with "
        "--resume-from (fit(resume_from=...)), which takes a run's directory too."
    )
