"""Which trial class does an experiment train, as it is typed after `lightning-adapter fit`?"""

from __future__ import annotations


def target_of(entrypoint: object) -> str | None:
    """Return it; None where the entrypoint of an experiment does not say.

    Args:
        entrypoint: text, or words; `model_def:TrialClass` alone is one too.
    """
    words = [str(word) for word in entrypoint] if isinstance(entrypoint, list) else str(entrypoint or "").split()
    if len(words) == 1 and ":" in words[0]:
        return words[0]
    after = words[words.index("fit") + 1 :] if "fit" in words else []
    return next((word for word in after if ":" in word and not word.startswith("-")), None)
