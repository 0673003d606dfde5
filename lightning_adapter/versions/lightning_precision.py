"""As what do Lightning's callbacks know the precision and the device of a run, and which of their names are private?

Seen in Lightning 1.9.5, 2.0.9 and 2.6.6, unless a name says otherwise.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import torch

from lightning_adapter.versions.hosts import Host

if TYPE_CHECKING:
    from pytorch_lightning.accelerators import Accelerator

_PLUGINS = {
    "16-mixed": "MixedPrecision",
    "bf16-mixed": "MixedPrecision",
    "16-true": "HalfPrecision",
    "bf16-true": "HalfPrecision",
    "64-true": "DoublePrecision",
}


class _Named(Protocol):
    precision: str


_Precision = TypeVar("_Precision", bound=_Named)


def precision_name(host: Host, precision: str) -> str:
    """What `trainer.precision` reads: "16-mixed" and the like since 2.0, "16", "32", "64" and "bf16" before."""
    return precision.partition("-")[0] if host.quirks.names_precision_by_bits else precision


def accelerator(host: Host, device: torch.device) -> Accelerator:
    """What `trainer.accelerator` reads: Lightning's object for the kind of device."""
    accelerators = host.load("accelerators")
    found: Accelerator = accelerators.CUDAAccelerator() if device.type == "cuda" else accelerators.CPUAccelerator()
    return found


@functools.cache
def _plugin_class(host: Host, ours: type[Any], name: str) -> type[Any] | None:
    theirs = getattr(host.load("plugins"), name, None)
    if theirs is None:
        return None
    return type(name, (ours, theirs), {"_desired_input_dtype": property(lambda plugin: plugin.dtype)})


def as_precision_plugin(host: Host, precision: _Precision) -> _Precision:
    """Our precision object as an instance of the host's class for this precision, with the very same state.

    ThroughputMonitor (2.2 to 2.6.6) asks for the class, and for `_desired_input_dtype` of half precision. Lightning 1.9
    has other classes, and nobody who asks for them.
    """
    kind = _plugin_class(host, type(precision), _PLUGINS.get(precision.precision, "Precision"))
    if kind is None:
        return precision
    plugin: _Precision = object.__new__(kind)
    vars(plugin).update(vars(precision))
    return plugin
