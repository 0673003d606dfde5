"""Is a random state that is none refused in words, whatever it is instead?"""

from __future__ import annotations

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
