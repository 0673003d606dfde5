"""How does Horovod 0.28.1, the last release, get into this environment next to torch 2.1 and later?

Its source distribution asks for C++14, and the headers of torch >= 2.1 need C++17. This script downloads the source
distribution, changes that one number in its two CMake lists and installs the result for PyTorch, with Gloo and without
MPI. A second run finds a working Horovod and does nothing. `docs/horovod.md` describes it, CUDA and NCCL included.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path

VERSION = "0.28.1"
CMAKE_LISTS = ("CMakeLists.txt", "horovod/torch/CMakeLists.txt")
CXX14 = re.compile(r"^(\s*set\(CMAKE_CXX_STANDARD) 14\)", re.MULTILINE)

# What is built unless the environment says otherwise: every name below can be set by the caller (Horovod reads them).
DEFAULTS = {
    "HOROVOD_WITH_PYTORCH": "1",
    "HOROVOD_WITHOUT_TENSORFLOW": "1",
    "HOROVOD_WITHOUT_MXNET": "1",
    "HOROVOD_WITH_GLOO": "1",
    "HOROVOD_WITHOUT_MPI": "1",
    # Gloo's lists name a minimum that cmake 4 refuses without this; older ones do not read it.
    "CMAKE_POLICY_VERSION_MINIMUM": "3.5",
}

PROBE = """
import horovod, horovod.torch as hvd
print(horovod.__version__, int(hvd.gloo_built()), int(hvd.nccl_built() > 0))
"""


class BuildError(Exception):
    """The build cannot start or did not succeed; the message says why and what to type."""


def installed_problem(want_nccl: bool) -> str | None:
    """Say what is missing from the Horovod of this interpreter, or None when it is the one that is wanted.

    The import runs in a process of its own: a Horovod that was built against another torch may crash on import.
    """
    probe = subprocess.run([sys.executable, "-c", PROBE], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        lines = (probe.stderr or probe.stdout).strip().splitlines()
        return f"it cannot be imported ({lines[-1] if lines else f'exit status {probe.returncode}'})"
    version, gloo, nccl = probe.stdout.split()
    if version != VERSION:
        return f"version {version} is installed, {VERSION} is wanted"
    if gloo != "1":
        return "it was built without Gloo"
    if want_nccl and nccl != "1":
        return "it was built without NCCL, and HOROVOD_GPU_OPERATIONS=NCCL asks for it"
    return None


def search_path() -> str:
    """The folders where tools are looked for: this environment's own first, since it may not be activated."""
    return os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])


def check_tools() -> None:
    """Raise one error that names every missing tool, before anything is downloaded.

    Raises:
        BuildError: a C++ compiler, cmake, a build tool for it, or torch is missing.
    """
    faults = []
    path = search_path()
    compiler = os.environ.get("CXX", "")
    if compiler and shutil.which(compiler, path=path) is None:
        faults.append(f"no C++ compiler: CXX={compiler} is not a program; unset CXX or name one")
    elif not compiler and not any(shutil.which(name, path=path) for name in ("c++", "g++", "clang++")):
        faults.append("no C++ compiler (looked for c++, g++, clang++): apt-get install g++, or set CXX")
    if shutil.which("cmake", path=path) is None:
        faults.append(f"no cmake: apt-get install cmake, or {sys.executable} -m pip install cmake")
    if shutil.which("make", path=path) is None:
        faults.append("no make: apt-get install make")
    try:
        import torch  # noqa: F401
    except ImportError as error:
        faults.append(f"torch cannot be imported ({error}), and Horovod is built against it: make venv")
    if faults:
        raise BuildError("Horovod is built from source, which cannot start here:\n  - " + "\n  - ".join(faults))


def download(directory: Path) -> Path:
    """Download and unpack the source distribution below `directory`; return the folder that holds its setup.py."""
    pip("download", "--no-deps", "--no-build-isolation", "--no-binary", "horovod", "--dest", str(directory),
        f"horovod=={VERSION}")  # fmt: skip
    archive = directory / f"horovod-{VERSION}.tar.gz"
    with tarfile.open(archive) as tar:
        if hasattr(tarfile, "data_filter"):
            tar.extractall(directory, filter="data")
        else:  # Python 3.11 before 3.11.4, which can but trust the archive
            tar.extractall(directory)
    return directory / f"horovod-{VERSION}"


def ask_for_cxx17(source: Path) -> None:
    """Replace C++14 by C++17 in Horovod's own CMake lists (third-party ones keep what they have).

    Raises:
        BuildError: a list no longer holds the line, so this is not the source that this script was written for.
    """
    for name in CMAKE_LISTS:
        path = source / name
        text, changes = CXX14.subn(r"\1 17)", path.read_text(encoding="utf-8"))
        if changes != 1:
            raise BuildError(f"{path}: expected one 'set(CMAKE_CXX_STANDARD 14)', found {changes}.")
        path.write_text(text, encoding="utf-8")


def pip(*arguments: str, env: dict[str, str] | None = None) -> None:
    """Run pip of this interpreter, its output going where ours goes.

    Raises:
        BuildError: pip failed; its own output stands above the message.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    if subprocess.run(command, env=env, check=False).returncode != 0:
        raise BuildError("This failed, see the output above: " + " ".join(command))


def build(constraints: Path | None, jobs: int) -> None:
    """Download, change, compile and install Horovod into this interpreter's environment.

    Args:
        constraints: a pip constraints file for Horovod's few dependencies, so that no installed package moves.
        jobs: how many files are compiled at once.
    """
    # MAKEFLAGS of an outer make (its own options, its jobserver) means nothing to the make that cmake starts.
    env = {**DEFAULTS, **os.environ, "PATH": search_path(), "MAKEFLAGS": f"-j{jobs}"}
    with tempfile.TemporaryDirectory(prefix="build-horovod-") as directory:
        source = download(Path(directory))
        ask_for_cxx17(source)
        limits = ["--constraint", str(constraints)] if constraints else []
        # --no-build-isolation: the build must see the torch it is meant for. --no-cache-dir: a wheel from the cache
        # may have been compiled against another torch.
        pip("install", "--no-build-isolation", "--no-cache-dir", "--force-reinstall", "--no-deps", str(source), env=env)
        pip("install", *limits, f"horovod=={VERSION}", env=env)


def main(argv: list[str] | None = None) -> int:
    """Install Horovod when it is not there yet; return the exit status."""
    parser = argparse.ArgumentParser(description=f"Build Horovod {VERSION} for the torch of this environment.")
    parser.add_argument("--constraints", type=Path, help="pip constraints file for Horovod's dependencies")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="compile jobs (default: one per core)")
    parser.add_argument("--force", action="store_true", help="build even when a working Horovod is installed")
    options = parser.parse_args(argv)
    want_nccl = os.environ.get("HOROVOD_GPU_OPERATIONS", "").upper() == "NCCL"
    problem = "--force was given" if options.force else installed_problem(want_nccl)
    if problem is None:
        print(f"Horovod {VERSION} is installed and works: nothing to do.")
        return 0
    print(f"Building Horovod {VERSION} ({problem}).", flush=True)
    started = time.monotonic()
    try:
        check_tools()
        build(options.constraints, options.jobs)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 1
    problem = installed_problem(want_nccl)
    if problem is not None:
        print(f"Horovod was built, but {problem}.", file=sys.stderr)
        return 1
    print(f"Horovod {VERSION} was built in {time.monotonic() - started:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
