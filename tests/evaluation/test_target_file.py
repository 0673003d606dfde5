"""Targets of a file belong to predictions by their order in the dataset, or by a column that says whose they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.target_file import TargetFile, read_targets

INDEX = torch.tensor([2, 0, 1])


def text(path: Path, content: str) -> TargetFile:
    path.write_text(content, encoding="utf-8")
    return read_targets(path)


def saved(path: Path, content: Any) -> TargetFile:
    torch.save(content, path)
    return read_targets(path)


def test_tensor_is_taken_in_the_order_of_the_dataset(tmp_path: Path) -> None:
    assert saved(tmp_path / "a.pt", torch.tensor([5, 6, 7])).of(INDEX, None).tolist() == [7, 5, 6]
    assert saved(tmp_path / "b.pt", {"target": torch.tensor([5, 6, 7])}).of(INDEX, None).tolist() == [7, 5, 6]
    assert saved(tmp_path / "c.pt", ["a", "b", "c"]).of(INDEX, None) == ["c", "a", "b"]
    joined = saved(tmp_path / "d.pt", {"target": torch.tensor([5, 6, 7]), "key": ["x", "y", "z"]})
    assert joined.of(INDEX, ["z", "z", "x"]).tolist() == [7, 7, 5]


def test_array_is_read_where_it_is_needed(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(6, dtype=np.float64).reshape(3, 2))
    targets = read_targets(tmp_path / "a.npy")
    assert isinstance(targets.values, np.memmap)
    taken = targets.of(INDEX, None)
    assert taken.dtype == torch.float64
    assert taken.tolist() == [[4.0, 5.0], [0.0, 1.0], [2.0, 3.0]]
    np.save(tmp_path / "b.npy", np.array(["a", "b", "c"]))
    assert read_targets(tmp_path / "b.npy").of(INDEX, None) == ["c", "a", "b"]


@pytest.mark.parametrize(
    ("content", "dtype", "expected"),
    [
        ("target\n5\n6\n7\n", torch.int64, [7, 5, 6]),
        ("5\n6\n7\n", torch.int64, [7, 5, 6]),
        ("other\n0.5\n1\n2\n", torch.float32, [2.0, 0.5, 1.0]),
        ("target\nTrue\nFalse\nFalse\n", torch.bool, [False, True, False]),
        ("x,label\n1,5\n2,6\n3,7\n", torch.int64, [7, 5, 6]),
        ("target_0,target_1\n1,2\n3,4\n5,6\n", torch.int64, [[5, 6], [1, 2], [3, 4]]),
        ("index,target\n2,7\n1,6\n0,5\n9,9\n", torch.int64, [7, 5, 6]),
        ("\ufeffkey,target\r\nb,6\r\na,5\r\nc,7\r\n", torch.int64, [7, 5, 6]),
    ],
)
def test_table_is_read_by_its_columns(content: str, dtype: torch.dtype, expected: list[Any], tmp_path: Path) -> None:
    taken = text(tmp_path / "t.csv", content).of(INDEX, ["c", "a", "b"])
    assert taken.dtype == dtype
    assert taken.tolist() == expected


def test_column_of_texts_is_a_list(tmp_path: Path) -> None:
    assert text(tmp_path / "t.csv", 'target\n"a, b"\nc\nd\n').of(INDEX, None) == ["d", "a, b", "c"]


def test_keys_of_numbers_match_those_of_a_tensor(tmp_path: Path) -> None:
    targets = text(tmp_path / "t.csv", "key,target\n10,1\n20,2\n30,3\n")
    assert targets.of(INDEX, torch.tensor([30, 10, 20])).tolist() == [3, 1, 2]


def test_column_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n1,4\n2,5\n3,6\n")
    assert read_targets(tmp_path / "t.csv", "b").of(INDEX, None).tolist() == [6, 4, 5]
    with pytest.raises(ConfigurationError, match=r"--target-key c: .*t.csv has no such column; it has a, b"):
        read_targets(tmp_path / "t.csv", "c")
    with pytest.raises(
        ConfigurationError, match=r"has the columns a, b, and none is called target. To fix, .*--target-key NAME"
    ):
        read_targets(tmp_path / "t.csv")


def test_parquet_is_read_like_a_table(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(
        pyarrow.table({"index": [1, 0, 2], "target": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]}), tmp_path / "t.parquet"
    )
    assert read_targets(tmp_path / "t.parquet").of(INDEX, None).tolist() == [[5.0, 6.0], [3.0, 4.0], [1.0, 2.0]]


def test_parquet_without_its_library_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    with pytest.raises(ConfigurationError, match="needs pyarrow, which is not installed: pip install"):
        read_targets(tmp_path / "t.parquet")


def test_lengths_that_differ_are_refused(tmp_path: Path) -> None:
    targets = text(tmp_path / "t.csv", "target\n1\n2\n")
    with pytest.raises(
        ConfigurationError, match=r"has 2 targets, and loader 0 has 3 predictions.*To fix, give one target for each"
    ):
        targets.check_length(3, "loader 0")
    targets.check_length(2, "loader 0")
    with pytest.raises(ConfigurationError, match=r"has 2 targets in the order of the dataset, and .* of sample 7"):
        targets.of(torch.tensor([7, 0]), None)
    text(tmp_path / "u.csv", "index,target\n1,1\n2,2\n").check_length(3, "loader 0")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("key,target\na,1\nb,2\n", "has no target for 1 of 3 predictions, the first of key 'c'"),
        ("index,target\n0,1\n1,2\n", "has no target for 1 of 3 predictions, the first of index 2"),
        ("key,target\na,1\na,2\n", "has two rows of key 'a', so that nobody knows which one counts"),
        ("index,target\na,1\nb,2\n", "the column 'index' has to hold whole numbers"),
        ("a,target\n1\n", "t.csv, line 2: 2 values are needed, and it has 1"),
        ("a,target\n1,\n", "t.csv, line 2: 2 values are needed, and it has 1"),
        ("", "t.csv is empty"),
    ],
)
def test_table_that_does_not_fit_is_refused(content: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        text(tmp_path / "t.csv", content).of(INDEX, ["c", "a", "b"])


def test_keys_without_keys_of_predictions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"has keys, and the predictions have none. To fix, name the column 'index'"
    ):
        text(tmp_path / "t.csv", "key,target\na,1\n").of(INDEX, None)


def test_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("1")
    (tmp_path / "labels.csv").write_text("1")
    for name, message in [
        ("labels.txt", "a file of type .pt, .npy, .csv, .parquet is needed; did you mean 'labels.csv'"),
        ("label.csv", "is not there; did you mean 'labels.csv'"),
    ]:
        with pytest.raises(ConfigurationError, match=message):
            read_targets(tmp_path / name)
    for name in ("broken.pt", "broken.npy", "broken.csv"):
        (tmp_path / name).write_bytes(b"\xff\xfe\x00")
        with pytest.raises(ConfigurationError, match=f"{name} cannot be read as a .* file"):
            read_targets(tmp_path / name)
    with pytest.raises(ConfigurationError, match="holds int64 3; a tensor, an array or a list is needed"):
        saved(tmp_path / "number.pt", torch.tensor(3))
