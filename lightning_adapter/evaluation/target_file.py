"""Which targets does a file hold, and which of them belong to which predictions?"""

from __future__ import annotations

import csv
import pathlib
import pickle
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch

from lightning_adapter.errors import ConfigurationError, guess
from lightning_adapter.evaluation.metric_inputs import TARGET_KEYS, Tree, described

FORMATS = (".pt", ".npy", ".csv", ".parquet")

#: What identifies samples: their positions in the dataset, or keys.
Samples: TypeAlias = Sequence[object] | torch.Tensor
Table: TypeAlias = dict[str, list[object]]


@dataclass(frozen=True)
class TargetFile:
    """Targets of a data set.

    Attributes:
        path: the file.
        values: a tensor [M, ...], a list of M, a NumPy array that is read as it is asked for, or a dict of these.
        joined_by: "index" or "key", the column that says to which sample a row belongs; None in the order of the dataset.
        rows: for each index, or each key as text, the row.
    """

    path: pathlib.Path
    values: Tree
    joined_by: str | None = None
    rows: Mapping[object, int] | None = None

    def check_length(self, samples: int, where: str) -> None:
        """Refuse targets in the order of the dataset that are not as many as the predictions.

        Raises:
            ConfigurationError: they are more, or fewer.
        """
        length = _length(self.values)
        if self.joined_by is None and length != samples:
            raise ConfigurationError(
                f"{self.path} has {length} targets, and {where} has {samples} predictions, so that nobody knows which belong "
                "together. To fix, give one target for each prediction in the order of the dataset, or a .csv or .parquet "
                "file with a column 'index' (the position in the dataset) or 'key'"
            )

    def of(self, index: torch.Tensor, key: Samples | None) -> Tree:
        """Return the targets of these samples.

        Args:
            index: int64 [N], positions in the dataset.
            key: N keys; None where the predictions have none.

        Raises:
            ConfigurationError: a sample has no target.
        """
        if self.rows is None:
            last = int(index.max()) if len(index) else 0
            if last >= _length(self.values):
                raise ConfigurationError(
                    f"{self.path} has {_length(self.values)} targets in the order of the dataset, and there is a prediction "
                    f"of sample {last}. To fix, give targets of the whole dataset, or a column 'index' that says whose they are"
                )
            return _take(self.values, index)
        if self.joined_by == "key" and key is None:
            raise ConfigurationError(
                f"{self.path} has keys, and the predictions have none. To fix, name the column 'index' and let it hold positions "
                "in the dataset, or give the targets in the order of the dataset"
            )
        wanted = [_text(one) for one in _listed(key)] if self.joined_by == "key" else index.tolist()
        missing = [one for one in wanted if one not in self.rows]
        if missing:
            raise ConfigurationError(
                f"{self.path} has no target for {len(missing)} of {len(wanted)} predictions, the first of {self.joined_by} "
                f"{missing[0]!r}"
            )
        return _take(self.values, torch.tensor([self.rows[one] for one in wanted], dtype=torch.int64))


def read_targets(path: pathlib.Path, name: str | None = None) -> TargetFile:
    """Read a file of targets.

    Tables are read whole, arrays (.npy) and tensors (.pt) where they are needed.

    Args:
        path: a .pt, .npy, .csv or .parquet file: a tensor, array or column in the order of the dataset, or with a column (in
            a .pt file an entry) "index" or "key" that says to which sample a row belongs.
        name: the column, or the entry of a dict; by default the only one, or the one that is called as targets are.

    Raises:
        ConfigurationError: it is not there, not readable, or has no such column.
    """
    if path.suffix not in FORMATS:
        raise ConfigurationError(f"--targets {path}: a file of type {', '.join(FORMATS)} is needed{_near(path)}")
    if not path.is_file():
        raise ConfigurationError(f"--targets {path} is {'a directory' if path.is_dir() else 'not there'}{_near(path)}")
    try:
        if path.suffix == ".npy":
            return TargetFile(path, _of_samples(path, np.load(path, mmap_mode="r", allow_pickle=False)))
        if path.suffix == ".pt":
            content = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
            if isinstance(content, Mapping):
                return _from_entries(path, content, name)
            return TargetFile(path, _of_samples(path, content))
        table = _read_csv(path) if path.suffix == ".csv" else _read_parquet(path)
    except (OSError, ValueError, RuntimeError, EOFError, csv.Error, pickle.UnpicklingError) as error:
        if isinstance(error, ConfigurationError):
            raise
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigurationError(f"--targets {path} cannot be read as a {path.suffix} file: {first}") from error
    return _from_entries(path, {key: _tensor(column) for key, column in table.items()}, name)


def _of_samples(path: pathlib.Path, content: Tree) -> Tree:
    """Refuse what holds no samples.

    Raises:
        ConfigurationError: it is neither an array nor a list.
    """
    if isinstance(content, list) or (isinstance(content, (torch.Tensor, np.ndarray)) and content.ndim):
        return content
    raise ConfigurationError(
        f"--targets {path} holds {described(content)}; a tensor, an array or a list is needed, with one target for each sample"
    )


def _from_entries(path: pathlib.Path, entries: Mapping[str, Tree], name: str | None) -> TargetFile:
    """Choose the targets among the columns of a table, or the entries of a dict."""
    by = next((key for key in ("index", "key") if key in entries and key != name), None)
    others = [key for key in entries if key not in ("index", "key")]
    if name is None:
        found = next((key for key in TARGET_KEYS if key in entries or f"{key}_0" in entries), None)
        found = others[0] if found is None and len(others) == 1 else found
        if found is None:
            raise ConfigurationError(
                f"--targets {path} has the columns {', '.join(map(str, entries)) or 'none'}, and none is called target. To fix, "
                "name the one that holds the targets: --target-key NAME"
            )
        name = found
    values = entries[name] if name in entries else _vector(entries, name)
    if values is None:
        raise ConfigurationError(
            f"--target-key {name}: {path} has no such column; it has {', '.join(map(str, entries))}"
            f"{guess(name, map(str, entries))}"
        )
    if by is None:
        return TargetFile(path, values)
    keys = [_text(one) if by == "key" else one for one in _listed(entries[by])]
    rows = {key: row for row, key in enumerate(keys)}
    if len(rows) < len(keys):
        twice = next(key for row, key in enumerate(keys) if rows[key] != row)
        raise ConfigurationError(
            f"--targets {path} has two rows of {by} {twice!r}, so that nobody knows which one counts"
        )
    if by == "index" and not all(isinstance(one, int) for one in keys):
        raise ConfigurationError(
            f"--targets {path}: the column 'index' has to hold whole numbers; call it 'key' otherwise"
        )
    return TargetFile(path, values, by, rows)


def _vector(entries: Mapping[str, Tree], name: str) -> torch.Tensor | None:
    """The columns `name_0`, `name_1` and so on as one tensor [M, C]; None where they are not there, or no numbers."""
    columns: list[Tree] = []
    while f"{name}_{len(columns)}" in entries:
        columns.append(entries[f"{name}_{len(columns)}"])
    if not columns or not all(isinstance(one, torch.Tensor) for one in columns):
        return None
    return torch.stack(columns, dim=1)


def _read_csv(path: pathlib.Path) -> Table:
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.reader(file)
        first = next(rows, None)
        if first is None:
            raise ConfigurationError(f"--targets {path} is empty")
        bare = len(first) == 1 and _number(first[0]) is not None  # a column of numbers without a head
        names = ["target"] if bare else first
        columns: list[list[object]] = [[first[0]] if bare else [] for _ in names]
        for row in rows:
            if not row:  # an empty line
                continue
            if len(row) != len(names) or "" in row:
                raise ConfigurationError(
                    f"--targets {path}, line {rows.line_num}: {len(names)} values are needed, and it has "
                    f"{len([one for one in row if one])}"
                )
            for column, text in zip(columns, row, strict=True):
                column.append(text)
    return {name: _typed(column) for name, column in zip(names, columns, strict=True)}


def _read_parquet(path: pathlib.Path) -> Table:
    try:
        import pyarrow.parquet
    except ImportError as error:
        raise ConfigurationError(
            f"--targets {path} needs pyarrow, which is not installed: pip install 'lightning-adapter[parquet]'"
        ) from error
    return dict(pyarrow.parquet.read_table(path).to_pydict())


def _typed(column: list[object]) -> list[object]:
    """Whole numbers, numbers, truth values, or else text, whatever all of a column are."""
    texts = [str(one) for one in column]
    if texts and all(text in ("True", "False", "true", "false") for text in texts):
        return [text in ("True", "true") for text in texts]
    numbers = [number for number in map(_number, texts) if number is not None]
    return list(numbers) if len(numbers) == len(texts) else column


def _number(text: str) -> int | float | None:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return None


def _tensor(column: list[object]) -> Tree:
    """A column of numbers, or of equally long lists of numbers, as a tensor: int64, bool, else float32."""
    if all(isinstance(one, (bool, int, float)) for one in column) or all(isinstance(one, list) for one in column):
        try:
            return torch.tensor(column)
        except (ValueError, TypeError, RuntimeError):  # lists of different lengths, of texts, a number of 20 digits
            return column
    return column


def _listed(samples: Iterable[object] | torch.Tensor | None) -> list[object]:
    return samples.tolist() if isinstance(samples, torch.Tensor) else list(samples or ())


def _text(key: object) -> str:
    return str(key.item() if isinstance(key, torch.Tensor) else key)


def _length(values: Tree) -> int:
    return min((len(one) for one in values.values()), default=0) if isinstance(values, Mapping) else len(values)


def _take(values: Tree, rows: torch.Tensor) -> Tree:
    if isinstance(values, Mapping):
        return {key: _take(one, rows) for key, one in values.items()}
    if isinstance(values, np.ndarray):
        taken = np.array(values[rows.numpy()])
        return taken.tolist() if taken.dtype.kind in "US" else torch.from_numpy(taken)
    return values[rows] if isinstance(values, torch.Tensor) else [values[row] for row in rows.tolist()]


def _near(path: pathlib.Path) -> str:
    names = [one.name for one in path.parent.glob("*") if one.suffix in FORMATS] if path.parent.is_dir() else []
    return guess(path.name, names)
