"""Do the files around the package agree with each other: README, Makefile, constraints, setup.py, public names?"""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import lightning_adapter

ROOT = Path(__file__).resolve().parent.parent
# Names that are imported -> the distribution that brings them, where the two differ.
DISTRIBUTIONS = {
    "yaml": "pyyaml",
    "ruamel": "ruamel-yaml",
    "PIL": "pillow",
    "google": "protobuf",
    "hydra": "hydra-core",
}
# Imported where they are there, and never required: the installed Lightning is an extra, the others are the user's.
OPTIONAL = {
    *("pytorch-lightning", "lightning", "lightning-fabric", "lightning-utilities", "horovod", "apex"),
    *("pyarrow", "onnxruntime", "jsonargparse", "hydra-core", "omegaconf"),  # extras
    *("optuna", "sqlalchemy", "rich"),  # of [search]; the second one comes with the first
    "ipython",  # imported in a notebook alone, which runs on it
}


@pytest.fixture(scope="module")
def packaging_arguments() -> dict[str, Any]:
    """What setup.py hands to setuptools, without running any of its commands."""
    captured: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, "setup", captured.update)
        patch.chdir(ROOT)
        source = (ROOT / "setup.py").read_text(encoding="utf-8")
        exec(compile(source, "setup.py", "exec"), {"__file__": str(ROOT / "setup.py"), "__name__": "setup"})
    return captured


@pytest.fixture(scope="module")
def constraints() -> dict[str, Requirement]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(requirement.name): requirement for requirement in requirements}


def makefile_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (?!\$)(.+)$", text, re.MULTILINE)
    assert phony is not None
    return set(phony[1].split())


def pinned_version(requirement: Requirement) -> Version:
    (specifier,) = requirement.specifier
    assert specifier.operator == "==", f"{requirement} is not pinned"
    return Version(specifier.version)


def imported_distributions(package: Path) -> dict[str, str]:
    """Third-party distributions that the package's modules import, each with the first file that does."""
    found: dict[str, str] = {}
    for path in sorted(package.glob("**/*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module or ""]
            else:
                continue
            for top in (name.partition(".")[0] for name in names):
                if top not in sys.stdlib_module_names and top != package.name:
                    found.setdefault(canonicalize_name(DISTRIBUTIONS.get(top, top)), path.name)
    return found


def test_public_names_are_the_documented_ones() -> None:
    assert sorted(lightning_adapter.__all__) == [
        "ConfiguredTrial",
        "DETDM",
        "DETLM",
        "DrawBatches",
        "LightningAdapter",
        "build",
        "fit",
        "load_config",
        "load_trial",
        "search",
    ]
    for name in lightning_adapter.__all__:
        assert getattr(lightning_adapter, name).__module__.startswith("lightning_adapter."), name


def test_version_of_the_package_is_the_packaged_one(packaging_arguments: dict[str, Any]) -> None:
    assert lightning_adapter.__version__ == packaging_arguments["version"]


def test_constraints_pin_every_package_to_one_release(constraints: dict[str, Requirement]) -> None:
    for requirement in constraints.values():
        assert pinned_version(requirement).local is None, f"{requirement}: a local build exists on one index only"
    assert str(pinned_version(constraints["torch"])) == "2.13.0"


def test_nothing_asks_for_the_apex_of_pypi_which_is_another_package(
    constraints: dict[str, Requirement], packaging_arguments: dict[str, Any]
) -> None:
    extras = [name for names in packaging_arguments["extras_require"].values() for name in names]
    asked = {canonicalize_name(Requirement(text).name) for text in packaging_arguments["install_requires"] + extras}
    assert "determined" in asked
    assert "apex" not in asked | set(constraints)


def test_constraints_satisfy_every_requirement_of_setup(
    constraints: dict[str, Requirement], packaging_arguments: dict[str, Any]
) -> None:
    extras = [name for names in packaging_arguments["extras_require"].values() for name in names]
    for requirement in map(Requirement, packaging_arguments["install_requires"] + extras):
        pin = constraints[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(pinned_version(pin)), f"{pin} does not satisfy {requirement}"


def test_every_import_of_the_package_is_required_by_setup(packaging_arguments: dict[str, Any]) -> None:
    required = {canonicalize_name(Requirement(text).name) for text in packaging_arguments["install_requires"]}
    imported = imported_distributions(ROOT / "lightning_adapter")
    assert "determined" in imported
    undeclared = {name: file for name, file in imported.items() if name not in required | OPTIONAL}
    assert undeclared == {}


def test_neither_lightning_package_is_forced_on_users_of_the_other(packaging_arguments: dict[str, Any]) -> None:
    required = {canonicalize_name(Requirement(text).name) for text in packaging_arguments["install_requires"]}
    assert required.isdisjoint({"pytorch-lightning", "lightning"})
    assert set(packaging_arguments["extras_require"]) >= {"pytorch-lightning", "lightning", "dev"}


@pytest.mark.parametrize("document", ["README.md", "CHANGELOG.md", "docs/horovod.md"])
def test_make_commands_in_documents_are_targets(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z-]+)`", text)) | set(re.findall(r"^make ([a-z-]+)", text, re.MULTILINE))
    assert named, f"{document} names no make command"
    assert named <= makefile_targets()


def test_readme_names_the_two_commands_of_a_fresh_machine() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"^make mnist\b.*\n^make test\b", readme, re.MULTILINE)


def test_relative_links_of_readme_lead_to_files() -> None:
    links = re.findall(r"\]\((?!https?://)([^)#]+)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert "docs/support.md" in links
    assert [link for link in links if not (ROOT / link).is_file()] == []


@pytest.mark.parametrize("target", ["venv", "mnist", "test", "lint", "docs", "horovod", "overlays", "parity-old"])
def test_makefile_target_expands_to_commands(target: str) -> None:
    # -n prints the commands and runs none of them; --always-make prints them whether or not the work is done already.
    made = subprocess.run(
        ["make", "--no-print-directory", "--always-make", "-n", target],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr
    # A name that is declared phony and has no rule is no error to make, but there is "Nothing to be done" for it.
    assert f"'{target}'" not in made.stdout
    assert made.stdout.strip()


def test_mnist_target_runs_the_installed_command_in_the_example(packaging_arguments: dict[str, Any]) -> None:
    made = subprocess.run(
        ["make", "--no-print-directory", "-n", "mnist"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    words = shlex.split(made.stdout.strip().splitlines()[-1])
    assert words[:2] == ["cd", "examples/mnist"]
    scripts = [script.split(" = ")[0] for script in packaging_arguments["entry_points"]["console_scripts"]]
    assert Path(words[3]).name in scripts
    assert words[4] == "fit"


def test_makefile_works_in_a_folder_with_a_space_in_its_name(tmp_path: Path) -> None:
    folder = tmp_path / "my project"
    folder.mkdir()
    for name in ("Makefile", "setup.py", "constraints.txt", "overlays", "scripts"):
        (folder / name).symlink_to(ROOT / name)
    for target in ("mnist", "test", "docs", "horovod", "parity-pl209"):
        made = subprocess.run(
            ["make", "--no-print-directory", "--always-make", "-n", target],
            cwd=folder, capture_output=True, text=True, check=True,
        )  # fmt: skip
        words = shlex.split(made.stdout.replace("\\\n", " ").replace("\n", " ; "))
        inside = [word for word in words if str(tmp_path) in word]
        assert inside and all("my project/.venv" in word for word in inside), (target, inside)


@pytest.mark.parametrize("overlay", sorted(path.name for path in (ROOT / "overlays").glob("*.txt")))
def test_overlay_is_fully_pinned_and_brings_no_torch(overlay: str) -> None:
    lines = (ROOT / "overlays" / overlay).read_text(encoding="utf-8").splitlines()
    requirements = [Requirement(line) for line in lines if line and not line.startswith("#")]
    pins = {canonicalize_name(requirement.name): pinned_version(requirement) for requirement in requirements}
    assert "torch" not in pins
    lightning = pins.get("pytorch-lightning") or pins["lightning"]
    assert "".join(map(str, lightning.release)) == re.sub(r"\D", "", overlay), "the file is named after its version"
