"""How is a trial on a cluster connected with its master?"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from determined import core, pytorch
from determined.common.api import errors

from lightning_adapter.errors import ConfigurationError, MasterAwayError
from lightning_adapter.platform import given
from lightning_adapter.platform.environment import variables_set
from lightning_adapter.platform.master.outage import BACKOFF_FACTOR, Outage
from lightning_adapter.platform.master.outbox import Outbox
from lightning_adapter.platform.master.transport import PatientAdapter
from lightning_adapter.versions import determined_private, determined_session


def connect(core_context: core.Context, timeout_s: float) -> Outbox | None:
    """Repeat the requests of a core context while its master is away, and send its reports beside the training.

    It lasts until Determined closes the context, which delivers what still waits.

    Args:
        core_context: Determined's.
        timeout_s: seconds for which one request is repeated.

    Returns:
        The reports that wait; None where there is no master.
    """
    master = determined_session.master(core_context)
    if master is None:
        return None
    outage, outbox = Outage(master, timeout_s), Outbox()

    def close() -> None:
        try:
            outbox.close()
        finally:
            outage.close()

    determined_session.send_through(core_context, lambda host: PatientAdapter(host, outage, outbox.settle))
    determined_session.report_through(core_context, outbox.post, outbox.settle, close)
    return outbox


def connect_with_master(context: pytorch.PyTorchTrialContext) -> None:
    """Connect a context that Determined's own Trainer has opened, where nobody but the environment says how long to wait.

    Raises:
        ConfigurationError: what it says is no number of seconds.
    """
    core_context = determined_private.core_context(context)
    if determined_session.reports_elsewhere(core_context):  # `fit` has done so, with the time that it was given
        return
    faults: list[str] = []
    timeout_s = given.master_timeout(None, faults)
    if faults:
        raise ConfigurationError("\n".join(faults))
    connect(core_context, timeout_s)


@contextmanager
def connected_context(timeout_s: float, **options: Any) -> Iterator[tuple[pytorch.PyTorchTrialContext, Outbox]]:
    """Determined's context of a managed trial, connected with its master.

    Args:
        timeout_s: seconds for which one request is repeated.
        **options: of `pytorch.init`.

    Raises:
        MasterAwayError: the master does not answer.
    """
    with ExitStack() as stack:
        # until its session is there, which it sends its first request through
        with variables_set({determined_session.RETRY_VARIABLE: json.dumps(_retries(timeout_s))}):
            try:
                context = stack.enter_context(pytorch.init(**options))
            except (errors.UnauthenticatedException, errors.ForbiddenException):
                raise  # answers, which Determined gives no status
            except errors.BadRequestException as error:
                status = getattr(error, "status_code", None)
                if status is not None and status < 500 and status != 429:
                    raise
                raise MasterAwayError(f"The master has not answered for {timeout_s:g} s: {error}") from error
        outbox = connect(determined_private.core_context(context), timeout_s)
        assert outbox is not None
        yield context, outbox


def _retries(timeout_s: float) -> dict[str, Any]:
    """Arguments of `urllib3.Retry` whose pauses add up to about these seconds; the first one is none, the longest 120 s."""
    total, waited = 0, 0.0
    while waited < timeout_s:
        total += 1
        waited += 0.0 if total == 1 else min(BACKOFF_FACTOR * 2 ** (total - 1), 120.0)
    return {
        "total": total,
        "backoff_factor": BACKOFF_FACTOR,
        "status_forcelist": [429, 500, 502, 503, 504],
        "allowed_methods": False,
        "raise_on_status": False,
    }
