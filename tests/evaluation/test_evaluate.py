"""Metrics over stored predictions give what they give in a process of their own, and one message where they do not fit."""

from __future__ import annotations

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torchmetrics import MeanMetric, Metric, MetricCollection
from torchmetrics.classification import (
    BinaryAccuracy,
    MulticlassAccuracy,
    MulticlassCohenKappa,
    MulticlassConfusionMatrix,
    MulticlassF1Score,
    MulticlassROC,
    MultilabelF1Score,
)
from torchmetrics.functional.classification import multiclass_accuracy
from torchmetrics.regression import KLDivergence, MeanSquaredError, PearsonCorrCoef
from torchmetrics.retrieval import RetrievalMAP, RetrievalNormalizedDCG
from torchmetrics.segmentation import MeanIoU
from torchmetrics.text import BLEUScore, CharErrorRate, EditDistance
from torchmetrics.wrappers import ClasswiseWrapper, MinMaxMetric, MultitaskWrapper

from lightning_adapter import cli
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation import evaluate as module
from lightning_adapter.evaluation.evaluate import Evaluated, chunk_size, evaluate
from lightning_adapter.evaluation.metric_inputs import Keys
from lightning_adapter.evaluation.metric_objects import metric_objects
from lightning_adapter.evaluation.predictions import Predictions
from lightning_adapter.evaluation.target_file import read_targets
from tests.evaluation.stored import store

N, C = 500, 5
LOGITS = torch.randn(N, C, generator=torch.Generator().manual_seed(1))
LABELS = torch.randint(C, (N,), generator=torch.Generator().manual_seed(2))


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CHUNK_SAMPLES", 64)


def results(path: Path, metrics: object, keys: Keys | None = None, **options: Any) -> list[Evaluated]:
    found = evaluate(
        path,
        metric_objects(metrics, "metrics.py:metrics"),
        keys or Keys(),
        options.get("targets"),
        options.get("loader"),
    )
    return list(found.results())


def values(path: Path, metrics: object, **options: Any) -> dict[str, Any]:
    (one,) = results(path, metrics, **options)
    return one.values


def assert_same(found: Any, expected: Any) -> None:
    if isinstance(expected, Mapping):
        assert found.keys() == expected.keys()
        found, expected = list(found.values()), list(expected.values())
    if isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    else:
        torch.testing.assert_close(found, expected)


WORDS = ["the cat sat on the mat", "a dog", "hello there"]
TEXTS = [["the cat is on the mat", "there is a cat on the mat"], ["a dog ran"], ["hello there"]]
SCORES = torch.rand(90, generator=torch.Generator().manual_seed(3))
RELEVANT = torch.randint(2, (90,), generator=torch.Generator().manual_seed(4))
QUERY = torch.arange(90) % 7
MASKS = torch.randint(3, (9, 16, 16), generator=torch.Generator().manual_seed(5))
LABEL_SETS = torch.randint(2, (N, C), generator=torch.Generator().manual_seed(6))


@pytest.mark.parametrize(
    ("make", "predictions", "targets", "extra"),
    [
        (lambda: MulticlassAccuracy(C), LOGITS, LABELS, {}),
        (lambda: MulticlassF1Score(C, average=None), LOGITS, LABELS, {}),
        (lambda: MulticlassConfusionMatrix(C), LOGITS, LABELS, {}),
        (lambda: MulticlassROC(C), LOGITS, LABELS, {}),
        (lambda: MultilabelF1Score(C), LOGITS.sigmoid(), LABEL_SETS, {}),
        (MeanSquaredError, LOGITS, LOGITS * 1.1, {}),
        (PearsonCorrCoef, LOGITS[:, 0], LOGITS[:, 0] + LOGITS[:, 1], {}),
        (RetrievalMAP, SCORES, RELEVANT, {"indexes": QUERY}),
        (RetrievalNormalizedDCG, SCORES, RELEVANT, {"indexes": QUERY}),
        (lambda: MeanIoU(3, input_format="index"), MASKS, MASKS.flip(0), {}),
        (BLEUScore, WORDS, TEXTS, {}),
        (CharErrorRate, WORDS, [texts[0] for texts in TEXTS], {}),
        (lambda: MinMaxMetric(MulticlassAccuracy(C)), LOGITS, LABELS, {}),
        (lambda: ClasswiseWrapper(MulticlassAccuracy(C, average=None)), LOGITS, LABELS, {}),
        (lambda: MulticlassAccuracy(C) + MulticlassF1Score(C), LOGITS, LABELS, {}),
    ],
)
def test_value_is_that_of_the_metric_in_this_process(
    make: Callable[[], Metric], predictions: Any, targets: Any, extra: dict[str, Any], tmp_path: Path
) -> None:
    stored = {"preds": predictions, **extra} if extra else predictions
    path = store(tmp_path / "p", {"prediction": stored, "target": targets})
    expected = MetricCollection([make()])
    expected.update(predictions, targets, **extra)
    assert_same(values(path, make()), expected.compute())


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_tables_give_the_same_values(file_format: str, tmp_path: Path) -> None:
    if file_format == "parquet":
        pytest.importorskip("pyarrow")
    path = store(tmp_path / "p", {"prediction": LOGITS, "target": LABELS}, file_format=file_format)
    expected = MulticlassAccuracy(C)
    expected.update(LOGITS, LABELS)
    assert_same(values(path, MulticlassAccuracy(C)), {"MulticlassAccuracy": expected.compute()})


def test_collection_is_named_and_valued_as_by_torchmetrics(tmp_path: Path) -> None:
    def make() -> MetricCollection:
        classwise = ClasswiseWrapper(MulticlassAccuracy(C, average=None), labels=list("abcde"))
        return MetricCollection({"f1": MulticlassF1Score(C), "by": classwise}, prefix="test/")

    path = store(tmp_path / "p", {"prediction": LOGITS, "target": LABELS})
    expected, used = make(), make()
    expected.update(LOGITS, LABELS)
    used.update(LOGITS[:9], LABELS[:9])  # its metrics share a state from then on, and have seen samples
    used.update(LOGITS[:9], LABELS[:9])
    assert_same(values(path, used), expected.compute())
    assert_same(values(path, used), expected.compute())


def test_metrics_that_shared_a_state_do_not_count_twice(tmp_path: Path) -> None:
    class Mean(MeanMetric):
        def update(self, preds: torch.Tensor, extra: object = None) -> None:  # so that not all take the same
            super().update(preds)

    used = MetricCollection([MulticlassConfusionMatrix(C), MulticlassCohenKappa(C), Mean()])
    used.update(LOGITS, LABELS)
    path = store(tmp_path / "p", {"prediction": LOGITS, "target": LABELS})
    assert values(path, used)["MulticlassConfusionMatrix"].sum() == N


def test_list_of_equal_metrics_is_refused_and_a_dict_of_them_is_not(tmp_path: Path) -> None:
    path = store(tmp_path / "p", {"prediction": LOGITS, "target": LABELS})
    with pytest.raises(ConfigurationError, match=r"MulticlassAccuracy. To fix, name them in a dict"):
        values(path, [MulticlassAccuracy(C), MulticlassAccuracy(C, top_k=2)])
    found = values(path, {"top1": MulticlassAccuracy(C), "top2": MulticlassAccuracy(C, top_k=2)})
    assert found["top1"] < found["top2"]


def test_metric_gets_chunks_and_a_function_everything(tmp_path: Path) -> None:
    sizes: list[int] = []

    class Sizes(MeanMetric):
        def update(self, preds: torch.Tensor, target: torch.Tensor) -> None:
            sizes.append(len(preds))
            super().update(preds)

    def of_all(predictions: torch.Tensor, targets: torch.Tensor) -> dict[str, float]:
        return {"count": len(predictions), "accuracy": (predictions.argmax(1) == targets).double().mean().item()}

    path = store(tmp_path / "p", {"prediction": LOGITS, "target": LABELS})
    found = values(path, {"sizes": Sizes(), "all": of_all})
    assert sizes == [63] * 7 + [59]  # not seven of 64 and a rest of 52
    assert found["count"] == N
    assert found["accuracy"] == pytest.approx((LOGITS.argmax(1) == LABELS).double().mean().item())


def test_what_metrics_take_is_looked_up_as_often_for_many_chunks_as_for_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    path = store(tmp_path / "p", {"prediction": LOGITS, "target": LABELS})
    looked: list[object] = []
    signature = inspect.signature

    def counted(function: Callable[..., object]) -> inspect.Signature:
        looked.append(function)
        return signature(function)

    monkeypatch.setattr("lightning_adapter.evaluation.metric_inputs.inspect.signature", counted)
    counts = []
    for size in (N, 10):
        monkeypatch.setattr(module, "_CHUNK_SAMPLES", size)
        looked.clear()
        values(path, [MulticlassAccuracy(num_classes=C), MeanMetric()])
        counts.append(len(looked))
    assert counts[0] == counts[1] > 0


def test_chunks_of_large_samples_are_small(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    predictions = Predictions.open(store(tmp_path / "p", {"prediction": LOGITS, "target": LABELS}))
    monkeypatch.setattr(module, "_CHUNK_BYTES", 10 * (C * 4 + 8))
    assert chunk_size(predictions, 0, N) == 10
    monkeypatch.setattr(module, "_CHUNK_BYTES", 1)
    assert chunk_size(predictions, 0, N) == 1


def test_function_whose_first_argument_is_called_as_targets_are_gets_them_first(tmp_path: Path) -> None:
    path = store(tmp_path / "p", {"prediction": LOGITS, "target": LABELS})

    def zero_one_loss(y_true: torch.Tensor, y_pred: torch.Tensor) -> float:
        assert y_true.ndim == 1
        return float((y_pred.argmax(1) != y_true).double().mean())

    assert values(path, zero_one_loss)["metrics"] == pytest.approx((LOGITS.argmax(1) != LABELS).double().mean().item())


def test_each_loader_is_evaluated_by_itself_under_lightnings_names(tmp_path: Path) -> None:
    loaders = [{"prediction": LOGITS, "target": LABELS}, {"prediction": LOGITS[:70], "target": LABELS[:70]}]
    path = store(tmp_path / "p", *loaders)
    expected = [multiclass_accuracy(one["prediction"], one["target"], C) for one in loaders]
    first, second = results(path, MulticlassAccuracy(C))
    assert_same(first.values, {"MulticlassAccuracy/dataloader_idx_0": expected[0]})
    assert_same(second.values, {"MulticlassAccuracy/dataloader_idx_1": expected[1]})
    assert_same(values(path, MulticlassAccuracy(C), loader=1), {"MulticlassAccuracy": expected[1]})
    with pytest.raises(ConfigurationError, match=r"--loader 2: .* has the predictions of 2 loaders, 0 to 1"):
        results(path, MulticlassAccuracy(C), loader=2)


def test_multitask_wrapper_gets_dicts(tmp_path: Path) -> None:
    predictions, targets = {"a": LOGITS, "b": LOGITS[:, 0]}, {"a": LABELS, "b": LOGITS[:, 1]}
    expected = MultitaskWrapper({"a": MulticlassAccuracy(C), "b": MeanSquaredError()})
    expected.update(predictions, targets)
    path = store(tmp_path / "p", {"prediction": predictions, "target": targets})
    found = values(path, MultitaskWrapper({"a": MulticlassAccuracy(C), "b": MeanSquaredError()}))
    assert_same(found, expected.compute())


def test_metric_of_predictions_alone_needs_no_targets(tmp_path: Path) -> None:
    path = store(tmp_path / "p", {"prediction": LOGITS})
    assert_same(values(path, MeanMetric()), {"MeanMetric": LOGITS.mean()})


def test_metric_whose_arguments_are_entries_gets_these(tmp_path: Path) -> None:
    p, q = LOGITS.softmax(1), LOGITS.flip(1).softmax(1)
    expected = KLDivergence()
    expected.update(p, q)
    assert_same(
        values(store(tmp_path / "p", {"prediction": {"p": p, "q": q}}), KLDivergence()),
        {"KLDivergence": expected.compute()},
    )


# What does not fit


def test_all_metrics_that_do_not_fit_are_in_one_message(tmp_path: Path) -> None:
    path = store(tmp_path / "p", {"prediction": LOGITS, "target": LABELS})
    metrics = {
        "mse": MeanSquaredError(),
        "binary": BinaryAccuracy(),
        "right": MulticlassAccuracy(C),
        "rank": RetrievalMAP(),
    }
    with pytest.raises(ConfigurationError) as caught:
        values(path, metrics)
    text = str(caught.value)
    assert "3 of 4 metrics do not fit the predictions" in text
    assert "(loader 0, samples 0 to 62)" in text
    assert "- mse: RuntimeError: Predictions and targets are expected to have the same shape" in text
    assert "- rank: it wants 'indexes' too" in text
    assert "right" not in text
    assert "predictions: float32 [63, 5], from -" in text
    assert "targets: int64 [63], from 0 to 4" in text
    assert "To fix, name a metric that takes these, or a function (predictions, targets)" in text


@pytest.mark.parametrize(
    ("prediction", "target", "advice"),
    [
        (LOGITS, None, "there are no targets(.|\n)*give the targets: --targets FILE"),
        (LOGITS[:, :1], LOGITS[:, 0], r"let predict_step return its output without the last dimension, .squeeze\(-1\)"),
        (LOGITS[:, 0], LOGITS[:, :1], r"give targets without the last dimension, .squeeze\(-1\)"),
        ({"a": LOGITS, "b": LOGITS}, LOGITS, "say which entry is the prediction: --prediction-key NAME, one of a, b"),
        ((LOGITS, LOGITS), LOGITS, "say which entry is the prediction: --prediction-key NAME, one of 0, 1"),
        (LOGITS, {"a": LOGITS, "b": LOGITS}, "say which entry is the target: --target-key NAME, one of a, b"),
    ],
)
def test_message_says_what_can_be_done(prediction: Any, target: Any, advice: str, tmp_path: Path) -> None:
    path = store(tmp_path / "p", {"prediction": prediction, **({} if target is None else {"target": target})})
    with pytest.raises(ConfigurationError, match=advice):
        values(path, MeanSquaredError())


def test_fault_of_a_later_chunk_and_of_compute_is_told(tmp_path: Path) -> None:
    labels = LABELS.clone()
    labels[400] = C
    path = store(tmp_path / "p", {"prediction": LOGITS, "target": labels})
    with pytest.raises(
        ConfigurationError,
        match=r"loader 0, samples 378 to 440(.|\n)*give targets from 0 to 4, since the predictions have 5 classes",
    ):
        values(path, MulticlassAccuracy(C))

    class Late(MeanMetric):
        def compute(self) -> torch.Tensor:
            raise ValueError("too few")

    with pytest.raises(ConfigurationError, match="- Late: ValueError: too few"):
        values(path, Late())


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda predictions, targets: None, "it returned None; a number or a dict of numbers is needed"),
        (lambda predictions, targets: {"a": "x"}, "it returned 'x'; a number"),
        (lambda predictions, targets: {}, "it returned an empty dict; a number"),
        (lambda predictions, targets: predictions.nothing, "AttributeError: .*'nothing' .*test_evaluate.py, line"),
    ],
)
def test_function_that_fails_or_returns_no_number_is_told(function: Any, message: str, tmp_path: Path) -> None:
    path = store(tmp_path / "p", {"prediction": LOGITS, "target": LABELS})
    with pytest.raises(ConfigurationError, match=f"the metric does not fit(.|\n)*- metrics: {message}"):
        values(path, function)


def test_nothing_to_evaluate_is_refused(tmp_path: Path) -> None:
    empty = store(tmp_path / "empty", {"prediction": LOGITS[:0], "target": LABELS[:0]})
    with pytest.raises(ConfigurationError, match=r"loader 0 of .*empty has no predictions to evaluate"):
        values(empty, MeanMetric())
    whole = store(tmp_path / "whole", {"prediction": LOGITS})
    content = torch.load(whole / "loader-0.pt")
    torch.save({"index": content["index"], "per_batch": {}}, whole / "loader-0.pt")
    with pytest.raises(ConfigurationError, match="values of whole batches, and none of each sample"):
        values(whole, MeanMetric())


def test_targets_of_a_file_need_a_loader(tmp_path: Path) -> None:
    path = store(tmp_path / "p", {"prediction": LOGITS}, {"prediction": LOGITS[:9]})
    torch.save(LABELS[:9], tmp_path / "targets.pt")
    targets = read_targets(tmp_path / "targets.pt")
    with pytest.raises(ConfigurationError, match="say whose they are: --loader N"):
        results(path, MulticlassAccuracy(C), targets=targets)
    with pytest.raises(ConfigurationError, match=r"has 9 targets, and loader 0 of .* has 500 predictions"):
        results(path, MulticlassAccuracy(C), targets=targets, loader=0)
    expected = multiclass_accuracy(LOGITS[:9], LABELS[:9], C)
    assert_same(values(path, MulticlassAccuracy(C), targets=targets, loader=1), {"MulticlassAccuracy": expected})


def test_metric_is_reset_before_it_is_used(tmp_path: Path) -> None:
    path = store(tmp_path / "p", {"prediction": LOGITS})
    metric = MeanMetric()
    metric.update(1e6)
    assert_same(values(path, metric), {"MeanMetric": LOGITS.mean()})


def test_edit_distance_per_sample_stays_a_row(tmp_path: Path) -> None:
    path = store(tmp_path / "p", {"prediction": ["ab", "b"], "target": ["ab", "cd"]})
    assert values(path, EditDistance(reduction="none"))["EditDistance"].tolist() == [0.0, 2.0]


# The command

METRICS = """
import torch
from torchmetrics.classification import (
    MulticlassAccuracy, MulticlassConfusionMatrix, MulticlassRecall, MulticlassROC
)

def metrics():
    return [MulticlassAccuracy(5), MulticlassRecall(5, average=None), MulticlassConfusionMatrix(5), MulticlassROC(5, thresholds=9)]

def nan(predictions, targets):
    return {"nan": float("nan"), "inf": float("inf")}

wrong = [MulticlassAccuracy(3), MulticlassConfusionMatrix(3)]
text = "accuracy"
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with metrics.py and predictions in it; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "some_metrics.py").write_text(METRICS)
    store(tmp_path / "run" / "predictions", {"prediction": LOGITS, "target": LABELS})
    yield tmp_path
    sys.modules.pop("some_metrics", None)


def test_command_prints_a_table_and_writes_values_and_pictures(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        cli.main(["evaluate", "run", "--metrics", "some_metrics.py:metrics", "--classes", "cat,dog,cow,hen,pig"]) == 0
    )
    out = capsys.readouterr().out
    accuracy = multiclass_accuracy(LOGITS, LABELS, C).item()
    assert f"MulticlassAccuracy         {accuracy:.6g}" in out
    assert "MulticlassRecall[cat]" in out
    assert "MulticlassConfusionMatrix  5 x 5 values" in out
    assert "MulticlassROC              5 curves" in out
    assert "(samples)                  500" in out
    assert "values   run/predictions/evaluation/metrics.json" in out
    directory = project / "run/predictions/evaluation"
    written = json.loads((directory / "metrics.json").read_text())
    assert written["MulticlassAccuracy"] == pytest.approx(accuracy)
    assert torch.tensor(written["MulticlassConfusionMatrix"]).sum() == N
    pictures = {"MulticlassRecall.png", "MulticlassConfusionMatrix.png", "MulticlassROC.png"}
    assert {one.name for one in directory.iterdir()} == {"metrics.json", "evaluation.json", *pictures}
    assert all((directory / name).read_bytes().startswith(b"\x89PNG") for name in pictures)


def test_command_says_which_entries_it_has_taken(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(project / "named", {"prediction": {"score": LABELS, "logits": LOGITS, "label": LABELS}})
    typed = ["--metrics", "some_metrics.py:nan"]
    assert cli.main(["evaluate", "named", *typed]) == 0
    advice = "(--prediction-key and --target-key name others)"
    assert f"predictions are prediction['logits'], targets are prediction['label'] {advice}" in capsys.readouterr().out
    assert cli.main(["evaluate", "run", *typed]) == 0
    assert advice not in capsys.readouterr().out
    store(
        project / "two", {"prediction": {"logits": LOGITS}, "target": LABELS}, {"prediction": LOGITS, "target": LABELS}
    )
    assert cli.main(["evaluate", "two", *typed]) == 0
    assert f"loader 0: predictions are prediction['logits'] {advice}" in capsys.readouterr().out


def test_numbers_that_json_has_not_are_texts(project: Path) -> None:
    assert cli.main(["evaluate", "run/predictions", "--metrics", "some_metrics:nan", "--out", "out"]) == 0
    assert json.loads((project / "out/metrics.json").read_text()) == {"nan": "NaN", "inf": "Infinity"}


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["run", "--metrics", "some_metrics.py:wrong"], "2 of 2 metrics do not fit"),
        (["run", "--metrics", "some_metrics.py:text"], "some_metrics.py:text is 'accuracy' of type str. To fix, let"),
        (
            ["run", "--metrics", "some_metrics.py:metric"],
            "has no metric; it defines metrics, nan, wrong, text; did you mean 'metrics'",
        ),
        (
            ["run", "--metrics", "metrics"],
            "'metrics' names no metrics: write FILE_OR_MODULE:NAME, for example metrics.py:metrics",
        ),
        (["nowhere", "--metrics", "some_metrics.py:metrics"], "There is no nowhere"),
        ([".", "--metrics", "some_metrics.py:metrics"], "holds no predictions"),
        (
            ["run", "--metrics", "some_metrics.py:metrics", "--classes", "a,b"],
            "--classes names 2 classes, and .* has 5: a, b",
        ),
        (["run", "--metrics", "some_metrics.py:metrics", "--classes", "no.txt"], "--classes no.txt cannot be read"),
        (["run", "--metrics", "some_metrics.py:metrics", "--targets", "no.csv"], "--targets no.csv is not there"),
        (
            ["run", "--metrics", "some_metrics.py:metrics", "--out", "run"],
            "--out run is a directory with other files in it",
        ),
        (
            ["run", "--metrics", "some_metrics.py:metrics", "--prediction-key", "x"],
            "--prediction-key x: a prediction has no such entry",
        ),
    ],
)
def test_bad_input_ends_with_status_2_and_leaves_nothing(
    typed: list[str], message: str, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(project.rglob("*"))
    assert cli.main(["evaluate", *typed]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert [one for one in sorted(project.rglob("*")) if "__pycache__" not in str(one)] == before


def test_incomplete_predictions_are_refused(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store(project / "cut", {"prediction": LOGITS}, complete=False)
    assert cli.main(["evaluate", "cut", "--metrics", "some_metrics.py:metrics"]) == 2
    assert "not complete" in capsys.readouterr().err


def test_nothing_of_lightning_is_imported_and_no_figure_of_pyplot_is_made(project: Path) -> None:
    code = """
import sys
import matplotlib.pyplot as plt
from lightning_adapter.cli import main
assert main(["evaluate", "run", "--metrics", "some_metrics.py:metrics"]) == 0
assert not {"pytorch_lightning", "lightning", "determined"} & sys.modules.keys()
assert plt.get_fignums() == []
assert plt.get_backend(auto_select=False) is None, plt.get_backend()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
