"""What of the package and the project's requirements does this container lack, and how is it installed?

This file goes along with an experiment. The start-up hook runs it with the container's own Python, before this package is
there, so it imports nothing of it. The image's torch is built for its drivers and Determined's version is the cluster's:
neither is replaced. What is there already is left as it is, so that an image that holds everything needs no network.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import os
import pathlib
import site
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from packaging.requirements import Requirement

#: Beside this file: what is to be installed.
PLAN = "plan.json"
#: Begins what no restart can mend; the log policy of the experiment looks for it.
ERROR = "lightning-adapter: error:"

_HERE = pathlib.Path(__file__).resolve().parent
_OWN = "lightning-adapter"
_KEPT = ("torch", "determined")
#: In pip's words: the requirements are not to blame.
_NETWORK = ("connection", "timed out", "temporary failure", "name resolution", "network is unreachable", "ssl")
_OLDEST_PYTHON = (3, 10)


class Unmendable(Exception):
    """The image is not what the experiment needs."""


class PipFailed(Exception):
    """The message is pip's own, its last lines."""


def main(words: list[str]) -> int:
    """Install what is missing; return the exit status.

    Args:
        words: a directory aside, for a Python whose own nobody may write to; `--try` where the project's own hook comes
            next and may prepare the container for a second attempt.
    """
    began = time.monotonic()
    try:
        plan = json.loads((_HERE / PLAN).read_text(encoding="utf-8"))
        done = install(plan, pathlib.Path.cwd(), Pip(pathlib.Path(words[0])))
    except (Unmendable, PipFailed) as error:
        if "--try" in words:
            reason = str(error).strip().splitlines()[-1]
            print(f"{_OWN}: not installed yet; once more after the project's start-up hook: {reason}", flush=True)
            return 1
        mendable = isinstance(error, PipFailed) and any(sign in str(error).lower() for sign in _NETWORK)
        print(f"{f'{_OWN}: no network:' if mendable else ERROR} {error}", file=sys.stderr, flush=True)
        return 1
    print(f"{_OWN}: {done}, {time.monotonic() - began:.1f} s", flush=True)
    return 0


def install(plan: dict[str, Any], project: pathlib.Path, pip: Pip) -> str:
    """Install what is missing; return in words what that was.

    Args:
        plan: `package`, a wheel beside this file or a requirement; `extras`, each Lightning that the code imports; `file`,
            the requirement file, below the project. Each may be empty but the first.
        project: the directory that the context was unpacked into.
        pip: installs.

    Raises:
        Unmendable: the image is not what the experiment needs.
        PipFailed: something could not be installed.
    """
    if sys.version_info[:2] < _OLDEST_PYTHON:
        needed, found = (".".join(map(str, numbers)) for numbers in (_OLDEST_PYTHON, sys.version_info[:2]))
        raise Unmendable(
            f"the image has Python {found}, and {_OWN} needs {needed}; set environment.image to a newer one"
        )
    absent = [name for name in _KEPT if _version(name) is None]
    if absent:
        raise Unmendable(f"the image holds no {' and no '.join(absent)}; set environment.image to one that does")
    package = plan["package"]
    if package.endswith(".whl"):
        # over what the image may have: a version number can stand for other code
        pip.install("--no-deps", "--no-index", pip.anew, str(_HERE / package))
    elif not _is_there(package, own=True):
        pip.install("--no-deps", package)
    own = [str(each) for each in _own_requirements(plan.get("extras", []))]
    if own:
        pip.install(*own)
    file = project / plan["file"] if plan.get("file") else None
    asked = list(_of_project(file)) if file is not None else []
    if file is not None and asked:
        # what lies beside this file was written from the other one
        pip.install_lines(asked, project, "pyproject.toml" if file.parent == _HERE else plan["file"])
    new = [f"{_OWN} {_version(_OWN)}", *own, *(line for line in asked if not line.startswith("--"))]
    return f"installed {', '.join(new[:8])}{f' and {len(new) - 8} more' if len(new) > 8 else ''}"


def _own_requirements(extras: Sequence[str]) -> Iterator[Requirement]:
    """What the package requires and the image lacks; of the two Lightnings each that the code imports.

    Raises:
        Unmendable: the image has another torch, or another Determined, than the package runs with.
    """
    from packaging.requirements import Requirement

    for line in importlib.metadata.requires(_OWN) or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is not None and not any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            continue
        requirement.marker = None
        found = _version(requirement.name)
        if found is not None and requirement.specifier.contains(found, prereleases=True):
            continue
        if requirement.name in _KEPT:
            raise Unmendable(f"{_OWN} runs with {requirement}, and the image has {found}; set environment.image")
        yield requirement


def _of_project(path: pathlib.Path) -> Iterator[str]:
    """The lines of a requirement file that pip has to see; none where all of it is there."""
    lines = list(_lines(path))
    options = [line for line in lines if line.startswith("--") and not line.startswith("--editable")]
    missing = [line for line in lines if line not in options and not _is_there(line)]
    if missing:
        yield from options
        yield from missing


def _lines(path: pathlib.Path) -> Iterator[str]:
    """The lines of a requirement file and of those that it names, as pip joins them, without comments."""
    for text in path.read_text(encoding="utf-8-sig").replace("\\\n", " ").splitlines():
        line = "" if text.lstrip().startswith("#") else text.partition(" #")[0].strip()
        for option in ("--requirement=", "--requirement ", "-r"):
            if line.startswith(option):
                yield from _lines(path.parent / line.removeprefix(option).strip())
                break
        else:
            if line:
                yield line


def _is_there(line: str, own: bool = False) -> bool:
    """Whether one line of a requirement file leaves nothing to install; of this package only where it is asked for."""
    from packaging.requirements import InvalidRequirement, Requirement

    try:
        requirement = Requirement(line.partition(" --hash")[0])
    except InvalidRequirement:
        return False  # a path, an address or an option, which pip alone can read
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    name = requirement.name.lower().replace("_", "-")
    found = _version(name)
    fits = found is not None and requirement.url is None and requirement.specifier.contains(found, prereleases=True)
    if name in _KEPT:
        if not fits:
            print(f"{_OWN}: {line}: left to the image, which has {name} {found}", flush=True)
        return True
    if name == _OWN and not own:
        return True  # it came with the experiment
    return fits and not requirement.extras


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _failure(what: str, fix: str, done: subprocess.CompletedProcess[str]) -> str:
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    kept = " and ".join(f"{name} {_version(name)}" for name in _KEPT)
    return f"pip install {what} failed beside the image's {kept}. To fix, {fix}\n" + "\n".join(lines[-12:])


class Pip:
    """Installs beside what the image holds.

    Args:
        aside: a directory for a Python that has none which may be written to: a virtual environment that belongs to
            somebody else, or that is mounted.
    """

    def __init__(self, aside: pathlib.Path) -> None:
        writable = os.access(sysconfig.get_path("purelib"), os.W_OK) or bool(site.ENABLE_USER_SITE)
        self._place = () if writable else ("--prefix", str(aside))
        #: How to install what is there already; what nobody may write to cannot be removed either.
        self.anew = "--force-reinstall" if writable else "--ignore-installed"

    def install_lines(self, lines: list[str], project: pathlib.Path, source: str) -> None:
        """Install what lines of a requirement file ask for; paths in them are below the project, and `source` names it.

        Raises:
            PipFailed: pip says why.
        """
        with tempfile.NamedTemporaryFile("w", dir=project, suffix=".txt", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")
            file.flush()
            done = self._pip("-r", file.name)
        if done.returncode:
            fix = f"correct {source}, or set environment.image to one that holds what it asks for"
            raise PipFailed(_failure(f"of what {source} asks for", fix, done).replace(file.name, source))
        self._see_what_is_new()

    def install(self, *words: str) -> None:
        """Install.

        Raises:
            PipFailed: pip says why.
        """
        done = self._pip(*words)
        if done.returncode:
            fix = "set environment.image to one that holds it, or PIP_INDEX_URL to an index that does"
            raise PipFailed(_failure(" ".join(words), fix, done))
        self._see_what_is_new()

    def _pip(self, *words: str) -> subprocess.CompletedProcess[str]:
        quiet = ("--quiet", "--disable-pip-version-check", "--no-input", "--no-warn-script-location")
        # pip's advice on root and on the system's own Python is not meant for a container
        variables = {**os.environ, "PIP_ROOT_USER_ACTION": "ignore", "PIP_BREAK_SYSTEM_PACKAGES": "1"}
        with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as constraints:
            constraints.write("".join(f"{name}=={_version(name)}\n" for name in _KEPT))
            constraints.flush()
            return subprocess.run(
                [sys.executable, "-m", "pip", "install", *quiet, "--constraint", constraints.name, *self._place, *words],
                env=variables, capture_output=True, text=True, check=False,
            )  # fmt: skip

    def _see_what_is_new(self) -> None:
        """Let this process, and the next call of pip, find what was installed into a directory that is new."""
        if not self._place:
            site.addsitedir(site.getusersitepackages())
        else:
            for pattern in ("lib/python*/site-packages", "local/lib/python*/dist-packages"):
                for path in map(str, pathlib.Path(self._place[1]).glob(pattern)):
                    if path not in sys.path:
                        sys.path.insert(0, path)
                        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [path, os.environ.get("PYTHONPATH")]))
        importlib.invalidate_caches()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
