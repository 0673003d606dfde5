"""What is told of an exception that ends a process, a thread, or a cell of a notebook?"""

from __future__ import annotations

import gc
import pathlib
import pickle
import sys
import threading
import traceback
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
from IPython.core.interactiveshell import InteractiveShell

from lightning_adapter import LightningAdapter, fit
from lightning_adapter.errors import ConfigurationError, NonFiniteError
from lightning_adapter.platform import uncaught
from lightning_adapter.platform.folded import VARIABLE
from two_ways import QUIET, BoringModel

SAID = "raised in training_step of Breaks, epoch 1/1, batch 1/64\n"


class Breaks(BoringModel):
    """Its step raises an exception."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        raise ValueError("mine")


class Trial(LightningAdapter):
    """Trains it."""

    def __init__(self, context: Any) -> None:
        super().__init__(context, Breaks(), **QUIET)


def train(directory: pathlib.Path) -> None:
    fit(Trial, max_epochs=1, run_dir=directory)


def error_of_a_run(directory: pathlib.Path) -> ValueError:
    with pytest.raises(ValueError, match="mine") as caught:
        train(directory)
    return caught.value


def hooked(error: BaseException) -> None:
    sys.excepthook(type(error), error, error.__traceback__)


@pytest.fixture(autouse=True)
def hooks(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def notebook() -> Iterator[Any]:
    """A shell of IPython's, as a kernel has it."""
    yield InteractiveShell.instance()
    InteractiveShell.clear_instance()


def test_error_of_a_run_ends_with_cause_place_and_log(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    error = error_of_a_run(tmp_path / "run")
    hooked(error)

    told = capsys.readouterr().err
    assert told.endswith(f'    raise ValueError("mine")\nValueError: mine\n{SAID}the whole traceback: run/train.log\n')
    assert " frames of lightning_adapter, determined and torch]\n" in told
    assert "fit(Trial, max_epochs=1, run_dir=directory)\n" in told
    assert len(told.splitlines()) < 20


def test_log_of_the_run_has_all_frames_and_they_stay_on_the_exception(tmp_path: pathlib.Path) -> None:
    error = error_of_a_run(tmp_path / "run")

    text = (tmp_path / "run" / "train.log").read_text()
    frames = traceback.extract_tb(error.__traceback__)
    assert len(frames) > 25 and "frames of" not in text and text.endswith(f"ValueError: mine\n{SAID}")
    # but for those of whoever called `fit`, which it has not come by yet
    assert text.count('  File "') > 20 and text.count("Traceback (most") == 1


def test_variable_shows_all_frames(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    error = error_of_a_run(tmp_path / "run")
    monkeypatch.setenv(VARIABLE, "whole")
    hooked(error)

    told = capsys.readouterr().err
    assert "frames of" not in told and told.endswith(f"{SAID}the whole traceback: run/train.log\n")


def test_variable_that_says_nothing_known_is_refused_before_a_run_begins(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, "yes")
    with pytest.raises(ConfigurationError, match=VARIABLE):
        train(tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_what_a_script_raises_from_it_is_told_with_it(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    wrapped = KeyError("theirs")
    wrapped.__cause__ = error_of_a_run(tmp_path / "run")
    hooked(wrapped)

    told = capsys.readouterr().err
    assert "frames of lightning_adapter" in told
    assert told.endswith("KeyError: 'theirs'\nthe whole traceback: run/train.log\n")


def test_cluster_has_all_frames_first_and_those_of_the_user_last(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, cluster: Any
) -> None:
    with cluster():
        with pytest.raises(ValueError, match="mine") as caught:
            fit(Trial, max_epochs=1)
        hooked(caught.value)

    told = capsys.readouterr().err
    first, _, last = told.partition("\nWithout the frames of the hosts:\n\n")
    assert "The whole traceback:\n\nTraceback" in first and "frames of" not in first
    assert "frames of lightning_adapter" in last and last.endswith(f"ValueError: mine\n{SAID}")


def test_whoever_shows_tracebacks_otherwise_goes_on_to(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[BaseException] = []
    monkeypatch.setattr(sys, "excepthook", lambda kind, value, traceback: seen.append(value))
    error = error_of_a_run(tmp_path / "run")
    hooked(error)

    assert seen == [error]
    assert capsys.readouterr().err.endswith("the whole traceback: run/train.log\n")


def test_error_that_ends_a_thread_is_told_folded(capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path) -> None:
    thread = threading.Thread(target=train, args=(tmp_path / "run",), name="first")
    thread.start()
    thread.join()

    told = capsys.readouterr().err
    assert "Exception in thread first:\nTraceback" in told and "frames of lightning_adapter" in told
    assert told.endswith("the whole traceback: run/train.log\n")


def test_notebook_shows_it_folded_with_the_names_of_cells(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, notebook: Any
) -> None:
    notebook.user_ns["train"] = lambda: train(tmp_path / "run")
    notebook.run_cell("def mine():\n    train()\nmine()")

    told = capsys.readouterr().out
    assert told.rstrip().endswith(f"ValueError: mine\n{SAID}the whole traceback: run/train.log")
    assert "frames of lightning_adapter, determined and torch]" in told
    assert ", line 3, in <module>\n    mine()\n" in told and "IPython" not in told
    assert sys.excepthook is sys.__excepthook__


def test_error_in_a_notebook_can_be_pickled_and_is_kept_by_nobody(tmp_path: pathlib.Path, notebook: Any) -> None:
    class Broken(Exception):
        pass

    pickle.loads(pickle.dumps(error_of_a_run(tmp_path / "run")))
    error = Broken()
    kept = weakref.ref(error)
    uncaught.tell_at_exit(error)
    gc.disable()  # no circle that only the collector would find
    try:
        del error
        assert kept() is None
    finally:
        gc.enable()


def test_interrupt_before_training_is_told_without_a_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    class Interrupted(LightningAdapter):
        def __init__(self, context: Any) -> None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        fit(Interrupted, run_dir=tmp_path / "run")
    capsys.readouterr()
    hooked(caught.value)
    assert capsys.readouterr().err == ""


def test_other_error_than_the_one_of_the_job_is_told_as_usual(capsys: pytest.CaptureFixture[str]) -> None:
    uncaught.tell_at_exit(ValueError("caught by the script"))
    sys.excepthook(KeyError, KeyError("later"), None)
    assert capsys.readouterr().err == "KeyError: 'later'\n"


def test_error_that_a_script_survives_is_kept_by_nobody() -> None:
    class Broken(Exception):
        pass

    error = Broken()
    kept = weakref.ref(error)
    uncaught.tell_at_exit(error)
    del error
    gc.collect()
    assert kept() is None


def test_entrypoint_for_a_class_ends_as_the_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    uncaught.speak_as_the_command()
    for error, status in ((ConfigurationError("no"), 2), (NonFiniteError("nan"), 1)):
        with pytest.raises(SystemExit) as ended:
            sys.excepthook(type(error), error, None)
        assert ended.value.code == status
        assert capsys.readouterr().err == f"lightning-adapter: {'error' if status == 2 else 'failed'}: {error}\n"
    uncaught.tell_at_exit(KeyError("theirs"))
    sys.excepthook(KeyError, KeyError("theirs"), None)
    assert capsys.readouterr().err == "KeyError: 'theirs'\n"
