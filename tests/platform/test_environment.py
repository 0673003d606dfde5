"""The environment variables of a configuration are set where a cluster would set them, and put back afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lightning_adapter
from lightning_adapter import LightningAdapter, fit
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import experiment
from lightning_adapter.platform.environment import variables_set
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)


def config(variables: Any) -> dict[str, Any]:
    return {"environment": {"environment_variables": variables}}


@pytest.mark.parametrize(
    ("variables", "device", "values"),
    [
        (None, "cpu", {}),
        (["A=1", "B=x=y", "C=", "A=2"], "cpu", {"A": "2", "B": "x=y", "C": ""}),
        ({"cpu": ["A=1"], "cuda": ["A=2"]}, "cpu", {"A": "1"}),
        ({"cpu": ["A=1"], "cuda": ["A=2"]}, "cuda", {"A": "2"}),
        ({"cpu": ["A=1"], "gpu": ["A=3"]}, "cuda", {"A": "3"}),
        ({"cpu": ["A=1"], "rocm": None}, "rocm", {}),
    ],
)
def test_variables_are_those_of_the_kind_of_device(variables: Any, device: Any, values: dict[str, str]) -> None:
    assert experiment.environment_variables(experiment.read(config(variables)), lambda: device) == values


def test_device_is_not_asked_for_where_it_makes_no_difference() -> None:
    assert experiment.environment_variables(config(["A=1"]), lambda: pytest.fail("asked")) == {"A": "1"}


def test_variables_are_put_back_whatever_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPTER_A", "before")
    with contextlib.suppress(ZeroDivisionError), variables_set({"ADAPTER_A": "1", "ADAPTER_B": "2"}):
        assert (os.environ["ADAPTER_A"], os.environ["ADAPTER_B"]) == ("1", "2")
        del os.environ["ADAPTER_B"]
        raise ZeroDivisionError
    assert os.environ["ADAPTER_A"] == "before" and "ADAPTER_B" not in os.environ


def trial(see: Callable[[], object]) -> type[LightningAdapter]:
    class Net(models.Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            see()
            return super().training_step(batch, batch_idx)

    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            see()
            super().__init__(context, Net(), models.Data(), max_steps=1, enable_model_summary=False, logger=False)

    return Trial


def test_run_sees_the_variables_from_the_constructor_on(tmp_path: Path) -> None:
    seen = []
    fit(trial(lambda: seen.append(os.environ["ADAPTER_A"])), config=config(["ADAPTER_A=1"]), run_dir=tmp_path)
    assert seen == ["1", "1"]
    assert "ADAPTER_A" not in os.environ


def test_variables_are_put_back_after_a_run_that_could_not_start() -> None:
    no_value = {"hyperparameters": {"a": {"type": "int", "minval": 1, "maxval": 2}}}
    with pytest.raises(ConfigurationError):
        fit(trial(lambda: None), config={**config(["ADAPTER_A=1"]), **no_value})
    assert "ADAPTER_A" not in os.environ


def test_command_sets_them_before_the_users_module_and_torch_are_imported(tmp_path: Path) -> None:
    (tmp_path / "model_def.py").write_text(
        "import os, sys\nprint(os.environ['ADAPTER_A'], 'torch' in sys.modules)\nraise SystemExit\n"
    )
    (tmp_path / "c.yaml").write_text("environment: {environment_variables: [ADAPTER_A=1]}\n")
    root = Path(lightning_adapter.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "lightning_adapter", "fit", "model_def.py:Trial", "--config", "c.yaml"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(root)}, cwd=tmp_path, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "1 False\n")
