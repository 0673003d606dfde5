"""How do a bare loop, Lightning's Trainer and the adapter evaluate a perceptron that is trained?

Two ways: the model validates with ten values and a metric, for which the adapter has Lightning's own Trainer; and several
metrics are computed, which the adapter's `evaluate` does over predictions that are stored, without the model.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor
from torchmetrics import MetricCollection
from torchmetrics.classification import (
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassAveragePrecision,
    MulticlassCalibrationError,
    MulticlassF1Score,
)

from benchmarks.names import ADAPTER, BARE_LOOP, LIGHTNING
from benchmarks.systems import Data, Measurement, Original, trial_of, validate_bare
from benchmarks.tasks import CLASSES, Task
from lightning_adapter import fit, load_trial
from lightning_adapter.evaluation.evaluate import evaluate
from lightning_adapter.evaluation.metric_inputs import Keys
from lightning_adapter.evaluation.metric_objects import metric_objects
from lightning_adapter.evaluation.trial_predictions import store_predictions

#: As `evaluate` gives a metric what is stored.
CHUNK = 8192


def metrics() -> MetricCollection:
    """Five metrics of one classification, of which the first two share what they count."""
    kinds = (
        MulticlassAccuracy,
        MulticlassF1Score,
        MulticlassAUROC,
        MulticlassAveragePrecision,
        MulticlassCalibrationError,
    )
    return MetricCollection([kind(num_classes=CLASSES) for kind in kinds])


class Measuring(pl.LightningModule):
    """What a person writes to have several metrics of a model from Lightning's Trainer."""

    def __init__(self, task: Task) -> None:
        super().__init__()
        self.task = task
        self.metrics = metrics()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """One batch."""
        x, y = batch
        self.metrics.update(self.task.network(x), y)
        self.log_dict(self.metrics)


class Prepared:
    """One trained perceptron, and what each system needs to evaluate it.

    Args:
        what: whose validation is that of `validations`.
        batches: of the predictions that are evaluated.
        directory: of run and predictions.
    """

    def __init__(self, what: Measurement, batches: int, directory: pathlib.Path) -> None:
        self.what = what
        self.predicted = dataclasses.replace(what, validation_steps=batches)
        self.trial: Any = fit(trial_of(what), max_epochs=1, run_dir=directory / "run")
        self.task = cast(Task, self.trial.lightning_module.task)
        self.predictions = directory / "predictions"
        trained = load_trial(directory / "run", trial_of(self.predicted))
        store_predictions(trained, self.predictions, split="val", logger=False)
        with torch.no_grad():
            outputs = [(self.task.network(x), y) for x, y in self.predicted.validation_loader()]
        self.saved = directory / "saved.pt"
        torch.save([torch.cat(part) for part in zip(*outputs, strict=True)], self.saved)

    def trainer(self) -> pl.Trainer:
        """Lightning's, made anew."""
        return pl.Trainer(
            accelerator="cpu", devices=1, logger=False, enable_progress_bar=False, enable_model_summary=False
        )

    def validations(self) -> dict[str, Callable[[], object]]:
        """The model validates; the clock is in the loader."""
        return {
            BARE_LOOP: lambda: validate_bare(self.what, self.task),
            LIGHTNING: lambda: self.trainer().validate(Original(self.task), datamodule=Data(self.what), verbose=False),
            ADAPTER: lambda: self.trial.validate(ckpt_path="last", dataloaders=self.what.validation_loader()),
        }

    def evaluations(self) -> dict[str, Callable[[], object]]:
        """Several metrics."""
        return {
            BARE_LOOP: self._bare_evaluation,
            LIGHTNING: lambda: self.trainer().validate(
                Measuring(self.task), datamodule=Data(self.predicted), verbose=False
            ),
            ADAPTER: self._evaluation,
        }

    def _bare_evaluation(self) -> dict[str, Tensor]:
        collection = metrics()
        logits, labels = torch.load(self.saved)
        for start in range(0, len(labels), CHUNK):
            collection.update(logits[start : start + CHUNK], labels[start : start + CHUNK])
        found: dict[str, Tensor] = collection.compute()
        return found

    def _evaluation(self) -> list[dict[str, Any]]:
        objects = metric_objects(metrics, "benchmarks.evaluation:metrics")
        evaluation = evaluate(self.predictions, objects, Keys(None, None), None, None)
        return [result.values for result in evaluation.results()]
