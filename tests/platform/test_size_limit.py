"""A limit in megabytes, and what is said of what is larger."""

from __future__ import annotations

import math

import pytest

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.size_limit import largest, limit_mb


@pytest.mark.parametrize(("text", "limit"), [("", 500.0), ("0", 0.0), (" 2.5 ", 2.5), ("inf", math.inf)])
def test_limit_is_read_in_megabytes(text: str, limit: float) -> None:
    assert limit_mb({"SIZE": text}, "SIZE", 500.0) == limit


@pytest.mark.parametrize("text", ["many", "-1", "nan", "10MB"])
def test_limit_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"SIZE='{text}' in .* is no number of megabytes\. .* such as 500, or to inf"
    ):
        limit_mb({"SIZE": text}, "SIZE", 500.0)


def test_largest_are_named_and_the_others_counted() -> None:
    amounts = {f"{number}": (number * 1000, 1) for number in range(6)} | {"data": (9_000_000, 3)}
    named = "data (9 MB in 3 files), 5 (0.005 MB), 4 (0.004 MB), 3 (0.003 MB), 2 (0.002 MB), 2 more"
    assert largest(amounts) == named
