"""What is restored goes where it fits, whatever form the module gives it, and what does not fit is said before training."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from determined import pytorch
from torch import nn

from lightning_adapter.errors import CheckpointError
from lightning_adapter.versions import hosts
from parity.harness import describe
from parity.models import Data, Net

from .interrupting import assert_resumes, case_of, follow, train
from .test_lightning import lightning_run

# --- weights: the loading itself says whether they fit ----------------------------------------------------------------


class Partly(Net):
    """Saves its trained part alone, and loads it without being strict, as adapters of large models do."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(4, 4).requires_grad_(False)
        nn.init.ones_(self.base.weight)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        weights = checkpoint["state_dict"]
        checkpoint["state_dict"] = {name: weights[name] for name in weights if not name.startswith("base")}

    def load_state_dict(self, state: Any, strict: bool = True, **options: Any) -> Any:
        return super().load_state_dict(state, strict=False, **options)


class Lazy(Net):
    """Its first layer learns from the first batch, or from a checkpoint, how wide it is."""

    def __init__(self) -> None:
        super().__init__()
        self.net[0] = nn.LazyLinear(8)


class Renamed(Net):
    """Takes files from before its layers had another name."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = self._modules.pop("net")
        self._register_load_state_dict_pre_hook(self.rename)

    def rename(self, state: dict[str, Any], prefix: str, *args: Any) -> None:
        for name in [name for name in state if name.startswith("net.")]:
            state["layers." + name.removeprefix("net.")] = state.pop(name)

    def forward(self, x: Any) -> Any:
        return self.layers(x)


class Plain(Net):
    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.05, momentum=0.9)


class Lora(Net):
    """Has a layer with a low rank addition in the place of one that a file of the plain model has."""

    def __init__(self) -> None:
        super().__init__()
        self.net[0] = _LowRank(self.net[0])

    def configure_optimizers(self) -> Any:
        weights = [weight for name, weight in self.named_parameters() if "added" not in name]
        return torch.optim.SGD(weights, lr=0.05, momentum=0.9)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        weights = checkpoint["state_dict"]
        for name in ("weight", "bias"):
            if f"net.0.{name}" in weights:
                weights[f"net.0.plain.{name}"] = weights.pop(f"net.0.{name}")
        for name, weight in self.net[0].added.state_dict().items():
            weights.setdefault(f"net.0.added.{name}", weight)


class _LowRank(nn.Module):
    def __init__(self, plain: nn.Linear) -> None:
        super().__init__()
        self.plain = plain
        self.added = nn.Linear(4, 8)

    def forward(self, x: Any) -> Any:
        return self.plain(x) + self.added(x)


@pytest.mark.parametrize(("written", "resumed"), [(Partly, Partly), (Lazy, Lazy), (Plain, Lora), (Lora, Lora)])
@pytest.mark.parametrize("by", ["ours", "theirs"])
def test_weights_are_taken_as_the_modules_own_loading_takes_them(
    written: Any, resumed: Any, by: str, tmp_path: Path
) -> None:
    if by == "ours":
        half = train(case_of(written, Data, trace=False, max_epochs=1), tmp_path / "half")
        path = half.trial.latest_checkpoint
    else:
        folder: Any = str(tmp_path / "half")
        lightning_run(folder, written, Data, 1, save_on_train_epoch_end=True)
        path = max((tmp_path / "half").glob("*.ckpt"))
    trained = train(case_of(resumed, Data, trace=False, max_epochs=2), tmp_path / "rest", resume_from=path)

    module = trained.trial.lightning_module
    assert module.trainer.global_step == 12
    assert not any(torch.nn.parameter.is_lazy(weight) for weight in module.parameters())


def test_weights_that_a_hook_renames_are_those_that_lightning_loads(tmp_path: Path) -> None:
    folder: Any = str(tmp_path / "half")
    lightning_run(folder, Net, Data, 1, save_on_train_epoch_end=True)
    path = max((tmp_path / "half").glob("*.ckpt"))
    theirs, _ = lightning_run(tmp_path, Renamed, Data, 1, ckpt_path=path)
    ours = train(case_of(Renamed, Data, trace=False, max_epochs=1), tmp_path / "rest", resume_from=path)

    assert describe(dict(ours.trial.lightning_module.state_dict())) == describe(dict(theirs.state_dict()))


class Fails(Net):
    def load_state_dict(self, state: Any, strict: bool = True, **options: Any) -> Any:
        raise KeyError("head")


def test_error_in_loading_is_said_with_its_reason(tmp_path: Path) -> None:
    half = train(case_of(Net, Data, trace=False, max_epochs=1), tmp_path / "half")
    with pytest.raises(CheckpointError, match=r"weights into Fails cannot be restored \(KeyError: 'head'\)") as caught:
        train(case_of(Fails, Data, trace=False, max_epochs=2), tmp_path / "r", resume_from=half.trial.latest_checkpoint)
    assert isinstance(caught.value.__cause__, KeyError)


# --- another optimizer ------------------------------------------------------------------------------------------------


def with_optimizer(make: Callable[[Any], Any]) -> Callable[[], Any]:
    class Other(Net):
        def configure_optimizers(self) -> Any:
            return make(self.parameters())

    return Other


ADAM = with_optimizer(lambda weights: torch.optim.Adam(weights, lr=0.01))
OTHERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "SGD": (lambda w: torch.optim.SGD(w, lr=0.1), "is of the class Adam, and that of this run SGD"),
    "RMSprop": (lambda w: torch.optim.RMSprop(w), "is of the class Adam, and that of this run RMSprop"),
    "Adamax": (lambda w: torch.optim.Adamax(w), "is of the class Adam, and that of this run Adamax"),
    "own": (lambda w: Own(w), "is no Own: it has no own; it has .*betas"),
}


class Own(torch.optim.Optimizer):
    def __init__(self, weights: Any) -> None:
        super().__init__(weights, {"lr": 0.1, "own": 1})

    def step(self, closure: Any = None) -> Any:
        return closure()


@pytest.mark.parametrize("name", OTHERS)
def test_other_optimizer_is_said_before_training(name: str, tmp_path: Path) -> None:
    make, message = OTHERS[name]
    half = train(case_of(ADAM, Data, trace=False, max_epochs=1), tmp_path / "half")
    with pytest.raises(CheckpointError, match=message):
        train(case_of(with_optimizer(make), Data, trace=False, max_epochs=2), tmp_path / "rest",
              resume_from=half.trial.latest_checkpoint)  # fmt: skip


def test_other_optimizer_than_that_of_a_file_of_lightnings_is_said_before_training(tmp_path: Path) -> None:
    folder: Any = str(tmp_path / "half")
    lightning_run(folder, ADAM, Data, 1, save_on_train_epoch_end=True)
    path = max((tmp_path / "half").glob("*.ckpt"))
    with pytest.raises(CheckpointError, match="is no SGD: it has no dampening, momentum"):
        train(case_of(with_optimizer(lambda w: torch.optim.SGD(w, lr=0.1)), Data, trace=False, max_epochs=2),
              tmp_path / "rest", resume_from=path)  # fmt: skip


def test_optimizer_with_the_same_options_goes_on(tmp_path: Path) -> None:
    half = train(case_of(ADAM, Data, trace=False, max_epochs=1), tmp_path / "half")
    build = with_optimizer(lambda weights: torch.optim.AdamW(weights, lr=0.01))
    path = half.trial.latest_checkpoint
    theirs, trainer = lightning_run(tmp_path, build, lambda: Data(shuffle=False), 2, ckpt_path=path / "lightning.ckpt")
    ours = train(
        case_of(build, lambda: Data(shuffle=False), trace=False, max_epochs=2), tmp_path / "r", resume_from=path
    )

    assert ours.trial.lightning_module.trainer.global_step == trainer.global_step == 12
    assert theirs is not None


# --- metrics that training makes --------------------------------------------------------------------------------------


class Words(torchmetrics.Metric):
    """Keeps strings, and pairs of tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("words", default=[])
        self.add_state("pairs", default=[])

    def update(self, word: str, value: Any) -> None:
        self.words.append(word)
        self.pairs.append((value.detach(), value.detach() + 1))

    def compute(self) -> Any:
        return torch.tensor(float(len(self.words))) + sum(pair[0] for pair in self.pairs)


class Tracks(Net):
    """Has a metric per epoch, one of strings, and one that its first epoch makes."""

    def __init__(self) -> None:
        super().__init__()
        self.tracker = torchmetrics.MetricTracker(torchmetrics.MeanSquaredError(), maximize=False)
        self.words = Words()

    def on_train_start(self) -> None:
        self.late = torchmetrics.MeanMetric()

    def on_train_epoch_start(self) -> None:
        self.tracker.increment()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.tracker.update(loss.detach(), torch.zeros(()))
        self.words.update(f"word {batch_idx}", loss)
        self.late.update(loss.detach())
        self.log("tracked", self.tracker.compute())
        self.log("late", self.late, on_step=False, on_epoch=True)
        return loss

    def on_train_epoch_end(self) -> None:
        self.log("best", self.tracker.best_metric())
        self.log("words", self.words.compute())


@pytest.mark.parametrize("batches", [2, 6, 9])
def test_metrics_that_training_makes_go_on(batches: int, tmp_path: Path) -> None:
    case = case_of(Tracks, Data, max_epochs=2)
    assert_resumes(case, follow(case, tmp_path), batches)


def test_metric_that_only_an_epoch_makes_is_named_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Makes(Net):
        def on_train_epoch_start(self) -> None:
            self.mean = torchmetrics.MeanMetric()

        def training_step(self, batch: Any, batch_idx: int) -> Any:
            loss = super().training_step(batch, batch_idx)
            if hasattr(self, "mean"):
                self.mean.update(loss.detach())
                self.log("mean", self.mean)
            return loss

    case = case_of(Makes, Data, trace=False, max_epochs=1)
    half = train(case, tmp_path / "half", checkpoint_period=pytorch.Batch(2))
    told: list[str] = []

    monkeypatch.setattr(hosts.Host, "warn", lambda host, message, *_: told.append(message))
    trained = train(case, tmp_path / "rest", resume_from=half.checkpoint_at(2))

    assert any("What mean had accumulated when the checkpoint was written is lost" in message for message in told)
    assert trained.trial.lightning_module.trainer.global_step == 6
