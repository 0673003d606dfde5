"""How do predictions stand in a table, CSV or Parquet, and how are they read from there?

A table has a row for each sample: a number or a string is one column, a vector is several (`prediction_0`, ...).
"""

from __future__ import annotations

import csv
import importlib.util
import itertools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, TypedDict

import numpy as np
import torch

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.mapped_pages import MappedPages
from lightning_adapter.evaluation.plain_outputs import Plain

#: How many cells are written at a time: texts take more memory than numbers, and Parquet reads large groups faster.
_CELLS = {".csv": 1 << 18, ".parquet": 1 << 22}
_NAMES = ("index", "key", "prediction", "target")
#: A vector with more columns is no table that anything would open.
MOST_COLUMNS = 16384

_Cells: TypeAlias = list[Any]


class Column(TypedDict):
    """What stands under a name: written into the manifest, so that a reader gets back what was stored.

    Attributes:
        dtype: a type of torch without its prefix, "str", or "mixed" for a list of numbers of several types.
        width: of a vector; None for one column.
    """

    dtype: str
    width: int | None


def check_parquet() -> None:
    """Refuse Parquet where its library is missing.

    Raises:
        ConfigurationError: what to install.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise ConfigurationError(
            "--format parquet needs pyarrow, which is not installed. Type pip install 'lightning-adapter[parquet]' (or pip "
            "install pyarrow), or take --format csv."
        )


def misfit(value: Plain, size: int) -> str | None:
    """Why a batch's value cannot stand in a table: what it is; None where it can.

    Args:
        value: of a batch, as plain data.
        size: number of its samples.
    """
    if isinstance(value, torch.Tensor):
        if value.ndim == 0 and size == 1:
            return None
        if value.ndim == 0 or value.ndim > 2 or value.shape[0] != size or value.is_complex():
            return describe(value)
        return describe(value) if value.ndim == 2 and value.shape[1] > MOST_COLUMNS else None
    if isinstance(value, (list, tuple)):
        is_flat = len(value) == size and all(_is_cell(item) for item in value)
        return None if is_flat else describe(value)
    return None if size == 1 and _is_cell(value) else describe(value)


def _is_cell(value: Plain) -> bool:
    return isinstance(value, (str, bool, int, float))


def describe(value: Plain) -> str:
    """What a value is, in a few words: `dict of 'logits' (float32 tensor of 4x10), 'label' (list of 4)`."""
    if isinstance(value, torch.Tensor):
        shape = "x".join(map(str, value.shape)) or "one number"
        return f"{str(value.dtype).removeprefix('torch.')} tensor of {shape}"
    if isinstance(value, dict):
        parts = [f"{name!r} ({describe(part)})" for name, part in itertools.islice(value.items(), 6)]
        return f"dict of {', '.join(parts)}{', ...' if len(value) > 6 else ''}"
    if isinstance(value, (tuple, list)):
        first = f", the first a {describe(value[0])}" if value else ""
        return f"{type(value).__name__} of {len(value)}{first}"
    return type(value).__name__


def columns_of(content: Mapping[str, Plain], path: pathlib.Path) -> dict[str, Column]:
    """The columns that the content of a joined file has; those that no table can hold are left out.

    Raises:
        ConfigurationError: the predictions cannot stand in a table.
    """
    columns: dict[str, Column] = {}
    for name in _NAMES:
        column = _column(content.get(name))
        if column is not None:
            columns[name] = column
        elif name == "prediction":
            found = describe(content[name]) if name in content else "a value for each batch, and none for each sample"
            raise ConfigurationError(
                f"{path.name} cannot be written: over all batches predict_step() has returned a {found}, and a table needs "
                "one number, string or vector of one length per sample. Type the same command with --format pt."
            )
    return columns


def _column(value: Plain) -> Column | None:
    if isinstance(value, torch.Tensor) and value.ndim in (1, 2) and not value.is_complex():
        return {"dtype": str(value.dtype).removeprefix("torch."), "width": value.shape[1] if value.ndim == 2 else None}
    if isinstance(value, list) and all(map(_is_cell, value)):
        return {"dtype": "str" if all(isinstance(item, str) for item in value) else "mixed", "width": None}
    return None


def _headers(name: str, column: Column) -> list[str]:
    return [name] if column["width"] is None else [f"{name}_{number}" for number in range(column["width"])]


def write(content: Mapping[str, Plain], columns: Mapping[str, Column], path: pathlib.Path, samples: int) -> None:
    """Write a table, some rows at a time.

    Args:
        content: of a joined file.
        columns: of the table.
        path: of the file; its ending says the format.
        samples: number of rows.
    """
    headers = {name: _headers(name, column) for name, column in columns.items()}
    rows = max(1, _CELLS[path.suffix] // sum(map(len, headers.values())))
    parts = _parts({name: content[name] for name in columns}, samples, rows)
    if path.suffix == ".csv":
        _write_csv(headers, parts, path)
    else:
        _write_parquet(headers, parts, path)


def _parts(content: Mapping[str, Plain], samples: int, rows: int) -> Iterator[Mapping[str, Plain]]:
    pages = MappedPages([value for value in content.values() if isinstance(value, torch.Tensor)])
    for start in range(0, max(1, samples), rows):
        part = {name: value[start : start + rows] for name, value in content.items()}
        yield part
        pages.touched(sum(value.numel() * value.element_size() for value in part.values() if torch.is_tensor(value)))


def _write_csv(headers: Mapping[str, Sequence[str]], parts: Iterator[Mapping[str, Plain]], path: pathlib.Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([header for name in headers for header in headers[name]])
        for part in parts:
            cells = [column for name in headers for column in _text_columns(part[name])]
            writer.writerows(zip(*cells, strict=True))


def _text_columns(value: Plain) -> list[_Cells]:
    if isinstance(value, list):
        return [value]
    array = _array(value)
    # numpy writes the shortest text that gives the same number of its own type; Python would write that of a double
    texts = array.astype(str) if array.dtype.kind == "f" else array
    return [texts.tolist()] if array.ndim == 1 else [texts[:, number].tolist() for number in range(array.shape[1])]


def _array(value: torch.Tensor) -> np.ndarray[Any, Any]:
    try:
        return value.numpy()
    except TypeError:  # a type that numpy has not, such as bfloat16: each of its numbers is a float32
        return value.float().numpy()


def _write_parquet(
    headers: Mapping[str, Sequence[str]], parts: Iterator[Mapping[str, Plain]], path: pathlib.Path
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writer = None
    try:
        for part in parts:
            cells: dict[str, Any] = {}
            for name, names in headers.items():
                value = part[name]
                array = value if isinstance(value, list) else _array(value)
                of_name = [array] if isinstance(array, list) or array.ndim == 1 else list(array.T)
                cells.update(zip(names, map(pa.array, of_name), strict=True))
            table = pa.table(cells)
            writer = writer or pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
    finally:
        if writer is not None:
            writer.close()


def read(path: pathlib.Path, columns: Mapping[str, Column], size: int) -> Iterator[dict[str, Plain]]:
    """What `write` has written, some rows at a time.

    Raises:
        ConfigurationError: the file's columns are other ones, or its library is missing.
    """
    rows = _read_csv if path.suffix == ".csv" else _read_parquet
    for cells in rows(path, size):
        missing = [header for name in columns for header in _headers(name, columns[name]) if header not in cells]
        if missing:
            raise ConfigurationError(f"{path} lacks the columns {', '.join(missing[:6])}. Predict again.")
        yield {
            name: _value(column, [cells[header] for header in _headers(name, column)])
            for name, column in columns.items()
        }


def _value(column: Column, cells: list[_Cells | np.ndarray[Any, Any]]) -> Plain:
    if column["dtype"] in ("str", "mixed"):
        return cells[0]
    dtype = getattr(torch, column["dtype"])
    made = [_numbers(of_column, dtype) for of_column in cells]
    if column["width"] is None:
        return made[0]
    return torch.stack(made, dim=1) if made else torch.empty((0, 0), dtype=dtype)


def _numbers(cells: _Cells | np.ndarray[Any, Any], dtype: torch.dtype) -> torch.Tensor:
    if isinstance(cells, np.ndarray):
        return torch.from_numpy(np.array(cells)).to(dtype)
    if cells and isinstance(cells[0], str):
        texts = cells
        if dtype is torch.bool:
            cells = [text == "True" for text in texts]
        else:
            cells = list(map(float if dtype.is_floating_point else int, texts))
    return torch.tensor(cells, dtype=dtype)


def _read_csv(path: pathlib.Path, size: int) -> Iterator[dict[str, _Cells]]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.reader(file)
        headers = next(reader, [])
        while rows := list(itertools.islice(reader, size)):
            yield dict(zip(headers, map(list, zip(*rows, strict=True)), strict=True))


def _cells(column: Any) -> _Cells | np.ndarray[Any, Any]:
    cells: np.ndarray[Any, Any] = column.to_numpy(zero_copy_only=False)
    return column.to_pylist() if cells.dtype.kind == "O" else cells


def _read_parquet(path: pathlib.Path, size: int) -> Iterator[dict[str, _Cells | np.ndarray[Any, Any]]]:
    check_parquet()
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):  # over all of them at once, what was read stays in memory
            for batch in file.iter_batches(batch_size=size, row_groups=[group]):
                yield {name: _cells(batch.column(name)) for name in batch.schema.names}
