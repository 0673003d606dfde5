"""What of the trial's code goes into a checkpoint, and what is left out of it and named?"""

from __future__ import annotations

import logging
import math
import pathlib

import pytest

from lightning_adapter.platform.user_code import LIMIT, UserCode, too_large


@pytest.fixture
def context(tmp_path: pathlib.Path) -> pathlib.Path:
    """A project with data beside its code; 1 kB stands for what is much."""
    root = tmp_path / "context"
    for name, size in {
        "model_def.py": 10,
        "train.npz": 3000,
        "images/a.png": 600,
        "images/more/b.png": 600,
        "package/module.py": 600,
        "package/tables/table.txt": 700,
        "package/weights.pt": 2000,
        "configs/small.yaml": 10,
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * size)
    return root


def names(root: pathlib.Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_what_is_larger_than_the_limit_is_left_out_of_each_checkpoint_and_named_once(
    context: pathlib.Path, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="lightning_adapter")
    code = UserCode(context, limit_mb=0.001)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        code.write(tmp_path / name)

        kept = {"model_def.py", "package/module.py", "package/tables/table.txt", "configs/small.yaml"}
        assert names(tmp_path / name / "code") == kept
    (line,) = caplog.messages
    assert "train.npz (0.003 MB), package/weights.pt (0.002 MB), images (0.0012 MB in 2 files)" in line
    assert LIMIT in line


def test_nothing_is_left_out_without_a_limit(context: pathlib.Path, tmp_path: pathlib.Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    UserCode(context, limit_mb=math.inf).write(tmp_path / "checkpoint")

    assert names(tmp_path / "checkpoint" / "code") == names(context)


def test_link_to_a_directory_around_it_ends_the_search(context: pathlib.Path) -> None:
    (context / "package" / "all").symlink_to(context, target_is_directory=True)

    assert set(too_large(context, 2500)) == {"train.npz"}
