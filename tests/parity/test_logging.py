"""Does `self.log` mean the same: which names, values and steps reach callbacks, loggers and the progress bar?"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchmetrics
from torch.utils.data import DataLoader

from .harness import assert_parity, assert_same_error, assert_same_outcome, host_version, looked_at, since
from .models import GAN, Data, Manual, Net, pl, samples


def logging_in(hook: str, base: type = Net, **options: Any) -> Callable[[], Any]:
    """A module that logs one number in one hook, before it does what it did."""

    def log(self: Any, *args: Any, **kwargs: Any) -> Any:
        self.count = getattr(self, "count", 0) + 1
        self.log(f"in_{hook}", float(self.count), **options)
        return getattr(super(made, self), hook)(*args, **kwargs)

    made = type(f"Logs_{hook}", (base,), {hook: log})
    return made


TRAIN_HOOKS = [
    "on_train_start", "on_train_epoch_start", "on_train_batch_start", "training_step", "on_before_zero_grad",
    "on_before_backward", "backward", "on_after_backward", "on_before_optimizer_step", "optimizer_step",
    "configure_gradient_clipping", "optimizer_zero_grad", "lr_scheduler_step", "on_train_batch_end",
    "on_train_epoch_end",
]  # fmt: skip
VALIDATION_HOOKS = [
    "on_validation_start", "on_validation_epoch_start", "on_validation_batch_start", "validation_step",
    "on_validation_batch_end", "on_validation_epoch_end",
]  # fmt: skip
FORBIDDEN_HOOKS = ["on_train_end", "on_validation_end", "on_fit_start", "on_fit_end", "setup", "teardown",
                   "configure_optimizers", "on_before_batch_transfer", "on_after_batch_transfer",
                   "on_validation_model_eval", "train_dataloader"]  # fmt: skip


class OwnLoadersAndSchedule(Net):
    def __init__(self) -> None:
        super().__init__(scheduler="step", interval="step")

    def train_dataloader(self) -> Any:
        return DataLoader(samples(14), 4, shuffle=True)

    def val_dataloader(self) -> Any:
        return DataLoader(samples(6, seed=1), 4)


def outcome(hook: str, **options: Any) -> None:
    """Logging in a hook is allowed or an error in Lightning; the adapter has to agree, whichever it is."""
    assert_same_outcome(logging_in(hook, OwnLoadersAndSchedule, **options), trace=False, max_epochs=2)


@pytest.mark.parametrize("hook", [*TRAIN_HOOKS, *VALIDATION_HOOKS])
def test_log_with_default_arguments(hook: str) -> None:
    outcome(hook)


@pytest.mark.parametrize("options", [{"on_step": True}, {"on_epoch": True}, {"on_step": True, "on_epoch": True},
                                     {"on_step": False, "on_epoch": True}, {"on_step": False, "on_epoch": False}],
                         ids=str)  # fmt: skip
@pytest.mark.parametrize("hook", ["on_train_start", "on_train_epoch_start", "on_train_batch_start", "training_step",
                                  "optimizer_step", "on_train_batch_end", "on_train_epoch_end",
                                  "on_validation_epoch_start", "validation_step", "on_validation_batch_end",
                                  "on_validation_epoch_end"])  # fmt: skip
def test_log_on_step_and_on_epoch(hook: str, options: dict) -> None:
    outcome(hook, **options)


@pytest.mark.parametrize("hook", FORBIDDEN_HOOKS)
def test_log_where_it_is_forbidden(hook: str) -> None:
    outcome(hook)


def test_callbacks_log_in_their_hooks() -> None:
    class Logs(pl.Callback):
        def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
            self.log("from_callback", float(batch_idx), on_epoch=True)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.log_dict({"callback_a": outputs["loss"], "callback_b": float(batch_idx)})

        def on_validation_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.log("callback_val", 3.0, prog_bar=True)

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            pl_module.log("callback_end", float(trainer.current_epoch))

    assert_parity(Net, Data, max_epochs=2, callbacks=lambda: [Logs()])


@pytest.mark.parametrize("reduce_fx", ["mean", "sum", "max", "min", torch.mean, torch.sum, torch.max])
@pytest.mark.parametrize("where", ["training_step", "validation_step"])
def test_reduce_fx(where: str, reduce_fx: Any) -> None:
    class Logs(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            if where == "training_step":
                self.log("value", loss, on_step=True, on_epoch=True, reduce_fx=reduce_fx)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            if where == "validation_step":
                self.log("value", self.loss(batch), reduce_fx=reduce_fx)

    assert_parity(Logs, Data, max_epochs=2)


def test_unknown_reduce_fx_fails_as_in_lightning() -> None:
    assert_same_error(logging_in("training_step", reduce_fx="median"), Data, match="median", max_epochs=1)


@pytest.mark.parametrize("options", [{"prog_bar": True}, {"logger": False}, {"prog_bar": True, "logger": False},
                                     {"batch_size": 3}, {"batch_size": 1, "on_epoch": True}, {"enable_graph": True},
                                     {"rank_zero_only": True}, {"sync_dist": True}], ids=str)  # fmt: skip
@pytest.mark.parametrize("hook", ["training_step", "validation_step"])
def test_log_options(hook: str, options: dict) -> None:
    assert_parity(logging_in(hook, **options), Data, max_epochs=2)


class LogsEverything(Net):
    """Every type of value that may be logged."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("int", batch_idx)
        self.log("float", 0.1 * batch_idx, on_epoch=True)
        self.log("bool", batch_idx % 2 == 0, on_epoch=True)
        self.log("tensor", loss, on_epoch=True)
        self.log("one_element", loss.reshape(1), on_epoch=True)
        self.log("integers", torch.tensor(batch_idx), on_epoch=True)
        self.log("double", loss.double(), on_epoch=True)
        self.log("half", loss.detach().bfloat16(), on_epoch=True)
        return loss


def test_types_of_values() -> None:
    assert_parity(LogsEverything, Data, max_epochs=2)


@pytest.mark.parametrize("value", [None, "text", [1.0], torch.zeros(2), {"a": {"b": 1.0}}, object], ids=str)
def test_values_that_cannot_be_logged_fail_as_in_lightning(value: Any) -> None:
    class Logs(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("bad", value)
            return self.loss(batch)

    assert_same_error(Logs, Data, match="", max_epochs=1)


@since("2.0", "Lightning 1.x logs a dictionary as one value, the adapter takes it apart with `log_dict` only")
def test_dict_given_to_log() -> None:
    class Logs(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("group", {"a": self.loss(batch), "b": 2.0})

    assert_same_outcome(Logs, Data, max_epochs=2)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite(value: float) -> None:
    class Logs(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("odd", value if batch_idx == 1 else 1.0, on_step=True, on_epoch=True)
            return self.loss(batch)

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("odd_val", value, reduce_fx="max")

    assert_parity(Logs, Data, max_epochs=1)


def test_log_dict_and_shared_options() -> None:
    class Logs(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log_dict({"a": loss, "b": 2 * loss, "c/d": 1.0}, on_step=True, on_epoch=True, prog_bar=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log_dict({"va": self.loss(batch), "vb": float(batch_idx)}, batch_size=2)

    assert_parity(Logs, Data, max_epochs=2)


def test_metrics_that_are_logged_only_now_and_then() -> None:
    class Logs(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            if batch_idx == 2:
                self.log("rare", loss, on_step=True, on_epoch=True)
            if self.current_epoch == 1:
                self.log("late", loss)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            if batch_idx == 1:
                self.log("rare_val", self.loss(batch))

    assert_parity(Logs, Data, max_epochs=3)


def test_one_name_logged_in_training_and_validation() -> None:
    class Logs(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = self.loss(batch)
            self.log("loss", loss, on_step=True, on_epoch=True)
            return loss

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("loss", self.loss(batch))

    assert_parity(Logs, Data, max_epochs=2)


def test_one_name_logged_in_two_hooks() -> None:
    class Logs(Net):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            self.log("twice", 1.0, on_epoch=True)

        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.log("twice", 2.0, on_epoch=True)

    assert_parity(Logs, Data, max_epochs=1)


def test_one_name_logged_with_other_arguments_fails_as_in_lightning() -> None:
    class Logs(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("same", 1.0, on_step=True, on_epoch=True)
            self.log("same", 2.0, prog_bar=True)
            return self.loss(batch)

    assert_same_error(Logs, Data, match="twice|different arguments", max_epochs=1)


def test_name_that_clashes_with_a_forked_one_fails_as_in_lightning() -> None:
    class Logs(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("a/dataloader_idx_0", 1.0)
            return self.loss(batch)

    # the newest Lightning says more
    in_our_words = host_version().startswith(("1.", "2.0."))
    assert_same_error(Logs, Data, match="dataloader_idx", in_our_words=in_our_words, max_epochs=1)


def test_name_that_is_no_text() -> None:
    class Logs(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("outer", 1.0)
            self.log_dict({3: 1.0})
            return self.loss(batch)

    assert_same_outcome(Logs, Data, max_epochs=2)


def test_log_after_the_run_fails_as_in_lightning() -> None:
    def log_late(module: Any, callbacks: list) -> str:
        found = looked_at(lambda: module.log("after", 1.0))
        assert "self.log" in found
        return found

    assert_parity(Net, Data, max_epochs=1, also=log_late)


# --- weights of epoch means


def test_epoch_means_are_weighted_by_batch_size() -> None:
    class Logs(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("inferred", float(batch_idx))
            self.log("given", float(batch_idx), batch_size=1)

    run = assert_parity(Logs, lambda: Data(val_count=6), max_epochs=1)
    seen = run.final[1].facts
    assert seen["callback_metrics[inferred]"] == pytest.approx(2 / 6)
    assert seen["callback_metrics[given]"] == 0.5


def nested(samples_: list) -> dict:
    x, y = torch.utils.data.default_collate(samples_)
    return {"name": ["a"] * len(x), "inner": {"x": x, "y": y}}


class TakesDict(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss((batch["inner"]["x"], batch["inner"]["y"]))
        self.log("loss", loss, on_epoch=True)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("val_loss", self.loss((batch["inner"]["x"], batch["inner"]["y"])))


class NestedData(Data):
    def train_dataloader(self) -> Any:
        return DataLoader(self.train_set, 4, shuffle=True, collate_fn=nested)

    def val_dataloader(self) -> Any:
        return DataLoader(self.val_set, 4, collate_fn=nested)


def test_batch_size_is_inferred_from_nested_batches() -> None:
    assert_parity(TakesDict, NestedData, max_epochs=2)


def without_size(samples_: list) -> Any:
    x, y = torch.utils.data.default_collate(samples_)

    class Opaque:
        inputs, targets = x, y

    return Opaque()


class TakesObject(Net):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss((batch.inputs, batch.targets))
        self.log("loss", loss, on_epoch=batch_idx < 0)
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("val_loss", self.loss((batch.inputs, batch.targets)), batch_size=len(batch.inputs))


class OpaqueData(Data):
    def train_dataloader(self) -> Any:
        return DataLoader(self.train_set, 4, shuffle=True, collate_fn=without_size)

    def val_dataloader(self) -> Any:
        return DataLoader(self.val_set, 4, collate_fn=without_size)


def test_batches_of_unknown_size_with_the_size_given() -> None:
    assert_parity(TakesObject, OpaqueData, max_epochs=2)


def test_batches_of_unknown_size_logged_per_epoch_fail_as_in_lightning() -> None:
    class Logs(TakesObject):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("val_loss", 1.0)

    assert_same_error(Logs, OpaqueData, match="infer the batch_size", max_epochs=1)


# --- torchmetrics


class MetricNet(Net):
    """Logs torchmetrics objects, the forms that their documentation shows."""

    def __init__(self) -> None:
        super().__init__()
        self.train_mae = torchmetrics.MeanAbsoluteError()
        self.val_mae = torchmetrics.MeanAbsoluteError()
        self.several = torchmetrics.MetricCollection(
            {"mse": torchmetrics.MeanSquaredError(), "mae": torchmetrics.MeanAbsoluteError()}, prefix="all_"
        )
        self.by_hand = torchmetrics.MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        out = self(x)
        self.train_mae(out, y)
        self.log("train_mae", self.train_mae, on_step=True, on_epoch=True, prog_bar=True)
        return torch.nn.functional.mse_loss(out, y)

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        out = self(x)
        self.val_mae.update(out, y)
        self.log("val_mae", self.val_mae)
        self.several.update(out, y)
        self.log_dict(self.several, on_step=False, on_epoch=True)
        self.by_hand.update(batch_idx)

    def on_validation_epoch_end(self) -> None:
        self.log("by_hand", self.by_hand.compute())
        self.by_hand.reset()


@pytest.mark.parametrize("options", [{}, {"num_sanity_val_steps": 2}, {"val_check_interval": 0.5},
                                     {"accumulate_grad_batches": 4}], ids=str)  # fmt: skip
def test_torchmetrics(options: dict) -> None:
    assert_parity(MetricNet, Data, max_epochs=2, **options)


def test_torchmetrics_logged_as_a_value() -> None:
    class Logs(MetricNet):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = batch
            out = self(x)
            self.log("mae_value", self.train_mae(out, y), on_step=True, on_epoch=True)
            return torch.nn.functional.mse_loss(out, y)

    assert_parity(Logs, Data, max_epochs=2)


def test_torchmetrics_logged_at_epoch_end() -> None:
    class Logs(MetricNet):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            x, y = batch
            out = self(x)
            self.train_mae.update(out, y)
            return torch.nn.functional.mse_loss(out, y)

        def on_train_epoch_end(self) -> None:
            self.log("train_mae", self.train_mae)

    assert_parity(Logs, Data, max_epochs=2)


def test_torchmetrics_in_a_list_need_metric_attribute() -> None:
    class Logs(Net):
        def __init__(self) -> None:
            super().__init__()
            self.meters = torch.nn.ModuleList([torchmetrics.MeanMetric(), torchmetrics.MaxMetric()])

        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            for index, meter in enumerate(self.meters):
                meter.update(self.loss(batch))
                self.log(f"meter_{index}", meter, metric_attribute=f"meters.{index}")

    assert_parity(Logs, Data, max_epochs=2)


def test_torchmetrics_that_are_no_attribute_fail_as_in_lightning() -> None:
    class Logs(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            metric = torchmetrics.MeanMetric()
            metric.update(1.0)
            self.log("lost", metric)
            return self.loss(batch)

    assert_same_error(Logs, Data, match="Could not find the `LightningModule` attribute", max_epochs=1)


def test_torchmetrics_with_unknown_attribute() -> None:
    class Logs(MetricNet):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.train_mae.update(batch[0], batch[0])
            self.log("mae", self.train_mae, metric_attribute="no_such")
            return self.loss(batch)

    assert_same_outcome(Logs, Data, max_epochs=1)


# --- several validation loaders


class TwoValidationSets(Data):
    def val_dataloader(self) -> Any:
        return [DataLoader(samples(10, 1), 4), DataLoader(samples(6, 2), 4)]


class DictOfValidationSets(Data):
    def val_dataloader(self) -> Any:
        return {"near": DataLoader(samples(10, 1), 4), "far": DataLoader(samples(6, 2), 4)}


class SeveralLoaders(Net):
    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
        loss = self.loss(batch)
        self.log("val_loss", loss, prog_bar=True)
        self.log(f"val_loss_{dataloader_idx}", loss, add_dataloader_idx=False)
        self.log("stepped", loss, on_step=True, on_epoch=True)
        return loss

    def on_validation_batch_end(self, outputs: Any, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        self.log("from_batch_end", float(dataloader_idx))

    def on_validation_epoch_end(self) -> None:
        self.log("from_epoch_end", 5.0)


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("options", [{}, {"limit_val_batches": 1}, {"num_sanity_val_steps": 1},
                                     {"limit_val_batches": 0.5}], ids=str)  # fmt: skip
def test_several_validation_loaders(options: dict, trace: bool) -> None:
    assert_parity(SeveralLoaders, TwoValidationSets, trace=trace, max_epochs=2, **options)


@since("2.0")
def test_dict_of_validation_loaders() -> None:
    assert_parity(SeveralLoaders, DictOfValidationSets, max_epochs=2)


def test_torchmetrics_over_several_validation_loaders() -> None:
    class Logs(Net):
        def __init__(self) -> None:
            super().__init__()
            self.meters = torch.nn.ModuleList([torchmetrics.MeanMetric(), torchmetrics.MeanMetric()])

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
            self.meters[dataloader_idx].update(self.loss(batch))
            self.log("meter", self.meters[dataloader_idx])

    assert_parity(Logs, TwoValidationSets, max_epochs=2)


def test_one_name_for_two_loaders_without_index_fails_as_in_lightning() -> None:
    class Logs(Net):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int) -> Any:
            self.log("val_loss", 1.0, add_dataloader_idx=False)

    assert_same_error(Logs, TwoValidationSets, match="twice|multiple", max_epochs=1)


@since("2.0")
def test_validation_step_without_dataloader_idx_beside_two_loaders_fails_as_in_lightning() -> None:
    assert_same_error(Net, TwoValidationSets, match="dataloader_idx", max_epochs=1)


# --- loggers


@pytest.mark.parametrize("every", [1, 2, 3, 50])
def test_log_every_n_steps(every: int) -> None:
    assert_parity(Net, Data, max_epochs=2, log_every_n_steps=every)


@pytest.mark.parametrize("every", [1, 2])
def test_log_every_n_steps_with_accumulation(every: int) -> None:
    assert_parity(Net, Data, max_epochs=2, log_every_n_steps=every, accumulate_grad_batches=4)


@since("2.0", "a division by zero until then")
def test_log_every_n_steps_zero() -> None:
    assert_same_outcome(Net, Data, max_epochs=1, log_every_n_steps=0)


@pytest.mark.parametrize("module", [Manual, GAN])
def test_log_steps_in_manual_optimization(module: Any) -> None:
    assert_parity(module, Data, max_epochs=2, log_every_n_steps=3)


def test_no_logger() -> None:
    assert_parity(Net, Data, max_epochs=2, logger=False)


def test_validation_steps_are_logged_with_their_own_count() -> None:
    class Logs(Net):
        def validation_step(self, batch: Any, batch_idx: int) -> Any:
            self.log("val", self.loss(batch), on_step=True, on_epoch=True)

    assert_parity(Logs, Data, max_epochs=2, val_check_interval=0.5, log_every_n_steps=1)


def test_step_logged_as_a_metric_sets_the_step() -> None:
    class Logs(Net):
        def on_train_epoch_end(self) -> None:
            self.log("step", float(self.current_epoch * 100))

    assert_parity(Logs, Data, max_epochs=2)


def test_logger_used_by_the_module() -> None:
    class Logs(Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            self.logger.log_metrics({"direct": float(batch_idx)}, step=self.global_step)
            return super().training_step(batch, batch_idx)

        def on_validation_epoch_end(self) -> None:
            for logger in self.loggers:
                logger.log_metrics({"sanity": float(self.trainer.sanity_checking)}, step=self.global_step)

    assert_parity(Logs, Data, max_epochs=2, num_sanity_val_steps=1)


class WithHparams(Net):
    def __init__(self, width: int = 3, name: str = "x") -> None:
        super().__init__()
        self.save_hyperparameters()


class DataWithHparams(Data):
    def __init__(self, factor: float = 0.5) -> None:
        super().__init__()
        self.save_hyperparameters()


@pytest.mark.parametrize("data", [Data, DataWithHparams])
@pytest.mark.parametrize("module", [Net, WithHparams])
def test_hyperparameters_reach_the_logger(module: Any, data: Any) -> None:
    assert_parity(module, data, max_epochs=1)


class HparamsNotLogged(Net):
    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.save_hyperparameters(logger=False)


def test_hyperparameters_kept_from_the_logger() -> None:
    assert_parity(HparamsNotLogged, Data, max_epochs=1)


def test_clashing_hyperparameters_fail_as_in_lightning() -> None:
    class Clash(pl.LightningDataModule):
        def __init__(self, width: int = 4) -> None:
            super().__init__()
            self.save_hyperparameters()

        def train_dataloader(self) -> Any:
            return DataLoader(samples(4), 4)

    assert_same_error(WithHparams, Clash, match="width", max_epochs=1)


def test_metrics_survive_validation_in_mid_epoch_with_all_kinds_at_once() -> None:
    class Logs(MetricNet):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            for (on_step, on_epoch), bar in itertools.product(((True, True), (True, False), (False, True)), (0, 1)):
                name = f"v_{on_step}_{on_epoch}_{bar}"
                self.log(name, loss, on_step=on_step, on_epoch=on_epoch, prog_bar=bool(bar))
            return loss

    assert_parity(Logs, Data, max_epochs=2, val_check_interval=2, accumulate_grad_batches=2)


class ReadsMetrics(Net):
    """Reads its own metrics in the middle of everything."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.log("known", float(len(self.trainer.callback_metrics)))
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.log("previous", self.trainer.callback_metrics["train_loss"])

    def on_validation_epoch_end(self) -> None:
        self.log("val_read", self.trainer.callback_metrics.get("val_loss", torch.tensor(-1.0)))

    def on_train_epoch_end(self) -> None:
        self.log("end_read", self.trainer.callback_metrics["train_loss_epoch"])
        self.log("logged_read", self.trainer.logged_metrics.get("train_loss_epoch", torch.tensor(-1.0)))


def test_metrics_read_by_the_module() -> None:
    assert_parity(ReadsMetrics, Data, max_epochs=2)
