"""Does Determined's loop get as many placeholders as it asks for, without a random draw?"""

from __future__ import annotations

import itertools

import pytest
import torch

from lightning_adapter.platform.placeholder import PlaceholderLoader


def test_counted_placeholders_end_each_pass() -> None:
    loader = PlaceholderLoader(2)

    assert [list(loader), list(loader)] == [[None, None], [None, None]]
    assert len(loader) == 2
    assert isinstance(loader, torch.utils.data.DataLoader)


def test_endless_placeholders_have_no_length() -> None:
    loader = PlaceholderLoader(None)

    assert list(itertools.islice(loader, 5000)) == [None] * 5000
    with pytest.raises(TypeError, match="never end"):
        len(loader)


def test_pass_draws_no_random_number() -> None:
    before = torch.get_rng_state()

    list(PlaceholderLoader(3))
    next(iter(PlaceholderLoader(None)))

    assert torch.equal(torch.get_rng_state(), before)
