"""What of a batch is kept beside its prediction: which target, which key, and what tells it from other batches?"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch

from lightning_adapter.errors import ConfigurationError, guess, shown
from lightning_adapter.evaluation.plain_outputs import Plain, Value, falls_apart, plain, size_of

_TARGETS = ("target", "targets", "label", "labels", "y")
_KEYS = (
    *("__key__", "key", "keys", "id", "ids", "sample_id", "sample_ids", "idx", "index", "indices"),
    *("uid", "name", "names", "filename", "filenames", "file_name", "path", "paths"),
)
#: How many numbers of a sample, or of what is no sample, are looked at to tell batches apart.
_LOOKED_AT = 64


class Found(NamedTuple):
    """A part of a batch.

    Attributes:
        value: as plain data; None where the batch has no such part.
        source: where it stands in the batch: `batch[1]`.
    """

    value: Plain
    source: str | None


_NOTHING = Found(None, None)


def target_of(batch: Value, name: str | None) -> Found:
    """The targets in a batch: the second of `(x, y)`, or what a name says.

    Args:
        batch: as `predict_step` gets it.
        name: of the targets in a mapping or an object, or a number in a tuple; None to look under the usual names.

    Raises:
        ConfigurationError: the batch has nothing of this name, or it cannot be stored.
    """
    if name is not None:
        return _named(batch, name)
    for known in _TARGETS:
        found = _part(batch, known)
        if found is not None:
            source = _source(batch, known)
            return _if_samples(plain(found, source), size_of(batch), source)
    if isinstance(batch, (tuple, list)) and len(batch) >= 2 and not isinstance(batch[0], (str, bytes)):
        value, source = _plain_or_nothing(batch[1]), "batch[1]"
        if isinstance(value, tuple):  # a target and its weights, say, of which there may be none
            there = [number for number, part in enumerate(value) if part is not None]
            if len(there) == 1:
                value, source = value[there[0]], f"batch[1][{there[0]}]"
        return _if_samples(value, size_of(batch), source)
    return _NOTHING


def key_of(batch: Value) -> Found:
    """What names the samples of a batch: a list or a vector of its length under one of the usual names."""
    size = size_of(batch)
    for name in _KEYS:
        found = _part(batch, name) if isinstance(batch, Mapping) or hasattr(batch, "_fields") else None
        if found is None or size is None:
            continue
        key = _plain_or_nothing([found] if size == 1 and isinstance(found, (str, int)) else found)
        if isinstance(key, tuple):
            key = list(key)
        is_vector = isinstance(key, torch.Tensor) and tuple(key.shape) == (size,)
        if is_vector or (isinstance(key, list) and len(key) == size and all(isinstance(k, (str, int)) for k in key)):
            return Found(key, _source(batch, name))
    return _NOTHING


def _plain_or_nothing(value: Value) -> Plain:
    """Nobody has asked for this part of the batch: what cannot be stored is no target."""
    try:
        return plain(value)
    except ConfigurationError:
        return None


def _if_samples(value: Plain, size: int | None, source: str) -> Found:
    if value is None or (size is not None and not falls_apart(value, size)):
        return _NOTHING
    return Found(value, source)


def _named(batch: Value, name: str) -> Found:
    if isinstance(batch, (tuple, list)) and not hasattr(batch, "_fields"):
        if name.isdecimal() and int(name) < len(batch):
            return Found(plain(batch[int(name)], f"batch[{name}]"), f"batch[{name}]")
        raise ConfigurationError(
            f"--target-key {name} is no part of the batch, which is a {type(batch).__name__} of {len(batch)}. Give a number "
            f"from 0 to {len(batch) - 1}."
        )
    value = batch
    names = [name] if _part(batch, name) is not None else name.split(".")
    for one in names:
        found = _part(value, one)
        if found is None:
            known = [str(key) for key in value] if isinstance(value, Mapping) else list(getattr(value, "_fields", ()))
            has = f"has {', '.join(map(repr, known))}" if known else f"is a {type(value).__name__}"
            raise ConfigurationError(
                f"--target-key {name} is no part of the batch, which {has}{guess(one, known)}. Name one of its parts; dots "
                "nest."
            )
        value = found
    return Found(plain(value, _source(batch, name)), _source(batch, name))


def _part(batch: Value, name: str) -> Value:
    if isinstance(batch, Mapping):
        return batch.get(name)
    if isinstance(batch, (torch.Tensor, np.ndarray, str, bytes, list)) or (
        isinstance(batch, tuple) and not hasattr(batch, "_fields")
    ):
        return None
    found = getattr(batch, name, None)
    return None if callable(found) else found  # a tuple's own `index`


def _source(batch: Value, name: str) -> str:
    return f"batch[{name!r}]" if isinstance(batch, Mapping) else f"batch.{name}"


def mark_of(batch: Value) -> str:
    """A text that is another one for another batch, as good as always; some numbers of each sample are looked at."""
    digest = hashlib.blake2b(digest_size=16)
    for part in _parts(batch):
        digest.update(part)
    return digest.hexdigest()


def _parts(value: Value) -> Iterator[bytes]:
    if isinstance(value, np.ndarray) and value.dtype.kind in "biufc":
        value = torch.from_numpy(np.ascontiguousarray(value))
    if isinstance(value, torch.Tensor):
        yield f"{value.dtype}{tuple(value.shape)}".encode()
        if value.layout is torch.strided and not value.is_nested and value.numel():
            flat = value.detach().reshape(value.shape[0] if value.ndim else 1, -1)
            some = flat[:, :: max(1, flat.shape[1] // _LOOKED_AT)].cpu().contiguous()
            yield bytes(some.view(torch.uint8).numpy().data)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield repr(name).encode()
            yield from _parts(item)
    elif isinstance(value, (tuple, list)):
        yield str(len(value)).encode()
        for item in value:
            yield from _parts(item)
    elif isinstance(value, (str, bytes, bool, int, float, complex, type(None))):
        yield repr(value).encode()
    else:
        yield shown(type(value)).encode()
