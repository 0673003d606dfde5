"""How do many tensors travel in few messages: gradients averaged, buffers copied, parameters compared?

These functions know no backend. They are given what one brings: a sum over all processes, a copy from rank 0, a gathering.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from lightning_adapter.errors import ConfigurationError

#: Bytes of gradients or parameters that travel together: few messages, and no second copy of a large model.
_BUNDLE_BYTES = 32 * 2**20


def bundles(tensors: Iterable[Tensor], full: int | None = None) -> Iterator[list[Tensor]]:
    """Tensors of one type and device, in order, in portions that travel together.

    Args:
        tensors: what travels.
        full: bytes at which a portion is complete.
    """
    full = _BUNDLE_BYTES if full is None else full
    open_bundles: dict[tuple[torch.dtype, torch.device], list[Tensor]] = {}
    sizes: dict[tuple[torch.dtype, torch.device], int] = {}
    for tensor in tensors:
        key = (tensor.dtype, tensor.device)
        bundle = open_bundles.setdefault(key, [])
        bundle.append(tensor)
        sizes[key] = sizes.get(key, 0) + tensor.numel() * tensor.element_size()
        if sizes[key] >= full:
            yield open_bundles.pop(key)
            del sizes[key]
    yield from open_bundles.values()


def _flat(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1) for tensor in tensors])


def broadcast_tensors(tensors: Iterable[Tensor], broadcast_: Callable[[Tensor], None]) -> None:
    """Overwrite tensors with those of rank 0.

    Args:
        tensors: the same shapes in the same order on all ranks.
        broadcast_: overwrites one tensor with that of rank 0.
    """
    with torch.no_grad():
        for bundle in bundles(tensors):
            flat = _flat(bundle)
            broadcast_(flat)
            for tensor, part in zip(bundle, flat.split_with_sizes([t.numel() for t in bundle]), strict=True):
                tensor.copy_(part.view_as(tensor))


def pack(parameters: Sequence[Tensor], flags: Sequence[bool] = ()) -> Tensor:
    """The message with the gradients of one bundle of parameters.

    It has the same layout on all ranks: the gradients, then one mark for each of them. A parameter that got no gradient
    here travels as zeros with the mark 0, so that branches that differ between ranks cannot mix up messages.

    Args:
        parameters: one bundle, the same on all ranks.
        flags: what else is to be told, at the end of the message.

    Raises:
        ConfigurationError: a gradient is sparse.
    """
    gradients = [p.grad for p in parameters]
    if any(g is not None and g.is_sparse for g in gradients):
        raise ConfigurationError(
            "A parameter has a sparse gradient (torch.nn.Embedding(sparse=True)), which this exchange of gradients does "
            "not carry. Set sparse=False, or train with strategy='ddp' and automatic optimization with one optimizer."
        )
    # filled on the device where there is but one value, since a copy to it would wait
    marks = torch.ones(len(parameters), dtype=parameters[0].dtype, device=parameters[0].device)
    if any(g is None for g in gradients):
        marks.copy_(torch.tensor([float(gradient is not None) for gradient in gradients]))
    parts = [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, gradients, strict=True)]
    parts.append(marks)
    told = marks.new_zeros(len(flags))
    if any(flags):
        told.copy_(torch.tensor([float(flag) for flag in flags]))
    return _flat([*parts, told])


def unpack(parameters: Sequence[Tensor], mean: Tensor) -> Tensor:
    """Put the mean of all ranks' messages where their gradients came from.

    A parameter gets the mean where any rank has a gradient, as in DistributedDataParallel, and stays without one where
    none has.

    Args:
        parameters: one bundle, with the gradients that were packed.
        mean: of the messages that `pack` made.

    Returns:
        The mean of the flags.
    """
    sizes = [p.numel() for p in parameters]
    count = len(sizes)
    *means, marks, flags = mean.split_with_sizes([*sizes, count, len(mean) - sum(sizes) - count])
    # a rank that misses nothing need not read what the others miss, and so does not wait for its device
    complete = all(p.grad is not None for p in parameters)
    present = [1.0] * count if complete else marks.tolist()
    for parameter, own, mark in zip(parameters, means, present, strict=True):
        if parameter.grad is not None:
            parameter.grad.copy_(own.view_as(parameter.grad))
        elif mark:
            parameter.grad = own.view_as(parameter).clone()
    return flags


def checksum(parameter: Tensor) -> Tensor:
    """A sum over the bits of a tensor, the same in any order of addition; 0-dimensional, int64."""
    real = torch.view_as_real(parameter) if parameter.is_complex() else parameter
    bits = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[real.element_size()]
    return real.detach().contiguous().view(-1).view(bits).sum(dtype=torch.int64)


def differing_parameters(
    named: Sequence[tuple[str, Tensor]], gather: Callable[[Tensor], list[Tensor]]
) -> list[tuple[str, list[int]]]:
    """The parameters whose checksums are not those of rank 0, each with the ranks on which they are not.

    Args:
        named: names and parameters, the same names in the same order on all ranks.
        gather: tensors of the same shape from all processes, by rank.
    """
    with torch.no_grad():
        sums = torch.stack([checksum(parameter) for _, parameter in named])
        ranks = torch.stack(gather(sums)).cpu()
    different = ranks != ranks[0]  # ranks x parameters
    return [
        (name, different[:, index].nonzero().flatten().tolist())
        for index, (name, _) in enumerate(named)
        if different[:, index].any()
    ]
