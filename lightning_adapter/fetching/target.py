"""Which trial class does an experiment train, as it is typed after `lightning-adapter fit`?"""

from __future__ import annotations

from lightning_adapter.platform.target import target_among


def target_of(entrypoint: object) -> str | None:
    """Return it; None where the entrypoint of an experiment does not say.

    Args:
        entrypoint: text, or words; `model_def:TrialClass` alone is one too.
    """
    words = [str(word) for word in entrypoint] if isinstance(entrypoint, list) else str(entrypoint or "").split()
    if len(words) == 1 and ":" in words[0]:
        return words[0]
    return target_among(words[words.index("fit") + 1 :]) if "fit" in words else None
