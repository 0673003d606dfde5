"""How do hyperparameters come back as what they were, where Lightning's own `load_from_checkpoint` reads a file?

It gives the constructor what the file holds, which is plain data. What our notes say of it (`conversions`) is converted
back here, and handed to it like arguments of the caller's.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable, Mapping
from typing import Any

from lightning_adapter.checkpoints import file, location
from lightning_adapter.checkpoints.plain_data import NOTES, restore_types
from lightning_adapter.versions import hosts

#: What `load_from_checkpoint` takes besides hyperparameters.
_NO_HYPERPARAMETERS = ("checkpoint_path", "map_location", "hparams_file", "strict", "weights_only")


class _LoadFromCheckpoint:
    """Lightning's classmethod, which refuses to be called on an instance; so this one leaves that to it."""

    def __get__(self, instance: object, owner: type) -> Callable[..., Any]:
        if instance is not None:
            theirs: Callable[..., Any] = super(GivesBackHyperparameters, instance).load_from_checkpoint  # type: ignore[misc]
            return theirs
        return functools.partial(_load, owner)


class GivesBackHyperparameters:
    """A module or datamodule whose constructor gets its hyperparameters as what they were when they were saved."""

    load_from_checkpoint = _LoadFromCheckpoint()


def _load(cls: Any, *args: Any, **kwargs: Any) -> Any:
    load = super(GivesBackHyperparameters, cls).load_from_checkpoint
    # its positional arguments differ between modules, datamodules and versions
    signature = inspect.signature(load)
    takes = [parameter for name, parameter in signature.parameters.items() if name != "cls"]
    given = signature.replace(parameters=takes).bind_partial(*args, **kwargs).arguments
    if "checkpoint_path" in given and given.get("hparams_file") is None:  # which would win over the file's
        kwargs = {**_given_back(cls, given["checkpoint_path"], kwargs), **kwargs}
    return load(*args, **kwargs)


def _given_back(cls: Any, path: Any, overrides: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of the constructor that are to be other than the file has them."""
    saved, key = _content(path), cls.CHECKPOINT_HYPER_PARAMS_KEY
    if not isinstance(saved.get(key), dict):
        return {}
    overrides = {name: value for name, value in overrides.items() if name not in _NO_HYPERPARAMETERS}
    notes = [note for note in saved.get(NOTES, []) if note[0][0] == key and not set(note[0][1:2]) & overrides.keys()]
    content: dict[str, Any] = {key: {**saved[key], **overrides}, NOTES: notes}
    restore_types(content)
    # where one argument is all hyperparameters, as in `save_hyperparameters(args)`
    name: Any = saved.get(cls.CHECKPOINT_HYPER_PARAMS_NAME)
    if name in inspect.signature(cls.__init__).parameters and name not in overrides:
        host = hosts.host_of_class(cls)
        whole = content[key]
        if isinstance(whole, dict) and host is not None:  # of a Namespace, Lightning keeps no more than a dict
            whole = host.load("utilities.parsing").AttributeDict(whole)
        return {name: whole}
    return {note[0][1]: content[key][note[0][1]] for note in notes if len(note[0]) > 1}


def _content(path: Any) -> dict[str, Any]:
    """What a file on this machine holds, of which no weight is read; nothing where Lightning is to say what is wrong."""
    if not isinstance(path, (str, os.PathLike)) or location.is_remote(path) or not location.local_path(path).is_file():
        return {}
    return file.peek(location.local_path(path))
