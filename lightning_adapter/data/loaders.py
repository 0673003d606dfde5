"""What can be asked of a loader, and what be changed in it without losing an argument of the user's?"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from types import GeneratorType
from typing import Any, TypeAlias, TypeVar

from torch.utils.data import BatchSampler, DataLoader, IterableDataset, RandomSampler, SequentialSampler

from lightning_adapter.data.collections import Collection, flatten
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import lightning_private, torch_private
from lightning_adapter.versions.hosts import Host

INFINITE = float("inf")  # the length of a loader that does not know it

Batch: TypeAlias = Any  # what a loader yields is the user's own affair
Loader: TypeAlias = Iterable[Batch]  # a DataLoader, or whatever else can be iterated

_Loader = TypeVar("_Loader", bound=Loader)


def length_of(loader: Loader) -> float:
    """Number of batches, infinite where the loader does not know it."""
    try:
        return len(loader)  # type: ignore[arg-type]  # as Lightning's `sized_len` does
    except (TypeError, NotImplementedError):
        return INFINITE


def has_iterable_dataset(loader: object) -> bool:
    """True for loaders over an IterableDataset, whose items have no index."""
    return isinstance(getattr(loader, "dataset", None), IterableDataset)


def is_shuffled(loader: object) -> bool:
    """True if torch chose a RandomSampler because of `shuffle=True`."""
    return isinstance(getattr(loader, "sampler", None), RandomSampler)


def is_sequential(loader: object) -> bool:
    """True if the loader reads its samples one after the other."""
    return isinstance(getattr(loader, "sampler", None), SequentialSampler)


def default_batch_sampler(loader: object) -> bool:
    """True if the loader batches with torch's own BatchSampler."""
    return type(getattr(loader, "batch_sampler", None)) is BatchSampler


def copy_with(loader: _Loader, **attributes: object) -> _Loader:
    """The same loader, every argument kept, with some attributes replaced."""
    # torch forbids assigning a sampler after construction, lest an iterator under way miss it; this copy has none yet
    clone = copy.copy(loader)
    vars(clone).update(attributes, _iterator=None)
    return clone


def with_sampler(loader: DataLoader[Any], sampler: Iterable[Any], host: Host) -> DataLoader[Any]:
    """The same loader, every argument kept, reading other indices.

    Args:
        loader: the user's.
        sampler: gives the indices.
        host: the Lightning package, whose function makes a batch sampler of the user's own class anew: of its arguments,
            where it was made in a hook for loaders.

    Raises:
        ConfigurationError: the loader's own batch sampler class cannot be built anew over another sampler.
    """
    batch_sampler = loader.batch_sampler
    if batch_sampler is not None and type(batch_sampler) is BatchSampler:
        batch_sampler = BatchSampler(sampler, batch_sampler.batch_size, batch_sampler.drop_last)
    elif batch_sampler is not None:
        try:
            batch_sampler = lightning_private.rebuilt_batch_sampler(host, loader, sampler)
        except (TypeError, AttributeError) as error:
            raise ConfigurationError(
                f"The batch sampler {type(batch_sampler).__qualname__} cannot be given another sampler: {error}. It has to "
                "be a torch BatchSampler that takes its `sampler` as an argument and is made in train_dataloader() or "
                "val_dataloader(), or to accept (sampler, batch_size, drop_last); or let it shard itself, with "
                "use_distributed_sampler=False."
            ) from error
    return copy_with(loader, sampler=sampler, batch_sampler=batch_sampler)


def index_sampler(loader: DataLoader[Any]) -> Iterable[Any]:
    """What a DataLoader is iterated over: its batch sampler, or its sampler where it does not batch."""
    return loader.sampler if loader.batch_sampler is None else loader.batch_sampler


def with_index_sampler(loader: DataLoader[Any], sampler: Iterable[Any], **attributes: object) -> DataLoader[Any]:
    """The same loader, every argument kept, iterated over another `index_sampler`."""
    name = "sampler" if loader.batch_sampler is None else "batch_sampler"
    return copy_with(loader, **{name: sampler}, **attributes)


def sequential(loader: Loader, host: Host) -> Loader:
    """The loader without shuffling: `overfit_batches` asks for it, as in Lightning's `_resolve_overfit_batches`."""
    if (
        not isinstance(loader, DataLoader)
        or has_iterable_dataset(loader)
        or isinstance(loader.sampler, SequentialSampler)
    ):
        return loader
    return with_sampler(loader, SequentialSampler(loader.dataset), host)  # type: ignore[arg-type]  # it has a length


def set_epoch(loaders: Iterable[Loader], epoch: int, tells_batch_sampler: bool = False) -> None:
    """Call `set_epoch` on the samplers that have it, as Lightning's `_set_sampler_epoch` does.

    Args:
        loaders: their samplers are told, and those inside their batch samplers.
        epoch: epochs that are over.
        tells_batch_sampler: tell the batch samplers themselves, not those inside them.
    """
    seen: set[int] = set()
    for loader in loaders:
        sampler = getattr(loader, "sampler", None)
        batch_sampler = getattr(loader, "batch_sampler", None)
        other = batch_sampler if tells_batch_sampler else getattr(batch_sampler, "sampler", None)
        for candidate in (sampler, other):
            if candidate is not None and id(candidate) not in seen:
                seen.add(id(candidate))
                function = getattr(candidate, "set_epoch", None)
                if callable(function):
                    function(epoch)


def end_pass(iterator: object) -> None:
    """No further batch is taken from an iterator of a loader: its worker processes end, whoever else may hold it."""
    if isinstance(iterator, GeneratorType):
        iterator.close()  # it holds torch's own iterator, which ends its workers when it is let go of
    torch_private.end_workers(iterator)


def iterate_once(loaders: Iterable[Loader]) -> None:
    """Iterate loaders that are no DataLoader, as Lightning's `_check_dataloader_iterable` does to see whether they can be.

    It takes no batch, but what such a loader does or draws when it is iterated shows in all that follows.
    """
    for loader in loaders:
        if not isinstance(loader, DataLoader):
            iter(loader)


def check_loaders(loaders: Collection, name: str) -> list[str]:
    """Faults of what `name` returned: what cannot be iterated."""
    faults = []
    for leaf in flatten(loaders):
        if (
            leaf is None
            or isinstance(leaf, (str, bytes))
            or (not isinstance(leaf, Iterable) and not hasattr(leaf, "__getitem__"))
        ):
            faults.append(
                f"{name}() returned {leaf!r}, which is no loader; return a DataLoader, a collection of them, or any "
                "iterable of batches"
            )
    return faults


def check_batch_size(loaders: Collection, global_batch_size: int, processes: int, accumulate: int) -> None:
    """Compare the batch size of a single training loader with the hyperparameter `global_batch_size`.

    Args:
        loaders: what `train_dataloader()` returned; a collection of loaders is not compared.
        global_batch_size: samples per optimizer step or per batch, over all processes.
        processes: number of processes.
        accumulate: batches per optimizer step.

    Raises:
        ConfigurationError: the processes together train on another number of samples.
    """
    size = getattr(loaders, "batch_size", None)
    if not isinstance(loaders, DataLoader) or not isinstance(size, int):
        return
    if global_batch_size in (size * processes, size * processes * accumulate):
        return
    raise ConfigurationError(
        f"The hyperparameter global_batch_size is {global_batch_size}, and train_dataloader() has batch_size={size} in each of "
        f"{processes} process(es), which is {size * processes} samples per step. Give the loader "
        f"batch_size=context.get_per_slot_batch_size(), which is {global_batch_size // processes} here, or set global_batch_size: "
        f"{size * processes}."
    )
