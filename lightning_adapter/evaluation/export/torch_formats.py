"""How are the two formats written and run that need torch alone: an exported program, and TorchScript?"""

from __future__ import annotations

import contextlib
import inspect
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_adapter.evaluation.export.example import Example
from lightning_adapter.evaluation.export.formats import Runner, Way
from lightning_adapter.versions.types import LightningModule


class ExportedProgram:
    """What `torch.export` makes."""

    name, file = "exported_program", "model.pt2"
    others = "--to torchscript, or --to package, which takes any module"

    def ways(self, module: LightningModule, example: Example) -> Sequence[Way]:
        """Any batch size, or that of the example."""

        def write(path: pathlib.Path, used: Example, any_size: bool) -> None:
            used = used.copied()
            shapes = dynamic_shapes(used) if any_size else None
            with names_for_all(module, used):
                program = torch.export.export(module, used.args, used.kwargs, dynamic_shapes=shapes)
            torch.export.save(program, path)

        fixed = Way("torch.export", False, lambda path: write(path, example, any_size=False))
        if example.batch_size is None:
            return [fixed]
        wide = traced_with(example)
        return [Way("torch.export", True, lambda path: write(path, wide, any_size=True)), fixed]

    def load(self, path: pathlib.Path) -> Runner:
        """Read it."""
        program = torch.export.load(path).module()
        return lambda example: program(*example.args, **example.kwargs)

    def usage(self, path: str, example: Example) -> str:
        """Return what to type."""
        return f'torch.export.load("{path}").module()({call(example)})'


class TorchScript:
    """What `to_torchscript` makes: by its compiler, which keeps branches and loops, or by tracing."""

    name, file = "torchscript", "model.torchscript.pt"
    others = "--to exported_program, which torch has put in its place, or --to package, which takes any module"

    def ways(self, module: LightningModule, example: Example) -> Sequence[Way]:
        """Script, or trace."""

        def script(path: pathlib.Path) -> None:
            _save(module.to_torchscript(method="script"), path)

        def trace(path: pathlib.Path) -> None:
            if example.kwargs:
                raise ValueError(f"tracing takes nothing by name, and forward takes {', '.join(example.kwargs)} so")
            # checked here, and dicts are let through as outputs
            made = module.to_torchscript(method="trace", example_inputs=example.args, check_trace=False, strict=False)
            _save(made, path)

        any_size = example.batch_size is not None
        return [Way("torch.jit.script", any_size, script), Way("torch.jit.trace", any_size, trace)]

    def load(self, path: pathlib.Path) -> Runner:
        """Read it."""
        scripted = torch.jit.load(str(path), map_location="cpu")
        return lambda example: scripted(*example.args, **example.kwargs)

    def usage(self, path: str, example: Example) -> str:
        """Return what to type."""
        return f'torch.jit.load("{path}")({call(example)})'


def _save(made: object, path: pathlib.Path) -> None:
    """As `to_torchscript` writes the one module that its caller wants.

    Raises:
        ValueError: an override returns several.
    """
    if isinstance(made, Mapping):
        raise ValueError(
            f"to_torchscript() returns the {len(made)} modules {', '.join(map(str, made))}, and a file holds one; save them "
            "with torch.jit.save"
        )
    torch.jit.save(made, str(path))


def call(example: Example) -> str:
    """Return what stands between the brackets of a call with an input like the example."""
    return ", ".join([*example.names, *(f"{name}={name}" for name in example.kwargs)])


def traced_with(example: Example) -> Example:
    """The example with two samples at least: a dimension of 1 is taken for one that is always 1."""
    return example.of_batch_size(2) if example.batch_size == 1 else example


@contextlib.contextmanager
def names_for_all(module: LightningModule, example: Example) -> Iterator[None]:
    """Give forward a parameter for each thing of the example, where it has `*args` or `**kwargs` for some of them.

    `torch.export` finds no dimension to be any there (2.13: "Must provide a tree_name").
    """
    parameters = inspect.signature(module.forward).parameters.values()
    if not any(each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD) for each in parameters):
        yield
        return
    theirs = module.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        return theirs(*args, **kwargs)

    named = [inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY) for name in example.names]
    named += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY) for name in example.kwargs]
    vars(forward)["__signature__"] = inspect.Signature(named)
    kept = {name: value for name, value in vars(module).items() if name == "forward"}
    vars(module)["forward"] = forward
    try:
        yield
    finally:
        del vars(module)["forward"]
        vars(module).update(kept)


def dynamic_shapes(example: Example) -> dict[str, Any]:
    """What `torch.export` is told of the dimensions: of any size are the batch's, and those that differ in another example."""

    def dimension(dim: int) -> Any:
        # before 2.6 of torch they have names
        return getattr(torch.export.Dim, "DYNAMIC", None) or torch.export.Dim(f"size_{dim}" if dim else "batch")

    free = {id(tensor): dims for (_, tensor), dims in zip(example.tensors, example.free, strict=True)}

    def spec(value: object) -> Any:
        if isinstance(value, Tensor):
            dims = ([0] if example.has_batch_dimension(value) else []) + list(free.get(id(value), ()))
            return {dim: dimension(dim) for dim in dims} or None
        if isinstance(value, (list, tuple)):
            return type(value)(map(spec, value)) if not hasattr(value, "_fields") else type(value)(*map(spec, value))
        if isinstance(value, Mapping):
            return {key: spec(inner) for key, inner in value.items()}
        return None

    named = {**dict(zip(example.names, example.args, strict=True)), **example.kwargs}
    return {name: spec(value) for name, value in named.items()}
