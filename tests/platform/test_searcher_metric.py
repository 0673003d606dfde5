"""Is a searcher's metric that nobody logs told before the first epoch, and one that is logged never doubted?

Whether code can log a name is asked of the file that it stands in, so each trial here has a file of its own.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from lightning_adapter import cli, fit
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.searcher_metric import CodeOfRun

MODEL_DEF = """
import pytorch_lightning as pl
import torch
from torchmetrics import MeanSquaredError, MetricCollection

from lightning_adapter import LightningAdapter
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)

class Base(models.Net):
    trained = validated = 0

    def training_step(self, batch, batch_idx):
        Base.trained += 1
        return super().training_step(batch, batch_idx)

    def validation_step(self, batch, batch_idx):
        Base.validated += 1
        super().validation_step(batch, batch_idx)

class Module(Base):
    pass

ARGUMENTS = {}
%s

class Trial(LightningAdapter):
    def __init__(self, context):
        given = {"max_epochs": 1, "enable_model_summary": False, "logger": False, **ARGUMENTS}
        super().__init__(context, Module(), models.Data(), **given)
"""

#: What else stands in the file, and a metric that a validation logs.
GOOD = {
    "in the step": ("", "val_loss"),
    "at the end": (
        """
class Module(Base):
    def on_validation_epoch_end(self):
        self.log("the_end", 1.0)
""",
        "the_end",
    ),
    "by a callback": (
        """
class Callback(pl.Callback):
    def on_validation_epoch_end(self, trainer, pl_module):
        pl_module.log("of_callback", 1.0)
ARGUMENTS = {"callbacks": [Callback()]}
""",
        "of_callback",
    ),
    "by a helper": (
        """
def helper(module):
    module.log("by_a_helper", 1.0)
class Module(Base):
    def on_validation_epoch_end(self):
        helper(self)
""",
        "by_a_helper",
    ),
    "composed": (
        """
class Module(Base):
    def validation_step(self, batch, batch_idx):
        self.step("holdout")
    def step(self, stage):
        self.log(f"{stage}/{type(self).__name__.lower()}", 1.0)
""",
        "holdout/module",
    ),
    "of a collection": (
        """
class Module(Base):
    def __init__(self):
        super().__init__()
        self.scores = MetricCollection([MeanSquaredError()])
        self.drop = torch.nn.Dropout()
    def training_step(self, batch, batch_idx):
        return super().training_step((self.drop(batch[0]), batch[1]), batch_idx)
    def validation_step(self, batch, batch_idx):
        Base.validated += 1
        self.scores(torch.ones(2), torch.zeros(2))
        self.log_dict(self.scores)
""",
        "MeanSquaredError",
    ),
    "not in the sanity check": (
        """
class Module(Base):
    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        if not self.trainer.sanity_checking:
            self.log("".join(["la", "te"]), 1.0)
""",
        "late",
    ),
    "at a later batch": (
        """
class Module(Base):
    def validation_step(self, batch, batch_idx):
        super().validation_step(batch, batch_idx)
        if batch_idx == 2:
            self.log("last_batch", 1.0)
""",
        "last_batch",
    ),
}
COLLECTION = GOOD["of a collection"][0]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """A function that writes the file of a trial and imports it."""
    folder = tmp_path / "project"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))

    def write(more: str = "", **arguments: Any) -> Any:
        sys.modules.pop("searched_model_def", None)
        (folder / "searched_model_def.py").write_text(MODEL_DEF % f"{more}\nARGUMENTS.update({arguments!r})\n")
        importlib.invalidate_caches()
        return importlib.import_module("searched_model_def")

    yield write
    sys.modules.pop("searched_model_def", None)


def searching(metric: str) -> dict[str, Any]:
    return {"searcher": {"metric": metric}}


# --- told -------------------------------------------------------------------------------------------------------------

TOLD = r"'vl_loss', which the sanity check did not log; it logged val_loss; did you mean 'val_loss'\?"


@pytest.mark.parametrize("arguments", [{}, {"num_sanity_val_steps": 1}, {"num_sanity_val_steps": -1}])
def test_misspelt_metric_ends_a_trial_before_its_first_batch(
    cluster: Any, project: Callable[..., Any], arguments: dict[str, Any]
) -> None:
    file = project(**arguments)
    with cluster(config=searching("vl_loss")) as master:
        with pytest.raises(ConfigurationError, match=TOLD):
            fit(file.Trial)
    assert file.Base.trained == 0
    assert master.metrics == [] and master.checkpoints == []


@pytest.mark.parametrize("arguments", [{"num_sanity_val_steps": 0}, {"fast_dev_run": 2}, {"barebones": True}])
def test_where_the_sanity_check_is_switched_off_the_first_validation_tells(
    cluster: Any, project: Callable[..., Any], arguments: dict[str, Any]
) -> None:
    file = project(**arguments)
    with cluster(config=searching("vl_loss")):
        with pytest.raises(ConfigurationError, match="which the validation did not log"):
            fit(file.Trial)
    assert file.Base.trained > 0


def test_local_run_is_warned_once_by_a_sanity_check_of_its_own_alone(
    project: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    for arguments, where in (({}, "the validation"), ({"num_sanity_val_steps": 1}, "the sanity check")):
        caplog.clear()
        fit(project(**arguments).Trial, config=searching("vl_loss"))
        (line,) = [record.getMessage() for record in caplog.records if "searcher.metric" in record.getMessage()]
        assert f"which {where} did not log" in line


def test_the_command_ends_with_two_and_one_message(
    cluster: Any, project: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    project()
    with cluster(config=searching("vl_loss")):
        assert cli.main(["fit", "searched_model_def:Trial"]) == 2
    assert capsys.readouterr().err.endswith(
        "lightning-adapter: error: searcher.metric is 'vl_loss', which the sanity check did not log; it logged val_loss; "
        "did you mean 'val_loss'?\n"
    )


# --- never doubted without reason -------------------------------------------------------------------------------------


@pytest.mark.parametrize("checked", [False, True])
@pytest.mark.parametrize("name", GOOD)
def test_metric_that_a_validation_logs_ends_no_trial(
    cluster: Any, project: Callable[..., Any], name: str, checked: bool, caplog: pytest.LogCaptureFixture
) -> None:
    more, metric = GOOD[name]
    file = project(more, **({"num_sanity_val_steps": 2} if checked else {}))
    with cluster(config=searching(metric)) as master:
        fit(file.Trial)
    ((_, metrics),) = master.validation
    assert metric in metrics
    warned = [record.getMessage() for record in caplog.records if "searcher.metric" in record.getMessage()]
    assert len(warned) == (checked and name == "at a later batch")


def test_trial_whose_code_has_the_name_gets_no_sanity_check(cluster: Any, project: Callable[..., Any]) -> None:
    file = project()
    with cluster(config=searching("val_loss")):
        trial = fit(file.Trial)
    assert file.Base.validated == 3 and trial.lightning_module.trainer.num_sanity_val_steps == 0


def test_sanity_check_that_a_doubt_brings_changes_no_number(cluster: Any, project: Callable[..., Any]) -> None:
    runs = []
    for arguments in ({}, {"num_sanity_val_steps": 0}):
        file = project(COLLECTION, **arguments)
        with cluster(config=searching("MeanSquaredError"), trial_seed=5):
            module = fit(file.Trial).lightning_module
        runs.append((module.state_dict(), file.Base.validated))
    (doubted, more), (plain, fewer) = runs
    assert more == fewer + 2
    for name, value in plain.items():
        assert torch.equal(doubted[name], value), name


def test_resumed_trial_is_not_doubted(cluster: Any, project: Callable[..., Any]) -> None:
    with cluster(config=searching("MeanSquaredError")):
        first = fit(project(COLLECTION).Trial)
    file = project(COLLECTION, max_epochs=2)
    with cluster(
        config=searching("MeanSquaredError"), latest_checkpoint=first.latest_checkpoint_uuid, steps_completed=6
    ):
        fit(file.Trial)
    assert file.Base.validated == 3


# --- what stands in the code ------------------------------------------------------------------------------------------


def test_texts_of_hyperparameters_count_omegaconfs_with_values_that_are_missing_among_them() -> None:
    code = CodeOfRun([], [{"optimizer": {"monitor": "auroc"}}, OmegaConf.create({"target": "kappa", "later": "???"})])
    assert code.may_log("auroc") and code.may_log("kappa") and not code.may_log("f1")


def test_parts_of_a_name_count_where_they_are_not_too_short() -> None:
    code = CodeOfRun([], ["val", "_f"])
    assert code.may_log("val_f1") and not code.may_log("test_f1")
