"""Is a random state saved as it was at its moment, and one that is none refused in words, whatever it is instead?"""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from lightning_adapter.data.random_state import RandomState
from lightning_adapter.errors import CheckpointError


@pytest.mark.parametrize("saved", [{}, {"bit_generator": "PCG64"}, [], "a state", None, 3], ids=str)
@pytest.mark.parametrize("generator", [np.random.default_rng(1), torch.Generator()], ids=lambda it: type(it).__module__)
def test_state_of_a_generator_that_is_none_is_refused(generator: Any, saved: Any) -> None:
    state = RandomState.of({**RandomState.now().state_dict(), "generators": [saved]})

    with pytest.raises(CheckpointError, match="The checkpoint's random state is none"):
        state.restore([generator])


def test_state_that_is_saved_twice_is_that_of_its_moment_and_converted_once() -> None:
    state = RandomState.now()
    first, drawn = state.state_dict(), (torch.rand(1), np.random.rand(), random.random())
    later, again = RandomState.now().state_dict(), state.state_dict()

    assert again["python"][1] is first["python"][1]
    assert again["numpy"][1] is first["numpy"][1]
    assert not torch.equal(later["python"][1], first["python"][1])
    RandomState.of(again).restore()
    assert (torch.rand(1), np.random.rand(), random.random()) == drawn
