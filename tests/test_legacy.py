"""How does Lightning 1.x become today's, where no installed Lightning can show it (see `parity/test_legacy.py`)?"""

from __future__ import annotations

import copy
import dataclasses
import functools
import importlib
import inspect
import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.version import Version
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_adapter import DETLM, LightningAdapter, fit
from lightning_adapter.loop.epoch_outputs import EpochOutputs
from lightning_adapter.monkey_patch import NoEffectWarning
from lightning_adapter.versions import hosts
from lightning_adapter.versions import lightning_1x as legacy

pl = importlib.import_module("pytorch_lightning")
HOST = hosts.host("pytorch_lightning")


class Small(DETLM):
    """A linear regression with four batches of two, twice validated in two batches."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def loss(self, batch: Any) -> torch.Tensor:
        return self.layer(batch[0]).pow(2).mean()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss(batch)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def train_dataloader(self) -> Any:
        return DataLoader(numbers(8), batch_size=2)

    def val_dataloader(self) -> Any:
        return DataLoader(numbers(4), batch_size=2)


def numbers(count: int) -> TensorDataset:
    return TensorDataset(torch.arange(3.0 * count).reshape(count, 3) / 10)


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., LightningAdapter]:
    def run(make: Callable[[], Any], max_epochs: int = 1, **arguments: Any) -> LightningAdapter:
        class Trial(LightningAdapter):
            def __init__(self, context: Any) -> None:
                super().__init__(context, make(), enable_model_summary=False, log_every_n_steps=1, **arguments)

        return fit(Trial, seed=3, max_epochs=max_epochs, run_dir=tmp_path / "run")

    return run


# --- signatures


class Optimizer(torch.optim.SGD):
    pass


def optimizers() -> list[Any]:
    return [Optimizer([nn.Parameter(torch.zeros(1))], lr=0.1) for _ in range(2)]


FIRST, SECOND = optimizers()
SCHEDULER = torch.optim.lr_scheduler.StepLR(SECOND, 1)


def closure() -> None:
    """What an optimizer runs."""


@pytest.mark.parametrize(
    ("name", "older", "today", "given", "expected"),
    [
        ("on_before_optimizer_step", lambda optimizer, optimizer_idx: 0, lambda optimizer: 0, (SECOND,), (SECOND, 1)),
        ("on_before_optimizer_step", lambda optimizer, number: 0, lambda optimizer: 0, (FIRST,), (FIRST, 0)),
        (
            "optimizer_zero_grad",
            lambda epoch, batch, o, opt_idx: 0,
            lambda e, b, o: 0,
            (1, 2, SECOND),
            (1, 2, SECOND, 1),
        ),
        (
            "lr_scheduler_step",
            lambda s, optimizer_idx, metric: 0,
            lambda s, metric: 0,
            (SCHEDULER, 5),
            (SCHEDULER, 1, 5),
        ),
        ("on_train_batch_start", lambda batch, idx, unused: 0, lambda batch, idx: 0, ("b", 1), ("b", 1, 0)),
        (
            "on_train_batch_end",
            lambda out, b, i, dataloader_idx: 0,
            lambda out, b, i: 0,
            ("o", "b", 1),
            ("o", "b", 1, 0),
        ),
        ("on_validation_batch_start", lambda b, i, loader: 0, lambda b, i: 0, ("b", 1), ("b", 1, 0)),
    ],
)
@pytest.mark.parametrize("leading", [0, 2], ids=["module", "callback"])
def test_hook_gets_the_arguments_it_was_written_for(
    name: str, older: Callable, today: Callable, given: tuple, expected: tuple, leading: int
) -> None:
    signatures = legacy.Signatures(HOST, lambda: [FIRST, SECOND])
    seen: list[tuple] = []
    assert signatures.adapt(name, today, 0) is today

    def recording(*args: Any) -> None:
        seen.append(args)

    of_callback = ("trainer", "pl_module")[:leading]
    own = inspect.signature(older).parameters.values()
    front = [inspect.Parameter(item, inspect.Parameter.POSITIONAL_OR_KEYWORD) for item in of_callback]
    recording.__signature__ = inspect.Signature([*front, *own])  # type: ignore[attr-defined]
    signatures.adapt(name, recording, leading)(*of_callback, *given)
    assert seen == [(*of_callback, *expected)]


def test_validation_hook_with_a_loader_index_is_told_the_real_one_of_several_loaders() -> None:
    seen: list[tuple] = []

    def hook(batch: Any, batch_idx: int, dataloader_idx: int) -> None:
        seen.append((batch, batch_idx, dataloader_idx))

    legacy.Signatures(HOST, list).adapt("on_validation_batch_start", hook)("batch", 3, 1)
    assert seen == [("batch", 3, 1)]


def test_optimizer_step_of_lightning_1_gets_the_index_before_the_closure() -> None:
    seen: list[tuple] = []

    def step(epoch: int, batch_idx: int, optimizer: Any, number: int, closure: Any) -> None:
        seen.append((epoch, batch_idx, optimizer, number, closure))

    legacy.Signatures(HOST, lambda: [FIRST, SECOND]).adapt("optimizer_step", step)(1, 2, SECOND, closure)
    assert seen == [(1, 2, SECOND, 1, closure)]


def test_optimizer_step_is_told_the_flags_it_names_and_no_others() -> None:
    seen: list[dict] = []

    def step(
        epoch: int, batch: int, optimizer: Any, optimizer_idx: int, closure: Any, on_tpu: Any, using_lbfgs: Any
    ) -> None:
        seen.append({"on_tpu": on_tpu, "using_lbfgs": using_lbfgs})

    lbfgs = torch.optim.LBFGS([nn.Parameter(torch.zeros(1))])
    legacy.Signatures(HOST, lambda: [lbfgs]).adapt("optimizer_step", step)(0, 0, lbfgs, closure)
    assert seen == [{"on_tpu": False, "using_lbfgs": True}]


def test_clipping_hook_of_lightning_1_gets_the_index_and_todays_keywords() -> None:
    seen: list[tuple] = []

    def clip(
        optimizer: Any, optimizer_idx: int, gradient_clip_val: Any = None, gradient_clip_algorithm: Any = None
    ) -> None:
        seen.append((optimizer_idx, gradient_clip_val, gradient_clip_algorithm))

    adapted = legacy.Signatures(HOST, lambda: [FIRST, SECOND]).adapt("configure_gradient_clipping", clip)
    adapted(SECOND, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
    assert seen == [(1, 0.5, "norm")]


@pytest.mark.parametrize(
    ("name", "written_for_today"),
    [
        ("configure_gradient_clipping", lambda optimizer, gradient_clip_val, gradient_clip_algorithm: 0),
        ("configure_gradient_clipping", lambda optimizer, *, gradient_clip_val, gradient_clip_algorithm: 0),
        ("configure_gradient_clipping", lambda optimizer, **clipping: 0),
        ("optimizer_step", lambda epoch, batch_idx, optimizer, optimizer_closure, own=None: 0),
        ("on_train_batch_end", lambda outputs, batch, batch_idx, own=None: 0),
        ("on_before_optimizer_step", lambda: 0),  # which Python refuses to call, as it does under Lightning
    ],
)
def test_hook_written_for_today_is_called_as_it_is(name: str, written_for_today: Callable) -> None:
    signatures = legacy.Signatures(dataclasses.replace(HOST, version=Version("2.6")), lambda: [FIRST])

    assert signatures.adapt(name, written_for_today) is written_for_today


def test_clipping_hook_of_lightning_1_without_defaults_gets_the_index() -> None:
    seen: list[tuple] = []

    def clip(optimizer: Any, number: int, gradient_clip_val: Any, gradient_clip_algorithm: Any) -> None:
        seen.append((number, gradient_clip_val, gradient_clip_algorithm))

    adapted = legacy.Signatures(HOST, lambda: [FIRST, SECOND]).adapt("configure_gradient_clipping", clip)
    adapted(SECOND, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
    assert seen == [(1, 0.5, "norm")]


def test_backward_that_takes_arguments_of_its_own_is_one_of_today() -> None:
    seen: list[tuple] = []
    loss = torch.zeros(())

    backward = legacy.Signatures(HOST, lambda: [FIRST]).backward(lambda loss, create_graph: seen.append(create_graph))
    backward(loss, None, create_graph=True)
    assert seen == [True]


def test_arguments_of_today_reach_the_base_class_by_place_and_by_name() -> None:
    class Clips(DETLM):
        def clip_gradients(self, optimizer: Any, gradient_clip_val: Any, gradient_clip_algorithm: Any) -> None:
            seen.append((gradient_clip_val, gradient_clip_algorithm))

    seen: list[tuple] = []
    module = Clips()
    module.configure_gradient_clipping(FIRST, 1, "norm")
    module.configure_gradient_clipping(FIRST, gradient_clip_val=1, gradient_clip_algorithm="norm")
    module.configure_gradient_clipping(FIRST, 0, 1, "norm")
    module.configure_gradient_clipping(FIRST, 0, gradient_clip_val=1, gradient_clip_algorithm="norm")
    assert seen == [(1, "norm")] * 4


def test_decorated_method_below_which_is_no_function_is_looked_at() -> None:
    class Decorated(pl.LightningModule):
        on_epoch_end = functools.wraps(functools.partial(print))(lambda self: None)

        @functools.wraps(functools.partial(print))
        def other(self) -> None:
            pass

    assert legacy.is_hook("on_epoch_end", Decorated().on_epoch_end)


def test_backward_gets_optimizer_and_index_only_where_it_names_them() -> None:
    seen: list[tuple] = []
    signatures = legacy.Signatures(HOST, lambda: [FIRST, SECOND])
    loss = torch.zeros(())

    def older(loss: Any, optimizer: Any, optimizer_idx: Any, *args: Any) -> None:
        seen.append((loss, optimizer, optimizer_idx, *args))

    signatures.backward(older)(loss, SECOND, "gradient")
    signatures.backward(older)(loss, None)  # manual optimization tells no optimizer
    today = signatures.backward(lambda loss, *, retain_graph: seen.append((loss, retain_graph)))
    today(loss, FIRST, retain_graph=True)
    assert seen == [(loss, SECOND, 1, "gradient"), (loss, None, None), (loss, True)]


# --- several optimizers


@pytest.mark.parametrize(
    ("frequencies", "expected"),
    [([], [[0, 1]] * 4), ([1, 2], [[0], [1], [1], [0]]), ([3, 1], [[0], [0], [0], [1]])],
)
def test_turns_follow_the_frequencies(frequencies: list[int], expected: list[list[int]]) -> None:
    turns = legacy.OptimizerTurns(nn.Module(), legacy.Signatures(HOST, lambda: [FIRST, SECOND]), frequencies)
    assert [list(turns.at(batch)) for batch in range(4)] == expected


class TwoOptimizers(Small):
    """The second layer stands still whatever is trained."""

    def __init__(self, fails_at: int = -1) -> None:
        super().__init__()
        self.other = nn.Linear(3, 1)
        self.other.bias.requires_grad = False
        self.fails_at = fails_at
        self.seen: list[tuple] = []

    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> Any:
        self.seen.append((optimizer_idx, *(p.requires_grad for p in self.parameters())))
        if batch_idx == self.fails_at:
            raise ValueError("in the middle of a step")
        return (self.layer(batch[0]) + self.other(batch[0])).pow(2).mean()

    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(layer.parameters(), lr=0.1) for layer in (self.layer, self.other)]


def test_only_the_parameters_of_the_optimizer_in_turn_require_gradients(train: Callable) -> None:
    module = train(TwoOptimizers).lightning_module
    assert module.seen[:2] == [(0, True, True, False, False), (1, False, False, True, False)]
    assert [p.requires_grad for p in module.parameters()] == [True, True, True, False]


def test_parameters_require_gradients_again_after_an_error_in_a_step(train: Callable) -> None:
    made: list[Any] = []

    def make() -> Any:
        made.append(TwoOptimizers(fails_at=1))
        return made[0]

    with pytest.raises(ValueError, match="in the middle of a step"):
        train(make)
    assert [p.requires_grad for p in made[0].parameters()] == [True, True, True, False]


def test_batch_end_hook_gets_a_list_of_the_optimizers_outputs(train: Callable) -> None:
    class Looks(TwoOptimizers):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            self.outputs = outputs

    outputs = train(Looks).lightning_module.outputs
    assert [sorted(output) for output in outputs] == [["loss"], ["loss"]]


def test_several_optimizers_without_an_index_in_the_step_are_refused(train: Callable) -> None:
    class NoIndex(TwoOptimizers):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            return self.loss(batch)

    with pytest.raises(Exception, match=r"optimizer_idx|multiple optimizers"):
        train(NoIndex)


class TogglesByIndex(TwoOptimizers):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        first, _ = self.optimizers()
        self.toggle_optimizer(first, 0)
        self.seen.append(tuple(p.requires_grad for p in self.parameters()))
        self.untoggle_optimizer(0)
        self.copied = copy.deepcopy(self)


@pytest.mark.skipif(HOST.quirks.takes_indices, reason="Lightning 1.x copies the trainer with a module")
def test_module_that_toggles_by_index_can_be_copied_and_pickled_in_training(train: Callable) -> None:
    module = train(TogglesByIndex).lightning_module
    assert module.seen[0] == (True, True, False, False)
    assert vars(module.copied)["toggle_optimizer"].owner is module.copied
    torch.save(module, io.BytesIO())


# --- outputs


ONE, TWO = {"loss": 1}, {"loss": 2}


@pytest.mark.parametrize(
    ("several", "batches", "expected"),
    [
        (False, [ONE, TWO], [ONE, TWO]),
        (False, [ONE, {}], [ONE]),
        (False, [{}], []),
        (False, [], None),
        (True, [[ONE, TWO], [], [TWO]], [[ONE, TWO], [TWO]]),
        (True, [[ONE, TWO]], [ONE, TWO]),
    ],
)
def test_outputs_of_an_epoch_have_the_form_of_lightning_1(several: bool, batches: list, expected: Any) -> None:
    outputs = EpochOutputs(several)
    for batch in batches:
        outputs.add(batch)
    assert outputs.take() == expected
    assert outputs.take() is None


def test_no_output_is_kept_for_a_module_that_does_not_ask_for_it(
    train: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> None:
        raise AssertionError("kept")

    monkeypatch.setattr(EpochOutputs, "__init__", refuse)
    assert train(Small).driver.training.fit_loop.epoch_outputs is None


def test_a_value_returned_at_the_end_of_an_epoch_is_refused_as_in_lightning_1(train: Callable) -> None:
    class Returns(Small):
        def training_epoch_end(self, outputs: list) -> Any:
            return {"loss": outputs[-1]["loss"]}

    with pytest.raises(Exception, match="`training_epoch_end` expects a return of None"):
        train(Returns)


# --- returned logs


class ReturnsLogs(Small):
    """As written for Lightning 0.9."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        return {"loss": loss, "log": {"train_loss": loss}, "progress_bar": {"shown": 2 * loss}}

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        return {"val_loss": self.loss(batch)}

    def validation_epoch_end(self, outputs: list) -> Any:
        mean = torch.stack([item["val_loss"] for item in outputs]).mean()
        return {"val_loss": mean, "log": {"logged": mean, "both": 1.0}, "progress_bar": {"both": 1.0}}


class Logs(Small):
    """The same for today."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = self.loss(batch)
        self.log("train_loss", loss)
        self.log("shown", 2 * loss, prog_bar=True, logger=False)
        return loss

    def on_validation_epoch_start(self) -> None:
        self.losses: list[torch.Tensor] = []

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.losses.append(self.loss(batch))

    def on_validation_epoch_end(self) -> None:
        mean = torch.stack(self.losses).mean()
        self.log("val_loss", mean, logger=False)
        self.log("logged", mean)
        self.log("both", 1.0, prog_bar=True)


def test_returned_logs_are_what_logging_them_is_in_lightning(train: Callable, tmp_path: Path) -> None:
    def read(trainer: Any) -> list[dict]:
        kinds = (trainer.callback_metrics, trainer.logged_metrics, trainer.progress_bar_metrics)
        return [{name: float(value) for name, value in kind.items()} for kind in kinds]

    pl.seed_everything(3)
    module = Logs()
    trainer = pl.Trainer(max_epochs=2, log_every_n_steps=1, num_sanity_val_steps=0, accelerator="cpu",
                         default_root_dir=tmp_path, enable_checkpointing=False, enable_progress_bar=False,
                         enable_model_summary=False)  # fmt: skip
    trainer.fit(module)
    trained = train(ReturnsLogs, max_epochs=2).lightning_module
    assert read(trained.trainer) == read(trainer)
    assert torch.equal(trained.layer.weight, module.layer.weight)


def test_epoch_end_of_training_may_return_logs(train: Callable) -> None:
    class Returns(Small):
        def training_epoch_end(self, outputs: list) -> Any:
            return {"log": {"count": float(len(outputs))}}

    assert train(Returns).callback_metrics["count"] == 4


# --- hooks of before


def with_hooks(base: type, calls: list[str], answer: Any = None) -> Any:
    """A class that notes the hooks of Lightning 1.5 beside today's; `answer` is what `on_batch_start` returns."""
    names = ("on_epoch_start", "on_train_epoch_start", "on_batch_start", "on_train_batch_start", "on_train_batch_end",
             "on_batch_end", "on_train_epoch_end", "on_validation_epoch_start", "on_validation_epoch_end",
             "on_epoch_end")  # fmt: skip

    def hook(name: str) -> Callable:
        def call(self: Any, *args: Any) -> Any:
            calls.append(f"{base.__name__}.{name}")
            return answer if name == "on_batch_start" else None

        return call

    return type(base.__name__, (base,), {name: hook(name) for name in names})


def test_epoch_and_batch_hooks_come_where_lightning_1_5_called_them(train: Callable) -> None:
    calls: list[str] = []
    train(with_hooks(Small, calls), callbacks=[with_hooks(pl.Callback, calls)()], limit_train_batches=1)
    both = lambda name: [f"Callback.{name}", f"Small.{name}"]  # noqa: E731
    order = ["on_epoch_start", "on_train_epoch_start", "on_batch_start", "on_train_batch_start", "on_train_batch_end",
             "on_batch_end", "on_epoch_start", "on_validation_epoch_start", "on_validation_epoch_end", "on_epoch_end",
             "on_train_epoch_end", "on_epoch_end"]  # fmt: skip
    assert calls == [call for name in order for call in both(name)]


def test_on_batch_start_returning_minus_one_ends_the_epoch(train: Callable) -> None:
    calls: list[str] = []
    trial = train(with_hooks(Small, calls, answer=-1))
    assert "Small.on_train_batch_start" not in calls
    assert "Small.on_train_epoch_end" in calls
    assert trial.lightning_module.trainer.global_step == 0


@pytest.mark.parametrize("name", ["on_pretrain_routine_start", "on_pretrain_routine_end", "get_progress_bar_dict"])
def test_what_is_gone_is_warned_about(name: str, train: Callable) -> None:
    module = type("Old", (Small,), {name: lambda self: {}})
    with pytest.warns(NoEffectWarning, match=name):
        train(module)


def test_nothing_is_warned_about_for_hooks_that_are_called(train: Callable) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error", NoEffectWarning)
        train(with_hooks(Small, []))


# --- hyperparameters


class Assigns(Small):
    def __init__(self, hparams: Any, extra: int = 0) -> None:
        super().__init__()
        self.hparams = hparams


def test_assigned_hyperparameters_are_saved_and_loaded(train: Callable) -> None:
    trial = train(lambda: Assigns({"width": 4}))
    assert trial.lightning_module.hparams.width == 4
    assert trial.latest_checkpoint is not None
    loaded = Assigns.load_from_checkpoint(trial.latest_checkpoint / "lightning.ckpt")
    assert dict(loaded.hparams) == {"width": 4}
    assert torch.equal(loaded.layer.weight, trial.lightning_module.layer.weight)


class HandsAllToSuper:
    """Overrides as they were written for Lightning 1.x: everything they got goes to `super()`."""

    def optimizer_step(
        self,
        epoch,
        batch_idx,
        optimizer,
        optimizer_idx,
        closure,
        on_tpu=False,
        using_native_amp=False,
        using_lbfgs=False,
    ):
        super().optimizer_step(
            epoch, batch_idx, optimizer, optimizer_idx, closure, on_tpu, using_native_amp, using_lbfgs
        )

    def optimizer_zero_grad(self, epoch, batch_idx, optimizer, optimizer_idx):
        super().optimizer_zero_grad(epoch, batch_idx, optimizer, optimizer_idx)

    def on_before_optimizer_step(self, optimizer, optimizer_idx):
        super().on_before_optimizer_step(optimizer, optimizer_idx)

    def configure_gradient_clipping(
        self, optimizer, optimizer_idx, gradient_clip_val=None, gradient_clip_algorithm=None
    ):
        super().configure_gradient_clipping(optimizer, optimizer_idx, gradient_clip_val, gradient_clip_algorithm)

    def lr_scheduler_step(self, scheduler, optimizer_idx, metric):
        super().lr_scheduler_step(scheduler, optimizer_idx, metric)

    def backward(self, loss, optimizer, optimizer_idx, *args, **kwargs):
        super().backward(loss, optimizer, optimizer_idx, *args, **kwargs)


def test_overrides_of_lightning_1_may_hand_everything_to_super(tmp_path):
    from lightning_adapter import DETLM, LightningAdapter, fit

    class Plain(DETLM):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 1)

        def training_step(self, batch, batch_idx):
            return self.layer(batch[0]).pow(2).mean()

        def configure_optimizers(self):
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]

        def train_dataloader(self):
            x = torch.randn(20, 3, generator=torch.Generator().manual_seed(1))
            return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=4)

    class Old(HandsAllToSuper, Plain):
        pass

    trained = []
    for kind in (Plain, Old):

        class Trial(LightningAdapter):
            def __init__(self, context, kind=kind):
                super().__init__(context, kind(), gradient_clip_val=0.1, enable_model_summary=False)

        trained.append(fit(Trial, max_epochs=3, seed=2, run_dir=tmp_path / kind.__name__).lightning_module)

    for mine, theirs in zip(trained[0].parameters(), trained[1].parameters(), strict=True):
        assert torch.equal(mine, theirs)
