"""Does fit() on a cluster report, pause, resume and save as a trial has to? The cluster is the fake master."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import determined
import pytest
import torch
from determined import pytorch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.nn import functional

from lightning_adapter import DETLM, LightningAdapter, cli, fit
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import boundaries
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)
EPOCH = 6  # batches of models.Data

Module = Callable[[], Any]


def trial_of(
    module: Module = models.Net, data: Module = models.Data, *, log_every_n_steps: int = 2, **arguments: Any
) -> type[LightningAdapter]:
    """A trial of two epochs with the given trainer arguments."""

    class Trial(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            given = {"max_epochs": 2, "enable_model_summary": False, **arguments}
            super().__init__(context, module(), data(), log_every_n_steps=log_every_n_steps, **given)

    return Trial


def weights(trial: LightningAdapter) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in trial.lightning_module.state_dict().values()])


# --- what the master is told ------------------------------------------------------------------------------------------


def test_training_metrics_are_reported_at_each_logging_step_and_at_the_epochs_end(cluster: Any) -> None:
    with cluster() as master:
        fit(trial_of())
    steps = [2, 4, 6, 6, 8, 10, 12, 12]
    assert [done for done, _ in master.training] == steps
    logged = [{name for name in metrics if name not in ("batches", "epochs")} for _, metrics in master.training]
    of_epoch = ["train_loss_step"] * 3 + ["train_loss_epoch"]
    assert logged == [{name} for name in of_epoch * 2]
    counted = [(metrics["batches"], metrics["epochs"]) for _, metrics in master.training if "batches" in metrics]
    assert counted == [(2, 0), (4, 0), (6, 1), (8, 1), (10, 1), (12, 2)]


def test_reported_values_are_those_of_callback_metrics(cluster: Any) -> None:
    with cluster() as master:
        trial = fit(trial_of())
    last = {}
    for _, metrics in master.training + master.validation:
        last.update(metrics)
    for name, value in trial.callback_metrics.items():
        if name != "train_loss":  # Lightning's alias of the epoch's value
            assert last[name] == pytest.approx(float(value), rel=1e-6), name
    assert trial.callback_metrics.keys() >= {"train_loss_step", "train_loss_epoch", "val_loss"}


class LogsTwice(models.Net):
    """Logs one name at the step and another one with the epoch's values, so that one step gets two reports."""

    def on_train_epoch_end(self) -> None:
        self.log("at_the_end", 1.0)


def test_a_step_with_two_reports_repeats_no_name(cluster: Any) -> None:
    with cluster() as master:
        fit(trial_of(LogsTwice, log_every_n_steps=1))
    assert master.unexpected == []
    at_six = [metrics for done, metrics in master.training if done == 6]
    assert [set(metrics) for metrics in at_six] == [
        {"batches", "epochs", "train_loss_step"},
        {"train_loss_epoch", "at_the_end"},
    ]


def test_validation_metrics_are_reported_under_their_logged_names(cluster: Any) -> None:
    with cluster() as master:
        fit(trial_of())
    assert [done for done, _ in master.validation] == [6, 12]
    assert [set(metrics) for _, metrics in master.validation] == [{"val_loss", "batches", "epochs"}] * 2
    assert [metrics["epochs"] for _, metrics in master.validation] == [1, 2]


def test_progress_is_the_fraction_of_the_run_and_ends_at_one(cluster: Any) -> None:
    with cluster() as master:
        fit(trial_of())
    assert master.progress == pytest.approx([2 / 12, 4 / 12, 6 / 12, 8 / 12, 10 / 12, 1.0])


def test_progress_of_max_steps(cluster: Any) -> None:
    with cluster() as master:
        fit(trial_of(), max_steps=8)
    assert master.progress == pytest.approx([2 / 8, 4 / 8, 6 / 8, 1.0])


def test_progress_of_a_length_in_batches(cluster: Any) -> None:
    with cluster(config={"searcher": {"name": "single", "max_length": {"batches": 5}}}) as master:
        fit(trial_of(max_epochs=None))
    assert master.progress == pytest.approx([2 / 5, 4 / 5, 1.0])


def test_searcher_metric_needs_no_other_code(cluster: Any) -> None:
    config = {"searcher": {"name": "adaptive_asha", "metric": "val_loss", "smaller_is_better": True,
                           "time_metric": "epochs", "max_time": 3}}  # fmt: skip
    with cluster(config=config) as master:
        fit(trial_of(max_epochs=None))
    assert [done for done, _ in master.validation] == [6, 12, 18]  # the length is the searcher's
    assert all("val_loss" in metrics for _, metrics in master.validation)


def test_searcher_metric_that_nobody_logs_is_named(cluster: Any) -> None:
    with cluster(config={"searcher": {"metric": "val_los"}}):
        with pytest.raises(ConfigurationError, match=r"'val_los'.*did you mean 'val_loss'"):
            fit(trial_of())


def test_initial_validation_is_reported_and_changes_no_number(cluster: Any) -> None:
    with cluster(trial_seed=3):
        plain = fit(trial_of())
    with cluster(trial_seed=3, config={"perform_initial_validation": True}) as master:
        trial = fit(trial_of())
    assert [done for done, _ in master.validation] == [0, 6, 12]
    assert torch.equal(weights(trial), weights(plain))


def test_tensorboard_files_reach_the_store_to_the_last_value(cluster: Any) -> None:
    with cluster() as master:
        fit(trial_of())
        (events,) = [path for path in master.store.rglob("events.out.tfevents.*") if path.is_file()]
        stored = EventAccumulator(str(events)).Reload()
    assert [event.step for event in stored.Scalars("train_loss_step")] == [1, 3, 5, 7, 9, 11]
    assert [event.step for event in stored.Scalars("val_loss")] == [5, 11]


class WritesText(models.Net):
    def on_train_start(self) -> None:
        self.logger.experiment.add_text("note", "written by the module")


def test_what_the_module_writes_to_its_logger_reaches_the_store(cluster: Any) -> None:
    with cluster() as master:
        fit(trial_of(WritesText))
        (events,) = [path for path in master.store.rglob("events.out.tfevents.*") if path.is_file()]
        assert b"written by the module" in events.read_bytes()


# --- where settings come from -----------------------------------------------------------------------------------------


class OfHparams(LightningAdapter):
    """Keeps what it was told about itself."""

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.learning_rate = context.get_hparam("learning_rate")
        self.batch_size = context.get_per_slot_batch_size()
        self.seen_seed = context.get_trial_seed()
        self.drawn = float(torch.rand(()))
        data = models.Data(batch_size=self.batch_size)
        super().__init__(context, models.Net(), data, max_epochs=1, enable_model_summary=False)


def test_hparams_and_seed_are_the_clusters(cluster: Any) -> None:
    with cluster(hparams={"learning_rate": 0.5, "global_batch_size": 8}, trial_seed=11):
        trial = fit(OfHparams)
    assert (trial.learning_rate, trial.batch_size, trial.seen_seed) == (0.5, 8, 11)
    assert trial.drawn == float(torch.rand((), generator=torch.Generator().manual_seed(11)))


def test_hparams_given_to_fit_win_over_the_clusters(cluster: Any) -> None:
    with cluster(hparams={"learning_rate": 0.5, "global_batch_size": 8}):
        assert fit(OfHparams, hparams={"learning_rate": 0.1}).learning_rate == 0.1


def test_seed_is_used_as_seed_everything_uses_it(cluster: Any, tmp_path: Path) -> None:
    with cluster(trial_seed=5):
        managed = fit(trial_of())
    assert torch.equal(weights(managed), weights(fit(trial_of(), seed=5, run_dir=tmp_path / "local")))


@pytest.mark.parametrize("entrypoint", ["python3 train.py --epochs 3", ["python3", "train.py", "--epochs", "3"]])
def test_several_slots_without_a_launcher_are_refused_with_what_to_write(cluster: Any, entrypoint: Any) -> None:
    with cluster(slots=2, config={"entrypoint": entrypoint}):
        with pytest.raises(
            ConfigurationError,
            match=r"(?s)2 slots.*entrypoint: python3 -m determined\.launch\.torch_distributed -- python3 train\.py --epochs 3\n",
        ) as refused:
            fit(trial_of())
    assert "entrypoint: python3 train.py --epochs 3\n" in str(refused.value)


def test_arguments_that_the_cluster_decides_are_warned_about(cluster: Any, caplog: pytest.LogCaptureFixture) -> None:
    with cluster(trial_seed=5):
        fit(trial_of(), seed=6, resume_from="somewhere", run_dir="here")
    (message,) = [record.message for record in caplog.records if "cluster decides" in record.message]
    assert "resume_from, seed, run_dir" in message


def test_paths_are_none_and_ids_are_set(cluster: Any) -> None:
    with cluster() as master:
        trial = fit(trial_of())
    assert trial.latest_checkpoint is None and trial.best_checkpoint is None and trial.run_dir is None
    assert trial.latest_checkpoint_uuid == master.checkpoints[-1].uuid
    assert trial.best_checkpoint_uuid in [checkpoint.uuid for checkpoint in master.checkpoints]


# --- checkpoints ------------------------------------------------------------------------------------------------------


class ValidationLosses(DETLM):
    """Validations get the given losses, one after the other."""

    def __init__(self, losses: tuple[float, ...]) -> None:
        super().__init__()
        self.losses = list(losses)
        self.net = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        return functional.mse_loss(self.net(batch[0]), batch[1])

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        if batch_idx == 0:
            self.value = self.losses.pop(0)
        self.log("val_loss", self.value)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.01)


@pytest.mark.parametrize(
    ("policy", "losses", "expected"),
    [
        ("best", (3.0, 2.0, 4.0, 1.0), [6, 12, 24]),
        ("best", (1.0, 2.0, 4.0, 3.0), [6, 24]),  # the last batch is always saved
        ("all", (3.0, 2.0, 4.0, 1.0), [6, 12, 18, 24]),
        ("none", (3.0, 2.0, 4.0, 1.0), [24]),
    ],
)
def test_checkpoint_policy(cluster: Any, policy: str, losses: tuple[float, ...], expected: list[int]) -> None:
    with cluster(config={"checkpoint_policy": policy}) as master:
        trial = fit(trial_of(lambda: ValidationLosses(losses), max_epochs=4))
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == expected
    at = {checkpoint.uuid: checkpoint.steps_completed for checkpoint in master.checkpoints}
    saved = [losses[step // EPOCH - 1] for step in expected]
    assert at[trial.best_checkpoint_uuid] == expected[saved.index(min(saved))]


def test_best_checkpoint_may_be_one_of_before_a_pause(cluster: Any) -> None:
    with cluster() as first:
        fit(trial_of(lambda: ValidationLosses((1.0,)), max_epochs=1))
    (best,) = first.checkpoints
    with cluster(latest_checkpoint=best.uuid, steps_completed=EPOCH):
        resumed = fit(trial_of(lambda: ValidationLosses((3.0,)), max_epochs=2))
    assert resumed.best_checkpoint_uuid == best.uuid != resumed.latest_checkpoint_uuid


def test_checkpoint_period_is_honoured_besides_the_policy(cluster: Any) -> None:
    with cluster(config={"min_checkpoint_period": {"batches": 4}, "checkpoint_policy": "none"}) as master:
        fit(trial_of())
    assert [checkpoint.steps_completed for checkpoint in master.checkpoints] == [4, 8, 12]


def test_validation_period_of_the_config(cluster: Any) -> None:
    with cluster(config={"min_validation_period": {"batches": 4}}) as master:
        fit(trial_of())
    assert [done for done, _ in master.validation] == [4, 8, 12]


def test_last_batch_is_validated_where_a_period_is_asked_for_as_by_determined(cluster: Any) -> None:
    config = {"min_validation_period": {"batches": 5}}
    with cluster(config=config) as by_fit:
        fit(trial_of())
    with cluster(config=config) as by_determined, pytorch.init() as context:
        pytorch.Trainer(trial_of()(context), context).fit(
            max_length=pytorch.Epoch(2), validation_period=pytorch.Batch(5)
        )
    assert [done for done, _ in by_fit.validation] == [5, 10, 12] == [done for done, _ in by_determined.validation]
    with cluster(config=config) as by_steps:
        fit(trial_of(), max_steps=8)
    assert [done for done, _ in by_steps.validation] == [5, 8]
    with cluster() as lightnings:
        fit(trial_of(val_check_interval=5))
    assert [done for done, _ in lightnings.validation] == [5, 11]


def test_checkpoint_holds_weights_metadata_and_the_users_code(cluster: Any) -> None:
    with cluster() as master:
        trial = fit(trial_of())
    directory = master.store / trial.latest_checkpoint_uuid
    assert sorted(path.name for path in directory.iterdir()) == ["code", "lightning.ckpt", "metadata.json"]
    assert (directory / "code" / "model_def.py").exists()
    metadata = master.checkpoints[-1].metadata
    counts = (metadata["epoch"], metadata["global_step"], metadata["epochs_completed"], metadata["steps_completed"])
    steps = trial.lightning_module.trainer.global_step
    assert counts == (
        trial.lightning_module.trainer.current_epoch - 1,
        steps,
        trial.lightning_module.trainer.current_epoch,
        steps,
    )
    assert metadata["metrics"] == {name: float(value) for name, value in trial.callback_metrics.items()}
    loaded = models.Net.load_from_checkpoint(directory / "lightning.ckpt")
    for name, value in trial.lightning_module.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name


def test_checkpoint_leaves_out_data_beside_the_code(
    cluster: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = tmp_path / "context"
    context.mkdir()
    (context / "model_def.py").write_text("# code")
    (context / "data.bin").write_bytes(bytes(1_000_001))
    held = []
    for limit in ("", "2"):
        monkeypatch.setenv("LIGHTNING_ADAPTER_CODE_LIMIT_MB", limit)
        with cluster(model_dir=context) as master:
            fit(trial_of(max_epochs=1))
        held.append({path.name for path in (master.store / master.checkpoints[-1].uuid / "code").iterdir()})

    assert held == [{"model_def.py"}, {"model_def.py", "data.bin"}]


def test_a_limit_of_the_code_that_is_no_number_is_refused_before_training(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIGHTNING_ADAPTER_CODE_LIMIT_MB", "1MB")
    with cluster() as master, pytest.raises(ConfigurationError, match="no number of megabytes"):
        fit(trial_of(max_epochs=1))
    assert master.metrics == []


# --- pause and resume -------------------------------------------------------------------------------------------------


def test_local_run_goes_on_from_a_trial_with_the_values_and_the_seed_that_were_drawn_for_it(
    cluster: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    drawn = {"learning_rate": 0.25, "global_batch_size": 8}
    with cluster(hparams=drawn, trial_seed=17) as master:
        first = fit(OfHparams)
    checkpoint = master.store / master.checkpoints[-1].uuid
    search = {"hyperparameters": {"learning_rate": {"type": "log", "base": 10, "minval": -3, "maxval": 0}}}

    trial = fit(OfHparams, config=search, resume_from=checkpoint, max_epochs=2, run_dir=tmp_path / "run")

    assert trial.context.get_hparams() == drawn
    assert (trial.seen_seed, trial.drawn) == (17, first.drawn)
    taken = "not given, and so taken from the checkpoint: learning_rate=0.25, global_batch_size=8, seed 17"
    assert taken in caplog.messages


class Preempts(models.Net):
    """Asks the master to send the preemption signal in the middle of a training batch."""

    at = 0
    master: Any = None

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        total = self.trainer.fit_loop.epoch_loop.total_batch_idx + 1
        if self.master is not None and total == self.at:
            self.master.preempt()


def preempting(at: int, master: Any, **options: Any) -> Module:
    def make() -> Any:
        module = Preempts(**options)
        module.at, module.master = at, master
        return module

    return make


@pytest.mark.parametrize(
    ("at", "arguments", "stops_at"),
    [
        (3, {}, 4),  # the next report
        (4, {}, 4),
        (6, {}, 6),  # the last batch of an epoch, which is validated first
        (9, {"log_every_n_steps": 1}, 9),
        (1, {"accumulate_grad_batches": 3, "log_every_n_steps": 1}, 3),  # never inside an accumulation window
        # a validation inside an accumulation window ends a workload, but no checkpoint is taken there
        (2, {"accumulate_grad_batches": 3, "val_check_interval": 2, "log_every_n_steps": 1}, 3),
        (12, {}, 12),
    ],
)
def test_paused_and_resumed_run_equals_the_uninterrupted_one(
    cluster: Any, at: int, arguments: dict[str, Any], stops_at: int
) -> None:
    options = {"scheduler": "cosine", "interval": "step"}
    with cluster(trial_seed=4) as master:
        whole = fit(trial_of(lambda: models.Net(**options), **arguments))
        all_reports = master.metrics
    with cluster(trial_seed=4) as first:
        fit(trial_of(preempting(at, first, **options), **arguments))
    assert first.checkpoints[-1].steps_completed == stops_at
    assert first.preemption_acks == 1
    with cluster(
        trial_seed=4, latest_checkpoint=first.checkpoints[-1].uuid, steps_completed=stops_at, trial_run_id=2,
        latest_validation=first.validation[-1][0] if first.validation else None,
    ) as second:  # fmt: skip
        resumed = fit(trial_of(lambda: models.Net(**options), **arguments))
    assert torch.equal(weights(resumed), weights(whole))
    assert merged(first.metrics + second.metrics) == merged(all_reports)
    assert {done for done, _ in first.validation}.isdisjoint(done for done, _ in second.validation)
    assert resumed.latest_checkpoint_uuid == ([*first.checkpoints, *second.checkpoints][-1]).uuid


def merged(reports: list[Any]) -> dict[tuple[str, int], dict[str, Any]]:
    """What a master knows at the end: reports of one step are one."""
    result: dict[tuple[str, int], dict[str, Any]] = {}
    for group, steps, metrics in reports:
        result.setdefault((group, steps), {}).update(metrics)
    return result


class SlowPreempts(Preempts):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        time.sleep(0.02)
        return super().training_step(batch, batch_idx)


def test_preemption_is_seen_soon_though_nothing_is_reported(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boundaries, "PREEMPTION_CHECK_S", 0.1)
    with cluster() as master:
        module = SlowPreempts()
        module.at, module.master = 7, master
        fit(trial_of(lambda: module, lambda: models.Data(count=400), log_every_n_steps=1000))
    assert 7 <= master.checkpoints[-1].steps_completed <= 17  # an epoch has 100 batches
    assert master.training == [] and master.progress == []


def test_looking_for_preemption_does_not_end_a_workload_per_batch(cluster: Any) -> None:
    with cluster() as master:
        fit(trial_of(data=lambda: models.Data(count=400), log_every_n_steps=1000, max_epochs=1))
    assert master.statuses.count("training") <= 3


def test_preempted_before_training_begins(cluster: Any) -> None:
    with cluster(trial_seed=4) as master:
        master.preempt()
        fit(trial_of())
    (checkpoint,) = master.checkpoints
    assert checkpoint.steps_completed <= 2


def test_resume_when_everything_is_trained_already(cluster: Any) -> None:
    with cluster() as first:
        whole = fit(trial_of())
    with cluster(latest_checkpoint=whole.latest_checkpoint_uuid, steps_completed=12) as second:
        again = fit(trial_of())
    assert torch.equal(weights(again), weights(whole))
    assert second.metrics == [] and second.checkpoints == []
    assert again.latest_checkpoint_uuid == first.checkpoints[-1].uuid


def test_checkpoint_of_another_trial_gives_its_weights_only(cluster: Any) -> None:
    with cluster(trial_seed=1) as source:
        trained = fit(trial_of())
    uuid = trained.latest_checkpoint_uuid
    with cluster(trial_seed=2, latest_checkpoint=uuid, steps_completed=0, trial_id=2) as master:
        begun = fit(trial_of(max_epochs=1))
    assert [done for done, _ in master.validation] == [EPOCH]
    assert begun.lightning_module.trainer.global_step == EPOCH
    with cluster(trial_seed=2, trial_id=3):

        class Loads(models.Net):  # what a warm start is, by hand
            def __init__(self) -> None:
                super().__init__()
                state = torch.load(source.store / uuid / "lightning.ckpt", weights_only=True)
                self.load_state_dict(state["state_dict"])

        assert torch.equal(weights(fit(trial_of(Loads, max_epochs=1))), weights(begun))


def test_warm_start_from_is_honoured_on_a_cluster_until_there_is_a_checkpoint(cluster: Any, tmp_path: Path) -> None:
    trained = fit(trial_of(), seed=1, run_dir=tmp_path / "local")
    with cluster() as master:
        begun = fit(trial_of(max_epochs=0), warm_start_from=trained.latest_checkpoint)
    assert torch.equal(weights(begun), weights(trained))
    assert master.unexpected == []


# --- failures ---------------------------------------------------------------------------------------------------------


class Refuses(models.Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 2:
            raise determined.InvalidHP("this width does not train")
        return super().training_step(batch, batch_idx)


def test_invalid_hp_in_a_step_ends_the_trial_early(cluster: Any) -> None:
    with cluster() as master:
        with pytest.raises(SystemExit) as ended:
            fit(trial_of(Refuses))
    assert ended.value.code == 0
    assert master.early_exits == ["EXITED_REASON_INVALID_HP"]
    assert master.checkpoints == []  # the middle of a step is no place to go on from


class RefusesAtOnce(LightningAdapter):
    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        raise determined.InvalidHP("no such width")


def test_invalid_hp_in_the_constructor_ends_the_trial_early(cluster: Any) -> None:
    with cluster() as master:
        with pytest.raises(SystemExit):
            fit(RefusesAtOnce)
    assert master.early_exits == ["EXITED_REASON_INVALID_HP"]


class Breaks(models.Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        if batch_idx == 2:
            raise RuntimeError("broken step")
        return super().training_step(batch, batch_idx)


def test_an_error_of_the_module_goes_on_and_saves_nothing(cluster: Any) -> None:
    with cluster() as master:
        with pytest.raises(RuntimeError, match="broken step"):
            fit(trial_of(Breaks))
    assert master.checkpoints == [] and master.early_exits == []


def test_global_batch_size_that_cannot_be_shared_is_refused(cluster: Any) -> None:
    with cluster(hparams={"learning_rate": 0.5, "global_batch_size": 0}):
        with pytest.raises(ConfigurationError, match="global_batch_size is 0"):
            fit(OfHparams)


# --- the trial's own Determined callbacks -----------------------------------------------------------------------------


class Notes(pytorch.PyTorchCallback):
    """Writes down which of Determined's callbacks fire, and has state of its own."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.count = 0

    def note(self, text: str) -> None:
        self.calls.append(text)

    def on_trial_startup(self, first_batch_idx: int, checkpoint_uuid: str | None) -> None:
        self.note(f"startup {first_batch_idx}")

    def on_training_start(self) -> None:
        self.note(f"training_start {self.count}")

    def on_training_epoch_start(self, epoch_idx: int) -> None:
        self.note(f"epoch_start {epoch_idx}")

    def on_training_epoch_end(self, epoch_idx: int) -> None:
        self.count += 1
        self.note(f"epoch_end {epoch_idx}")

    def on_validation_start(self) -> None:
        self.note("validation_start")

    def on_validation_end(self, metrics: dict[str, Any]) -> None:
        self.note(f"validation_end {sorted(metrics)}")

    def on_checkpoint_save_start(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["mine"] = 5
        self.note("save_start")

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:
        assert (Path(checkpoint_dir) / "lightning.ckpt").exists()
        self.note("write_end")

    def on_checkpoint_upload_end(self, uuid: str) -> None:
        self.note("upload_end")

    def on_checkpoint_load_start(self, checkpoint: dict[str, Any]) -> None:
        self.note(f"load_start {checkpoint['mine']}")

    def on_trial_shutdown(self) -> None:
        self.note("shutdown")

    def state_dict(self) -> dict[str, Any]:
        return {"count": self.count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.count = state_dict["count"]


def with_callback(base: type[LightningAdapter]) -> type[LightningAdapter]:
    class WithCallback(base):  # type: ignore[misc, valid-type]
        def build_callbacks(self) -> dict[str, pytorch.PyTorchCallback]:
            self.notes = Notes()
            return {"notes": self.notes}  # no super(): nothing is lost

    return WithCallback


EPOCH_OF_CALLS = ["validation_start", "validation_end ['val_loss']", "save_start", "write_end", "upload_end"]


def test_callbacks_of_the_trial_fire_where_determined_fires_them(cluster: Any) -> None:
    with cluster(config={"checkpoint_policy": "all"}):
        trial = fit(with_callback(trial_of()))
    assert trial.notes.calls == [
        "startup 0", "training_start 0",
        "epoch_start 0", "epoch_end 0", *EPOCH_OF_CALLS,
        "epoch_start 1", "epoch_end 1", *EPOCH_OF_CALLS,
        "shutdown",
    ]  # fmt: skip


def test_callbacks_of_the_trial_are_resumed_with_their_state(cluster: Any) -> None:
    with cluster(config={"checkpoint_policy": "all"}) as first:
        fit(with_callback(trial_of(preempting(8, first))))
    with cluster(latest_checkpoint=first.checkpoints[-1].uuid, steps_completed=8) as second:
        trial = fit(with_callback(trial_of()))
    assert trial.notes.calls == [
        "startup 8", "load_start 5", "training_start 1", "epoch_end 1", *EPOCH_OF_CALLS, "shutdown",
    ]  # fmt: skip
    assert second.checkpoints[-1].steps_completed == 12


class Skips(models.Net):
    """Ends its epochs after two batches."""

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if batch_idx == 2 else None


def test_epochs_of_the_callbacks_are_lightnings_though_shorter_than_the_loader(cluster: Any) -> None:
    with cluster():
        trial = fit(with_callback(trial_of(Skips, max_epochs=3)))
    epochs = [call for call in trial.notes.calls if call.startswith("epoch")]
    assert epochs == [f"epoch_{what} {number}" for number in range(3) for what in ("start", "end")]


# --- the command line -------------------------------------------------------------------------------------------------

MODEL_DEF = """
from lightning_adapter import LightningAdapter
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)

class Trial(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, models.Net(), models.Data(batch_size=context.get_per_slot_batch_size()),
                         log_every_n_steps=2, enable_model_summary=False)
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a model definition, which is the current one."""
    path = tmp_path / "project"
    path.mkdir()
    (path / "cluster_model_def.py").write_text(MODEL_DEF)
    monkeypatch.chdir(path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield path
    sys.modules.pop("cluster_model_def", None)


def test_the_command_trains_on_a_cluster(cluster: Any, project: Path) -> None:
    with cluster(hparams={"global_batch_size": 4}) as master:
        assert cli.main(["fit", "cluster_model_def:Trial", "--max-epochs", "2"]) == 0
    assert [done for done, _ in master.validation] == [6, 12]
    assert master.checkpoints[-1].steps_completed == 12
    assert list(project.iterdir()) == [project / "cluster_model_def.py"] or not (project / "runs").exists()


@pytest.mark.parametrize(
    ("hparams", "told"),
    [
        ({"global_batch_size": 2.5}, "global_batch_size is 2.5"),
        ({"learning_rate": 0.1}, "global_batch_size has no value (given: learning_rate)"),
    ],
    ids=["faulty", "missing"],
)
def test_the_command_names_a_batch_size_that_is_none_in_one_message(
    cluster: Any, project: Path, capsys: pytest.CaptureFixture[str], hparams: dict[str, Any], told: str
) -> None:
    with cluster(hparams=hparams):
        assert cli.main(["fit", "cluster_model_def:Trial"]) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (
            "context.get_hparam('learning_rat')",
            r"'learning_rat'.*given: global_batch_size, learning_rate.*'learning_rate'\?",
        ),
        ("context.get_hparams()['learning_rat']", r"'learning_rat'.*did you mean 'learning_rate'\?"),
        ("context.get_hparams()['group']['learning_rat']", "'group'.*given: global_batch_size, learning_rate"),
    ],
)
def test_the_command_names_a_hyperparameter_that_has_no_value(
    cluster: Any,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    line: str,
    told: str,
) -> None:
    monkeypatch.delitem(
        sys.modules, "omegaconf", raising=False
    )  # which takes plain dicts alone, and another test imports
    (project / "cluster_model_def.py").write_text(MODEL_DEF.replace("super()", f"{line}\n        super()"))
    with cluster(hparams={"global_batch_size": 4, "learning_rate": 0.1}):
        assert cli.main(["fit", "cluster_model_def:Trial"]) == 2
    error = capsys.readouterr().err
    assert re.search(told, error) and "Add it to 'hyperparameters:'" in error and "Traceback" not in error
