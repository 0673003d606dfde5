"""Which frames of a traceback are shown, and what stands in the place of the others?"""

from __future__ import annotations

import functools
import importlib.util
import json
import pathlib
import re
import sys
import traceback
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
import torch
from numpy.testing import assert_equal

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import folded as folding
from lightning_adapter.platform.folded import folded


def raised(call: Callable[[], object]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def shown(call: Callable[[], object]) -> str:
    return folded(raised(call))[0]


@pytest.fixture
def host(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A host of the package, which calls what it is given."""
    place = tmp_path / "determined"
    place.mkdir()
    (place / "__init__.py").write_text(
        "import contextlib, functools\n"
        "def calls(function, *args):\n    return within(function, *args)\n"
        "def within(function, *args):\n    return function(*args)\n"
        "def fails():\n    raise KeyError('of the host')\n"
        "@contextlib.contextmanager\n"
        "def around():\n    yield\n"
        "by_the_library = around()(calls)\n"
    )
    spec = importlib.util.spec_from_file_location("determined", place / "__init__.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "determined", module)
    spec.loader.exec_module(module)
    return module


def fails() -> None:
    raise ValueError("mine")


def test_run_of_a_hosts_frames_becomes_a_line_where_it_stands(host: ModuleType) -> None:
    text = shown(lambda: host.calls(host.calls, fails))

    frames = re.sub(r'File ".*", line \d+', "FILE", text)
    assert frames.count("FILE") == 3  # `raised`, the lambda and `fails`
    assert '  [4 frames of determined]\n  FILE, in fails\n    raise ValueError("mine")\nValueError: mine\n' in frames
    assert frames.startswith("Traceback (most recent call last):\n  FILE, in raised\n    call()\n")


def test_frame_in_which_it_was_raised_is_shown_whosever_it_is(host: ModuleType) -> None:
    text = shown(lambda: host.calls(host.calls, host.fails))

    assert "  [4 frames of determined]\n" in text
    assert text.endswith("in fails\n    raise KeyError('of the host')\nKeyError: 'of the host'\n")


def test_shape_that_does_not_fit_shows_the_users_line_and_torchs() -> None:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(4, 5))

    def forward() -> Any:
        return module(torch.zeros(1, 2))

    text = shown(forward)

    assert "    return module(torch.zeros(1, 2))\n" in text
    assert re.search(r"\n  \[\d frames of torch\]\n  File .*linear.py.* in forward\n    return F.linear", text)
    assert "_call_impl" not in text and text.splitlines()[-1].startswith("RuntimeError: mat1 and mat2 shapes")


def test_standard_library_is_folded_between_hosts_and_shown_where_the_user_calls_it(host: ModuleType) -> None:
    between = shown(lambda: host.by_the_library(functools.partial(host.calls, fails)))
    called = shown(lambda: host.calls(json.loads, "{"))

    assert "  [5 frames of determined]\n" in between and "contextlib" not in between
    assert "json" in called and "raw_decode" in called
    own = shown(lambda: json.loads("{"))
    assert "frames of" not in own and own.count("json/") == 3


def test_frames_of_other_libraries_are_the_users_choice(host: ModuleType) -> None:
    text = shown(lambda: host.calls(assert_equal, 1, 2))

    assert "  [2 frames of determined]\n" in text and "in assert_equal" in text


def test_causes_contexts_and_groups_are_folded_too(host: ModuleType) -> None:
    def chain() -> None:
        try:
            host.calls(fails)
        except ValueError as error:
            raise RuntimeError("because") from error

    def suppressed() -> None:
        try:
            host.calls(fails)
        except ValueError:
            raise RuntimeError("alone") from None

    def context() -> None:
        try:
            host.calls(fails)
        except ValueError:
            host.calls(host.fails)

    caused, during = shown(lambda: host.calls(chain)), shown(context)

    assert caused.count("  [2 frames of determined]\n") == 2
    assert "ValueError: mine\n\nThe above exception was the direct cause" in caused
    assert "During handling" in during and during.count("[2 frames of determined]") == 2
    assert "mine" not in shown(suppressed)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups are Python 3.11's")
def test_members_of_a_group_are_folded_too(host: ModuleType) -> None:
    group = ExceptionGroup("several", [raised(lambda: host.calls(fails)), KeyError("b")])  # type: ignore[list-item] # noqa: F821

    assert "    |   [2 frames of determined]\n" in folded(group)[0]


def test_functions_that_call_each_other_for_ever_are_shown_a_few_times(host: ModuleType) -> None:
    def forward() -> None:
        host.calls(forward)

    text = shown(forward)

    assert re.search(r"\n  \[the same \d{3} more times\]\n", text)
    assert len(text.splitlines()) < 30 and "RecursionError: maximum recursion depth exceeded" in text


def test_exception_whose_message_cannot_be_made_is_shown(host: ModuleType) -> None:
    class Odd(Exception):
        def __str__(self) -> str:
            raise TypeError("no text")

    def odd() -> None:
        raise Odd

    assert "[2 frames of determined]" in shown(lambda: host.calls(odd))


def test_fault_in_the_users_syntax_shows_its_line(tmp_path: pathlib.Path, host: ModuleType) -> None:
    text = shown(lambda: host.calls(compile, "def broken(:\n", "model_def.py", "exec"))

    assert (
        text.endswith("SyntaxError: invalid syntax\n") and '  File "model_def.py", line 1\n    def broken(:\n' in text
    )


def test_error_of_the_package_is_said_by_its_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(folding.VARIABLE, "all")

    text = shown(folding.wants_all_frames)

    assert (
        "    call()\n    ^" not in text and "  [1 frame of lightning_adapter]\nlightning_adapter.errors.Config" in text
    )


def test_exception_keeps_all_its_frames(host: ModuleType) -> None:
    error = raised(lambda: host.calls(fails))
    before = traceback.extract_tb(error.__traceback__)

    folded(error)

    assert traceback.extract_tb(error.__traceback__) == before
    assert "frames of" not in folding.whole(error)


def test_where_nothing_is_left_out_it_is_pythons_own() -> None:
    error = raised(fails)

    assert folded(error) == ("".join(traceback.format_exception(error)), False)


@pytest.mark.parametrize(("value", "all_frames"), [(None, False), ("", False), ("folded", False), ("whole", True)])
def test_variable_says_whether_all_frames_are_shown(
    monkeypatch: pytest.MonkeyPatch, value: str | None, all_frames: bool
) -> None:
    monkeypatch.delenv(folding.VARIABLE, raising=False)
    if value is not None:
        monkeypatch.setenv(folding.VARIABLE, value)
    assert folding.wants_all_frames() is all_frames


def test_variable_with_another_value_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(folding.VARIABLE, "all")
    with pytest.raises(ConfigurationError, match=r"LIGHTNING_ADAPTER_TRACEBACK='all' .* Set it to whole or folded"):
        folding.wants_all_frames()
