"""Which loaders does Lightning's Trainer get: those of its own stage, as training had them, or those of another split?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

from lightning_adapter.data.collections import Collection, map_loaders
from lightning_adapter.data.random_state import RandomState
from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.loop.hooks import is_overridden
from lightning_adapter.monkey_patch import Replacement, replaced
from lightning_adapter.platform.drawn_in_setup import drawing_as_training
from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.trainer.data_connector import without_determined
from lightning_adapter.versions import hosts, lightning_private
from lightning_adapter.versions.types import LightningDataModule, LightningModule

#: What is done with a model; each is a method of Lightning's Trainer.
Stage: TypeAlias = Literal["validate", "test", "predict"]
Split: TypeAlias = Literal["train", "val", "test", "predict"]
Source: TypeAlias = Callable[[], Collection]

#: The loaders that Lightning's Trainer asks for.
DEFAULT_SPLITS: dict[Stage, Split] = {"validate": "val", "test": "test", "predict": "predict"}
#: As Lightning calls the stage of `setup` in which the loaders of a split are made.
SETUP: dict[Split, str] = {"train": "fit", "val": "fit", "test": "test", "predict": "predict"}


class Loaders(Replacement):
    """In the place of a hook for loaders; what it wraps says that the hook is overridden, as Lightning looks at it."""

    @property
    def __wrapped__(self) -> Callable[..., Any]:  # as of what `functools.wraps` makes
        return self.func


def check_split(split: object) -> Split | None:
    """Return what chooses loaders.

    Raises:
        ConfigurationError: there are no such loaders.
    """
    if split is None or split in SETUP:
        return split
    raise ConfigurationError(f"split={shown(split)} has to be one of {', '.join(SETUP)}.")


def owner_of(trial: LightningTrial) -> LightningModule | LightningDataModule:
    """Who makes the trial's loaders."""
    return trial.lightning_module if trial.datamodule is None else trial.datamodule


def source_of(trial: LightningTrial, split: Split) -> Source | None:
    """What makes the loaders of a split, as `loop.sources` has it for training; None if nobody does."""
    own = dict(zip(("train", "val"), trial.own_loaders, strict=True)).get(split)
    if own is not None:
        return own
    owner = owner_of(trial)
    if trial.datamodule is not None and split in ("train", "val") and hasattr(owner, f"{split}_det_dataloader"):
        made: Source = getattr(owner, f"{split}_det_dataloader")
        return made
    host, name = hosts.host_of(trial.lightning_module), f"{split}_dataloader"
    base = host.pl.LightningModule if trial.datamodule is None else host.pl.LightningDataModule
    if not is_overridden(name, owner, base):
        return None
    found: Source = getattr(owner, name)
    return found


def is_only_of_training(trial: LightningTrial, split: Split) -> bool:
    """Whether loaders come from where Lightning's Trainer would not look for them, but training does."""
    return source_of(trial, split) != getattr(owner_of(trial), f"{split}_dataloader", None)


def made_by(source: Source) -> Collection:
    """Loaders as Lightning's Trainer takes them: none of Determined's among them."""
    return map_loaders(source(), lambda loader: lightning_private.name_arguments(without_determined(loader)))


@contextlib.contextmanager
def loaders_of(trial: LightningTrial, stage: Stage, split: Split, began: RandomState | None = None) -> Iterator[None]:
    """Within the block, Lightning's Trainer finds the loaders of a split where it looks for those of its stage.

    Who makes them is set up as for training as well, where training alone has asked for them.

    Args:
        trial: with a source of this split.
        stage: of the Trainer.
        split: whose loaders it gets.
        began: the random state in which training has set them up; None where nobody knows it.
    """
    source, owner = source_of(trial, split), owner_of(trial)
    if source is None:
        yield
        return
    name = f"{DEFAULT_SPLITS[stage]}_dataloader"

    def loaders() -> Collection:
        return made_by(source)

    methods: dict[str, Any] = {name: Loaders(loaders, owner, name)}
    setup = drawing_as_training(owner.setup, type(owner).__name__, began)
    if split != DEFAULT_SPLITS[stage] or is_only_of_training(trial, split):
        setup = _setup_of_both(setup, SETUP[split])
    methods["setup"] = Replacement(setup, owner, "setup")
    with replaced(owner, **methods):
        yield


def _setup_of_both(setup: Callable[..., Any], first: str) -> Callable[..., None]:
    def both(stage: str) -> None:
        setup(stage=first)
        if stage != first:
            setup(stage=stage)

    return both
