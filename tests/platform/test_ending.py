"""What is printed when a run has ended: values, time, what can be typed next?"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from torch.utils.data import DataLoader

from lightning_adapter import LightningAdapter, fit
from lightning_adapter.platform import ending
from lightning_adapter.runs import record
from lightning_adapter.runs.provenance import typed_target
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    monkeypatch.setattr(shutil, "which", lambda name: None)


class Complete(models.Net):
    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", 0.5)

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self(batch[0])


class AllData(models.Data):
    def test_dataloader(self) -> DataLoader[Any]:
        return self.val_dataloader()  # type: ignore[no-any-return]


class Trial(LightningAdapter):
    """One that commands find."""

    module: Any = Complete
    data: Any = AllData
    options: dict[str, Any] = {}

    def __init__(self, context: Any) -> None:
        given = {"max_epochs": 2, "enable_model_summary": False, "log_every_n_steps": 2, **self.options}
        super().__init__(context, self.module(), self.data(), **given)


def commands(printed: str) -> list[str]:
    return [line.strip() for line in printed.partition("\nnext:\n")[2].splitlines()]


BY_LOSS = {"searcher": {"name": "single", "metric": "val_loss", "smaller_is_better": True}}


class Worsens(models.Net):
    """Its validation gives what the test wants, epoch by epoch."""

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log_dict(
            {"val_loss": (0.5, 0.1, 0.3)[self.trainer.current_epoch], "val_acc": float(self.trainer.current_epoch)}
        )


def test_best_values_stand_beside_the_final_ones_with_their_epoch(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trial, "module", Worsens)
    fit(Trial, max_epochs=3, config=BY_LOSS, run_dir="run")
    out = capfd.readouterr().out
    lines = [re.split("  +", line) for line in out.splitlines()]
    assert ["metric", "final value", "best (epoch 2, 12 batches)"] in lines
    assert ["val_loss", "0.3", "0.1"] in lines and ["val_acc", "2", "1"] in lines
    (trained,) = [line for line in lines if line[0] == "trained"]
    assert re.fullmatch(r".*s: 3 epochs, 18 batches, [\d.]+ it/s", trained[1])


@pytest.mark.parametrize(
    ("options", "far"),
    [
        ({"max_epochs": -1, "max_steps": 3}, "epoch 1, 3 batches"),
        ({"max_epochs": 3, "max_steps": 8}, "epoch 2/3, 8 batches"),
        ({"max_epochs": 3, "max_steps": 12}, "2 epochs, 12 batches"),
    ],
)
def test_epoch_that_a_limit_has_cut_short_is_not_told_as_whole(
    capfd: pytest.CaptureFixture[str], options: dict[str, int], far: str
) -> None:
    fit(Trial, run_dir="run", **options)
    assert f"s: {far}, " in capfd.readouterr().out


def test_best_of_an_earlier_run_keeps_its_epoch(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trial, "module", Worsens)
    fit(Trial, max_epochs=2, config=BY_LOSS, run_dir="a")
    fit(Trial, max_epochs=3, config=BY_LOSS, run_dir="b", resume_from="a")
    out = capfd.readouterr().out
    assert out.count("best (epoch 2, 12 batches)") == 2
    assert re.search(r"^trained +.* with the runs before: 3 epochs, 18 batches", out, re.M)


def test_time_adds_up_over_the_runs_that_go_on() -> None:
    fit(Trial, max_epochs=1, run_dir="a")
    first = record.read(Path("a"))
    fit(Trial, max_epochs=2, run_dir="b", resume_from="a")
    fit(Trial, max_epochs=3, run_dir="b", resume_from="b")
    last = record.read(Path("b"))
    assert first is not None and last is not None
    assert 0 < first["seconds"] < last["seconds"] < 60


def test_failed_run_knows_its_time_and_says_from_where_it_goes_on(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Fails(models.Net):
        def on_train_epoch_start(self) -> None:
            if self.current_epoch:
                raise ValueError("broken")

    monkeypatch.setattr(Trial, "module", Fails)
    with pytest.raises(ValueError, match="broken"):
        fit(Trial, run_dir="run")
    (checkpoint,) = Path("run/checkpoints").iterdir()
    assert (
        f"can go on from its last checkpoint. Call fit() with\n    resume_from='{checkpoint}'\n"
        in capfd.readouterr().err
    )
    assert json.loads(Path("run/run.json").read_text())["seconds"] > 0


def test_run_that_fails_without_a_checkpoint_says_nothing_of_going_on(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trial, "module", staticmethod(lambda: 1 / 0))
    with pytest.raises(ZeroDivisionError):
        fit(Trial, run_dir="run")
    assert "resume_from" not in capfd.readouterr().err


# --- what can be typed next -------------------------------------------------------------------------------------------


def test_commands_are_those_that_can_work(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    fit(Trial, run_dir="it's here")
    assert commands(capfd.readouterr().out) == [
        """lightning-adapter test 'it'"'"'s here'""",
        """lightning-adapter predict 'it'"'"'s here' --split test""",
    ]
    monkeypatch.setattr(Trial, "data", models.Data)
    fit(Trial, run_dir="b")
    assert commands(capfd.readouterr().out) == [
        "lightning-adapter predict b --split val",
        """lightning-adapter runs compare 'it'"'"'s here' b""",
    ]

    class Other(Trial):
        module = models.Net

    fit(Other, run_dir="c")
    assert "next:" not in capfd.readouterr().out


def test_runs_of_one_trial_are_compared_and_three_commands_are_named_at_most(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    first, second = fit(Trial).run_dir, fit(Trial, test=True).run_dir
    one, two = (f"runs/Trial/{path.name}" for path in (first, second))
    before, _, after = capfd.readouterr().out.rpartition("\nmetric ")
    assert commands(before)[2] == f"tensorboard --logdir {one}/tensorboard"
    assert commands(after) == [
        f"lightning-adapter predict {two} --split test",
        f"lightning-adapter runs compare {one} {two}",
        f"tensorboard --logdir {two}/tensorboard",
    ]


def test_class_that_no_command_finds_is_tested_in_python(capfd: pytest.CaptureFixture[str]) -> None:
    class Local(Trial):
        pass

    fit(Local, run_dir="run")
    assert commands(capfd.readouterr().out) == ["trial.test()", "trial.predict(split='test')"]


def test_interrupted_run_says_how_it_goes_on_as_it_was_started(tmp_path: Path) -> None:
    class Parts:
        class progress:
            total_batches = 7

    class Driver:
        parts = Parts

    stopped: Any = Driver
    assert ending.to_go_on(stopped, "SIGINT", Path("a b")) == (
        "SIGINT has stopped the run after batch 7. To go on, call fit() with\n    resume_from='a b'"
    )
    with typed_target("m:T"):
        assert ending.to_go_on(stopped, "SIGINT", Path("a b")).endswith(
            "type the same command with\n    --resume-from 'a b'"
        )
    assert ending.to_go_on(stopped, "SIGTERM", None) == "SIGTERM has stopped the run after batch 7."


def test_run_that_stops_itself_says_who_asked_and_how_it_goes_on(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Asks(pl.Callback):
        def on_train_batch_end(self, trainer: Any, module: Any, *_: Any) -> None:
            if trainer.global_step == 3:
                trial_context.append(module)
                contexts[0].set_stop_requested(True)

    trial_context: list[Any] = []
    contexts: list[Any] = []

    class Stops(Trial):
        def __init__(self, context: Any) -> None:
            contexts.append(context)
            super().__init__(context)

    monkeypatch.setattr(Trial, "options", {"callbacks": [Asks()]})
    trial = fit(Stops, run_dir="run")
    out = capfd.readouterr().out
    place = trial.latest_checkpoint.relative_to(Path.cwd())
    assert (
        f"\nThe trial has stopped the run after batch 3. To go on, call fit() with\n    resume_from='{place}'\n" in out
    )
    assert re.search(r"^trained +.*s: epoch 1/2, 3 batches", out, re.M)


def test_run_that_stops_in_a_validation_is_at_the_epoch_that_was_validated(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts: list[Any] = []

    class Asks(pl.Callback):
        def on_validation_epoch_start(self, *_: Any) -> None:
            contexts[0].set_stop_requested(True)

    class Stops(Trial):
        def __init__(self, context: Any) -> None:
            contexts.append(context)
            super().__init__(context)

    monkeypatch.setattr(Trial, "options", {"callbacks": [Asks()]})
    fit(Stops, run_dir="run")
    said = capfd.readouterr()
    assert "training stops at epoch 1/2, " in said.err
    assert re.search(r"^trained +.*s: epoch 1/2, \d+ batches", said.out, re.M)


def test_trial_of_a_search_leaves_its_table_to_its_own_log(capfd: pytest.CaptureFixture[str]) -> None:
    from lightning_adapter.platform.judge import judged_by

    with judged_by(lambda batches, epochs, metrics: None):
        fit(Trial, run_dir="run", config=BY_LOSS)
    printed = capfd.readouterr()
    assert "val_loss" not in printed.out and "trains" not in printed.err and "next:" not in printed.out
    log = Path("run/train.log").read_text()
    assert log.count("final value") == log.count("Trial trains") == 1
