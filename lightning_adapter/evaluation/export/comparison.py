"""How far is what an exported model gives from what the module gives, and is that more than rounding?"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lightning_adapter.evaluation.export.leaves import described, tensors


class Difference(NamedTuple):
    """Two outputs, compared.

    Attributes:
        largest: absolute difference of two numbers in the same place; NaN where one alone is a number.
        allowed: what `largest` may be, of the output that has it.
        fault: says in words why they are not the same; None where they are, up to rounding.
        numbers: how many there were.
        compared: how many of these are finite; of others it is seen alone that they are the same ones.
    """

    largest: float
    allowed: float
    fault: str | None
    numbers: int = 0
    compared: int = 0

    def together_with(self, other: Difference) -> Difference:
        """The worse one of two without a fault, for the numbers of both."""
        worse = other if other.largest > self.largest or not self.allowed else self
        return worse._replace(numbers=self.numbers + other.numbers, compared=self.compared + other.compared)


def compare(expected: object, found: object) -> Difference:
    """Compare the outputs of a module with those of what was exported of it.

    Args:
        expected: the module's: a tensor, or a tree of them.
        found: the same tree, or its tensors in the same order.
    """
    mine, theirs = tensors(expected, "output"), tensors(found, "output")
    if len(mine) != len(theirs):
        fault = f"it gives {len(theirs)} tensor{'s' * (len(theirs) != 1)}, and the module {len(mine)}"
        return Difference(math.nan, 0.0, fault)
    whole = Difference(0.0, 0.0, None)
    for (name, one), (_, other) in zip(mine, theirs, strict=True):
        each = _compare(name, one, other)
        if each.fault is not None:
            return each
        whole = whole.together_with(each)
    return whole


def _compare(name: str, one: Tensor, other: Tensor) -> Difference:
    if one.shape != other.shape:
        return Difference(math.nan, 0.0, f"it gives {described(name, other)}, and the module {described(name, one)}")
    if one.numel() == 0:
        return Difference(0.0, 0.0, None)
    exact = not (one.is_floating_point() or one.is_complex())
    wide = torch.complex128 if one.is_complex() or other.is_complex() else torch.float64
    first, second = (tensor.detach().cpu().to(wide) for tensor in (one, other))
    # infinities that are the same have no difference, and neither have two that are no numbers
    same = (first == second) | (first.isnan() & second.isnan())
    apart = torch.where(same, 0.0, (first - second).abs())
    largest = math.nan if apart.isnan().any() else float(apart.max())
    allowed = 0.0 if exact else _allowed(one, first)
    fault = None
    if not largest <= allowed:
        wrong = int((~(apart <= allowed)).sum())
        fault = (
            f"{described(name, one)} differs by up to {largest:.3g} in {wrong} of {one.numel()} numbers, where {allowed:.3g} "
            "is rounding"
        )
    return Difference(largest, allowed, fault, one.numel(), int(first.isfinite().sum()))


def _allowed(tensor: Tensor, wide: Tensor) -> float:
    """Half of the digits that its type has, of the largest number in it: sums in another order differ in the last ones."""
    half = math.sqrt(torch.finfo(tensor.dtype).eps)
    finite = wide.abs()[wide.isfinite()]
    return half * max(float(finite.max()) if finite.numel() else 0.0, half)
