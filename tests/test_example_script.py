"""Do the example's script and the page on what follows training go from the first epoch to an exported file, as they stand?"""

from __future__ import annotations

import glob
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from lightning_adapter import cli

ROOT = Path(__file__).resolve().parent.parent
EXAMPLE = ROOT / "examples" / "mnist"
SCRIPT = "after_training.sh"
PAGE = (ROOT / "docs" / "after-training.md").read_text(encoding="utf-8")
HAS_ONNX = all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
#: Writes down what is typed, and fails where it is told to.
RECORDER = """#!/bin/sh
printf '%s\\0' "$@" >> "$TYPED"
printf '\\n' >> "$TYPED"
test "$1" != "$FAILS"
"""


@pytest.fixture
def example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the example, as the working directory; what is imported from it is forgotten."""
    copy = tmp_path / "mnist"
    shutil.copytree(EXAMPLE, copy, ignore=shutil.ignore_patterns("runs", "__pycache__"))
    monkeypatch.chdir(copy)
    monkeypatch.setattr(sys, "path", [str(copy), *sys.path])
    monkeypatch.setenv("MNIST_DIR", "digits")
    yield copy
    for name in ("model_def", "mnist_data", "metrics"):
        sys.modules.pop(name, None)


def typed_by_script(example: Path, has_onnx: bool = True, fails: str = "") -> tuple[list[list[str]], int]:
    """What the script types, and its exit status; no command is run."""
    programs = example.parent / "bin"
    programs.mkdir()
    for name, text in (("lightning-adapter", RECORDER), ("python3", f"#!/bin/sh\nexit {int(not has_onnx)}\n")):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    notes = example.parent / "typed"
    environment = {**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "TYPED": str(notes), "FAILS": fails}
    done = subprocess.run(["sh", str(example / SCRIPT)], cwd="/", env=environment, timeout=60, check=False)
    return [line.split("\0")[:-1] for line in notes.read_text().splitlines()], done.returncode


def typed_by_page() -> list[list[str]]:
    """The commands that the page begins with."""
    (block,) = re.findall(r"(?<=\n\n)(?:    lightning-adapter[^\n]+\n)+", PAGE.partition("\n| Command")[0])
    return [shlex.split(line)[1:] for line in block.splitlines()]


def run(words: list[str]) -> int:
    """Run a command in this process, shortened."""
    if words[0] == "fit":
        words = [*words, "--max-steps", "2", "--validation-period", "2"]
    if "onnx" in words and not HAS_ONNX:
        words = [*words[:-1], "exported_program"]
    return cli.main([path for word in words for path in (sorted(glob.glob(word)) if "*" in word else [word])])


@pytest.mark.parametrize("has_onnx", [True, False])
def test_script_exports_to_onnx_where_that_is_installed(example: Path, has_onnx: bool) -> None:
    typed, status = typed_by_script(example, has_onnx)
    assert status == 0
    assert [words[-1] for words in typed if words[0] == "export"] == ["onnx" if has_onnx else "exported_program"]


def test_script_stops_at_the_first_command_that_fails(example: Path) -> None:
    typed, status = typed_by_script(example, fails="test")
    assert (typed[-1][0], status) == ("test", 1)


def test_script_runs_as_it_stands(example: Path) -> None:
    typed, _ = typed_by_script(example)
    for words in typed:
        assert run(words) == 0, words
    directory = example / "runs" / "after-training" / "latest"
    assert {"best", "last", "run.json", "predictions-test", "pictures"} <= {path.name for path in directory.iterdir()}
    assert list((example / "runs").glob("compare_*.png"))
    tested = json.loads((directory / "run.json").read_text())["test"]
    evaluated = json.loads((directory / "predictions-test" / "evaluation" / "metrics.json").read_text())
    assert evaluated["accuracy"] == pytest.approx(tested["test_acc"])
    assert (directory / ("model.onnx" if HAS_ONNX else "model.pt2")).stat().st_size > 0


def test_page_runs_as_it_stands(example: Path) -> None:
    typed = typed_by_page()
    assert [words[0] for words in typed] == ["fit", "fit", "runs", "test", "predict", "evaluate", "export"]
    for words in typed:
        assert run(words) == 0, words
    for program in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        exec(program.replace("max_epochs=1", "max_steps=2"), {})


def test_page_shows_the_metrics_of_the_example() -> None:
    docstring, _, metrics = (EXAMPLE / "metrics.py").read_text(encoding="utf-8").partition("\n\n")
    assert docstring.startswith('"""') and f"```python\n{metrics}```" in PAGE
