"""Which Lightning callbacks does the run have, and in which order are they called?"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, TypeVar

from lightning_adapter.argument_values import listed
from lightning_adapter.arguments import Arguments
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.types import Callback
from lightning_adapter.versions.wrappers import underlying

Kind = TypeVar("Kind")


class _CallbackError(ConfigurationError, RuntimeError):
    """Callbacks do not go together; Lightning raises a RuntimeError for those of one state key."""


class CallbackList:
    """`trainer.callbacks`, which user code may change at any time, also by assigning another list.

    Args:
        arguments: the trainer arguments.
        host: the Lightning package whose callbacks they are.
        shows_summary: whether this process prints the model's summary.

    Attributes:
        items: the callbacks in the order in which they are called.
        schedule: the GradientAccumulationScheduler of Lightning 1.x; None since.
    """

    def __init__(self, arguments: Arguments, host: Host, shows_summary: bool) -> None:
        self._host = host
        kinds = host.pl.callbacks
        self.items: list[Callback] = listed(arguments.callbacks)
        self.schedule: Any = None
        self.has_timer = bool(self.of_kind(kinds.Timer))
        if arguments.max_time is not None and self.has_timer:
            host.inform("Ignoring `Trainer(max_time=...)`, callbacks list already contains a Timer.")
        summaries = [type(callback) for callback in self.of_kind(kinds.ModelSummary)]
        if arguments.enable_model_summary and summaries:
            host.inform(
                f"Trainer already configured with model summary callbacks: {summaries}."
                " Skipping setting a default `ModelSummary` callback."
            )
        # the order of `_CallbackConnector.on_trainer_init`
        if arguments.max_time is not None and not self.has_timer:
            self.items.append(kinds.Timer(duration=arguments.max_time, interval="step"))
        if arguments.enable_model_summary and shows_summary and not summaries:
            self.items.append(kinds.ModelSummary())
        self._check(arguments)
        for checkpoint in self.of_kind(kinds.ModelCheckpoint):
            if isinstance(checkpoint.dirpath, os.PathLike):
                # as text it can be saved; Lightning means to do the same
                checkpoint.dirpath = os.fspath(checkpoint.dirpath)

    def _check(self, arguments: Arguments) -> None:
        """Refuse what cannot be together, as `_configure_progress_bar` and `_validate_callbacks_list` do.

        Raises:
            ConfigurationError: two callbacks would be saved under one key, or there is a progress bar too many.
        """
        faults = []
        keys: set[str] = set()
        for callback in self.items:
            kind = type(callback)
            if underlying(getattr(kind, "state_dict", None)) in (None, self._host.pl.Callback.state_dict):
                continue
            if callback.state_key in keys:
                faults.append(
                    f"Found more than one stateful callback of type `{kind.__name__}`: they have one `state_key`,"
                    f" {callback.state_key!r}, so that in a checkpoint one would take the place of the other. Override the"
                    f" property `state_key` of `{kind.__name__}` so that it differs between them."
                )
            keys.add(callback.state_key)
        bars = [type(bar).__name__ for bar in self.of_kind(self._host.progress_bar_class)]
        if len(bars) > 1:
            faults.append(f"There are several progress bars among the callbacks: {', '.join(bars)}. Leave one of them.")
        if bars and not arguments.enable_progress_bar:
            faults.append(
                f"enable_progress_bar=False was given, and the progress bar {bars[0]} among the callbacks. Leave one of the"
                " two out."
            )
        if faults:
            raise _CallbackError("\n".join(faults))

    def of_kind(self, kind: type[Kind]) -> list[Kind]:
        """The callbacks of a class, in order."""
        return [callback for callback in self.items if isinstance(callback, kind)]

    def replace(self, callbacks: list[Callback]) -> None:
        """User code has assigned another list to `trainer.callbacks`."""
        self.items = callbacks

    def add_schedule(self, schedule: Any) -> None:
        """The GradientAccumulationScheduler that Lightning 1.x always has is among the callbacks."""
        self.schedule = schedule
        if schedule not in self.items:
            self.items.append(schedule)

    def put_checkpoints_last(self) -> None:
        """As `_CallbackConnector._reorder_callbacks`: what saves comes after what changes what is saved."""
        self.items = self.with_checkpoints_last(self.items)

    def with_checkpoints_last(self, callbacks: Sequence[Callback]) -> list[Callback]:
        """Some callbacks in the order in which they are called."""
        # sorting keeps the order of those that are alike
        return sorted(callbacks, key=lambda callback: isinstance(callback, self._host.pl.callbacks.Checkpoint))

    def extend_from_module(self, returned: Callback | Sequence[Callback] | None) -> None:
        """As `_attach_model_callbacks`: those that `configure_callbacks` returned replace others of their class or its base."""
        more = listed(returned or None)
        if not more:
            return
        present = {type(callback) for callback in self.items} - {self._host.pl.Callback}
        replaced = set()
        for callback in more:
            own = type(callback)
            bases = own.__mro__[:1] if self._host.quirks.replaces_same_class_alone else own.__mro__
            # one kind is replaced, as in Lightning: the nearest
            replaced.update([kind for kind in bases if kind in present][:1])
        if replaced:
            self._host.inform(
                "The following callbacks returned in `LightningModule.configure_callbacks` will override"
                f" existing callbacks passed to Trainer: {', '.join(sorted(kind.__name__ for kind in replaced))}"
            )
        self.items = [callback for callback in self.items if type(callback) not in replaced] + more
        self.put_checkpoints_last()
