"""Are hooks called where Lightning calls them, and does the running one keep its name?"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from lightning_adapter import DETLM
from lightning_adapter.loop.hooks import is_overridden, is_replaced
from lightning_adapter.loop.raised_in import take_hook
from loop.parts import HOST, Today, hook_parts, hooks_of
from two_ways import BoringModel, Fit, outcomes

pl = HOST.pl


class Module(pl.LightningModule):
    """Tells which of its hooks ran."""

    def __init__(self, told: list[str]) -> None:
        super().__init__()
        self.told = told

    def on_train_epoch_end(self) -> None:
        self.told.append("module")

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> int:
        self.told.append(f"module {batch} {batch_idx}")
        return -1


class Tells(pl.Callback):
    """Tells that its hook ran, and with which trainer and module."""

    def __init__(self, name: str, told: list[str]) -> None:
        self.name, self.told = name, told

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.told.append(f"{self.name} {trainer} {type(pl_module).__name__}")


class TellsOfBatches(Tells):
    """Tells of batches besides."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self.told.append(f"{self.name} {batch} {batch_idx}")


class Watches(pl.callbacks.EarlyStopping):
    """Monitors a value."""

    def __init__(self, told: list[str]) -> None:
        super().__init__(monitor="loss")
        self.told = told

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.told.append("watches")


class Saves(pl.callbacks.Checkpoint):
    """Saves checkpoints."""

    def __init__(self, told: list[str]) -> None:
        self.told = told

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        self.told.append("saves")


def test_callbacks_come_before_the_module_in_their_order() -> None:
    told: list[str] = []
    hooks = hooks_of(Module(told), [Tells("a", told), Tells("b", told)])

    hooks.call("on_train_epoch_end")

    assert told == ["a trainer Module", "b trainer Module", "module"]


def test_callbacks_that_monitor_are_called_apart_and_without_the_module() -> None:
    told: list[str] = []
    hooks = hooks_of(Module(told), [Watches(told), Tells("a", told), Saves(told)])

    hooks.call("on_train_epoch_end", monitoring=False)
    told.append("-")
    hooks.call("on_train_epoch_end", monitoring=True)

    assert told == ["a trainer Module", "module", "-", "watches", "saves"]


def test_hook_returns_what_the_module_returned() -> None:
    told: list[str] = []
    alone = hooks_of(Module(told))
    among_others = hooks_of(Module(told), [TellsOfBatches("a", told)])

    assert alone.call("on_train_batch_start", "x", 3) == -1
    assert among_others.call("on_train_batch_start", "x", 4) == -1
    assert told == ["module x 3", "a x 4", "module x 4"]


def test_hook_that_nobody_overrides_is_bound_to_nothing() -> None:
    hooks = hooks_of(Module([]))

    assert hooks.bound["on_train_start"] is None
    assert hooks.call("on_train_start") is None


class WithCompanions(Module):
    """Has the hooks of Lightning 1.x that were called before and after another."""

    answer: int | None = None

    def before(self) -> int | None:
        self.told.append("before")
        return self.answer

    def after(self) -> None:
        self.told.append("after")


def test_companions_run_before_and_after_and_the_hooks_answer_counts() -> None:
    told: list[str] = []
    adapter = Today({"on_train_batch_start": "before"}, {"on_train_batch_start": "after"})
    hooks = hook_parts(WithCompanions(told), adapter=adapter).hooks

    assert hooks.call("on_train_batch_start", "x", 0) == -1
    assert told == ["before", "module x 0", "after"]


def test_companion_that_answers_minus_one_ends_the_hook() -> None:
    told: list[str] = []
    module = WithCompanions(told)
    module.answer = -1
    adapter = Today({"on_train_epoch_end": "before"}, {"on_train_epoch_end": "after"})
    hooks = hook_parts(module, adapter=adapter).hooks

    assert hooks.call("on_train_epoch_end") == -1
    assert told == ["before"]


def test_companion_runs_where_nobody_has_the_hook_itself() -> None:
    told: list[str] = []
    hooks = hook_parts(WithCompanions(told), adapter=Today({}, {"on_train_start": "after"})).hooks

    assert hooks.call("on_train_start") is None
    assert told == ["after"]


def test_function_that_is_no_hook_is_not_called() -> None:
    class OnlyBatches(Today):
        def is_hook(self, name: str, function: Any, leading: int = 0) -> bool:
            return name == "on_train_batch_start"

    told: list[str] = []
    hooks = hook_parts(Module(told), [Tells("a", told)], adapter=OnlyBatches()).hooks

    hooks.call("on_train_epoch_end")

    assert told == []


def test_arguments_of_callbacks_and_module_are_adapted_apart() -> None:
    leads: list[tuple[str, int]] = []

    class Older(Today):
        def adapt(self, name: str, function: Any, leading: int = 0) -> Any:
            leads.append((name, leading))
            return function

    told: list[str] = []
    hooks = hook_parts(Module(told), [Tells("a", told)], adapter=Older()).hooks

    hooks.call("on_train_epoch_end")

    assert leads == [("on_train_epoch_end", 2), ("on_train_epoch_end", 0)]


# --- the running hook -------------------------------------------------------------------------------------------------


def test_running_hook_has_its_name_and_the_outer_one_afterwards() -> None:
    parts = hook_parts(Module([]))
    seen: list[str | None] = []

    def inner() -> None:
        seen.append(parts.running.name)

    def outer() -> None:
        parts.hooks.run("training_step", inner)
        seen.append(parts.running.name)

    parts.hooks.run("optimizer_step", outer)

    assert seen == ["training_step", "optimizer_step"]
    assert parts.running.name is None


def test_running_hook_has_the_outer_name_after_an_error() -> None:
    parts = hook_parts(Module([]))
    seen: list[str | None] = []

    def fails() -> None:
        raise KeyError("mine")

    def outer() -> None:
        with pytest.raises(KeyError, match="mine"):
            parts.hooks.run("training_step", fails)
        seen.append(parts.running.name)

    parts.hooks.run("optimizer_step", outer)

    assert seen == ["optimizer_step"]


def test_hooks_of_the_datamodule_keep_the_name_of_the_running_one() -> None:
    seen: list[str | None] = []

    class Data(pl.LightningDataModule):
        def setup(self, stage: str) -> None:
            seen.append(parts.running.name)

    parts = hook_parts(Module([]), datamodule=Data())

    parts.hooks.run("on_fit_start", lambda: parts.hooks.call_data("setup", "fit"))

    assert seen == ["on_fit_start"]


def test_module_hook_and_method_run_under_their_names() -> None:
    class Steps(Module):
        def lr_scheduler_step(self, scheduler: Any, metric: Any) -> Any:
            self.told.append(f"{parts.running.name} {scheduler} {metric}")

    told: list[str] = []
    parts = hook_parts(Steps(told))

    parts.hooks.module_hook("lr_scheduler_step")("s", metric=1)
    parts.hooks.call_module("lr_scheduler_step", "t", metric=2)

    assert told == ["lr_scheduler_step s 1", "lr_scheduler_step t 2"]


def test_call_of_the_callbacks_leaves_the_module_out() -> None:
    told: list[str] = []
    hooks = hooks_of(Module(told), [Tells("a", told), Watches(told)])

    hooks.call_callbacks("on_train_epoch_end")

    assert told == ["a trainer Module", "watches"]


def test_error_is_kept_with_the_innermost_hook_and_its_owner() -> None:
    class Fails(Module):
        def on_before_backward(self, loss: Any) -> None:
            raise KeyError("mine")

    hooks = hooks_of(Fails([]))

    with pytest.raises(KeyError, match="mine") as caught:
        hooks.run("training_step", lambda: hooks.call("on_before_backward", 1))

    kept = take_hook(caught.value)
    assert str(kept) == "on_before_backward of Fails"
    assert kept is not None and kept.file == __file__
    assert take_hook(caught.value) is None


def test_error_of_a_bare_function_is_kept_with_the_hook_alone() -> None:
    def fails() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine") as caught:
        hooks_of(Module([])).run("training_step", fails)

    assert str(take_hook(caught.value)) == "training_step"


# --- callbacks that change --------------------------------------------------------------------------------------------


class Changes(pl.Callback):
    """Changes the callbacks when training starts."""

    def __init__(self, change: Any) -> None:
        self.change = change

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.change()


def change_after_first_look(change: str) -> list[str]:
    """What the end of an epoch tells, after a hook has changed the callbacks that were looked at before."""
    told: list[str] = []
    first, added = Tells("first", told), Tells("added", told)
    parts = hook_parts(Module(told), [first, Changes(lambda: changes[change]())])
    listed = parts.callbacks
    alias = listed.items
    changes = {
        "append": lambda: listed.items.append(added),
        "alias": lambda: alias.append(added),
        "remove": lambda: listed.items.remove(first),
        "replace": lambda: listed.replace([added]),
        "swap": lambda: listed.items.__setitem__(0, added),
    }
    parts.hooks.call("on_train_epoch_end")
    parts.hooks.call("on_train_start")
    told.clear()
    bound = parts.hooks.bound["on_train_epoch_end"]
    assert bound is not None
    bound()
    return [line.split()[0] for line in told]


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ("append", ["first", "added", "module"]),
        ("alias", ["first", "added", "module"]),
        ("remove", ["module"]),
        ("replace", ["added", "module"]),
        ("swap", ["added", "module"]),
    ],
)
def test_callbacks_changed_in_a_hook_are_seen_by_the_next_one(change: str, expected: list[str]) -> None:
    assert change_after_first_look(change) == expected


class ChangesTheList(pl.Callback):
    """Changes the list of callbacks in each of two hooks, one that callbacks alone have and one that modules have too."""

    def __init__(self, name: str, told: list[str], change: Any = None) -> None:
        self.name, self.told, self.change = name, told, change

    def _tell(self, trainer: Any) -> None:
        self.told.append(self.name)
        if self.change is not None:
            self.change(trainer, self)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        self._tell(trainer)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self._tell(trainer)


@pytest.mark.parametrize("change", ["add", "remove itself", "remove the next", "replace", "replace and add"])
def test_list_that_is_changed_while_it_is_walked_is_walked_as_in_lightning(change: str, tmp_path: Path) -> None:
    def situation(train: Fit) -> list[str]:
        told: list[str] = []

        def act(trainer: Any, callback: Any) -> None:
            listed, new = trainer.callbacks, ChangesTheList("new", told)
            if change == "add":
                listed.append(new)
            elif change == "remove itself":
                listed.remove(callback)
            elif change == "remove the next":
                del listed[listed.index(callback) + 1]
            else:
                trainer.callbacks = [callback, new]
                if change == "replace and add":
                    trainer.callbacks.append(new)

        callbacks = [ChangesTheList(f"{index}", told, act if index == 1 else None) for index in range(5)]
        train(BoringModel(), callbacks=callbacks, max_epochs=1, limit_train_batches=1, limit_val_batches=0)
        return told

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == theirs


def test_callbacks_changed_outside_of_hooks_are_seen_after_refresh() -> None:
    told: list[str] = []
    parts = hook_parts(Module(told), [Tells("first", told)])
    parts.hooks.refresh()
    assert parts.hooks.bound["on_train_epoch_end"] is not None  # looked at
    parts.callbacks.items.append(Tells("added", told))
    told.clear()

    parts.hooks.refresh()
    bound = parts.hooks.bound["on_train_epoch_end"]
    assert bound is not None
    bound()

    assert [line.split()[0] for line in told] == ["first", "added", "module"]


def test_module_that_setup_has_changed_is_seen_after_forget() -> None:
    told: list[str] = []
    module = Module(told)
    hooks = hooks_of(module)
    assert hooks.call("on_train_start") is None

    module.on_train_start = lambda: told.append("late")
    hooks.forget()
    hooks.call("on_train_start")

    assert told == ["late"]


# --- what is overridden -----------------------------------------------------------------------------------------------


def test_method_of_a_class_or_of_an_instance_is_overridden_and_none_is_not() -> None:
    plain, on_instance, none_on_instance = pl.LightningModule(), pl.LightningModule(), Module([])
    on_instance.on_train_epoch_end = lambda: None
    vars(none_on_instance)["on_train_epoch_end"] = None

    assert hooks_of(Module([])).overridden("on_train_epoch_end")
    assert hooks_of(on_instance).overridden("on_train_epoch_end")
    assert not hooks_of(plain).overridden("on_train_epoch_end")
    assert not hooks_of(none_on_instance).overridden("on_train_epoch_end")


def test_method_set_to_none_in_a_class_is_not_overridden() -> None:
    class Without(pl.LightningModule):
        on_train_epoch_end = None

    assert not hooks_of(Without()).overridden("on_train_epoch_end")


def test_wrapper_of_a_user_around_a_method_that_only_passes_on_is_called() -> None:
    passes_on = DETLM.on_before_optimizer_step
    assert passes_on.only_passes_on is passes_on  # type: ignore[attr-defined]

    class Wrapped(DETLM):
        @functools.wraps(passes_on)
        def on_before_optimizer_step(self, *args: Any) -> None:
            return passes_on(self, *args)

    assert not is_replaced("on_before_optimizer_step", DETLM(), pl.LightningModule)
    assert is_replaced("on_before_optimizer_step", Wrapped(), pl.LightningModule)


def test_method_that_only_passes_on_is_not_overridden() -> None:
    class Passes(pl.LightningModule):
        def on_train_epoch_end(self) -> None:
            pass

        on_train_epoch_end.only_passes_on = on_train_epoch_end

    assert not is_overridden("on_train_epoch_end", Passes(), pl.LightningModule)


def test_properties_of_the_user_are_not_evaluated() -> None:
    class Explodes(pl.LightningModule):
        @property
        def val_dataloader(self) -> Any:
            raise AssertionError("evaluated")

    assert hooks_of(Explodes()).overridden("val_dataloader")


def test_datamodule_overrides_by_its_own_base_and_none_overrides_nothing() -> None:
    class Data(pl.LightningDataModule):
        def setup(self, stage: str) -> None:
            pass

    with_data = hooks_of(Module([]), datamodule=Data())

    assert with_data.overridden_in_data("setup")
    assert not with_data.overridden_in_data("prepare_data")
    assert not hooks_of(Module([])).overridden_in_data("setup")


def test_callback_overrides_by_its_own_base() -> None:
    hooks = hooks_of(Module([]))
    callback = Tells("a", [])

    assert hooks.replaced_in_callback("on_train_epoch_end", callback)
    assert not hooks.replaced_in_callback("on_train_start", callback)


def around(function: Any) -> Any:
    @functools.wraps(function)
    def traced(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return traced


WRAPPERS = {
    "wraps": around,
    "partial": functools.partial,
    "mock": lambda function: mock.Mock(wraps=function),
    "several": lambda function: mock.Mock(wraps=functools.partial(around(around(function)))),
}


@pytest.mark.parametrize("name", WRAPPERS)
def test_method_that_only_wraps_lightnings_own_is_called_and_is_no_override(name: str) -> None:
    wrap = WRAPPERS[name]

    class Wrapped(pl.LightningModule):
        predict_step = around(pl.LightningModule.predict_step)

    for module in (pl.LightningModule(), DETLM(), Wrapped()):
        module.validation_step = wrap(module.validation_step)
        module.backward = wrap(module.backward)
        own = Module([])
        own.on_train_epoch_end = wrap(own.on_train_epoch_end)

        assert not is_overridden("validation_step", module, pl.LightningModule)
        assert is_replaced("validation_step", module, pl.LightningModule)
        assert not is_overridden("backward", module, pl.LightningModule)
        assert is_overridden("on_train_epoch_end", own, pl.LightningModule)
        assert not is_overridden("predict_step", module, pl.LightningModule)
        # Lightning's own decision
        theirs = HOST.load("utilities.model_helpers").is_overridden
        assert name == "several" or not theirs("validation_step", module, pl.LightningModule)
        assert name == "several" or theirs("on_train_epoch_end", own, pl.LightningModule)

    module = pl.LightningModule()
    module.on_train_epoch_end = wrap(module.on_train_epoch_end)
    assert hooks_of(module).bound["on_train_epoch_end"] is not None


def test_mock_that_wraps_nothing_is_no_override_as_for_lightning() -> None:
    module = pl.LightningModule()
    module.validation_step = mock.Mock()

    assert not HOST.load("utilities.model_helpers").is_overridden("validation_step", module, pl.LightningModule)
    assert not is_overridden("validation_step", module, pl.LightningModule)
