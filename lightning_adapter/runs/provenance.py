"""Where does a run come from: what was typed, in which state of the project, with which versions, on which machine?"""

from __future__ import annotations

import contextlib
import contextvars
import importlib.metadata
import os
import pathlib
import platform
import re
import shlex
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from lightning_adapter.runs.store import run_of

_PROGRAM = "lightning-adapter"
#: What the numbers of a run depend on.
_PACKAGES = ("lightning-adapter", "determined", "lightning", "numpy", "pytorch-lightning", "torch", "torchmetrics")
#: Seconds for which git may look at a project.
_GIT_TIMEOUT_S = 5.0
_LONGEST = 4000  # characters: a script may have been given as a text, behind `python -c`


_typed_target: contextvars.ContextVar[str | None] = contextvars.ContextVar("typed_target", default=None)


def of_this_process() -> dict[str, Any]:
    """What `run.json` says of the process that begins a run; paths and names as they are now."""
    directory = _working_directory()
    return {
        "command": command(),
        "working_directory": directory,
        "versions": versions(),
        "git": None if directory is None else git(directory),
        "host": socket.gethostname(),
        "pid": os.getpid(),
    }


def _working_directory() -> str | None:
    try:
        return os.getcwd()
    except OSError:  # somebody has deleted it
        return None


def command() -> str:
    """What was typed to start this process, as a shell takes it."""
    words = list(sys.orig_argv[1:])
    if words and os.path.basename(words[0]) == _PROGRAM:
        words[0] = _PROGRAM
    else:
        words.insert(0, "python")
    typed = shlex.join(words)
    return typed if len(typed) <= _LONGEST else f"{typed[:_LONGEST]}..."


@contextlib.contextmanager
def typed_target(target: str) -> Iterator[None]:
    """A command trains the class that was typed as `FILE_OR_MODULE:Class`, until the block ends."""
    token = _typed_target.set(target)
    try:
        yield
    finally:
        _typed_target.reset(token)


def was_typed() -> bool:
    """Whether a command trains, and no script or notebook that calls `fit()`."""
    return _typed_target.get() is not None


def target_of(trial_class: type) -> str | None:
    """How a trial's class can be found again: as it was typed, else `module:Class`, or a file where it is that of a script.

    Returns:
        None for a class of a notebook, or one that was made in a function.
    """
    typed = _typed_target.get()
    if typed is not None:
        return typed
    module, name = trial_class.__module__, trial_class.__qualname__
    loaded = sys.modules.get(module)
    if getattr(loaded, name, None) is not trial_class:
        return None
    if module != "__main__":
        return f"{module}:{name}"
    file = getattr(loaded, "__file__", None)
    return f"{os.path.abspath(file)}:{name}" if file is not None and os.path.isfile(file) else None


def versions() -> dict[str, str]:
    """The versions that are installed, of this package, of Python, and of what numbers depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name.replace("-", "_")] = _version(name)
    return found


def _version(name: str) -> str:
    installed = importlib.metadata.distribution(name)
    # `Distribution.version` reads the whole file as an e-mail, which takes longer than all else that is noted of a run
    line = re.search(r"^Version: *(\S+)", installed.read_text("METADATA") or "", re.MULTILINE)
    return installed.version if line is None else line[1]


def git(directory: str | os.PathLike[str]) -> dict[str, Any] | None:
    """The commit of a directory's repository, and whether no file that git follows has changed since.

    Returns:
        "commit" and "clean", which is None where git took too long to look; None where there is no git, no repository, or
        no commit.
    """
    commit = _ask_git(directory, "rev-parse", "--verify", "HEAD")
    if commit is None:
        return None
    changed = _ask_git(directory, "status", "--porcelain", "--untracked-files=no")
    return {"commit": commit, "clean": None if changed is None else not changed}


def _ask_git(directory: str | os.PathLike[str], *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", os.fspath(directory), *words],
            env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # a look changes nothing
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired):
        return None
    return done.stdout.decode(errors="replace").strip() if done.returncode == 0 else None


def assignments(values: Mapping[str, Any]) -> str:
    """Names and values on one line."""
    return ", ".join(f"{name}={value!r}" for name, value in values.items())


def head(facts: Mapping[str, Any], differences: Mapping[str, Any] | None = None) -> str:
    """The facts in a few lines, with which a log begins.

    Args:
        facts: what the record holds.
        differences: the hyperparameters that differ from their defaults; None where no defaults are known.
    """
    state = facts["git"]
    clean = {True: "clean", False: "with changes", None: "not known whether there are changes"}
    several = f", {facts['processes']} processes" if facts["processes"] > 1 else ""
    rows = {
        "run": f"{facts['name']}, begun {facts['start']} on {facts['host']} by process {facts['pid']}{several}",
        "command": facts["command"],
        "in": facts["working_directory"],
        "target": facts["target"],
        "git": None if state is None else f"{state['commit']}, {clean[state['clean']]}",
        "from": facts["parent"],
        "seed": facts["seed"],
        "differs from the defaults": None if differences is None else assignments(differences) or "nothing",
        "hyperparameters": assignments(facts["hyperparameters"]),
        "versions": ", ".join(f"{name} {version}" for name, version in facts["versions"].items()),
    }
    return "\n".join(f"{name}: {_one_line(value)}" for name, value in rows.items() if value not in (None, ""))


def _one_line(value: object) -> str:
    return str(value).replace("\r", "\\r").replace("\n", "\\n")


def parent_of(source: object) -> str | None:
    """The run directory that a checkpoint lies in; where it lies in none, the checkpoint itself."""
    if source is None:
        return None
    if not isinstance(source, pathlib.Path):
        return str(source)
    return str(run_of(source) or source.absolute())
