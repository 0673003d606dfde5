"""Which scalars and images lie in TensorBoard's event files, read in one pass with little memory?

TensorBoard's own `EventAccumulator` computes a checksum in Python over each byte, ten megabytes in a second, and keeps all
that it may show. Here the records' documented frame (length, its checksum, data, its checksum) is followed, and each image
is made small before the next one is read.
"""

from __future__ import annotations

import io
import os
import pathlib
import struct
from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from PIL import Image
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.util import tensor_util

Pixels: TypeAlias = NDArray[np.uint8]

_PREFIX = "events.out.tfevents"
_HEADER = struct.Struct("<QI")
_CHECKSUM = 4
#: A larger record is no image but damage.
_LONGEST = 1 << 30
#: Pixels of the longer side of an image that is kept.
SIDE = 320
#: Images of one tag that are kept, spread over its steps.
KEPT = 16


class Scalars(NamedTuple):
    """The values of one tag: steps and values, in the order in which they were written."""

    steps: list[int]
    values: list[float]


class Images:
    """Some of the images of one tag, from the first to the last step, evenly spread however many come."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, Pixels]] = []
        self._newest: tuple[int, Any] | None = None
        self._every = 1
        self.count = 0

    def add(self, step: int, encoded: Any) -> None:
        """Take one more image, encoded as a file of it is.

        Raises:
            OSError: it is no image.
        """
        if self.count % self._every == 0:
            self._kept.append((step, _small(encoded)))
            self._newest = None
            if len(self._kept) > KEPT:
                self._kept = self._kept[::2]
                self._every *= 2
        else:
            self._newest = (step, encoded)
        self.count += 1

    def chosen(self) -> list[tuple[int, Pixels]]:
        """Steps and images, the newest one among them."""
        if self._newest is None:
            return list(self._kept)
        step, encoded = self._newest
        return [*self._kept[: KEPT - 1], (step, _small(encoded))]


class Logged(NamedTuple):
    """What some event files hold.

    Attributes:
        scalars: by tag.
        images: by tag.
        damaged: files that end in what is no record, with the reason.
    """

    scalars: dict[str, Scalars]
    images: dict[str, Images]
    damaged: list[str]


def folders_below(root: pathlib.Path) -> list[pathlib.Path]:
    """The folders that hold event files: each is a run of its own to TensorBoard."""
    return sorted(
        pathlib.Path(folder) for folder, _, names in os.walk(root) if any(name.startswith(_PREFIX) for name in names)
    )


def read(folder: pathlib.Path) -> Logged:
    """Read the event files of one folder; what a run that still writes has not finished yet is left out."""
    logged = Logged({}, {}, [])
    for path in sorted(path for path in folder.iterdir() if path.name.startswith(_PREFIX)):
        try:
            for event in _events(path):
                _sort(event, logged)
        except (OSError, DecodeError, ValueError) as error:
            logged.damaged.append(f"{path}: {error or type(error).__name__}")
    return logged


def _events(path: pathlib.Path) -> Iterator[Any]:
    with path.open("rb") as file:
        while len(header := file.read(_HEADER.size)) == _HEADER.size:
            length, _ = _HEADER.unpack(header)
            if length > _LONGEST:
                raise ValueError(f"a record of {length} bytes, at byte {file.tell() - _HEADER.size}, is none")
            data = file.read(length + _CHECKSUM)
            if len(data) < length + _CHECKSUM:
                return
            yield Event.FromString(data[:length])


def _sort(event: Any, logged: Logged) -> None:
    for value in event.summary.value:
        kind = value.WhichOneof("value")
        plugin = value.metadata.plugin_data.plugin_name
        if kind == "simple_value":
            _add(logged, value.tag, event.step, value.simple_value)
        elif kind == "image":
            logged.images.setdefault(value.tag, Images()).add(event.step, value.image.encoded_image_string)
        elif kind == "tensor" and plugin == "scalars":
            _add(logged, value.tag, event.step, float(tensor_util.make_ndarray(value.tensor)))
        elif kind == "tensor" and plugin == "images":
            # width and height as texts, then each image of a batch
            for index, encoded in enumerate(value.tensor.string_val[2:]):
                tag = value.tag if len(value.tensor.string_val) == 3 else f"{value.tag}/{index}"
                logged.images.setdefault(tag, Images()).add(event.step, encoded)


def _add(logged: Logged, tag: str, step: int, value: float) -> None:
    scalars = logged.scalars.setdefault(tag, Scalars([], []))
    scalars.steps.append(step)
    scalars.values.append(value)


def _small(encoded: Any) -> Pixels:
    with Image.open(io.BytesIO(encoded)) as image:
        image.thumbnail((SIDE, SIDE))
        return np.asarray(image.convert("RGB"))
