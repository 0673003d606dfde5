"""Is a difference between two outputs rounding, or another computation?"""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from lightning_adapter.evaluation.export.comparison import compare

BASE = torch.linspace(-2, 2, 12).reshape(3, 4)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_rounding_of_a_type_is_no_fault_and_more_is(dtype: torch.dtype) -> None:
    one = BASE.to(dtype)
    eps = torch.finfo(dtype).eps
    assert compare(one, one * (1 + 4 * eps)).fault is None
    found = compare(one, one * (1 + 3 * math.sqrt(eps)))
    assert found.fault is not None and "differs by up to" in found.fault


def test_small_outputs_are_compared_by_their_own_size() -> None:
    small = BASE * 1e-3
    assert compare(small, small * 1.01).fault is not None
    assert compare(small, small * (1 + 1e-6)).fault is None


def test_one_wrong_tensor_of_a_tree_is_named() -> None:
    right = {"logits": BASE, "classes": BASE.argmax(1)}
    wrong = {"logits": BASE, "classes": BASE.argmin(1)}
    fault = compare(right, wrong).fault
    assert fault is not None and fault.startswith("output_classes int64 [3] differs by up to 3 in 3 of 3 numbers")


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (BASE[:2], "it gives output float32 [2, 4], and the module output float32 [3, 4]"),
        ((BASE, BASE), "it gives 2 tensors, and the module 1"),
        (BASE.clone().fill_(math.nan), "differs by up to nan in 12 of 12"),
    ],
)
def test_other_shapes_numbers_and_nan_are_faults(found: Any, words: str) -> None:
    fault = compare(BASE, found).fault
    assert fault is not None and words in fault


def test_same_infinities_and_nan_have_no_difference() -> None:
    odd = torch.tensor([math.inf, -math.inf, math.nan, 1.0])
    assert compare(odd, odd.clone()) == (0.0, pytest.approx(3.45e-4, rel=0.01), None, 4, 1)
    assert compare(odd, -odd).fault is not None


def test_largest_difference_of_all_tensors_is_told() -> None:
    found = compare((BASE, BASE), (BASE + 1e-6, BASE + 1e-5))
    assert found.largest == pytest.approx(1e-5, rel=0.1)
