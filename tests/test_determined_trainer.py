"""Does a trial train as well under Determined's own Trainer, which knows nothing of Lightning's epochs and periods?"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import determined
import pytest
import torch
from determined import pytorch
from torch.utils.data import DataLoader

from fake_master import complete_config
from lightning_adapter import LightningAdapter, fit
from parity.models import flavour, samples

models = flavour("pytorch_lightning", ours=True)


class Uploads(pytorch.PyTorchCallback):
    """Keeps the ids of checkpoints, and which callbacks fired."""

    def __init__(self) -> None:
        self.ids: list[str] = []
        self.calls: list[str] = []

    def on_checkpoint_upload_end(self, uuid: str) -> None:
        self.ids.append(uuid)

    def on_training_start(self) -> None:
        self.calls.append("training_start")

    def on_training_epoch_start(self, epoch_idx: int) -> None:
        self.calls.append(f"epoch_start {epoch_idx}")

    def on_training_epoch_end(self, epoch_idx: int) -> None:
        self.calls.append(f"epoch_end {epoch_idx}")

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        self.calls.append(f"validation_end {sorted(metrics)}")

    def on_trial_shutdown(self) -> None:
        self.calls.append("shutdown")


def trial_of(
    module: Callable[[], Any] = models.Net, data: Callable[[], Any] | None = models.Data, **arguments: Any
) -> type[LightningAdapter]:
    """A trial whose `build_callbacks` does not call super()."""

    class Trial(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            given = {"enable_model_summary": False, "log_every_n_steps": 2, **arguments}
            super().__init__(context, module(), data and data(), **given)

        def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
            self.uploads = Uploads()
            return {"uploads": self.uploads}

    return Trial


def train(trial_class: type[LightningAdapter], seed: int | None = 3, **arguments: Any) -> LightningAdapter:
    """Train as a script written for Determined's Trainer does: two epochs, a validation after each."""
    given = {"max_length": pytorch.Epoch(2), "validation_period": pytorch.Epoch(1), **arguments}
    info = determined.get_cluster_info()
    with pytorch.init(hparams=None if info is None else info.trial.hparams) as context:
        if seed is not None:
            torch.manual_seed(seed)
        trial = trial_class(context)
        pytorch.Trainer(trial, context).fit(**given)
    return trial


@pytest.fixture(autouse=True)
def local_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Determined keeps checkpoints off a cluster; it copies the working directory into each of them."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)


def weights(trial: LightningAdapter) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in trial.lightning_module.state_dict().values()])


SCHEDULED: dict[str, Any] = {"scheduler": "cosine", "interval": "step"}


@pytest.mark.parametrize("options", [{}, SCHEDULED, {"scheduler": "plateau", "monitor": "val_loss"}],
                         ids=["plain", "cosine", "plateau"])  # fmt: skip
def test_numbers_are_those_of_fit_where_the_periods_coincide(options: dict[str, Any], tmp_path: Path) -> None:
    by_fit = fit(trial_of(lambda: models.Net(**options), max_epochs=2), seed=3, run_dir=tmp_path / "run")
    by_trainer = train(trial_of(lambda: models.Net(**options), max_epochs=2))
    assert torch.equal(weights(by_trainer), weights(by_fit))
    assert by_trainer.callback_metrics == by_fit.callback_metrics
    assert by_trainer.lightning_module.trainer.global_step == 12


def test_run_is_seen_where_nobody_has_set_up_logging(capfd: pytest.CaptureFixture[str]) -> None:
    train(trial_of())
    said = capfd.readouterr().err
    assert said.count("Trial trains\n  model ") == 1 and said.count("epoch 1/") >= 1
    assert logging.getLogger("lightning_adapter").handlers == []


def test_length_is_determineds_where_the_trial_names_none() -> None:
    trial = train(trial_of(), max_length=pytorch.Batch(8))
    assert trial.lightning_module.trainer.global_step == 8


def test_length_of_the_trial_ends_training_before_determineds() -> None:
    trial = train(trial_of(max_epochs=1), max_length=pytorch.Epoch(5))
    assert trial.lightning_module.trainer.global_step == 6


@pytest.mark.parametrize("cut_short", [False, True])
def test_run_that_is_over_for_lightning_is_over_for_determined(cut_short: bool) -> None:
    """With 200 batches asked for, and a last epoch that may end at its first batch by `on_train_batch_start`."""
    calls: list[str] = []

    class Net(models.Net):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
            return -1 if cut_short and self.current_epoch == 1 else None

        def on_validation_start(self) -> None:
            calls.append("validation")

        def on_train_end(self) -> None:
            calls.append("train_end")

    class Trial(trial_of(Net, max_epochs=2)):  # type: ignore[misc]
        def train_batch(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            calls.append("train_batch")
            return super().train_batch(*args, **kwargs)

    trial = train(Trial, max_length=pytorch.Batch(200))
    after = calls[calls.index("train_end") :]
    assert trial.lightning_module.trainer.global_step == (6 if cut_short else 12)
    # Determined hears of it at its next boundary, which is that of the validation, every six batches
    assert after.count("train_batch") <= 6 and after.count("validation") <= 1
    assert calls.count("train_batch") == 12


def test_hooks_of_lightning_are_called() -> None:
    calls: list[str] = []

    class Hooked(models.Net):
        def on_fit_start(self) -> None:
            calls.append("fit_start")

        def on_train_epoch_end(self) -> None:
            calls.append("epoch_end")

        def on_validation_epoch_end(self) -> None:
            calls.append("validation_epoch_end")

        def on_train_end(self) -> None:
            calls.append("train_end")

    train(trial_of(Hooked, max_epochs=2))
    assert calls == ["fit_start", *["validation_epoch_end", "epoch_end"] * 2, "train_end"]


def test_callbacks_of_the_trial_fire_as_determined_fires_them() -> None:
    assert train(trial_of(max_epochs=2)).uploads.calls == [
        "training_start",
        "epoch_start 0", "epoch_end 0", "validation_end ['val_loss']",
        "epoch_start 1", "epoch_end 1", "validation_end ['val_loss']",
        "shutdown",
    ]  # fmt: skip


@pytest.mark.parametrize("loader", [DataLoader, pytorch.DataLoader], ids=["torch", "determined"])
def test_loaders_of_the_trial_win(loader: Any) -> None:
    class Trial(trial_of(data=None, max_epochs=2)):  # type: ignore[misc]
        def build_training_data_loader(self) -> Any:
            return loader(samples(8), batch_size=4)

        def build_validation_data_loader(self) -> Any:
            return loader(samples(4, seed=1), batch_size=4)

    trial = train(Trial)
    assert trial.lightning_module.trainer.global_step == 4
    assert trial.callback_metrics["val_loss"] > 0


@pytest.mark.parametrize("shuffle", [False, True])
def test_resume_goes_on_where_the_checkpoint_was_taken_on_a_cluster(cluster: Any, shuffle: bool) -> None:
    trial_class = trial_of(lambda: models.Net(**SCHEDULED), lambda: models.Data(shuffle=shuffle), max_epochs=2)
    with cluster(trial_seed=3) as master:
        whole = train(trial_class, seed=None, checkpoint_period=pytorch.Batch(4), checkpoint_policy="all")
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == [4, 6, 8, 12]
    for taken in master.checkpoints[:-1]:
        with cluster(trial_seed=3, latest_checkpoint=taken.uuid, steps_completed=taken.steps_completed):
            resumed = train(trial_class, seed=None, latest_checkpoint=taken.uuid)
        assert torch.equal(weights(resumed), weights(whole)), taken
        assert resumed.callback_metrics == whole.callback_metrics
        assert resumed.lightning_module.trainer.global_step == 12


def test_checkpoint_of_another_trial_gives_its_weights_only(cluster: Any, tmp_path: Path) -> None:
    trial_class = trial_of(lambda: models.Net(**SCHEDULED), max_epochs=2)
    with cluster(trial_seed=3):
        uuid = train(trial_class, seed=None).uploads.ids[-1]
    with cluster(trial_seed=4, latest_checkpoint=uuid, steps_completed=0, trial_id=2):
        begun = train(trial_class, seed=None, latest_checkpoint=uuid)
    state = torch.load(tmp_path / "store" / uuid / "state_dict.pth", weights_only=False)["models_state_dict"][0]

    class Loads(models.Net):  # what a warm start is, by hand
        def __init__(self) -> None:
            super().__init__(**SCHEDULED)
            self.load_state_dict(state)

    with cluster(trial_seed=4, trial_id=3):
        by_hand = train(trial_of(Loads, max_epochs=2), seed=None)
    assert torch.equal(weights(begun), weights(by_hand))
    assert begun.lightning_module.trainer.global_step == 12


def test_preempted_trial_goes_on(cluster: Any) -> None:
    trial_class = trial_of(max_epochs=2)
    with cluster(trial_seed=3):
        whole = train(trial_class, seed=None)
    with cluster(trial_seed=3) as first:
        first.preempt_after(steps=4)
        train(trial_class, seed=None, reporting_period=pytorch.Batch(2))
    stopped = first.checkpoints[-1]
    assert stopped.steps_completed < 12
    with cluster(trial_seed=3, latest_checkpoint=stopped.uuid, steps_completed=stopped.steps_completed):
        resumed = train(trial_class, seed=None, latest_checkpoint=stopped.uuid)
    assert torch.equal(weights(resumed), weights(whole))


def test_metrics_reach_the_master_under_their_names(cluster: Any) -> None:
    with cluster() as master:
        train(trial_of(max_epochs=2), reporting_period=pytorch.Batch(2))
    assert [done for done, _ in master.validation] == [6, 12]
    assert all("val_loss" in metrics for _, metrics in master.validation)
    reported = [(done, name) for done, metrics in master.training for name in metrics if name.startswith("train_loss")]
    assert reported == [
        *((step, "train_loss_step") for step in (2, 4, 6)), (6, "train_loss_epoch"),
        *((step, "train_loss_step") for step in (8, 10, 12)), (12, "train_loss_epoch"),
    ]  # fmt: skip


def test_checkpoints_on_a_cluster_leave_out_data_beside_the_code(
    cluster: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="lightning_adapter")
    context = tmp_path / "context"
    (context / "images").mkdir(parents=True)
    (context / "model_def.py").write_text("# code")
    (context / "data.bin").write_bytes(bytes(1_000_001))
    (context / "images" / "all.bin").write_bytes(bytes(1_000_001))
    with cluster(model_dir=context) as master:
        train(trial_of(), checkpoint_policy="all")

    assert len(master.checkpoints) == 2
    for checkpoint in master.checkpoints:
        assert [path.name for path in (master.store / checkpoint.uuid / "code").iterdir()] == ["model_def.py"]
    (line,) = [line for line in caplog.messages if "without what is larger than 1 MB" in line]
    assert "data.bin (1 MB)" in line and "images (1 MB)" in line


def test_resume_off_a_cluster_goes_on_in_the_data() -> None:
    trial_class = trial_of(max_epochs=2)
    given = {"validation_period": None, "checkpoint_policy": "none"}  # Determined counts periods from the resume
    whole = train(trial_class, checkpoint_period=pytorch.Batch(4), **given)
    resumed = train(trial_class, 8, latest_checkpoint=whole.uploads.ids[0], max_length=pytorch.Epoch(9), **given)
    assert torch.equal(weights(resumed), weights(whole))
    assert resumed.lightning_module.trainer.global_step == 12


def allowed_of_numpy() -> list[Any]:
    """What torch's safe loading takes beside its own types."""
    return [item for item in torch.serialization.get_safe_globals() if "numpy" in str(getattr(item, "__module__", ""))]


def test_torchs_safe_loading_is_on_while_training_and_after(cluster: Any) -> None:
    seen: list[Any] = []

    class Looks(models.Net):
        def on_train_start(self) -> None:
            seen.append(allowed_of_numpy())

    with cluster() as master:
        train(trial_of(max_epochs=1))
    uuid = master.checkpoints[-1].uuid
    with cluster(latest_checkpoint=uuid, steps_completed=6):
        train(trial_of(Looks, max_epochs=2), latest_checkpoint=uuid)
    assert seen == [[]] and allowed_of_numpy() == []


def test_wrong_checkpoint_leaves_nothing_allowed(cluster: Any) -> None:
    with cluster():
        with pytest.raises(Exception, match="absent"):
            train(trial_of(max_epochs=1), latest_checkpoint="absent")
    assert allowed_of_numpy() == []


MODEL_DEF = """
from lightning_adapter import LightningAdapter
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)

class Trial(LightningAdapter):
    def __init__(self, context):
        data = models.Data(batch_size=context.get_per_slot_batch_size())
        super().__init__(context, models.Net(), data, max_epochs=2, log_every_n_steps=2, enable_model_summary=False)
"""
COMPLETE = complete_config("entry_model_def:Trial", epochs=2)


def harness(master: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    environment = master.child_env(DET_DEBUG="0")
    environment["PYTHONPATH"] += os.pathsep + str(folder)
    return subprocess.run(
        [sys.executable, "-m", "determined.exec.harness", "entry_model_def:Trial"],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


def test_old_entrypoint_that_names_the_class(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "work" / "entry_model_def.py").write_text(MODEL_DEF)
    with cluster(trial_seed=3, hparams={"global_batch_size": 4}, config=COMPLETE) as master:
        done = harness(master, tmp_path / "work")
    assert done.returncode == 0, done.stderr
    assert [step for step, _ in master.validation] == [6, 12]
    assert master.checkpoints[-1].steps_completed == 12


def test_bad_input_under_the_old_entrypoint_is_a_message_with_exit_status_2(cluster: Any, tmp_path: Path) -> None:
    (tmp_path / "work" / "entry_model_def.py").write_text(MODEL_DEF)
    with cluster(hparams={"learning_rate": 0.1}, config=COMPLETE) as master:
        done = harness(master, tmp_path / "work")
    assert done.returncode == 2, done.stderr
    assert (
        "error: The trial asks for the batch size, but the hyperparameter global_batch_size has no value" in done.stderr
    )
    assert "Traceback" not in done.stderr


def test_context_of_determined_answers_as_that_of_fit(cluster: Any) -> None:
    seen: list[Any] = []

    class Trial(trial_of(max_epochs=1)):  # type: ignore[misc]
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            seen.append((context.get_hparam("lr"), context.get_hparams(), context.get_per_slot_batch_size()))
            seen.append(context.get_hparams().get("absent", 5))
            with pytest.raises(KeyError, match=r"'ls', which has no value \(given: global_batch_size, lr\)"):
                context.get_hparam("ls")
            super().__init__(context)

    hparams = {"lr": 0.1, "global_batch_size": 4}
    with cluster(hparams=hparams):
        train(Trial, max_length=pytorch.Epoch(1))
    assert seen == [(0.1, hparams, 4), 5]


# --- Determined's own way to load a trial -----------------------------------------------------------------------------


class LateLayers(models.Net):
    """Has a layer only once `configure_model` has run."""

    def configure_model(self) -> None:
        if not hasattr(self, "late"):
            self.late = torch.nn.Linear(1, 1)


@pytest.mark.parametrize("module", [models.Net, LateLayers], ids=["plain", "configure_model"])
def test_trial_that_determined_loads_from_a_checkpoint_has_its_weights(module: Callable[[], Any]) -> None:
    trial_class = trial_of(module, max_epochs=1)
    trained = train(trial_class, max_length=pytorch.Epoch(1))
    directory = Path(os.environ["XDG_DATA_HOME"], "determined", trained.uploads.ids[-1])
    loaded = pytorch.load_trial_from_checkpoint_path(
        str(directory), trial_class=trial_class, torch_load_kwargs={"weights_only": False}
    )
    assert torch.equal(weights(loaded), weights(trained))
    assert len(loaded.context.models) == 1


def test_notebook_of_a_cluster_trains_as_off_a_cluster(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has a session with the master, and is no trial: nothing is reported."""
    with cluster() as master:
        info = determined.get_cluster_info()
        assert info is not None
        monkeypatch.setattr(info, "task_type", "NOTEBOOK")
        monkeypatch.setattr(determined, "get_cluster_info", lambda: info)
        with pytorch.init(hparams={}) as context:
            trial = trial_of(max_epochs=2)(context)
            pytorch.Trainer(trial, context).fit(max_length=pytorch.Epoch(2))
    assert trial.uploads.ids
    assert [request for request in master.requests if request.method == "POST"] == []
