"""Are powers, logarithms and numbers those of a master, bit by bit? The numbers are what Go 1.26 computes on x86-64."""

from __future__ import annotations

import math
import struct
from typing import Any

import pytest

from lightning_adapter.tuning.go_numbers import log, power, told

#: Base, exponent, power, logarithm of the base: the bits of each.
MASTERS = """
4024000000000000 c011848e7bcacb60 3f05e2382094f3f6 40026bb1bbb55516
4000000000000000 3fd8613e1e9886f0 3ff4d5c0b0ff5494 3fe62e42fefa39ef
4005bf0a8b145769 c045de27d4ff0f52 3bfdeaae83c6e558 3ff0000000000000
3fe0000000000000 3f64c1bb57b957cf 3feff1a008c556ea bfe62e42fefa39ef
3ffb333333333333 c013f0f6593038a6 3fb22bc8a94ba897 3fe0fae81914a991
3f50624dd2f1a9fc c013e8e505de8cf5 430851d97a771608 c01ba18a998fffa0
4059000000000000 405c04b724f96594 6e7846681d373e18 40126bb1bbb55516
4018bcfaefd6def0 bfd89d743d6c2160 3fdfc1b425db124e 3ffd272285d9829c
4024000000000000 c00ac05f20c6bd8b 3f3daf8f62617e2e 40026bb1bbb55516
4000000000000000 405c74f30067d260 470c63f1baf81d00 3fe62e42fefa39ef
4024000000000000 3fe31382d77e1dc0 400f90efab65f0c4 40026bb1bbb55516
4024000000000000 c0046fbd3a7da209 3f66d8d71fd8f677 40026bb1bbb55516
4024000000000000 bfe301b5dd6851c8 3fd04d1f6603ea1c 40026bb1bbb55516
4024000000000000 c0041a339f7e52f3 3f69274336bd7dee 40026bb1bbb55516
4005bf0a8b145769 402c000000000000 413259ac48bf05d4 3ff0000000000000
"""


def bits(value: float) -> str:
    """Of a number."""
    return struct.pack(">d", value).hex()


@pytest.mark.parametrize("line", MASTERS.split("\n")[1:-1])
def test_power_and_logarithm_have_the_masters_bits(line: str) -> None:
    base, exponent, result, logarithm = (struct.unpack(">d", bytes.fromhex(each))[0] for each in line.split())
    assert (bits(power(base, exponent)), bits(log(base))) == (bits(result), bits(logarithm))


@pytest.mark.parametrize(
    ("base", "exponent", "result"),
    [
        (10, -3, 0.001),
        (2, 0.5, math.sqrt(2)),
        (4, -0.5, 0.5),
        (7, 0, 1.0),
        (1, 1e300, 1.0),
        (3.5, 1, 3.5),
        (2, 10, 1024.0),
    ],
)
def test_exact_powers_are_exact(base: float, exponent: float, result: float) -> None:
    assert power(base, exponent) == result


def test_power_beyond_floating_point_is_infinite_or_nothing() -> None:
    assert (power(10, 400), power(10, -400), power(10, 1e15), power(1e200, 2)) == (math.inf, 0.0, math.inf, math.inf)


@pytest.mark.parametrize(
    ("value", "given"),
    [
        (1.0, "1"),
        (-0.0, "0"),
        (0.1, "0.1"),
        (1e20, "100000000000000000000"),
        (1e21, "1e+21"),
        (2**60 + 1, "1152921504606847000"),
        (True, "True"),
        (None, "None"),
        ({"b": [2.0, "x"], "a": {}}, "{'a': {}, 'b': [2, 'x']}"),
    ],
)
def test_value_comes_through_json_as_from_the_master(value: Any, given: str) -> None:
    assert repr(told(value)) == given
