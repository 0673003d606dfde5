"""What does a trial import that a cluster's image may lack, at which versions is it here, and where is that written?

The start-up hook that `submit` sends installs what `requirements.txt` in the context lists. The image has torch and
Determined, and so what these two require: other versions of that would break what is built for it.
"""

from __future__ import annotations

import ast
import importlib.metadata
import json
import pathlib
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import NormalizedName, canonicalize_name

from lightning_adapter.configs.origins import Dialect
from lightning_adapter.configs.parts import CLASS_KEYS
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.evaluation.package.own_modules import needed_of_project, spec_of
from lightning_adapter.runs.atomic import replacing
from lightning_adapter.submission.requirements import FILE, read_requirements

#: By this line a file is known that may be written anew.
HEAD = "# Written by `lightning-adapter init --requirements`: what the trial imports beyond the image, as it is installed here."
_OF_IMAGE = ("torch", "determined")
_OWN = "lightning-adapter"
#: What reads the configuration, as the extras of this package name it.
READERS: dict[str, tuple[str, ...]] = {"cli": ("jsonargparse[signatures]",), "hydra": ("hydra-core", "omegaconf")}
#: What classes of Lightning import when they are constructed.
_OF_CLASSES = {
    "WandbLogger": "wandb",
    "MLFlowLogger": "mlflow",
    "CometLogger": "comet_ml",
    "NeptuneLogger": "neptune",
    "RichProgressBar": "rich",
    "RichModelSummary": "rich",
}


@dataclass(frozen=True)
class Frozen:
    """What is to be installed.

    Attributes:
        lines: of the file, for pip.
        notes: what could not be frozen, and why.
    """

    lines: tuple[str, ...]
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The file."""
        return "\n".join([HEAD, *(f"# {note}" for note in self.notes), *self.lines]) + "\n"

    @property
    def summary(self) -> str:
        """What is said of it."""
        return "\n".join(
            f"{FILE}: {line}" for line in (", ".join(self.lines) or "nothing beyond the image", *self.notes)
        )


def check_may_write(root: pathlib.Path) -> None:
    """Refuse to write over a file of somebody else's.

    Raises:
        ConfigurationError: there is one.
    """
    path = root / FILE
    if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(HEAD):
        raise ConfigurationError(
            f"{path} is there, and was not written by --requirements. To fix, rename it, write anew, and put its lines into the "
            "new file; or leave --requirements out, since the start-up hook installs the file that is there"
        )


def write(root: pathlib.Path, frozen: Frozen) -> None:
    """Write the file.

    Raises:
        ConfigurationError: it cannot be written.
    """
    try:
        with replacing(root / FILE) as path:
            path.write_text(frozen.text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{root / FILE} cannot be written: {error.strerror}") from error


def freeze(root: pathlib.Path, dialect: Dialect, tree: Mapping[str, object], target: str | None) -> Frozen:
    """Say what a trial needs.

    Args:
        root: the project's directory.
        dialect: whose configuration it is.
        tree: hyperparameters, which may name classes.
        target: the trial, or what else the hyperparameters come from, as `FILE_OR_MODULE:NAME`.
    """
    classes = list(_class_paths(tree))
    names = {name.rpartition(".")[0] or name for name in classes}
    names |= {_OF_CLASSES[last] for last in (name.rpartition(".")[2] for name in classes) if last in _OF_CLASSES}
    if target is not None:
        place = target.rpartition(":")[0]
        names.add(pathlib.Path(place).stem if place.endswith(".py") else place)
    names.discard(_OWN.replace("-", "_"))
    distributions = importlib.metadata.packages_distributions()
    own = needed_of_project({name for name in names if _is_of_project(name, root, distributions)})
    imported = {name.partition(".")[0]: "" for name in names if name not in own}
    for module in sorted(own):
        for name, place in _imports(module):
            imported.setdefault(name, place)
    own_tops = {name.partition(".")[0] for name in own}
    wanted = {name: place for name, place in imported.items() if name not in sys.stdlib_module_names | own_tops}
    return _frozen(root, dialect, wanted, distributions)


def _frozen(
    root: pathlib.Path, dialect: Dialect, imported: Mapping[str, str], distributions: Mapping[str, list[str]]
) -> Frozen:
    held = _required_by(_OF_IMAGE) | {canonicalize_name(_OWN)}
    found: dict[NormalizedName, str] = {}
    notes: list[str] = []
    for name, place in sorted(imported.items()):
        if name not in distributions:
            where = f", which {place} imports" if place else ""
            notes.append(f"{name}{where}: not installed here; write the line that installs it, if the trial needs it")
        for distribution in dict.fromkeys(distributions.get(name, [])):
            found[canonicalize_name(distribution)] = distribution
    said = {canonicalize_name(each): line for line, each in _said(root)}
    for name in READERS.get(dialect, ()):
        found |= {canonicalize_name(each): each for each in _with_extras(Requirement(name))}
    lines = []
    for key in sorted(found.keys() | said.keys()):
        if key in held:
            continue
        line, note = _line(found.get(key) or said[key])
        lines += [line] if line else []
        notes += [note] if note else []
    return Frozen(tuple(lines), tuple(notes))


def _line(name: str) -> tuple[str | None, str | None]:
    """What installs a distribution as it is here, and what is to be said of that."""
    try:
        distribution = importlib.metadata.distribution(canonicalize_name(Requirement(name).name))
    except (importlib.metadata.PackageNotFoundError, InvalidRequirement):
        return name, None  # a line of the project's own, of something that is not installed here
    named = distribution.metadata["Name"]
    url = _url_of(distribution)
    commit = url.get("vcs_info", {})
    if commit:
        return f"{named} @ {commit['vcs']}+{url['url']}@{commit['commit_id']}", None
    if url.get("url", "").startswith("file:"):
        place = url["url"].removeprefix("file://")
        return (
            None,
            f"{named} {distribution.version} is installed from {place} here: copy it into the project, or into the image",
        )
    if any(_is_bound_to_torch(line) for line in distribution.requires or ()):
        return (
            named,
            f"{named} fits one torch alone, so that its version is left to that of the image; here it is {distribution.version}",
        )
    return f"{named}=={distribution.version.partition('+')[0]}", None


def _is_bound_to_torch(line: str) -> bool:
    requirement = Requirement(line)
    is_torch = requirement.name == "torch" and not _is_of_extra(requirement)
    return is_torch and any(each.operator == "==" for each in requirement.specifier)


def _said(root: pathlib.Path) -> Iterator[tuple[str, str]]:
    """Lines of a `pyproject.toml`, which the new file takes the place of, with the names in them."""
    for line in read_requirements(root).lines:
        yield line, Requirement(line).name


def _with_extras(requirement: Requirement) -> Iterator[str]:
    """A distribution and what its extras bring, as far as that is installed."""
    yield requirement.name
    for line in _requires(requirement.name):
        part = Requirement(line)
        if (
            _is_of_extra(part)
            and any(_applies(part, extra) for extra in requirement.extras)
            and _is_installed(part.name)
        ):
            yield part.name


def _applies(requirement: Requirement, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _is_of_extra(requirement: Requirement) -> bool:
    return requirement.marker is not None and "extra" in str(requirement.marker)


def _is_installed(name: str) -> bool:
    return any(importlib.metadata.distributions(name=name))


def _required_by(names: Iterable[str]) -> set[str]:
    """Names of distributions, and of all that they require."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name not in found:
            found.add(name)
            for line in _requires(name):
                requirement = Requirement(line)
                if _applies(requirement):
                    waiting.append(requirement.name)
    return found


def _requires(name: str) -> list[str]:
    try:
        return importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _class_paths(value: object) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key in CLASS_KEYS and isinstance(item, str) and "${" not in item:
                yield item
            else:
                yield from _class_paths(item)
    elif isinstance(value, list):
        for item in value:
            yield from _class_paths(item)


def _is_of_project(name: str, root: pathlib.Path, distributions: Mapping[str, list[str]]) -> bool:
    """Whether a module is the project's own; what is installed may lie in a `.venv` of its directory."""
    spec = spec_of(name)
    if spec is None or spec.origin is None or not pathlib.Path(spec.origin).resolve().is_relative_to(root.resolve()):
        return False
    held_by = map(importlib.metadata.distribution, distributions.get(name.partition(".")[0], []))
    return all(_url_of(each).get("dir_info", {}).get("editable") for each in held_by)


def _url_of(distribution: importlib.metadata.Distribution) -> dict[str, Any]:
    """Where it was installed from, if not from an index."""
    url: dict[str, Any] = json.loads(distribution.read_text("direct_url.json") or "{}")
    return url


def _imports(module: str) -> Iterator[tuple[str, str]]:
    """Top packages that a module of the project imports whenever it runs, with the place."""
    spec = spec_of(module)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return
    path = pathlib.Path(spec.origin)
    try:
        tree = ast.parse(path.read_bytes())
    except (OSError, SyntaxError, ValueError):  # which cannot be imported either
        return
    for node in _that_run(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = [node.module]
        for name in names:
            yield name.partition(".")[0], f"{path.name}, line {getattr(node, 'lineno', 0)},"


def _that_run(node: ast.AST) -> Iterator[ast.AST]:
    """Nodes of a file without those that are for type checkers, or that may fail."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        for other in node.orelse:
            yield from _that_run(other)
        return
    if isinstance(node, ast.Try) and any(_is_of_import(handler) for handler in node.handlers):
        return
    yield node
    for child in ast.iter_child_nodes(node):
        yield from _that_run(child)


def _is_of_import(handler: ast.ExceptHandler) -> bool:
    """Whether it catches what a failing import raises."""
    caught = "" if handler.type is None else ast.unparse(handler.type)
    return handler.type is None or any(name in caught for name in ("ImportError", "ModuleNotFoundError", "Exception"))
