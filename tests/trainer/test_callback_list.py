"""Which callbacks does a run have, in which order?"""

from __future__ import annotations

import pathlib
from typing import Any

import pytest

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.trainer.callback_list import CallbackList
from trainer.parts import HOST, arguments

kinds = HOST.pl.callbacks


class A(HOST.pl.Callback):
    """A callback."""


class B(HOST.pl.Callback):
    """Another one."""


class OwnSummary(kinds.ModelSummary):
    """A summary in the user's own way."""


def listed(shows_summary: bool = False, **given: Any) -> CallbackList:
    return CallbackList(arguments(**given), HOST, shows_summary)


def names(callbacks: CallbackList) -> list[str]:
    return [type(callback).__name__ for callback in callbacks.items]


def test_callbacks_keep_their_order_and_a_single_one_needs_no_list() -> None:
    assert names(listed(callbacks=[B(), A()])) == ["B", "A"]
    assert names(listed(callbacks=A())) == ["A"]
    assert names(listed()) == []


def test_list_of_the_user_is_not_changed() -> None:
    given: list[Any] = [A()]

    listed(callbacks=given, max_time="00:00:00:10").items.append(B())

    assert len(given) == 1


def test_time_limit_brings_a_timer_unless_there_is_one() -> None:
    assert names(listed(callbacks=[A()], max_time="00:00:00:10")) == ["A", "Timer"]
    given = listed(callbacks=[kinds.Timer("00:00:00:05")], max_time="00:00:00:10")
    assert names(given) == ["Timer"]
    assert given.has_timer
    assert not listed(callbacks=[A()]).has_timer


def test_summary_is_shown_by_one_process_that_has_none_yet() -> None:
    assert names(listed(True, enable_model_summary=True, max_time="00:00:00:10")) == ["Timer", "ModelSummary"]
    assert names(listed(False, enable_model_summary=True)) == []
    assert names(listed(True, enable_model_summary=False)) == []
    assert names(listed(True, enable_model_summary=True, callbacks=[OwnSummary()])) == ["OwnSummary"]


def test_directory_of_a_checkpoint_becomes_text(tmp_path: pathlib.Path) -> None:
    checkpoint = kinds.ModelCheckpoint()
    checkpoint.dirpath = tmp_path

    listed(callbacks=[checkpoint])

    assert checkpoint.dirpath == str(tmp_path)


def test_callbacks_of_a_kind_are_found_in_order_with_those_of_its_subclasses() -> None:
    class MoreA(A):
        pass

    first, second = MoreA(), A()

    assert listed(callbacks=[first, B(), second]).of_kind(A) == [first, second]


def test_checkpoints_go_last_and_keep_their_order() -> None:
    first, second = kinds.ModelCheckpoint(monitor="a"), kinds.ModelCheckpoint(monitor="b")
    callbacks = listed(callbacks=[first, A(), second, B()])

    callbacks.put_checkpoints_last()

    assert names(callbacks) == ["A", "B", "ModelCheckpoint", "ModelCheckpoint"]
    assert callbacks.items[2:] == [first, second]


def test_callbacks_of_the_module_replace_those_of_their_class() -> None:
    old, new = A(), A()
    checkpoint = kinds.ModelCheckpoint()
    callbacks = listed(callbacks=[old, B(), checkpoint])

    callbacks.extend_from_module([new])

    assert names(callbacks) == ["B", "A", "ModelCheckpoint"]
    assert callbacks.items[1] is new


def test_subclass_from_the_module_replaces_the_callback_of_its_nearest_base() -> None:
    class MoreA(A):
        pass

    class MostA(MoreA):
        pass

    callbacks = listed(callbacks=[A(), B(), MoreA(), HOST.pl.Callback()])

    callbacks.extend_from_module(MostA())

    older = HOST.quirks.replaces_same_class_alone
    assert names(callbacks) == ["A", "B", *(["MoreA"] if older else []), "Callback", "MostA"]


def test_module_without_callbacks_changes_nothing() -> None:
    callbacks = listed(callbacks=[kinds.ModelCheckpoint(), A()])
    items = callbacks.items

    callbacks.extend_from_module([])
    callbacks.extend_from_module(None)

    assert callbacks.items is items
    assert names(callbacks) == ["ModelCheckpoint", "A"]


def test_list_that_user_code_assigns_is_taken_as_it_is() -> None:
    callbacks, given = listed(callbacks=[A()]), [B()]

    callbacks.replace(given)

    assert callbacks.items is given


class Counts(HOST.pl.Callback):
    """Has a state, under a key of its own where it is given one."""

    def __init__(self, key: str | None = None) -> None:
        self.key = key

    @property
    def state_key(self) -> str:
        return self.key or super().state_key

    def state_dict(self) -> dict[str, Any]:
        return {"n": 0}


def test_callbacks_with_one_state_key_are_refused_as_by_lightning() -> None:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False}
    with pytest.raises(RuntimeError) as theirs:
        HOST.pl.Trainer(callbacks=[Counts(), Counts()], enable_progress_bar=False, **quiet)
    with pytest.raises(
        ConfigurationError, match=r"they have one `state_key`, 'Counts', .* Override the property"
    ) as ours:
        listed(callbacks=[Counts(), A(), Counts(), A()])
    assert isinstance(ours.value, RuntimeError)
    assert str(ours.value).split("`: ")[0] == str(theirs.value).split("`. ")[0]

    assert len(listed(callbacks=[Counts("one"), Counts("two"), A(), A()]).items) == 4


@pytest.mark.parametrize(
    ("bars", "given", "message"),
    [
        (2, {}, r"several progress bars among the callbacks: TQDMProgressBar, TQDMProgressBar\. Leave one"),
        (
            1,
            {"enable_progress_bar": False},
            r"enable_progress_bar=False was given, and the progress bar TQDMProgressBar",
        ),
    ],
)
def test_progress_bar_too_many_is_refused_as_by_lightning(bars: int, given: dict[str, Any], message: str) -> None:
    callbacks = [kinds.TQDMProgressBar() for _ in range(bars)]
    with pytest.raises(HOST.load("utilities.exceptions").MisconfigurationException):
        HOST.pl.Trainer(callbacks=callbacks, logger=False, enable_checkpointing=False, **given)
    with pytest.raises(ConfigurationError, match=message):
        listed(callbacks=callbacks, **given)
