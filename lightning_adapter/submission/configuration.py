"""Which YAML does the master get? The user's own, comments and all, with what was typed and a log policy added."""

from __future__ import annotations

import io
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
    if name is not None:
        content["name"] = name
    if place is not None:
        content["workspace"], content["project"] = place
    content["log_policies"] = with_policy(content.get("log_policies"))
    written = io.StringIO()
    yaml.dump(content, written)
    return written.getvalue()
