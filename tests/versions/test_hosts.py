"""Is the user told that Lightning or Determined is newer than what the tests run with, too old, or not there?"""

from __future__ import annotations

import importlib
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest
from packaging.version import Version

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import hosts

pl = importlib.import_module("pytorch_lightning")


@pytest.fixture(autouse=True)
def nobody_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hosts, "_told", set())


def told(package: str, *versions: str) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for version in versions:
            hosts.warn_of_untested_versions(hosts.Host(package, Version(version), pl))
    assert all(warning.category is UserWarning for warning in caught)
    return [str(warning.message) for warning in caught]


@pytest.mark.parametrize("version", ["1.9.5", "2.6", "2.6.99", "2.6.0.post1"])
def test_tested_lightning_is_not_warned_about(version: str) -> None:
    assert told("pytorch_lightning", version) == []


@pytest.mark.parametrize("version", ["2.7.0", "2.7.0rc1", "3.0"])
def test_lightning_newer_than_the_tested_ones_is_warned_about_once(version: str) -> None:
    (message,) = told("pytorch_lightning", version, version)

    assert message.startswith(f"pytorch_lightning {Version(version)} is newer than 2.6, ")
    assert "pip install 'pytorch-lightning<2.7'" in message


def test_package_to_install_is_named_by_its_distribution() -> None:
    (message,) = told("lightning.pytorch", "2.7")

    assert message.startswith("lightning 2.7 ") and "pip install 'lightning<2.7'" in message


def test_newer_determined_is_warned_about_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("determined.__version__", "0.39.1")

    (message,) = told("pytorch_lightning", "2.6.0")
    assert message.startswith("determined 0.39.1 ") and "pip install 'determined<0.39'" in message


@pytest.mark.parametrize("package", ["pytorch_lightning", "lightning.pytorch"])
def test_lightning_that_is_too_old_is_refused_with_what_to_install(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = SimpleNamespace(__version__="1.5.10")
    monkeypatch.setattr(hosts, "_hosts", {})
    monkeypatch.setattr(importlib, "import_module", lambda name: old)
    name = package.partition(".")[0].replace("_", "-")

    with pytest.raises(ConfigurationError, match=rf"{package} 1\.5\.10 is installed.*pip install '{name}>=1\.9,<2\.7'"):
        hosts.host(package)


def test_old_package_beside_a_new_one_is_passed_by(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"pytorch_lightning": "1.5.10", "lightning.pytorch": "2.6.0"}
    monkeypatch.setattr(hosts, "_hosts", {})
    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(__version__=versions[name]))

    assert [found.package for found in hosts.importable_hosts()] == ["lightning.pytorch"]
    versions["lightning.pytorch"] = "1.8.0"
    hosts._hosts.clear()
    with pytest.raises(ConfigurationError, match=r"is installed, and lightning_adapter runs with 1\.9 to 2\.6"):
        hosts.importable_hosts()


def test_without_any_lightning_both_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise ImportError(name)

    monkeypatch.setattr(hosts, "_hosts", {})
    monkeypatch.setattr(importlib, "import_module", nothing)

    with pytest.raises(ConfigurationError, match="pip install pytorch-lightning or pip install lightning"):
        hosts.importable_hosts()


def test_of_two_packages_one_is_imported_where_one_will_do() -> None:
    script = (
        "import sys; import pytorch_lightning; from lightning_adapter.versions import hosts\n"
        "print(hosts.importable_host().package, 'lightning' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["pytorch_lightning", "False"]
