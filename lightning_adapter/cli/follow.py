"""`lightning-adapter follow`: what becomes of an experiment on a cluster, and how did it end?"""

from __future__ import annotations

import argparse
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar

from lightning_adapter.cli.screen import Screen
from lightning_adapter.errors import LightningAdapterError, SubmissionError

if TYPE_CHECKING:
    from lightning_adapter.submission.master import Master
    from lightning_adapter.submission.standing import Reader, Standing, TrialStanding, Validation

DESCRIPTION = (
    "Show the state, progress and values of an experiment until it ends, as `submit` does. Exit status: 0 completed, 1 failed or "
    "cancelled, 2 there is no such experiment."
)
T = TypeVar("T")

#: Between two looks, and while the master is away.
INTERVAL_S = 2.0
_LONGEST_INTERVAL_S = 30.0
#: Of a failed trial's log: where the reason is looked for, and what is shown where none is found.
_LAST_LINES, _SHOWN_LINES = 200, 15
#: Begins an error of this package in a trial's log, and what launchers say after it.
_ERROR = re.compile(r"(\[rank=\d+\] )?lightning-adapter: (error|failed):")
_OF_LAUNCHER = re.compile(r"(\[rank=\d+\] )?([EWI]\d{4} |Traceback |=====|Process \d|Trial \d|resources )")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be typed after the command's name."""
    parser.add_argument("experiment", type=int, metavar="EXPERIMENT", help="its number")
    parser.add_argument("--logs", action="store_true", help="print the log of the first trial")


def run(arguments: argparse.Namespace) -> int:
    """Follow; return the exit status.

    Raises:
        SubmissionError: there is no master, or no such experiment.
    """
    from lightning_adapter.submission import master as masters

    return followed(masters.connect(), arguments.experiment, logs=arguments.logs)


def followed(master: Master, number: int, logs: bool) -> int:
    """Follow an experiment to its end; return the exit status.

    Args:
        master: logged in.
        number: of the experiment.
        logs: whether to print the log of the first trial.

    Raises:
        SubmissionError: there is no such experiment.
    """
    from lightning_adapter.submission.standing import Reader

    reader = Reader(master.session, number)
    screen = Screen()
    following = Following(reader, screen, _Patience(screen, master.url), logs)
    try:
        standing = following.to_the_end()
    except KeyboardInterrupt:
        screen.close()
        print(f"\nexperiment {number} goes on. {_come_back(number)}")
        raise
    except BrokenPipeError:
        # whoever read has gone, as behind `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(f"experiment {number} goes on. {_come_back(number)}", file=sys.stderr)
        return 128 + signal.SIGPIPE
    except LightningAdapterError:
        screen.close()
        if following.has_begun:
            print(_come_back(number))
        raise
    finally:
        screen.close()
    return 0 if standing.is_completed else 1


def _come_back(number: int) -> str:
    return f"To come back: lightning-adapter follow {number}. To end it: det experiment cancel {number}"


class _Patience:
    """Asks again while the master is away.

    Args:
        screen: is told when that begins, and when it is over.
        url: of the master.
    """

    def __init__(self, screen: Screen, url: str) -> None:
        self._screen = screen
        self._url = url

    def ask(self, question: Callable[[], T]) -> T:
        """Return the answer, however long it takes to come.

        Raises:
            SubmissionError: the master does not know what is asked for, or who asks.
        """
        from lightning_adapter.platform.login import FAILED
        from lightning_adapter.submission.master import is_away, words

        wait, away = INTERVAL_S, False
        while True:
            try:
                answer = question()
            except FAILED as error:
                if not is_away(error):
                    raise SubmissionError(words(error, self._url)) from error
                if not away:
                    self._screen.line(f"{words(error, self._url)}; the experiment goes on, and so do the attempts")
                away = True
                time.sleep(wait)
                wait = min(2 * wait, _LONGEST_INTERVAL_S)
                continue
            if away:
                self._screen.line("the master answers again")
            return answer


class Following:
    """One experiment, followed to its end.

    Args:
        reader: asks the master.
        screen: shows what it says.
        patience: how requests are repeated.
        logs: whether the first trial's log is printed.
    """

    def __init__(self, reader: Reader, screen: Screen, patience: _Patience, logs: bool) -> None:
        self._reader = reader
        self._screen = screen
        self._patience = patience
        self._log = _FirstLog(reader, screen) if logs else None
        self._state = ""
        self._validated: dict[int, int] = {}
        self._restarts: dict[int, int] = {}
        self._ended: set[int] = set()
        self._latest = ""

    @property
    def has_begun(self) -> bool:
        """Whether the master has said anything of the experiment."""
        return self._state != ""

    def to_the_end(self) -> Standing:
        """Follow; return how the experiment ended."""
        while True:
            standing = self._patience.ask(self._reader.standing)
            self._tell(standing)
            if standing.has_ended:
                self._screen.close()
                self._tell_end(standing)
                return standing
            time.sleep(INTERVAL_S)

    def _tell(self, standing: Standing) -> None:
        if not standing.has_ended:
            self._tell_state(standing)
        log = self._log
        if log is not None and standing.trials:
            first = standing.trials[0].id
            self._patience.ask(lambda: log.tell(first))
        for trial in standing.trials:
            self._tell_trial(trial, standing)
        if standing.has_ended:
            self._tell_state(standing)
        else:
            self._screen.show(self._headline(standing), standing.progress, self._latest)

    def _tell_state(self, standing: Standing) -> None:
        if standing.state != self._state:
            self._state = standing.state
            hint = (
                f" (det experiment activate {self._reader.number} lets it go on)" if standing.state == "PAUSED" else ""
            )
            self._screen.line(f"experiment {self._reader.number} {standing.word}{hint}")

    def _tell_trial(self, trial: TrialStanding, standing: Standing) -> None:
        if trial.restarts > self._restarts.get(trial.id, 0):
            self._restarts[trial.id] = trial.restarts
            self._screen.line(f"trial {trial.id} failed and starts again, for the {_ordinal(trial.restarts)} time")
        known = self._validated.get(trial.id, -1)
        if not standing.is_search and trial.validated is not None and trial.validated > known:
            for validation in self._patience.ask(lambda: self._reader.validations(trial.id, known)):
                self._validated[trial.id] = validation.batches
                self._latest = _values(validation)
                self._screen.line(f"trial {trial.id}: {_place(validation)}: {self._latest}")
        if standing.is_search and trial.has_ended and trial.id not in self._ended:
            self._ended.add(trial.id)
            best = f", {standing.metric} {trial.best:.4g}" if trial.best is not None else ""
            self._screen.line(
                f"trial {trial.id} {trial.word} after {trial.batches} batches{best}: {_searched(trial, standing)}"
            )

    def _headline(self, standing: Standing) -> str:
        text = f"experiment {self._reader.number} {standing.word}"
        if not standing.is_search or not standing.trials:
            return text
        best = standing.ranked()[0]
        text += f", {len(self._ended)} of {len(standing.trials)} trials ended"
        return text if best.best is None else f"{text}, best {standing.metric} {best.best:.4g} (trial {best.id})"

    def _tell_end(self, standing: Standing) -> None:
        if standing.is_search and standing.trials:
            self._screen.plain(_table(standing))
        failed = [trial.id for trial in standing.trials if trial.state == "ERROR"]
        if failed:
            self._tell_failure(failed[0])
        best = standing.ranked()[0] if standing.trials else None
        if best is not None and best.best is not None:
            self._screen.line(f"best {standing.metric} {best.best:.6g}, of trial {best.id}")
            self._screen.line(f"its checkpoint: lightning-adapter fetch {self._reader.number}")

    def _tell_failure(self, trial: int) -> None:
        lines = self._patience.ask(lambda: self._reader.last_lines(trial, _LAST_LINES))
        self._screen.line(f"trial {trial} failed; the end of its log (det trial logs {trial} shows all of it):")
        for line in _reason(lines):
            self._screen.plain(f"  {line}")


class _FirstLog:
    """The log of the first trial, as far as it was printed.

    Args:
        reader: asks the master.
        screen: prints it.
    """

    def __init__(self, reader: Reader, screen: Screen) -> None:
        self._reader = reader
        self._screen = screen
        self._after: str | None = None
        self._printed: set[str] = set()

    def tell(self, trial: int) -> None:
        """Print what is new in the log of a trial."""
        for number, moment, text in self._reader.log(trial, self._after):
            if number not in self._printed:
                self._printed.add(number)
                self._after = moment
                self._screen.plain(text.rstrip("\n"))


def _values(validation: Validation) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in validation.values.items())


def _place(validation: Validation) -> str:
    if validation.epochs is None:
        return f"batch {validation.batches}"
    # whole ones, while a log names the running one, counted from 0
    return f"batch {validation.batches}, {validation.epochs:g} epoch{'' if validation.epochs == 1 else 's'} done"


def _searched(trial: TrialStanding, standing: Standing) -> str:
    return ", ".join(f"{name} {_short(value)}" for name, value in _chosen(trial, standing))


def _chosen(trial: TrialStanding, standing: Standing) -> Iterator[tuple[str, object]]:
    for name in standing.searched:
        value: object = trial.hparams
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        yield name, value


def _short(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _table(standing: Standing) -> str:
    import tabulate

    headers = ["trial", "state", "batches", standing.metric or "", *standing.searched]
    rows = [
        [trial.id, trial.word, trial.batches, "" if trial.best is None else f"{trial.best:.6g}"]
        + [_short(value) for _, value in _chosen(trial, standing)]
        for trial in standing.ranked()
    ]
    return str(tabulate.tabulate(rows, headers=headers, disable_numparse=True))


def _reason(lines: list[str]) -> list[str]:
    """The part of a log that says why it ended: the error of this package, else the log's end."""
    starts = [index for index, line in enumerate(lines) if _ERROR.match(line)]
    if not starts:
        return lines[-_SHOWN_LINES:]
    told = lines[starts[0] : starts[0] + _SHOWN_LINES]
    end = next((index for index, line in enumerate(told) if _OF_LAUNCHER.match(line)), len(told))
    return told[:end]


def _ordinal(number: int) -> str:
    return {1: "first", 2: "second", 3: "third"}.get(number, f"{number}th")
