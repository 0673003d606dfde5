from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation import joining, mapped_pages, prediction_tables, shards
from lightning_adapter.evaluation.plain_outputs import plain, size_of
from lightning_adapter.evaluation.predictions import Predictions, load, read_manifest, write_manifest
from lightning_adapter.evaluation.shards import Record, Shard


def record(prediction: Any, index: Sequence[int] | None = None, size: int | None = None, **columns: Any) -> Record:
    count = len(index) if index is not None else size
    assert count is not None
    return {
        "size": count,
        "index": None if index is None else torch.tensor(index, dtype=torch.int64),
        "prediction": plain(prediction),
        "target": plain(columns.get("target")),
        "key": plain(columns.get("key")),
        "mark": None,
    }


def joined(folder: Path, *ranks: list[Record], per_shard: int = 2) -> tuple[dict[str, Any], joining.Joined]:
    """The joined file of the records of each rank, and what is known of it."""
    folder.mkdir(exist_ok=True)
    chains = []
    for rank, records in enumerate(ranks):
        chain = []
        for start in range(0, len(records), per_shard):
            part = records[start : start + per_shard]
            chain.append(Shard(0, rank, start, start + len(part)))
            shards.write(folder, chain[-1], part)
        chains.append(chain)
    made = joining.join(folder, chains, folder / "loader-0.pt")
    return load(folder / "loader-0.pt"), made


@pytest.fixture(params=[True, False], ids=["in place", "older torch"])
def either_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(joining, "CAN_RESERVE", request.param and joining.CAN_RESERVE)


@pytest.mark.usefixtures("either_way")
def test_batches_of_a_shuffled_loader_are_joined_in_the_order_of_the_dataset(tmp_path: Path) -> None:
    data = torch.randn(7, 3)
    order = [[4, 1, 6], [0, 2, 5], [3]]
    batches = [record(data[of], of, target=torch.tensor(of) * 10, key=[f"sample {n}" for n in of]) for of in order]
    content, made = joined(tmp_path, batches)
    assert content["index"].tolist() == list(range(7))
    assert torch.equal(content["prediction"], data)
    assert content["target"].tolist() == [0, 10, 20, 30, 40, 50, 60]
    assert content["key"] == [f"sample {n}" for n in range(7)]
    assert (made.samples, made.order, made.duplicates_dropped) == (7, "dataset", 0)
    assert sorted(path.name for path in tmp_path.iterdir() if "room" in path.name) == []


@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float64, torch.bool, torch.uint8, torch.int32, torch.complex64]
)
def test_types_stay_what_they_are(dtype: torch.dtype, tmp_path: Path) -> None:
    data = torch.randn(5, 2).to(dtype)
    content, _ = joined(tmp_path, [record(data[:3], [0, 1, 2]), record(data[3:], [3, 4])])
    assert content["prediction"].dtype is dtype
    assert torch.equal(content["prediction"], data)


def test_padding_of_several_processes_is_dropped(tmp_path: Path) -> None:
    first = [record(torch.tensor([0.0, 2.0]), [0, 2]), record(torch.tensor([4.0]), [4])]
    second = [record(torch.tensor([1.0, 3.0]), [1, 3]), record(torch.tensor([0.0]), [0])]
    content, made = joined(tmp_path, first, second)
    assert content["prediction"].tolist() == [0, 1, 2, 3, 4]
    assert (made.samples, made.duplicates_dropped) == (5, 1)


def test_sampler_with_replacement_keeps_its_repetitions_in_one_process(tmp_path: Path) -> None:
    content, made = joined(tmp_path, [record(torch.tensor([1.0, 0.0, 1.0]), [1, 0, 1])])
    assert content["index"].tolist() == [0, 1, 1]
    assert made.duplicates_dropped == 0


def test_without_indices_the_order_is_that_of_the_batches_rank_after_rank(tmp_path: Path) -> None:
    first = [record(torch.tensor([5.0, 6.0]), size=2)]
    second = [record(torch.tensor([1.0, 2.0]), size=2)]
    content, made = joined(tmp_path, first, second)
    assert content["prediction"].tolist() == [5, 6, 1, 2]
    assert content["index"].tolist() == [0, 1, 2, 3]
    assert made.order == "batches"


def test_nested_outputs_keep_their_structure(tmp_path: Path) -> None:
    class Out(NamedTuple):
        logits: torch.Tensor
        names: list[str]

    @dataclass
    class More:
        pair: tuple[torch.Tensor, np.ndarray]
        nothing: None = None

    def output(size: int) -> dict[str, Any]:
        more = More((torch.ones(size, 2), np.arange(size, dtype=np.int32)))
        return {"out": Out(torch.zeros(size, 3), ["a"] * size), "more": more}

    content, made = joined(tmp_path, [record(output(2), [0, 1]), record(output(1), [2])])
    out, more = content["prediction"]["out"], content["prediction"]["more"]
    assert out["logits"].shape == (3, 3)
    assert out["names"] == ["a", "a", "a"]
    assert [part.shape for part in more["pair"]] == [(3, 2), (3,)]
    assert more["pair"][1].dtype is torch.int32
    assert more["pair"][1].tolist() == [0, 1, 0]
    assert more["nothing"] is None
    assert made.lists == ["prediction['out']['names']"]


@pytest.mark.usefixtures("either_way")
def test_ragged_outputs_become_lists_in_order(tmp_path: Path) -> None:
    boxes = {n: torch.full((n, 4), float(n)) for n in range(5)}
    detections = {n: {"boxes": boxes[n], "labels": torch.full((n,), n)} for n in range(5)}
    batches = [record([detections[n] for n in of], of) for of in ([3, 0, 1], [2, 4])]
    content, _ = joined(tmp_path, batches)
    assert [len(item["boxes"]) for item in content["prediction"]] == [0, 1, 2, 3, 4]
    for n, item in enumerate(content["prediction"]):
        assert torch.equal(item["boxes"], boxes[n])
        assert item["labels"].tolist() == [n] * n
    # sequences padded to the longest of their batch are ragged too
    content, made = joined(tmp_path, [record(torch.ones(2, 3), [0, 1]), record(torch.zeros(2, 5), [2, 3])])
    assert [item.shape for item in content["prediction"]] == [(3,), (3,), (5,), (5,)]
    assert content["prediction"][1].tolist() == [1, 1, 1]
    assert made.lists == ["prediction"]


def test_list_of_outputs_and_list_of_samples_are_told_apart_by_all_batches(tmp_path: Path) -> None:
    heads = [record([torch.zeros(n, 2), torch.ones(n, 5)], of) for n, of in ((2, [0, 1]), (3, [2, 3, 4]))]
    content, _ = joined(tmp_path, heads)
    assert [head.shape for head in content["prediction"]] == [(5, 2), (5, 5)]
    samples = [record([torch.zeros(2)] * n, of) for n, of in ((2, [0, 1]), (3, [2, 3, 4]))]
    content, _ = joined(tmp_path, samples)
    assert len(content["prediction"]) == 5


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [
        (([1, 2], [3]), torch.tensor([1, 2, 3])),
        (([1, 2.5], [3]), torch.tensor([1, 2.5, 3], dtype=torch.float64)),
        (([True, False], [True]), torch.tensor([True, False, True])),
        ((["x", "y"], ["z"]), ["x", "y", "z"]),
        ((np.array(["x", "y"]), np.array(["z"])), ["x", "y", "z"]),
        ((np.array([1, 2], dtype=">i4"), np.array([3], dtype=">i4")), torch.tensor([1, 2, 3], dtype=torch.int32)),
        ((torch.tensor([1.0, 2.0]), torch.tensor(3.0)), torch.tensor([1.0, 2.0, 3.0])),  # squeezed
        ((torch.ones(2, 3), torch.zeros(3)), torch.tensor([[1.0] * 3, [1.0] * 3, [0.0] * 3])),  # squeezed
    ],
)
def test_other_forms_of_samples_are_joined(outputs: tuple[Any, Any], expected: Any, tmp_path: Path) -> None:
    content, _ = joined(tmp_path, [record(outputs[0], [0, 1]), record(outputs[1], [2])])
    if isinstance(expected, list):
        assert content["prediction"] == expected
    else:
        assert content["prediction"].dtype is expected.dtype
        assert torch.equal(content["prediction"], expected)


def test_single_sample_batches_may_return_bare_values(tmp_path: Path) -> None:
    content, _ = joined(tmp_path, [record({"text": f"t{n}", "score": n / 2}, [n]) for n in range(3)])
    assert content["prediction"]["text"] == ["t0", "t1", "t2"]
    assert content["prediction"]["score"].tolist() == [0.0, 0.5, 1.0]


def test_value_of_a_whole_batch_is_kept_per_batch(tmp_path: Path) -> None:
    outputs = [{"logits": torch.full((n, 2), float(n)), "loss": torch.tensor(float(n))} for n in (2, 3)]
    content, made = joined(tmp_path, [record(outputs[0], [0, 1]), record(outputs[1], [2, 3, 4])])
    assert list(content["prediction"]) == ["logits"]
    assert made.per_batch == ["prediction['loss']"]
    assert [part["index"].tolist() for part in content["per_batch"]] == [[0, 1], [2, 3, 4]]
    assert [part["prediction"]["loss"].item() for part in content["per_batch"]] == [2.0, 3.0]
    content, made = joined(tmp_path, [record(torch.zeros(7), [0, 1]), record(torch.zeros(7), [2, 3, 4])])
    assert "prediction" not in content
    assert [part["prediction"].shape for part in content["per_batch"]] == [(7,), (7,)]


def test_batches_without_a_prediction_are_counted_and_left_out(tmp_path: Path) -> None:
    content, made = joined(tmp_path, [record(None, [0, 1]), record(torch.ones(2), [2, 3], target=torch.ones(2))])
    assert content["index"].tolist() == [2, 3]
    assert (made.samples, made.without_prediction) == (2, 1)


def test_nothing_predicted_gives_an_empty_file(tmp_path: Path) -> None:
    content, made = joined(tmp_path, [record(None, [0, 1])])
    assert content["index"].tolist() == []
    assert made.samples == 0


def test_pages_are_dropped_while_a_large_file_is_written_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mapped_pages, "WINDOW", 20_000)
    dropped = []
    usual = mapped_pages.drop
    monkeypatch.setattr(mapped_pages, "drop", lambda pages: dropped.append(pages) or usual(pages))
    data = torch.randn(40, 1000)
    content, _ = joined(tmp_path, [record(data[n : n + 4], range(n, n + 4)) for n in range(0, 40, 4)])
    assert torch.equal(content["prediction"], data)
    assert len(dropped) == 5
    assert sum(size for _, size in dropped[0]) > 150_000  # of 160,000 bytes, in whole pages


def test_object_that_cannot_be_stored_is_named_with_its_place() -> None:
    with pytest.raises(ConfigurationError, match=r"predict_step\(\)\['a'\]\[1\] is .*object of builtins.object"):
        plain({"a": [1, object()]})


def test_stored_values_are_copies_without_their_buffers() -> None:
    buffer = torch.zeros(100, 10)
    stored = plain(buffer[:2, :3])
    buffer += 1
    assert stored.sum() == 0
    assert stored.untyped_storage().nbytes() == 2 * 3 * 4
    sparse = torch.eye(3).to_sparse()
    assert torch.equal(plain(sparse), torch.eye(3))


@pytest.mark.parametrize(
    ("batch", "size"),
    [
        (torch.zeros(4, 2), 4),
        ((torch.zeros(4, 2), torch.zeros(4)), 4),
        ({"id": ["a", "b"], "x": torch.zeros(2)}, 2),
        (["a", "b", "c"], 3),
        ({"text": ["a", "b"]}, 2),
        ("text", None),
    ],
)
def test_size_of_a_batch_is_seen(batch: Any, size: int | None) -> None:
    assert size_of(batch) == size


def test_row_of_shards_ends_at_a_gap_and_is_cut_to_a_batch(tmp_path: Path) -> None:
    records = [record(torch.full((2,), float(n)), [2 * n, 2 * n + 1]) for n in range(6)]
    for start, end in ((0, 3), (3, 5), (6, 7)):
        shards.write(tmp_path, Shard(0, 0, start, end), records[start:end])
    assert [(s.start, s.end) for s in shards.row(shards.found(tmp_path), 0, 0)] == [(0, 3), (3, 5)]
    shards.cut(tmp_path, 0, 0, 4)
    assert [(s.start, s.end) for s in shards.found(tmp_path)] == [(0, 3), (3, 4)]
    left = [part["prediction"][0].item() for part in shards.records(tmp_path, shards.found(tmp_path))]
    assert left == [0, 1, 2, 3]


# --- the directory ---


def directory(folder: Path, content: dict[str, Any], **manifest: Any) -> Path:
    folder.mkdir(exist_ok=True)
    torch.save(content, folder / "loader-0.pt")
    rows = [{"file": "loader-0.pt", "samples": len(content["index"])}]
    write_manifest(folder, {"format": 1, "complete": True, "file_format": "pt", "loaders": rows, **manifest})
    return folder


def test_chunks_give_all_samples_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapped_pages, "WINDOW", 50)
    content = {
        "index": torch.arange(10),
        "prediction": {"a": torch.randn(10, 2), "b": (torch.arange(10), [str(n) for n in range(10)])},
        "target": torch.arange(10) * 2,
    }
    folder = directory(tmp_path / "predictions", content)
    chunks = list(Predictions.open(tmp_path).chunks(size=4))
    assert [len(chunk.index) for chunk in chunks] == [4, 4, 2]
    assert torch.equal(torch.cat([chunk.prediction["a"] for chunk in chunks]), content["prediction"]["a"])
    assert [text for chunk in chunks for text in chunk.prediction["b"][1]] == [str(n) for n in range(10)]
    assert torch.equal(torch.cat([chunk.target for chunk in chunks]), content["target"])
    assert chunks[0].key is None
    assert Predictions.open(folder).loaders[0].samples == 10


def test_loader_that_is_not_there_is_refused(tmp_path: Path) -> None:
    folder = directory(tmp_path, {"index": torch.arange(1), "prediction": torch.zeros(1)})
    with pytest.raises(ConfigurationError, match="no loader 2"):
        next(Predictions.open(folder).chunks(2))


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        (None, "holds no predictions"),
        ("{", "cannot be read"),
        ("[]", "no manifest of predictions"),
        ({"format": 9, "file_format": "pt", "loaders": []}, "format 9"),
        ({"format": 1, "complete": False, "file_format": "pt", "loaders": []}, "not complete"),
        (
            {"format": 1, "complete": True, "file_format": "pt", "loaders": [{"file": "x.pt", "samples": 1}]},
            "lacks x.pt",
        ),
    ],
)
def test_directory_of_something_else_is_refused(manifest: Any, message: str, tmp_path: Path) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest if isinstance(manifest, str) else json.dumps(manifest))
    with pytest.raises(ConfigurationError, match=message):
        Predictions.open(tmp_path)
    with pytest.raises(ConfigurationError, match="There is no"):
        Predictions.open(tmp_path / "absent")
    assert read_manifest(tmp_path / "absent") is None


def test_predictions_of_a_run_are_found_where_one_can_be_meant(tmp_path: Path) -> None:
    content = {"index": torch.arange(1), "prediction": torch.zeros(1)}
    directory(tmp_path / "predictions-val", content)
    assert Predictions.open(tmp_path).directory == tmp_path / "predictions-val"
    directory(tmp_path / "predictions-test", content)
    with pytest.raises(
        ConfigurationError, match=r"several predictions\. To fix, type which: .*predictions-test, .*-val"
    ):
        Predictions.open(tmp_path)
    directory(tmp_path / "predictions", content)
    assert Predictions.open(tmp_path).directory == tmp_path / "predictions"


def test_damaged_file_is_refused(tmp_path: Path) -> None:
    folder = directory(tmp_path, {"index": torch.arange(1), "prediction": torch.zeros(1)})
    (folder / "loader-0.pt").write_bytes(b"PK\x03\x04no")
    with pytest.raises(ConfigurationError, match=r"loader-0\.pt cannot be read"):
        next(Predictions.open(folder).chunks())
    torch.save([1], folder / "loader-0.pt")
    with pytest.raises(ConfigurationError, match=r"loader-0\.pt holds 'list' and no predictions"):
        next(Predictions.open(folder).chunks())


# --- tables ---


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_table_gives_back_what_was_stored(suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    monkeypatch.setitem(prediction_tables._CELLS, suffix, 10)  # two rows of five columns
    content = {
        "index": torch.arange(5),
        "prediction": torch.tensor([[0.1, float("nan")], [1e-30, -2.0], [float("inf"), 3.0], [0.3, 0.7], [5, 6]]),
        "target": torch.tensor([0.1, 2.5, 3, 4, 5], dtype=torch.bfloat16),
        "key": ["a", 'quote " and, comma', "line\nbreak", "", "é"],
    }
    path = tmp_path / f"loader-0{suffix}"
    columns = prediction_tables.columns_of(content, path)
    prediction_tables.write(content, columns, path, 5)
    parts = list(prediction_tables.read(path, json.loads(json.dumps(columns)), 2))
    assert torch.equal(torch.cat([part["index"] for part in parts]), content["index"])
    prediction = torch.cat([part["prediction"] for part in parts])
    assert torch.equal(prediction.nan_to_num(-1), content["prediction"].nan_to_num(-1))
    target = torch.cat([part["target"] for part in parts])
    assert target.dtype is torch.bfloat16
    assert torch.equal(target, content["target"])
    assert [key for part in parts for key in part["key"]] == content["key"]


def test_csv_is_what_a_person_expects(tmp_path: Path) -> None:
    content = {
        "index": torch.arange(2),
        "prediction": torch.tensor([[0.1, 2.0], [0.25, 3.0]]),
        "target": torch.tensor([True, False]),
        "key": ["a", "b"],
    }
    path = tmp_path / "loader-0.csv"
    prediction_tables.write(content, prediction_tables.columns_of(content, path), path, 2)
    assert path.read_text().splitlines() == [
        "index,key,prediction_0,prediction_1,target",
        "0,a,0.1,2.0,True",
        "1,b,0.25,3.0,False",
    ]


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ({"logits": torch.zeros(4, 10)}, r"dict of 'logits' (float32 tensor of 4x10)"),
        (torch.zeros(4, 2, 2), "float32 tensor of 4x2x2"),
        (torch.tensor(1.0), "float32 tensor of one number"),
        (torch.zeros(3, 2), "float32 tensor of 3x2"),
        ([torch.zeros(2)] * 4, "list of 4, the first a float32 tensor of 2"),
        ("text", "str"),
    ],
)
def test_value_that_no_table_holds_is_described(value: Any, found: str) -> None:
    assert prediction_tables.misfit(value, 4) == found


@pytest.mark.parametrize("value", [torch.zeros(4), torch.zeros(4, 3), ["a", "b", "c", "d"], [1, 2, 3, 4]])
def test_flat_value_fits_into_a_table(value: Any) -> None:
    assert prediction_tables.misfit(value, 4) is None


def test_parquet_without_its_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prediction_tables.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'lightning-adapter\[parquet\]'"):
        prediction_tables.check_parquet()
