"""A run is named by a path, by its name and date, by a part of them, or as the latest one."""

from __future__ import annotations

from pathlib import Path

import pytest

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs.naming import find
from runs.made_runs import make_run


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`runs/` in the working directory: two runs of A, one of B, the newest of which is B's."""
    monkeypatch.chdir(tmp_path)
    for number, name in ((0, "A"), (1, "A"), (2, "B")):
        directory = make_run(tmp_path / "runs", number, name)
        link = directory.parent / "latest"
        link.unlink(missing_ok=True)
        link.symlink_to(directory.name)
    return Path("runs")


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("runs/A/2026-11-01_12-00-00", "A/2026-11-01_12-00-00"),
        ("./runs/A/2026-11-01_12-00-00/", "A/2026-11-01_12-00-00"),
        ("A/2026-11-01_12-00-00", "A/2026-11-01_12-00-00"),
        ("runs/A/latest", "A/2026-11-01_12-01-00"),
        ("A/latest", "A/2026-11-01_12-01-00"),
        ("2026-11-01_12-00-00", "A/2026-11-01_12-00-00"),
        ("12-01", "A/2026-11-01_12-01-00"),
        ("12-02-00", "B/2026-11-01_12-02-00"),
        ("latest", "B/2026-11-01_12-02-00"),
        ("B", "B/2026-11-01_12-02-00"),
        ("runs/B", "B/2026-11-01_12-02-00"),
    ],
)
def test_run_is_found(root: Path, text: str, label: str) -> None:
    found = find(text, root)
    assert found.label == label
    assert found.path.resolve() == (root / label).resolve()


def test_run_elsewhere_is_found_by_its_path(root: Path, tmp_path: Path) -> None:
    elsewhere = make_run(tmp_path / "archive", 5)
    assert find(str(elsewhere), root).path == elsewhere
    assert find(str(elsewhere), tmp_path / "absent").path == elsewhere


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2026-11", r"can mean 3 runs. Type one of them:\n  A/2026-11-01_12-00-00\n  A/2026-11-01_12-01-00"),
        ("A", r"can mean 2 runs. Type one of them:\n  A/2026-11-01_12-00-00"),
        (
            "2026-11-01_12-00-09",
            r"There is no run '2026-11-01_12-00-09' below runs; did you mean '2026-11-01_12-00-00'\?",
        ),
        ("zzz", r"There is no run 'zzz' below runs. lightning-adapter runs runs lists"),
        ("", "can mean 3 runs"),
        ("runs/A/latest/checkpoints", "is no run's directory"),
    ],
)
def test_what_names_no_run_or_several_is_refused(root: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        find(text, root)


def test_without_runs_it_says_where_it_looked(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no directory .*absent' to look into.*--root"):
        find("x", tmp_path / "absent")
    with pytest.raises(ConfigurationError, match="There is no run 'latest' below"):
        find("latest", tmp_path)
