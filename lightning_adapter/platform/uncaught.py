"""How is an exception told that ends a process, a thread, or a cell of a notebook?

With its frames folded, the cause and its place in the run last, and once in a job. Only what is displayed is in question
here: the exception goes to whoever catches it as it was raised. Torch is not imported, so that all errors can be told.
"""

from __future__ import annotations

import contextlib
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator
from traceback import walk_tb
from types import TracebackType

from lightning_adapter.errors import LightningAdapterError
from lightning_adapter.platform.failure import exit_status, of_job, others_were_first, tell
from lightning_adapter.platform.folded import VARIABLE, chained, folded, notes_before_311, wants_all_frames, whole
from lightning_adapter.runs.recorder import prunes
from lightning_adapter.runs.summary import shown
from lightning_adapter.versions import launcher_private

#: On an error that has ended a run, or a command; other processes of the job may have it too.
_MARK = "_lightning_adapter_of_job"
#: On one whose whole traceback stands in a file, which it names.
_LOG = "_lightning_adapter_log"


def tell_at_exit(error: Exception | KeyboardInterrupt) -> None:
    """See to it that an error is told once, with its traceback folded, if it ends this process and others too.

    Of an interrupt nothing is told: whoever has typed it knows.
    """
    # not kept by the hook: a script may go on without it, and its frames hold the memory of the run that has failed
    vars(error)[_MARK] = True
    in_thread = threading.current_thread() is not threading.main_thread()
    if in_thread and not isinstance(threading.excepthook, _TellOfThread):
        threading.excepthook = _TellOfThread(threading.excepthook)
    if _ipython() is not None:  # which calls no hook for what a cell raises
        if isinstance(error, Exception):
            vars(error)["_render_traceback_"] = _lines_for_ipython
    elif not isinstance(sys.excepthook, (_TellOnce, _AsTheCommand)):
        # once: a study goes on after each trial that it has pruned
        sys.excepthook = _TellOnce(sys.excepthook)


def speak_as_the_command() -> None:
    """Behind an entrypoint that names the class, an error of ours is a message too, with the command's exit status."""
    sys.excepthook = _AsTheCommand(sys.excepthook)


@contextlib.contextmanager
def kept_whole(log: pathlib.Path) -> Iterator[None]:
    """Write the whole traceback of an error that ends the block to the run's log, which whoever prints it then names.

    That of a trial that a study has pruned says nothing: that is no error.
    """
    try:
        yield
    except Exception as error:
        if prunes(error):
            raise
        with contextlib.suppress(OSError):  # a disk that is full: then it names none
            with log.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{of_job()} failed:\n{whole(error)}" if of_job() else whole(error))
            vars(error)[_LOG] = str(log)
        raise


class _TellOnce:
    """In the place of `sys.excepthook`: tells an error of the job once, and leaves all others to whoever stood there before."""

    def __init__(self, usual: Callable[[type[BaseException], BaseException, TracebackType | None], object]) -> None:
        self._usual = usual

    def __call__(self, kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if not _take_mark(value):
            self._usual(kind, value, traceback)
        elif isinstance(value, KeyboardInterrupt):
            return
        elif not others_were_first(value):
            if of_job():
                print(f"{of_job()} failed:", file=sys.stderr, flush=True)
            if self._usual is sys.__excepthook__ or launcher_private.only_names_the_rank(self._usual):
                _print(told(value))
                return
            # somebody who shows tracebacks in a way of their own, or watches over the process
            self._usual(kind, value, traceback)
            _print("".join(notes_before_311(value)) + _where_whole(value, left_out=False))


class _AsTheCommand:
    """In the place of `sys.excepthook`: tells each error as the command does."""

    def __init__(self, usual: Callable[[type[BaseException], BaseException, TracebackType | None], object]) -> None:
        self._usual = usual

    def __call__(self, kind: type[BaseException], value: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(value, LightningAdapterError):
            tell(value, "lightning-adapter")
            raise SystemExit(exit_status(value))
        if not isinstance(value, Exception):
            self._usual(kind, value, traceback)
        elif not others_were_first(value):
            _print(told(value))


class _TellOfThread:
    """In the place of `threading.excepthook`: the same for an error that ends a thread."""

    def __init__(self, usual: Callable[[threading.ExceptHookArgs], object]) -> None:
        self._usual = usual

    def __call__(self, ended: threading.ExceptHookArgs) -> None:
        value = ended.exc_value
        if value is None or not _take_mark(value) or self._usual is not threading.__excepthook__:
            self._usual(ended)
        else:
            name = "" if ended.thread is None else f" {ended.thread.name}"
            _print(f"Exception in thread{name}:\n{told(value)}")


def _take_mark(error: BaseException) -> bool:
    """Whether an error has ended a run, or was raised from one that has; asked once, since a script may raise it again."""
    return any([vars(each).pop(_MARK, False) for each in chained(error)])


def told(error: BaseException) -> str:
    """What is printed of an error that ends a process: last, where people look, what has gone wrong and where."""
    if wants_all_frames():
        return whole(error) + _where_whole(error, left_out=False)
    text, left_out = folded(error)
    if left_out and _log_of(error) is None and _on_cluster():  # the task's log is the only one
        return f"The whole traceback:\n\n{whole(error)}\nWithout the frames of the hosts:\n\n{text}"
    return text + _where_whole(error, left_out)


def _where_whole(error: BaseException, left_out: bool) -> str:
    log = _log_of(error)
    if log is not None:
        return f"the whole traceback: {shown(pathlib.Path(log))}\n"
    return f"to see the frames that are left out, set {VARIABLE}=whole\n" if left_out else ""


def _log_of(error: BaseException) -> str | None:
    return next((vars(each)[_LOG] for each in chained(error) if _LOG in vars(each)), None)


def _on_cluster() -> bool:
    from lightning_adapter.platform.environment import managed_trial  # which imports Determined: `--help` is quick

    return managed_trial() is not None


def _print(text: str) -> None:
    print(text, end="", file=sys.stderr, flush=True)


# --- notebooks --------------------------------------------------------------------------------------------------------


def _ipython() -> object | None:
    """The shell whose cell runs here; None in an ordinary process. Whoever runs one has imported IPython."""
    ipython = sys.modules.get("IPython")
    shell: object | None = None if ipython is None else ipython.get_ipython()
    return shell


def _lines_for_ipython() -> list[str]:
    """The traceback as a notebook shows it: `InteractiveShell.showtraceback` asks an exception for `_render_traceback_`.

    It gives no argument, and has put the exception into `sys.last_value`; a function that knew it would keep it alive.
    """
    found = (sys.exc_info()[1], getattr(sys, "last_value", None))
    error = next(each for each in found if each is not None and "_render_traceback_" in vars(each))
    text = told(error)
    format_name = getattr(getattr(_ipython(), "compile", None), "format_code_name", None)
    if format_name is not None:  # IPython 8 and later
        files = {frame.f_code.co_filename for each in chained(error) for frame, _ in walk_tb(each.__traceback__)}
        for file, cell in ((file, format_name(file)) for file in files):
            if cell is not None:
                text = text.replace(f'File "{file}", line', f"{' '.join(cell)}, line")
    return text.rstrip("\n").split("\n")
