"""Each Lightning that the code imports goes along, and a trial of the other one is told what to write."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_adapter.submission.lightnings import extras_of, imports_of, mixture

BOTH = ("lightning", "pytorch-lightning")


@pytest.mark.parametrize(
    ("text", "lightnings"),
    [
        ("import lightning.pytorch as pl\n", BOTH[:1]),
        ("from lightning_adapter.lightning import DETLM\n", BOTH[:1]),
        ("from lightning_adapter import lightning\n", BOTH[:1]),
        ("from lightning_adapter.lightning import fit\n", BOTH[:1]),
        ("def f():\n    import lightning as L\n", BOTH[:1]),
        ("import pytorch_lightning as pl\n", BOTH[1:]),
        ("from lightning_adapter import DETLM\n", BOTH[1:]),
        ("import lightning_adapter\n", BOTH[1:]),
        ("from lightning_adapter import LightningAdapter\n", BOTH[1:]),
        ("from lightning_adapter.lightning import DETLM\nfrom lightning_adapter import fit\n", BOTH[:1]),
        ("from lightning_adapter import LightningAdapter\nimport lightning\n", BOTH[:1]),
        ("from lightning_adapter import DETLM\nimport lightning\n", BOTH),
        ("# import lightning\nimport lightning_utilities\nfrom . import lightning\n", ()),
        ("import lightning, (\n", ()),
    ],
)
def test_lightnings_are_those_that_files_import(text: str, lightnings: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(text)
    (tmp_path / "b.py").write_bytes(b"\xff\xfe no text")
    assert extras_of(imports_of([tmp_path / "a.py", tmp_path / "b.py"]), "") == lightnings


def test_lightning_of_the_trial_goes_along_with_that_of_the_files(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("import lightning\n")
    assert extras_of(imports_of([tmp_path / "a.py"]), "pytorch-lightning") == BOTH


@pytest.mark.parametrize(
    ("face", "theirs", "written"),
    [
        ("from lightning_adapter import DETLM as Base, fit", "import lightning as L", "lightning import DETLM as Base"),
        ("from lightning_adapter.lightning import DETLM", "import pytorch_lightning", " import DETLM"),
    ],
)
def test_trial_of_the_other_lightning_is_told_with_the_line_to_write(
    face: str, theirs: str, written: str, tmp_path: Path
) -> None:
    for name, text in (("model_def.py", f"import os\n{face}\n"), ("net.py", f"{theirs}\n")):
        (tmp_path / name).write_text(text)
    told = mixture(imports_of([tmp_path / "model_def.py", tmp_path / "net.py"]), tmp_path)
    assert told is not None and told.startswith("model_def.py, line 2, imports") and "net.py, line 1," in told
    assert told.endswith(written) and "Write: from lightning_adapter" in told


@pytest.mark.parametrize(
    "text",
    [
        "from lightning_adapter import DETLM\nimport pytorch_lightning\n",
        "from lightning_adapter import LightningAdapter, fit\nimport lightning\n",
        "from lightning_adapter import DETLM\n",
        "import lightning_adapter.errors\nimport lightning\n",
    ],
)
def test_trial_of_the_same_lightning_is_fine(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(text)
    assert mixture(imports_of([tmp_path / "a.py"]), tmp_path) is None
