"""Does a package that was just written open, and give back the weights?"""

from __future__ import annotations

import pathlib

from lightning_adapter.errors import ExportError
from lightning_adapter.evaluation.export.comparison import compare
from lightning_adapter.evaluation.package import writing
from lightning_adapter.evaluation.package.opening import load_model


def write_checked(file: pathlib.Path, contents: writing.Contents) -> None:
    """Write a package, and open it as who gets it would.

    Raises:
        ExportError: something of it cannot be packaged, or it does not open, or has other weights.
    """
    writing.write(file, contents)
    try:
        found = load_model(file).state_dict()
    except Exception as error:  # of the code in it
        raise ExportError(f"The package was written, and cannot be opened: {type(error).__name__}: {error}") from error
    weights = contents.module.state_dict()
    differing = [name for name in weights if name not in found or compare(weights[name], found[name]).fault]
    if differing:
        raise ExportError(
            f"The package of {contents.target} does not give back its weights: {', '.join(differing[:5])}."
        )
