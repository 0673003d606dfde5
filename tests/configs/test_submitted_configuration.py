"""A configuration is looked at before it is submitted: in a process of its own, with what the ranges may give."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lightning_adapter import ConfiguredTrial, load_config
from lightning_adapter.cli import trial_report
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.target import CONFIGURED, target_among
from lightning_adapter.submission.entrypoint import read_entrypoint


def contradicts(hyperparameters: Any, *arguments: str) -> tuple[str | None, list[str]]:
    """What the process that looks would answer; without one."""
    Path("asked.json").write_text(json.dumps([hyperparameters, arguments]))
    trial_report.main(CONFIGURED, "answer.json", "asked.json")
    told = json.loads(Path("answer.json").read_text())
    assert told["error"] is None
    return told["contradicts"], told["extras"]


def test_classes_of_the_project_are_found_and_the_library_that_reads_the_tree_is_asked_for(
    configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(configured))
    told = trial_report.look(CONFIGURED, configured, {}, load_config("config.yaml"))
    assert (told.error, told.contradicts, told.extras) == (None, None, ["cli"])
    assert told.lightning == "pytorch-lightning"
    assert told.files == [str(configured / "parts.py")]


@pytest.mark.usefixtures("configured")
def test_configuration_that_the_entrypoint_names_is_composed_and_gets_the_values() -> None:
    drawn = {"data": {"batch_size": {"type": "categorical", "vals": [4, 8]}}}
    arguments = ("--hydra", "configs", "experiment=big", "--max-epochs", "1")
    assert contradicts(drawn, *arguments) == (None, ["hydra"])
    told, _ = contradicts({"model": {"net": {"wide": 3}}}, *arguments)
    assert told is not None and "wide" in told
    assert "no-such" in str(contradicts(drawn, "--hydra", "configs", "experiment=no-such")[0])


def test_each_value_that_a_range_may_give_is_looked_at(configured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(configured))
    tree = load_config("config.yaml")
    tree["model"]["init_args"]["lr"] = {"type": "categorical", "vals": [0.1, "much"]}
    with pytest.raises(ConfigurationError, match=r"model\.init_args\.lr is a range \(.*\), which may give 'much'"):
        ConfiguredTrial.check_experiment(tree)


def test_entrypoint_that_names_a_configuration_has_a_target() -> None:
    line = "python3 -m lightning_adapter fit {}--cli config.yaml --model.name a:b"
    assert read_entrypoint(line.format("")).target == CONFIGURED
    assert read_entrypoint(line.format("main.py:Trial ")).target == "main.py:Trial"
    assert target_among(["--max-epochs", "3", "model_def:Trial"]) == "model_def:Trial"
