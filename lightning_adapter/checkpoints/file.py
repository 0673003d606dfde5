"""Is a checkpoint file whole and safe, and what of a run may stand in one?

A file is written beside its place and moved there, so that it is whole or absent. It is read with torch's restricted
loader, which runs no code of the file's own, after every checksum was compared. What that loader would refuse is
therefore refused, or left out, when a checkpoint is written.
"""

from __future__ import annotations

import json
import os
import pathlib
import pickle
import re
import zipfile
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from lightning_adapter import notices
from lightning_adapter.checkpoints import location
from lightning_adapter.checkpoints.conversions import to_plain
from lightning_adapter.checkpoints.plain_data import NOTES, Note, Place, PlainData, Refused, restore_types
from lightning_adapter.checkpoints.snapshot import Snapshot
from lightning_adapter.errors import CheckpointError
from lightning_adapter.versions import determined_private

FILE = location.FILE
#: Of the dictionary that is saved: the keys that may be left out; of the one that is read: those that were.
LEFT_OUT = "lightning_adapter_left_out"
#: Of the dictionary that is saved: below which keys states of objects stand that a resume constructs, and how deep.
CONSTRUCTED = "lightning_adapter_constructed"

_HYPERPARAMETERS = ("hyper_parameters", "datamodule_hyper_parameters")
#: What Determined's own Trainer reads with torch, and with pickle.
_HOST_TORCH_FILES = ("state_dict.pth", "determined/state_dict.pth", "pedl/state_dict.pth", "checkpoint.pt")
_HOST_PICKLES = ("trial_state.pkl", "workload_sequencer.pkl")


# --- saving -----------------------------------------------------------------------------------------------------------


def save(path: location.Location, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint file that the restricted loader takes, here or at a URL.

    Raises:
        CheckpointError: something that a resume needs would be refused; or the disk does not take the file.
    """
    write(path, ready(checkpoint))


def ready(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """What a checkpoint's file holds: what the restricted loader takes.

    What it would refuse of the hyperparameters, and of the keys that `LEFT_OUT` lists (what the module's
    `on_save_checkpoint` added), is left out with a warning: modules of libraries keep losses, metrics and transforms
    there, which their constructors make again.

    Raises:
        CheckpointError: something else, which a resume needs, would be refused.
    """
    content, left_out = plain(checkpoint)
    if left_out:
        notices.warn(
            "These objects are left out of the checkpoints, which are read without running code of their own and so may "
            f"hold tensors, numbers, strings and collections of them only:\n{_listed(left_out)}\n"
            "A resume takes them from the module as your trial constructs it; load_from_checkpoint() needs them as "
            "arguments. To keep them, allow their classes in the file of your trial: "
            "torch.serialization.add_safe_globals([...])."
        )
    return content


def write(path: location.Location, content: Mapping[str, Any] | Snapshot) -> None:
    """Write what is ready.

    Raises:
        CheckpointError: the disk does not take the file.
    """
    try:
        with location.writing(path) as stream:
            if isinstance(content, Snapshot):
                content.write(stream)
            else:
                torch.save(content, stream)
    except Exception as error:
        reason = _of_the_disk(error)
        if reason is None:
            raise
        raise CheckpointError(
            f"The checkpoint file {path} cannot be written: {reason}. See that its directory may be written to and has room, "
            "then go on from the checkpoint before (--resume-from)."
        ) from error


def _of_the_disk(error: BaseException | None) -> OSError | None:
    """The system's word behind an error: torch's archive tells of a full disk only that a position is another."""
    while error is not None and not isinstance(error, OSError):
        error = error.__context__
    return error


def plain(checkpoint: Mapping[str, Any]) -> tuple[dict[str, Any], list[Refused]]:
    """What a checkpoint's file holds.

    Args:
        checkpoint: what is to be saved; `LEFT_OUT` and `CONSTRUCTED` say how.

    Returns:
        Its content as plain data, and what of the hyperparameters and of the module's own keys is left out.

    Raises:
        CheckpointError: something else would be refused.
    """
    constructed, may_miss = checkpoint.get(CONSTRUCTED, {}), checkpoint.get(LEFT_OUT, [])
    content: dict[str, Any] = {}
    notes: list[Note] = []
    left_out: list[Refused] = []
    refused: list[Refused] = []

    def keep(value: object, place: Place, among: dict[Any, Any], faults: list[Refused]) -> None:
        made = PlainData(constructed)
        plain_value = made.of(value, place)
        if made.refused:
            faults.extend(made.refused)
        else:
            notes.extend(made.notes)
            among[place[-1]] = plain_value

    for key, value in checkpoint.items():
        if key in (CONSTRUCTED, LEFT_OUT):
            continue
        if key in _HYPERPARAMETERS and not isinstance(value, dict) and to_plain(value) is not None:
            keep(value, (key,), content, left_out)  # a DictConfig, which refers from entry to entry
        elif key in _HYPERPARAMETERS and isinstance(value, Mapping):
            content[key] = {}
            for name, parameter in value.items():
                keep(parameter, (key, name), content[key], left_out)
        else:
            keep(value, (key,), content, left_out if key in may_miss else refused)
    if refused:
        raise CheckpointError(
            "This run cannot be saved: a checkpoint is read without running code of its own, and so may hold tensors, "
            f"numbers, strings and collections of them only. Found:\n{_listed(refused)}\n"
            "Convert them (to numbers, strings, tensors, or a dict of them) where they are put in, or, if you trust "
            "their classes, allow these in the file of your trial: torch.serialization.add_safe_globals([...])."
        )
    if notes:
        content[NOTES] = [[list(place), kind, detail] for place, kind, detail in notes]
    absent = [key for key in may_miss if key in checkpoint and key not in content]
    if absent:
        content[LEFT_OUT] = absent  # the file names them itself
    return content, left_out


def _listed(faults: Iterable[Refused]) -> str:
    return "\n".join(map(str, faults))


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
    restore_types(checkpoint)
    return checkpoint


def metadata(path: location.Location) -> dict[str, Any]:
    """What the `metadata.json` of a checkpoint directory says, here or at a URL; nothing of a file of Lightning's.

    Raises:
        CheckpointError: it is damaged, or cannot be reached.
    """
    file = location.below(path, "metadata.json")
    if not location.is_directory(path) or not location.exists(file):
        return {}
    try:
        with location.reading(file) as stream:
            content = json.load(stream)
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{file} is damaged, or cannot be read ({error}). Use another checkpoint.") from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{file} is not as one is written. Use another checkpoint.")
    return content


def check_whole(path: pathlib.Path) -> None:
    """Compare the checksums of a file; nothing of it is unpickled.

    Raises:
        CheckpointError: it is cut short, or damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # damaged bytes make the reader of zip files fail in any way
        raise CheckpointError(f"{path} is cut short, or damaged ({type(error).__name__}: {error}).") from error
    if damaged is not None:
        raise CheckpointError(f"{path} is damaged: the checksum of its entry {damaged} does not hold.")


def peek(path: pathlib.Path) -> dict[str, Any]:
    """What a file of this machine holds, of which no weight is read; nothing where the restricted loader refuses it."""
    try:
        content = torch.load(str(path), map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, RuntimeError):  # another's file: of objects, or of the form before 1.6 of torch
        return {}
    return content if isinstance(content, dict) else {}


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
                holds_data = any(name.partition("/")[2] == "data.pkl" for name in archive.namelist())
            if damaged is None and not holds_data:
                raise CheckpointError(
                    f"{file} is no checkpoint, but an archive of something else. A package is opened by load_trial(..., "
                    "trust_code=True), and by validate, test, predict, draw and export with --trust-code; to train on, give "
                    "the checkpoint that it was made of."
                )
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
