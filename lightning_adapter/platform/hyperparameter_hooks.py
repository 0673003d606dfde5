"""What does `fit` ask a trial's class about its hyperparameters, before anything is made of them?"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Mapping
from typing import Any, TypeVar

from lightning_adapter.platform.experiment import Hyperparameters, override
from lightning_adapter.runs.provenance import target_of

Hooks = TypeVar("Hooks", bound="HyperparameterHooks")


class HyperparameterHooks:
    """What a trial's class answers where hyperparameters are names and values, and nothing more is known of them."""

    @classmethod
    def reading_once(cls) -> contextlib.AbstractContextManager[None]:
        """Return a block in which hyperparameters are read, checked and asked, until a trial is made of them."""
        return contextlib.nullcontext()

    @classmethod
    def given_hyperparameters(cls, given: Hyperparameters | None) -> Hyperparameters | None:
        """Return what `fit(hparams=...)` was given as names and values; a trial may take more than a mapping of them.

        Raises:
            ConfigurationError: it cannot be used.
        """
        return given

    @classmethod
    def for_hyperparameters(cls: type[Hooks], given: object) -> type[Hooks]:
        """Return the class that reads what `fit(hparams=...)` was given."""
        return cls

    @classmethod
    def own_run_dir(cls, given: Hyperparameters | None) -> pathlib.Path | None:
        """Return where a local run writes that was told no directory; None for a new one below `runs/`."""
        return None

    @classmethod
    def recorded_as(cls) -> str | None:
        """Return how the record of a run says which class made it; see `provenance.target_of`."""
        return target_of(cls)

    @classmethod
    def is_whole(cls, given: Hyperparameters | None) -> bool:
        """Tell whether what `fit(hparams=...)` was given is all that there is, so that a checkpoint's adds nothing to it."""
        return False

    @classmethod
    def reader_name(cls) -> str | None:
        """Return who alone reads the hyperparameters as they are meant; None where everybody does."""
        return None

    @classmethod
    def merged_hyperparameters(cls, values: Mapping[str, Any], given: Hyperparameters | None) -> dict[str, Any]:
        """Return the values that a cluster has drawn together with those that `fit(hparams=...)` was given, which win.

        Raises:
            ConfigurationError: two of them contradict, or a value is not JSON.
        """
        return override(values, given)

    @classmethod
    def completed_hyperparameters(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values with the defaults beside them that the trial knows of, which count as given from then on.

        Raises:
            ConfigurationError: they cannot be completed.
        """
        return dict(values)

    @classmethod
    def check_hyperparameters(cls, values: Mapping[str, Any]) -> None:
        """Refuse values that no trial can be made of, before anything is made.

        Raises:
            ConfigurationError: all that is wrong with them.
        """

    @classmethod
    def check_experiment(cls, hyperparameters: Mapping[str, Any]) -> None:
        """Refuse what an experiment's `hyperparameters:` say, ranges among them, of which no trial can be made.

        Raises:
            ConfigurationError: all that is wrong with them.
        """

    @classmethod
    def seed_of(cls, values: Mapping[str, Any], otherwise: int | None) -> int | None:
        """Return the seed that hyperparameters name.

        Args:
            values: the hyperparameters.
            otherwise: the platform's, where they name none.
        """
        return otherwise

    @classmethod
    def resume_from(cls, values: Mapping[str, Any]) -> str | None:
        """Return the checkpoint that hyperparameters name to go on from; None where they name none."""
        return None

    @classmethod
    def metric_of(cls, values: Mapping[str, Any]) -> tuple[str, bool] | None:
        """Return the metric by which hyperparameters rank checkpoints, and whether smaller is better; None where by none."""
        return None

    @classmethod
    def run_name(cls, values: Mapping[str, Any]) -> str:
        """Return the name of the folder in which local runs of a kind are collected."""
        return cls.__name__

    @classmethod
    def differences(cls, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the hyperparameters that differ from their defaults, dotted; None where no defaults are known."""
        return None
