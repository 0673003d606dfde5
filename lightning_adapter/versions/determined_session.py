"""Through what does Determined's core context send its requests, and how are others put in its place?

Everything here is determined 0.38.1's. One `_session` sends all requests of a core context; `_metrics` has a thread for
reports of metrics, while `train`, `checkpoint` and `preempt` send theirs in the thread that calls them. What is replaced is
replaced on these instances, before the training begins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from determined import core as det_core
from requests import adapters

#: Where `util.get_max_retries_config` looks for arguments of `urllib3.Retry`, in JSON.
RETRY_VARIABLE = "DET_RETRY_CONFIG"


class Post(Protocol):
    """Has a report sent after those before it."""

    def __call__(self, send: Callable[[], object], state: str | None = None, value: object = None) -> int:
        """Return the report's number; `state` and `value` for a word on the trial's state."""


def master(core: Any) -> str | None:
    """The address of the master that a core context reports to; None off a cluster.

    A notebook or a command of a cluster has a session too, and a `DummyTrainContext`: it is no trial, and reports nothing.
    """
    if core._session is None or isinstance(core.train, det_core.DummyTrainContext):
        return None
    return str(core._session.master)


def reports_elsewhere(core: Any) -> bool:
    """Whether the functions that report are replaced already."""
    return "report_progress" in vars(core.train)


def send_through(core: Any, adapter: Callable[[adapters.HTTPAdapter], adapters.BaseAdapter]) -> None:
    """Put an adapter around each one that the session sends its requests through.

    `_make_http_session` makes the `requests.Session` that all share from `_persist_http_session` on, and one for a single
    request once the context is closed.
    """
    session = core._session
    make = session._make_http_session

    def make_and_mount() -> Any:
        http = make()
        for prefix, host in list(http.adapters.items()):
            http.mount(prefix, adapter(host))
        return http

    vars(session)["_make_http_session"] = make_and_mount
    session._persist_http_session()


def report_through(core: Any, post: Post, settle: Callable[[int], None], close: Callable[[], None]) -> None:
    """Have reports sent by somebody else.

    Args:
        core: the core context.
        post: has a report sent.
        settle: returns when a report is delivered.
        close: delivers what waits, called when the context is closed.
    """
    train, checkpoint, preempt, metrics = core.train, core.checkpoint, core.preempt, core._metrics
    set_status, report_progress = train.set_status, train.report_progress
    report_checkpoint, acknowledge = checkpoint._report_checkpoint, preempt.acknowledge_preemption_signal
    close_metrics, shipper = metrics.close, metrics._shipper
    last: list[int] = []  # the checkpoint that was reported last

    def post_metrics(metrics: dict[str, Any], **report: Any) -> None:
        known = dict(metrics)  # whoever reports may go on to change them
        post(lambda: shipper._post_metrics(metrics=known, **report))

    def post_checkpoint(*what: Any, **more: Any) -> None:
        last[:] = [post(lambda: report_checkpoint(*what, **more))]

    def after_the_last(make: Callable[..., Any]) -> Callable[..., Any]:
        def make_next(*what: Any, **more: Any) -> Any:
            for number in last:
                settle(number)
            return make(*what, **more)

        return make_next

    def close_both() -> None:
        try:
            close()
        finally:
            close_metrics()

    vars(train).update(
        set_status=lambda status: post(lambda: set_status(status), "status", status),
        report_progress=lambda progress: post(lambda: report_progress(progress), "progress", progress),
    )
    vars(checkpoint).update(
        _report_checkpoint=post_checkpoint,
        store_path=after_the_last(checkpoint.store_path),
        upload=after_the_last(checkpoint.upload),
    )
    vars(preempt).update(acknowledge_preemption_signal=lambda: post(acknowledge))
    vars(shipper).update(publish_metrics=post_metrics)
    vars(metrics).update(close=close_both)
