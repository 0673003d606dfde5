"""What is a directory of stored predictions, and how is it read without the model?

    predictions/manifest.json   what was predicted with what, and a row for each loader
    predictions/loader-0.pt     "index", "prediction", and where there are any "target" and "key", of all samples in order
    predictions/.parts/         finished batches, while the others are still made

In a file of torch dicts and tuples are the structure of what was returned, tensors have a row for each sample, and lists
have an element for each sample: strings, or tensors whose shapes differ. What belongs to whole batches (a loss) stands in
"per_batch". The files are data: torch's restricted loader reads them.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch

from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.evaluation import prediction_tables
from lightning_adapter.evaluation.mapped_pages import MappedPages
from lightning_adapter.evaluation.plain_outputs import Plain, copied
from lightning_adapter.runs import json_file

MANIFEST = "manifest.json"
PARTS = ".parts"
FORMAT = 1
FILE_FORMATS = ("pt", "csv", "parquet")
#: The directory's name, where none is asked for.
DIRECTORY = "predictions"

#: What a manifest holds: JSON.
Manifest: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Chunk:
    """Some samples that follow each other in the file.

    Attributes:
        index: int64 [n], of the samples in the dataset; where the loader gave no indices, their numbers in the file.
        prediction: a tensor [n, ...], a list of n, or a dict or a tuple of such.
        target: likewise; None where there are none.
        key: a list of n strings or a tensor [n]; None where there are none.
    """

    index: torch.Tensor
    prediction: Plain
    target: Plain
    key: Plain


@dataclass(frozen=True)
class Loader:
    """The predictions for one dataloader.

    Attributes:
        file: where they stand.
        samples: how many there are.
        description: the loader's row of the manifest.
    """

    file: pathlib.Path
    samples: int
    description: Mapping[str, Any]


@dataclass(frozen=True)
class Predictions:
    """Stored predictions.

    Attributes:
        directory: where they lie.
        manifest: what was predicted with what.
        loaders: one for each dataloader, in their order.
    """

    directory: pathlib.Path
    manifest: Manifest
    loaders: tuple[Loader, ...]

    @classmethod
    def open(cls, path: str | pathlib.Path) -> Predictions:
        """Open what `lightning-adapter predict` has written.

        Args:
            path: the directory, or one of a run or a checkpoint: then `predictions` in it, or the only ones of a split.

        Raises:
            ConfigurationError: there are no predictions, or those of several splits, they are not complete, or a file is missing.
        """
        directory = _meant(pathlib.Path(path).expanduser())
        manifest = read_manifest(directory)
        if manifest is None:
            raise ConfigurationError(_no_predictions(directory))
        if not manifest.get("complete"):
            raise ConfigurationError(
                f"The predictions in {directory} are not complete: lightning-adapter predict still runs, or was cut off. "
                "Type the same predict command again, and it goes on where it was."
            )
        rows = manifest["loaders"]
        loaders = tuple(Loader(directory / str(row["file"]), int(row["samples"]), row) for row in rows)
        missing = [loader.file.name for loader in loaders if not loader.file.is_file()]
        if missing:
            raise ConfigurationError(
                f"{directory} lacks {', '.join(missing)}, which its {MANIFEST} names. Predict again into another "
                "directory, or with --overwrite."
            )
        return cls(directory, manifest, loaders)

    @property
    def file_format(self) -> str:
        """One of `FILE_FORMATS`."""
        return str(self.manifest["file_format"])

    def chunks(self, loader: int = 0, size: int = 1024) -> Iterator[Chunk]:
        """The predictions for one loader in the file's order, `size` samples at a time.

        Raises:
            ConfigurationError: there is no such loader, or the file cannot be read.
        """
        if not 0 <= loader < len(self.loaders):
            raise ConfigurationError(
                f"There is no loader {loader} in {self.directory}, which holds predictions for {len(self.loaders)}, from 0 "
                "on."
            )
        of = self.loaders[loader]
        if self.file_format == "pt":
            yield from _chunks_of_torch(of, size)
            return
        for columns in prediction_tables.read(of.file, of.description["columns"], size):
            yield Chunk(columns["index"], columns["prediction"], columns.get("target"), columns.get("key"))


def _meant(path: pathlib.Path) -> pathlib.Path:
    """The directory itself, or that of the predictions in it.

    Raises:
        ConfigurationError: there are those of several splits, and none is called `predictions`.
    """
    for directory in (path, path / DIRECTORY):
        if (directory / MANIFEST).exists():
            return directory
    found = sorted(manifest.parent for manifest in path.glob(f"{DIRECTORY}-*/{MANIFEST}"))
    if len(found) > 1:
        raise ConfigurationError(f"{path} has several predictions. To fix, type which: {', '.join(map(str, found))}")
    return found[0] if found else path


def read_manifest(directory: pathlib.Path) -> Manifest | None:
    """The manifest of a directory; None where it has none.

    Raises:
        ConfigurationError: it is damaged, or not one of ours.
    """
    path = directory / MANIFEST
    try:
        manifest = json_file.read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}. Predict again into another directory.") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("loaders"), list) or "file_format" not in manifest:
        raise ConfigurationError(f"{path} is no manifest of predictions. Give a directory that predict has written.")
    if manifest.get("format") != FORMAT:
        raise ConfigurationError(
            f"{path} has format {shown(manifest.get('format'))}, and this version of lightning_adapter reads {FORMAT}. "
            "Install the version that wrote it, or predict again."
        )
    return manifest


def write_manifest(directory: pathlib.Path, manifest: Manifest) -> None:
    """Write a manifest, whole or not at all."""
    json_file.write(directory / MANIFEST, manifest)


def _no_predictions(directory: pathlib.Path) -> str:
    if not directory.exists():
        return f"There is no {directory}. Make predictions first: lightning-adapter predict RUN --out {directory}"
    return (
        f"{directory} holds no predictions: there is no {MANIFEST} in it. Give a directory that lightning-adapter predict "
        "has written; its last lines say which."
    )


def load(path: pathlib.Path) -> dict[str, Plain]:
    """What a joined file holds, its tensors mapped from the disk.

    Raises:
        ConfigurationError: it is damaged.
    """
    try:
        content: dict[str, Plain] = torch.load(path, mmap=True, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever its parts do
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigurationError(f"{path} cannot be read: {first}. Predict again with --overwrite.") from error
    if not isinstance(content, dict):
        raise ConfigurationError(
            f"{path} holds {shown(type(content).__name__)} and no predictions. Predict again with --overwrite."
        )
    return content


def _chunks_of_torch(loader: Loader, size: int) -> Iterator[Chunk]:
    content = load(loader.file)
    pages = MappedPages(content)
    per_sample = loader.file.stat().st_size // max(1, loader.samples)
    for start in range(0, loader.samples, size):
        end = min(start + size, loader.samples)
        columns = [cut(content.get(name), start, end) for name in ("index", "prediction", "target", "key")]
        pages.touched(per_sample * (end - start))
        yield Chunk(*columns)


def cut(value: Plain, start: int, end: int) -> Plain:
    """The samples from `start` to before `end` of a part of a joined file, copied from the mapping."""
    if isinstance(value, torch.Tensor):
        return value[start:end].clone()
    if isinstance(value, dict):
        return {name: cut(part, start, end) for name, part in value.items()}
    if isinstance(value, tuple):
        return tuple(cut(part, start, end) for part in value)
    return copied(value[start:end]) if isinstance(value, list) else value
