"""What is one row of the support table: a name of Lightning, since and until when, and how it is treated?

Versions are half-open: a row holds for `since <= version < until`. `since=None` means that Lightning 1.5, the oldest
release looked at, has the name already; `until` is the first release without it; `until=None` means that the newest
release looked at (2.6.6) still has it.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from packaging.version import Version


class Support(enum.Enum):
    """How an override (of a hook, method or property) or a use (of an argument) is treated."""

    SUPPORTED = "supported"
    """As in Lightning; a reason, where there is one, says what to know about it."""
    WARNED = "warned"
    """Accepted and without effect; said once, when the trial is built."""
    REJECTED = "rejected"
    """An error before training starts."""


@dataclass(frozen=True)
class Row:
    """One name of Lightning and its treatment.

    Attributes:
        owner: whose name it is, one of `OWNERS`.
        name: the name; for a parameter of a hook that changes what the hook means, `hook(parameter)`.
        kind: "hook" (Lightning calls it), "method" (user code calls it), "property" (an attribute, computed or plain)
            or "argument".
        support: the treatment.
        reason: why, as a clause without a full stop; never empty where `support` is not SUPPORTED.
        instead: what to do instead, as an imperative without a full stop; never empty where `support` is not SUPPORTED.
        since: first release with it; None: Lightning 1.5 or older.
        until: first release without it; None: still there.
        accepted: of a Trainer argument that is not supported, the values that ask for nothing, and are taken.
    """

    owner: str
    name: str
    kind: str
    support: Support
    reason: str = ""
    instead: str = ""
    since: str | None = None
    until: str | None = None
    accepted: tuple[object, ...] = (None,)

    def holds_for(self, version: str) -> bool:
        """Whether the Lightning release `version` has this name; pre-releases count as their release."""
        release = Version(Version(version).base_version)
        return (self.since is None or Version(self.since) <= release) and (
            self.until is None or release < Version(self.until)
        )


OWNERS = ("LightningModule", "LightningDataModule", "Callback", "Trainer argument")
