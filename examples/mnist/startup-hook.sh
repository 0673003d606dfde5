#!/usr/bin/env bash
# Installs lightning_adapter in the task container: Determined runs this file in each container, before the entrypoint,
# in the directory that the context was unpacked into. The first of these that is there is used:
#   1. a wheel beside this file                 python3 -m pip wheel --no-deps --wheel-dir . ../..
#   2. the pip requirement in the environment variable LIGHTNING_ADAPTER_REQUIREMENT
#   3. the package as the image already holds it, or as its files lie on PYTHONPATH or in the context
# With it come what it needs, the Lightning that the code here imports, and what requirements.txt lists, if there is one.
# What the image has already is left as it is: where nothing is missing pip is not called, and no network is needed. A user
# who is not root gets it into a directory of their own.
#
# Determined sources this file, so the parentheses keep options and variables out of its own script. If they end with an
# error, so does the task.
(
    { set +x; } 2>/dev/null # Determined has each command traced
    set -euo pipefail
    shopt -s nullglob
    python="${DET_PYTHON_EXECUTABLE:-python3}"
    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore

    fail() {
        echo "startup-hook.sh: $*" >&2
        exit 1
    }

    wheels=(lightning_adapter-*.whl)
    if ((${#wheels[@]} > 1)); then
        fail "found several wheels (${wheels[*]}). Delete all but one from the context directory."
    fi
    package="${wheels[0]:-${LIGHTNING_ADAPTER_REQUIREMENT:-}}"

    constraints="$(mktemp)"
    trap 'rm -f "$constraints"' EXIT
    # Writes the versions that have to stay, and prints what pip has to install, a line for each.
    missing="$("$python" - "$package" "$constraints" <<'PYTHON'
import sys
sys.path = [place for place in sys.path if place]  # no file of the context is taken for one of Python's
import importlib.util, pathlib, re, zipfile
from email import message_from_bytes
from importlib.metadata import PackageNotFoundError, distribution, version

package, constraints = sys.argv[1:]
# The image's torch is built for its drivers and Determined's version is the cluster's: neither may be replaced.
try:
    kept = [f"{name}=={version(name)}\n" for name in ("torch", "determined")]
except PackageNotFoundError:
    sys.exit("startup-hook.sh: the image must hold torch and determined; set environment.image to one that does.")
pathlib.Path(constraints).write_text("".join(kept))
from packaging.requirements import InvalidRequirement, Requirement  # Determined has brought it

try:
    held = distribution("lightning-adapter")
except PackageNotFoundError:
    held = None
own = (path for path in pathlib.Path().rglob("*.py") if path.is_file() and "site-packages" not in path.parts)
code = (path.read_text(errors="replace") for path in own)
imports = re.compile(r"^\s*(from|import)\s+lightning[.\s]|lightning_adapter\.lightning", re.MULTILINE)
flavour = "lightning" if any(map(imports.search, code)) else "pytorch-lightning"

def is_there(line):
    """Whether the image has it; a line that is more than a name and a version is for pip to judge."""
    try:
        asked = Requirement(line)
        if asked.marker is not None and not asked.marker.evaluate({"extra": flavour}):
            return True
        return asked.url is None and asked.specifier.contains(version(asked.name), prereleases=True)
    except (InvalidRequirement, PackageNotFoundError):
        return False

def files(record):
    return {line for line in record.splitlines() if line.startswith("lightning_adapter/")}

def is_importable(name):
    """Whether it is there as files alone: on PYTHONPATH, or in the context, where the entrypoint finds it."""
    return importlib.util.find_spec(name) is not None or pathlib.Path(name, "__init__.py").is_file()

needs = [] if held is None else held.requires or []
if package.endswith(".whl"):
    if not zipfile.is_zipfile(package):
        sys.exit(f"startup-hook.sh: {package} is no whole wheel; build it anew, in the folder of this file.")
    with zipfile.ZipFile(package) as wheel:
        folder = next(name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")).rpartition("/")[0]
        needs = message_from_bytes(wheel.read(f"{folder}/METADATA")).get_all("Requires-Dist") or []
        record = wheel.read(f"{folder}/RECORD").decode()
    # another build may have the same version
    if held is None or not files(record) <= files(held.read_text("RECORD") or ""):
        print(f"./{package}")
elif package and not is_there(package):
    needs = [package, flavour]
elif held is None and not is_importable("lightning_adapter"):
    sys.exit(
        "startup-hook.sh: the image holds no lightning_adapter. Put a wheel into the context directory (python3 -m pip wheel "
        "--no-deps --wheel-dir . ../..), or set LIGHTNING_ADAPTER_REQUIREMENT in environment.environment_variables."
    )
for line in needs:
    if not is_there(line):
        print(re.sub(r"\s*;.*", "", line))
listed = pathlib.Path("requirements.txt")
lines = [line.split("#")[0].strip() for line in listed.read_text().splitlines()] if listed.exists() else []
if not all(is_there(line) for line in lines if line):
    print("--requirement=requirements.txt")
PYTHON
)" || exit 1

    if [[ -n "$missing" ]]; then
        mapfile -t missing <<<"$missing"
        echo "startup-hook.sh: installing ${missing[*]}"
        if [[ "${missing[0]}" == ./*.whl ]]; then
            # what it needs comes below; without an index, and over another build of the same version
            "$python" -m pip install --quiet --no-warn-script-location --no-deps --force-reinstall "${missing[0]}" ||
                fail "pip could not install '${missing[0]}'."
            missing=("${missing[@]:1}")
        fi
        if ((${#missing[@]})); then
            "$python" -m pip install --quiet --no-warn-script-location --constraint "$constraints" "${missing[@]}" ||
                fail "pip could not install '${missing[*]}' beside this image's $(paste -sd ' ' "$constraints")."
        fi
    fi
)
