"""Which YAML does the master get? The user's own, comments and all, with what was typed and a log policy added."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML

from lightning_adapter.submission.policies import with_policy


def sent_text(text: str, name: str | None, place: tuple[str, str] | None) -> str:
    """Return the YAML that is sent.

    Args:
        text: what the user wrote; a mapping that was checked already.
        name: another name for the experiment.
        place: another workspace and project.
    """
    yaml = YAML(typ="rt", pure=True)
    yaml.preserve_quotes = True
    yaml.width = 10_000  # a folded line would be another text to who reads it
    content: Any = yaml.load(text)
    _change(content, name, place)
    written = io.StringIO()
    yaml.dump(content, written)
    return written.getvalue()


def sent(config: Mapping[str, Any], name: str | None, place: tuple[str, str] | None) -> dict[str, Any]:
    """Return what `sent_text` says, as the values that it stands for."""
    changed = dict(config)
    _change(changed, name, place)
    return changed


def _change(content: dict[str, Any], name: str | None, place: tuple[str, str] | None) -> None:
    if name is not None:
        content["name"] = name
    if place is not None:
        content["workspace"], content["project"] = place
    policies = with_policy(content.get("log_policies"))
    content["log_policies"] = policies
