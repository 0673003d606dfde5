"""Which private names of torch are touched, why, and in which versions were they seen?"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pickle
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.autograd import _profiler_enabled  # type: ignore[attr-defined]  # a name of its C part
from torch.autograd import profiler as _profiler
from torch.nn import Module
from torch.nn.modules import module as _module
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks as _GLOBAL_POST_HOOKS
from torch.optim.optimizer import _global_optimizer_pre_hooks as _GLOBAL_PRE_HOOKS
from torch.package.package_importer import PackageImporter
from torch.serialization import DEFAULT_PROTOCOL, _open_zipfile_writer, _save
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import (
    _BaseDataLoaderIter,
    _MultiProcessingDataLoaderIter,
    _SingleProcessDataLoaderIter,
)


def unscales_itself(optimizer: Optimizer) -> bool:
    """Whether an optimizer unscales gradients while it steps (`_step_supports_amp_scaling`, torch 2.1 to 2.13: fused Adam)."""
    return bool(getattr(optimizer, "_step_supports_amp_scaling", False))


def _may_be_passed(function: object) -> bool:
    """Whether what opens a region for a profiler can be called past where no profiler listens.

    It has to be torch's own: somebody may have put something else in its place before this is imported. And it has to be
    known who listens: a torch that does not say so, or one that a daemon asks at any time to profile (libkineto's
    `KINETO_USE_DAEMON`), is left alone.
    """
    tells = hasattr(_profiler, "_is_profiler_enabled") and "KINETO_USE_DAEMON" not in os.environ
    code = getattr(function, "__code__", None)
    # no `torch_xla` beside it
    return tells and code is not None and code.co_filename.startswith(os.path.join(os.path.dirname(torch.__file__), ""))


_ZERO_GRAD = Optimizer.zero_grad
_SETS_GRADIENTS = _may_be_passed(_ZERO_GRAD)


def zero_grad(optimizer: Optimizer) -> None:
    """`optimizer.zero_grad()`, which sets the gradients to None.

    torch's own opens a region for a profiler at each call, which costs more than all else in it: some hundredths of a small
    model's step. Where none listens (`torch.autograd._profiler_enabled` knows of those that this thread has started,
    `torch.autograd.profiler._is_profiler_enabled` of others' too, torch 2.1 to 2.13), and nobody has put something else in
    its place, the gradients are set here.
    """
    own = getattr(type(optimizer), "zero_grad", None) is not _ZERO_GRAD or "zero_grad" in vars(optimizer)
    if own or not _SETS_GRADIENTS or _profiler_enabled() or _profiler._is_profiler_enabled:
        optimizer.zero_grad()
        return
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = None


def _step_code() -> object:
    """Of what torch puts around the `step` of each class of optimizers; that of no function where it is somebody else's."""
    around: Any = Optimizer.profile_hook_step(_step_code)
    return around.__code__ if _may_be_passed(around) else object()


_STEP_CODE = _step_code()


def step(optimizer: Optimizer, closure: Callable[[], Any], **kwargs: Any) -> Any:
    """`optimizer.step(closure=closure, **kwargs)`.

    torch puts a function around the `step` of each class of optimizers (`profile_hook_step`, torch 2.1 to 2.13), which opens
    a region for a profiler and runs hooks. Where no profiler listens, no hook is registered before, and nobody has put
    something else in its place (a scheduler of learning rates does, to count), what is inside is called.
    """
    around: Any = getattr(type(optimizer), "step", None)
    if (
        getattr(around, "__code__", None) is not _STEP_CODE
        or "step" in vars(optimizer)
        or optimizer._optimizer_step_pre_hooks
        or _GLOBAL_PRE_HOOKS
        or _profiler_enabled()
        or _profiler._is_profiler_enabled
    ):
        return optimizer.step(closure=closure, **kwargs)
    result = around.__wrapped__(optimizer, closure=closure, **kwargs)
    # what runs in the closure may have registered some
    for hooks in (optimizer._optimizer_step_post_hooks, _GLOBAL_POST_HOOKS):
        if hooks:
            for hook in hooks.values():
                hook(optimizer, (optimizer,), {"closure": closure, **kwargs})
    return result


def have_backward_hooks(modules: Iterable[Module]) -> bool:
    """Whether user code runs while backward comes by one of these modules, or by any module.

    `_backward_hooks` and `_backward_pre_hooks` of each, and the global ones of torch.nn (torch 2.1 to 2.13).
    """
    if _module._global_backward_hooks or _module._global_backward_pre_hooks:
        return True
    return any(module._backward_hooks or module._backward_pre_hooks for module in modules)


def accumulation_hooks(parameter: Tensor) -> int:
    """How many hooks `register_post_accumulate_grad_hook` has put there (`_post_accumulate_grad_hooks`, torch 2.1 to 2.13)."""
    return len(parameter._post_accumulate_grad_hooks or ())


def version(tensor: Tensor) -> int:
    """How often a tensor has been written into (`_version`, torch 2.1 to 2.13)."""
    return tensor._version


def adopt_workers(loader: DataLoader[Any], other: DataLoader[Any]) -> None:
    """Give a loader the persistent workers of a copy of it (`DataLoader._iterator`, torch 2.1 to 2.13, holds them)."""
    loader._iterator = other._iterator


def read_indices_from(loader: DataLoader[Any], sampler: Iterable[Any]) -> None:
    """Let the persistent workers of a loader be sent the indices of another sampler from the next pass on.

    `_BaseDataLoaderIter._index_sampler` (torch 2.1 to 2.13) is iterated at each pass.
    """
    iterator: Any = loader._iterator
    iterator._index_sampler = sampler


_NEXT = _BaseDataLoaderIter.__next__
#: Where somebody has put something else in the place of torch's, that is asked.
_PASSES = (_SingleProcessDataLoaderIter, _MultiProcessingDataLoaderIter) if _may_be_passed(_NEXT) else ()


def next_batch(iterator: Iterator[Any]) -> Any:
    """`next(iterator)`.

    A pass over a DataLoader (`_BaseDataLoaderIter.__next__`, torch 2.1 to 2.13) opens a region for a profiler at each batch,
    takes and counts it, and compares the count with the length that an IterableDataset has said to have. Where no profiler
    listens and nothing is to be compared, the batch is taken and counted.

    Raises:
        StopIteration: there is none.
    """
    if (
        type(iterator) in _PASSES
        and iterator._IterableDataset_len_called is None  # type: ignore[attr-defined]
        and type(iterator).__next__ is _NEXT
        and not _profiler_enabled()
        and not _profiler._is_profiler_enabled
    ):
        batch = iterator._next_data()  # type: ignore[attr-defined]
        iterator._num_yielded += 1  # type: ignore[attr-defined]
        return batch
    return next(iterator)


def is_pass(value: object) -> bool:
    """Whether something is one pass over a DataLoader (`_BaseDataLoaderIter`, torch 2.1 to 2.13)."""
    return isinstance(value, _BaseDataLoaderIter)


def keeps(loader: object, iterator: object) -> bool:
    """Whether a loader goes on with the workers of a pass in its next one (`DataLoader._iterator` then is that pass)."""
    return isinstance(loader, DataLoader) and loader._iterator is iterator


def lacks_kept_workers(loader: object) -> bool:
    """Whether a loader is one that keeps its workers from pass to pass, and has made none (`DataLoader._iterator`)."""
    return isinstance(loader, DataLoader) and loader.persistent_workers and loader._iterator is None


def takes_indices_alone(loader: DataLoader[Any]) -> bool:
    """Whether a loader's batches are those of its `index_sampler`, one for each of its items.

    A subclass with an `__iter__` or `_get_iterator` (torch 2.1 to 2.13) of its own may leave batches out, join them, or
    begin nothing before the first of them is asked for, as a generator does.
    """
    kind = type(loader)
    return kind.__iter__ is DataLoader.__iter__ and kind._get_iterator is DataLoader._get_iterator


def end_workers(iterator: object) -> None:
    """End the worker processes of a pass (`_shutdown_workers`, torch 2.1 to 2.13) now, whoever else may hold it.

    One that is left to the garbage collector may be found by that of a forked worker, which complains that it "can only
    test a child process".
    """
    if is_pass(iterator) and hasattr(iterator, "_shutdown_workers"):
        iterator._shutdown_workers()


def end_workers_of(loader: object) -> None:
    """End the workers that a loader keeps from pass to pass, as Lightning's `_shutdown_workers_and_reset_iterator`.

    `DataLoader._iterator` (torch 2.1 to 2.13) has them; torchdata's loader has those of each pass there.
    """
    if isinstance(loader, DataLoader):
        end_workers(loader._iterator)
        loader._iterator = None


#: Where a module has its parameters, buffers and modules (torch 2.1 to 2.13).
_MEMBERS = ("_parameters", "_buffers", "_modules")


def members(module: Module) -> dict[str, dict[str, Any]]:
    """What a module consists of at this moment, below the names that `set_members` takes."""
    return {kind: dict(vars(module)[kind]) for kind in _MEMBERS}


def set_members(module: Module, kept: dict[str, dict[str, Any]]) -> None:
    """Let a module consist of the very objects of before."""
    for kind, objects in kept.items():
        vars(module)[kind].clear()
        vars(module)[kind].update(objects)


@contextlib.contextmanager
def alone(rank: int) -> Iterator[None]:
    """Let the first process of a job work as if it were the only one; all of the job enter together.

    Whoever asks for torch's default group, as each metric of torchmetrics does when it is computed, finds one of the first
    process alone, and waits for nobody. `GroupMember.WORLD` (torch 2.1 to 2.13) is that default.
    """
    if not (dist.is_available() and dist.is_initialized()):
        yield
        return
    own: Any = dist.new_group([0])
    if rank != 0:
        yield
        return
    members: Any = dist.GroupMember
    everybody, members.WORLD = members.WORLD, own
    try:
        yield
    finally:
        members.WORLD = everybody
        dist.destroy_process_group(own)


def name_package(importer: PackageImporter, name: str) -> None:
    """Give the modules of a package that nothing was imported of the names that they have in another process.

    `PackageImporter._mangler` (torch 2.1 to 2.13) counts the packages of each process.
    """
    importer._mangler._mangle_parent = name


@contextlib.contextmanager
def onnx_messages_to_stderr() -> Iterator[None]:
    """Have the older ONNX exporter print to stderr, where it is kept from printing a graph that it cannot translate.

    It leaves its log switched on, which writes to stdout from C++ (`_jit_set_onnx_log_output_stream`, torch 2.1 to 2.13).
    """
    set_stream: Any = getattr(torch._C, "_jit_set_onnx_log_output_stream", None)
    if set_stream is None:
        yield
        return
    set_stream("stderr")
    try:
        yield
    finally:
        set_stream("stdout")


def is_mere_view(tensor: Tensor) -> bool:
    """Whether `torch.save` writes of a tensor, or parameter, its storage in main memory, how it lies there, and nothing else.

    Besides what tensors say publicly, `_reduce_ex_internal` (torch 2.1 to 2.13) looks at `_backward_hooks`, of which it
    warns, and at what somebody has set as attributes.
    """
    return not (
        tensor.layout is not torch.strided
        or not tensor.is_cpu
        or tensor.is_quantized
        or tensor.is_nested
        or tensor.is_conj()
        or tensor.is_neg()
        or tensor._backward_hooks
        or vars(tensor)
    )


def storage_id(storage: torch.UntypedStorage) -> int:
    """By which `torch.save` knows that two tensors share a storage (`_cdata`, torch 2.1 to 2.13)."""
    found: int = storage._cdata
    return found


class Records:
    """What `torch.save` writes into an archive, in its order, kept to be written later.

    `_save` (torch 2.1 to 2.13) gives its archive the pickled content first and then each storage, once, in main memory.

    Args:
        room: is told of the size of each storage before that is copied.
    """

    def __init__(self, room: Callable[[int], None]) -> None:
        self._room = room
        self._kept: list[tuple[str, Any, int]] = []

    def write_record(self, name: str, data: Any, size: int) -> None:
        """Called by `_save`."""
        if not isinstance(data, (str, bytes)):
            self._room(size)
            # before torch 2.3 it is told where the storage lies
            data = ctypes.string_at(data, size) if isinstance(data, int) else data.clone()
        self._kept.append((name, data, size))

    def write(self, stream: IO[bytes]) -> None:
        """Write the archive, which takes the checksums; the lock of the interpreter is free meanwhile."""
        with _open_zipfile_writer(stream) as archive:
            for name, data, size in self._kept:
                archive.write_record(name, data, size)


def records_of(content: object, room: Callable[[int], None]) -> Records:
    """Pickle some content as `torch.save` does, and copy its storages.

    Args:
        content: what is to be saved.
        room: is told of the size of each storage before that is copied, and may raise.
    """
    records = Records(room)
    _save(content, records, pickle, DEFAULT_PROTOCOL, False)
    return records
