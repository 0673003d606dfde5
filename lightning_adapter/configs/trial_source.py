"""Which hyperparameters does a trial declare, or read, and with which values does their YAML begin?"""

from __future__ import annotations

from dataclasses import MISSING
from typing import Any

from lightning_adapter.configs import typed
from lightning_adapter.configs.origins import ValuesOrigin
from lightning_adapter.configs.parts import Tree
from lightning_adapter.configs.tree_paths import Path, at
from lightning_adapter.configs.trial_reads import length_given, names_read, reads_batch_size
from lightning_adapter.platform import experiment
from lightning_adapter.platform.trial import LightningTrial

_BATCH_SIZE = "global_batch_size"
_BATCH_SIZE_IS = "samples of one step over all processes"
_GIVEN = "it has to be given"


def of_trial(name: str, cls: type[LightningTrial]) -> ValuesOrigin:
    """Return what a trial says of its hyperparameters.

    Args:
        name: of the trial, as an entrypoint names it.
        cls: its class.

    Raises:
        ConfigurationError: what it declares is no dataclass.
    """
    fields = typed.fields_of(cls)
    return _declared(name, cls, fields) if fields else _read(name, cls)


def _declared(name: str, cls: type[LightningTrial], fields: list[typed.Field]) -> ValuesOrigin:
    kept = [field for field in fields if not isinstance(field.default, typed.NotPlain)]
    left = [f"{field.name} ({field.default!r})" for field in fields if isinstance(field.default, typed.NotPlain)]
    missing: list[Path] = [_path(field) for field in kept if field.default is MISSING]
    tree = experiment.nest({field.name: None if field.default is MISSING else field.default for field in kept})
    comments = {_path(field): "; ".join(part for part in (field.type, field.comment) if part) for field in kept}
    asks: dict[Path, str] = dict.fromkeys(missing, _GIVEN)
    if reads_batch_size(cls) and _BATCH_SIZE not in tree:
        tree[_BATCH_SIZE] = 64
        asks[_BATCH_SIZE,] = _BATCH_SIZE_IS

    def check(values: Tree) -> None:
        if all(at(values, path) is not None for path in missing):
            cls.check_hyperparameters(values)

    advice = (f"Left out, since no YAML holds their defaults: {', '.join(left)}.",) if left else ()
    return ValuesOrigin(name, tree, name, comments, asks, advice, length=length_given(cls), check=check)


def _path(field: typed.Field) -> Path:
    return tuple(field.name.split("."))


def _read(name: str, cls: type[LightningTrial]) -> ValuesOrigin:
    """What can be seen in the code of a trial that declares nothing."""
    file = name.rpartition(":")[0]
    read = names_read(cls)
    tree: dict[str, Any] = dict.fromkeys(read)
    comments: dict[Path, str] = {(each,): f"read in line {line} of {file}" for each, line in read.items()}
    asks: dict[Path, str] = dict.fromkeys(comments, "a value")
    if reads_batch_size(cls) or not tree or _BATCH_SIZE in tree:
        tree[_BATCH_SIZE] = 64
        asks[_BATCH_SIZE,] = _BATCH_SIZE_IS
    advice = (
        f"TO CHANGE: {cls.__name__} does not declare its hyperparameters (Hyperparameters = MyDataclass), so that those below are",
        "what can be seen in its own code, without values.",
    )
    return ValuesOrigin(name, tree, name, comments, asks, advice, length=length_given(cls), is_open=True)
