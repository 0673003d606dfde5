"""Does the adapter give the numbers that Lightning's own Trainer gives? One call trains both ways and compares.

Lightning is the specification. `assert_parity` trains a fresh module on fresh data with `Trainer(...).fit(...)`, then
once more, from the same seed, with `fit(Trial)` of the adapter, and fails at the first thing that differs.

How to add a case
-----------------
A case is one call; everything that a run may change is given as a callable, so that both runs get a fresh one::

    def test_cosine_schedule_per_step():
        assert_parity(lambda: Net(scheduler="cosine", interval="step"), data=lambda: Data(shuffle=True),
                      max_epochs=3, gradient_clip_val=0.5)

* `build` returns the module; `data` returns a datamodule, or a pair `(train loader, validation loader)`, or is left out
  when the module has loaders of its own. Both are called after `seed_everything(seed)`, the module first.
* Any other keyword is a Trainer argument and is given under the same name to `Trainer` and to
  `LightningAdapter.__init__`. A value that must be fresh for each run (callbacks) is given as a function without
  arguments: `callbacks=lambda: [EarlyStopping("val_loss")]`. `num_sanity_val_steps` is 0 and `log_every_n_steps` is 2
  unless the case says otherwise; a logger that records what it is told is there unless `logger=False`.
* `trace=False` leaves module and datamodule as they are. Otherwise every hook is wrapped to be recorded, which makes
  every hook an overridden one; a case about hooks that are *not* overridden needs `trace=False`.
* `also=lambda module, callbacks: ...` returns anything else worth comparing once training is over.
* `reference=lambda: ...` gives Lightning another module than the adapter: for code of Lightning 1.x, which an installed
  Lightning 2.x cannot run itself. Such a case says in `compare=(...)` which sections are to be equal.
* `assert_same_error` is for what must fail: both runs have to raise the same exception with the same first line.
  `assert_same_outcome` is for what one Lightning allows and another does not.
* A module class for one case is written in the test, on a base class of `models.py`; `models.pl` is the host package.
  A case that needs a certain Lightning is marked with `@since("2.0")` or `@until("2.0", "removed in 2.0")`.

What is compared, in the order in which a difference is shown (the names are those for `compare`):

* `trace`: each hook of module, datamodule and a user callback, in order, with its arguments, what it sees on the
  trainer (`current_epoch`, `global_step`, stage, last batch, learning rates), whether gradients are enabled, the
  train/eval mode of every submodule, and digests of weights and gradients;
* `weights`: parameters and buffers after every batch, bit for bit;
* `metrics`: `callback_metrics`, `logged_metrics`, `progress_bar_metrics` after every batch, validation and epoch;
* `logger`: each call that a Lightning Logger received, with names, values and step;
* `final`: counters, the trained state, the three kinds of metrics, the trial's own `callback_metrics`, and `also`;
* `random`: the state of the random generators at every hook and at the end.

Environment: `PARITY_PACKAGE` is the host package of the models (`pytorch_lightning`, or `lightning.pytorch`);
`PARITY_SELF=1` compares Lightning with Lightning, which checks the cases themselves.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import inspect
import logging
import operator
import os
import random
import re
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_utilities.core.imports import compare_version
from torch import nn

PACKAGE = os.environ.get("PARITY_PACKAGE", "pytorch_lightning")
AGAINST_ITSELF = os.environ.get("PARITY_SELF") == "1"
SECTIONS = ("trace", "weights", "metrics", "logger", "final", "random")

# Called by Lightning whether they are overridden or not, so recording them changes nothing.
ALWAYS_RECORDED = {
    "setup", "teardown", "prepare_data", "configure_callbacks", "configure_model", "configure_gradient_clipping",
    "lr_scheduler_step", "optimizer_step", "optimizer_zero_grad", "backward", "transfer_batch_to_device",
}  # fmt: skip
# Lightning behaves otherwise once these are overridden, so they are recorded only where the user's class has them.
RECORDED_IF_OVERRIDDEN = {
    "train_dataloader", "val_dataloader", "training_step", "validation_step", "configure_optimizers",
    "on_validation_model_eval", "on_validation_model_train", "on_validation_model_zero_grad",
    "training_step_end", "validation_step_end", "training_epoch_end", "validation_epoch_end",
}  # fmt: skip
# A trial saves checkpoints when Determined wants them and never tests or predicts.
NEVER_RECORDED_PARTS = ("_checkpoint", "on_test_", "on_predict_", "on_pretrain_routine", "on_gpu", "on_tpu")


def host_version(package: str = PACKAGE) -> str:
    """Version of the host package under test."""
    return importlib.import_module(package).__version__


def since(version: str, reason: str = "") -> pytest.MarkDecorator:
    """Skip a case where the installed Lightning is older than `version`."""
    return pytest.mark.skipif(_is_version(operator.lt, version), reason=reason or f"needs Lightning {version} or later")


def until(version: str, reason: str) -> pytest.MarkDecorator:
    """Skip a case from Lightning `version` on."""
    return pytest.mark.skipif(_is_version(operator.ge, version), reason=reason)


def _is_version(compare: Callable[[Any, Any], bool], version: str) -> bool:
    return compare_version(PACKAGE.partition(".")[0], compare, version, use_base_version=True)


# --------------------------------------------------------------------------------------------------------------------
# what a run leaves behind


@dataclass
class Entry:
    """One recorded moment: a label and what was seen there."""

    label: str
    facts: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.label}  " + " ".join(f"{name}={value}" for name, value in self.facts.items())


@dataclass
class Run:
    """Everything that one training run showed, as lists of entries that can be compared one by one."""

    who: str
    trace: list[Entry] = field(default_factory=list)
    weights: list[Entry] = field(default_factory=list)
    metrics: list[Entry] = field(default_factory=list)
    logger: list[Entry] = field(default_factory=list)
    final: list[Entry] = field(default_factory=list)
    random: list[Entry] = field(default_factory=list)
    error: BaseException | None = None


def digest(data: bytes) -> str:
    """Short name of some bytes: equal bytes, equal name."""
    return hashlib.blake2b(data, digest_size=4).hexdigest()


def tensor_bytes(tensor: torch.Tensor) -> bytes:
    """The exact content of a tensor, also for types that numpy does not know."""
    tensor = tensor.detach().cpu().contiguous()
    return tensor.reshape(-1).view(torch.uint8).numpy().tobytes()


def describe(value: Any) -> Any:
    """A value as comparable text or plain data: tensors by content, host objects by what they are."""
    if isinstance(value, (bool, int, str, type(None))):
        return value
    if isinstance(value, float):
        return "nan" if value != value else value
    if isinstance(value, torch.Tensor):
        first = value.detach().reshape(-1)[:1].tolist()
        kind = f"{tuple(value.shape)} {value.dtype} #{digest(tensor_bytes(value))}"
        return f"tensor({first[0] if first else ''}.. {kind})"
    if isinstance(value, torch.optim.Optimizer) or hasattr(value, "param_groups"):
        return "optimizer(" + ", ".join(str(group.get("lr")) for group in value.param_groups) + ")"
    if isinstance(value, Mapping):
        return {str(key): describe(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [describe(item) for item in value]
    if isinstance(value, nn.Module):
        return "module"
    if hasattr(value, "lightning_module") and hasattr(value, "callback_metrics"):
        return "trainer"
    if isinstance(value, (torch.device, torch.dtype)):
        return str(value)
    return "function" if callable(value) else type(value).__name__


def looked_at(read: Callable[[], Any]) -> Any:
    """What user code finds when it reads something on the trainer; a missing thing is a finding too."""
    try:
        return read()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def learning_rates(trainer: Any) -> list[list[float]]:
    return [[float(group["lr"]) for group in optimizer.param_groups] for optimizer in trainer.optimizers]


def facts_of(trainer: Any, module: nn.Module | None) -> dict[str, Any]:
    """What a hook sees right now."""
    facts: dict[str, Any] = {}
    if trainer is not None:
        for name in ("current_epoch", "global_step", "is_last_batch"):
            facts[name] = looked_at(lambda name=name: getattr(trainer, name))
        stages = ("sanity_checking", "training", "validating", "testing")
        facts["phase"] = "+".join(stage for stage in stages if looked_at(lambda stage=stage: getattr(trainer, stage)))
        facts["should_stop"] = looked_at(lambda: trainer.should_stop)
        facts["lr"] = looked_at(lambda: learning_rates(trainer))
    facts["grad_enabled"] = torch.is_grad_enabled()
    facts["inference_mode"] = torch.is_inference_mode_enabled()
    facts["autocast"] = torch.is_autocast_enabled("cpu") if hasattr(torch, "is_autocast_enabled") else None
    if module is not None:
        facts["modes"] = "".join("T" if part.training else "e" for part in module.modules())
        parameters = list(module.parameters())
        facts["frozen"] = "".join("-" if parameter.requires_grad else "f" for parameter in parameters)
        facts["weights"] = digest(b"".join(tensor_bytes(value) for value in [*parameters, *module.buffers()]))
        gradients = [b"none" if item.grad is None else tensor_bytes(item.grad) for item in parameters]
        facts["grads"] = "none" if all(item == b"none" for item in gradients) else digest(b"|".join(gradients))
    return facts


def random_state() -> dict[str, int]:
    """Names of the states of the three generators, for this process; reading them draws nothing."""
    numpy_state = np.random.get_state(legacy=False)["state"]
    return {
        "torch": hash(torch.get_rng_state().numpy().tobytes()),
        "python": hash(random.getstate()),
        "numpy": hash((numpy_state["key"].tobytes(), numpy_state["pos"])),
    }


def metric_values(trainer: Any) -> dict[str, Any]:
    """The three dicts of metrics as plain numbers."""
    found: dict[str, Any] = {}
    for kind in ("callback_metrics", "logged_metrics", "progress_bar_metrics"):
        values = looked_at(lambda kind=kind: dict(getattr(trainer, kind)))
        if not isinstance(values, dict):
            found[kind] = values
            continue
        for name in sorted(values):
            value = values[name]
            if isinstance(value, dict):
                found[f"{kind}[{name}]"] = {key: describe(float(item)) for key, item in value.items()}
            else:
                found[f"{kind}[{name}]"] = describe(float(value))
    return found


def state_values(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in [*module.named_parameters(), *module.named_buffers()]}


# --------------------------------------------------------------------------------------------------------------------
# recording


def is_recorded(name: str) -> bool:
    if any(part in name for part in NEVER_RECORDED_PARTS) or name in RECORDED_IF_OVERRIDDEN:
        return False
    return name.startswith("on_") or name in ALWAYS_RECORDED


def recorded_hooks(owner: type, host: type) -> dict[str, Callable]:
    """The functions of class `owner` to record: all that the host class would call, and what the user's class adds."""
    names = {name for name in dir(owner) if not name.startswith("_")}
    found = {}
    for name in names:
        function = inspect.getattr_static(owner, name)
        if not inspect.isfunction(function):
            continue
        own = function is not inspect.getattr_static(host, name, None)
        # with both overridden Lightning calls the datamodule's alone, so the module's would be lost
        is_rival = host.__name__ == "LightningDataModule" and "batch" in name
        if own if (is_rival or name in RECORDED_IF_OVERRIDDEN) else is_recorded(name):
            found[name] = function
    return found


def host_class(instance: Any, kind: str) -> type:
    """The host's own class (`LightningModule`, ...) below an instance, of whichever of the two packages."""
    for cls in type(instance).__mro__:
        if cls.__name__ == kind and cls.__module__.startswith(("pytorch_lightning.", "lightning.pytorch.")):
            return cls
    raise TypeError(f"{type(instance).__name__} is no {kind} of pytorch_lightning or lightning.pytorch")


def package_of(instance: Any, kind: str = "LightningModule") -> str:
    is_short = host_class(instance, kind).__module__.startswith("lightning.")
    return "lightning.pytorch" if is_short else "pytorch_lightning"


def record_hooks(instance: Any, kind: str, run: Run, who: str, see: Callable[..., tuple[Any, Any]]) -> None:
    """Make each hook of this one instance write an entry before it does what it did; classes stay as they are.

    Args:
        instance: a module, datamodule or callback.
        kind: name of the host's class it is made from.
        run: where the entries go.
        who: first part of the label of an entry.
        see: from the instance and the arguments of a hook to the trainer and the module to look at.
    """
    cls = type(instance)
    wrappers = {
        name: _recording(function, name, run, who, see)
        for name, function in recorded_hooks(cls, host_class(instance, kind)).items()
    }
    instance.__class__ = type(cls.__name__, (cls,), {"__module__": cls.__module__, **wrappers})


def _recording(function: Callable, name: str, run: Run, who: str, see: Callable[..., tuple[Any, Any]]) -> Callable:
    signature = inspect.signature(function)

    def hook(self: Any, *args: Any, **kwargs: Any) -> Any:
        # bound to the signature, so that a default and the same value given, or a keyword and a position, are equal
        bound = signature.bind(self, *args, **kwargs)
        bound.apply_defaults()
        trainer, module = see(self, *args)
        arguments = {key: describe(value) for key, value in list(bound.arguments.items())[1:]}
        run.trace.append(Entry(f"{who}.{name}", {**arguments, **facts_of(trainer, module)}))
        run.random.append(Entry(f"{who}.{name}", random_state()))
        return function(self, *args, **kwargs)

    hook.__name__ = name
    hook.__qualname__ = function.__qualname__
    hook.__doc__ = function.__doc__
    # hosts ask for parameter names; no __wrapped__, because they would look through it and find no override
    hook.__signature__ = signature  # type: ignore[attr-defined]
    return hook


def _trainer_of(instance: Any) -> Any:
    try:
        return instance.trainer
    except (RuntimeError, AttributeError):  # not attached yet
        return None


def make_spectator(package: str, run: Run, trace: bool) -> Any:
    """A user callback that notes weights and metrics, and, with `trace`, every hook it is given."""
    pl = importlib.import_module(package)

    class Spectator(pl.Callback):  # type: ignore[misc, name-defined]
        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            label = f"epoch {trainer.current_epoch} batch {batch_idx}"
            run.weights.append(Entry(label, state_values(pl_module)))
            run.metrics.append(Entry(f"on_train_batch_end, {label}", metric_values(trainer)))

        def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
            run.metrics.append(Entry(f"on_validation_end, epoch {trainer.current_epoch}", metric_values(trainer)))

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            run.metrics.append(Entry(f"on_train_epoch_end, epoch {trainer.current_epoch}", metric_values(trainer)))

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            run.metrics.append(Entry("on_train_end", metric_values(trainer)))

    spectator = Spectator()
    if trace:
        record_hooks(spectator, "Callback", run, "callback", lambda self, trainer, module, *rest: (trainer, module))
    return spectator


def make_logger(package: str, run: Run) -> Any:
    """A Lightning Logger that writes down each call."""
    loggers = importlib.import_module(f"{package}.loggers")
    base = getattr(loggers, "Logger", None) or loggers.logger.Logger

    class RecordingLogger(base):  # type: ignore[misc, valid-type]
        name = "recording"
        version = 0
        experiment = None

        def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
            run.logger.append(Entry("log_hyperparams", {"params": describe(dict(params or {}))}))

        def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
            types = sorted({type(value).__name__ for value in metrics.values()})
            run.logger.append(Entry("log_metrics", {"step": step, **describe(metrics), "types": types}))

        def log_graph(self, model: Any, input_array: Any = None) -> None:
            run.logger.append(Entry("log_graph", {}))

        def save(self) -> None:
            run.logger.append(Entry("save", {}))

        def finalize(self, status: str) -> None:
            run.logger.append(Entry("finalize", {"status": status}))

    return RecordingLogger()


# --------------------------------------------------------------------------------------------------------------------
# the two ways to train


@dataclass
class Case:
    """One thing to train, as given to `assert_parity`."""

    build: Callable[[], Any]
    data: Callable[[], Any] | None
    arguments: dict[str, Any]
    seed: int
    trace: bool
    also: Callable[[Any, list], Any] | None


@dataclass
class Parts:
    """Fresh objects of one run."""

    module: Any
    data: Any
    arguments: dict[str, Any]
    callbacks: list


def assemble(case: Case, run: Run) -> Parts:
    """Build module, data and arguments in the order in which both ways do, with the recorders attached."""
    module = case.build()
    data = case.data() if case.data is not None else None
    package = package_of(module)
    arguments = {
        name: value() if inspect.isfunction(value) else value
        for name, value in {"num_sanity_val_steps": 0, "log_every_n_steps": 2, **case.arguments}.items()
    }
    given = arguments.pop("callbacks", None) or []
    callbacks = list(given) if isinstance(given, (list, tuple)) else [given]
    # a summary that is given and one that is switched off contradict each other
    has_summary = any("ModelSummary" in type(item).__name__ for item in callbacks)
    arguments = {"enable_progress_bar": False, "enable_model_summary": has_summary, **arguments}
    if arguments.get("logger", True) is True:
        arguments["logger"] = make_logger(package, run)
    if case.trace:
        record_hooks(module, "LightningModule", run, "module", lambda self, *args: (_trainer_of(self), self))
        if is_datamodule(data):
            record_hooks(
                data, "LightningDataModule", run, "datamodule", lambda self, *args: (_trainer_of(self), module)
            )
    arguments["callbacks"] = [*callbacks, make_spectator(package, run, case.trace)]
    return Parts(module, data, arguments, callbacks)


def is_datamodule(data: Any) -> bool:
    return any(cls.__name__ == "LightningDataModule" for cls in type(data).__mro__)


def conclude(case: Case, run: Run, module: Any, trainer: Any, callbacks: list, own_metrics: Mapping[str, Any]) -> None:
    """Note what can be read once training is over."""
    counters = {name: looked_at(lambda name=name: getattr(trainer, name)) for name in ("current_epoch", "global_step")}
    counters["total_batch_idx"] = looked_at(lambda: trainer.fit_loop.total_batch_idx)
    own_values = {name: describe(float(own_metrics[name])) for name in sorted(own_metrics)}
    run.final += [
        Entry("counters", counters),
        Entry("metrics", metric_values(trainer)),
        Entry("callback_metrics of the run", own_values),
        Entry("state of the module", state_values(module)),
        Entry("gradients enabled", {"grad_enabled": torch.is_grad_enabled()}),
    ]
    if case.also is not None:
        value = describe(case.also(module, callbacks))
        run.final.append(Entry("also", value if isinstance(value, dict) else {"value": value}))
    run.random.append(Entry("after training", random_state()))


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep the hosts' warnings and banners out of a failure report; put every level back."""
    loggers = [logging.getLogger(name) for name in ("pytorch_lightning", "lightning", "lightning.pytorch",
               "lightning.fabric", "lightning_fabric", "lightning_utilities", "determined")]  # fmt: skip
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def run_lightning(case: Case) -> Run:
    """Train the case with Lightning's Trainer."""
    run = Run("Lightning")
    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            seed_everything(case.seed)
            parts = assemble(case, run)
            checkpoint = importlib.import_module(f"{package_of(parts.module)}.callbacks").Checkpoint
            trainer = importlib.import_module(package_of(parts.module)).Trainer(
                **{
                    "accelerator": "cpu",
                    "devices": 1,
                    "enable_checkpointing": any(isinstance(item, checkpoint) for item in parts.callbacks),
                    "default_root_dir": folder,
                    **parts.arguments,
                }
            )
            if is_datamodule(parts.data):
                trainer.fit(parts.module, datamodule=parts.data)
            else:
                trainer.fit(parts.module, *(parts.data or ()))
            conclude(case, run, parts.module, trainer, parts.callbacks, trainer.callback_metrics)
        except Exception as error:
            run.error = error
    return run


def run_adapter(case: Case) -> Run:
    """Train the case with the adapter, on Determined's loop in this process."""
    if AGAINST_ITSELF:
        run = run_lightning(case)
        run.who = "Lightning again"
        return run
    run = Run("adapter")
    with tempfile.TemporaryDirectory() as folder, quiet():
        try:
            # which face to import is known only from the module; this instance is thrown away
            face_name = {"pytorch_lightning": "lightning_adapter", "lightning.pytorch": "lightning_adapter.lightning"}
            face = importlib.import_module(face_name[package_of(case.build())])
            made: list[Parts] = []

            class Trial(face.LightningAdapter):  # type: ignore[misc, name-defined]
                def __init__(self, context: Any) -> None:
                    parts = assemble(case, run)
                    made.append(parts)
                    datamodule = parts.data if is_datamodule(parts.data) else None
                    super().__init__(context, parts.module, datamodule, **parts.arguments)

            class TrialWithTrainingLoader(Trial):
                def build_training_data_loader(self) -> Any:
                    return made[0].data[0]

            class TrialWithLoaders(TrialWithTrainingLoader):
                def build_validation_data_loader(self) -> Any:
                    return made[0].data[1]

            loaders = None if case.data is None else case.data()
            count = 0 if loaders is None or is_datamodule(loaders) else len(loaders)
            trial_class = (Trial, TrialWithTrainingLoader, TrialWithLoaders)[count]
            trial = face.fit(trial_class, seed=case.seed, run_dir=Path(folder) / "run")
            conclude(case, run, trial.lightning_module, trial.lightning_module.trainer, made[0].callbacks,
                     trial.callback_metrics)  # fmt: skip
        except Exception as error:
            run.error = error
    return run


def seed_everything(seed: int) -> None:
    importlib.import_module(PACKAGE).seed_everything(seed)


# --------------------------------------------------------------------------------------------------------------------
# comparing


def same(left: Any, right: Any) -> bool:
    """Equal to the last bit; NaN equals NaN."""
    if isinstance(left, torch.Tensor) and isinstance(right, torch.Tensor):
        same_kind = left.shape == right.shape and left.dtype == right.dtype
        return same_kind and tensor_bytes(left) == tensor_bytes(right)
    return type(left) is type(right) and left == right


def first_difference(left: list[Entry], right: list[Entry]) -> int | None:
    """Index of the first entry that differs, which may be one past the end of the shorter list."""
    for index, (one, other) in enumerate(zip(left, right, strict=False)):
        if one.label != other.label or different_facts(one, other):
            return index
    return None if len(left) == len(right) else min(len(left), len(right))


def different_facts(left: Entry, right: Entry) -> list[str]:
    names = [*left.facts, *(name for name in right.facts if name not in left.facts)]
    missing = object()
    return [name for name in names if not same(left.facts.get(name, missing), right.facts.get(name, missing))]


def show(value: Any) -> str:
    if isinstance(value, torch.Tensor):
        flat = value.reshape(-1)
        return f"tensor({', '.join(repr(item) for item in flat[:4].tolist())}{', ...' if flat.numel() > 4 else ''})"
    return repr(value)


def explain(section: str, left: Run, right: Run, index: int) -> str:
    """The first difference of one section, with what both runs did around it."""
    ones, others = getattr(left, section), getattr(right, section)
    lines = [f"{section}: entry {index} differs ({len(ones)} entries of {left.who}, {len(others)} of {right.who})"]
    one = ones[index] if index < len(ones) else None
    other = others[index] if index < len(others) else None
    if one is None or other is None or one.label != other.label:
        lines.append(f"  {left.who}: {one.label if one else '(ended)'}")
        lines.append(f"  {right.who}: {other.label if other else '(ended)'}")
    else:
        lines.append(f"  at {one.label}:")
        for name in different_facts(one, other):
            mine, theirs = (show(entry.facts[name]) if name in entry.facts else "(absent)" for entry in (one, other))
            lines.append(f"    {name}: {left.who} {mine}, {right.who} {theirs}")
    around = range(max(0, index - 6), index + 5)
    for run, entries in ((left, ones), (right, others)):
        lines.append(f"  around it, {run.who}:")
        for position in around:
            if position < len(entries):
                mark = ">" if position == index else " "
                lines.append(f"   {mark} {position:4d} {context(entries[position])}")
    return "\n".join(lines)


def context(entry: Entry) -> str:
    """One line for an entry: its name and its small facts."""
    hidden = {"weights", "grads", "modes", "frozen", "inference_mode", "autocast", "should_stop"}
    facts = {name: value for name, value in entry.facts.items() if name not in hidden and not torch.is_tensor(value)}
    text = " ".join(f"{name}={value}" for name, value in facts.items() if len(str(value)) < 60)
    return f"{entry.label}  {text}"[:230]


def differences(left: Run, right: Run, compare: tuple[str, ...] = SECTIONS) -> str:
    """A report of how two runs differ; empty when they do not."""
    found = {}
    for section in compare:
        index = first_difference(getattr(left, section), getattr(right, section))
        if index is not None:
            found[section] = index
    if not found:
        return ""
    first, *rest = found
    report = [explain(first, left, right, found[first])]
    for section in rest:
        entries = getattr(left, section)
        where = entries[found[section]].label if found[section] < len(entries) else "the end"
        report.append(f"{section} differs too, first at entry {found[section]} ({where})")
    return "\n".join(report)


def assert_parity(
    build: Callable[[], Any],
    data: Callable[[], Any] | None = None,
    *,
    reference: Callable[[], Any] | None = None,
    trace: bool = True,
    also: Callable[[Any, list], Any] | None = None,
    compare: tuple[str, ...] = SECTIONS,
    seed: int = 7,
    **arguments: Any,
) -> Run:
    """Train with Lightning and with the adapter and fail at the first difference.

    Args:
        build: makes the module; called once per run, after seeding.
        data: makes a datamodule or a tuple of loaders; called after `build`.
        reference: makes the module for Lightning's run, where that must be another one.
        trace: record every hook of module, datamodule and a callback.
        also: reads something from the trained module and the callbacks that were given.
        compare: the sections that have to be equal.
        seed: for both runs.
        **arguments: trainer arguments; a function is called to make the value.

    Returns:
        Lightning's run, for a test that wants to state what it saw.
    """
    specification = run_lightning(Case(reference or build, data, arguments, seed, trace, also))
    if specification.error is not None:
        raise AssertionError("Lightning itself cannot run this case") from specification.error
    adapted_build = reference if reference is not None and AGAINST_ITSELF else build
    adapted = run_adapter(Case(adapted_build, data, arguments, seed, trace, also))
    _fail_on_difference(specification, adapted, compare)
    return specification


def assert_same_error(
    build: Callable[[], Any],
    data: Callable[[], Any] | None = None,
    *,
    match: str,
    in_our_words: bool = False,
    trace: bool = False,
    seed: int = 7,
    **arguments: Any,
) -> None:
    """Train both ways; both have to raise the same class with the same first line, and it has to match `match`.

    With `in_our_words` the adapter may say it otherwise, as for a wrong argument of its constructor; its message has
    to match too, and where Lightning raises its own MisconfigurationException, so has the adapter.
    """
    case = Case(build, data, arguments, seed, trace, None)
    specification = run_lightning(case)
    if specification.error is None:
        pytest.fail("Lightning itself raised nothing", pytrace=False)
    if not re.search(match, first_line(specification.error)):
        pytest.fail(f"Lightning raised {first_line(specification.error)!r}, without {match!r}", pytrace=False)
    adapted = run_adapter(case)
    if in_our_words and adapted.error is not None:
        if not re.search(match, str(adapted.error)):
            raise AssertionError(
                f"the adapter raised {first_line(adapted.error)!r}, without {match!r}"
            ) from adapted.error
        theirs = type(specification.error)
        if theirs.__name__ == "MisconfigurationException" and not isinstance(adapted.error, theirs):
            raise AssertionError(f"the adapter raised no {theirs.__name__}") from adapted.error
        return
    _fail_on_other_error(specification, adapted)


def assert_same_outcome(
    build: Callable[[], Any],
    data: Callable[[], Any] | None = None,
    *,
    trace: bool = True,
    seed: int = 7,
    **arguments: Any,
) -> None:
    """Train both ways where Lightning's versions disagree on whether that is an error: parity, or the same error."""
    case = Case(build, data, arguments, seed, trace, None)
    specification, adapted = run_lightning(case), run_adapter(case)
    if specification.error is None:
        _fail_on_difference(specification, adapted, SECTIONS)
    else:
        _fail_on_other_error(specification, adapted)


def assert_same_training(
    build: Callable[[], Any],
    other: Callable[[], Any],
    data: Callable[[], Any],
    *,
    compare: tuple[str, ...],
    seed: int = 7,
    trace: bool = True,
    **arguments: Any,
) -> None:
    """Train two modules with Lightning; the sections of `compare` have to be equal. Checks a `reference`."""
    left, right = (run_lightning(Case(item, data, arguments, seed, trace, None)) for item in (build, other))
    for run in (left, right):
        if run.error is not None:
            raise AssertionError("Lightning itself cannot run this case") from run.error
    right.who = "the reference"
    _fail_on_difference(left, right, compare)


def first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _fail_on_difference(specification: Run, adapted: Run, compare: tuple[str, ...]) -> None:
    if adapted.error is not None:
        raise AssertionError(f"the adapter raised {first_line(adapted.error)}") from adapted.error
    report = differences(specification, adapted, compare)
    if report:
        pytest.fail(report, pytrace=False)


def _fail_on_other_error(specification: Run, adapted: Run) -> None:
    if adapted.error is None:
        pytest.fail(f"Lightning raised {first_line(specification.error)!r}, the adapter nothing", pytrace=False)
    assert specification.error is not None
    # who catches Lightning's exception catches ours, which may be of the package's own family besides
    kinds = {kind.__name__ for kind in type(adapted.error).__mro__}
    words = [first_line(error).partition(": ")[2] for error in (specification.error, adapted.error)]
    if type(specification.error).__name__ not in kinds or words[0] != words[1]:
        both = f"  Lightning: {first_line(specification.error)}\n  adapter:   {first_line(adapted.error)}"
        raise AssertionError(f"not the same error\n{both}") from adapted.error
