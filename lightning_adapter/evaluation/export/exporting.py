"""Which way to a format gives a file that computes what the module computes, and for which batch sizes?"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from lightning_adapter.errors import ConfigurationError, ExportError
from lightning_adapter.evaluation.export.comparison import Difference, compare
from lightning_adapter.evaluation.export.example import Example
from lightning_adapter.evaluation.export.formats import Format, Runner, Way
from lightning_adapter.evaluation.export.leaves import described, tensors
from lightning_adapter.loop.hooks import is_overridden
from lightning_adapter.versions import hosts
from lightning_adapter.versions.types import LightningModule

#: Batch sizes that are tried besides that of the example.
_SIZES = (1, 3)
_HOOKS = ("on_before_batch_transfer", "transfer_batch_to_device", "on_after_batch_transfer")


@dataclass(frozen=True)
class Exported:
    """A file that computes what the module computes.

    Attributes:
        files: where it is, and the one beside it where that holds the weights.
        way: in which it was written.
        difference: from the module's outputs, the largest of all inputs that were tried.
        outputs: of the example, for people.
        sizes: batch sizes that it was run with; none where the input has no batch.
        any_batch_size: whether these are examples, and others go too.
        free: dimensions besides the batch's of which any size goes, for people.
        notes: ways that did not go, and why, for people.
        usage: what to type to run it, in Python.
    """

    files: tuple[pathlib.Path, ...]
    way: str
    difference: Difference
    outputs: str
    sizes: tuple[int, ...]
    any_batch_size: bool
    notes: list[str]
    usage: str = ""
    free: str = ""

    def placed(self, files: Sequence[pathlib.Path], usage: str) -> Exported:
        """The same in its place."""
        return dataclasses.replace(self, files=tuple(files), usage=usage)


class Model:
    """A module as it is exported: in eval mode, on the processor, without gradients, and without a Trainer.

    Args:
        module: all of that is done to it.

    Raises:
        ConfigurationError: it has no forward.
    """

    def __init__(self, module: LightningModule) -> None:
        host = hosts.host_of(module)
        name = type(module).__name__
        if not is_overridden("forward", module, host.pl.LightningModule):
            raise ConfigurationError(
                f"{name} has no forward(), which is what is exported. Write `def forward(self, x):` in it, with what a "
                "prediction computes."
            )
        # as `load_from_checkpoint` gives it: `self.log` in forward finds no loop, and does nothing
        module.trainer = None
        self.module = module.cpu().eval()

    def run(self, example: Example) -> object:
        """Call it, with the random numbers of one seed."""
        return _seeded(lambda: self.module(*example.args, **example.kwargs))

    def expected(self, example: Example) -> object:
        """Call it with what was found for it.

        Raises:
            ConfigurationError: forward does not take that.
        """
        try:
            given = self.run(example)
        except Exception as error:  # of the user's own code
            raise ConfigurationError(
                f"{type(self.module).__name__}.forward() fails with the input that is there ({example.origin}: {example}): "
                f"{first_lines(error)}\nWrite into {type(self.module).__name__}.__init__(): self.example_input_array = what "
                "it takes."
            ) from error
        if not tensors(given):
            raise ConfigurationError(
                f"{type(self.module).__name__}.forward() returns {type(given).__name__}, with no tensor in it: there is "
                "nothing to export."
            )
        of_itself = compare(given, given)
        if of_itself.numbers and not of_itself.compared:
            raise ConfigurationError(
                f"{type(self.module).__name__}.forward() gives no finite number for the input that is there "
                f"({example.origin}: {example}), so that a file could not be compared with it. Where the training has not "
                f"diverged, write into {type(self.module).__name__}.__init__(): self.example_input_array = what it takes."
            )
        return given

    def is_random(self, example: Example) -> bool:
        """Whether two calls, with random numbers of two seeds, give two answers."""
        again = _seeded(lambda: self.module(*example.args, **example.kwargs), seed=1)
        return compare(self.run(example), again).fault is not None

    def sizes(self, example: Example) -> tuple[int, ...]:
        """Batch sizes besides the example's that forward itself takes."""
        if example.batch_size is None:
            return ()
        return tuple(size for size in _SIZES if size != example.batch_size and self.takes(example.of_batch_size(size)))

    def takes(self, example: Example) -> bool:
        """Whether forward itself does not fail with it."""
        try:
            self.run(example)
        except Exception:  # a forward of a fixed size fails in its own way
            return False
        return True


def _seeded(call: Callable[[], object], seed: int = 0) -> object:
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        return call()


def export(model: Model, example: Example, target: Format, directory: pathlib.Path, name: str) -> Exported:
    """Write a file in the first way that goes.

    Args:
        model: what is exported.
        example: an input; another one beside it, of other sizes, is tried too.
        target: the format.
        directory: empty; each way gets one in it.
        name: of the file.

    Raises:
        ConfigurationError: forward does not take the input.
        ExportError: no way gives a file that computes the same.
    """
    expected = model.expected(example)
    sizes = model.sizes(example)
    own = () if example.batch_size is None else (example.batch_size,)
    outputs = ", ".join(described(name, tensor) for name, tensor in tensors(expected, "output"))
    plain = dataclasses.replace(example, other=None)
    inputs = [example, plain] if example.other is not None and model.takes(example.other) else [plain]
    failures: list[str] = []
    fixed: Exported | None = None
    # a way for one batch size is for the sizes of the example alone
    attempts = [
        (each, way)
        for each in inputs
        for way in target.ways(model.module, each)
        if way.any_batch_size or each.other is None
    ]
    for number, (used, way) in enumerate(attempts):
        if not way.any_batch_size and fixed is not None:
            break
        free = _free_sizes(used)
        of_one = "" if way.any_batch_size or not sizes else ", for one batch size"
        called = f"{way.name}, for any {free}" if free else f"{way.name}{of_one}"
        path = directory / str(number) / name
        path.parent.mkdir()
        try:
            runner = _written(model, target, way, path)
            difference = _compared(model, used, runner)
        except _Failure as failure:
            failures.append(f"{called}: {failure}")
            continue
        made = Exported((path,), way.name, difference, outputs, own, any_batch_size=False, notes=failures)
        if not way.any_batch_size:
            return made
        others = {f"a batch of {size}": used.of_batch_size(size) for size in sizes}
        if used.other is not None:
            others[str(used.other)] = used.other
        try:
            for which, other in others.items():
                difference = difference.together_with(_compared(model, other, runner, which))
        except _Failure as limit:
            failures.append(f"{called}: {limit}")
            fixed = made if fixed is None and used.other is None else fixed
            continue
        all_sizes = tuple(sorted({*sizes, *own}))
        return dataclasses.replace(made, difference=difference, sizes=all_sizes, any_batch_size=bool(sizes), free=free)
    if fixed is not None:
        return fixed
    raise ExportError(
        f"{type(model.module).__name__} cannot be exported to {target.name}:\n"
        + "\n".join(f"- {failure}" for failure in failures)
        + f"\nTry {target.others}."
    )


def _free_sizes(example: Example) -> str:
    """The dimensions besides the batch's of which any size is wanted, for people; nothing where there are none."""
    if example.other is None:
        return ""
    return ", ".join(
        f"{name} dimension {dim} (tried with {one.shape[dim]} and {two.shape[dim]})"
        for (name, one), (_, two), dims in zip(example.tensors, example.other.tensors, example.free, strict=True)
        for dim in dims
    )


class _Failure(Exception):
    """One way does not go; the message says why."""


def _written(model: Model, target: Format, way: Way, path: pathlib.Path) -> Runner:
    """Write a file, and read it.

    Raises:
        _Failure: it cannot be written, or read.
    """
    try:
        with _quietly(), _batch_is_ready(model.module), torch.no_grad():
            way.write(path)
        model.module.eval()
    except Exception as error:  # exporters fail in any way
        raise _Failure(first_lines(error)) from error
    try:
        with _quietly():
            return target.load(path)
    except Exception as error:
        raise _Failure(f"it was written, and cannot be run: {first_lines(error)}") from error


def _compared(model: Model, example: Example, runner: Runner, which: str = "") -> Difference:
    """Run a file, and compare what it gives with what the module gives.

    Args:
        model: the module.
        example: the input.
        runner: runs the file.
        which: name of the input, where it is not the one that the file was made with.

    Raises:
        _Failure: it cannot be run, or computes something else.
    """
    try:
        with _quietly():
            found = _seeded(lambda: runner(example))
    except Exception as error:
        fails = f"it does not take {which}" if which else "it was written, and cannot be run"
        raise _Failure(f"{fails}: {first_lines(error)}") from error
    difference = compare(model.run(example), found)
    if difference.fault is not None:
        random = ""
        if model.is_random(example):
            random = " (forward() draws random numbers in eval mode, so no two runs give the same)"
        of = f"of {which} " if which else ""
        raise _Failure(f"{of}it computes something else than the module: {difference.fault}{random}")
    return difference


def first_lines(error: BaseException, number: int = 3) -> str:
    """The class of an error and the first lines of its message; of the error that another one only passes on."""
    while error.__cause__ is not None and type(error).__module__.startswith("torch."):
        error = error.__cause__
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:number])[:400]}" if lines else type(error).__name__


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep to itself what exporters print of their steps, and of graphs that they cannot make, from C++ too."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with (
            open(os.devnull, "w", encoding="utf-8") as nowhere,
            warnings.catch_warnings(),
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            os.dup2(nowhere.fileno(), 2)
            warnings.simplefilter("ignore")
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@contextlib.contextmanager
def _batch_is_ready(module: LightningModule) -> Iterator[None]:
    """Keep `to_onnx` and `to_torchscript` from calling the hooks of a batch: the example is what forward gets."""
    names = [name for name in _HOOKS if is_overridden(name, module, hosts.host_of(module).pl.LightningModule)]
    kept = {name: vars(module)[name] for name in names if name in vars(module)}
    vars(module).update({name: _as_it_is for name in names})
    try:
        yield
    finally:
        for name in names:
            del vars(module)[name]
        vars(module).update(kept)


def _as_it_is(batch: object, *_: object) -> object:
    return batch
