"""What does an experiment's entrypoint type after `fit`, which a search on this machine has to take for typed as well?

A cluster trains each trial with these words. A search of the same file that left them out would train something else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import fit_words
from lightning_adapter.platform.target import names_a_configuration
from lightning_adapter.platform.typed_hparams import hyperparameters
from lightning_adapter.submission.entrypoint import Entrypoint, read_entrypoint

#: Arguments of `fit` that mean the same to each trial of a search. The seed and the names of directories are the searcher's.
_OPTIONS = ("max_epochs", "max_steps", "validation_period", "checkpoint_period", "warm_start_from")


@dataclass(frozen=True)
class TypedInEntrypoint:
    """What counts where nothing else is typed.

    Attributes:
        target: `FILE_OR_MODULE:TrialClass`; None where the entrypoint names none, or only the container knows it.
        hparams: of `--hparam`, nested.
        options: arguments of `fit`, as they are typed.
        words: all that follows `fit`, where a configuration of LightningCLI's or Hydra's is named among it; else empty.
        notice: what somebody should know of an entrypoint that cannot be followed here; None where there is nothing.
    """

    target: str | None = None
    hparams: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    notice: str | None = None


def typed_in_entrypoint(config: Mapping[str, Any]) -> TypedInEntrypoint:
    """Read what an experiment's entrypoint types after `fit`.

    Args:
        config: what `experiment.read` returned.

    Raises:
        ConfigurationError: no shell, or not `fit`, would take it.
    """
    value = config.get("entrypoint")
    if not value:
        return TypedInEntrypoint()
    entrypoint = read_entrypoint(value)
    if entrypoint.kind != "fit":
        return TypedInEntrypoint(target=entrypoint.target, notice=_other(entrypoint))
    if not entrypoint.is_known:
        target = entrypoint.target
        return TypedInEntrypoint(
            target=None if target is None or "$" in target or "`" in target else target,
            notice=f"the entrypoint is {entrypoint.text!r}, whose variables are set on a cluster alone: what it says after "
            "fit does not count here, and has to be typed",
        )
    try:
        typed = fit_words.read(entrypoint.arguments)
        hparams = hyperparameters(typed) or {}
    except ConfigurationError as error:
        raise ConfigurationError(f"the entrypoint is {entrypoint.text!r}: {error}") from error
    return TypedInEntrypoint(
        target=typed.target,
        hparams=hparams,
        options=options_of(vars(typed)),
        words=entrypoint.arguments if names_a_configuration(entrypoint.arguments) else (),
    )


def options_of(typed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `fit` that each trial of a search gets, as plain values.

    Args:
        typed: what `fit_words.add_options` has read; others are left out.
    """
    found = {name: typed.get(name) for name in _OPTIONS}
    # a period is a named tuple, which JSON would make a list of
    return {
        name: str(value) if isinstance(value, tuple) else value for name, value in found.items() if value is not None
    }


def _other(entrypoint: Entrypoint) -> str | None:
    if entrypoint.kind == "trial":
        return None
    return (
        f"the entrypoint is {entrypoint.text!r}, of which nobody can tell from here what it trains, and how long: trials are "
        "trained by fit"
    )
