"""What each number format converts, what a step runs in, and the order of unscaling, hooks and steps."""

from __future__ import annotations

import contextlib
import types
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop import apex as apex_module
from lightning_adapter.loop.apex import apex_amp
from lightning_adapter.loop.precision import (
    ApexPrecision,
    MixedPrecision,
    Precision,
    TruePrecision,
    select_precision,
)
from lightning_adapter.versions import determined_private

from .ranks import CPU, HOST

TRUE = {"16-true": torch.half, "bf16-true": torch.bfloat16, "64-true": torch.double}


def parameter(gradient: float = 8.0) -> torch.nn.Parameter:
    made = torch.nn.Parameter(torch.ones(2))
    made.grad = torch.full((2,), gradient)
    return made


class Optimizer(torch.optim.SGD):
    """Notes that it steps."""

    def __init__(self, events: list[str]) -> None:
        self.parameter = parameter()
        super().__init__([self.parameter], lr=1.0)
        self.events = events

    def step(self, closure: Any = None) -> Any:  # type: ignore[override]
        result = None if closure is None else closure()
        self.events.append("step")
        return result


class Fused(Optimizer):
    _step_supports_amp_scaling = True


class Scaler:
    """Notes what is asked of it; scales by 8."""

    def __init__(self, events: list[str]) -> None:
        self.events = events

    def scale(self, loss: torch.Tensor) -> torch.Tensor:
        return loss * 8

    def unscale_(self, optimizer: Any) -> None:
        self.events.append("unscale")
        optimizer.parameter.grad /= 8

    def step(self, optimizer: Any) -> str:
        self.events.append("scaler steps")
        return "output"

    def update(self) -> None:
        self.events.append("update")


def scaled(events: list[str]) -> Precision:
    precision: Any = Precision("16-mixed")
    precision.scaler = Scaler(events)
    return precision  # type: ignore[no-any-return]


# --- steps ------------------------------------------------------------------------------------------------------------


def stepped(precision: Precision, optimizer: Any, events: list[str], result: Any, automatic: bool = True) -> Any:
    def closure() -> Any:
        events.append("closure")
        return result

    def after(given: Any) -> None:
        assert given is optimizer
        events.append(f"hooks see {float(optimizer.parameter.grad[0]):g}")

    return precision.step(optimizer, closure, after, automatic)


def test_step_without_scaler_runs_hooks_within_the_optimizers_closure() -> None:
    events: list[str] = []
    assert stepped(Precision("32-true"), Optimizer(events), events, "loss") == "loss"
    assert events == ["closure", "hooks see 8", "step"]


def test_step_with_scaler_unscales_before_hooks_and_updates_after_the_step() -> None:
    events: list[str] = []
    assert stepped(scaled(events), Optimizer(events), events, "loss") == "output"
    assert events == ["closure", "unscale", "hooks see 1", "scaler steps", "update"]


def test_closure_without_loss_leaves_out_the_step_in_automatic_optimization_only() -> None:
    events: list[str] = []
    assert stepped(scaled(events), Optimizer(events), events, None) is None
    assert events == ["closure", "hooks see 8"]
    events.clear()
    assert stepped(scaled(events), Optimizer(events), events, None, automatic=False) == "output"
    assert events == ["closure", "unscale", "hooks see 1", "scaler steps", "update"]


def test_fused_optimizer_unscales_itself_and_cannot_be_clipped() -> None:
    events: list[str] = []
    precision, optimizer = scaled(events), Fused(events)
    stepped(precision, optimizer, events, "loss")
    assert events == ["closure", "hooks see 8", "scaler steps", "update"]
    with pytest.raises(RuntimeError, match="Fused, does not allow for gradient clipping"):
        precision.clip_gradients(optimizer, 0.5)
    precision.clip_gradients(optimizer, 0.0)
    Precision("32-true").clip_gradients(optimizer, 0.5)


def test_loss_is_scaled_where_there_is_a_scaler() -> None:
    loss = torch.tensor(2.0)
    assert scaled([]).scale(loss) == 16.0
    assert Precision("32-true").scale(loss) is loss


@pytest.mark.parametrize(
    ("value", "algorithm", "wanted"),
    [
        (0.5, "value", [0.5, 0.5]),
        (5.0, "norm", [3.0, 4.0]),
        (2.5, "norm", [1.5, 2.0]),
        (2.5, types.SimpleNamespace(value="value"), [2.5, 2.5]),
        (0.0, "value", [3.0, 4.0]),
    ],
)
def test_gradients_are_clipped_by_norm_or_by_value(value: float, algorithm: Any, wanted: list[float]) -> None:
    clipped = torch.nn.Parameter(torch.zeros(2))
    clipped.grad = torch.tensor([3.0, 4.0])
    Precision("32-true").clip_gradients(torch.optim.SGD([clipped], lr=1.0), value, algorithm)
    assert clipped.grad.tolist() == pytest.approx(wanted, rel=1e-5)


# --- formats ----------------------------------------------------------------------------------------------------------


def host(late: bool = False, caches: bool = False, warned: list[str] | None = None) -> Any:
    quirks = types.SimpleNamespace(converts_late=late, caches_casts=caches)
    return types.SimpleNamespace(quirks=quirks, warn=[].append if warned is None else warned.append, inform=[].append)


def test_default_precision_changes_nothing() -> None:
    precision, batch, module = select_precision("32-true", CPU, HOST, None), [torch.ones(1)], torch.nn.Linear(1, 1)
    assert precision.is_default
    assert precision.convert_module(module) is module
    assert precision.convert_input(batch) is batch
    with precision.context(), precision.module_init_context():
        assert (torch.ones(1) @ torch.ones(1)).dtype == torch.float


@pytest.mark.parametrize("caches", [False, True])
def test_bf16_mixed_runs_under_autocast(caches: bool) -> None:
    precision = select_precision("bf16-mixed", CPU, host(caches=caches), None)
    matrix = torch.ones(2, 2)
    with precision.context():
        assert (matrix @ matrix).dtype == torch.bfloat16
        assert torch.is_autocast_cache_enabled() is caches
    with precision.forward_context():
        assert (matrix @ matrix).dtype == torch.bfloat16
    assert (matrix @ matrix).dtype == torch.float
    assert not precision.is_default
    assert precision.scaler is None


def test_16_mixed_on_cpu_becomes_bf16_mixed_with_a_warning() -> None:
    warned: list[str] = []
    precision = select_precision("16-mixed", CPU, host(warned=warned), None)
    assert (precision.precision, precision.scaler) == ("bf16-mixed", None)
    assert "Using `precision='bf16-mixed'` instead" in warned[0]


def test_16_mixed_on_a_device_casts_to_half_and_scales() -> None:
    warned: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, where there is no such device
        precision = select_precision("16-mixed", torch.device("cuda"), host(warned=warned), None)
        context: Any = precision.context()
    assert isinstance(precision.scaler, torch.amp.GradScaler)
    assert context.fast_dtype == torch.half
    assert not warned


@pytest.mark.parametrize("name", TRUE)
def test_true_precision_converts_early_where_lightning_does(name: str) -> None:
    precision = select_precision(name, CPU, host(late=False), None)
    floats, whole = torch.ones(1), torch.ones(1, dtype=torch.int64)
    converted = precision.convert_input({"x": [floats, whole]})
    assert [each.dtype for each in converted["x"]] == [TRUE[name], torch.int64]
    arguments = (floats,)
    assert precision.convert_arguments(arguments) is arguments
    assert precision.convert_module(torch.nn.Linear(1, 1)).weight.dtype == TRUE[name]


@pytest.mark.parametrize("late", [False, True])
def test_double_precision_leaves_complex_parameters_and_buffers_complex(late: bool) -> None:
    module = torch.nn.Linear(1, 1)
    module.spectrum = torch.nn.Parameter(torch.tensor([1 + 2j]))
    module.register_buffer("phase", torch.tensor([3 - 1j]))

    select_precision("64-true", CPU, host(late=late), None).convert_module(module)

    assert module.weight.dtype == torch.double
    assert torch.equal(module.spectrum, torch.tensor([1 + 2j]))
    assert torch.equal(module.phase, torch.tensor([3 - 1j]))


def test_true_precision_converts_late_where_an_older_lightning_does() -> None:
    precision = select_precision("64-true", CPU, host(late=True), None)
    batch = {"x": torch.ones(1)}
    assert precision.late
    assert precision.convert_input(batch) is batch
    converted, index = precision.convert_arguments((batch, 3))
    assert (converted["x"].dtype, index) == (torch.double, 3)


@pytest.mark.parametrize("name", TRUE)
def test_true_precision_is_the_default_type_of_a_step_and_no_longer(name: str) -> None:
    precision = select_precision(name, CPU, HOST, None)
    for context in (precision.context, precision.forward_context, precision.module_init_context):
        with contextlib.suppress(ZeroDivisionError), context():
            assert torch.ones(1).dtype == TRUE[name]
            raise ZeroDivisionError
        assert torch.ones(1).dtype == torch.float


@pytest.mark.parametrize("kind", [lambda: Precision("32-true"), lambda: MixedPrecision("bf16-mixed", CPU, False),
                                  lambda: TruePrecision("64-true", False)])  # fmt: skip
def test_state_is_empty_without_a_scaler_and_a_scalers_state_is_passed_over(kind: Any) -> None:
    precision = kind()
    assert precision.state_dict() == {}
    precision.load_state_dict({"scale": 2.0})


def test_state_of_the_scaler_is_restored() -> None:
    one, other = Precision("16-mixed"), Precision("16-mixed")
    one.scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    other.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    other.load_state_dict({})  # of a checkpoint that was written without one
    assert other.state_dict()["scale"] == 2.0
    other.load_state_dict(one.state_dict())
    assert other.state_dict()["scale"] == 4.0


# --- apex -------------------------------------------------------------------------------------------------------------


class Amp:
    """Scales by 2, and has a state."""

    def __init__(self) -> None:
        self.state = {"loss_scaler0": 1.0}

    @contextlib.contextmanager
    def scale_loss(self, loss: torch.Tensor, optimizers: Any) -> Iterator[torch.Tensor]:
        yield loss * 2

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.state = state_dict


def test_apex_scales_around_backward_and_holds_the_state() -> None:
    amp = Amp()
    precision = select_precision("32-true", torch.device("cuda"), HOST, amp)
    assert isinstance(precision, ApexPrecision)
    assert precision.is_default
    assert precision.apex is amp
    with precision.scaled_loss(torch.tensor(3.0), []) as loss:
        assert loss == 6.0
    precision.load_state_dict({})
    assert precision.state_dict() == {"loss_scaler0": 1.0}
    precision.load_state_dict({"loss_scaler0": 5.0})
    assert amp.state == {"loss_scaler0": 5.0}


def test_apex_under_horovod_or_with_a_precision_of_torchs_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apex_module.importlib, "import_module", lambda name: types.ModuleType(name))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv(determined_private.HOROVOD_VARIABLE, "1")
    with pytest.raises(
        ConfigurationError,
        match=r"precision='64-true' is not apex's.*; apex unscales gradients before Horovod.*precision='16-mixed'",
    ):
        apex_amp("O1", "64-true", 2)
    assert isinstance(apex_amp("O1", "32-true", 1), types.ModuleType)
