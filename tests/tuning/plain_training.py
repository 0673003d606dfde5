"""Stands in for `tuning.training` where a test is about processes: a target trains itself, without torch."""

from __future__ import annotations

from typing import Any

from lightning_adapter.tuning.job import Ended, Job, Judge


def train(trial_class: Any, job: Job, judge: Judge) -> Ended:
    """Let the target do what it wants; a word of its own is the note of a complete trial."""
    result = trial_class.train(job, judge)
    return result if isinstance(result, Ended) else Ended(job.number, "complete", str(result))
