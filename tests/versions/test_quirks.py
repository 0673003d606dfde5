"""Does the table of version differences hold: a test for each row, a reader for each row, and no other version check?"""

from __future__ import annotations

import ast
import functools
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from packaging.version import Version

from lightning_adapter.versions import hosts, lightning_private, quirks
from lightning_adapter.versions.quirks import ROWS, Row, quirks_of

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "lightning_adapter"
COMPARED = [Version("1.9.5"), Version("2.0.9")]  # the overlays; the environment has a Lightning without quirks
# Imported here and not in a test: the import of Lightning sets an environment variable, which no test may.
pl = importlib.import_module("pytorch_lightning")
INSTALLED = hosts.host("pytorch_lightning")

of_each_row = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def sources() -> Iterator[tuple[Path, ast.AST]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(tree(path)):
            yield path, node


def is_called_quirks(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "quirks") or (
        isinstance(node, ast.Attribute) and node.attr == "quirks"
    )


@functools.cache
def names_read() -> set[str]:
    return {node.attr for _, node in sources() if isinstance(node, ast.Attribute) and is_called_quirks(node.value)}


@of_each_row
def test_row_names_a_test_that_exists(row: Row) -> None:
    file, _, function = row.test.partition("::")

    assert function in {node.name for node in tree(ROOT / file).body if isinstance(node, ast.FunctionDef)}


@of_each_row
def test_row_is_read_in_the_package(row: Row) -> None:
    assert row.name in names_read()


def test_every_quirk_that_is_read_has_a_row() -> None:
    assert names_read() - {row.name for row in ROWS} == set()


@of_each_row
def test_row_is_switched_on_by_a_version_that_was_compared(row: Row) -> None:
    assert any(row.holds_for(version) for version in COMPARED)


def test_newest_tested_version_has_no_quirk() -> None:
    found = quirks_of(hosts.NEWEST_TESTED_LIGHTNING)

    assert [row.name for row in ROWS if getattr(found, row.name)] == []


@pytest.mark.parametrize(
    ("version", "has"),
    [("2.0.9", True), ("2.1.0.dev0", False), ("2.1.0rc1", False), ("2.1.0", False), ("2.1.0+local", False)],
)
def test_quirk_lasts_until_the_version_of_its_row(version: str, has: bool) -> None:
    assert quirks_of(Version(version)).skips_at_once is has


@of_each_row
def test_row_follows_a_function_of_the_newest_lightning_that_has_the_quirk(row: Row) -> None:
    if INSTALLED.version != max(version for version in COMPARED if row.holds_for(version)):
        pytest.skip("another Lightning is installed; make parity-old has it")

    *places, function = row.follows.split(".")
    assert callable(looked_up(functools.reduce(getattr, places, INSTALLED.pl), function))


def looked_up(owner: Any, name: str) -> Any:
    found = getattr(owner, name)
    return found.fget if isinstance(found, property) else found


def test_versions_are_compared_in_versions_and_in_the_support_table_alone() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}: {ast.unparse(node)}"
        for path, node in sources()
        if path.parent.name != "versions" and path.parent.name != "support" and checks_version(node)
    ]

    assert found == []


def checks_version(node: ast.AST) -> bool:
    if isinstance(node, ast.Attribute):
        return node.attr == "legacy" or (node.attr == "major" and ast.unparse(node.value).endswith("version"))
    if isinstance(node, ast.Call):
        return ast.unparse(node.func).split(".")[-1] in ("Version", "compare_version")
    return isinstance(node, ast.Compare) and any(
        isinstance(part, ast.Attribute) and part.attr in ("version", "__version__") for part in ast.walk(node)
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("host.version < other", True),
        ('Version("2.1")', True),
        ("version.Version(name)", True),
        ("host.legacy", True),
        ("host.version.major", True),
        ("str(host.version)", False),
        ("host.quirks.empty_list", False),
    ],
)
def test_check_of_a_version_is_recognised(text: str, found: bool) -> None:
    assert any(checks_version(node) for node in ast.walk(ast.parse(text))) is found


# --- rows that no run shows -------------------------------------------------------------------------------------------


def test_scaler_is_saved_under_the_name_of_the_precision_class() -> None:
    plugin = getattr(INSTALLED.load("plugins"), INSTALLED.scaler_key)

    assert plugin.__qualname__ == INSTALLED.scaler_key
    assert plugin.__module__.endswith("plugins.precision.amp") or plugin.__module__.endswith("native_amp")


def test_loops_of_a_checkpoint_have_the_keys_of_the_installed_lightning() -> None:
    nothing = {part: {"ready": 0, "completed": 0} for part in ("total", "current")}
    ours = lightning_private.loop_states(INSTALLED, {}, nothing, 0, (0, 0), True, nothing, nothing, [])
    theirs = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False).fit_loop

    assert {name for name in ours["fit_loop"] if "optim" in name} == {
        name for name in theirs.state_dict() if "optim" in name
    }


def test_table_is_made_of_the_fields() -> None:
    assert {row.name for row in ROWS} == set(quirks.Quirks.__annotations__)
