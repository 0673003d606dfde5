"""`lightning-adapter export`: what can be typed, and what is said of the file?"""

from __future__ import annotations

import argparse
import pathlib
from typing import TYPE_CHECKING

from lightning_adapter.cli import evaluation

if TYPE_CHECKING:
    from lightning_adapter.evaluation.export.example import Example
    from lightning_adapter.evaluation.export.exporting import Exported

DESCRIPTION = (
    "Write the best model of a run as ONNX, TorchScript, a program of torch.export, or a package with its source; run the "
    "file once, and compare it with the module. The input is example_input_array, or what forward takes of the first "
    "validation batch."
)
_FORMATS = ("onnx", "torchscript", "exported_program", "package")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Say what can be typed after the command's name."""
    evaluation.add_arguments(parser)
    parser.add_argument("--to", required=True, choices=_FORMATS, help="the format")
    parser.add_argument(
        "--out",
        metavar="FILE",
        help="default model.onnx, model.torchscript.pt, model.pt2 or model.package.pt in the directory of the run",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a file that is there")


def run(arguments: argparse.Namespace) -> int:
    """Export; return the exit status.

    Raises:
        LightningAdapterError: what was typed cannot be used, or the model cannot be exported.
    """
    from lightning_adapter.evaluation.export.request import check_installed, check_out
    from lightning_adapter.runs.summary import say

    check_installed(arguments.to)
    out = None if arguments.out is None else pathlib.Path(arguments.out).expanduser()
    if out is not None:
        check_out(out, arguments.overwrite)
    with evaluation.loaded(arguments) as trial:
        if not trial.is_chief:
            return 0
        from lightning_adapter.evaluation.export.of_trial import export_trial

        made, example = export_trial(trial, arguments.to, out, arguments.overwrite)
        say("\n" + _summary(made, example))
    return 0


def _summary(made: Exported, example: Example | None) -> str:
    import tabulate

    from lightning_adapter.runs.summary import shown

    size = sum(part.stat().st_size for part in made.files)
    ran = (
        [("weights", "compared with those of the module: the same")]
        if example is None
        else [("input", f"{example}, of {example.origin}"), ("output", made.outputs), ("difference", _difference(made))]
    )
    rows = [
        *ran,
        *([("batch size", _sizes(made))] if made.sizes else []),
        *([("sizes free", made.free)] if made.free else []),
        ("way", made.way),
        ("file", f"{', '.join(shown(part) for part in made.files)} ({size / 1e6:.3g} MB)"),
    ]
    parts = [tabulate.tabulate(rows, tablefmt="plain", disable_numparse=True), f"run it:  {made.usage}"]
    if made.notes:
        parts.insert(0, "\n".join(["did not go:", *(f"- {note}" for note in made.notes)]))
    return "\n\n".join(parts)


def _difference(made: Exported) -> str:
    largest, allowed, _, numbers, compared = made.difference
    if not compared:
        return "none was looked for: the outputs are empty"
    others = f", {numbers - compared} of {numbers} numbers are infinite or NaN in both" if compared < numbers else ""
    return f"{largest:.3g} at most from the module ({allowed:.3g} is rounding){others}"


def _sizes(made: Exported) -> str:
    tried = ", ".join(map(str, made.sizes))
    return f"any (tried with {tried})" if made.any_batch_size else f"{tried} alone"
