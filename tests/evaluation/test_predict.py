from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import filelock
import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation import joining, predictions_directory
from lightning_adapter.evaluation.predict import predict
from lightning_adapter.evaluation.prediction_writer import PredictionWriting
from lightning_adapter.evaluation.predictions import Predictions, load, read_manifest
from lightning_adapter.evaluation.predictions_directory import Request
from lightning_adapter.versions import hosts

HOST = hosts.host("pytorch_lightning")


class Points(Dataset[Any]):
    """Reads are counted, so that a test sees which samples were loaded."""

    def __init__(self, size: int = 10, names: bool = False) -> None:
        self.size, self.names = size, names
        self.read: list[int] = []

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> Any:
        self.read.append(index)
        x, y = torch.tensor([float(index), 1.0]), torch.tensor(index * 10)
        return {"x": x, "label": y, "id": f"n{index}"} if self.names else (x, y)


class Stream(IterableDataset[Any]):
    def __init__(self, size: int = 10, offset: float = 0.0) -> None:
        self.size, self.offset = size, offset

    def __iter__(self) -> Iterator[Any]:
        for index in range(self.size):
            yield torch.tensor([index + self.offset, 1.0]), torch.tensor(index * 10)


class Model(pl.LightningModule):
    """Notes each batch that it predicts; ends with an error at a batch."""

    def __init__(self, fails_at: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.fails_at = fails_at
        self.seen: list[tuple[int, int]] = []

    def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        if self.fails_at == (dataloader_idx, batch_idx):
            raise RuntimeError("the machine is gone")
        self.seen.append((dataloader_idx, batch_idx))
        x = batch["x"] if isinstance(batch, dict) else batch[0]
        return self.output(x, batch_idx)

    def output(self, x: torch.Tensor, batch_idx: int) -> Any:
        return x[:, 0] * 2


def trainer(**arguments: Any) -> Any:
    quiet = {
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
    }
    return pl.Trainer(accelerator="cpu", devices=1, **{**quiet, **arguments})


def stored(
    folder: Path,
    model: pl.LightningModule,
    loaders: Any,
    *,
    callbacks: Any = (),
    per_shard: int | None = 1,
    file_format: str = "pt",
    **request: Any,
) -> Predictions:
    """Predict into a folder; each shard has one byte, so one batch, or all of them where `per_shard` is None."""
    asked = Request(folder, file_format, **request)
    writing = PredictionWriting(asked, per_shard or 1 << 30)

    def run(own: list[Any]) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            trainer(callbacks=[*callbacks, *own]).predict(model, loaders, return_predictions=False)

    found = predict(asked, HOST, run, writing=writing)
    assert found is not None
    return found


def content(predictions: Predictions, loader: int = 0) -> dict[str, Any]:
    return load(predictions.loaders[loader].file)


def cut_off(folder: Path, model: Model, loaders: Any, **arguments: Any) -> None:
    with pytest.raises(RuntimeError, match="the machine is gone"):
        stored(folder, model, loaders, **arguments)


def loader(dataset: Any, batch_size: int = 3, **arguments: Any) -> DataLoader[Any]:
    return DataLoader(dataset, batch_size=batch_size, **arguments)


def test_predictions_are_those_that_the_trainer_returns(tmp_path: Path) -> None:
    returned = trainer().predict(Model(), loader(Points(drop := 10)))
    found = stored(tmp_path / "p", Model(), loader(Points(drop), drop_last=True))
    assert torch.equal(content(found)["prediction"], torch.cat(returned))
    assert content(found)["index"].tolist() == list(range(10))
    assert content(found)["target"].tolist() == [10 * n for n in range(10)]
    assert found.manifest["complete"] is True
    assert sorted(path.name for path in found.directory.iterdir()) == ["loader-0.pt", "manifest.json"]
    row = found.loaders[0].description
    assert (row["samples"], row["batches"], row["batch_size"], row["target"]) == (10, 4, 3, "batch[1]")


def test_names_and_labels_of_a_mapping_stand_beside_the_predictions(tmp_path: Path) -> None:
    found = stored(tmp_path, Model(), loader(Points(5, names=True)))
    assert content(found)["key"] == [f"n{n}" for n in range(5)]
    assert content(found)["target"].tolist() == [0, 10, 20, 30, 40]
    assert found.loaders[0].description["key"] == "batch['id']"


def test_target_that_predict_step_takes_out_of_the_batch_is_kept(tmp_path: Path) -> None:
    class Popping(Model):
        def predict_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            batch.pop("label")
            return batch.pop("x")

    found = stored(tmp_path, Popping(), loader(Points(5, names=True)))
    assert content(found)["target"].tolist() == [0, 10, 20, 30, 40]


def test_each_loader_has_a_file(tmp_path: Path) -> None:
    found = stored(tmp_path, Model(), [loader(Points(4)), loader(Stream(5)), loader(Points(3))])
    assert [part.samples for part in found.loaders] == [4, 5, 3]
    assert [part.description["order"] for part in found.loaders] == ["dataset", "batches", "dataset"]
    assert content(found, 1)["index"].tolist() == list(range(5))
    assert content(found, 2)["prediction"].tolist() == [0, 2, 4]


def test_shuffled_loader_is_stored_in_the_order_of_the_dataset(tmp_path: Path) -> None:
    found = stored(tmp_path, Model(), loader(Points(10), shuffle=True))
    assert content(found)["prediction"].tolist() == [2 * n for n in range(10)]
    assert content(found)["target"].tolist() == [10 * n for n in range(10)]


def test_none_for_some_batches_leaves_their_samples_out(tmp_path: Path) -> None:
    class Some(Model):
        def output(self, x: torch.Tensor, batch_idx: int) -> Any:
            return None if batch_idx == 1 else x[:, 0]

    found = stored(tmp_path, Some(), loader(Points(10)))
    assert content(found)["index"].tolist() == [0, 1, 2, 6, 7, 8, 9]
    assert found.loaders[0].description["without_prediction"] == 1


def test_collate_function_that_leaves_samples_out_gives_no_wrong_index(tmp_path: Path) -> None:
    def only_even(samples: list[Any]) -> Any:
        return torch.utils.data.default_collate([sample for sample in samples if sample[0][0] % 2 == 0])

    found = stored(tmp_path, Model(), loader(Points(8), batch_size=4, collate_fn=only_even))
    assert found.loaders[0].description["order"] == "batches"
    assert content(found)["prediction"].tolist() == [0, 4, 8, 12]
    assert content(found)["target"].tolist() == [0, 20, 40, 60]


# --- going on ---


@pytest.mark.parametrize("workers", [0, 2])
def test_finished_batches_are_neither_loaded_nor_predicted_again(workers: int, tmp_path: Path) -> None:
    whole = stored(tmp_path / "whole", Model(), loader(Points(10)))
    cut_off(tmp_path / "p", Model(fails_at=(0, 2)), loader(Points(10), num_workers=workers))
    assert read_manifest(tmp_path / "p")["complete"] is False
    model, data = Model(), Points(10)
    found = stored(tmp_path / "p", model, loader(data, num_workers=workers))
    assert model.seen == [(0, 2), (0, 3)]
    if not workers:
        assert data.read == [6, 7, 8, 9]
    for name in ("index", "prediction", "target"):
        assert torch.equal(content(found)[name], content(whole)[name])
    assert found.manifest["loaders"] == whole.manifest["loaders"]


def test_later_loader_is_gone_on_with(tmp_path: Path) -> None:
    def loaders() -> list[Any]:
        return [loader(Points(4)), loader(Stream(7)), loader(Points(8))]

    cut_off(tmp_path, Model(fails_at=(2, 1)), loaders())
    model = Model()
    found = stored(tmp_path, model, loaders())
    assert model.seen == [(2, 1), (2, 2)]
    assert [part.samples for part in found.loaders] == [4, 7, 8]
    assert content(found, 2)["prediction"].tolist() == [2 * n for n in range(8)]
    assert found.loaders[0].description["target"] == "batch[1]"


def test_what_was_in_memory_at_an_error_is_kept(tmp_path: Path) -> None:
    cut_off(tmp_path, Model(fails_at=(0, 3)), loader(Points(10)), per_shard=None)
    model = Model()
    stored(tmp_path, model, loader(Points(10)), per_shard=None)
    assert model.seen == [(0, 3)]


def test_shuffled_loader_goes_on_in_the_same_order(tmp_path: Path) -> None:
    torch.manual_seed(1)
    cut_off(tmp_path, Model(fails_at=(0, 2)), loader(Points(10), shuffle=True))
    torch.manual_seed(2)
    model = Model()
    found = stored(tmp_path, model, loader(Points(10), shuffle=True))
    assert model.seen == [(0, 2), (0, 3)]
    assert content(found)["index"].tolist() == list(range(10))
    assert content(found)["prediction"].tolist() == [2 * n for n in range(10)]


def test_loader_in_another_order_is_predicted_anew(tmp_path: Path) -> None:
    def shuffled(seed: int) -> DataLoader[Any]:
        return loader(Points(10), shuffle=True, generator=torch.Generator().manual_seed(seed))

    cut_off(tmp_path, Model(fails_at=(0, 2)), shuffled(1))
    model = Model()
    asked = Request(tmp_path, "pt")
    with pytest.warns(UserWarning, match="another order than before"):
        predict(
            asked,
            HOST,
            lambda own: trainer(callbacks=own).predict(model, shuffled(2), return_predictions=False),
            writing=PredictionWriting(asked, 1),
        )
    assert len(model.seen) == 4
    found = Predictions.open(tmp_path)
    assert content(found)["index"].tolist() == list(range(10))
    assert content(found)["prediction"].tolist() == [2 * n for n in range(10)]


def test_stream_goes_on_and_is_not_predicted_twice(tmp_path: Path) -> None:
    cut_off(tmp_path, Model(fails_at=(0, 2)), loader(Stream(10)))
    model = Model()
    found = stored(tmp_path, model, loader(Stream(10)))
    assert model.seen == [(0, 2), (0, 3)]
    assert content(found)["prediction"].tolist() == [2 * n for n in range(10)]


@pytest.mark.parametrize("changed", [Stream(10, offset=0.5), Stream(3)], ids=["other values", "shorter"])
def test_stream_that_gives_other_samples_is_refused(changed: Stream, tmp_path: Path) -> None:
    cut_off(tmp_path, Model(fails_at=(0, 2)), loader(Stream(10)))
    with pytest.raises(ConfigurationError, match="is another one than before, or missing"):
        stored(tmp_path, Model(), loader(changed))


@pytest.mark.parametrize(
    ("other", "message"),
    [(loader(Points(10), batch_size=4), "batch_size: 3 then, 4 now"), (loader(Points(9)), "dataset: 10")],
)
def test_other_loader_is_not_gone_on_with(other: Any, message: str, tmp_path: Path) -> None:
    cut_off(tmp_path, Model(fails_at=(0, 2)), loader(Points(10)))
    with pytest.raises(ConfigurationError, match=message):
        stored(tmp_path, Model(), other)
    found = stored(tmp_path, Model(), other, overwrite=True)
    assert found.loaders[0].samples == len(other.dataset)


def test_other_checkpoint_is_not_gone_on_with(tmp_path: Path) -> None:
    cut_off(tmp_path, Model(fails_at=(0, 2)), loader(Points(10)), identity={"checkpoint": "a", "split": "val"})
    with pytest.raises(ConfigurationError, match="- checkpoint: 'a' then, 'b' now\nType --out"):
        stored(tmp_path, Model(), loader(Points(10)), identity={"checkpoint": "b", "split": "val"})


def test_complete_predictions_are_joined_without_a_trainer_where_only_that_was_left(tmp_path: Path) -> None:
    asked = Request(tmp_path, "pt")

    class Killed(BaseException): ...

    def run(own: list[Any]) -> None:
        trainer(callbacks=own).predict(Model(), loader(Points(5)), return_predictions=False)
        raise Killed

    with pytest.raises(Killed):
        predict(asked, HOST, run)
    found = predict(asked, HOST, lambda own: pytest.fail("nothing is left to predict"))
    assert found is not None
    assert content(found)["prediction"].tolist() == [0, 2, 4, 6, 8]


def test_complete_predictions_are_not_written_over(tmp_path: Path) -> None:
    stored(tmp_path, Model(), loader(Points(5)))
    with pytest.raises(ConfigurationError, match=r"complete predictions \(5 samples, 1 loader, pt\)"):
        stored(tmp_path, Model(), loader(Points(5)))
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / "evaluation.json").write_text('{"format": 1, "files": []}')
    found = stored(tmp_path, Model(), loader(Points(6)), overwrite=True)
    assert found.loaders[0].samples == 6
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "evaluation").exists()  # it was of the others
    assert (tmp_path / "superseded" / "evaluation" / "evaluation.json").exists()


def test_predictions_of_which_only_their_evaluation_is_left_are_made_again(tmp_path: Path) -> None:
    for place in ("evaluation-2", "superseded/evaluation"):
        (tmp_path / place).mkdir(parents=True)
        (tmp_path / place / "evaluation.json").write_text('{"format": 1, "files": []}')
    assert stored(tmp_path, Model(), loader(Points(5))).loaders[0].samples == 5
    assert sorted(path.name for path in (tmp_path / "superseded").iterdir()) == ["evaluation", "evaluation-2"]


def test_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(ConfigurationError, match=r"is not empty and holds no predictions, but thesis\.tex"):
            stored(tmp_path, Model(), loader(Points(5)), overwrite=overwrite)
    with pytest.raises(ConfigurationError, match="is a file"):
        stored(tmp_path / "thesis.tex", Model(), loader(Points(5)))


def test_directory_that_another_process_writes_to_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cut_off(tmp_path, Model(fails_at=(0, 2)), loader(Points(10)))
    monkeypatch.setattr(predictions_directory, "_GRACE_S", 0.05)
    with filelock.FileLock(tmp_path / ".parts" / ".lock"):
        for overwrite in (False, True):
            with pytest.raises(ConfigurationError, match="Another process is writing predictions to"):
                stored(tmp_path, Model(), loader(Points(10)), overwrite=overwrite)
    model = Model()
    stored(tmp_path, model, loader(Points(10)))
    assert model.seen == [(0, 2), (0, 3)]


def test_directory_is_used_alone_until_its_files_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictions_directory, "_GRACE_S", 0.05)
    join = joining.join
    met: list[str] = []

    def joined(*arguments: Any) -> Any:
        with pytest.raises(ConfigurationError, match="Another process is writing predictions to") as refused:
            stored(tmp_path, Model(), loader(Points(10)), overwrite=True)
        met.append(str(refused.value))
        return join(*arguments)

    monkeypatch.setattr(joining, "join", joined)
    assert stored(tmp_path, Model(), loader(Points(10))).loaders[0].samples == 10
    assert len(met) == 1


def test_predictions_that_another_process_has_finished_while_this_one_waited_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    acquire = filelock.FileLock.acquire

    def waits(lock: Any, *arguments: Any, **options: Any) -> Any:
        monkeypatch.setattr(filelock.FileLock, "acquire", acquire)
        stored(tmp_path, Model(), loader(Points(10)))  # deletes the folder that the lock lies in
        return acquire(lock, *arguments, **options)

    monkeypatch.setattr(filelock.FileLock, "acquire", waits)
    model = Model()
    with pytest.raises(ConfigurationError, match="holds complete predictions"):
        stored(tmp_path, model, loader(Points(10)))
    assert model.seen == [] and sorted(os.listdir(tmp_path)) == ["loader-0.pt", "manifest.json"]


def test_nothing_is_left_where_nothing_was_begun(tmp_path: Path) -> None:
    def fails(own: list[Any]) -> None:
        raise RuntimeError("no predict_step")

    with pytest.raises(RuntimeError, match="no predict_step"):
        predict(Request(tmp_path / "p", "pt"), HOST, fails)
    assert not (tmp_path / "p").exists()


def test_kill_before_there_was_a_manifest_is_nothing_foreign(tmp_path: Path) -> None:
    (tmp_path / ".parts").mkdir()
    (tmp_path / ".parts" / ".lock").touch()
    (tmp_path / ".manifest.json.new").write_text("{")
    assert stored(tmp_path, Model(), loader(Points(4))).loaders[0].samples == 4


# --- other writers, formats, targets ---


def test_writer_of_the_user_sees_each_batch_once_with_its_own_number(tmp_path: Path) -> None:
    class Writer(pl.callbacks.BasePredictionWriter):
        def __init__(self) -> None:
            super().__init__("batch_and_epoch")
            self.batches: list[Any] = []
            self.epoch: Any = None

        def write_on_batch_end(self, trainer: Any, module: Any, prediction: Any, indices: Any, *where: Any) -> None:
            self.batches.append((where[1], list(indices), prediction.tolist()))

        def write_on_epoch_end(self, trainer: Any, module: Any, predictions: Any, indices: Any) -> None:
            self.epoch = indices

    writer = Writer()
    cut_off(tmp_path, Model(fails_at=(0, 2)), loader(Points(10)), callbacks=[writer])
    stored(tmp_path, Model(), loader(Points(10)), callbacks=[writer])
    assert [batch[:2] for batch in writer.batches] == [(0, [0, 1, 2]), (1, [3, 4, 5]), (2, [6, 7, 8]), (3, [9])]
    assert writer.batches[2][2] == [12, 14, 16]


def test_trainer_is_as_it_was_after_predicting(tmp_path: Path) -> None:
    made = trainer()
    asked = Request(tmp_path, "pt")
    before = set(vars(made.strategy)) | set(vars(made.predict_loop))

    def run(own: list[Any]) -> None:
        made.callbacks.extend(own)
        made.predict(Model(), loader(Points(5)), return_predictions=False)

    predict(asked, HOST, run)
    assert "process_dataloader" not in vars(made.strategy)
    assert set(vars(made.strategy)) | set(vars(made.predict_loop)) <= before | {"_lightning_module"}


def test_csv_has_a_row_for_each_sample(tmp_path: Path) -> None:
    class Vectors(Model):
        def output(self, x: torch.Tensor, batch_idx: int) -> Any:
            return x / 4

    found = stored(tmp_path, Vectors(), loader(Points(4, names=True)), file_format="csv")
    assert (tmp_path / "loader-0.csv").read_text().splitlines()[:3] == [
        "index,key,prediction_0,prediction_1,target",
        "0,n0,0.0,0.25,0",
        "1,n1,0.25,0.25,10",
    ]
    (chunk,) = found.chunks()
    assert chunk.prediction.tolist() == [[n / 4, 0.25] for n in range(4)]
    assert chunk.target.tolist() == [0, 10, 20, 30]


def test_target_that_no_table_holds_is_left_out_and_named(tmp_path: Path) -> None:
    class Maps(Points):
        def __getitem__(self, index: int) -> Any:
            return torch.tensor([float(index), 1.0]), torch.zeros(3, 3)

    found = stored(tmp_path, Model(), loader(Maps(4)), file_format="csv")
    assert (tmp_path / "loader-0.csv").read_text().splitlines()[0] == "index,prediction"
    row = found.loaders[0].description
    assert (list(row["holds"]), row["left_out"]) == (["prediction"], ["target (float32 tensor of 4x3x3)"])


def test_target_beside_weights_that_are_none_is_found(tmp_path: Path) -> None:
    def with_weights(samples: list[Any]) -> Any:
        x, y = torch.utils.data.default_collate(samples)
        return x, (y, None)

    found = stored(tmp_path, Model(), loader(Points(4), collate_fn=with_weights))
    assert content(found)["target"].tolist() == [0, 10, 20, 30]
    assert found.loaders[0].description["target"] == "batch[1][0]"


def test_predict_step_over_an_iterator_is_refused(tmp_path: Path) -> None:
    class Iterating(pl.LightningModule):
        def predict_step(self, dataloader_iter: Any) -> Any:
            return next(dataloader_iter)

    with pytest.raises(ConfigurationError, match="takes dataloader_iter"):
        stored(tmp_path, Iterating(), loader(Points(4)))


def test_csv_of_nested_outputs_is_refused_at_the_first_batch(tmp_path: Path) -> None:
    class Nested(Model):
        def output(self, x: torch.Tensor, batch_idx: int) -> Any:
            return {"logits": x, "score": x[:, 0]}

    model = Nested()
    words = r"dict of 'logits' \(float32 tensor of 3x2\), 'score' \(float32 tensor of 3\)\. Type the same command with --format pt"
    with pytest.raises(ConfigurationError, match=words):
        stored(tmp_path / "p", model, loader(Points(10)), file_format="csv")
    assert model.seen == [(0, 0)]
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("lable", r"which has 'x', 'label', 'id'; did you mean 'label'\?"),
        ("label.deep", "which is a Tensor|is a Tensor"),
    ],
)
def test_target_that_the_batch_has_not_is_refused(key: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=message):
        stored(tmp_path, Model(), loader(Points(4, names=True)), target_key=key)


def test_named_target_is_taken(tmp_path: Path) -> None:
    found = stored(tmp_path / "a", Model(), loader(Points(4, names=True)), target_key="x")
    assert content(found)["target"].tolist() == [[float(n), 1.0] for n in range(4)]
    found = stored(tmp_path / "b", Model(), loader(Points(4)), target_key="0")
    assert content(found)["target"].tolist() == [[float(n), 1.0] for n in range(4)]


def test_empty_loader_gives_an_empty_file(tmp_path: Path) -> None:
    found = stored(tmp_path, Model(), [loader(Points(0)), loader(Points(4))])
    assert [part.samples for part in found.loaders] == [0, 4]
    assert list(found.chunks(0)) == []
