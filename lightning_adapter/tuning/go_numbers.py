"""Which numbers does a master compute, and which does it tell a trial, down to the last digit?

A master is a program in Go, whose library computes powers by a way of its own: the result differs from the C library's, which
Python uses, in the last bit of about every second draw of a `log` range. A trial that is to give a cluster's numbers has to
start from the very same bits.

The way is that of Go's `math.Pow` on an x86-64 machine with fused multiplication (all since 2013): squarings for the whole part
of the exponent, and the exponential of a multiple of the logarithm for the rest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

#: ln 2 as the sum of two numbers, the first short enough for exact multiples: in the logarithm, and in the exponential.
_LN2_OF_LOG = (6.93147180369123816490e-01, 1.90821492927058770002e-10)
_LN2_OF_EXP = (0.69314718055966295651160180568695068359375, 0.28235290563031577122588448175013436025525412068e-12)
#: Of the polynomial in s = f / (2 + f) that gives log(1 + f): fdlibm's, by the power of s, from 2 on in steps of 2.
_LOG = (
    *(6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01, 2.222219843214978396e-01),
    *(1.818357216161805012e-01, 1.531383769920937332e-01, 1.479819860511658591e-01),
)
#: 1/8!, 1/7! ... 1/1!, of the series of the exponential.
_EXP = tuple(1.0 / math.factorial(n) for n in range(8, 0, -1))
#: The exponential is that of a sixteenth, squared four times.
_SQUARINGS = 4
#: Splits a number's 53 digits in the middle.
_HALF = float(2**27 + 1)
#: From here on Go writes a whole number with an exponent, which Python reads as a float.
_WITH_EXPONENT = 1e21


def told(value: Any) -> Any:
    """Return what a trial is given of a value of the file: keys in their order, and numbers as `told_number` has them."""
    if isinstance(value, Mapping):
        return {name: told(value[name]) for name in sorted(value)}
    if isinstance(value, list):
        return [told(each) for each in value]
    return told_number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else value


def told_number(value: float) -> float:
    """Return what comes of a number on its way through the master's JSON.

    Go knows floating point alone there, and writes 1.0 as 1, and a whole number with no more digits than tell it from others.
    """
    value = float(value)
    return int(Decimal(repr(value))) if value.is_integer() and abs(value) < _WITH_EXPONENT else value


def power(base: float, exponent: float) -> float:
    """Return base ** exponent for a positive base; infinity where that is too large."""
    if exponent == 0 or base == 1:
        return 1.0
    if exponent == 1:
        return base
    if abs(exponent) == 0.5:
        return math.sqrt(base) if exponent > 0 else 1 / math.sqrt(base)
    rest, whole = math.modf(abs(exponent))
    if rest > 0.5:
        rest, whole = rest - 1, whole + 1
    result, twos = (_exp(rest * log(base)), 0) if rest else (1.0, 0)
    squared, squared_twos = math.frexp(base)
    left = int(whole)
    while left:
        if left & 1:
            result *= squared
            twos += squared_twos
        squared *= squared
        squared_twos *= 2
        if squared < 0.5:
            squared += squared
            squared_twos -= 1
        left >>= 1
    if exponent < 0:
        result, twos = 1 / result, -twos
    try:
        return math.ldexp(result, twos)
    except OverflowError:
        return math.inf


def log(x: float) -> float:
    """Return the natural logarithm of a positive number."""
    fraction, twos = math.frexp(x)
    if fraction < math.sqrt(2) / 2:
        fraction, twos = fraction * 2, twos - 1
    f = fraction - 1
    s = f / (2 + f)
    s2 = s * s
    s4 = s2 * s2
    odd = s2 * (_LOG[0] + s4 * (_LOG[2] + s4 * (_LOG[4] + s4 * _LOG[6])))
    even = s4 * (_LOG[1] + s4 * (_LOG[3] + s4 * _LOG[5]))
    half = 0.5 * f * f
    return twos * _LN2_OF_LOG[0] - ((half - (s * (half + (odd + even)) + twos * _LN2_OF_LOG[1])) - f)


def _exp(x: float) -> float:
    """The exponential of a small number."""
    twos = round(x * (1 / math.log(2)))
    for part in _LN2_OF_EXP:
        x = _fused(-float(twos), part, x)
    x /= 1 << _SQUARINGS
    series = _EXP[0]
    for coefficient in _EXP[1:]:
        series = _fused(series, x, coefficient)
    # of exp(x) - 1, which loses no digits: (1 + y)**2 - 1 = y * (y + 2)
    y = x * series
    for _ in range(_SQUARINGS - 1):
        y *= y + 2
    return math.ldexp(_fused(y, y + 2, 1.0), twos)


def _fused(a: float, b: float, c: float) -> float:
    """The sum a * b + c, rounded once, which Python has of its own from 3.13 on."""
    product = a * b
    (a_high, a_low), (b_high, b_low) = _halves(a), _halves(b)
    # what the rounded product lacks, which is a number of its own (Dekker)
    rest = a_low * b_low - (((product - a_high * b_high) - a_low * b_high) - a_high * b_low)
    return math.fsum((product, rest, c))


def _halves(number: float) -> tuple[float, float]:
    """Two numbers of half the digits, whose products are exact (Veltkamp)."""
    shifted = number * _HALF
    high = shifted - (shifted - number)
    return high, number - high
