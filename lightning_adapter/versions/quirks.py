"""What do older Lightnings do at other moments than the newest one?"""

from __future__ import annotations

import functools
from dataclasses import dataclass

from packaging.version import Version


@dataclass(frozen=True)
class Quirks:
    """What older versions do at other moments than the newest one.

    Seen in 1.9.5 and 2.0.9; the limits in between are those of Lightning's changelog.

    Attributes:
        monitors_in_order: EarlyStopping and Checkpoint callbacks come before the module at the end of an epoch.
        always_tells_loader: the hooks around a validation batch get `dataloader_idx` with a single loader too.
        zeroes_in_validation: each validation zeroes the gradients once the module is in evaluation mode.
        trains_all_at_start: the whole module is set to training mode when training starts.
        iterates_in_epoch: the training loaders are iterated within the epoch, after its first hooks.
        skips_at_once: `on_train_batch_start` returning -1 ends the epoch without schedulers.
        iterates_in_validation: the validation loaders are iterated after the first hooks of a validation, and asked for
            before training starts without the trainer saying that it validates.
        checks_limits_first: whether the run is over already is asked before the training loaders are.
        transfers_while_fetching: whether a batch is the last one becomes known after it was moved to the device.
        hides_batch_idx: a step that takes no `batch_idx` makes it 0 for the hooks around it, and for accumulation.
        converts_late: "64-true" converts the module after its optimizers are made, and a batch when it enters a step.
        waits_within_limits: no batch is fetched ahead where a limit says how many batches of an endless loader are used.
        limits_outside: `limit_train_batches` ends an epoch without the batch before it being the last one.
        asks_for_data_anew: training loaders that `estimated_stepping_batches` made are asked for again.
        shows_epoch_values: after a validation `callback_metrics` shows the epoch's values until the next batch.
        whole_steps: a metric logged as "step" is rounded to a whole number.
        empty_list: `on_train_batch_end` gets an empty list for a step that was skipped.
        joins_after_data: `prepare_data` runs before the processes of a job find each other and are seeded anew.
        caches_casts: autocast keeps the weights that it has converted until the step is over.
    """

    monitors_in_order: bool
    always_tells_loader: bool
    zeroes_in_validation: bool
    trains_all_at_start: bool
    iterates_in_epoch: bool
    skips_at_once: bool
    iterates_in_validation: bool
    checks_limits_first: bool
    transfers_while_fetching: bool
    hides_batch_idx: bool
    converts_late: bool
    waits_within_limits: bool
    limits_outside: bool
    asks_for_data_anew: bool
    shows_epoch_values: bool
    whole_steps: bool
    empty_list: bool
    joins_after_data: bool
    caches_casts: bool


@functools.cache
def quirks_of(version: Version) -> Quirks:
    """What a release of Lightning does at other moments than the newest one."""
    before_2_1 = version < Version("2.1")
    legacy = version.major < 2
    return Quirks(
        monitors_in_order=legacy,
        always_tells_loader=legacy,
        zeroes_in_validation=before_2_1,
        trains_all_at_start=version < Version("2.2"),
        iterates_in_epoch=before_2_1,
        skips_at_once=before_2_1,
        iterates_in_validation=legacy,
        checks_limits_first=legacy,
        transfers_while_fetching=legacy,
        hides_batch_idx=before_2_1,
        converts_late=before_2_1,
        waits_within_limits=legacy,
        limits_outside=before_2_1,
        asks_for_data_anew=legacy,
        shows_epoch_values=before_2_1,
        whole_steps=not before_2_1,
        empty_list=legacy,
        joins_after_data=before_2_1,
        caches_casts=version < Version("2.5.5"),
    )
