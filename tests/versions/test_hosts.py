"""Is the user told, once, that Lightning or Determined is newer than what the tests run with?"""

from __future__ import annotations

import importlib
import warnings

import pytest
from packaging.version import Version

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
