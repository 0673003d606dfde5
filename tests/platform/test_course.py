"""What does the log say of a run's course, here, on a cluster and under Determined's own Trainer?"""

from __future__ import annotations

import contextlib
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import determined
import pytest
import pytorch_lightning as pl
import torch
from determined import pytorch

from lightning_adapter import fit
from lightning_adapter.versions.callbacks import reason_of_early_stopping
from parity.models import flavour
from test_cluster import trial_of

models = flavour("pytorch_lightning", ours=True)


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What this package has logged so far."""
    with caplog.at_level("INFO", logger="lightning_adapter"):
        yield lambda: [record.getMessage() for record in caplog.records if record.name == "lightning_adapter"]


Said = Callable[[], list[str]]


# --- why it ended -----------------------------------------------------------------------------------------------------


class Stops(models.Net):
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.trainer.global_step == 4:
            self.trainer.should_stop = True


class StopsAsCallback(pl.Callback):
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = True


class EndsTheEpochs(models.Net):
    def on_train_epoch_start(self) -> None:
        if self.current_epoch == 1:
            raise StopIteration


def stopping(**options: Any) -> pl.callbacks.EarlyStopping:
    return pl.callbacks.EarlyStopping("val_loss", **options)


ENDS = {
    "epochs": (lambda: trial_of(), r"epoch 2/2, 12 batches: max_epochs=2 reached"),
    "steps": (lambda: trial_of(max_epochs=-1, max_steps=7), r"epoch 2, 7 batches: max_steps=7 reached"),
    "early stopping": (
        lambda: trial_of(callbacks=[stopping(patience=1, mode="max", min_delta=100)], max_epochs=60),
        r"epoch 2/60, 12 batches: EarlyStopping: Monitored metric val_loss did not improve in the last 1 records\. Best score",
    ),
    "threshold": (
        lambda: trial_of(callbacks=[stopping(stopping_threshold=1e9)], max_epochs=60),
        r"epoch 1/60, 6 batches: EarlyStopping: Stopping threshold reached: val_loss = .* < 1000000000\.0\.$",
    ),
    "time": (
        lambda: trial_of(max_time=timedelta(0), max_epochs=60),
        r"epoch 1/60, 0 batches: Timer: max_time=0:00:00 reached, 0 seconds trained",
    ),
    "timer": (
        lambda: trial_of(callbacks=[pl.callbacks.Timer(timedelta(0))], max_epochs=60),
        r"epoch 1/60, 0 batches: Timer: its time limit is reached, 0 seconds trained",
    ),
    "module": (
        lambda: trial_of(Stops),
        r"epoch 1/2, 4 batches: Stops\.on_train_batch_end has set trainer\.should_stop \(test_course\.py, line \d+\)",
    ),
    "callback": (
        lambda: trial_of(callbacks=[StopsAsCallback()]),
        r"epoch 1/2, 6 batches: StopsAsCallback\.on_validation_end has set trainer\.should_stop \(test_course\.py, line",
    ),
    "no batches": (lambda: trial_of(limit_train_batches=0), r"epoch 1/2, 0 batches: limit_train_batches=0"),
    "hook": (lambda: trial_of(EndsTheEpochs), r"epoch 2/2, 6 batches: a hook around an epoch has raised StopIteration"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENDS)
def test_end_of_a_run_is_said_with_its_reason(name: str, tmp_path: Path, said: Said) -> None:
    trial, reason = ENDS[name]
    fit(trial(), run_dir=tmp_path / "run")
    (line,) = [text for text in said() if "training" in text]
    assert re.match("training has ended at " + reason, line), line
    assert line in (tmp_path / "run" / "train.log").read_text()


def test_early_stopping_of_an_older_lightning_is_said_in_our_words() -> None:
    callback = stopping(patience=3)
    callback.best_score, callback.wait_count = torch.tensor(0.25), 3
    assert reason_of_early_stopping(callback) == "val_loss did not improve in 3 checks, best value 0.25"
    callback.wait_count = 1
    assert "has crossed a threshold or is not finite" in reason_of_early_stopping(callback)


def test_length_in_batches_is_the_reason_where_it_ends_a_run(cluster: Any, said: Said) -> None:
    with cluster(config={"searcher": {"name": "single", "max_length": {"batches": 5}}}):
        fit(trial_of(max_epochs=None))
    assert "training has ended at epoch 1, 5 batches: the length of 5 batches in the experiment config is reached" in (
        said()
    )


# --- a trial's way on a cluster ---------------------------------------------------------------------------------------


def test_task_log_has_the_course_of_a_trial(cluster: Any, said: Said) -> None:
    with cluster(trial_seed=4, trial_id=7, experiment_id=3) as master:
        trial = fit(trial_of())
    begun, *lines, ended, values = said()
    assert begun.startswith("Trial trains\n") and begun.endswith("\n  trial       7 of experiment 3\n  seed        4")
    validations = [line for line in lines if "val_loss" in line]
    for line, (done, metrics) in zip(validations, master.validation, strict=True):
        assert line.startswith(f"epoch {done // 6}/2  batch 6/6") and f"val_loss {metrics['val_loss']:.4g}" in line
    assert ended == "training has ended at epoch 2/2, 12 batches: max_epochs=2 reached"
    best, loss = trial.best_checkpoint_uuid, master.validation[-1][1]["val_loss"]
    assert values.startswith("Trial has trained\n\n")
    table = [re.split("  +", line) for line in values.splitlines()]
    assert ["metric", "final value", "best (epoch 2, 12 batches)"] in table
    assert ["val_loss", f"{loss:.6g}", f"{loss:.6g}"] in table
    assert ["best checkpoint", f"{best} (val_loss {loss:.6g})"] in table
    assert ["to get it, type", f"lightning-adapter fetch {best}"] in table


class Paused(models.Net):
    master: Any = None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        if self.current_epoch == 1 and batch_idx == 1:
            self.master.preempt()


def test_pause_and_resume_are_said_with_the_checkpoint(cluster: Any, said: Said) -> None:
    with cluster() as first:
        Paused.master = first
        fit(trial_of(Paused))
    uuid = first.checkpoints[-1].uuid
    reason = "the cluster has asked for it, for a pause, a cancel, or a trial of higher priority"
    *_, stopped, values = said()
    assert stopped == f"training stops at epoch 2/2, 8 batches: {reason}; it can go on from checkpoint {uuid}"
    assert values.startswith("Trial so far\n\n") and f"\nlast checkpoint  {uuid}\n" in values
    assert re.search(r"^trained +.*: epoch 2/2, 8 batches, ", values, re.MULTILINE)
    with cluster(latest_checkpoint=uuid, steps_completed=8, trial_run_id=2):
        fit(trial_of())
    begun = next(text for text in reversed(said()) if " trains\n" in text)
    assert f"\n  resumes     checkpoint {uuid}\n              epoch 2, 8 batches" in begun
    assert re.search(r"^trained +.* with the runs before: 2 epochs, 12 ", said()[-1], re.MULTILINE)


class AsksDetermined(models.Net):
    context: Any = None

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == 1:
            self.context.set_stop_requested(True)


def test_stop_through_determineds_context_is_said_to_be_the_trials(cluster: Any, said: Said) -> None:
    class Trial(trial_of(AsksDetermined)):  # type: ignore[misc]
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            AsksDetermined.context = context
            super().__init__(context)

    with cluster():
        fit(Trial)
    assert any("the trial has asked for it (context.set_stop_requested)" in line for line in said())


@pytest.mark.parametrize(
    ("config", "whose"), [({}, "another trial"), ({"searcher": {"source_trial_id": 12}}, "trial 12")]
)
def test_weights_of_another_trial_are_said_to_be_taken(
    cluster: Any, said: Said, config: dict[str, Any], whose: str
) -> None:
    with cluster():
        uuid = fit(trial_of()).latest_checkpoint_uuid
    with cluster(latest_checkpoint=uuid, steps_completed=0, trial_id=2, config=config):
        fit(trial_of(max_epochs=1))
    begun = next(text for text in reversed(said()) if " trains\n" in text)
    weights = " ".join(begun.partition("weights of")[2].split())
    assert weights == f"checkpoint {uuid} of {whose} epoch 2, 12 batches"


def test_weights_of_a_file_without_a_position_are_said_to_be_taken(cluster: Any, said: Said, tmp_path: Path) -> None:
    path = tmp_path / "weights.ckpt"
    torch.save({"state_dict": models.Net().state_dict(), "pytorch-lightning_version": pl.__version__}, path)
    with cluster():
        fit(trial_of(max_epochs=1), warm_start_from=path)
    begun = said()[0].partition("weights of")[2].split()
    assert " ".join(begun) == f"{path} which does not say how long it was trained"


class Refuses(models.Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        raise determined.InvalidHP("no such width")


def test_refused_hyperparameters_are_said_though_the_trial_ends_with_zero(cluster: Any, said: Said) -> None:
    with cluster() as master:
        with pytest.raises(SystemExit) as ended:
            fit(trial_of(Refuses))
    assert ended.value.code == 0 and master.early_exits == ["EXITED_REASON_INVALID_HP"]
    assert "the trial refuses its hyperparameters, and the searcher is told so: InvalidHP: no such width" in said()


# --- who sees it ------------------------------------------------------------------------------------------------------


class Keeps(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


@contextlib.contextmanager
def bare_logging() -> Iterator[logging.Logger]:
    """Nobody has configured logging; pytest's own handlers would count as somebody."""
    root, ours = logging.getLogger(), logging.getLogger("lightning_adapter")
    handlers, level, own = root.handlers[:], root.level, ours.level
    root.handlers[:] = []
    root.setLevel(logging.WARNING)
    try:
        yield root
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
        ours.setLevel(own)


def test_script_that_configures_no_logging_is_told_on_a_cluster(
    cluster: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    with cluster(), bare_logging():
        fit(trial_of())
    printed = capsys.readouterr().err
    assert len(re.findall(r"^epoch \d/2  batch 6/6  .*val_loss", printed, re.MULTILINE)) == 2
    assert logging.getLogger("lightning_adapter").level == logging.NOTSET


def test_handler_on_the_root_logger_gets_each_line_once(cluster: Any, capsys: pytest.CaptureFixture[str]) -> None:
    handler = Keeps()
    with cluster(), bare_logging() as root:
        root.addHandler(handler)  # as `logging.warning()` in a user's module adds one, and leaves the level
        fit(trial_of())
    validated = [line for line in handler.lines if line.startswith("epoch ") and "val_loss" in line]
    assert len(validated) == len(set(validated)) == 2
    assert "epoch 1" in capsys.readouterr().err  # nobody sees what such a handler keeps


def test_level_that_the_user_gave_the_packages_logger_is_left_alone(cluster: Any) -> None:
    handler = Keeps()
    with cluster(), bare_logging() as root:
        root.addHandler(handler)
        logging.getLogger("lightning_adapter").setLevel(logging.ERROR)
        fit(trial_of())
    assert not [line for line in handler.lines if line.startswith("epoch ")]


# --- Determined's own Trainer -----------------------------------------------------------------------------------------


def test_values_and_end_are_said_under_determineds_own_trainer(cluster: Any, said: Said) -> None:
    with cluster(config={"searcher": {"max_length": {"epochs": 5}}}), pytorch.init(hparams={}) as context:
        trial = trial_of()(context)
        pytorch.Trainer(trial, context).fit(validation_period=pytorch.Epoch(1))
    lines = [line for line in said() if line.startswith("training") or "val_loss" in line]
    assert [line.partition("  train_loss")[0] for line in lines] == [
        "epoch 1/2  batch 6/6",
        "epoch 2/2  batch 6/6",
        "training has ended at epoch 2/2, 12 batches: max_epochs=2 reached",
    ]


def test_weights_of_another_trial_are_said_to_be_taken_under_determineds_own_trainer(
    cluster: Any, said: Said, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"searcher": {"max_length": {"epochs": 1}}}
    with cluster(config=config) as source, pytorch.init(hparams={}) as context:
        pytorch.Trainer(trial_of()(context), context).fit()
    uuid = source.checkpoints[-1].uuid
    with cluster(config=config, latest_checkpoint=uuid, trial_id=2), pytorch.init(hparams={}) as context:
        pytorch.Trainer(trial_of()(context), context).fit(latest_checkpoint=uuid)
    assert f"weights of  checkpoint {uuid} of another trial" in said()[-3]
    assert "no callback state was found" not in caplog.text


def test_determined_speaks_of_no_placeholders_under_its_own_trainer(
    cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="determined")
    with cluster(config={"searcher": {"max_length": {"epochs": 1}}}), pytorch.init(hparams={}) as context:
        pytorch.Trainer(trial_of()(context), context).fit(validation_period=pytorch.Epoch(1))
    assert "report_validation_metrics(" in caplog.text
    assert "validated: " not in caplog.text and "disabled " not in caplog.text
    for name in ("determined.core", "determined.pytorch"):
        assert logging.getLogger(name).filters == []


def test_reports_to_the_master_are_not_repeated_in_the_log_of_fit(
    cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="determined")
    with cluster():
        fit(trial_of(max_epochs=1))
    said = [record.getMessage() for record in caplog.records if record.name.startswith("determined")]
    assert [line for line in said if line.startswith("Reported checkpoint")]
    assert not [line for line in said if line.startswith(("report_", "validated: ", "status: ", "disabled "))]


# --- Lightning's word ------------------------------------------------------------------------------------------------


def test_lightning_does_not_print_what_ends_a_run_and_whoever_listens_hears_it(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import sys\n"
        f"sys.path[:0] = [{str(Path(__file__).parents[1])!r}]\n"
        "from test_cluster import trial_of\n"
        "from lightning_adapter import fit\n"
        "fit(trial_of(max_epochs=1), run_dir='run')\n"
    )
    done = subprocess.run([sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "`Trainer.fit` stopped" not in done.stderr
    assert done.stderr.count("training has ended at epoch 1/1, 6 batches: max_epochs=1 reached") == 1
    log = (tmp_path / "run" / "train.log").read_text()
    assert log.count("`Trainer.fit` stopped: `max_epochs=1` reached.") == 1
