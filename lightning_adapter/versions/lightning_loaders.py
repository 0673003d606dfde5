"""Which private names around Lightning's loaders are touched, why, and in which versions were they seen?

Seen in Lightning 1.9.5, 2.0.9 and 2.6.6, unless a name says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader

from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.types import Batch, Loaders

if TYPE_CHECKING:
    from lightning_fabric.utilities.distributed import DistributedSamplerWrapper
    from pytorch_lightning.utilities.combined_loader import CombinedLoader

    _Wrapper: TypeAlias = type[DistributedSamplerWrapper]


def is_combined(loaders: Loaders) -> TypeGuard[CombinedLoader]:
    """Whether the user returned Lightning's CombinedLoader, of either package."""
    return type(loaders).__name__ == "CombinedLoader"


def uncombined(loaders: Loaders, mode: str) -> tuple[str, Loaders]:
    """The mode and the collection of a CombinedLoader; other loaders are a collection of the given mode.

    `_mode` (2.0.9 to 2.6.6) is what it was made with; 1.9.5 calls both attributes `mode` and `loaders`, publicly.
    """
    if not is_combined(loaders):
        return mode, loaders
    if hasattr(loaders, "iterables"):
        return loaders._mode, loaders.iterables
    older: Any = loaders
    return older.mode, older.loaders


def combined_with(loaders: CombinedLoader, change: Callable[[Any], Any]) -> CombinedLoader:
    """A CombinedLoader with each of its loaders changed, as Lightning gives it those of a process (`flattened`).

    1.9.5 has wrapped what it was made of, and keeps that.
    """
    if hasattr(loaders, "flattened"):
        loaders.flattened = [change(loader) for loader in loaders.flattened]
    return loaders


def combined_loader(host: Host, loaders: Loaders, mode: str) -> CombinedLoader:
    """Lightning's public CombinedLoader over any collection of loaders, or the user's own CombinedLoader."""
    try:
        cls = host.load("utilities.combined_loader").CombinedLoader
    except ModuleNotFoundError:  # Lightning 1.9 keeps it with the trainer's supporters
        cls = host.load("trainer.supporters").CombinedLoader
    combined: CombinedLoader = loaders if isinstance(loaders, cls) else cls(loaders, mode)
    return combined


def shown_combined(host: Host, loaders: Loaders, mode: str) -> Any:
    """The loaders as a CombinedLoader to look at: those in it are the run's, but they cannot be replaced there."""
    combined: Any = combined_loader(host, loaders, mode)
    cls = type(combined)
    if hasattr(cls, "flattened"):  # since Lightning 2.0
        read_only = property(cls.flattened.fget, doc="The loaders.")
        combined.__class__ = type(cls.__name__, (cls,), {"__module__": cls.__module__, "flattened": read_only})
    return combined


def shown_training_loader(host: Host, loaders: Loaders) -> Loaders:
    """What `trainer.train_dataloader` reads: what the user returned, in Lightning 1.x always a CombinedLoader of it."""
    return combined_loader(host, loaders, "max_size_cycle") if host.quirks.shows_combined_loader else loaders


def shown_validation_loaders(host: Host, collection: Loaders, loaders: Sequence[Iterable[Any]]) -> Loaders:
    """What `trainer.val_dataloaders` reads: what the user returned, in Lightning 1.x always a list."""
    return loaders if host.quirks.shows_loader_list else collection


_COLLECTIONS: tuple[type, ...] = (tuple, list, type({}.values()))


def extract_batch_size(host: Host, batch: Batch) -> int:
    """Batch size as Lightning infers it for `self.log`.

    Asked once for each batch, so that the usual ones, of tensors of one length, are not handed on to a walk through
    whatever a batch may be; where lengths differ, Lightning says so.
    """
    size = _common_length(batch)
    if size is None:
        size = host.load("utilities.data").extract_batch_size(batch)
    return size


def _common_length(batch: Batch) -> int | None:
    """The length of a tensor, or of all tensors in a tuple, a list or a dict; None for any other batch."""
    parts: Any = (batch,) if isinstance(batch, Tensor) else batch.values() if type(batch) is dict else batch
    if type(parts) not in _COLLECTIONS:
        return None
    size = None
    for part in parts:
        if not isinstance(part, Tensor) or not part.ndim:
            return None
        length = part.size(0)
        if size is None:
            size = length
        elif length != size:
            return None
    return size


def move_data_to_device(host: Host, batch: Batch, device: torch.device) -> Batch:
    """Lightning's own transfer of any collection of tensors."""
    return host.load_fabric("utilities").move_data_to_device(batch, device)


def distributed_sampler_wrapper(host: Host) -> _Wrapper:
    """Lightning's wrapper that shares out the indices of any sampler (lightning_fabric, 1.9.5 to 2.6.6)."""
    wrapper: _Wrapper = host.load_fabric("utilities.distributed").DistributedSamplerWrapper
    return wrapper


@contextmanager
def records_batch_samplers(host: Host) -> Iterator[None]:
    """Lightning's context in which the loaders are made: batch samplers note the arguments that they are made of.

    `_replace_dunder_methods` (lightning_fabric, 1.9.5 to 2.6.6) is what Trainer enters around the user's hooks for loaders.
    Where one raises, Trainer leaves torch's class changed for the rest of the process; this puts it back.
    """
    context: AbstractContextManager[None] = host.load_fabric("utilities.data")._replace_dunder_methods(BatchSampler)
    context.__enter__()
    try:
        yield
    finally:
        context.__exit__(None, None, None)  # as after a block without an error, since Lightning has no `finally`


def rebuilt_batch_sampler(host: Host, loader: DataLoader[Any], sampler: Iterable[Any]) -> Any:
    """A batch sampler like that of a loader, of the same class and arguments, over another sampler.

    `_dataloader_init_kwargs_resolve_sampler` (lightning_fabric, 1.9.5 to 2.6.6) takes the noted arguments; without them
    `batch_size` and `drop_last` alone.

    Raises:
        TypeError: the class takes no sampler.
        AttributeError: it has no `batch_size`, which Lightning before 2.1 reads.
    """
    return host.load_fabric("utilities.data")._dataloader_init_kwargs_resolve_sampler(loader, sampler)["batch_sampler"]


def is_sampler_as_dataset(value: object) -> bool:
    """Whether something is the dataset that the wrapper above makes of a sampler, which it holds as an attribute.

    `_DatasetSamplerWrapper` (lightning_fabric, 1.9.5 to 2.6.6), of either package.
    """
    return type(value).__name__ == "_DatasetSamplerWrapper"


def seeds_workers(host: Host, loader: DataLoader[Any], rank: int) -> None:
    """`seed_everything(workers=True)` seeds numpy and python in workers, through a `worker_init_fn`.

    `_auto_add_worker_init_fn` (lightning_fabric 1.9.5 and 2.x) is what `Trainer` calls; it acts only where the
    environment variable that `seed_everything` sets says so and the loader has no `worker_init_fn`.
    """
    host.load_fabric("utilities.data")._auto_add_worker_init_fn(loader, rank)


def name_arguments(loader: Any) -> Any:
    """Let Lightning make a loader anew whose arguments were given by position: `DataLoader(data, 32)`.

    `Trainer.predict` (and in several processes the others) makes loaders anew with arguments of its own, and gives
    `batch_size` twice then. What a loader was made with, within a hook for loaders, stands in `__pl_saved_args`,
    `__pl_saved_arg_names` and `__pl_saved_kwargs` (1.9.5 to 2.6.6).
    """
    kept = vars(loader) if isinstance(loader, DataLoader) else {}
    given, names = kept.get("__pl_saved_args", ()), kept.get("__pl_saved_arg_names", ())
    if given and len(given) == len(names):
        named = {**dict(zip(names, given, strict=True)), **kept["__pl_saved_kwargs"]}
        kept.update({"__pl_saved_args": (), "__pl_saved_arg_names": (), "__pl_saved_kwargs": named})
    return loader
