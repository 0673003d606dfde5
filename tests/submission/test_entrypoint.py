"""An entrypoint is taken apart as the container's shell and Determined's launchers will read it."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.submission.entrypoint import read_entrypoint

TORCH = "determined.launch.torch_distributed"
FIT = "python3 -m lightning_adapter fit model_def:T --max-epochs 5"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (
            FIT,
            {
                "kind": "fit",
                "target": "model_def:T",
                "arguments": ("model_def:T", "--max-epochs", "5"),
                "launchers": (),
            },
        ),
        (f"python3 -m {TORCH} -- {FIT}", {"kind": "fit", "launchers": (TORCH,), "target": "model_def:T"}),
        (f"python3 -m {TORCH} --nnodes 1 -- {FIT}", {"kind": "fit", "launchers": (TORCH,)}),
        (FIT.split(), {"kind": "fit", "target": "model_def:T", "text": FIT}),
        ("/opt/bin/lightning-adapter fit a.py:T", {"kind": "fit", "target": "a.py:T"}),
        ("cd sub && OMP_NUM_THREADS=1 lightning-adapter fit a:T; rm x", {"kind": "fit", "arguments": ("a:T",)}),
        ("python -m lightning_adapter fit a:T>log 2>&1", {"arguments": ("a:T",)}),
        ("lightning-adapter fit a:T --hparam 'name=x:y'", {"target": "a:T"}),
        ("model_def:T", {"kind": "trial", "target": "model_def:T", "launchers": (TORCH,)}),
        (
            f"python3 -m {TORCH} -- --trial model_def:T",
            {"kind": "trial", "target": "model_def:T", "launchers": (TORCH,)},
        ),
        ("python3 train.py --lr 1", {"kind": "script", "script": "train.py", "target": None}),
        (f"python3 -m {TORCH} -- train.py", {"kind": "script", "script": "train.py"}),
        ("cd sub && python3 train.py", {"kind": "other", "script": None}),
        ("bash run.sh", {"kind": "other"}),
        ("torchrun --nproc_per_node 2 train.py", {"launchers": ("torchrun",), "script": "train.py"}),
        (
            f"python3 -m {TORCH} -- torchrun -m lightning_adapter fit a:T",
            {"launchers": (TORCH, "torchrun"), "kind": "fit"},
        ),
        ("python -m torch.distributed.run -m lightning_adapter fit a:T", {"launchers": ("torch.distributed.run",)}),
    ],
)
def test_entrypoint_is_taken_apart(value: str | list[str], expected: dict[str, Any]) -> None:
    entrypoint = read_entrypoint(value)
    assert {name: getattr(entrypoint, name) for name in expected} == expected


@pytest.mark.parametrize(("word", "known"), [("$EPOCHS", False), ("`cat n`", False), ("5", True)])
def test_arguments_with_a_variable_of_the_shell_are_not_known_here(word: str, known: bool) -> None:
    assert read_entrypoint(f"lightning-adapter fit a:T --max-epochs {word}").is_known is known


def test_open_quote_in_an_entrypoint_is_told() -> None:
    with pytest.raises(ConfigurationError, match="no shell can read: No closing quotation"):
        read_entrypoint("python3 'train.py")
