"""From the trained model of a run to a file: with which input, to which place?"""

from __future__ import annotations

import itertools
import pathlib

import torch

from lightning_adapter.data.collections import flatten
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.export import example as examples
from lightning_adapter.evaluation.export.comparison import Difference
from lightning_adapter.evaluation.export.example import Example
from lightning_adapter.evaluation.export.exporting import Exported, Model, export, first_lines
from lightning_adapter.evaluation.export.formats import Format
from lightning_adapter.evaluation.export.onnx_format import Onnx
from lightning_adapter.evaluation.export.package_format import Package, in_python
from lightning_adapter.evaluation.export.request import INSTEAD, check_installed, check_out
from lightning_adapter.evaluation.export.torch_formats import ExportedProgram, TorchScript
from lightning_adapter.evaluation.loading import LoadedTrial
from lightning_adapter.evaluation.package.of_trial import check, contents_of, write_checked
from lightning_adapter.runs.placing import aside, place
from lightning_adapter.runs.summary import shown
from lightning_adapter.versions import lightning_private
from lightning_adapter.versions.types import Batch


def export_trial(
    loaded: LoadedTrial, to: str, out: pathlib.Path | None, overwrite: bool
) -> tuple[Exported, Example | None]:
    """Export the model of a trial.

    Args:
        loaded: the trial with its weights.
        to: the name of the format.
        out: the file; by default one with the name of the format in the run's directory, or the current one.
        overwrite: whether a file that is there may go.

    Returns:
        The file, in its place, and the input that it was tried with; None for a package whose weights were compared alone.

    Raises:
        ConfigurationError: something given cannot be used.
        ExportError: the model cannot be exported so.
    """
    check_installed(to)
    file = out or (loaded.run_dir or pathlib.Path()) / _FILES[to]
    check_out(file, overwrite)
    if to == Package.name:
        check(loaded)
    with aside(file) as folder:
        try:
            example = _example(loaded, with_other=to in (Onnx.name, ExportedProgram.name))
            model = Model(loaded.lightning_module)
            target = _format(to, loaded, model)
            made = export(model, example, target, folder, file.name)
            usage = target.usage(shown(file), example)
        except ConfigurationError as error:
            if to != Package.name:
                raise
            # a package has more uses than a call of forward
            made, example, usage = _not_run(loaded, folder / file.name, error), None, in_python(shown(file))
        files = place(made.files[0], file, INSTEAD, overwrite)
    return made.placed(files, usage), example


def _not_run(loaded: LoadedTrial, file: pathlib.Path, why: ConfigurationError) -> Exported:
    """A package whose weights are compared, where there is no input to run it with."""
    beside = file.parent / "package" / file.name
    beside.parent.mkdir()
    write_checked(beside, contents_of(loaded))
    return Exported(
        (beside,),
        "torch.package",
        Difference(0.0, 0.0, None),
        "",
        (),
        any_batch_size=False,
        notes=[f"a run of forward: {why}"],
    )


_FILES = {each.name: each.file for each in (Onnx, TorchScript, ExportedProgram, Package)}


def _format(to: str, loaded: LoadedTrial, model: Model) -> Format:
    if to == Onnx.name:
        return Onnx(model.run)
    if to == Package.name:
        return Package(contents_of(loaded))
    return TorchScript() if to == TorchScript.name else ExportedProgram()


def _example(loaded: LoadedTrial, with_other: bool = False) -> Example:
    """What forward is called with; where it is of the data, with another batch that shows which sizes differ."""
    module = loaded.lightning_module
    own = examples.of_module(module)
    if own is not None:
        return own
    try:
        batch, other = _first_two(loaded, with_other)
        found = examples.of_batch(module, _transferred(loaded, batch), "the first validation batch")
        if other is None or found.batch_size is None:
            return found
        return found.beside(examples.of_batch(module, _transferred(loaded, other), "the second validation batch"))
    except ConfigurationError as error:
        raise ConfigurationError(
            f"There is no input to export {type(module).__name__} with: it has no example_input_array, and of the validation "
            f"data: {error}"
        ) from error


def _first_two(loaded: LoadedTrial, both: bool) -> tuple[Batch, Batch | None]:
    """The first batches of the first validation loader; the second one is None where it is not wanted, or not there.

    Raises:
        ConfigurationError: there is none.
    """
    _, collection = lightning_private.uncombined(loaded.dataloaders("val"), "sequential")
    loader = next(iter(flatten(collection)), None)
    if loader is None:
        raise ConfigurationError("there is no validation loader.")
    batches = list(itertools.islice(loader, 2 if both else 1))
    if batches:
        return batches[0], batches[1] if len(batches) > 1 else None
    raise ConfigurationError("the validation loader is empty.")


def _transferred(loaded: LoadedTrial, batch: Batch) -> Batch:
    """The batch after the hooks that bring it to the device.

    Raises:
        ConfigurationError: a hook fails.
    """
    try:
        return lightning_private.transfer_batch(loaded.trial.lightning_module, batch, torch.device("cpu"), 0)
    except Exception as error:  # of the user's own code
        raise ConfigurationError(f"a hook that transfers it fails: {first_lines(error)}") from error
