#!/usr/bin/env bash
# Installs lightning_adapter in the task container: Determined runs this file in each container, before the entrypoint,
# in the directory that the context was unpacked into. The first of these that is there is used:
#   1. a wheel beside this file                 python3 -m pip wheel --no-deps --wheel-dir . ../..
#   2. the pip requirement in the environment variable LIGHTNING_ADAPTER_REQUIREMENT, such as lightning_adapter==0.1.0
#   3. the package as the image already holds it
# Determined sources this file, so the parentheses keep options and variables out of its own script. If they end with an
# error, so does the task.
(
    set -euo pipefail
    shopt -s nullglob
    python="${DET_PYTHON_EXECUTABLE:-python3}"

    fail() {
        echo "startup-hook.sh: $*" >&2
        exit 1
    }

    wheels=(lightning_adapter-*.whl)
    if ((${#wheels[@]} > 1)); then
        fail "found several wheels (${wheels[*]}). Delete all but one from the context directory."
    elif ((${#wheels[@]} == 1)); then
        requirement="./${wheels[0]}"
    else
        requirement="${LIGHTNING_ADAPTER_REQUIREMENT:-}"
    fi

    if [[ -n "$requirement" ]]; then
        # The image's torch is built for its drivers and Determined's version is the cluster's: neither may be replaced.
        constraints="$(mktemp)"
        trap 'rm -f "$constraints"' EXIT
        "$python" -c '
from importlib.metadata import version
for name in ("torch", "determined"):
    print(f"{name}=={version(name)}")
' >"$constraints" || fail "the image must hold torch and determined; set environment.image to one that does."
        "$python" -m pip install --constraint "$constraints" "$requirement" pytorch-lightning torchmetrics ||
            fail "pip could not install '$requirement' and what it needs beside this image's" \
                "$(paste -sd ' ' "$constraints")."
    fi

    "$python" -c "import lightning_adapter" ||
        fail "lightning_adapter cannot be imported after installing '${requirement:-nothing}'. Put a wheel into the" \
            "context directory (python3 -m pip wheel --no-deps --wheel-dir . ../..), or set the variable" \
            "LIGHTNING_ADAPTER_REQUIREMENT in environment.environment_variables, or use an image that holds it."
)
