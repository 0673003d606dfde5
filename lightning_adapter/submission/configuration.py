"""Which YAML does the master get? The user's own, comments and all, with what was typed and a log policy added."""

from __future__ import annotations

from lightning_adapter.platform import experiment
from lightning_adapter.platform.experiment.revised import revised
from lightning_adapter.submission.policies import with_policy


def sent_text(text: str, name: str | None, place: tuple[str, str] | None) -> str:
    """Return the YAML that is sent.

    Args:
        text: what the user wrote; a mapping that was checked already.
        name: another name for the experiment.
        place: another workspace and project.
    """
    content = experiment.plain(experiment.parse_value("the experiment", text))
    assert isinstance(content, dict)
    if name is not None:
        content["name"] = name
    if place is not None:
        content["workspace"], content["project"] = place
    content["log_policies"] = with_policy(content.get("log_policies"))
    return revised(text, content)
