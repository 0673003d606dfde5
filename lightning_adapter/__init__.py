"""How is a PyTorch Lightning module trained on a Determined cluster? By changing its base classes."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning_adapter.adapter import LightningAdapter
    from lightning_adapter.configured_trial import ConfiguredTrial, build, load_config
    from lightning_adapter.evaluation.loading import load_trial
    from lightning_adapter.platform.fit import fit
    from lightning_adapter.pytorch_lightning import DETDM, DETLM, DrawBatches
    from lightning_adapter.tuning.search import search

__version__ = "0.1.0"
__all__ = [
    "DETDM",
    "DETLM",
    "ConfiguredTrial",
    "DrawBatches",
    "LightningAdapter",
    "build",
    "fit",
    "load_config",
    "load_trial",
    "search",
]

_HOMES = {
    "ConfiguredTrial": "configured_trial",
    "DETDM": "pytorch_lightning",
    "DETLM": "pytorch_lightning",
    "DrawBatches": "pytorch_lightning",
    "LightningAdapter": "adapter",
    "build": "configured_trial",
    "fit": "platform.fit",
    "load_config": "configured_trial",
    "load_trial": "evaluation.loading",
    "search": "tuning.search",
}


def __getattr__(name: str) -> Any:
    # On demand: users of the package `lightning` alone have no pytorch_lightning, and `--help` needs no torch.
    if name in _HOMES:
        return getattr(import_module(f"lightning_adapter.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'lightning_adapter' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
