"""What is saved and restored?

A checkpoint directory holds one file with the weights, `lightning.ckpt`. It has the keys of Lightning's own
checkpoints, so that `load_from_checkpoint` takes it, and beside them, under `lightning_adapter`, what Lightning does not
save: the position in the data, random states, what was logged in the epoch. It is read with torch's restricted loader.
"""

from __future__ import annotations

import collections
import copy
import io
import itertools
import math
import os
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import torch
from lightning_utilities.core.apply_func import apply_to_collection

from lightning_adapter.data.loaders import RandomState
from lightning_adapter.errors import CheckpointError
from lightning_adapter.loop.build import Run
from lightning_adapter.trainer.view import Counter, Progress
from lightning_adapter.versions import determined_private, lightning_private, torchmetrics_private

FILE = "lightning.ckpt"
OURS = "lightning_adapter"
_FORMAT = 1


# --- random states ------------------------------------------------------------------------------------------------------


def random_state() -> dict[str, Any]:
    """State of all generators of this process."""
    state = RandomState.now().state_dict()
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: Mapping[str, Any]) -> None:
    """Continue all generators of this process."""
    RandomState.of(state).restore()
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


# --- saving -------------------------------------------------------------------------------------------------------------


def adapter_state(run: Run) -> dict[str, Any]:
    """What Lightning's own checkpoints lack, of this process."""
    trainer = run.trainer
    loop = trainer.fit_loop
    data = trainer.training_data
    batches = loop.epoch_loop.batch_progress.current.ready if run.in_epoch else 0
    return {
        "format": _FORMAT,
        "in_epoch": run.in_epoch,
        "epochs": _progress_state(loop.epoch_progress),
        "batches": _progress_state(loop.epoch_loop.batch_progress),
        "validation": _progress_state(loop.epoch_loop.val_loop.batch_progress),
        "optimizer_steps": trainer.global_step,
        "batches_that_stepped": loop.epoch_loop.batches_that_stepped,
        "should_stop": bool(trainer.should_stop),
        "metrics": run.metrics.state_dict(),
        "metric_states": torchmetrics_private.metric_states(run.module),
        "modes": [child.training for child in run.module.modules()],
        "gradients": _gradients(run),
        "outputs": None if run.outputs is None else run.outputs.state_dict(),
        "loaded_in": [run.training_data_epoch, run.validation_data_epoch],
        "data": None if data is None else data.state_dict(batches),
        "random": random_state(),
    }


def _gradients(run: Run) -> dict[str, Any]:
    """Gradients that are still to be used: under manual optimization a batch may have accumulated without a step."""
    if run.module.automatic_optimization or run.stepped:
        return {}
    return {name: value.grad for name, value in run.module.named_parameters() if value.grad is not None}


_PER_RANK = ("random", "data", "metrics", "metric_states", "gradients", "outputs")


def of_this_rank(state: Mapping[str, Any]) -> dict[str, Any]:
    """What differs between processes in what `adapter_state` returned, in main memory."""
    own = {name: state[name] for name in _PER_RANK}
    return apply_to_collection(own, torch.Tensor, lambda tensor: tensor.cpu())  # type: ignore[no-any-return]


def with_rank(state: dict[str, Any], rank: int) -> dict[str, Any]:
    """A saved state with what it has of process `rank`; processes that did not exist then take the chief's."""
    ranks = state["ranks"]
    return {**state, **ranks[rank if rank < len(ranks) else 0]}


def lightning_checkpoint(run: Run, weights_only: bool = False) -> dict[str, Any]:
    """Lightning's dictionary of the present state, the `on_save_checkpoint` hooks included."""
    trainer, module, hooks = run.trainer, run.module, run.hooks
    loops = _loops(run)
    checkpoint: dict[str, Any] = {
        "epoch": loops["fit_loop"]["epoch_progress"]["current"]["completed"],
        "global_step": trainer.global_step,
        "pytorch-lightning_version": str(run.host.version),
        "state_dict": module.state_dict(),
        "loops": loops,
    }
    if not weights_only:
        checkpoint["callbacks"] = {
            callback.state_key: state for callback in trainer.callbacks if (state := callback.state_dict())
        }
        checkpoint["optimizer_states"] = [optimizer.state_dict() for optimizer in trainer.optimizers]
        checkpoint["lr_schedulers"] = [config.scheduler.state_dict() for config in trainer.lr_scheduler_configs]
        scaler = run.precision.state_dict()
        if scaler:
            checkpoint[run.host.scaler_key] = scaler
    lightning_private.dump_hyperparameters(checkpoint, module, run.datamodule)
    if run.datamodule is not None:
        state = hooks.call_data("state_dict")
        if state:
            checkpoint[type(run.datamodule).__qualname__] = state
    if not weights_only:
        hooks.call_callbacks("on_save_checkpoint", checkpoint)
    known = set(checkpoint)
    hooks.call_module("on_save_checkpoint", checkpoint)
    checkpoint[_LEFT_OUT] = [key for key in checkpoint if key not in known]  # what `save` may leave out
    return checkpoint


def _loops(run: Run) -> dict[str, Any]:
    """Lightning's counters of its loops.

    Between two epochs they are those of its own checkpoints of that moment, which it writes within `on_train_epoch_end`.
    """
    loop = run.trainer.fit_loop
    epochs = dict(vars(loop.epoch_progress.current))
    if not run.in_epoch and epochs["processed"]:
        epochs["completed"] = epochs["processed"] - 1
    batches = loop.epoch_loop.batch_progress.current.ready
    automatic, steps = run.module.automatic_optimization, run.trainer.global_step
    in_epoch = min(steps, math.ceil(batches / run.trainer.accumulate_grad_batches)) if automatic else steps
    return lightning_private.loop_states(
        run.host,
        epochs=epochs,
        batches=_progress_state(loop.epoch_loop.batch_progress),
        batches_that_stepped=loop.epoch_loop.batches_that_stepped,
        steps=(steps, in_epoch),
        automatic=automatic,
        validation=_validation_progress(loop.epoch_loop.val_loop.batch_progress),
    )


def _validation_progress(progress: Progress) -> dict[str, Any]:
    state = _progress_state(progress)
    for counts in (state["current"], state["total"]):  # what is ready in a validation is worked off when it ends
        counts.update(started=counts["ready"], processed=counts["completed"])
    return state


def save(path: pathlib.Path, checkpoint: Mapping[str, Any]) -> None:
    """Write a checkpoint file that the restricted loader takes.

    What it would refuse of the hyperparameters, and of what the module's `on_save_checkpoint` added, is left out with a
    warning: modules of libraries keep losses, metrics and transforms there, which their constructors make again.

    Raises:
        CheckpointError: something else, which a resume needs, would be refused.
    """
    content = dict(checkpoint)
    left_out: list[tuple[str, str]] = []
    for key in _HYPERPARAMETERS & content.keys():
        faults = {name: _refused(value, f"{key}[{name!r}]") for name, value in content[key].items()}
        left_out += itertools.chain.from_iterable(faults.values())
        content[key] = {name: value for name, value in content[key].items() if not faults[name]}
    absent = []
    for key in content.pop(_LEFT_OUT, []):
        if key in content and (found := _refused(content[key], str(key))):
            left_out += found
            absent.append(key)
            del content[key]
    if absent:
        content[_LEFT_OUT] = absent
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
    aside = path.with_name(f".{path.name}.new")
    with aside.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(aside, path)


_LEFT_OUT = "lightning_adapter_left_out"  # keys of the module that a checkpoint lacks
_HYPERPARAMETERS = {"hyper_parameters", "datamodule_hyper_parameters"}
_PLAIN = (int, float, str, bool, bytes, type(None), torch.Tensor, torch.dtype, torch.device, torch.Size, complex)


def _listed(faults: list[tuple[str, str]]) -> str:
    return "\n".join(f"- {where}: {kind}" for where, kind in faults)


def _refused(value: Any, where: str) -> list[tuple[str, str]]:
    """Places of objects that `torch.load(weights_only=True)` would not take, and what they are made of."""
    if type(value) in _PLAIN or isinstance(value, torch.Tensor):
        return []
    if type(value) in (dict, collections.OrderedDict, collections.Counter):
        found = []
        for key, entry in value.items():
            found += _refused(entry, f"{where}[{key!r}]")
        return found
    if type(value) in (list, tuple, set):
        return [fault for index, entry in enumerate(value) for fault in _refused(entry, f"{where}[{index}]")]
    written = io.BytesIO()
    try:
        torch.save(value, written)
    except (pickle.PicklingError, AttributeError, TypeError, RuntimeError) as error:
        return [(where, f"{type(value).__module__}.{type(value).__qualname__}, which cannot be pickled: {error}")]
    unknown = torch.serialization.get_unsafe_globals_in_checkpoint(io.BytesIO(written.getvalue()))
    return [(where, ", ".join(sorted(unknown)))] if unknown else []


# --- loading ------------------------------------------------------------------------------------------------------------


def read(path: pathlib.Path) -> dict[str, Any]:
    """Read a checkpoint directory, or a file of Lightning's.

    Raises:
        CheckpointError: it is absent, cut short, damaged, or holds objects that are not plain data.
    """
    file = path / FILE if path.is_dir() else path
    if path.is_dir() and not (path / "metadata.json").exists():
        raise CheckpointError(
            f"{path} is no whole checkpoint: it has no metadata.json, which is written last. Give the directory of a "
            f"checkpoint, one below runs/<trial>/<date-time>/checkpoints/."
        )
    if not file.exists():
        raise CheckpointError(
            f"{file} does not exist. Give the directory of a checkpoint of this package, or a Lightning .ckpt file."
        )
    checkpoint = _load(file)
    if not isinstance(checkpoint, dict) or "state_dict" not in checkpoint:
        raise CheckpointError(f"{file} is no checkpoint of a LightningModule: it has no state_dict.")
    return checkpoint


def _load(file: pathlib.Path) -> Any:
    """What a file of `torch.save` holds, if it is whole and holds nothing that could run code of its own.

    Raises:
        CheckpointError: says what is wrong with it.
    """
    if not file.stat().st_size:
        raise CheckpointError(f"{file} is empty: its process ended before it was written. Use another one.")
    try:
        with zipfile.ZipFile(file) as archive:
            damaged = archive.testzip()
        if damaged is None:
            # Lightning's ModelCheckpoint keeps its directory as it was given; making a path runs no code of the file's
            with torch.serialization.safe_globals([pathlib.PosixPath, pathlib.WindowsPath]):
                return torch.load(file, map_location="cpu", weights_only=True)
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

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def check_host_files(path: pathlib.Path) -> None:
    """Read what Determined's own Trainer wrote, and is about to unpickle without restriction, with restriction.

    Raises:
        CheckpointError: a file is damaged, or names something that could run code.
    """
    for name in ("state_dict.pth", "determined/state_dict.pth", "pedl/state_dict.pth", "checkpoint.pt"):
        if (path / name).exists():
            with determined_private.loads_own_checkpoints():
                _load(path / name)
    for name in ("trial_state.pkl", "workload_sequencer.pkl"):
        file = path / name
        if not file.exists():
            continue
        try:
            with file.open("rb") as stream:
                _NoClasses(stream).load()
        except Exception as error:  # as above
            raise CheckpointError(
                f"{file} is damaged, or holds more than numbers and strings, and Determined would unpickle it without "
                f"restriction: {error}. Use another checkpoint."
            ) from error


def batches_trained(checkpoint: Mapping[str, Any]) -> int:
    """Batches trained when a checkpoint was written, by this package or by Lightning's Trainer."""
    if OURS in checkpoint:
        return int(checkpoint[OURS]["batches"]["total"]["ready"])
    return int(_fit_loop(checkpoint)["epoch_loop.batch_progress"]["total"]["processed"])


def _fit_loop(checkpoint: Mapping[str, Any]) -> Mapping[str, Any]:
    """The counters in a checkpoint of Lightning's Trainer.

    Raises:
        CheckpointError: it has none; those that hold weights only do not.
    """
    loops = checkpoint.get("loops", {}).get("fit_loop", {})
    if not loops or "optimizer_states" not in checkpoint:
        raise CheckpointError(
            "The checkpoint holds weights only: neither this package nor Lightning's fit() wrote it. Use warm_start_from "
            "to take its weights."
        )
    return loops  # type: ignore[no-any-return]


def check_fits(module: Any, state: Mapping[str, Any]) -> None:
    """Compare saved weights with the module before any of them is loaded.

    Raises:
        CheckpointError: names what is missing, unexpected or of another shape.
    """
    own = module.state_dict()
    strict = getattr(module, "strict_loading", True)
    faults = []
    if strict:
        faults += [f"- {name} is in the module, not in the checkpoint" for name in own if name not in state]
        faults += [f"- {name} is in the checkpoint, not in the module" for name in state if name not in own]
    for name in own.keys() & state.keys():
        ours, theirs = getattr(own[name], "shape", None), getattr(state[name], "shape", None)
        if ours != theirs:
            faults.append(
                f"- {name} has shape {tuple(theirs or ())} in the checkpoint, {tuple(ours or ())} in the module"
            )
    if faults:
        raise CheckpointError(
            f"The checkpoint is of another model than {type(module).__name__}:\n" + "\n".join(sorted(faults))
        )


def restore_weights(run: Run, checkpoint: dict[str, Any], weights_only: bool) -> None:
    """Restore module, datamodule and callbacks: what Lightning restores before `configure_optimizers`."""
    hooks = run.hooks
    if OURS not in checkpoint:
        lightning_private.migrate_checkpoint(run.host, checkpoint)
    if checkpoint.get(_LEFT_OUT):
        made = dict(checkpoint)
        lightning_private.dump_hyperparameters(made, run.module, run.datamodule)
        hooks.call_module("on_save_checkpoint", made)
        checkpoint = {**checkpoint, **{key: made[key] for key in checkpoint[_LEFT_OUT] if key in made}}
    hooks.call_module("on_load_checkpoint", checkpoint)
    check_fits(run.module, checkpoint["state_dict"])
    run.module.load_state_dict(checkpoint["state_dict"], strict=getattr(run.module, "strict_loading", True))
    if weights_only:
        return
    name = type(run.datamodule).__qualname__
    if run.datamodule is not None and name in checkpoint:
        hooks.call_data("load_state_dict", checkpoint[name])
    hooks.call_callbacks("on_load_checkpoint", checkpoint)
    _load_callbacks(run, checkpoint.get("callbacks", {}))


def _load_callbacks(run: Run, states: Mapping[str, Any]) -> None:
    for callback in run.trainer.callbacks:
        if callback.state_key in states:
            callback.load_state_dict(copy.deepcopy(states[callback.state_key]))


def restore_callbacks(run: Run, saved: Mapping[str, Any]) -> None:
    """Restore callbacks and schedulers from a checkpoint of Determined's own Trainer."""
    _load_callbacks(run, saved["states"])
    for config, state in zip(run.trainer.lr_scheduler_configs, saved["schedulers"], strict=True):
        config.scheduler.load_state_dict(copy.deepcopy(state))


def restore_optimizers(run: Run, checkpoint: Mapping[str, Any]) -> None:
    """Restore optimizers, schedulers and scaler.

    Raises:
        CheckpointError: the checkpoint has another number of them, or of other parameters.
    """
    trainer = run.trainer
    lightning_private.resume_weight_averaging(run.host, trainer, run.module)
    faults = []
    optimizers, schedulers = checkpoint.get("optimizer_states", []), checkpoint.get("lr_schedulers", [])
    if len(optimizers) != len(trainer.optimizers):
        faults.append(f"- it has {len(optimizers)} optimizers, configure_optimizers() made {len(trainer.optimizers)}")
    if len(schedulers) != len(trainer.lr_scheduler_configs):
        faults.append(
            f"- it has {len(schedulers)} schedulers, configure_optimizers() made {len(trainer.lr_scheduler_configs)}"
        )
    if faults:
        raise CheckpointError("The checkpoint was written with other optimizers:\n" + "\n".join(faults))
    run.precision.load_state_dict(checkpoint.get(run.host.scaler_key, {}))
    for index, (optimizer, state) in enumerate(zip(trainer.optimizers, optimizers, strict=True)):
        try:
            optimizer.load_state_dict(state)
        except (ValueError, KeyError) as error:
            raise CheckpointError(
                f"The checkpoint's optimizer {index} does not fit the {type(optimizer).__name__} of this run: {error}."
            ) from error
    for config, state in zip(trainer.lr_scheduler_configs, schedulers, strict=True):
        config.scheduler.load_state_dict(copy.deepcopy(state))


def restore_progress(run: Run, state: Mapping[str, Any]) -> None:
    """Restore counters and what was logged; the data's position follows in `restore_position`."""
    trainer = run.trainer
    loop = trainer.fit_loop
    run.in_epoch = state["in_epoch"]
    _load_progress(loop.epoch_progress, state["epochs"])
    _load_progress(loop.epoch_loop.batch_progress, state["batches"])
    _load_progress(loop.epoch_loop.val_loop.batch_progress, state["validation"])
    loop.epoch_loop.optim_progress.optimizer_steps = state["optimizer_steps"]
    loop.epoch_loop.batches_that_stepped = state["batches_that_stepped"]
    torchmetrics_private.load_metric_states(run.module, state["metric_states"], run.device)
    run.metrics.load_state_dict(state["metrics"])
    trainer.should_stop = trainer.stops = state["should_stop"]
    modes = list(run.module.modules())
    if len(modes) == len(state["modes"]):
        for child, training in zip(modes, state["modes"], strict=True):
            child.training = training


def restore_lightning_progress(run: Run, checkpoint: Mapping[str, Any]) -> None:
    """Restore the counters of a run of Lightning's Trainer, as its own `fit(ckpt_path=...)` does."""
    trainer, loop = run.trainer, run.trainer.fit_loop
    saved = _fit_loop(checkpoint)
    epochs, batches = saved["epoch_progress"]["current"], saved["epoch_loop.batch_progress"]
    done, trained, total = epochs["processed"], batches["current"]["processed"], batches["total"]["processed"]
    run.in_epoch = epochs["ready"] > done
    begun = done + int(run.in_epoch)
    loop.epoch_progress.current = Counter(begun, begun, done, done)
    progress = loop.epoch_loop.batch_progress
    progress.current, progress.total = Counter(*[trained] * 4), Counter(*[total] * 4)
    progress.is_last_batch = batches["is_last_batch"]
    loop.epoch_loop.optim_progress.optimizer_steps = checkpoint["global_step"]
    stepped = saved["epoch_loop.state_dict"]["_batches_that_stepped"]
    saved_in_batch = run.in_epoch and trained and not trainer.should_accumulate()
    loop.epoch_loop.batches_that_stepped = stepped + int(saved_in_batch)
    run.resumes_lightning = True


def restore_lightning_position(run: Run) -> None:
    """Where Lightning's Trainer stands in the data after a resume: in mid epoch it reads the data from the start."""
    data, trained = run.trainer.training_data, run.trainer.fit_loop.epoch_loop.batch_progress.current.ready
    if data is None or not run.in_epoch or run.trainer.last_batch_reached():
        return
    if trained:
        run.host.warn(
            f"The checkpoint was written by Lightning's Trainer after batch {trained} of an epoch, and says nothing of the "
            "position in the data: as with Trainer.fit(ckpt_path=...), the rest of the epoch reads the data from its "
            "start. Use a checkpoint of the end of an epoch to go on exactly."
        )
    if run.host.quirks.iterates_in_epoch:
        data.start()
    data.fetcher.begin(fetched=trained)


def restore_position(run: Run, state: Mapping[str, Any], random: Mapping[str, Any]) -> None:
    """Stand in the data after the last trained batch, with the random state of that moment.

    Raises:
        CheckpointError: an epoch has another number of batches than when the checkpoint was written.
    """
    data, saved = run.trainer.training_data, state["data"]
    if data is not None and saved is not None:
        now = None if data.num_batches == float("inf") else int(data.num_batches)
        if run.in_epoch and saved["num_batches"] != now:
            raise CheckpointError(
                f"The checkpoint was written after batch {saved['batches']} of an epoch of {saved['num_batches']} batches; "
                f"now an epoch has {now}. Give the same data, batch size and number of processes, or start with "
                "warm_start_from, which takes the weights only."
            )
        if run.in_epoch:
            run.set_epoch(data.loaders)
        data.load_state_dict(saved)
    run.training_data_epoch, run.validation_data_epoch = state["loaded_in"]
    parameters = dict(run.module.named_parameters())
    for name, gradient in state["gradients"].items():
        parameters[name].grad = gradient.to(parameters[name].device)
    if run.outputs is not None and state["outputs"] is not None:
        run.outputs.load_state_dict(lightning_private.move_data_to_device(run.host, state["outputs"], run.device))
    set_random_state(random)


def _progress_state(progress: Progress) -> dict[str, Any]:
    return {
        "current": dict(vars(progress.current)),
        "total": dict(vars(progress.total)),
        "is_last_batch": progress.is_last_batch,
    }


def _load_progress(progress: Progress, state: Mapping[str, Any]) -> None:
    progress.current = Counter(**state["current"])
    progress.total = Counter(**state["total"])
    progress.is_last_batch = state["is_last_batch"]
