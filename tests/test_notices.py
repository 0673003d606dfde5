"""A warning shows a line of the user's, or none."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from lightning_utilities.core.rank_zero import rank_zero_only

import lightning_adapter
from lightning_adapter import LightningAdapter, fit, notices
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)
PACKAGE = Path(lightning_adapter.__file__).parent


class Overriding(models.Net):
    def test_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def on_test_end(self) -> None:
        pass

    def predict_step(self, batch: Any, batch_idx: int) -> None:
        pass

    def configure_optimizers(self) -> None:
        return None


def test_warnings_of_a_run_show_the_line_of_the_user_who_asked_for_it(tmp_path: Path) -> None:
    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(
                context, Overriding(), models.Data(), max_steps=1, enable_model_summary=False, logger=False
            )

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(Trial, run_dir=tmp_path, config={"optimizations": {"aggregation_frequency": 2}}, hparams={"odd": 1})
    ours = [
        w
        for w in caught
        if any(part in str(w.message) for part in ("has no effect", "calls no hooks", "no optimizer", "has read no"))
    ]
    assert [Path(warning.filename) for warning in ours] == [Path(__file__)] * 4
    (hooks,) = [str(warning.message) for warning in ours if "calls no hooks" in str(warning.message)]
    assert hooks == (
        "Training calls no hooks for tests and predictions: Overriding.test_step, Overriding.on_test_end, "
        "Overriding.predict_step. When it is done, `lightning-adapter test` and `lightning-adapter predict` call them."
    )


MODEL_DEF = """
from lightning_adapter import LightningAdapter
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)

class Trial(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, models.Net(), models.Data(), max_steps=1, enable_model_summary=False, logger=False)
"""


def test_command_names_no_line_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "model_def.py").write_text(MODEL_DEF)
    (tmp_path / "c.yaml").write_text("optimizations: {aggregation_frequency: 2}\n")
    words = ["fit", "model_def.py:Trial", "--config", "c.yaml", "--hparam", "odd=1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(PACKAGE.parent), str(Path(__file__).parent)])}
    done = subprocess.run(
        [sys.executable, "-m", "lightning_adapter", *words],
        capture_output=True, text=True, env=environment, cwd=tmp_path, check=False,
    )  # fmt: skip
    told = [line for line in done.stderr.splitlines() if line.startswith("lightning-adapter: warning: ")]
    assert done.returncode == 0, done.stderr
    assert told[0].startswith("lightning-adapter: warning: c.yaml: optimizations.aggregation_frequency is 2")
    # Lightning, imported by now, has a way of its own to print warnings
    assert "get_hparam(name): odd" in " ".join(told[1:])
    assert "Warning: " not in done.stderr and "lightning_adapter:" not in done.stderr


def test_every_warning_of_the_package_goes_the_same_way() -> None:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
                found.append(f"{path.name}:{node.lineno}")
    assert found == [], "use notices.warn(), or Host.warn() for the chief alone"


@pytest.mark.parametrize(("rank", "times"), [(None, 1), (0, 1), (1, 0)])
def test_of_several_processes_the_chief_alone_warns(
    monkeypatch: pytest.MonkeyPatch, rank: int | None, times: int
) -> None:
    monkeypatch.setattr(rank_zero_only, "rank", rank)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        notices.warn("once")
    assert len(told) == times
