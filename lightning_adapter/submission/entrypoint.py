"""What does an experiment's entrypoint start: which launcher, which command, which trial?"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.platform.target import target_among

#: "fit": this package's command. "trial": a class that Determined's own Trainer trains. "script": a Python file. "other":
#: anything that only the container can tell.
Kind: TypeAlias = Literal["fit", "trial", "script", "other"]

#: What starts a process for each slot. Determined's own are modules; the others are commands, or modules as well.
_LAUNCHER_MODULES = ("torch.distributed.run", "torch.distributed.launch", "accelerate.commands.launch")
_LAUNCHER_COMMANDS = ("torchrun", "horovodrun", "mpirun", "deepspeed", "accelerate")
#: The launcher that this package's messages name.
TORCH_LAUNCHER = "python3 -m determined.launch.torch_distributed --"

#: As `match_legacy_trial_class` of Determined's.
_TRIAL = re.compile(r"[a-zA-Z0-9_.]+:[a-zA-Z0-9_]+")
_PYTHON = re.compile(r"python[\d.]*")
#: What ends a command in a shell's line.
_ENDS = re.compile(r"[();<>|&]+")


@dataclass(frozen=True)
class Entrypoint:
    """An entrypoint, taken apart.

    Attributes:
        text: as it would be typed.
        kind: what it starts.
        launchers: what it starts that with, from the outside to the inside.
        target: `FILE_OR_MODULE:TrialClass`, where it names one.
        arguments: what follows `fit`.
        script: the Python file, where it starts one.
    """

    text: str
    kind: Kind
    launchers: tuple[str, ...] = ()
    target: str | None = None
    arguments: tuple[str, ...] = ()
    script: str | None = None

    @property
    def is_known(self) -> bool:
        """Whether the arguments are what the container will see: a shell's variables are known there alone."""
        return not any("$" in word or "`" in word for word in self.arguments)


def read_entrypoint(value: str | Sequence[str]) -> Entrypoint:
    """Take an entrypoint apart.

    Args:
        value: a line for the shell, or the words of a command, as in the experiment YAML.

    Raises:
        ConfigurationError: a quote in it is not closed.
    """
    if isinstance(value, str):
        text = " ".join(value.split())
        try:
            words = list(_shell_words(value))
        except ValueError as error:
            raise ConfigurationError(f"entrypoint is {shown(text)}, which no shell can read: {error}") from None
    else:
        words, text = list(value), shlex.join(value)
    if len(words) == 1 and _TRIAL.fullmatch(words[0]):
        # Determined starts a bare class under its own launcher
        return Entrypoint(text, "trial", ("determined.launch.torch_distributed",), words[0])
    start = _fit(words)
    launchers = tuple(_launchers(words if start is None else words[:start]))
    if start is not None:
        arguments = _until_end(words[start:])
        return Entrypoint(text, "fit", launchers, target_among(arguments), arguments)
    if "--trial" in words[:-1]:
        return Entrypoint(text, "trial", launchers, words[words.index("--trial") + 1])
    # a shell may have gone elsewhere before it starts the file
    script = None if any(_ENDS.fullmatch(word) for word in words) else _script(words)
    return Entrypoint(text, "other" if script is None else "script", launchers, script=script)


def _shell_words(text: str) -> Iterator[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    yield from lexer


def _fit(words: Sequence[str]) -> int | None:
    """Where the arguments of this package's `fit` begin."""
    for index, word in enumerate(words):
        command = os.path.basename(word) == "lightning-adapter"
        module = word == "lightning_adapter" and index > 0 and words[index - 1] == "-m"
        if (command or module) and words[index + 1 : index + 2] == ["fit"]:
            return index + 2
    return None


def _until_end(words: Sequence[str]) -> tuple[str, ...]:
    end = next((index for index, word in enumerate(words) if _ENDS.fullmatch(word)), len(words))
    return tuple(words[:end])


def _launchers(words: Sequence[str]) -> Iterator[str]:
    for before, word in zip(["", *words], words, strict=False):
        if before == "-m" and (word.startswith("determined.launch.") or word in _LAUNCHER_MODULES):
            yield word
        elif before != "-m" and os.path.basename(word) in _LAUNCHER_COMMANDS:
            yield os.path.basename(word)


def _script(words: Sequence[str]) -> str | None:
    """The Python file that is started, by an interpreter or by a launcher."""
    for index, word in enumerate(words):
        before = [os.path.basename(other) for other in words[:index]]
        if word.endswith(".py") and any(_PYTHON.fullmatch(name) or name in _LAUNCHER_COMMANDS for name in before):
            return word
    return None
