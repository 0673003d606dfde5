"""Do Lightning's own callbacks do here what they do under Lightning's Trainer?"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import torch
from torch import nn

from .harness import assert_parity, assert_same_error, since
from .models import GAN, Data, Net, pl

callbacks = pl.callbacks


class Scripted(Net):
    """Logs a given sequence of validation values, one per epoch."""

    def __init__(self, values: list[float], **options: Any) -> None:
        super().__init__(**options)
        self.values = values

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("score", self.values[self.current_epoch])


VALUES = [3.0, 2.0, 2.5, 2.4, 1.0, 0.5, 0.4, 0.3]


def early_stopping_state(module: Any, found: list) -> Any:
    return [found[0].stopped_epoch, found[0].wait_count, found[0].best_score]


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("options", [{"patience": 1}, {"patience": 2}, {"patience": 1, "mode": "max"},
                                     {"stopping_threshold": 2.1}, {"divergence_threshold": 2.9},
                                     {"patience": 1, "min_delta": 0.6}], ids=str)  # fmt: skip
def test_early_stopping(options: dict, trace: bool) -> None:
    assert_parity(lambda: Scripted(VALUES), Data, trace=trace, max_epochs=8, limit_val_batches=1,
                  callbacks=lambda: [callbacks.EarlyStopping("score", **options)],
                  also=early_stopping_state)  # fmt: skip


def test_early_stopping_waits_for_min_epochs() -> None:
    assert_parity(
        lambda: Scripted(VALUES),
        Data,
        max_epochs=8,
        min_epochs=5,
        callbacks=lambda: [callbacks.EarlyStopping("score", patience=1)],
        also=early_stopping_state,
    )


def test_early_stopping_waits_for_min_steps() -> None:
    assert_parity(
        lambda: Scripted(VALUES),
        Data,
        max_epochs=8,
        min_steps=28,
        callbacks=lambda: [callbacks.EarlyStopping("score", patience=1)],
        also=early_stopping_state,
    )


def test_early_stopping_on_divergence_to_nan() -> None:
    assert_parity(lambda: Scripted([1.0, float("nan"), 1.0]), Data, max_epochs=3,
                  callbacks=lambda: [callbacks.EarlyStopping("score", check_finite=True)],
                  also=early_stopping_state)  # fmt: skip


def test_early_stopping_in_mid_epoch() -> None:
    class Rises(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("score", float(self.global_step))

    assert_parity(
        Rises,
        Data,
        max_epochs=3,
        val_check_interval=0.5,
        callbacks=lambda: [callbacks.EarlyStopping("score", patience=1)],
        also=early_stopping_state,
    )


def test_early_stopping_on_a_training_metric() -> None:
    assert_parity(Net, Data, max_epochs=6,
                  callbacks=lambda: [callbacks.EarlyStopping("train_loss", patience=1, min_delta=0.3,
                                                             check_on_train_epoch_end=True)],
                  also=early_stopping_state)  # fmt: skip


@since("2.0", "Lightning 1.x calls every callback before the module")
def test_early_stopping_on_a_metric_of_on_train_epoch_end() -> None:
    class Late(Net):
        def on_train_epoch_end(self) -> None:
            self.log("late", VALUES[self.current_epoch])

    assert_parity(
        Late,
        Data,
        max_epochs=6,
        limit_val_batches=0,
        callbacks=lambda: [callbacks.EarlyStopping("late", patience=1)],
        also=early_stopping_state,
    )


def test_early_stopping_without_its_metric_fails_as_in_lightning() -> None:
    assert_same_error(Net, Data, match="absent", max_epochs=2,
                      callbacks=lambda: [callbacks.EarlyStopping("absent")])  # fmt: skip


def test_early_stopping_without_its_metric_and_strict_false() -> None:
    assert_parity(Net, Data, max_epochs=2, callbacks=lambda: [callbacks.EarlyStopping("absent", strict=False)])


@pytest.mark.parametrize("interval", [None, "step", "epoch"])
def test_learning_rate_monitor(interval: str | None) -> None:
    assert_parity(lambda: Net(scheduler="cosine", interval="step"), Data, max_epochs=2,
                  callbacks=lambda: [callbacks.LearningRateMonitor(interval, log_momentum=True)],
                  also=lambda module, found: found[0].lrs)  # fmt: skip


def test_learning_rate_monitor_with_named_schedulers_and_groups() -> None:
    class Named(Net):
        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(
                [{"params": self.net[0].parameters(), "name": "first"},
                 {"params": self.net[4].parameters(), "name": "last", "lr": 0.01}], lr=0.1)  # fmt: skip
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
            return [optimizer], [{"scheduler": scheduler, "name": "mine", "interval": "step"}]

    assert_parity(Named, Data, max_epochs=2, accumulate_grad_batches=2,
                  callbacks=lambda: [callbacks.LearningRateMonitor()],
                  also=lambda module, found: found[0].lrs)  # fmt: skip


def test_learning_rate_monitor_with_two_optimizers() -> None:
    assert_parity(GAN, Data, max_epochs=2, callbacks=lambda: [callbacks.LearningRateMonitor()],
                  also=lambda module, found: found[0].lrs)  # fmt: skip


def test_learning_rate_monitor_without_logger_fails_as_in_lightning() -> None:
    assert_same_error(Net, Data, match="no logger", max_epochs=1, logger=False,
                      callbacks=lambda: [callbacks.LearningRateMonitor()])  # fmt: skip


class NoNorm(Net):
    """Without batch norm, so that weight averaging needs no extra epoch."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.net[1] = nn.Identity()


@pytest.mark.parametrize("scheduler", [None, "step"])
def test_stochastic_weight_averaging(scheduler: str | None) -> None:
    assert_parity(lambda: NoNorm(scheduler=scheduler), Data, max_epochs=5,
                  callbacks=lambda: [callbacks.StochasticWeightAveraging(0.05, swa_epoch_start=2,
                                                                         annealing_epochs=2)])  # fmt: skip


def test_stochastic_weight_averaging_updates_batch_norm() -> None:
    assert_parity(Net, Data, max_epochs=4,
                  callbacks=lambda: [callbacks.StochasticWeightAveraging(0.05, swa_epoch_start=0.5)])  # fmt: skip


@pytest.mark.parametrize("schedule", [{0: 1, 1: 2, 3: 4}, {0: 3, 2: 1}])
def test_gradient_accumulation_scheduler(schedule: dict) -> None:
    assert_parity(lambda: Net(scheduler="cosine", interval="step"), Data, max_epochs=4,
                  callbacks=lambda: [callbacks.GradientAccumulationScheduler(schedule)])  # fmt: skip


def test_gradient_accumulation_scheduler_beside_the_argument_fails_as_in_lightning() -> None:
    assert_same_error(Net, Data, match="accumulate_grad_batches", max_epochs=1, accumulate_grad_batches=2,
                      callbacks=lambda: [callbacks.GradientAccumulationScheduler({0: 2})])  # fmt: skip


@pytest.mark.parametrize("interval", ["step", "epoch"])
def test_timer_that_is_over_at_once(interval: str) -> None:
    assert_parity(Net, Data, max_epochs=3,
                  callbacks=lambda: [callbacks.Timer(timedelta(microseconds=1), interval=interval)])  # fmt: skip


def test_timer_that_is_never_over() -> None:
    assert_parity(Net, Data, max_epochs=2, callbacks=lambda: [callbacks.Timer("00:01:00:00")])


@pytest.mark.parametrize("max_time", ["00:01:00:00", {"hours": 1}, timedelta(hours=1)])
def test_max_time_that_is_never_over(max_time: Any) -> None:
    assert_parity(Net, Data, max_epochs=1, max_time=max_time)


def test_max_time_that_is_over_at_once() -> None:
    assert_parity(Net, Data, max_time=timedelta(microseconds=1))


def test_lambda_callback() -> None:
    seen: dict[str, list] = {}

    def lambda_callback() -> list:
        calls: list = []
        seen["last"] = calls
        return [callbacks.LambdaCallback(
            on_train_batch_end=lambda trainer, module, outputs, batch, batch_idx: calls.append(batch_idx),
            on_train_epoch_end=lambda trainer, module: calls.append(f"epoch {trainer.current_epoch}"),
            setup=lambda trainer, module, stage: calls.append(f"setup {stage}"),
        )]  # fmt: skip

    assert_parity(Net, Data, max_epochs=2, callbacks=lambda_callback,
                  also=lambda module, found: list(seen["last"]))  # fmt: skip


class Finetuned(Net):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(self.backbone(x))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([item for item in self.parameters() if item.requires_grad], 0.1)


@pytest.mark.parametrize("train_bn", [True, False])
def test_backbone_finetuning(train_bn: bool) -> None:
    assert_parity(
        Finetuned,
        Data,
        max_epochs=4,
        callbacks=lambda: [callbacks.BackboneFinetuning(2, lambda epoch: 1.5, train_bn=train_bn)],
    )


class Unfreezes(callbacks.BaseFinetuning):
    def freeze_before_training(self, pl_module: Any) -> None:
        self.freeze(pl_module.backbone)

    def finetune_function(self, pl_module: Any, epoch: int, optimizer: Any, *rest: Any) -> None:
        if epoch == 1:
            self.unfreeze_and_add_param_group(pl_module.backbone, optimizer, lr=0.02)


def test_own_finetuning_callback_adds_a_parameter_group() -> None:
    assert_parity(Finetuned, Data, max_epochs=3, gradient_clip_val=0.5, callbacks=lambda: [Unfreezes()])


def test_model_summary_changes_nothing() -> None:
    assert_parity(Net, Data, max_epochs=1, callbacks=lambda: [callbacks.ModelSummary(max_depth=-1)])


def checkpoint_state(module: Any, found: list) -> Any:
    return [found[0].best_model_score, found[0].current_score, found[0].kth_value,
            [value for value in found[0].best_k_models.values()]]  # fmt: skip


@pytest.mark.parametrize("options", [{}, {"mode": "max"}, {"save_top_k": 2}, {"save_top_k": -1},
                                     {"every_n_epochs": 2}], ids=str)  # fmt: skip
def test_model_checkpoint_follows_its_monitor(options: dict, tmp_path: Any) -> None:
    assert_parity(lambda: Scripted(VALUES), Data, max_epochs=4, also=checkpoint_state,
                  callbacks=lambda: [callbacks.ModelCheckpoint(tmp_path, monitor="score", **options)])  # fmt: skip


def test_model_checkpoint_without_monitor(tmp_path: Any) -> None:
    assert_parity(Net, Data, max_epochs=2, callbacks=lambda: [callbacks.ModelCheckpoint(tmp_path, save_last=True)])


def test_model_checkpoint_and_early_stopping_together(tmp_path: Any) -> None:
    assert_parity(lambda: Scripted(VALUES), Data, max_epochs=6, also=checkpoint_state,
                  callbacks=lambda: [callbacks.ModelCheckpoint(tmp_path, monitor="score"),
                                     callbacks.EarlyStopping("score", patience=1)])  # fmt: skip


def test_model_pruning() -> None:
    assert_parity(NoNorm, Data, trace=False, max_epochs=2,
                  callbacks=lambda: [callbacks.ModelPruning("l1_unstructured", amount=0.3,
                                                            use_lottery_ticket_hypothesis=False)])  # fmt: skip


@since("2.5")
def test_weight_averaging() -> None:
    if not hasattr(callbacks, "WeightAveraging"):
        pytest.skip("WeightAveraging came with a later Lightning")
    assert_parity(Net, Data, max_epochs=3, callbacks=lambda: [callbacks.WeightAveraging()])


def test_device_stats_monitor_changes_no_numbers() -> None:
    pytest.importorskip("psutil")
    assert_parity(Net, Data, max_epochs=1, compare=("trace", "weights", "metrics", "final", "random"),
                  callbacks=lambda: [callbacks.DeviceStatsMonitor(cpu_stats=False)])  # fmt: skip


class Stops(pl.Callback):
    def __init__(self, hook_batch: int) -> None:
        self.hook_batch = hook_batch

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if batch_idx == self.hook_batch:
            trainer.should_stop = True


@pytest.mark.parametrize("batch", [0, 3, 5])
def test_callback_that_sets_should_stop(batch: int) -> None:
    assert_parity(Net, Data, max_epochs=3, callbacks=lambda: [Stops(batch)])


@pytest.mark.parametrize("batch", [0, 3, 5])
def test_callback_that_sets_should_stop_between_validations(batch: int) -> None:
    assert_parity(Net, Data, max_epochs=3, val_check_interval=0.5, callbacks=lambda: [Stops(batch)])


class SkipsBatch(pl.Callback):
    """What a callback returns from a hook does not count."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> int:
        return -1


def test_minus_one_from_a_callback_does_not_end_the_epoch() -> None:
    assert_parity(Net, Data, max_epochs=1, callbacks=lambda: [SkipsBatch()])


class ChangesBatch(pl.Callback):
    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        batch[0].mul_(1.5)


def test_batch_changed_in_place_by_a_callback() -> None:
    assert_parity(Net, Data, max_epochs=2, callbacks=lambda: [ChangesBatch()])


@since("2.2")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "64-true"])
def test_throughput_monitor_changes_no_numbers(precision: str) -> None:
    assert_parity(
        Net,
        Data,
        max_epochs=2,
        precision=precision,
        callbacks=lambda: [callbacks.ThroughputMonitor(batch_size_fn=lambda batch: len(batch[0]))],
        compare=("trace", "weights"),  # the metrics hold times
    )
