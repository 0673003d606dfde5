"""Learning rates have the names of Lightning's own monitor, and the values that a batch is trained with."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from determined import pytorch
from pytorch_lightning.callbacks import LearningRateMonitor
from torch import nn, optim
from torch.optim import lr_scheduler

from lightning_adapter import LightningAdapter, fit
from lightning_adapter.trainer.learning_rates import named_groups
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)

Configured = Callable[[nn.Module], Any]


class Net(models.Net):  # type: ignore[name-defined, misc]
    """Several optimizers are stepped by hand."""

    def __init__(self, configured: Configured) -> None:
        super().__init__()
        self.configured = configured
        self.automatic_optimization = False

    def configure_optimizers(self) -> Any:
        return self.configured(self)

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizers, schedulers = self.optimizers(), self.lr_schedulers()
        self.manual_backward(self.net(batch[0]).pow(2).mean())
        for optimizer in optimizers if isinstance(optimizers, list) else [optimizers]:
            optimizer.step()
        for scheduler in schedulers if isinstance(schedulers, list) else [schedulers] if schedulers else []:
            scheduler.step()
        self.log("seen", float(batch_idx))


def trained(
    configured: Configured | None, callbacks: list[Any], run: str = "run", **arguments: Any
) -> list[dict[str, str]]:
    """The rows that training has left in the table."""

    class Trial(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            module = models.Net(scheduler="cosine", interval="step") if configured is None else Net(configured)
            given = {"log_every_n_steps": 2, "enable_model_summary": False, "enable_progress_bar": False, **arguments}
            super().__init__(context, module, models.Data(), callbacks=callbacks, **given)

    trial = fit(Trial, seed=1, run_dir=run)
    assert trial.run_dir is not None
    rows = list(csv.DictReader((trial.run_dir / "metrics.csv").open()))
    return [row for row in rows if row["kind"] == "train"]


@pytest.fixture(autouse=True)
def working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def groups(module: nn.Module, *names: str | None) -> list[dict[str, Any]]:
    """The module's parameters in groups, with names where some are given."""
    parameters = list(module.parameters())
    return [
        {"params": parameters[index :: len(names)], **({} if name is None else {"name": name})}
        for index, name in enumerate(names)
    ]


def two_of_a_kind(module: nn.Module) -> Any:
    parts = groups(module, None, None, None)
    first, second = (optim.SGD(part["params"], lr=lr) for part, lr in zip(parts[:2], (0.1, 0.2), strict=True))
    other = optim.Adam(parts[2]["params"], lr=0.3)
    return [first, second, other], [lr_scheduler.ExponentialLR(second, 0.5), lr_scheduler.ExponentialLR(other, 0.5)]


def all_scheduled(module: nn.Module) -> Any:
    found = [optim.SGD(part["params"], lr=0.1) for part in groups(module, None, None)]
    named = {"scheduler": lr_scheduler.ExponentialLR(found[0], 0.9), "name": "mine"}
    return found, [named, lr_scheduler.ExponentialLR(found[1], 0.8)]


def by_two_schedulers(module: nn.Module) -> Any:
    found = optim.SGD(groups(module, None, None), lr=0.1)
    return [found], [lr_scheduler.ExponentialLR(found, 0.9), lr_scheduler.ExponentialLR(found, 0.8)]


CONFIGURED: dict[str, Configured] = {
    "one": lambda module: optim.Adam(module.parameters(), lr=0.1),
    "groups": lambda module: optim.SGD(groups(module, None, None), lr=0.1, momentum=0.9),
    "named groups": lambda module: optim.SGD(groups(module, "body", None, "head"), lr=0.1),
    "one named group": lambda module: optim.AdamW(groups(module, "all"), lr=0.1),
    "several of a kind": two_of_a_kind,
    "named scheduler": all_scheduled,
    "two schedulers of one": by_two_schedulers,
}


@pytest.mark.parametrize("configured", CONFIGURED.values(), ids=CONFIGURED.keys())
def test_table_has_the_names_and_values_of_lightnings_monitor(configured: Configured) -> None:
    monitor = LearningRateMonitor("step", log_momentum=True)
    rows = trained(configured, [monitor], max_epochs=2)
    of_table = {
        name: [float(row[name]) for row in rows] for name in list(rows[0])[3:] if not name.startswith(("seen", "val_"))
    }
    assert of_table == {name: list(map(float, values)) for name, values in monitor.lrs.items()}
    assert len(rows) > 4


def test_row_has_the_rate_that_its_batch_was_trained_with() -> None:
    monitor = LearningRateMonitor("step")
    rows = trained(None, [monitor], max_epochs=1)
    of_steps = [float(row["lr-SGD"]) for row in rows if row["train_loss_step"]]
    assert of_steps == monitor.lrs["lr-SGD"] and len(set(of_steps)) > 1
    (of_epoch,) = [float(row["lr-SGD"]) for row in rows if row["train_loss_epoch"]]
    assert of_epoch == of_steps[-1]


def test_row_of_an_epoch_has_the_rate_of_its_last_batch_which_is_not_logged_itself() -> None:
    every = [float(row["lr-SGD"]) for row in trained(None, [], "each", max_epochs=1, log_every_n_steps=1)]
    *_, of_epoch = trained(None, [], "some", max_epochs=1, log_every_n_steps=4)
    assert of_epoch["batches"] == "6" and of_epoch["train_loss_epoch"]
    assert float(of_epoch["lr-SGD"]) == every[5] != every[4]


def test_value_that_the_user_logs_under_such_a_name_stays() -> None:
    class Logs(LearningRateMonitor):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *_: Any) -> None:
            pl_module.log("lr-Adam", 7.0)

    rows = trained(CONFIGURED["one"], [Logs("step")], max_epochs=1)
    assert {row["lr-Adam"] for row in rows} == {"7.0"} and list(rows[0]).count("lr-Adam") == 1


def test_nobody_else_is_told_of_rates() -> None:
    told: set[str] = set()

    class Looks(LearningRateMonitor):
        def on_train_start(self, trainer: Any, *_: Any) -> None: ...

        on_train_epoch_start = on_train_start

        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            told.update(trainer.callback_metrics, trainer.logged_metrics)

    assert "lr-Adam" in trained(CONFIGURED["one"], [Looks()], max_epochs=2)[0]
    assert told and not any(name.startswith("lr") for name in told)


def test_rate_that_is_a_tensor_is_kept_as_it_was() -> None:
    def configured(module: nn.Module) -> Any:
        optimizer = optim.Adam(module.parameters(), lr=torch.tensor(0.1), foreach=False, capturable=False)
        return [optimizer], [lr_scheduler.ExponentialLR(optimizer, 0.5)]

    rows = trained(configured, [], max_epochs=1)
    assert [float(row["lr-Adam"]) for row in rows] == pytest.approx([0.1 * 0.5**batch for batch in (1, 3, 5)])


def test_groups_of_the_same_name_have_numbers() -> None:
    module = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1))
    twice = optim.SGD(groups(module, "a", "a"), lr=0.1)
    assert [name for name, _ in named_groups([twice], [])] == ["lr-SGD/pg1", "lr-SGD/pg2"]


@pytest.mark.parametrize("rate", [[0.1, 0.2], torch.tensor([0.1, 0.2]), max, "auto", None])
def test_rate_that_is_no_number_is_left_out(rate: object) -> None:
    class Own(optim.SGD):
        def step(self, closure: Any = None) -> None:  # type: ignore[override]
            """Knows what it has kept."""

    def configured(net: nn.Module) -> object:
        made = Own(net.parameters(), lr=0.1)
        made.param_groups[0]["lr"] = rate
        return made

    rows = trained(configured, [], max_epochs=1)
    assert rows and not any(name.startswith("lr-") for row in rows for name, value in row.items() if value)
