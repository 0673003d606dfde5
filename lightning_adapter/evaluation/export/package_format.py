"""How is a model exported with its source, and run from there?"""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

from lightning_adapter.evaluation.export.example import Example
from lightning_adapter.evaluation.export.formats import Runner, Way
from lightning_adapter.evaluation.export.torch_formats import call
from lightning_adapter.evaluation.package import writing
from lightning_adapter.evaluation.package.opening import load_model
from lightning_adapter.versions.types import LightningModule


class Package:
    """What `torch.package` makes.

    Args:
        contents: what goes into it.
    """

    name, file = "package", "model.package.pt"
    others = "--to exported_program or --to onnx, which hold what forward computes, and no source"

    def __init__(self, contents: writing.Contents) -> None:
        self._contents = contents

    def ways(self, module: LightningModule, example: Example) -> Sequence[Way]:
        """The module itself is in it, and so takes what it takes."""
        any_size = example.batch_size is not None
        return [Way("torch.package", any_size, lambda path: writing.write(path, self._contents))]

    def load(self, path: pathlib.Path) -> Runner:
        """Read it."""
        module = load_model(path)
        return lambda example: module(*example.args, **example.kwargs)

    def usage(self, path: str, example: Example) -> str:
        """Return what to type: torch's own importer knows no dataclass whose annotations are text."""
        return f"{in_python(path)}.lightning_module({call(example)})"


def in_python(path: str) -> str:
    """Return what to type to have the whole trial, with its data."""
    return f"load_trial({path!r}, trust_code=True)"
