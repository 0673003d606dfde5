"""How does a trial run under Determined's own `pytorch.Trainer`, or behind an entrypoint `model_def:TrialClass`?"""

from __future__ import annotations

import contextlib
import functools
import os
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from determined import pytorch

from lightning_adapter.checkpoints.content import callback_states
from lightning_adapter.loop.components import Components
from lightning_adapter.platform import beginning
from lightning_adapter.platform.course import tell_end
from lightning_adapter.platform.environment import managed_trial
from lightning_adapter.platform.kept_files import FilesBeside, KeptFiles
from lightning_adapter.platform.platform import Platform
from lightning_adapter.platform.starting_point import StartingPoint
from lightning_adapter.platform.user_code import TrimmedCode, UserCode
from lightning_adapter.runs.console import ALWAYS
from lightning_adapter.runs.run_log import shown_on_console
from lightning_adapter.versions import determined_private

#: What each step returns where there are several slots: the name under which Determined reports the count of batches.
_BATCHES = "batches"


class BatchCount(pytorch.MetricReducer):
    """The number of batches that Determined has trained, in place of the mean of what the steps of several slots returned.

    `_combine_and_average_training_metrics` takes no steps without a metric (an IndexError), and training metrics are
    reported when they are logged. So each step returns what Determined itself adds to a report, which stays a count.
    """

    def __init__(self) -> None:
        self._batches = 0

    def trained(self, returned: Any, batches: int) -> Any:
        """A step is over.

        Args:
            returned: what it returns to Determined.
            batches: the number of them, with this one.

        Returns:
            The same, with a metric that all steps have; what is no mapping is Determined's to judge.
        """
        self._batches = batches
        return {_BATCHES: batches, **returned} if isinstance(returned, Mapping) else returned

    def reset(self) -> None:
        """The count goes on over workloads."""

    def per_slot_reduce(self) -> int:
        """The same on all slots."""
        return self._batches

    def cross_slot_reduce(self, per_slot_metrics: Sequence[int]) -> dict[str, int]:
        """As Determined's own count, and in its place."""
        return {_BATCHES: max(per_slot_metrics)}


class WhatIsSeen(pytorch.PyTorchCallback):
    """Shows what the run says, until Determined's loop ends, and not what that counts of the placeholders it is given as batches.

    Args:
        is_chief: whether this process is the one that speaks.
    """

    def __init__(self, is_chief: bool) -> None:
        self._is_chief = is_chief
        self._running = contextlib.ExitStack()

    def on_trial_startup(self, first_batch_idx: int, checkpoint_uuid: str | None) -> None:
        """Determined begins, and will tell of its end."""
        self._running.enter_context(determined_private.without_untrue_lines())
        if self._is_chief:  # a script that has set up no logging would see nothing else of it
            self._running.enter_context(shown_on_console())

    def on_trial_shutdown(self) -> None:
        """Determined's loop has ended."""
        self._running.close()


class DeterminedTrainerPlatform(Platform):
    """Periods, length and checkpoints are Determined's.

    Args:
        context: Determined's context.
        trial: name of the trial's class.
    """

    owns_loop = False

    def __init__(self, context: pytorch.PyTorchTrialContext, trial: str) -> None:
        self._context = context
        self._trial = trial
        self._origin: dict[str, str] = {}
        self.start = StartingPoint()
        self.root_dir = os.getcwd()
        # what the run writes there; off a cluster it stays
        self._files = KeptFiles.of_experiment() if managed_trial() is not None else None
        self._tensorboard = functools.cache(lambda: os.fspath(determined_private.tensorboard_path(context)))

    def counted(self, train_batch: Callable[..., Any]) -> Callable[..., Any]:
        """A trial's `train_batch`, with a metric in what it returns where Determined averages over several slots."""
        if self._context.distributed.size == 1:
            return train_batch
        count = self._context.wrap_reducer(BatchCount(), for_validation=False)

        def counted(batch: object, epoch_idx: int, batch_idx: int) -> Any:
            return count.trained(train_batch(batch=batch, epoch_idx=epoch_idx, batch_idx=batch_idx), batch_idx + 1)

        return counted

    def data_is_prepared(self) -> None:
        """What is written from here on goes into checkpoints."""
        if self._files is not None:
            self._files.data_prepared()

    def training_starts(self, parts: Components, sanity_checked: Collection[str]) -> None:
        """Data that loaders have downloaded is there by now."""
        if self._files is not None:
            self._files.training_starts()
        if self._context.distributed.rank == 0 and not parts.progress.is_finished:
            info = managed_trial()
            places = {} if info is None else beginning.of_trial(info)
            said = beginning.block(
                parts,
                self._trial,
                {**places, **self._origin},
                "in Determined's periods",
                None,
                "Determined's max_length",
            )
            parts.log.info("%s", said, extra=ALWAYS)

    def goes_on_from(self, checkpoint: pathlib.Path) -> None:
        """The files of the run are to be where they were."""
        if self._files is not None and self._context.distributed.rank == 0:
            self._files.bring_back(checkpoint)

    def callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
        """What shows the run, and puts code and files into the checkpoints of a cluster, as they are to be."""
        seen: dict[str, pytorch.PyTorchCallback] = {
            "lightning_adapter_log": WhatIsSeen(is_chief=self._context.distributed.rank == 0)
        }
        if self._files is None:
            return seen
        return {
            **seen,
            "lightning_adapter_code": TrimmedCode(UserCode.of_experiment()),
            "lightning_adapter_files": FilesBeside(self._files),
        }

    def tensorboard(self) -> str:
        """A directory whose files Determined uploads."""
        directory: str = self._tensorboard()
        return directory

    def reports_progress(self, has_callbacks: bool) -> bool:
        """Determined's periods decide."""
        return False

    def stops_now(self) -> bool:
        """Determined asks at its own boundaries."""
        return False

    def record_training(self, batches: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """There is no run directory."""

    def validated(self, batches: int, epoch: int, metrics: Mapping[str, Any]) -> None:
        """Determined reports its values to the master."""

    def ended_in_validation(self, batches: int, epoch: int, metrics: Mapping[str, Any]) -> None:
        """There is no run directory."""

    def run_is_over(self, parts: Components) -> None:
        """Its loop is told to stop, since its length may be longer than Lightning's."""
        if self._context.get_stop_requested():
            return
        if self._context.distributed.rank == 0:
            tell_end(parts, None)
        self._context.set_stop_requested(True)

    def loads_foreign_weights(self, uuid: str, first_batch_idx: int) -> bool:
        """On a cluster, where a trial that has trained before begins after its last batch."""
        foreign = managed_trial() is not None and first_batch_idx == 0
        self._origin = {
            "weights of" if foreign else "resumes": f"checkpoint {uuid}{' of another trial' if foreign else ''}"
        }
        return foreign

    def state_of(self, parts: Components, state: dict[str, Any]) -> dict[str, Any]:
        """The run's state, and callbacks and schedulers, which Determined does not know."""
        return {**state, "callbacks": callback_states(parts)}
