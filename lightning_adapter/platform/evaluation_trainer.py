"""How is Lightning's own Trainer made that validates, tests or predicts with what a trial gave its adapter?

It gets the weights of a checkpoint through a CheckpointIO of ours, in the place where it reads a file: after `setup`, which
may make layers, and after `configure_model`. So the file is read with restriction and from wherever it lies, and everything
else is Lightning's.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lightning_adapter.arguments import Arguments
from lightning_adapter.checkpoints import file, location
from lightning_adapter.checkpoints.content import with_what_was_left_out
from lightning_adapter.checkpoints.plain_data import with_constructed
from lightning_adapter.checkpoints.restore import restoring, weight_differences
from lightning_adapter.errors import ConfigurationError, guess
from lightning_adapter.monkey_patch import Replacement, replaced
from lightning_adapter.versions import hosts, lightning_precision
from lightning_adapter.versions.types import Callback, LightningDataModule, LightningModule, Logger

#: Of a checkpoint: what Lightning's Trainer would restore of the loss scaler, which only trains.
_OF_SCALER = ("MixedPrecision", "MixedPrecisionPlugin", "native_amp_scaling_state")
#: A callback that would put the weights that were trained in the place of their average, which is what is saved.
_AVERAGES = "WeightAveraging"
_LIMITS = ("limit_val_batches", "limit_test_batches", "limit_predict_batches")
_ADVICE = "Give the trial, and the hyperparameters, with which the checkpoint was written."


@dataclass(frozen=True)
class Place:
    """Where a Trainer runs.

    Attributes:
        device: of this process.
        processes: on each node, started by torchrun.
        nodes: number of them.
    """

    device: torch.device
    processes: int = 1
    nodes: int = 1

    @property
    def several(self) -> bool:
        """Whether there are several processes."""
        return self.processes * self.nodes > 1


class Weights:
    """The checkpoint whose weights are used.

    Args:
        name: what messages of Lightning call it; `trainer.ckpt_path`.
        read: its content, each time from anew.
    """

    def __init__(self, name: str, read: Callable[[], dict[str, Any]]) -> None:
        self.name = name
        self.read = read

    @classmethod
    def of(cls, place: location.Location, first: dict[str, Any] | None = None) -> Weights:
        """Those of a checkpoint directory, a file of Lightning's, or a URL.

        Args:
            place: where it lies.
            first: its content, where that was read already; it is kept until it is used.
        """
        kept = [] if first is None else [first]
        return cls(str(location.file_of(place)), lambda: kept.pop() if kept else file.read(place))

    def handed_over(
        self,
        module: LightningModule,
        datamodule: LightningDataModule | None,
        callbacks: Iterable[Callback] = (),
        with_states: bool = False,
    ) -> dict[str, Any]:
        """What Lightning's Trainer is to find, once the module has its layers.

        Args:
            module: gets the weights.
            datamodule: or None.
            callbacks: of the Trainer.
            with_states: whether datamodule and callbacks get theirs too, as Lightning restores them.
        """
        saved = self.read()
        name = type(datamodule).__qualname__
        content = {key: value for key, value in saved.items() if key not in (*_OF_SCALER, "callbacks", name)}
        if with_states and name in saved:
            content[name] = with_constructed(saved, (name,), saved[name], datamodule)
        if with_states and "callbacks" in saved and not any(_averages(callback) for callback in callbacks):
            states = saved["callbacks"]
            content["callbacks"] = {
                key: with_constructed(saved, ("callbacks", key), copy.deepcopy(states[key]), callback)
                for callback in callbacks
                if (key := callback.state_key) in states
            }
        return with_what_was_left_out(module, datamodule, content)


def _averages(callback: Callback) -> bool:
    return any(kind.__name__ == _AVERAGES for kind in type(callback).__mro__)


def evaluation_trainer(
    host: hosts.Host,
    arguments: Arguments,
    place: Place,
    *,
    callbacks: Sequence[Callback],
    loggers: Sequence[Logger],
    progress_bar: bool,
    root: str | os.PathLike[str] | None,
    handed_over: Callable[[], Mapping[str, Any]] | None,
    **options: Any,
) -> Any:
    """Lightning's Trainer, with what the trial gave its adapter of the arguments that decide what it measures.

    Args:
        host: the Lightning package.
        arguments: of the trial.
        place: where it runs.
        callbacks: the trial's.
        loggers: that are told.
        progress_bar: whether there is one.
        root: `trainer.default_root_dir`.
        handed_over: content of the checkpoint, in the place of a file; None where none is restored.
        **options: arguments of Lightning's Trainer that win.

    Raises:
        ConfigurationError: it has no such argument.
    """
    environments = host.load("plugins.environments")
    # not what Lightning makes of a launcher's variables, where this process works alone
    environment = environments.TorchElasticEnvironment() if place.several else environments.LightningEnvironment()
    cuda = place.device.type == "cuda"
    kinds = host.pl.callbacks
    given: dict[str, Any] = {
        "accelerator": "gpu" if cuda else "cpu",
        "devices": place.processes if place.several else [place.device.index or 0] if cuda else 1,
        "num_nodes": place.nodes,
        **({"strategy": "ddp"} if place.several else {}),
        "plugins": [environment, *([] if handed_over is None else [_checkpoint_io(host)(handed_over)])],
        "precision": lightning_precision.precision_name(host, arguments.precision),
        "callbacks": list(callbacks),
        "logger": list(loggers) or False,
        # Lightning refuses callbacks of these two kinds where it is told that there are none
        "enable_checkpointing": _has(callbacks, kinds.Checkpoint),
        "enable_progress_bar": progress_bar or _has(callbacks, host.progress_bar_class),
        "enable_model_summary": False,
        "fast_dev_run": arguments.fast_dev_run,
        **{name: _unless_all(getattr(arguments, name)) for name in _LIMITS},
        "overfit_batches": arguments.overfit_batches,
        "use_distributed_sampler": arguments.use_distributed_sampler,
        "replace_sampler_ddp": arguments.use_distributed_sampler,  # the same in Lightning 1.9
        "inference_mode": arguments.inference_mode,
        "deterministic": arguments.deterministic,
        "benchmark": arguments.benchmark,
        "detect_anomaly": arguments.detect_anomaly,
        "enable_autolog_hparams": False,  # the training has told the loggers
        "default_root_dir": root,
        **options,
    }
    known = inspect.signature(host.pl.Trainer.__init__).parameters
    unknown = [f"{name}{guess(name, known)}" for name in options if name not in known]
    if unknown:
        raise ConfigurationError(
            f"Lightning's Trainer has no argument {', '.join(unknown)}. Correct the name, or leave it out."
        )
    return host.pl.Trainer(**{name: value for name, value in given.items() if name in known})


def _unless_all(limit: float | None) -> float | None:
    """The limit, except for a fraction that is the whole: Lightning tells it where it was given."""
    return None if isinstance(limit, float) and limit == 1.0 else limit


def _has(callbacks: Sequence[Callback], kind: type) -> bool:
    return any(isinstance(callback, kind) for callback in callbacks)


@functools.cache
def _checkpoint_io(host: hosts.Host) -> Callable[[Callable[[], Mapping[str, Any]]], Any]:
    theirs: Any = host.load("plugins").TorchCheckpointIO

    class HandedOver(theirs):  # type: ignore[misc]
        """Gives Lightning's Trainer a checkpoint that was read elsewhere."""

        def __init__(self, content: Callable[[], Mapping[str, Any]]) -> None:
            super().__init__()
            self._content = content

        def load_checkpoint(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
            """Whatever the path."""
            return dict(self._content())

    return HandedOver


@contextlib.contextmanager
def telling_differences(module: LightningModule) -> Iterator[None]:
    """Say in words how weights do not fit that are loaded within the block.

    Raises:
        CheckpointError: they do not.
    """
    load = module.load_state_dict

    def told(state: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        with restoring(
            f"weights into {type(module).__name__}", lambda: weight_differences(module, state), advice=_ADVICE
        ):
            return load(state, *args, **kwargs)

    with replaced(module, load_state_dict=Replacement(told, module, "load_state_dict")):
        yield
