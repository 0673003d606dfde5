"""How is an ONNX file written, and run by ONNX Runtime?"""

from __future__ import annotations

import contextlib
import inspect
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

from lightning_adapter.evaluation.export.example import Example
from lightning_adapter.evaluation.export.formats import Runner, Way
from lightning_adapter.evaluation.export.leaves import tensors
from lightning_adapter.evaluation.export.torch_formats import dynamic_shapes, names_for_all, traced_with
from lightning_adapter.versions import torch_private
from lightning_adapter.versions.types import LightningModule

#: A file of protobuf holds 2 GiB; of more, the weights go to a file beside it.
_LARGEST = 2**31 - 2**24


class Onnx:
    """What `to_onnx` makes.

    Args:
        run: calls the module with an input; outputs get their names from what it gives.
    """

    name, file = "onnx", "model.onnx"
    others = "--to exported_program, or --to package, which takes any module"

    def __init__(self, run: Callable[[Example], object]) -> None:
        self._run = run

    def ways(self, module: LightningModule, example: Example) -> Sequence[Way]:
        """The newer exporter follows the program that `torch.export` makes, the older one what a trace has seen."""
        outputs = self._outputs(example)
        bytes_of_weights = sum(each.nbytes for each in module.state_dict().values() if isinstance(each, torch.Tensor))
        beside = bytes_of_weights > _LARGEST

        def write(path: pathlib.Path, used: Example, **options: Any) -> None:
            names = {"input_names": [name for name, _ in used.tensors], "output_names": list(outputs)}
            given = {"kwargs": used.kwargs} if used.kwargs else {}
            module.to_onnx(path, used.args, **names, **given, **options)

        def newer(path: pathlib.Path, used: Example, any_size: bool) -> None:
            used = used.copied()
            shapes = dynamic_shapes(used) if any_size else None
            with names_for_all(module, used):
                write(path, used, dynamo=True, dynamic_shapes=shapes, external_data=beside, verbose=False)

        def older(path: pathlib.Path, used: Example) -> None:
            if beside:
                raise ValueError("the weights are more than 2 GiB, which it writes to a file each")
            batched = [name for name, tensor in used.tensors if used.has_batch_dimension(tensor)]
            batched += [name for name, has_it in outputs.items() if has_it]
            options = {"dynamo": False} if _has_newer_way() else {}
            axes = {name: {0: "batch"} for name in batched}
            for (name, _), dims in zip(used.tensors, used.free, strict=True):
                axes.setdefault(name, {}).update({dim: f"{name}_{dim}" for dim in dims})
            with torch_private.onnx_messages_to_stderr(), _without_fused_attention():
                write(path, used, dynamic_axes=axes, **options)

        names = ("torch.onnx by torch.export", "torch.onnx by tracing")
        wide = traced_with(example)
        any_size = example.batch_size is not None
        ways = [Way(names[1], any_size, lambda path: older(path, wide))]
        if _has_newer_way():
            if any_size:
                ways.insert(0, Way(names[0], True, lambda path: newer(path, wide, any_size=True)))
            ways.append(Way(names[0], False, lambda path: newer(path, example, any_size=False)))
        return ways

    def _outputs(self, example: Example) -> dict[str, bool]:
        """Names of outputs, and whether their first dimension is the batch's."""
        taken = {name for name, _ in example.tensors}
        given = self._run(example)
        named = tensors(given, "" if isinstance(given, dict) else "output")
        return {f"{name}_out" if name in taken else name: example.has_batch_dimension(tensor) for name, tensor in named}

    def load(self, path: pathlib.Path) -> Runner:
        """Read it, for the processor."""
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def run(example: Example) -> object:
            given = dict(example.tensors)
            # what forward does not look at is not in the file
            feed = {each.name: given[each.name].numpy() for each in session.get_inputs()}
            return tuple(torch.as_tensor(value) for value in session.run(None, feed))

        return run

    def usage(self, path: str, example: Example) -> str:
        """Return what to type."""
        feed = ", ".join(f'"{name}": {name}' for name, _ in example.tensors)
        return f'onnxruntime.InferenceSession("{path}").run(None, {{{feed}}})'


@contextlib.contextmanager
def _without_fused_attention() -> Iterator[None]:
    """Have a trace see the operators of attention, and not the one into which torch fuses them in eval mode."""
    was = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(was)


def _has_newer_way() -> bool:
    return "dynamo" in inspect.signature(torch.onnx.export).parameters
