"""Which private name of Determined's client is touched, why, and in which version was it seen?

Apart from the other private names of Determined's, which come with torch: who only asks a master needs none.
"""

from __future__ import annotations

from typing import Any


def session(client: Any) -> Any:
    """The session that `determined.experimental.client.Determined` logged in with (`_session`, 0.38.1).

    The generated bindings, which know what the client does not ask (is this configuration valid?), take it.
    """
    return client._session
