"""What does a person read right before the first batch: what trains, on what, for how long, and where it writes?"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from typing import Any

import determined as det
import torch
from torch.nn.parameter import is_lazy
from torch.utils.data import DataLoader

from lightning_adapter.checkpoints.restore import position_of
from lightning_adapter.data.loaders import INFINITE, Loader, has_iterable_dataset, length_of
from lightning_adapter.errors import text_of
from lightning_adapter.loop.components import Components
from lightning_adapter.platform.launch import launcher
from lightning_adapter.platform.period import Period
from lightning_adapter.platform.starting_point import StartingPoint
from lightning_adapter.runs.metrics_table import plain
from lightning_adapter.runs.provenance import assignments
from lightning_adapter.runs.words import counted
from lightning_adapter.versions.types import LightningModule

_WIDTH = 80
#: Of a value that is words, and may be longer than all else together.
_MOST_LINES = 4


def of_trial(info: det.ClusterInfo) -> dict[str, str]:
    """Which trial of a cluster it is."""
    return {"trial": f"{info.trial.trial_id} of experiment {info.trial.experiment_id}"}


def known_before(
    places: Mapping[str, str],
    seed: int | None,
    start: StartingPoint,
    source: object,
    differences: Mapping[str, Any] | None,
) -> dict[str, str]:
    """Rows of the block that are known before anything is made.

    Args:
        places: where the run writes, or which trial it is.
        seed: None where none is given.
        start: the checkpoint that the run begins with.
        source: where that lies, as a person knows it.
        differences: hyperparameters that differ from their defaults; None where no defaults are known.
    """
    rows = {name: plain(place) for name, place in places.items()}
    rows["seed"] = "none" if seed is None else str(seed)
    if start.saved is not None:
        rows["resumes" if start.resumes else "weights of"] = f"{plain(str(source))}\n{position_of(start.saved)}"
    if differences:
        rows["differs"] = f"from the defaults: {plain(assignments(differences))}"
    return rows


def block(
    parts: Components,
    trial: str,
    known: Mapping[str, str],
    validated: str | None = None,
    max_batches: int | None = None,
    ended_by: str | None = None,
) -> str:
    """The block, in two columns of plain text.

    Args:
        parts: the run, whose first batch is about to be trained.
        trial: name of the trial's class.
        known: `known_before` of it.
        validated: when the run is validated, in words; None where Lightning's arguments say it.
        max_batches: after which the run ends; None where Lightning's limits decide.
        ended_by: who may end it before its limits, besides callbacks; None where nobody may.
    """
    rows = {
        "model": _said(lambda: _model(parts)),
        "device": _said(lambda: _device(parts)),
        "data": _said(lambda: _data(parts)),
        "validation": _said(lambda: _validation(parts, validated)),
        "length": _said(lambda: _length(parts, max_batches, ended_by)),
        **known,
    }
    room = max(map(len, rows))
    lines = [line for name, value in rows.items() for line in _row(name, value, room)]
    return "\n".join([f"{trial} trains", *lines])


def _said(say: Callable[[], str]) -> str:
    """A row's words. Objects of the user's are asked here what nothing else may ever ask them; the run does without."""
    try:
        return say()
    except Exception as error:
        return f"not known: {type(error).__name__}: {text_of(error)}"


def _row(name: str, value: str, room: int) -> Iterator[str]:
    """A row; what is too long goes on below, between words alone, so that a path can be copied."""
    wrapped = textwrap.TextWrapper(_WIDTH - room - 4, break_long_words=False, break_on_hyphens=False)
    lines = [line for part in value.split("\n") for line in wrapped.wrap(part)]
    if len(lines) > _MOST_LINES:
        lines = [*lines[:_MOST_LINES], "..."]
    for i, line in enumerate(lines or [""]):
        yield f"  {'' if i else name:{room}}  {line}"


# --- what ---------------------------------------------------------------------------------------------------------------


def _model(parts: Components) -> str:
    module = parts.module
    with_hands = "" if module.automatic_optimization else ", manual optimization"
    return f"{type(module).__name__}, {parameters(module)}, precision {parts.precision.precision}{with_hands}"


def parameters(module: LightningModule) -> str:
    """How many parameters a module has: each once, as `ModelSummary.total_parameters` counts them."""
    found = list(module.parameters())
    made = [one for one in found if not is_lazy(one)]
    total = sum(one.numel() for one in made)
    trained = sum(one.numel() for one in made if one.requires_grad)
    if not found:
        return "no parameters"
    text = f"{total:,} {'parameter' if total == 1 else 'parameters'}"
    if trained != total:
        text += f", {f'{trained:,}' if trained else 'none'} of them trained"
    if len(made) < len(found):
        text += f", and {counted(len(found) - len(made), 'lazy tensor')} that the first batch makes"
    return text


# --- on what ------------------------------------------------------------------------------------------------------------


def _device(parts: Components) -> str:
    device, strategy = parts.device, parts.strategy
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    elif device.type == "cpu":
        name = f"CPU, {counted(torch.get_num_threads(), 'thread')}"
    else:
        name = device.type.upper()
    if not parts.is_distributed:
        return name
    way = "horovod" if launcher() == "horovod" else "ddp"
    nodes = strategy.world_size // max(1, strategy.num_processes)
    on = f" on {nodes} nodes" if nodes > 1 else ""
    return f"{name}; {strategy.world_size} processes{on} ({way})"


def _data(parts: Components) -> str:
    data, settings = parts.data.training, parts.settings
    if data is None:
        return "none"
    several = parts.strategy.world_size if parts.is_distributed else 1
    said = []
    if len(data.loaders) > 1:
        said.append(f"{len(data.loaders)} loaders")
    else:
        whole = data.num_batches == INFINITE or data.num_batches == length_of(data.loaders[0])
        samples = _samples(data.loaders[0]) if whole else None
        if samples is not None:
            said.append(f"{samples:,} samples")
    of_each = " in each process" if several > 1 else ""
    if data.num_batches == INFINITE:
        said.append("epochs of unknown length")
    else:
        said.append(f"{counted(int(data.num_batches), 'batch', 'batches')} per epoch{of_each}")
    size = _batch_size(data.loaders[0]) if len(data.loaders) == 1 else None
    if size is not None:
        said.append(f"batches of {size}" + (f", {size * several} in all" if several > 1 else ""))
    if settings.accumulate_grad_batches > 1:
        said.append(f"an optimizer step every {settings.accumulate_grad_batches} batches")
    return ", ".join(said)


def _samples(loader: Loader) -> int | None:
    """Of the loader's dataset, which all processes share; None where it has no length."""
    if not isinstance(loader, DataLoader) or has_iterable_dataset(loader):
        return None
    dataset: Any = loader.dataset  # most have a length, and torch's base class has none
    length = length_of(dataset)
    return None if length == INFINITE else int(length)


def _batch_size(loader: Loader) -> int | None:
    for holder in (loader, getattr(loader, "batch_sampler", None)):
        size = getattr(holder, "batch_size", None)
        if isinstance(size, int) and not isinstance(size, bool):
            return size
    return None


def _validation(parts: Components, validated: str | None) -> str:
    data = parts.data
    if not data.enable_validation:
        return "none"
    when = validated or _when(parts)
    batches = None if data.validation is None else data.validation.length_of_pass(data.validation.max_batches)
    if batches is None or batches == INFINITE:
        return when
    return f"{counted(int(batches), 'batch', 'batches')}, {when}"


def of_period(period: Period | None) -> str | None:
    """When a period that was given in Determined's units ends; None without one."""
    if period is None:
        return None
    unit = "epoch" if period.in_epochs else "batch"
    if isinstance(period.value, int):
        return _every(period.value, unit)
    return f"after some {'epochs' if period.in_epochs else 'batches'}"  # a container need not be one that can be listed


def _when(parts: Components) -> str:
    """As `ValidationSchedule.is_due` decides."""
    settings, data = parts.settings, parts.data
    if settings.val_check_time_interval is not None:
        return f"every {timedelta(seconds=settings.val_check_time_interval)} h"
    every, epochs = data.val_check_batch, settings.check_val_every_n_epoch
    length = INFINITE if data.training is None else data.training.num_batches
    if epochs is None and every not in (None, INFINITE):
        return _every(int(every or 1), "batch")
    if every in (None, INFINITE, length):
        return _every(epochs or 1, "epoch")
    within = _every(int(every or 1), "batch")
    return f"{within} of an epoch" if epochs in (None, 1) else f"{within} of every {epochs}th epoch"


def _every(number: int, unit: str) -> str:
    if number <= 1:
        return f"after every {unit}"
    return f"after every {number} {unit}s" if unit == "epoch" else f"after every {number} batches"


# --- how long -----------------------------------------------------------------------------------------------------------


def _length(parts: Components, max_batches: int | None, ended_by: str | None) -> str:
    settings, per_epoch = parts.settings, parts.progress.num_training_batches
    limits = []
    if settings.max_epochs != -1:
        batches = (
            "" if per_epoch == INFINITE else f", {counted(int(per_epoch) * settings.max_epochs, 'batch', 'batches')}"
        )
        limits.append(counted(settings.max_epochs, "epoch") + batches)
    if settings.max_steps != -1 and max_batches is None:
        limits.append(counted(settings.max_steps, "optimizer step"))
    if max_batches is not None:
        limits.append(counted(max_batches, "batch", "batches"))
    if parts.arguments.max_time is not None:
        limits.append(f"max_time {parts.arguments.max_time}")
    text = " or ".join(limits) or "no limit"
    enders = [*_enders(parts), *([] if ended_by is None else [ended_by])]
    return f"{text}; {' or '.join(enders)} may end it" if enders else text


def _enders(parts: Components) -> list[str]:
    kinds, found = parts.host.pl.callbacks, []
    for one in parts.callbacks.items:
        if isinstance(one, kinds.EarlyStopping):
            found.append(f"{type(one).__name__} ({one.monitor})")
        elif isinstance(one, kinds.Timer) and parts.arguments.max_time is None:
            found.append(type(one).__name__)
    return found
