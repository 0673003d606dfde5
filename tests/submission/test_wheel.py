"""The package that runs is packed so that pip installs just that."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

import lightning_adapter
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.submission.wheel import Package

FOLDER = Path(lightning_adapter.__file__).parent
HERE = Package(lightning_adapter.__version__, FOLDER)


class Distribution(importlib.metadata.PathDistribution):
    """One whose files are a dict."""

    def __init__(self, root: Path, **files: str) -> None:
        info = root / "lightning_adapter-0.1.0.dist-info"
        info.mkdir()
        for name, content in files.items():
            (info / name.replace("_json", ".json")).write_text(content)
        super().__init__(info)


def installed(monkeypatch: pytest.MonkeyPatch, found: Distribution | None) -> None:
    def distribution(name: str) -> Distribution:
        if found is None:
            raise importlib.metadata.PackageNotFoundError(name)
        return found

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)


def test_wheel_installs_what_runs(tmp_path: Path) -> None:
    name, content = HERE.build_wheel()
    (tmp_path / name).write_bytes(content)
    target = tmp_path / "site"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--no-compile",
        "--target",
        str(target),
    ]
    subprocess.run([*pip, str(tmp_path / name)], check=True, capture_output=True)
    there = {path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*.py")}
    assert there == {path.relative_to(FOLDER.parent).as_posix(): path.read_bytes() for path in FOLDER.rglob("*.py")}
    assert (target / "lightning_adapter/py.typed").is_file()
    assert (target / "bin/lightning-adapter").is_file()
    assert list(target.glob("lightning_adapter-*.dist-info/METADATA"))


def test_wheel_of_the_same_files_is_the_same() -> None:
    assert HERE.build_wheel() == HERE.build_wheel()


def test_wheel_says_nothing_of_where_it_was_made() -> None:
    _, content = HERE.build_wheel()
    assert str(FOLDER.parent).encode() not in content


def test_package_of_an_index_is_told_by_the_absence_of_another_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site"
    (site / "lightning_adapter").mkdir(parents=True)
    package = Package("0.1.0", site / "lightning_adapter")
    metadata = "Metadata-Version: 2.1\nName: lightning-adapter\nVersion: 0.1.0\n"
    found = Distribution(site, METADATA=metadata)
    installed(monkeypatch, found)
    assert package.is_from_index()
    assert not Package("0.1.0", tmp_path / "checkout/lightning_adapter").is_from_index()
    assert not Package("0.1.1", site / "lightning_adapter").is_from_index()
    (site / "lightning_adapter-0.1.0.dist-info/direct_url.json").write_text(json.dumps({"url": "file:///checkout"}))
    assert not package.is_from_index()
    installed(monkeypatch, None)
    assert not package.is_from_index()


@pytest.mark.parametrize("version", [None, "0.0.9"])
def test_package_that_nothing_describes_is_not_packed(
    version: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metadata = f"Metadata-Version: 2.1\nName: lightning-adapter\nVersion: {version}\n"
    installed(monkeypatch, None if version is None else Distribution(tmp_path, METADATA=metadata))
    with pytest.raises(ConfigurationError, match=r"nothing says what it requires\. To fix, install it: pip install -e"):
        HERE.build_wheel()
