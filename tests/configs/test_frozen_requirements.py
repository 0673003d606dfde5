from __future__ import annotations

import importlib.metadata
import re
import sys
from pathlib import Path

import pytest

from lightning_adapter import cli
from lightning_adapter.configs import requirements
from lightning_adapter.evaluation.package import own_modules
from lightning_adapter.submission.requirements import read_requirements

pytestmark = pytest.mark.usefixtures("configured")

_HEAD = requirements.HEAD


@pytest.fixture
def init(capsys: pytest.CaptureFixture[str]):
    def run(*words: str, status: int = 0) -> str:
        assert cli.main(["init", *words, "--requirements"]) == status
        printed = capsys.readouterr()
        assert bool(printed.out) == (status == 0)
        return printed.err if status else printed.out

    return run


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a distribution with a module on the path."""
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    own_modules._of_project.cache_clear()  # asks what is installed once in a process

    def install(name: str, version: str, requires: str = "", url: str = "") -> None:
        (site / f"{name}.py").write_text("")
        info = site / f"{name}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}")
        (info / "RECORD").write_text(f"{name}.py,,\n")
        (info / "top_level.txt").write_text(f"{name}\n")
        if url:
            (info / "direct_url.json").write_text(url)

    yield install
    own_modules._of_project.cache_clear()


def lines() -> list[str]:
    text = Path("requirements.txt").read_text()
    assert text.startswith(f"{_HEAD}\n")
    return [line for line in text.splitlines() if not line.startswith("#")]


def version(name: str) -> str:
    return f"{name}=={importlib.metadata.version(name)}"


def imports(*names: str) -> None:
    path = Path("parts.py")
    path.write_text("".join(f"import {name}\n" for name in names) + path.read_text())
    sys.modules.pop("parts", None)


def test_file_lists_what_the_image_may_lack_and_what_reads_the_configuration(init) -> None:
    text = init("configs")
    # torch and numpy are the image's
    assert lines() == [version("hydra-core"), version("omegaconf"), version("pytorch-lightning")]
    assert "# requirements.txt lists what the image may lack" in text
    assert read_requirements(Path()).source == "requirements.txt"
    init("config.yaml")
    assert [line.partition("=")[0] for line in lines()] == [
        "docstring_parser", "jsonargparse", "pytorch-lightning", "typeshed_client"
    ]  # fmt: skip
    assert version("jsonargparse") in lines()


def test_imports_of_own_modules_are_followed_and_those_that_may_fail_are_not(init, installed) -> None:
    for name in ("alpha", "beta", "gamma", "delta", "epsilon"):
        installed(name, "1.0")
    Path("helper.py").write_text(
        "import os, alpha\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import beta\n"
        "try:\n    import gamma\nexcept ImportError:\n    gamma = None\n"
        "def late():\n    from delta import x\n"
    )
    Path("other.py").write_text("import epsilon\n")  # which the trial does not import
    imports("helper")
    init("configs")
    assert lines() == [
        "alpha==1.0",
        "delta==1.0",
        version("hydra-core"),
        version("omegaconf"),
        version("pytorch-lightning"),
    ]


def test_each_way_to_be_installed_has_its_line(init, installed) -> None:
    installed("alpha", "1.0+cu121")
    installed("beta", "2.0", requires="Requires-Dist: torch==2.0\n")
    installed("gamma", "3.0", url='{"url": "file:///home/me/gamma", "dir_info": {}}')
    installed("delta", "4.0", url='{"url": "https://git.example/d", "vcs_info": {"vcs": "git", "commit_id": "abc"}}')
    imports("alpha", "beta", "gamma", "delta")
    Path("parts.py").write_text(Path("parts.py").read_text() + "\ndef late():\n    import missing_one\n")
    init("configs")
    assert lines()[:3] == ["alpha==1.0", "beta", "delta @ git+https://git.example/d@abc"]
    text = Path("requirements.txt").read_text()
    assert "# gamma 3.0 is installed from /home/me/gamma here" in text
    assert "# missing_one, which parts.py, line" in text
    assert "# beta fits one torch alone" in text


def test_classes_of_lightning_bring_what_they_import(init, installed) -> None:
    installed("wandb", "0.1")
    init("configs", "+logger.x._target_=pytorch_lightning.loggers.WandbLogger")
    assert "wandb==0.1" in lines()


def test_dependencies_of_a_pyproject_are_kept(init, installed) -> None:
    installed("alpha", "1.5")
    Path("pyproject.toml").write_text(
        '[project]\nname = "x"\nversion = "1"\ndependencies = ["alpha>1", "absent>=2", "torch"]\n'
    )
    init("configs")
    assert lines()[:2] == ["absent>=2", "alpha==1.5"]


def test_file_of_somebody_else_is_not_touched(init) -> None:
    Path("requirements.txt").write_text("alpha==1\n")
    said = init("configs", status=2)
    assert "was not written by --requirements" in said
    assert Path("requirements.txt").read_text() == "alpha==1\n"


def test_nothing_is_written_where_no_yaml_is_made(init) -> None:
    init("configs", "seed=1,1", status=2)
    assert not Path("requirements.txt").exists()


def test_readers_are_those_of_the_extras() -> None:
    text = (Path(requirements.__file__).parents[2] / "setup.py").read_text()
    for dialect, names in requirements.READERS.items():
        listed = re.search(rf'"{dialect}": \[(.*)\]', text)
        assert listed is not None
        found = [re.split("[<>=]", part.strip(' "'))[0] for part in listed[1].split('", ')]
        assert tuple(found) == names
