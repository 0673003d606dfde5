"""What does a trial get that asks its context for hyperparameters, and what is it told where one has no value?

The same here and on a cluster, under `fit()` and under Determined's own Trainer.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping
from typing import Any

from determined import pytorch

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.experiment import global_batch_size_check
from lightning_adapter.platform.hyperparameter_reads import HyperparameterReads, ReadHyperparameters
from lightning_adapter.versions import determined_private


class HyperparameterAnswers:
    """Answers the questions of one trial.

    Args:
        values: all hyperparameters, nested.

    Attributes:
        reads: which of them the trial has read.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        self.reads = HyperparameterReads(values)
        self._values = ReadHyperparameters(values, self.reads)

    def one(self, name: str) -> Any:
        """The value of a hyperparameter.

        Raises:
            MissingHyperparameterError: it has none.
        """
        value = self._values[name]
        return value.copy() if isinstance(value, ReadHyperparameters) and _wants_plain_dicts() else value

    def all(self) -> dict[str, Any]:
        """All hyperparameters."""
        return self._values.copy() if _wants_plain_dicts() else self._values

    def need_batch_size(self) -> None:
        """The trial asks for the batch size.

        Raises:
            ConfigurationError: `global_batch_size` has no value.
        """
        if self._values.get("global_batch_size") is not None:
            return
        known = ", ".join(sorted(dict.keys(self._values))) or "none"
        raise ConfigurationError(
            f"The trial asks for the batch size, but the hyperparameter global_batch_size has no value (given: {known}). Add "
            "'global_batch_size: 64' to 'hyperparameters:' in the experiment YAML, or type "
            "--hparam global_batch_size=64."
        )


def answer_in_words(
    context: pytorch.PyTorchTrialContext, completed: Callable[[Mapping[str, Any]], dict[str, Any]]
) -> None:
    """Let a context of Determined's own answer as `fit()`'s does, whose errors say what to type.

    A context that was given no hyperparameters at all, by a script's `pytorch.init()`, says so itself.

    Args:
        context: of the trial.
        completed: puts the trial's defaults beside what was given.

    Raises:
        ConfigurationError: the trial refuses its hyperparameters.
    """
    if not determined_private.has_hyperparameters(context):
        return
    given = determined_private.hyperparameters(context)
    values = completed(given)
    answers = HyperparameterAnswers(values)

    def batch_size(usual: Any) -> int:
        answers.need_batch_size()
        if given.get("global_batch_size"):
            return int(usual())
        # a default of the trial's, of which Determined's context knows nothing
        slots = context.distributed.size
        global_batch_size_check(values, slots)
        size = int(values["global_batch_size"])
        return size // slots if usual.__name__ == "get_per_slot_batch_size" else size

    vars(context).update(
        get_hparam=answers.one,
        get_hparams=answers.all,
        get_per_slot_batch_size=functools.partial(batch_size, context.get_per_slot_batch_size),
        get_global_batch_size=functools.partial(batch_size, context.get_global_batch_size),
    )


def _wants_plain_dicts() -> bool:
    """Whether somebody may hand a group to OmegaConf, which takes no subclass of dict for a configuration."""
    return "omegaconf" in sys.modules
