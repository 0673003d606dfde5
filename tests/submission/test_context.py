"""The files of a submission are those that Determined would send, with names and sizes known before they are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from determined.common import context as determined_context

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.submission import context
from lightning_adapter.submission.context import human, read_context
from lightning_adapter.submission.staging import staged

FILES = {
    "model_def.py": "x = 1\n",
    "src/mine/__init__.py": "",
    "src/mine/net.py": "y = 22\n",
    "data/train.bin": "0" * 1000,
    "data/keep/a.txt": "a",
    "runs/old/log.txt": "old",
    "__pycache__/a.pyc": "b",
    ".git/config": "c",
    ".hidden/x": "d",
    "name with space.txt": "e",
}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, content in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    (tmp_path / ".detignore").write_text("runs/\n*.bin\n")
    return tmp_path


def sent_by_determined(folder: Path) -> dict[str, str]:
    return {file.path: file.content for file in determined_context.read_v1_context(folder) if chr(file.type) == "0"}


def test_files_are_those_that_determined_sends(project: Path) -> None:
    assert set(read_context(project).files) == set(sent_by_determined(project))


def test_staged_files_arrive_as_the_projects_own_with_the_made_ones_over_them(project: Path) -> None:
    before = sorted(project.rglob("*"))
    with staged(read_context(project), {"model_def.py": b"made", ".lightning_adapter/plan.json": b"{}"}) as folder:
        sent = sent_by_determined(folder)
    own = sent_by_determined(project)
    made = {"model_def.py": "bWFkZQ==", ".lightning_adapter/plan.json": "e30="}
    assert sent == {**own, **made}
    assert not folder.exists()
    assert sorted(project.rglob("*")) == before and (project / "model_def.py").read_text() == FILES["model_def.py"]


def test_what_an_earlier_submission_made_is_not_sent_again(project: Path) -> None:
    (project / ".lightning_adapter").mkdir()
    (project / ".lightning_adapter/lightning_adapter-0.0.1-py3-none-any.whl").write_text("old")
    with staged(read_context(project), {".lightning_adapter/plan.json": b"{}"}) as folder:
        assert [name for name in sent_by_determined(folder) if "0.0.1" in name] == []


def test_size_is_counted_as_determined_counts_it(project: Path) -> None:
    sizes = [len(content) // 4 * 3 for content in sent_by_determined(project).values()]
    assert read_context(project).size == sum(sizes)


def test_what_is_left_out_is_named_without_what_nobody_misses(project: Path) -> None:
    assert set(read_context(project).ignored) == {"runs", "data/train.bin"}


def test_too_much_is_told_with_the_largest_files(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "data/keep/huge.txt").write_text("h" * 5000)
    monkeypatch.setattr(context, "LIMIT", 6000)
    found = read_context(project)
    assert found.fault() is None
    fault = found.fault(more=2000)
    assert fault is not None
    assert "and the master takes 5.9 kB" in fault and "data/ with 4.9 kB; data/keep/huge.txt (4.9 kB), " in fault
    assert ".detignore" in fault and "bind_mounts" in fault


def test_limit_is_that_of_determined() -> None:
    assert human(context.LIMIT) == "95 MB"


def test_what_cannot_be_sent_is_told(project: Path) -> None:
    (project / "gone.txt").symlink_to(project / "nowhere")
    (project / "linked").symlink_to(project / "data")
    os.mkfifo(project / "pipe")
    skipped = read_context(project).skipped
    assert "gone.txt cannot be read" in skipped and "pipe cannot be read" in skipped
    assert "linked/ is a link to a directory, which arrives empty" in skipped


@pytest.mark.parametrize(("name", "what"), [("model_def.py", "is a file"), ("nowhere", "does not exist")])
def test_context_that_is_no_directory_is_told(project: Path, name: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{what}; give the directory"):
        read_context(project / name)


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 kB"), (95 * 1024**2, "95 MB"), (3 * 1024**3, "3.0 GB")]
)
def test_sizes_are_written_for_people(size: int, text: str) -> None:
    assert human(size) == text


def test_local_runs_are_told_once_with_the_line_that_leaves_them_out(tmp_path: Path) -> None:
    for run in ("1", "2"):
        (tmp_path / "runs/MyTrial" / run).mkdir(parents=True)
        (tmp_path / "runs/MyTrial" / run / "metrics.csv").write_text("x" * 1024)
    (tmp_path / "runs/MyTrial/latest").symlink_to("2")
    (tmp_path / "data").symlink_to("runs")
    notes = read_context(tmp_path).notes()
    assert len(notes) == 2 and notes[0].startswith("data/ is a link")
    assert notes[1].startswith("runs/ holds runs of this machine, 2.0 kB, which go along.")
    assert f"write the line runs/ into {tmp_path}/.detignore" in notes[1]
    (tmp_path / ".detignore").write_text("runs/\n")
    assert len(read_context(tmp_path).notes()) == 1
