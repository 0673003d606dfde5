"""What happens in the container before the entrypoint, and which files does that take?

Determined sources `startup-hook.sh` of the context, with tracing switched on, from a script that ends at the first
failing command. The hook that is generated here prepares the container and then sources the project's own.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.submission import in_container

HOOK = "startup-hook.sh"
#: The project's own hook stays in the root, since it may look for its neighbours.
OWN_HOOK = "startup-hook-of-the-project.sh"
#: Everything else that is generated.
FOLDER = ".lightning_adapter"
_FIRST_LINES = (
    "#!/usr/bin/env bash\n"
    "# Written by `lightning-adapter submit`: puts the package and what the project requires into the task's container.\n"
)
_REQUIREMENTS = "requirements.txt"

_QUIET = '{ case "$-" in *x*) lightning_adapter_trace=x ;; *) lightning_adapter_trace= ;; esac; set +x; } 2>/dev/null\n'
_SOURCES = 'export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"\n'
#: A Python whose directories nobody may write to gets what is installed from a directory aside, which the project's own
#: directory cannot be: each checkpoint has a copy of that.
_INSTALL = f"""\
lightning_adapter_aside="$(mktemp -d)"
lightning_adapter_install() {{
    "${{DET_PYTHON_EXECUTABLE:-python3}}" {FOLDER}/install.py "$lightning_adapter_aside" "$@" || return 1
    local path
    for path in "$lightning_adapter_aside"/lib/python*/site-packages "$lightning_adapter_aside"/local/lib/python*/dist-packages; do
        if [ -d "$path" ]; then
            export PYTHONPATH="$path${{PYTHONPATH:+:$PYTHONPATH}}" PATH="$lightning_adapter_aside/bin:$PATH"
        fi
    done
}}
"""
_ALONE = "lightning_adapter_install || exit 1\n"
#: The project's hook may be what makes an index reachable, and it may need the package: before it, and again after it.
_WITH_OWN = f"""\
lightning_adapter_installed=
lightning_adapter_install --try && lightning_adapter_installed=yes
if [ -n "$lightning_adapter_trace" ]; then set -x; fi
source ./{OWN_HOOK}
{{ set +x; }} 2>/dev/null
if [ -z "$lightning_adapter_installed" ]; then lightning_adapter_install || exit 1; fi
"""
_LOUD = 'if [ -n "$lightning_adapter_trace" ]; then set -x; fi\n'


@dataclass(frozen=True)
class Preparation:
    """What a container has to be given.

    Attributes:
        package: a wheel's name, or a requirement.
        wheel: the wheel's content; None where an index has the package.
        extras: each Lightning that the code imports, as the package's extras have them.
        requirements_file: the project's own, below its root; None where it has none.
        lines: what else the project requires, of a `pyproject.toml`.
        has_sources: whether modules lie below `src/`.
    """

    package: str
    wheel: bytes | None
    extras: tuple[str, ...]
    requirements_file: str | None
    lines: tuple[str, ...]
    has_sources: bool

    def files(self, root: pathlib.Path) -> dict[str, bytes]:
        """Return what is put beside the project's files, or in their place: path -> content.

        Args:
            root: the project's directory, whose own hook goes along under another name.

        Raises:
            ConfigurationError: the project has a file of that name.
        """
        own = own_hook(root)
        body = _ALONE if own is None else _WITH_OWN
        hook = _FIRST_LINES + _QUIET + (_SOURCES if self.has_sources else "") + _INSTALL + body + _LOUD
        file = f"{FOLDER}/{_REQUIREMENTS}" if self.lines else self.requirements_file or ""
        plan = {"package": self.package, "extras": self.extras, "file": file}
        made = {
            HOOK: hook.encode(),
            f"{FOLDER}/install.py": pathlib.Path(in_container.__file__).read_bytes(),
            f"{FOLDER}/{in_container.PLAN}": json.dumps(plan).encode(),
        }
        if self.wheel is not None:
            made[f"{FOLDER}/{self.package}"] = self.wheel
        if self.lines:
            made[f"{FOLDER}/{_REQUIREMENTS}"] = "".join(f"{line}\n" for line in self.lines).encode()
        if own is not None:
            made[OWN_HOOK] = own
        return made


def own_hook(root: pathlib.Path) -> bytes | None:
    """Return the project's own start-up hook, None where it has none.

    A project that was downloaded from an experiment has the generated one, and its own beside it.

    Raises:
        ConfigurationError: it has a file under the name that its hook would be sent under.
    """
    hook, kept = root / HOOK, root / OWN_HOOK
    if not hook.is_file():
        return None
    content = hook.read_bytes()
    if content.startswith(_FIRST_LINES.encode()):
        return kept.read_bytes() if kept.is_file() else None
    if kept.exists():
        raise ConfigurationError(
            f"the context has both {HOOK} and {OWN_HOOK}, and the first is sent under the name of the second. To fix, rename "
            f"{OWN_HOOK}"
        )
    return content


def has_sources(paths: Mapping[str, int]) -> bool:
    """Tell whether a project keeps its modules below `src/`, from the paths of its files."""
    # a package without an __init__.py is one too
    return any(path.startswith("src/") and path.endswith(".py") and path.count("/") <= 2 for path in paths)
