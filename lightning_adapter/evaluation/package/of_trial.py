"""What of a loaded trial goes into a package?"""

from __future__ import annotations

import json
import pathlib
from typing import Any

from lightning_adapter.checkpoints import file
from lightning_adapter.checkpoints.content import OURS
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.loading import LoadedTrial
from lightning_adapter.evaluation.package import writing
from lightning_adapter.evaluation.package.writing import Contents


def check(loaded: LoadedTrial) -> None:
    """Refuse a trial that cannot be packaged.

    Raises:
        ConfigurationError: it is one of a package already, or something of it cannot be packaged.
    """
    if loaded.source is not None and loaded.source.is_package:
        raise ConfigurationError(f"{loaded.checkpoint} is a package already. Copy the file.")
    writing.check(type(loaded.trial), loaded.lightning_module)


def contents_of(loaded: LoadedTrial) -> Contents:
    """Put together what a package of a trial holds, which was loaded from a checkpoint."""
    checkpoint = loaded.checkpoint
    assert checkpoint is not None
    saved = file.read(checkpoint)
    ours = saved.get(OURS)
    if isinstance(ours, dict):
        # those that were given win over those of the run, here and where the package is opened
        saved = {**saved, OURS: {**ours, "hyperparameters": loaded.hparams}}
    return Contents(type(loaded.trial), loaded.lightning_module, saved, loaded.config, _metadata(checkpoint))


def _metadata(checkpoint: pathlib.Path) -> dict[str, Any]:
    about = checkpoint / "metadata.json"
    return json.loads(about.read_text(encoding="utf-8")) if about.is_file() else {}
