"""When a logged value becomes visible, and to whom."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torchmetrics import MeanMetric, MetricCollection, MinMetric

from lightning_adapter.versions import lightning_private
from tests.trainer.connectors import Logs, numbers


@pytest.fixture
def logs() -> Logs:
    return Logs()


BOTH: dict[str, Any] = {"on_step": True, "on_epoch": True}


def test_batch_size_that_is_not_given_is_the_batchs(logs: Logs) -> None:
    logs.batch(3, "training_step", 1.0, on_epoch=True)
    logs.batch(1, "training_step", 5.0, on_epoch=True)
    logs.connector.epoch_end_reached()
    assert numbers(logs.connector.callback_metrics)["x_epoch"] == 2.0


def test_batch_size_that_is_given_wins(logs: Logs) -> None:
    logs.batch(3, "training_step", 1.0, on_epoch=True, batch_size=1)
    logs.batch(3, "training_step", 5.0, on_epoch=True, batch_size=3)
    logs.connector.epoch_end_reached()
    assert numbers(logs.connector.callback_metrics)["x_epoch"] == 4.0


def test_batch_that_never_ended_leaves_no_size_to_the_next(logs: Logs) -> None:
    for value, size in ((1.0, 3), (5.0, 1)):  # a step that asks for more data than there is ends without on_batch_end
        logs.connector.on_batch_start(torch.zeros(size))
        logs.log_in("training_step", "x", value, on_epoch=True)
    logs.connector.epoch_end_reached()
    assert numbers(logs.connector.callback_metrics)["x_epoch"] == 2.0


def test_batch_size_is_inferred_once_for_a_batch_and_only_where_it_matters(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(lightning_private, "extract_batch_size", lambda host, batch: asked.append(batch) or 4)
    logs.connector.on_batch_start("batch")
    logs.log_in("training_step", "step", 1.0)
    logs.log_in("training_step", "sum", 1.0, on_epoch=True, reduce_fx="sum")
    assert not asked
    logs.log_in("training_step", "x", 1.0, on_epoch=True)
    logs.log_in("training_step", "y", 1.0, on_epoch=True)
    assert asked == ["batch"]


def test_step_values_are_visible_within_the_epoch_and_epoch_values_at_its_end(logs: Logs) -> None:
    for value in (1.0, 2.0):
        logs.batch(2, "training_step", value, prog_bar=True, **BOTH)
        assert numbers(logs.connector.callback_metrics) == {"x": value, "x_step": value}
        assert numbers(logs.connector.current_log()) == {"x_step": value}
    logs.connector.epoch_end_reached()
    assert numbers(logs.connector.callback_metrics) == {"x": 1.5, "x_step": 2.0, "x_epoch": 1.5}
    assert numbers(logs.connector.current_log()) == {"x_epoch": 1.5}
    assert logs.connector.progress_bar_metrics == {"x_step": 2.0, "x_epoch": 1.5}


def test_value_without_logger_reaches_callbacks_alone(logs: Logs) -> None:
    logs.batch(1, "training_step", 1.0, logger=False)
    assert numbers(logs.connector.callback_metrics) == {"x": 1.0}
    assert logs.connector.logged_metrics == {} == logs.connector.progress_bar_metrics


def test_metrics_that_loggers_were_given_are_logged_metrics(logs: Logs) -> None:
    logs.connector.sent_to_loggers({"lr": torch.tensor(0.5)})
    assert numbers(logs.connector.logged_metrics) == {"lr": 0.5}
    logs.connector.reset_metrics()
    assert logs.connector.logged_metrics == {}


def test_second_epoch_starts_over(logs: Logs) -> None:
    logs.batch(1, "training_step", 1.0, **BOTH)
    logs.connector.epoch_end_reached()
    logs.connector.on_epoch_end()
    logs.connector.reset_results()
    assert numbers(logs.connector.callback_metrics)["x_epoch"] == 1.0  # the dictionaries stay
    logs.batch(1, "training_step", 3.0, **BOTH)
    logs.connector.epoch_end_reached()
    assert numbers(logs.connector.callback_metrics)["x_epoch"] == 3.0


def test_hook_that_logs_again_in_a_new_epoch_forgets_the_one_before(logs: Logs) -> None:
    """As `should_reset_tensors` says, where nobody has reset the results in between."""
    logs.log_in("on_train_epoch_start", "x", 1.0)
    logs.batch(1, "training_step", 1.0)
    logs.connector.epoch_end_reached()
    logs.log_in("on_train_epoch_start", "x", 3.0)
    assert numbers(logs.connector.callback_metrics)["x"] == 3.0


def test_two_values_in_one_hook_outside_of_batches_are_averaged(logs: Logs) -> None:
    logs.log_in("on_train_epoch_end", "x", 1.0)
    logs.log_in("on_train_epoch_end", "x", 3.0)
    assert numbers(logs.connector.callback_metrics) == {"x": 2.0}


def test_validation_in_mid_epoch_leaves_the_epochs_mean_alone(logs: Logs) -> None:
    logs.batch(1, "training_step", 1.0, **BOTH)
    logs.batch(1, "training_step", 2.0, **BOTH)
    logs.connector.validation_starts()
    logs.validate(7.0)
    logs.connector.loader_end_reached()
    assert numbers(logs.connector.update_eval_epoch_metrics().log) == {"x": 7.0}
    logs.connector.evaluation_epoch_end()
    logs.connector.on_epoch_end()
    logs.connector.reset_results()
    logs.connector.validation_ends(shows_epoch_values=False)
    assert numbers(logs.connector.callback_metrics) == {"x": 2.0, "x_step": 2.0}
    logs.batch(1, "training_step", 6.0, **BOTH)
    logs.connector.epoch_end_reached()
    assert numbers(logs.connector.callback_metrics)["x_epoch"] == 3.0


def test_validation_of_older_lightnings_shows_values_of_the_epoch_until_the_next_batch(logs: Logs) -> None:
    logs.batch(1, "training_step", 1.0, **BOTH)
    logs.batch(1, "training_step", 2.0, **BOTH)
    logs.connector.validation_starts()
    logs.connector.validation_ends(shows_epoch_values=True)
    assert numbers(logs.connector.callback_metrics)["x_epoch"] == 1.5
    logs.connector.reset_metrics()
    logs.batch(1, "training_step", 3.0, **BOTH)
    assert "x_epoch" not in logs.connector.callback_metrics


def test_validation_step_values_are_no_monitors(logs: Logs) -> None:
    logs.connector.validation_starts()
    logs.batch(1, "validation_step", 1.0, on_step=True)
    assert logs.connector.callback_metrics == {}
    assert numbers(logs.connector.current_log()) == {"x_step": 1.0}


def test_validation_loaders_are_told_apart(logs: Logs) -> None:
    logs.connector.validation_starts()
    for loader, values in enumerate(((1.0, 3.0), (5.0,))):
        logs.validate(*values, loader=loader)
        logs.connector.loader_end_reached()
        logs.connector.update_eval_epoch_metrics()
    logs.connector.evaluation_epoch_end()
    assert numbers(logs.connector.callback_metrics) == {"x/dataloader_idx_0": 2.0, "x/dataloader_idx_1": 5.0}


def test_step_values_of_a_loader_are_logged_metrics_when_the_next_one_is_run(logs: Logs) -> None:
    logs.connector.validation_starts()
    for loader in range(2):
        logs.batch(1, "validation_step", float(loader), loader, on_step=True)
    assert numbers(logs.connector.logged_metrics) == {"x_step/dataloader_idx_0": 0.0, "x_step/dataloader_idx_1": 1.0}


def test_value_logged_after_all_loaders_is_of_none_of_them(logs: Logs) -> None:
    logs.connector.validation_starts()
    logs.validate(1.0, loader=1)
    logs.connector.evaluation_epoch_end()
    logs.log_in("on_validation_epoch_end", "y", 2.0)
    assert numbers(logs.connector.update_eval_epoch_metrics().callback) == {"y": 2.0}


def test_value_logged_when_a_validation_starts_in_mid_epoch_is_an_epochs(logs: Logs) -> None:
    logs.batch(1, "training_step", 1.0)
    logs.connector.validation_starts()
    logs.log_in("on_validation_start", "y", 2.0)
    assert numbers(logs.connector.callback_metrics)["y"] == 2.0


def test_sanity_check_leaves_nothing_behind(logs: Logs) -> None:
    logs.log_in("on_train_start", "before", 1.0)
    logs.connector.sanity_check_starts()
    assert logs.connector.callback_metrics == {}
    logs.validate(1.0)
    logs.connector.loader_end_reached()
    logs.connector.sanity_check_ends()
    assert numbers(logs.connector.callback_metrics) == {"before": 1.0}
    assert not logs.connector.validation.visible()


@pytest.mark.parametrize(
    ("default", "expected"),
    [(torch.float32, torch.float32), (torch.float64, torch.float64), (torch.float16, torch.float32)],
)
def test_number_becomes_a_tensor_of_the_default_type_but_no_less_than_float32(
    logs: Logs, default: torch.dtype, expected: torch.dtype
) -> None:
    torch.set_default_dtype(default)
    try:
        logs.batch(1, "training_step", 1)
    finally:
        torch.set_default_dtype(torch.float32)
    assert logs.connector.callback_metrics["x"].dtype is expected


@pytest.mark.parametrize("levels", [(True, False), (False, True), (True, True)], ids=["step", "epoch", "both"])
@pytest.mark.parametrize("reduce_fx", ["mean", "sum", "max", "min"])
def test_tensor_that_changes_after_it_was_logged_keeps_its_value(
    logs: Logs, levels: tuple[bool, bool], reduce_fx: str
) -> None:
    on_step, on_epoch = levels
    value = torch.ones((1, 1), requires_grad=True)
    logs.connector.on_batch_start(None)
    logs.log_in("training_step", "x", value, on_step=on_step, on_epoch=on_epoch, reduce_fx=reduce_fx)
    with torch.no_grad():
        value += 1
    if on_step:
        shown = logs.connector.callback_metrics["x"]
        assert (shown.item(), shown.shape, shown.requires_grad) == (1.0, (), False)
    if on_epoch:
        logs.connector.epoch_end_reached()
        shown = logs.connector.callback_metrics["x"]
        assert (shown.item(), shown.shape, shown.requires_grad) == (1.0, (), False)


def test_whole_number_tensor_is_converted_with_a_warning(logs: Logs) -> None:
    with pytest.warns(UserWarning, match=r"self.log\('x', ...\)` in your `training_step` but the value needs to be"):
        logs.batch(1, "training_step", torch.tensor(3))
    assert logs.connector.callback_metrics["x"].dtype is torch.float32


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(2), "must have a single element"),
        ({"a": {}}, "nested dictionaries cannot be logged"),
        ([1.0], "`list` values cannot be logged"),
    ],
)
def test_value_that_cannot_be_logged_raises_and_is_not_seen(logs: Logs, value: Any, message: str) -> None:
    logs.connector.on_batch_start(None)
    with pytest.raises(ValueError, match=message):
        logs.log_in("training_step", "x", value, **BOTH)
    assert logs.connector.callback_metrics == {}
    logs.connector.epoch_end_reached()
    assert logs.connector.callback_metrics == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"on_step": False, "on_epoch": False}, "is not useful"),
        ({"reduce_fx": "median"}, r"reduce_fx=\{min,max,mean,sum\}"),
        ({"reduce_fx": torch.median}, r"reduce_fx=\{min,max,mean,sum\}"),
    ],
)
def test_arguments_that_mean_nothing_raise(logs: Logs, options: dict[str, Any], message: str) -> None:
    with pytest.raises(Exception, match=message):
        logs.log_in("training_step", "x", 1.0, **options)


def test_name_that_looks_like_a_loaders_raises(logs: Logs) -> None:
    with pytest.raises(Exception, match="should not contain information about `dataloader_idx`"):
        logs.log_in("validation_step", "x/dataloader_idx_0", 1.0)


def test_log_outside_of_all_hooks_raises(logs: Logs) -> None:
    with pytest.raises(Exception, match="not managed by the `Trainer` control flow"):
        logs.connector.log("x", 1.0)


def test_metric_that_is_no_attribute_raises(logs: Logs) -> None:
    with pytest.raises(Exception, match=r"metric_attribute=name\)` where `name` is one of \['mean'\]"):
        logs.log_in("training_step", "x", MinMetric())


def test_metric_called_in_the_step_shows_step_and_epoch(logs: Logs) -> None:
    for value in (1.0, 3.0):
        logs.module.mean(value)
        logs.batch(1, "training_step", logs.module.mean, **BOTH)
    assert numbers(logs.connector.callback_metrics) == {"x": 3.0, "x_step": 3.0}
    logs.connector.epoch_end_reached()
    assert numbers(logs.connector.callback_metrics)["x_epoch"] == 2.0


def test_log_dict_of_a_collection_logs_its_names(logs: Logs) -> None:
    logs.module.both = MetricCollection({"mean": MeanMetric(), "low": MinMetric()}, prefix="p_")
    logs.module.both.update(torch.tensor([1.0, 3.0]))
    logs.running.name = "validation_step"
    logs.connector.log_dict(logs.module.both, prog_bar=True)
    assert logs.connector.progress_bar_metrics == {"p_mean": 2.0, "p_low": 1.0}


def test_run_that_goes_on_from_a_state_equals_one_that_was_not_interrupted(logs: Logs) -> None:
    again = Logs()
    for value in (1.0, 2.0):
        logs.module.mean(value)
        logs.batch(2, "training_step", value, prog_bar=True, **BOTH)
        logs.log_in("training_step", "m", logs.module.mean, on_step=False, on_epoch=True)
    state = copy.deepcopy(logs.connector.state_dict())
    assert list(state) == ["training", "callback", "logged", "bar", "first_iteration", "hook_of_last_log"]
    assert (state["first_iteration"], state["hook_of_last_log"]) == (False, "training_step")
    again.connector.load_state_dict(state)
    again.module.mean.update(torch.tensor([1.0, 2.0]))
    shown = []
    for one in (logs, again):
        one.batch(1, "training_step", 9.0, prog_bar=True, **BOTH)
        one.connector.epoch_end_reached()
        one.connector.on_epoch_end()
        connector = one.connector
        shown.append(
            (numbers(connector.callback_metrics), connector.progress_bar_metrics, numbers(connector.current_log()))
        )
    assert shown[0] == shown[1]
    assert shown[0][0]["x_epoch"] == 3.0


def test_state_taken_within_a_validation_holds_the_position_of_the_training(logs: Logs) -> None:
    logs.batch(1, "training_step", 1.0, on_epoch=True)
    before = logs.connector.state_dict()["first_iteration"]
    logs.connector.validation_starts()
    within = logs.connector.state_dict()["first_iteration"]

    assert before is True and within is True


def test_display_sees_the_last_values_and_leaves_no_trace_of_having_asked() -> None:
    logs = Logs()
    logs.batch(4, "training_step", 1.0, prog_bar=True, on_epoch=True)
    assert logs.connector.seen("pbar") == {"x_step": 1.0}
    logs.batch(4, "training_step", 3.0, prog_bar=True, on_epoch=True)
    logs.connector.epoch_end_reached()
    assert logs.connector.seen("pbar") == {"x_step": 3.0}  # the epoch's value is computed where all ranks meet
    logs.connector.on_epoch_end()
    assert logs.connector.seen("pbar") == {"x_step": 3.0, "x_epoch": 2.0}


def test_display_that_asks_before_an_epochs_first_batch_shows_user_code_nothing_earlier() -> None:
    logs = Logs()
    logs.log_in("on_train_epoch_start", "rate", 0.1, prog_bar=True)
    assert logs.connector.seen("pbar") == {} == logs.connector.seen("log")
    logs.connector.on_batch_start(torch.zeros(1, 2))
    assert dict(logs.connector.callback_metrics) == {}


def test_display_that_asks_after_a_validation_computes_no_epoch_of_training() -> None:
    logs = Logs()
    logs.batch(4, "training_step", 1.0, prog_bar=True, on_epoch=True)
    logs.connector.validation_starts()
    logs.connector.validation_ends(shows_epoch_values=True)  # as older Lightnings do
    assert logs.connector.seen("pbar") == {"x_step": 1.0}
    assert logs.connector.progress_bar_metrics == {"x_step": 1.0, "x_epoch": 1.0}  # who asks as a bar of theirs does
