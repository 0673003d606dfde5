"""The generated start-up hook is sourced as Determined sources it: traced, in a shell that ends at the first error."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.submission.hook import Preparation, has_sources, own_hook

#: As Determined's entrypoint.sh has it around the hook.
ENTRYPOINT = """
set -e
set -x
test -f nothing && source nothing
test -f startup-hook.sh && source startup-hook.sh
set +x
echo "trained with $PYTHONPATH and $OF_THE_PROJECT"
"""
OWN = 'export OF_THE_PROJECT="$(basename "$PWD")"\necho "own hook, installed: $(cat installed 2>/dev/null)"\n'
#: In the place of the container's Python: notes the call, and fails as often as it was told to.
PYTHON = """#!/bin/sh
echo "python $1${3:+ $3}"
case "$2" in /*) [ -d "$2" ] || exit 9; esac
if [ -f aside ]; then mkdir -p "$2/lib/python3.12/site-packages" "$2/bin"; fi
left=$(cat fails 2>/dev/null || echo 0)
if [ "$left" -gt 0 ]; then echo $((left - 1)) > fails; exit 1; fi
echo yes > installed
"""


def project(root: Path, own: str | None = None, **changed: object) -> Path:
    """The container's directory of a submission."""
    if own is not None:
        (root / "startup-hook.sh").write_text(own)
    values = {
        "package": "p-1-py3-none-any.whl", "wheel": b"wheel", "extras": ("lightning",), "requirements_file": "requirements.txt",
        "lines": (), "has_sources": False, **changed,
    }  # fmt: skip
    for name, content in Preparation(**values).files(root).items():  # type: ignore[arg-type]
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    python = root / "python"
    python.write_text(PYTHON)
    python.chmod(0o755)
    return root


def start(root: Path, fails: int = 0) -> subprocess.CompletedProcess[str]:
    (root / "fails").write_text(str(fails))
    variables = {**os.environ, "DET_PYTHON_EXECUTABLE": str(root / "python"), "PYTHONPATH": "", "OF_THE_PROJECT": ""}
    return subprocess.run(
        ["bash", "-c", ENTRYPOINT], cwd=root, env=variables, capture_output=True, text=True, check=False, timeout=20
    )


def test_hook_installs_and_training_begins(tmp_path: Path) -> None:
    done = start(project(tmp_path))
    assert done.stdout.splitlines() == ["python .lightning_adapter/install.py", "trained with  and "]
    assert done.returncode == 0


def test_hook_is_silent_where_determined_traces(tmp_path: Path) -> None:
    traced = start(project(tmp_path)).stderr.splitlines()
    assert traced == ["+ test -f nothing", "+ test -f startup-hook.sh", "+ source startup-hook.sh", "+ set +x"]


def test_hook_that_cannot_install_ends_the_task(tmp_path: Path) -> None:
    done = start(project(tmp_path), fails=1)
    assert done.returncode == 1 and "trained" not in done.stdout


def test_sources_are_on_the_path_as_a_whole_path(tmp_path: Path) -> None:
    done = start(project(tmp_path, has_sources=True))
    assert f"trained with {tmp_path}/src and" in done.stdout


def test_what_is_installed_aside_is_found(tmp_path: Path) -> None:
    (tmp_path / "aside").touch()
    done = start(project(tmp_path, OWN, has_sources=True))
    assert re.search(rf"trained with /\S+/lib/python3\.12/site-packages:{tmp_path}/src and", done.stdout), done


def test_own_hook_runs_after_the_installation_in_the_same_shell(tmp_path: Path) -> None:
    done = start(project(tmp_path, OWN))
    assert done.stdout.splitlines() == [
        "python .lightning_adapter/install.py --try",
        "own hook, installed: yes",
        f"trained with  and {tmp_path.name}",
    ]
    assert "++ source ./startup-hook-of-the-project.sh" in done.stderr  # the project's own lines are traced as ever


def test_own_hook_may_be_what_makes_the_installation_possible(tmp_path: Path) -> None:
    done = start(project(tmp_path, OWN), fails=1)
    assert done.stdout.splitlines() == [
        "python .lightning_adapter/install.py --try",
        "own hook, installed: ",
        "python .lightning_adapter/install.py",
        f"trained with  and {tmp_path.name}",
    ]
    assert start(tmp_path, fails=2).returncode == 1


def test_own_hook_that_fails_ends_the_task(tmp_path: Path) -> None:
    done = start(project(tmp_path, "false\necho unreached\n"))
    assert done.returncode == 1 and "unreached" not in done.stdout and "trained" not in done.stdout


def test_downloaded_submission_is_submitted_with_the_projects_own_hook(tmp_path: Path) -> None:
    project(tmp_path, OWN)
    assert own_hook(tmp_path) == OWN.encode()
    (tmp_path / "startup-hook-of-the-project.sh").unlink()
    assert own_hook(tmp_path) is None


def test_second_hook_under_the_name_of_the_first_is_refused(tmp_path: Path) -> None:
    (tmp_path / "startup-hook.sh").write_text(OWN)
    (tmp_path / "startup-hook-of-the-project.sh").write_text(OWN)
    with pytest.raises(ConfigurationError, match="To fix, rename startup-hook-of-the-project"):
        own_hook(tmp_path)


def test_plan_names_what_is_installed(tmp_path: Path) -> None:
    project(tmp_path, lines=("toolz>=1", "einops"))
    made = tmp_path / ".lightning_adapter"
    assert json.loads((made / "plan.json").read_text()) == {
        "package": "p-1-py3-none-any.whl", "extras": ["lightning"], "file": ".lightning_adapter/requirements.txt",
    }  # fmt: skip
    assert (made / "requirements.txt").read_text() == "toolz>=1\neinops\n"
    assert (made / "p-1-py3-none-any.whl").read_bytes() == b"wheel"


def test_installer_imports_nothing_of_the_package(tmp_path: Path) -> None:
    installer = project(tmp_path) / ".lightning_adapter/install.py"
    program = (
        "import runpy, sys; sys.modules['lightning_adapter'] = None; runpy.run_path(sys.argv[1], run_name='no main')"
    )
    subprocess.run([sys.executable, "-c", program, str(installer)], check=True, capture_output=True)


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("src/mine/__init__.py", True),
        ("src/mine.py", True),
        ("src/mine/net.py", True),
        ("src/readme.md", False),
        ("mine/src/a.py", False),
    ],
)
def test_sources_are_modules_below_src(path: str, there: bool) -> None:
    assert has_sources({path: 1}) is there
