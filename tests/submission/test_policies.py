"""Restarts are left out for what they cannot mend, and for nothing else."""

from __future__ import annotations

import re

import pytest

from lightning_adapter import errors
from lightning_adapter.submission.policies import PATTERN, with_policy

FINAL = [
    "lightning-adapter: error: model_def: there is no module 'model_def' in the current directory",
    "[rank=0] lightning-adapter: error: rank 0 of 2: global_batch_size is 33",
    "/opt/conda/bin/python3: No module named lightning_adapter",
    "[rank=3] /usr/bin/python3.10: No module named lightning_adapter",
    "ModuleNotFoundError: No module named 'einops'",
    "ImportError: cannot import name 'x' from 'y'",
    "SyntaxError: invalid syntax",
    "lightning_adapter.errors.ConfigurationError: hparams has no learning_rate",
    "lightning_adapter.errors.CheckpointError: it is damaged",
]
MENDABLE = [
    "lightning-adapter: failed: rank 1 of 2: the processes no longer hold the same parameters",
    "lightning-adapter: no network: pip install x failed",
    "lightning_adapter.errors.RanksDriftedError: ranks 0 and 1",
    "RuntimeError: CUDA error",
    "warning: could not import apex (ModuleNotFoundError: No module named 'apex')",
    "  raise ConfigurationError",
    "no error",
]


@pytest.mark.parametrize("line", FINAL)
def test_line_that_no_restart_can_mend_matches(line: str) -> None:
    assert re.search(PATTERN, line)


@pytest.mark.parametrize("line", MENDABLE)
def test_other_line_does_not_match(line: str) -> None:
    assert not re.search(PATTERN, line)


def test_pattern_has_nothing_that_go_does_not_know() -> None:
    # RE2 has neither looks around nor references back
    assert not re.search(r"\(\?[=!<]|\\[1-9]", PATTERN)


def test_pattern_names_errors_as_tracebacks_do() -> None:
    for error in (errors.ConfigurationError, errors.MonitorError, errors.UnsupportedError, errors.CheckpointError):
        assert re.search(PATTERN, f"{error.__module__}.{error.__qualname__}: why")


def test_policies_of_the_experiment_stay_and_ours_comes_once() -> None:
    own = {"name": "mine", "pattern": "x", "action": "exclude_node"}
    once = with_policy([own])
    assert once[0] == own and len(once) == 2 and once[1]["action"] == "cancel_retries"
    assert with_policy(once) == once
    assert with_policy(None) == once[1:]
