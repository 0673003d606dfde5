"""How far, how often and from which random numbers does a run train and validate?"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

from .harness import PACKAGE, assert_parity, assert_same_error, looked_at, since, until
from .models import GAN, IS_LIGHTNING_1, Data, Manual, Net, OwnLoaders, flavour, pl, samples

PACKAGES = sorted({PACKAGE, "lightning.pytorch"})


@pytest.mark.parametrize("trace", [True, False])
def test_shuffling_and_dropout(trace: bool) -> None:
    run = assert_parity(Net, Data, trace=trace, max_epochs=3)
    assert len(run.weights) == 18


@pytest.mark.parametrize("seed", [0, 1234])
def test_other_seeds(seed: int) -> None:
    assert_parity(Net, Data, seed=seed, max_epochs=2)


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_plain_and_with_our_base_classes(package: str, ours: bool) -> None:
    models = flavour(package, ours)
    assert_parity(
        lambda: models.Net(scheduler="cosine", interval="step"), models.Data, max_epochs=2, gradient_clip_val=0.5
    )


@pytest.mark.parametrize("ours", [False, True])
@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_with_loaders_of_the_module(package: str, ours: bool) -> None:
    assert_parity(flavour(package, ours).OwnLoaders, max_epochs=2)


@pytest.mark.parametrize("package", PACKAGES)
def test_each_package_with_manual_optimization_on_our_base_class(package: str) -> None:
    models = flavour(package, True)
    assert_parity(models.GAN, models.Data, max_epochs=2)


def test_adam_without_shuffling() -> None:
    assert_parity(lambda: Net(optimizer="adam"), lambda: Data(shuffle=False), max_epochs=2)


@pytest.mark.parametrize("max_steps", [1, 4, 6, 8])
def test_max_steps_may_end_in_mid_epoch(max_steps: int) -> None:
    assert_parity(Net, Data, max_steps=max_steps)


def test_max_steps_with_max_epochs_reached_first() -> None:
    assert_parity(Net, Data, max_steps=100, max_epochs=2)


def test_max_steps_counts_optimizer_steps() -> None:
    assert_parity(Net, Data, max_steps=4, accumulate_grad_batches=2)


def test_max_steps_counts_every_step_of_two_optimizers() -> None:
    assert_parity(GAN, Data, max_steps=8)


def test_max_epochs_zero_trains_nothing() -> None:
    assert_parity(Net, Data, max_epochs=0)


def test_max_steps_zero_trains_nothing() -> None:
    assert_parity(Net, Data, max_steps=0)


class StopsAtStep(Net):
    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        if self.global_step == 2:
            self.trainer.should_stop = True


def test_should_stop_set_by_the_module() -> None:
    assert_parity(StopsAtStep, Data, max_epochs=4)


def test_should_stop_waits_for_min_epochs() -> None:
    assert_parity(StopsAtStep, Data, max_epochs=4, min_epochs=2)


def test_should_stop_waits_for_min_steps() -> None:
    assert_parity(StopsAtStep, Data, max_epochs=4, min_steps=9)


def test_should_stop_waits_for_min_steps_within_the_first_epoch() -> None:
    assert_parity(StopsAtStep, Data, max_epochs=4, min_steps=4)


class StopsInValidation(Net):
    def on_validation_epoch_end(self) -> None:
        self.trainer.should_stop = self.current_epoch == 1


def test_should_stop_set_during_validation() -> None:
    assert_parity(StopsInValidation, Data, max_epochs=4)


class StopsAtEpochStart(Net):
    def on_train_epoch_start(self) -> None:
        self.trainer.should_stop = self.current_epoch == 1


def test_should_stop_set_at_epoch_start() -> None:
    assert_parity(StopsAtEpochStart, Data, max_epochs=4)


@pytest.mark.parametrize("limit", [3, 0.5, 1, 0, 0.0, 100])
def test_limit_train_batches(limit: float) -> None:
    assert_parity(Net, Data, max_epochs=2, limit_train_batches=limit)


@pytest.mark.parametrize("limit", [2, 0.4, 1, 0, 0.0, 100])
def test_limit_val_batches(limit: float) -> None:
    assert_parity(Net, Data, max_epochs=2, limit_val_batches=limit)


@pytest.mark.parametrize("limit", [0.01, -1, 1.5])
def test_limit_train_batches_out_of_range_fails_as_in_lightning(limit: float) -> None:
    assert_same_error(
        Net, Data, match="limit_train_batches|percentage", in_our_words=True, max_epochs=1, limit_train_batches=limit
    )


@pytest.mark.parametrize("overfit", [2, 0.5])
def test_overfit_batches(overfit: float) -> None:
    assert_parity(Net, Data, max_epochs=2, overfit_batches=overfit)


def test_overfit_batches_without_shuffling() -> None:
    assert_parity(Net, lambda: Data(shuffle=False), max_epochs=2, overfit_batches=1)


@pytest.mark.parametrize("fast", [True, 3])
def test_fast_dev_run(fast: bool | int) -> None:
    assert_parity(lambda: Net(scheduler="step"), Data, fast_dev_run=fast, max_epochs=5)


@pytest.mark.parametrize("interval", [0.5, 0.25, 0.34, 2, 4, 6, 1.0])
def test_val_check_interval(interval: float) -> None:
    assert_parity(Net, Data, max_epochs=2, val_check_interval=interval)


@pytest.mark.parametrize("interval", [4, 9])
def test_val_check_interval_across_epochs(interval: int) -> None:
    assert_parity(Net, Data, max_epochs=4, val_check_interval=interval, check_val_every_n_epoch=None)


def test_val_check_interval_longer_than_an_epoch_fails_as_in_lightning() -> None:
    assert_same_error(Net, Data, match="val_check_interval", in_our_words=True, max_epochs=2, val_check_interval=9)


@pytest.mark.parametrize("every", [2, 3])
def test_check_val_every_n_epoch(every: int) -> None:
    assert_parity(Net, Data, max_epochs=4, check_val_every_n_epoch=every)


def test_check_val_every_n_epoch_with_val_check_interval() -> None:
    assert_parity(Net, Data, max_epochs=4, check_val_every_n_epoch=2, val_check_interval=0.5)


@pytest.mark.parametrize("count", [2, -1])
def test_sanity_validation(count: int) -> None:
    assert_parity(Net, Data, max_epochs=2, num_sanity_val_steps=count)


class DrawsInValidation(Net):
    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_noise", torch.rand(()))


def test_sanity_validation_draws_nothing_that_training_sees() -> None:
    assert_parity(DrawsInValidation, Data, max_epochs=1, num_sanity_val_steps=2)


def test_random_numbers_drawn_in_validation() -> None:
    assert_parity(DrawsInValidation, Data, max_epochs=2, val_check_interval=0.5)


@pytest.mark.parametrize("every", [1, 2])
def test_reload_dataloaders_every_n_epochs(every: int) -> None:
    assert_parity(Net, Data, max_epochs=4, reload_dataloaders_every_n_epochs=every)


class GrowingData(Data):
    """Its length depends on the epoch, which only a reload can show."""

    def train_dataloader(self) -> Any:
        return DataLoader(samples(8 + 4 * self.trainer.current_epoch), 4, shuffle=True)


def test_reloaded_loader_of_another_length() -> None:
    assert_parity(Net, GrowingData, max_epochs=3, reload_dataloaders_every_n_epochs=1)


@pytest.mark.parametrize("groups", [2, 3, 4, 7])
def test_accumulation_with_a_short_last_group(groups: int) -> None:
    assert_parity(Net, Data, max_epochs=2, accumulate_grad_batches=groups)


def test_accumulation_with_clipping_schedule_and_mid_epoch_validation() -> None:
    assert_parity(
        lambda: Net(scheduler="cosine", interval="step"), Data,
        max_epochs=2, accumulate_grad_batches=4, gradient_clip_val=0.3, val_check_interval=3,
    )  # fmt: skip


@pytest.mark.parametrize("algorithm", ["norm", "value"])
def test_gradient_clipping(algorithm: str) -> None:
    assert_parity(Net, Data, max_epochs=2, gradient_clip_val=0.1, gradient_clip_algorithm=algorithm)


def test_gradient_clipping_with_value_zero() -> None:
    assert_parity(Net, Data, max_epochs=1, gradient_clip_val=0.0)


def test_gradient_clipping_in_manual_optimization_fails_as_in_lightning() -> None:
    assert_same_error(
        Manual, Data, match="Automatic gradient clipping", in_our_words=True, max_epochs=1, gradient_clip_val=0.1
    )


def test_accumulation_in_manual_optimization_fails_as_in_lightning() -> None:
    assert_same_error(
        Manual,
        Data,
        match="Automatic gradient accumulation",
        in_our_words=True,
        max_epochs=1,
        accumulate_grad_batches=2,
    )


class NoValidation(pl.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, y = batch
        return nn.functional.mse_loss(self.layer(x), y)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), 0.1)


def test_module_without_validation_step_beside_a_validation_loader() -> None:
    assert_parity(NoValidation, Data, max_epochs=2)


class TrainDataOnly(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        return DataLoader(samples(10), 4, shuffle=True)


def test_validation_step_without_a_validation_loader() -> None:
    assert_parity(Net, TrainDataOnly, max_epochs=2)


def test_neither_validation_step_nor_loader() -> None:
    assert_parity(NoValidation, TrainDataOnly, max_epochs=2)


def test_loaders_of_the_module() -> None:
    assert_parity(OwnLoaders, max_epochs=3)


def test_loaders_of_the_module_without_trace() -> None:
    assert_parity(OwnLoaders, trace=False, max_epochs=3)


class NoLoss(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None if batch_idx % 2 else super().training_step(batch, batch_idx)


@pytest.mark.parametrize("groups", [1, 2])
def test_training_step_that_returns_none_sometimes(groups: int) -> None:
    assert_parity(lambda: NoLoss(scheduler="cosine", interval="step"), Data, max_epochs=2,
                  accumulate_grad_batches=groups)  # fmt: skip


class NeverALoss(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("seen", float(batch_idx))


def test_training_step_that_always_returns_none() -> None:
    assert_parity(NeverALoss, Data, max_epochs=2)


class Extras(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        return {"loss": loss, "double": 2 * loss, "note": "text", "index": batch_idx}


def test_training_step_that_returns_a_dict_with_extras() -> None:
    assert_parity(Extras, Data, max_epochs=2, accumulate_grad_batches=2)


class OneArgument(Net):
    def training_step(self, batch: Any) -> Any:
        return self.loss(batch)


class OneArgumentEach(OneArgument):
    def validation_step(self, batch: Any) -> Any:
        self.log("val_loss", self.loss(batch))


class OddNames(Net):
    def training_step(self, pair: Any, number: int) -> Any:
        return self.loss(pair) * (1 + number)

    def validation_step(self, pair: Any, number: int) -> Any:
        self.log("val_loss", self.loss(pair) * number)


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("module", [OneArgument, pytest.param(OneArgumentEach, marks=since("2.1")), OddNames])
def test_step_signatures(module: Any, trace: bool) -> None:
    assert_parity(module, Data, trace=trace, max_epochs=2)


class BadLoss(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return "loss"


def test_training_step_that_returns_text_fails_as_in_lightning() -> None:
    assert_same_error(BadLoss, Data, match="must return a Tensor", max_epochs=1)


class NoLossKey(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return {"los": self.loss(batch)}


def test_training_step_whose_dict_has_no_loss_fails_as_in_lightning() -> None:
    assert_same_error(NoLossKey, Data, match="'loss'", max_epochs=1)


class SkipsEpoch(Net):
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if self.current_epoch == 1 and batch_idx == 3 else None


@pytest.mark.parametrize("trace", [True, False])
def test_on_train_batch_start_returning_minus_one_ends_the_epoch(trace: bool) -> None:
    assert_parity(lambda: SkipsEpoch(scheduler="step"), Data, trace=trace, max_epochs=3)


class SkipsFirstBatch(Net):
    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int | None:
        return -1 if self.current_epoch == 1 else None


def test_on_train_batch_start_returning_minus_one_at_the_first_batch() -> None:
    assert_parity(SkipsFirstBatch, Data, max_epochs=3)


class FrozenPart(Net):
    """A pretrained part that was put into eval mode once and must stay there."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5))
        self.backbone.requires_grad_(False).eval()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(self.backbone(x))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.net.parameters(), 0.1)


@pytest.mark.parametrize("trace", [True, False])
def test_submodule_frozen_by_eval_stays_as_lightning_leaves_it(trace: bool) -> None:
    assert_parity(FrozenPart, Data, trace=trace, max_epochs=2, val_check_interval=0.5)


class WholeModuleInEval(Net):
    def __init__(self) -> None:
        super().__init__()
        self.eval()


def test_module_in_eval_mode_as_a_whole() -> None:
    assert_parity(WholeModuleInEval, Data, max_epochs=2)


class SwitchesMode(Net):
    def on_train_epoch_start(self) -> None:
        self.net[3].train(self.current_epoch % 2 == 0)


def test_mode_of_a_submodule_changed_in_a_hook() -> None:
    assert_parity(SwitchesMode, Data, max_epochs=3)


def test_detect_anomaly() -> None:
    assert_parity(Net, Data, max_epochs=1, detect_anomaly=True)


class NaNGradient(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        weight = self.net[0].weight
        return (torch.sqrt(weight * 0) * 0).sum()


def test_detect_anomaly_raises_as_in_lightning() -> None:
    assert_same_error(NaNGradient, Data, match="nan values", max_epochs=1, detect_anomaly=True)


@pytest.mark.parametrize("inference", [True, False])
def test_inference_mode(inference: bool) -> None:
    assert_parity(Net, Data, max_epochs=1, inference_mode=inference, num_sanity_val_steps=1)


@since("2.0")
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
def test_precision(precision: str) -> None:
    if precision == "bf16-true" and not hasattr(pl.plugins, "HalfPrecision"):
        pytest.skip("bf16-true came with Lightning 2.1")
    assert_parity(Net, Data, max_epochs=2, precision=precision, gradient_clip_val=0.5)


@pytest.mark.parametrize("precision", [32, 64, "bf16"])
def test_precision_in_the_names_of_lightning_1(precision: int | str) -> None:
    assert_parity(Net, Data, max_epochs=1, precision=precision)


class NaNLoss(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if batch_idx == 2 else loss


def test_nan_loss_goes_on_as_in_lightning() -> None:
    assert_parity(NaNLoss, Data, max_epochs=1)


class FailsInStep(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        raise ZeroDivisionError("user code")


def test_exception_in_user_code_comes_through() -> None:
    assert_same_error(FailsInStep, Data, match="user code$", max_epochs=1)


TRAINER_FACTS = (
    "max_epochs", "max_steps", "min_epochs", "min_steps", "num_training_batches", "num_val_batches", "world_size",
    "global_rank", "local_rank", "node_rank", "num_nodes", "num_devices", "is_global_zero", "accumulate_grad_batches",
    "log_every_n_steps", "check_val_every_n_epoch", "val_check_interval", "gradient_clip_val",
    "gradient_clip_algorithm", "limit_train_batches", "limit_val_batches", "overfit_batches", "fast_dev_run",
    "sanity_checking", "precision", "interrupted", "estimated_stepping_batches", "current_epoch", "global_step",
    "enable_validation", "device_ids", "ckpt_path", "reload_dataloaders_every_n_epochs",
    *([] if IS_LIGHTNING_1 else ["received_sigterm"]),
)  # fmt: skip
FACTS: dict[str, Any] = {
    **{name: lambda module, name=name: getattr(module.trainer, name) for name in TRAINER_FACTS},
    "fit_loop.max_epochs": lambda module: module.trainer.fit_loop.max_epochs,
    "fit_loop.epoch_loop.batch_idx": lambda module: module.trainer.fit_loop.epoch_loop.batch_idx,
    "fit_loop.total_batch_idx": lambda module: module.trainer.fit_loop.total_batch_idx,
    "fit_loop.epoch_loop.max_steps": lambda module: module.trainer.fit_loop.epoch_loop.max_steps,
    "state.fn": lambda module: str(module.trainer.state.fn),
    "state.stage": lambda module: str(module.trainer.state.stage),
    "strategy.root_device": lambda module: str(module.trainer.strategy.root_device),
    "len(train_dataloader)": lambda module: len(module.trainer.train_dataloader),
    "type(train_dataloader)": lambda module: type(module.trainer.train_dataloader).__name__,
    "type(val_dataloaders)": lambda module: type(module.trainer.val_dataloaders).__name__,
    "len(optimizers)": lambda module: len(module.trainer.optimizers),
    "type(optimizers[0])": lambda module: type(module.trainer.optimizers[0]).__name__,
    "scheduler of lr_scheduler_configs": lambda module: type(module.trainer.lr_scheduler_configs[0].scheduler).__name__,
    "interval of lr_scheduler_configs": lambda module: module.trainer.lr_scheduler_configs[0].interval,
    "optimizer of the module": lambda module: isinstance(module.optimizers(), torch.optim.Optimizer),
    "scheduler of the module": lambda module: type(module.lr_schedulers()).__name__,
    "len(loggers)": lambda module: len(module.trainer.loggers),
    "names of callbacks": lambda module: [type(item).__name__ for item in module.trainer.callbacks],
    "early_stopping_callback": lambda module: module.trainer.early_stopping_callback,
    "device": lambda module: str(module.device),
    "dtype": lambda module: str(module.dtype),
    "on_gpu": lambda module: module.on_gpu,
    "module.global_rank": lambda module: module.global_rank,
    "module.local_rank": lambda module: module.local_rank,
    "logger is the trainer's": lambda module: module.logger is module.trainer.logger,
    "trainer.model is there": lambda module: module.trainer.model is not None,
    "trainer.lightning_module": lambda module: module.trainer.lightning_module is module,
    "trainer.datamodule": lambda module: module.trainer.datamodule.trainer is module.trainer,
}


class ReadsTrainer(Net):
    """Asks for what real code reads from the trainer, in the middle of training."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen = {name: looked_at(lambda read=read: read(self)) for name, read in FACTS.items()}
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize("options", [{"max_epochs": 2}, {"max_steps": 5, "accumulate_grad_batches": 4}])
def test_facts_read_from_the_trainer(options: dict) -> None:
    assert_parity(lambda: ReadsTrainer(scheduler="step"), Data, trace=False,
                  also=lambda module, callbacks: module.seen, **options)  # fmt: skip


@since("2.0")
def test_barebones() -> None:
    assert_parity(Net, Data, max_epochs=1, barebones=True, logger=False, num_sanity_val_steps=0, log_every_n_steps=0)


def test_deterministic_and_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    # both are settings of the process, which neither side takes back
    for name in ("HOROVOD_FUSION_THRESHOLD", "CUBLAS_WORKSPACE_CONFIG"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", False)
    try:
        run = assert_parity(Net, Data, max_epochs=1, deterministic="warn", benchmark=True, also=lambda *_: [
            torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
        ])  # fmt: skip
        assert run.final[-1].facts["value"] == [True, True]
    finally:
        torch.use_deterministic_algorithms(False)


@until("2.0", "the name changed in Lightning 2.0")
def test_replace_sampler_ddp_under_its_old_name() -> None:
    assert_parity(Net, Data, max_epochs=1, replace_sampler_ddp=False)
