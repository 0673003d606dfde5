"""Every legal return of `configure_optimizers`, and every refusal."""

from __future__ import annotations

import types
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import OneCycleLR, ReduceLROnPlateau, StepLR

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.loop.optimizers import (
    NoOptimizer,
    OptimizerConfiguration,
    check_closures,
    check_optimizer_idx,
    optimizers_to_device,
    parse_optimizers,
)

from .ranks import CPU, HOST

since_2 = pytest.mark.skipif(HOST.quirks.numbers_schedulers, reason="Lightning 1.x has the key")
MODULE = torch.nn.Identity()


def sgd() -> torch.optim.SGD:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)


A, B = sgd(), sgd()
STEP, OTHER, PLATEAU = StepLR(A, 1), StepLR(B, 1), ReduceLROnPlateau(A)


def parsed(returned: Any, automatic: bool = True, custom_step: bool = False) -> OptimizerConfiguration:
    return parse_optimizers(returned, HOST, MODULE, automatic, custom_step)


def found(configuration: OptimizerConfiguration) -> tuple[list[Any], list[Any], list[int]]:
    return (
        configuration.optimizers,
        [config.scheduler for config in configuration.schedulers],
        configuration.frequencies,
    )


FORMS: dict[str, tuple[Any, list[Any], list[Any], list[int]]] = {
    "optimizer": (A, [A], [], []),
    "list": ([A, B], [A, B], [], []),
    "tuple": ((A, B), [A, B], [], []),
    "empty list": ([], [], [], []),
    "two lists": (([A, B], [STEP, OTHER]), [A, B], [STEP, OTHER], []),
    "two lists in a list": ([[A], [STEP]], [A], [STEP], []),
    "a list and one scheduler": (([A], STEP), [A], [STEP], []),
    "a list and no scheduler": (([A], []), [A], [], []),
    "a list and a scheduler's dictionary": (([A], [{"scheduler": STEP}]), [A], [STEP], []),
    "dictionary": ({"optimizer": A}, [A], [], []),
    "dictionary with scheduler": ({"optimizer": A, "lr_scheduler": STEP}, [A], [STEP], []),
    "dictionary with dictionary": ({"optimizer": A, "lr_scheduler": {"scheduler": STEP}}, [A], [STEP], []),
    "read-only dictionary": (types.MappingProxyType({"optimizer": A, "lr_scheduler": STEP}), [A], [STEP], []),
    "dictionaries": (({"optimizer": A}, {"optimizer": B, "lr_scheduler": OTHER}), [A, B], [OTHER], []),
    "dictionaries with frequencies": (
        [{"optimizer": A, "frequency": 2}, {"optimizer": B, "frequency": 5}],
        [A, B],
        [],
        [2, 5],
    ),
    "dictionaries with frequencies of none": (
        [{"optimizer": A, "frequency": None}, {"optimizer": B, "frequency": None}],
        [A, B],
        [],
        [],
    ),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("automatic", [True, False])
def test_form_is_taken_without_a_warning(form: str, automatic: bool) -> None:
    returned, *wanted = FORMS[form]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(found(parsed(returned, automatic))) == wanted


def test_none_trains_without_optimizer_and_says_so() -> None:
    with pytest.warns(UserWarning, match="returned `None`, this fit will run with no optimizer"):
        (optimizer,) = parsed(None).optimizers
    assert isinstance(optimizer, NoOptimizer)
    assert optimizer.step(lambda: 3) == 3
    assert optimizer.step() is None
    assert optimizer.state_dict() == {}


def test_optimizer_of_another_library_is_one() -> None:
    theirs: Any = TheirOptimizer()
    assert parsed([theirs]).optimizers == [theirs]


def test_options_of_a_scheduler_are_kept_and_the_users_dictionary_is_not_written_to() -> None:
    given = {"scheduler": STEP, "interval": "step", "frequency": 3, "name": "mine", "strict": False}
    (config,) = parsed({"optimizer": A, "lr_scheduler": given}).schedulers
    assert (config.interval, config.frequency, config.name, config.strict) == ("step", 3, "mine", False)
    assert config.reduce_on_plateau is False
    assert "reduce_on_plateau" not in given


@pytest.mark.parametrize(
    "returned",
    [
        {"optimizer": A, "lr_scheduler": PLATEAU, "monitor": "loss"},
        {"optimizer": A, "lr_scheduler": {"scheduler": PLATEAU, "monitor": "loss"}},
        ({"optimizer": A, "lr_scheduler": PLATEAU, "monitor": "loss"}, {"optimizer": B}),
        ({"optimizer": A, "lr_scheduler": {"scheduler": PLATEAU, "monitor": "loss"}, "monitor": "acc"},),
    ],
    ids=["dictionary", "in its own", "dictionaries", "its own wins"],
)
def test_plateau_scheduler_gets_its_monitor(returned: Any) -> None:
    (config,) = parsed(returned).schedulers
    assert (config.monitor, config.reduce_on_plateau) == ("loss", True)


def test_plateau_scheduler_needs_no_monitor_where_the_module_steps_it() -> None:
    (config,) = parsed(([A], [PLATEAU]), automatic=False).schedulers
    assert config.scheduler is PLATEAU


@pytest.mark.skipif(not HOST.quirks.numbers_schedulers, reason="Lightning 2.x knows no such index")
def test_scheduler_of_lightning_1_has_the_index_of_its_optimizer() -> None:
    configs: list[Any] = parsed(({"optimizer": A}, {"optimizer": B, "lr_scheduler": OTHER})).schedulers
    assert configs[0].opt_idx == 1


# --- warnings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("returned", "automatic", "message"),
    [
        ({"optimizer": A, "colour": 1}, True, r"unsupported keys in the optimizer configuration: \{'colour'\}"),
        ({"optimizer": A, "frequency": 1}, True, r"unsupported keys in the optimizer configuration: \{'frequency'\}"),
        (([A], [{"scheduler": STEP, "colour": 1}]), True, r"unsupported keys in the lr scheduler dict: \{'colour'\}"),
        (([A], [{"scheduler": STEP, "monitor": "loss"}]), False, r"\['monitor'\], but the keys will be ignored"),
        (
            lambda: (lambda a: ([a], [{"scheduler": OneCycleLR(a, 1.0, 9)}]))(sgd()),
            True,
            "A `OneCycleLR` scheduler is using 'interval': 'epoch'",
        ),
    ],
    ids=["optimizer's key", "frequency of one", "scheduler's key", "ignored by hand", "one cycle by epoch"],
)
def test_what_has_no_effect_is_warned_about(returned: Any, automatic: bool, message: str) -> None:
    with pytest.warns(RuntimeWarning, match=message):
        parsed(returned() if callable(returned) else returned, automatic)


@since_2
def test_index_of_lightning_1_is_warned_about() -> None:
    with pytest.warns(RuntimeWarning, match=r"unsupported keys in the lr scheduler dict: \{'opt_idx'\}"):
        parsed(([A], [{"scheduler": STEP, "opt_idx": 0}]))


# --- refusals ---------------------------------------------------------------------------------------------------------


class TheirOptimizer:
    param_groups: list[Any] = []

    def step(self) -> None:
        pass

    zero_grad = state_dict = load_state_dict = step


class Stateless:
    optimizer = A


class Custom(Stateless):
    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


REFUSALS: dict[str, tuple[Any, str]] = {
    "a number": (3, r"Identity\.configure_optimizers\(\) returned 3, an unknown configuration"),
    "a class": (torch.optim.SGD, "an unknown configuration"),
    "a class of another library": (TheirOptimizer, "an unknown configuration"),
    "a list with a stranger": ([A, 3], "an unknown configuration"),
    "dictionary and optimizer": ([{"optimizer": A}, B], "an unknown configuration"),
    "dictionary without optimizer": ({"lr_scheduler": STEP}, r"needs the key \"optimizer\""),
    "dictionary with a stranger": ({"optimizer": 3}, r"with an optimizer as its value, found \{'optimizer': 3\}"),
    "one of two dictionaries": (({"optimizer": A}, {"lr_scheduler": STEP}), r"needs the key \"optimizer\""),
    "one frequency of two": (
        ({"optimizer": A, "frequency": 1}, {"optimizer": B}),
        "A frequency must be given to each optimizer",
    ),
    "plateau without monitor": (([A], [PLATEAU]), "must include a monitor when a `ReduceLROnPlateau` scheduler is used"),
    "plateau's dictionary without monitor": (
        ([A], [{"scheduler": PLATEAU}]),
        "The lr scheduler dict must include a monitor",
    ),
    "dictionary without scheduler": (([A], [{"interval": "step"}]), 'must have the key "scheduler"'),
    "interval": (([A], [{"scheduler": STEP, "interval": "batch"}]), '"step" or "epoch" but is "batch"'),
    "scheduler of another optimizer": ((  [A], [OTHER]), "attached with an optimizer that wasn't returned"),
    "scheduler without state": (([A], [Stateless()]), "`Stateless` is invalid. It should have `state_dict`"),
    "scheduler of another class": (([A], [Custom()]), "`Custom` doesn't follow PyTorch's LRScheduler API"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSALS)
def test_what_is_wrong_is_refused(case: str) -> None:
    returned, message = REFUSALS[case]
    with pytest.raises(ConfigurationError, match=message):
        parsed(returned)


def test_refusal_is_lightnings_own_exception_too() -> None:
    theirs = HOST.load("utilities.exceptions").MisconfigurationException
    for returned in (3, ([A], [PLATEAU])):
        with pytest.raises(theirs):
            parsed(returned)
    with pytest.raises(TypeError):
        parsed(([A], [Stateless()]))


@pytest.mark.parametrize(("automatic", "custom_step"), [(True, True), (False, False)])
def test_scheduler_of_any_class_is_taken_where_lightning_does_not_step_it(automatic: bool, custom_step: bool) -> None:
    scheduler = Custom()
    assert parsed(([A], [scheduler]), automatic, custom_step).schedulers[0].scheduler is scheduler


# --- what does not go together ----------------------------------------------------------------------------------------


class Indexed(torch.nn.Module):
    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int) -> None:
        """Wants to be told which optimizer has its turn."""


class MayBeIndexed(torch.nn.Module):
    def training_step(self, batch: Any, batch_idx: int, optimizer_idx: int = 0) -> None:
        """Can do without."""


class Plain(torch.nn.Module):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        """Is for one optimizer."""


@pytest.mark.parametrize(
    ("module", "optimizers", "automatic", "said"),
    [
        (Indexed(), 1, True, r"requires `optimizer_idx`.*configure_optimizers\(\) returned 1\. Remove"),
        (Indexed(), 0, True, r"returned 0\. Remove"),
        (Indexed(), 2, False, "manual optimization you step them. Remove"),
        (Plain(), 2, True, "Plain has 2 optimizers, so its training_step needs"),
        (Indexed(), 2, True, None),
        (MayBeIndexed(), 1, True, None),
        (MayBeIndexed(), 2, False, None),
        (Plain(), 1, True, None),
        (Plain(), 2, False, None),
    ],
)
def test_step_takes_an_optimizers_index_where_it_is_given_one(
    module: Any, optimizers: int, automatic: bool, said: str | None
) -> None:
    if said is None:
        check_optimizer_idx(module, optimizers, automatic, HOST)
        return
    with pytest.raises(HOST.load("utilities.exceptions").MisconfigurationException, match=said):
        check_optimizer_idx(module, optimizers, automatic, HOST)


def test_lbfgs_is_refused_where_losses_are_scaled() -> None:
    check_closures([A, B], HOST)
    with pytest.raises(
        HOST.load("utilities.exceptions").MisconfigurationException, match=r"LBFGS.*Use precision='bf16"
    ):
        check_closures([A, torch.optim.LBFGS([torch.nn.Parameter(torch.zeros(1))])], HOST)


# --- devices ----------------------------------------------------------------------------------------------------------


def test_states_move_and_step_counters_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[torch.Tensor] = []
    to: Callable[..., torch.Tensor] = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda self, *args: moved.append(self) or to(self, *args))
    weight = torch.nn.Parameter(torch.ones(1))
    weight.grad = torch.ones(1)
    adam = torch.optim.Adam([weight])
    adam.step()
    moved.clear()
    optimizers_to_device([adam, NoOptimizer()], CPU)
    state = adam.state[weight]
    assert {id(each) for each in moved} == {id(state["exp_avg"]), id(state["exp_avg_sq"])}
