"""What is a user told about loaders that train, but perhaps not as was meant? In the words of Lightning."""

from __future__ import annotations

import multiprocessing
import os

from torch.utils.data import DataLoader

from lightning_adapter.data.collections import Collection, flatten
from lightning_adapter.data.loaders import Loader, has_iterable_dataset, is_sequential, is_shuffled, length_of
from lightning_adapter.versions import lightning_private
from lightning_adapter.versions.hosts import Host


def advise(host: Host, loaders: Collection, stage: str, overfits: bool, reloads: bool, processes: int) -> None:
    """Warn of what `_FitLoop.setup_data` and `_EvaluationLoop.setup_data` warn of.

    Args:
        host: the Lightning package.
        loaders: as the user made them.
        stage: "train" or "val".
        overfits: whether `overfit_batches` is set, which turns shuffling off.
        reloads: whether loaders are asked for again in later epochs.
        processes: of the node, which share its cores.
    """
    # a CombinedLoader knows its length only once it is iterated; those in it are looked at, as Lightning does
    each = flatten(lightning_private.uncombined(loaders, "sequential")[1])
    if overfits and any(hasattr(loader, "sampler") and not is_sequential(loader) for loader in each):
        host.warn(
            f"You requested to overfit but enabled {stage} dataloader shuffling."
            f" We are turning off the {stage} dataloader shuffling for you."
        )
    for loader in each:
        if stage == "val" and not overfits and is_shuffled(loader):
            host.advise(
                f"Your `{stage}_dataloader`'s sampler has shuffling enabled,"
                " it is strongly recommended that you turn shuffling off for val/test dataloaders."
            )
        if isinstance(loader, DataLoader):
            _advise_on_workers(host, loader, f"{stage}_dataloader", reloads, processes)
        _advise_on_length(host, loader)


def _advise_on_workers(host: Host, loader: DataLoader[object], name: str, reloads: bool, processes: int) -> None:
    """As `_worker_check`."""
    context = loader.multiprocessing_context or multiprocessing
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # one is left to the main process, as `suggested_max_num_workers` has it
    most = max(1, cores // processes - 1)
    if loader.num_workers > 0 and context.get_start_method() == "spawn" and not loader.persistent_workers:
        host.warn(
            f"Consider setting `persistent_workers=True` in '{name}' to speed up the dataloader worker initialization."
        )
    elif loader.num_workers < 2 and most > 1:
        host.advise(
            f"The '{name}' does not have many workers which may be a bottleneck. Consider increasing the value of the"
            f" `num_workers` argument` to `num_workers={most}` in the `DataLoader` to improve performance."
        )
    if loader.persistent_workers and loader.pin_memory and reloads:
        host.advise(
            "The combination of `DataLoader(`pin_memory=True`, `persistent_workers=True`) and `Trainer("
            "reload_dataloaders_every_n_epochs > 0)` can lead to instability due to limitations in PyTorch"
            " (https://github.com/pytorch/pytorch/issues/91252). We recommend setting `pin_memory=False` in this case."
        )


def _advise_on_length(host: Host, loader: Loader) -> None:
    """As `has_len_all_ranks`."""
    length = length_of(loader)
    if length == 0:
        host.warn(
            f"Total length of `{type(loader).__name__}` across ranks is zero. Please make sure this was your intention."
        )
    if length != float("inf") and has_iterable_dataset(loader):
        host.warn(
            "Your `IterableDataset` has `__len__` defined."
            " In combination with multi-process data loading (when num_workers > 1),"
            " `__len__` could be inaccurate if each worker is not configured independently"
            " to avoid having duplicate data."
        )
