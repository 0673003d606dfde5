"""Has the master stored a report whose answer was lost?

Most requests can be repeated without asking: they set what the trial is doing, how far it is, or acknowledge a signal. Of
two kinds the master keeps each one. A checkpoint with an id that it has already is an error to it, and metrics that it has
already are counted once more in its summary of the trial (`addMetricsWithMerge` and `calculateNewSummaryMetrics` of Determined
0.38.1). What it says of metrics that a step has with other values is an error too, though with a status of 500.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import requests

#: Refusals that the master of 0.38.1 answers with the status of a fault of its own.
_REFUSALS = ("overwriting existing metric keys", "overwriting batch metrics", "cannot add metric", "invalid run id")

_METRICS = re.compile(r"(.*)/api/v1/trials/\d+/metrics")
_CHECKPOINTS = re.compile(r"(.*)/api/v1/checkpoints")


def is_refusal(response: requests.Response) -> bool:
    """Whether a repetition would get the same answer, whatever its status says."""
    return response.status_code == 500 and any(words in response.text for words in _REFUSALS)


class Question(NamedTuple):
    """A question that tells whether a report was stored.

    Attributes:
        url: what is asked.
        params: the query.
        is_stored: reads an answer of status 200.
    """

    url: str
    params: dict[str, Any]
    is_stored: Callable[[requests.Response], bool]


def question_of(request: requests.PreparedRequest) -> Question | None:
    """What to ask before a report is sent once more; None for a request that may be repeated."""
    if request.method != "POST" or request.url is None or not request.body:
        return None
    checkpoint = _CHECKPOINTS.fullmatch(request.url)
    if checkpoint is not None:
        return Question(f"{request.url}/{json.loads(request.body)['uuid']}", {}, lambda answer: True)
    metrics = _METRICS.fullmatch(request.url)
    report = json.loads(request.body) if metrics is not None else {}
    # samples of the profiler have no step, and nothing tells one from the next
    if metrics is None or report["metrics"].get("stepsCompleted") is None:
        return None
    group, trial = report["group"], report["metrics"]["trialId"]
    url = f"{metrics.group(1)}/api/v1/trials/metrics/trial_metrics"
    return Question(
        url, {"group": group, "trialIds": trial}, lambda answer: _has_metrics(answer, group, report["metrics"])
    )


def _has_metrics(answer: requests.Response, group: str, report: dict[str, Any]) -> bool:
    """Whether a stream of the trial's metrics has these.

    Raises:
        ConnectionError: the stream breaks off.
    """
    names = report["metrics"]["avgMetrics"].keys()
    column = "validation_metrics" if group == "validation" else "avg_metrics"
    found = False
    for line in answer.iter_lines(chunk_size=1 << 16):
        part = json.loads(line)
        if "error" in part:
            raise requests.exceptions.ConnectionError(part["error"])
        found = found or any(
            stored["totalBatches"] == report["stepsCompleted"]
            # an earlier run of the trial may have come by this step, whose values the master puts aside for ours
            and stored["trialRunId"] == report["trialRunId"]
            and names <= stored["metrics"].get(column, {}).keys()
            for stored in part["result"]["metrics"]
        )
    return found
