"""Results against Lightning's own collection, and what only ours do."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from pytorch_lightning.trainer.connectors.logger_connector.result import _ResultCollection
from torch import Tensor
from torchmetrics import MeanMetric, Metric

from lightning_adapter.trainer.metadata import LogArguments, MetadataParser
from lightning_adapter.trainer.results import ResultCollection
from tests.trainer.connectors import CPU, HOST, Module

USUAL = LogArguments(False, None, True, True, "mean", False, False, None, True, None, False)


def collection(training: bool = True, module: Module | None = None) -> ResultCollection:
    module = Module() if module is None else module
    return ResultCollection(training, module, CPU, MetadataParser(HOST, module, lambda: True), None)


def log(results: ResultCollection, name: str, value: Any, batch_size: int = 1, hook: str = "", **options: Any) -> None:
    hook = hook or ("training_step" if results.training else "validation_step")
    arguments = USUAL._replace(**options)
    key = (hook, name, results.dataloader_idx if arguments.add_dataloader_idx else None)
    metric = results.register(hook, name, value, arguments, results.metrics.get(key))
    metric.update(value, batch_size)


def as_numbers(metrics: dict[str, Any]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("on_step", [True, False])
@pytest.mark.parametrize("options", [{}, {"on_epoch": False}, {"on_step": False}], ids=["forked", "step", "epoch"])
@pytest.mark.parametrize("reduce_fx", ["mean", "sum", "min", "max"])
def test_collect_after_three_batches_equals_lightnings(
    training: bool, on_step: bool, options: dict[str, bool], reduce_fx: str
) -> None:
    ours, theirs = collection(training), _ResultCollection(training)
    levels = {"on_step": True, "on_epoch": True, **options}
    for value, size in ((0.1, 4), (0.7, 4), (-0.3, 2)):
        log(ours, "x", torch.tensor(value), size, prog_bar=True, reduce_fx=reduce_fx, **levels)
        hook = "training_step" if training else "validation_step"
        theirs.log(hook, "x", torch.tensor(value), prog_bar=True, batch_size=size, reduce_fx=reduce_fx, **levels)
    expected = theirs.metrics(on_step)
    callback, logged, bar = ours.collect(on_step)
    assert callback == expected["callback"] and list(callback) == list(expected["callback"])
    assert logged == expected["log"]
    assert as_numbers(bar) == expected["pbar"]


@pytest.mark.parametrize("add_dataloader_idx", [True, False])
def test_names_with_several_loaders_equal_lightnings(add_dataloader_idx: bool) -> None:
    ours, theirs = collection(training=False), _ResultCollection(False)
    for loader, value in ((0, 1.0), (1, 3.0)):
        name = "x" if add_dataloader_idx else f"x{loader}"
        ours.loader_starts(loader)
        theirs.dataloader_idx = loader
        log(ours, name, torch.tensor(value), add_dataloader_idx=add_dataloader_idx)
        theirs.log(
            "validation_step",
            name,
            torch.tensor(value),
            on_step=True,
            on_epoch=True,
            add_dataloader_idx=add_dataloader_idx,
            batch_size=1,
        )
        assert ours.collect(False).log == theirs.metrics(False)["log"]
        assert ours.collect(True).log == theirs.metrics(True)["log"]
    ours.loader_starts(None)
    assert not ours.collect(False).log


def test_mean_with_batch_sizes_is_weighted() -> None:
    results = collection()
    log(results, "x", torch.tensor(1.0), batch_size=3)
    log(results, "x", torch.tensor(5.0), batch_size=1)
    assert as_numbers(results.collect(False).callback) == {"x": 2.0, "x_epoch": 2.0}


def test_total_with_a_double_is_promoted() -> None:
    results = collection()
    log(results, "x", torch.tensor(1.0))
    log(results, "x", torch.tensor(0.1, dtype=torch.float64))
    value = results.collect(False).callback["x"]
    assert value.dtype is torch.float64
    assert value.item() == pytest.approx((1 + 0.1) / 2, abs=1e-12)


def test_first_value_in_double_keeps_double() -> None:
    results = collection()
    log(results, "x", torch.tensor(0.1, dtype=torch.float64), reduce_fx="max")
    assert results.collect(False).callback["x"].item() == 0.1


class Counting(MeanMetric):
    computed = 0

    def compute(self) -> Tensor:
        self.computed += 1
        return super().compute()


def test_epoch_value_read_twice_is_computed_once() -> None:
    module = Module()
    module.mean = metric = Counting(compute_with_cache=False)
    metric.update(2.0)
    results = collection(module=module)
    log(results, "m", metric)
    computed = metric.computed
    results.collect(False)
    results.collect(False)
    assert metric.computed == computed + 1
    log(results, "m", metric)
    metric.update(4.0)
    assert results.collect(False).callback["m"].item() == 3.0


def test_metric_that_computes_no_tensor_is_named() -> None:
    class Text(Metric):
        def update(self) -> None: ...

        def compute(self) -> str:
            return "much"

    module = Module()
    module.mean = metric = Text()
    metric.update()
    results = collection(module=module)
    log(results, "m", metric, on_step=False)
    with pytest.raises(ValueError, match=r"logged as 'm' must be a tensor. Found much"):
        results.collect(False)


def test_reset_of_everything_hides_until_logged_again() -> None:
    module = Module()
    module.mean.update(1.0)
    results = collection(module=module)
    log(results, "x", torch.tensor(1.0))
    log(results, "m", module.mean)
    results.reset()
    assert not results.collect(False).callback and not results.collect(True).callback
    assert not module.mean.update_called
    log(results, "x", torch.tensor(3.0))
    assert as_numbers(results.collect(False).callback) == {"x": 3.0, "x_epoch": 3.0}


def test_reset_of_a_hook_spares_metrics_other_hooks_and_other_loaders() -> None:
    module = Module()
    module.mean.update(1.0)
    results = collection(training=False, module=module)
    log(results, "x", torch.tensor(1.0), on_step=False)
    log(results, "m", module.mean, on_step=False)
    log(results, "y", torch.tensor(1.0), on_step=False, hook="on_validation_batch_end")
    results.reset(tensors_of="validation_step")
    assert set(results.collect(False).callback) == {"m", "y"}
    results.loader_starts(1)
    log(results, "x", torch.tensor(1.0), on_step=False)
    results.reset(tensors_of="validation_step")  # Lightning's name of the hook has the loader's index there
    assert set(results.collect(False).callback) == {"x/dataloader_idx_1"}


def test_value_with_a_graph_is_shown_without_it() -> None:
    results = collection()
    log(results, "x", torch.ones((), requires_grad=True) * 2, enable_graph=True)
    assert not results.collect(True).callback["x"].requires_grad


def test_arguments_that_differ_raise_and_those_that_mean_the_same_do_not() -> None:
    results = collection()
    log(results, "x", torch.tensor(1.0))
    log(results, "x", torch.tensor(1.0), logger=True, reduce_fx=torch.mean)
    with pytest.raises(Exception, match=r"`self.log\(x, ...\)` twice in `training_step` with different arguments"):
        log(results, "x", torch.tensor(1.0), prog_bar=True)


@pytest.mark.parametrize(
    ("reduce_fx", "expected"),
    [("avg", 2.0), ("MEAN", 2.0), (torch.mean, 2.0), (sum, 4.0), (torch.sum, 4.0), (max, 3.0), (torch.min, 1.0)],
)
def test_reduction_by_any_of_its_names_is_that_reduction(reduce_fx: Any, expected: float) -> None:
    results = collection()
    for value in (1.0, 3.0):
        log(results, "x", torch.tensor(value), reduce_fx=reduce_fx)
    assert results.collect(False).callback["x"].item() == expected


def test_step_values_are_known_to_be_there() -> None:
    results = collection()
    log(results, "x", torch.tensor(1.0), on_step=False)
    assert not results.has_step_values
    log(results, "y", torch.tensor(1.0))
    assert results.has_step_values


# What a checkpoint of an earlier release of this package holds; the form of the list and its order must not change.
SAVED: list[dict[str, Any]] = [
    {
        "hook": "training_step",
        "name": "x",
        "dataloader_idx": None,
        "key_idx": None,
        "meta": [False, True, True, True, "mean", False, False, None, True, None, False, None],
        "metric": None,
        "value": torch.tensor(6.0),
        "batch_size": 4,
        "step": torch.tensor(2.0),
        "has_reset": False,
    },
    {
        "hook": "training_step",
        "name": "m",
        "dataloader_idx": None,
        "key_idx": None,
        "meta": [False, True, True, True, "mean", False, False, None, True, "mean", False, None],
        "metric": "mean",
        "value": None,
        "batch_size": 0,
        "step": None,
        "has_reset": False,
    },
]


def test_state_has_the_form_of_earlier_checkpoints() -> None:
    module = Module()
    module.mean.update(1.0)
    results = collection(module=module)
    log(results, "x", torch.tensor(1.0), batch_size=2)
    log(results, "x", torch.tensor(2.0), batch_size=2)
    log(results, "m", module.mean)
    state = results.state_dict()
    assert state == [{**saved, "meta": tuple(saved["meta"])} for saved in SAVED]  # earlier ones are lists
    assert [list(saved) for saved in state] == [list(saved) for saved in SAVED]


def test_earlier_checkpoint_goes_on_where_it_was() -> None:
    module = Module()
    module.mean.update(1.0)
    results = collection(module=module)
    results.load_state_dict(SAVED)  # type: ignore[arg-type]
    log(results, "x", torch.tensor(4.0), batch_size=1)
    assert as_numbers(results.collect(False).callback) == {"x": 2.0, "x_epoch": 2.0, "m": 1.0, "m_epoch": 1.0}
    assert results.has_step_values
    with pytest.raises(Exception, match="with different arguments"):
        log(results, "x", torch.tensor(4.0), on_epoch=False)
