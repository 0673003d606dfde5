"""A trial of a search has the numbers of Lightning's own Trainer, and of the trial that a cluster would have trained."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from fake_master import FakeMaster
from lightning_adapter import LightningAdapter, fit, search
from lightning_adapter.platform import experiment
from lightning_adapter.runs import curves, record
from lightning_adapter.tuning import picture
from parity.models import flavour
from two_ways import by_lightning

ours, plain = flavour("pytorch_lightning", ours=True), flavour("pytorch_lightning", ours=False)
EPOCHS, BATCHES = 4, 6  # in an epoch of `Data`
SEARCHER = {"name": "async_halving", "metric": "val_loss", "num_rungs": 3, "divisor": 2, "max_trials": 4}
SEARCHER |= {"max_time": EPOCHS, "time_metric": "epochs", "max_concurrent_trials": 2}
CONFIG = {
    "searcher": SEARCHER,
    "hyperparameters": {
        "dropout": {"type": "double", "minval": 0.0, "maxval": 0.6},
        "batch_size": {"type": "categorical", "vals": [2, 4]},
    },
    "reproducibility": {"experiment_seed": 5},
}


def parts(models: Any, values: dict[str, Any]) -> tuple[Any, Any]:
    return models.Net(scheduler="cosine", dropout=values["dropout"]), models.Data(batch_size=values["batch_size"])


class Trial(LightningAdapter):
    def __init__(self, context: Any) -> None:
        quiet = {"enable_progress_bar": False, "enable_model_summary": False, "logger": False}
        super().__init__(context, *parts(ours, context.get_hparams()), max_epochs=EPOCHS, **quiet)


@pytest.fixture
def searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    for drawing in (curves, picture):
        monkeypatch.setattr(drawing, "draw", lambda *given: False)
    found = search(Trial, config=CONFIG, search_dir=tmp_path / "search")
    assert {row.state for row in found.view.rows} == {"complete", "pruned"}
    return found


def weights_of(run_dir: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(run_dir / "last" / "lightning.ckpt")["state_dict"]
    return found


def test_trials_have_the_weights_that_lightnings_trainer_gives_to_where_they_were_stopped(
    searched: Any, tmp_path: Path
) -> None:
    for row in searched.view.rows:
        trial = record.read(row.run_dir)
        pl.seed_everything(trial["seed"])
        module, data = parts(plain, trial["hyperparameters"])
        trainer = by_lightning(tmp_path)(module, data, max_epochs=row.epochs)
        found = weights_of(row.run_dir)
        assert found.keys() == module.state_dict().keys()
        assert all(torch.equal(found[name], value) for name, value in module.state_dict().items())
        reported = searched.study.trials[row.number].intermediate_values
        assert max(reported) == row.epochs
        assert reported[row.epochs] == float(trainer.callback_metrics["val_loss"])


def test_trial_of_a_cluster_with_the_same_draw_reports_the_same_values_and_stops_at_the_same_validation(
    searched: Any, cluster: Callable[..., AbstractContextManager[FakeMaster]]
) -> None:
    rows = {row.state: row for row in searched.view.rows}
    for state in ("complete", "pruned"):
        here = rows[state]
        trial = record.read(here.run_dir)
        values = experiment.as_written(trial["hyperparameters"])
        with cluster(trial_seed=trial["seed"], hparams=values, config={"searcher": SEARCHER}) as master:
            if state == "pruned":
                master.stop_after(validations=here.epochs)
            there = fit(Trial)
        reported = searched.study.trials[here.number].intermediate_values
        assert [metrics["val_loss"] for _, metrics in master.validation] == list(reported.values())
        assert len(reported) == here.epochs
        assert [batches for batches, _ in master.validation][-1] == here.batches
        found = there.lightning_module.state_dict()
        assert all(torch.equal(found[name], value) for name, value in weights_of(here.run_dir).items())
