"""Is a checkpoint file whole and safe, and what of a run may stand in one?

A file is written beside its place and moved there, so that it is whole or absent. It is read with torch's restricted
loader, which runs no code of the file's own, after every checksum was compared. What that loader would refuse is
therefore refused, or left out, when a checkpoint is written.
"""

from __future__ import annotations

import collections
import io
import os
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch

from lightning_adapter.checkpoints import location
from lightning_adapter.errors import CheckpointError
from lightning_adapter.versions import determined_private

FILE = "lightning.ckpt"
#: Of the dictionary that is saved: the keys that may be left out; of the one that is read: those that were.
LEFT_OUT = "lightning_adapter_left_out"

_HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")
_PLAIN = (int, float, str, bool, bytes, type(None), torch.Tensor, torch.dtype, torch.device, torch.Size, complex)
#: What the restricted loader itself can make besides `_PLAIN`.
_MAPPINGS = (dict, collections.OrderedDict, collections.Counter)
_SEQUENCES = (list, tuple, set)
#: What Determined's own Trainer reads with torch, and with pickle.
_HOST_TORCH_FILES = ("state_dict.pth", "determined/state_dict.pth", "pedl/state_dict.pth", "checkpoint.pt")
_HOST_PICKLES = ("trial_state.pkl", "workload_sequencer.pkl")


class _Refused(NamedTuple):
    """An object that the restricted loader would not take.

    Attributes:
        where: its place, such as `callbacks['Mine']['path']`.
        what: the classes or functions that it is made of, or why it cannot be pickled.
    """

    where: str
    what: str


# --- saving -----------------------------------------------------------------------------------------------------------


def save(path: location.Location, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint file that the restricted loader takes, here or at a URL.

    What it would refuse of the hyperparameters, and of the keys that `LEFT_OUT` lists (what the module's
    `on_save_checkpoint` added), is left out with a warning: modules of libraries keep losses, metrics and transforms
    there, which their constructors make again.

    Raises:
        CheckpointError: something else, which a resume needs, would be refused.
    """
    content = dict(checkpoint)
    left_out = [*_leave_out_hyperparameters(content), *_leave_out_keys(content)]
    refused = [fault for key, value in content.items() for fault in _refused(value, str(key))]
    if refused:
        raise CheckpointError(
            "This run cannot be saved: a checkpoint is read without running code of its own, and so may hold tensors, "
            f"numbers, strings and collections of them only. Found:\n{_listed(refused)}\n"
            "Convert them (str(path), float(number), tensor instead of array) where they are put in, or, if you trust "
            "their classes, allow these in the file of your trial: torch.serialization.add_safe_globals([...])."
        )
    if left_out:
        warnings.warn(
            "These objects are left out of the checkpoints, which are read without running code of their own and so may "
            f"hold tensors, numbers, strings and collections of them only:\n{_listed(left_out)}\n"
            "A resume takes them from the module as your trial constructs it; load_from_checkpoint() needs them as "
            "arguments. To keep them, allow their classes in the file of your trial: "
            "torch.serialization.add_safe_globals([...]).",
            stacklevel=2,
        )
    with location.writing(path) as stream:
        torch.save(content, stream)


def _leave_out_hyperparameters(content: dict[str, Any]) -> list[_Refused]:
    """Take single hyperparameters that would be refused out of a checkpoint; the others stay."""
    left_out = []
    for key in _HYPERPARAMETERS:
        if key not in content:
            continue
        faults = {name: _refused(value, f"{key}[{name!r}]") for name, value in content[key].items()}
        left_out += [fault for found in faults.values() for fault in found]
        content[key] = {name: value for name, value in content[key].items() if not faults[name]}
    return left_out


def _leave_out_keys(content: dict[str, Any]) -> list[_Refused]:
    """Take whole keys that may be left out and would be refused out of a checkpoint; it then names them itself."""
    left_out: list[_Refused] = []
    absent = []
    for key in content.pop(LEFT_OUT, []):
        if key in content and (found := _refused(content[key], str(key))):
            left_out += found
            absent.append(key)
            del content[key]
    if absent:
        content[LEFT_OUT] = absent
    return left_out


def _refused(value: object, where: str) -> list[_Refused]:
    """Places of objects that `torch.load(weights_only=True)` would not take, and what they are made of."""
    if type(value) in _PLAIN or isinstance(value, torch.Tensor):
        return []
    # Exact types: a subclass is pickled by the name of its class, which is for the restricted loader to judge.
    if isinstance(value, _MAPPINGS) and type(value) in _MAPPINGS:
        return [fault for key, entry in value.items() for fault in _refused(entry, f"{where}[{key!r}]")]
    if isinstance(value, _SEQUENCES) and type(value) in _SEQUENCES:
        return [fault for index, entry in enumerate(value) for fault in _refused(entry, f"{where}[{index}]")]
    written = io.BytesIO()
    try:
        torch.save(value, written)
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError) as error:
        kind = f"{type(value).__module__}.{type(value).__qualname__}"
        return [_Refused(where, f"{kind}, which cannot be pickled: {error}")]
    unknown = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(written.getvalue()))
    return [_Refused(where, ", ".join(sorted(unknown)))] if unknown else []


def _listed(faults: Iterable[_Refused]) -> str:
    return "\n".join(f"- {where}: {what}" for where, what in faults)


# --- reading ----------------------------------------------------------------------------------------------------------


def read(path: location.Location) -> dict[str, Any]:
    """Read a checkpoint directory, or a file of Lightning's, from here or from a URL.

    Raises:
        CheckpointError: it is absent, cut short, damaged, or holds objects that are not plain data.
    """
    file = path
    if location.is_directory(path):
        file = location.below(path, FILE)
    if file is not path and not location.exists(location.below(path, "metadata.json")):
        raise CheckpointError(
            f"{path} is no whole checkpoint: it has no metadata.json, which is written last. Give the directory of a "
            f"checkpoint, one below runs/<trial>/<date-time>/checkpoints/."
        )
    if not location.exists(file):
        raise CheckpointError(
            f"{file} does not exist. Give the directory of a checkpoint of this package, or a Lightning .ckpt file."
        )
    checkpoint = _load(file)
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{file} is no checkpoint of a LightningModule: it has no state_dict.")
    return checkpoint


def check_host_files(path: pathlib.Path) -> None:
    """Read what Determined's own Trainer wrote, and is about to unpickle without restriction, with restriction.

    Args:
        path: a checkpoint's directory, as `_PyTorchTrialController._load` gets it.

    Raises:
        CheckpointError: a file is damaged, or names something that could run code.
    """
    for name in _HOST_TORCH_FILES:
        if (path / name).exists():
            with determined_private.loads_own_checkpoints():
                _load(path / name)
    for name in _HOST_PICKLES:
        file = path / name
        if not file.exists():
            continue
        try:
            with file.open("rb") as stream:
                _NoClasses(stream).load()
        except Exception as error:  # damaged bytes make the reader of pickles fail in any way
            raise CheckpointError(
                f"{file} is damaged, or holds more than numbers and strings, and Determined would unpickle it without "
                f"restriction: {error}. Use another checkpoint."
            ) from error


def _load(file: location.Location) -> object:
    """What a file of `torch.save` holds, if it is whole and holds nothing that could run code of its own.

    Raises:
        CheckpointError: says what is wrong with it.
    """
    try:
        with location.reading(file) as stream:
            if not stream.seek(0, os.SEEK_END):
                raise CheckpointError(f"{file} is empty: its process ended before it was written. Use another one.")
            stream.seek(0)
            # torch.load compares no checksums, and would take a flipped bit of a weight for a weight.
            with zipfile.ZipFile(stream) as archive:
                damaged = archive.testzip()
            if damaged is None:
                stream.seek(0)
                # ModelCheckpoint keeps its directory as it was given; making a path runs no code of the file's
                with torch.serialization.safe_globals([pathlib.PosixPath, pathlib.WindowsPath]):
                    content: object = torch.load(stream, map_location="cpu", weights_only=True)
                return content
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        named = re.search(r"GLOBAL (\S+)", str(error))
        raise CheckpointError(
            f"{file} holds more than tensors, numbers and strings"
            + (f" (it names {named[1]})" if named else "")
            + ", and is not read because that could run code of its own. If you wrote it and trust it, allow what it "
            "names in the file of your trial: torch.serialization.add_safe_globals([...])."
        ) from error
    except Exception as error:  # damaged bytes make the readers of zip and pickle fail in any way
        raise CheckpointError(
            f"{file} is cut short, damaged, or no checkpoint ({type(error).__name__}: {error}). Use another one."
        ) from error
    raise CheckpointError(f"{file} is damaged: the checksum of its entry {damaged} does not hold. Use another one.")


class _NoClasses(pickle.Unpickler):
    """Reads numbers, strings and collections, and nothing that names a class or a function."""

    def find_class(self, module: str, name: str) -> object:
        raise pickle.UnpicklingError(f"it names {module}.{name}")
