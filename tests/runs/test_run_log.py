"""All that a run says reaches its train.log, each line once, and that of no other run."""

from __future__ import annotations

import concurrent.futures
import contextlib
import copy
import gc
import logging
import pickle
import re
import sys
import threading
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path

import pytest

from lightning_adapter.runs.console import ALWAYS, FILE_ONLY
from lightning_adapter.runs.run_log import RunLogger, attach_log, shown_on_console


@pytest.fixture
def log_file(tmp_path: Path) -> Path:
    return tmp_path / "train.log"


@contextlib.contextmanager
def unconfigured_logging() -> Iterator[None]:
    """As in a script that never configures logging; pytest gives the root logger handlers for each phase of a test."""
    root = logging.getLogger()
    handlers, root.handlers = root.handlers, []
    try:
        yield
    finally:
        root.handlers = handlers


@contextlib.contextmanager
def handled_by(name: str, handler: logging.Handler, **settings: object) -> Iterator[logging.Logger]:
    """A logger with a handler of the user's own, and settings of its own, until the block ends."""
    log = logging.getLogger(name)
    before = {each: getattr(log, each) for each in ("level", "propagate")}
    vars(log).update(settings)
    log.addHandler(handler)
    log.manager._clear_cache()  # type: ignore[attr-defined]
    try:
        yield log
    finally:
        log.removeHandler(handler)
        vars(log).update(before)
        log.manager._clear_cache()  # type: ignore[attr-defined]


def said(path: Path) -> list[str]:
    """Entries without their time."""
    return [re.sub(r"^20\d\d-\d\d-\d\d \d\d:\d\d:\d\d ", "", line) for line in path.read_text().splitlines()]


# --- what is heard ----------------------------------------------------------------------------------------------------


def test_entry_has_the_time_to_the_second_level_and_name(log_file: Path) -> None:
    with attach_log(log_file, "head") as log:
        log.info("of the run")
    assert re.fullmatch(
        r"head\n\n20\d\d-\d\d-\d\d \d\d:\d\d:\d\d INFO lightning_adapter: of the run\n", log_file.read_text()
    )


def test_both_packages_are_heard_while_attached_and_nothing_is_left_behind(log_file: Path) -> None:
    loggers = [logging.getLogger(name) for name in ("lightning_adapter", "determined", "py.warnings")]
    before = [(log.level, list(log.handlers)) for log in loggers], logging.lastResort, vars(sys.stderr).get("write")
    with unconfigured_logging(), attach_log(log_file):
        logging.getLogger("determined.pytorch").info("from determined")
        logging.getLogger("lightning_adapter.platform.fit").info("from the adapter")
        logging.getLogger("other").info("from elsewhere")
    logging.getLogger("determined.pytorch").warning("too late")
    assert said(log_file) == [
        "INFO determined.pytorch: from determined",
        "INFO lightning_adapter.platform.fit: from the adapter",
    ]
    after = [(log.level, list(log.handlers)) for log in loggers], logging.lastResort, vars(sys.stderr).get("write")
    assert after == before


def test_warning_of_a_logger_that_nobody_hears_is_printed_and_in_the_file_with_its_name(
    log_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with unconfigured_logging(), attach_log(log_file):
        logging.getLogger("of_the_user").warning("look here")
        logging.getLogger("determined.core").warning("and here")
        logging.getLogger("determined.core").info("quiet")
        logging.getLogger("of_the_user").info("nobody wants it")
    assert capsys.readouterr().err == "look here\nand here\n"
    assert said(log_file) == [
        "WARNING of_the_user: look here",
        "WARNING determined.core: and here",
        "INFO determined.core: quiet",
    ]


def test_warnings_are_not_printed_twice_where_the_user_has_a_handler(
    log_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with unconfigured_logging(), attach_log(log_file), handled_by("", logging.NullHandler()):
        logging.getLogger("determined.core").warning("look here")
    assert capsys.readouterr().err == ""
    assert said(log_file) == ["WARNING determined.core: look here"]


def test_levels_of_a_user_who_configured_logging_are_respected(log_file: Path) -> None:
    assert logging.getLogger().handlers  # pytest's
    with attach_log(log_file):
        assert logging.getLogger("determined").level == logging.NOTSET


def test_users_logger_that_does_not_propagate_is_heard_once_though_its_handler_prints(log_file: Path) -> None:
    with handled_by("cut.off", logging.StreamHandler(), propagate=False, level=logging.INFO) as cut:
        with attach_log(log_file):
            cut.info("here")
            logging.getLogger("cut.off.child").info("and here")
    assert said(log_file) == ["INFO cut.off: here", "INFO cut.off.child: and here"]


def test_logger_that_is_cut_off_during_a_run_is_heard_as_what_it_prints(log_file: Path) -> None:
    with attach_log(log_file), handled_by("cut.later", logging.StreamHandler(sys.stderr), propagate=False) as cut:
        cut.warning("here")
    assert said(log_file) == ["PRINT stderr: here"]


@pytest.mark.parametrize("stream", [sys.stdout, None])
def test_record_that_handlers_on_its_way_print_is_in_the_file_once(log_file: Path, stream: object) -> None:
    printing = logging.StreamHandler(sys.stdout if stream is not None else sys.stderr)
    with handled_by("of.user", printing, level=logging.INFO) as log, attach_log(log_file):
        with handled_by("of", logging.StreamHandler()):
            log.info("here")
            logging.getLogger("of.user.child").warning("there")
    assert said(log_file) == ["INFO of.user: here", "WARNING of.user.child: there"]


def test_captured_warnings_are_in_the_file_where_nobody_else_hears_them(log_file: Path) -> None:
    with unconfigured_logging(), attach_log(log_file), warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        try:
            warnings.warn("as a record", stacklevel=1)
        finally:
            logging.captureWarnings(False)
    assert "WARNING py.warnings: " in log_file.read_text() and "UserWarning: as a record" in log_file.read_text()


def test_log_that_the_root_logger_writes_too_has_each_line_once(log_file: Path) -> None:
    with handled_by("", logging.FileHandler(log_file)) as root:
        with attach_log(log_file, "head") as log:
            logging.getLogger("lightning_adapter").warning("told")
            log.warning("said")
            log.warning("for the file", extra=FILE_ONLY)
            logging.getLogger("other").warning("heard")
        root.handlers[-1].close()
    assert [log_file.read_text().count(word) for word in ("told", "said", "for the file", "heard", "head")] == [1] * 5


def test_log_is_detached_after_an_exception_and_appended_to_by_a_resumed_run(log_file: Path) -> None:
    with pytest.raises(RuntimeError, match="boom"), attach_log(log_file):
        logging.getLogger("determined").warning("first")
        raise RuntimeError("boom")
    assert logging.getLogger("determined").handlers == []
    with attach_log(log_file):
        logging.getLogger("determined").warning("second")
    assert said(log_file) == ["WARNING determined: first", "WARNING determined: second"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_log_on_a_full_disk_is_said_once_and_hides_no_error(log_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log_file.symlink_to("/dev/full")
    with pytest.raises(RuntimeError, match="the user's"), attach_log(log_file) as log:
        for _ in range(3):
            log.info("a line")
            print("printed")
        raise RuntimeError("the user's")
    captured = capsys.readouterr()
    assert captured.err.count("lacks lines: OSError: [Errno 28] No space left on device") == 1
    assert captured.out == "printed\n" * 3


# --- several runs -----------------------------------------------------------------------------------------------------


def test_runs_in_two_threads_have_each_its_own_lines_and_leave_logging_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    package = logging.getLogger("lightning_adapter")
    before = package.level, logging.lastResort
    both, first_is_over = threading.Barrier(2), threading.Event()

    def train(name: str, waits: bool) -> None:
        with attach_log(tmp_path / name) as log:
            both.wait(10)
            package.info("of %s", name)
            package.warning("look at %s", name)
            log.info("own of %s", name)
            print(f"printed by {name}")
            logging.getLogger("user").warning("heard by %s", name)
            helper = threading.Thread(target=log.info, args=("helper of %s", name))
            helper.start()
            helper.join()
            both.wait(10)
            if waits:
                first_is_over.wait(10)
            package.info("end of %s", name)

    with unconfigured_logging(), concurrent.futures.ThreadPoolExecutor() as pool:
        ended = [pool.submit(train, "a", False), pool.submit(train, "b", True)]
        ended[0].result()
        first_is_over.set()
        ended[1].result()
    for name in "ab":
        assert [line.partition(": ")[2] for line in said(tmp_path / name)] == [
            *(f"of {name}", f"look at {name}", f"own of {name}", f"printed by {name}", f"heard by {name}"),
            *(f"helper of {name}", f"end of {name}"),
        ]
    captured = capsys.readouterr()
    assert sorted(captured.err.splitlines()) == ["heard by a", "heard by b", "look at a", "look at b"]
    assert sorted(captured.out.splitlines()) == ["printed by a", "printed by b"]
    assert (package.level, logging.lastResort) == before and package.handlers == []


def test_run_within_a_run_has_its_own_lines_and_the_outer_one_goes_on_after_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def speak(log: logging.Logger, word: str) -> None:
        log.info("own %s", word)
        logging.getLogger("determined").warning("heard %s", word)
        print("printed", word)

    with unconfigured_logging(), attach_log(tmp_path / "outer") as outer:
        speak(outer, "before")
        with attach_log(tmp_path / "inner") as inner:
            speak(inner, "within")
            outer.info("own from within")
        speak(outer, "after")
    assert said(tmp_path / "inner") == [
        *("INFO lightning_adapter: own within", "WARNING determined: heard within", "PRINT stdout: printed within")
    ]
    own = "INFO lightning_adapter: own"
    assert said(tmp_path / "outer") == [
        *(f"{own} before", "WARNING determined: heard before", "PRINT stdout: printed before", f"{own} from within"),
        *(f"{own} after", "WARNING determined: heard after", "PRINT stdout: printed after"),
    ]
    assert capsys.readouterr().err == "heard before\nheard within\nheard after\n"


def test_helper_thread_of_the_only_run_is_heard_and_one_beside_two_runs_only_by_the_runs_logger(tmp_path: Path) -> None:
    def in_thread(log: logging.Logger, word: str) -> None:
        thread = threading.Thread(target=lambda: (log.info("own %s", word), print(word)))
        thread.start()
        thread.join()

    with attach_log(tmp_path / "a") as a:
        in_thread(a, "alone")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            inside, go_on = threading.Event(), threading.Event()

            def other() -> None:
                with attach_log(tmp_path / "b"):
                    inside.set()
                    go_on.wait(10)

            ended = pool.submit(other)
            inside.wait(10)
            in_thread(a, "beside")
            go_on.set()
            ended.result()
    assert [line.partition(": ")[2] for line in said(tmp_path / "a")] == ["own alone", "alone", "own beside"]
    assert said(tmp_path / "b") == []


# --- a run's logger ---------------------------------------------------------------------------------------------------


def test_logger_goes_with_its_run(log_file: Path) -> None:
    known = set(logging.root.manager.loggerDict)
    with attach_log(log_file) as log:
        log.info("here")
    gone = weakref.ref(log)
    del log
    gc.collect()
    assert gone() is None and set(logging.root.manager.loggerDict) == known


def test_logger_can_be_copied_with_a_module_and_sent_to_a_loaders_process() -> None:
    log = RunLogger()
    assert copy.deepcopy({"log": log})["log"] is log
    assert pickle.loads(pickle.dumps(log)) is logging.getLogger("lightning_adapter")


def test_level_of_the_packages_logger_is_that_of_the_runs(log_file: Path) -> None:
    package = logging.getLogger("lightning_adapter")
    with attach_log(log_file) as log:
        package.setLevel(logging.WARNING)
        log.info("left out")
        package.setLevel(logging.DEBUG)
        log.debug("wanted")
        package.setLevel(logging.NOTSET)
        log.debug("left out")
        log.setLevel(logging.DEBUG)
        log.debug("wanted too")
    assert said(log_file) == ["DEBUG lightning_adapter: wanted", "DEBUG lightning_adapter: wanted too"]


def test_root_at_warning_as_nobody_has_chosen_it_does_not_keep_lines_out_of_the_file(log_file: Path) -> None:
    heard: list[str] = []
    keeps = logging.Handler()
    keeps.emit = lambda record: heard.append(record.getMessage())  # type: ignore[method-assign]
    with handled_by("", keeps, level=logging.WARNING), attach_log(log_file) as log:
        log.info("for the file")
        log.warning("for all")
    assert heard == ["for all"]
    assert said(log_file) == ["INFO lightning_adapter: for the file", "WARNING lightning_adapter: for all"]


def test_record_for_the_file_alone_goes_no_further(log_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "lightning_adapter"), attach_log(log_file) as log:
        log.info("for the file", extra=FILE_ONLY)
        log.info("for all")
    assert caplog.messages == ["for all"]
    assert "for the file" in log_file.read_text()


def test_record_can_be_sent_to_another_process(log_file: Path) -> None:
    kept: list[logging.LogRecord] = []
    keeps = logging.Handler()
    keeps.emit = kept.append  # type: ignore[method-assign]
    with handled_by("", keeps, level=logging.INFO), shown_on_console(), attach_log(log_file) as log:
        log.info("own")
        logging.getLogger("other").warning("heard")
    assert [record.getMessage() for record in pickle.loads(pickle.dumps(kept))] == ["own", "heard"]


def test_handler_of_the_users_on_the_runs_logger_shows_a_line_once(
    log_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with unconfigured_logging(), shown_on_console(), attach_log(log_file) as log:
        log.addHandler(logging.StreamHandler(sys.stderr))
        log.info("seen")
    assert capsys.readouterr().err == "seen\n"
    assert said(log_file) == ["INFO lightning_adapter: seen"]


# --- what a person sees -----------------------------------------------------------------------------------------------


def test_line_on_the_console_is_no_print_in_the_file(log_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for configured in (False, True):
        with unconfigured_logging(), contextlib.ExitStack() as stack:
            if configured:  # at WARNING, where `Logger` itself would not call the console
                stack.enter_context(handled_by("", logging.NullHandler(), level=logging.WARNING))
            stack.enter_context(shown_on_console(is_quiet=True))
            log = stack.enter_context(attach_log(log_file))
            log.info("seen", extra=ALWAYS)
    assert said(log_file) == ["INFO lightning_adapter: seen"] * 2
    assert capsys.readouterr().err == "seen\nseen\n"


def test_lines_of_runs_within_and_beside_each_other_are_shown_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with unconfigured_logging(), shown_on_console(), shown_on_console(), attach_log(tmp_path / "a") as log:
        log.info("seen")
        logging.getLogger("lightning_adapter").warning("seen too")
    assert capsys.readouterr().err == "seen\nseen too\n"
