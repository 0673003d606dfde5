"""Is a value taken for what people mean by its shape and type?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lightning_adapter.pictures.kinds import Kind, kind_of
from lightning_adapter.pictures.parts import Part


def whole(*shape: int, high: int = 5) -> torch.Tensor:
    return torch.arange(int(np.prod(shape))).reshape(shape) % high


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (torch.rand(4, 1, 28, 28), Kind.IMAGES),
        (torch.rand(4, 3, 224, 224), Kind.IMAGES),
        (torch.rand(4, 4, 20, 20), Kind.IMAGES),
        (torch.rand(4, 28, 28), Kind.IMAGES),
        (torch.rand(4, 8, 8), Kind.IMAGES),
        (torch.rand(4, 80, 300), Kind.IMAGES),
        (np.arange(4 * 20 * 30 * 3, dtype=np.uint8).reshape(4, 20, 30, 3), Kind.IMAGES),
        (torch.arange(4 * 40 * 40, dtype=torch.uint8).reshape(4, 40, 40), Kind.IMAGES),
        ([torch.rand(3, 20, 30), torch.rand(3, 31, 17)], Kind.IMAGES),
        (whole(4, 32, 32), Kind.MASKS),
        (whole(4, 1, 32, 32), Kind.MASKS),
        (whole(4, 32, 32).to(torch.uint8), Kind.MASKS),
        (whole(4, 32, 32, high=2).bool(), Kind.MASKS),
        (whole(4, 1, 32, 32, high=2).float(), Kind.MASKS),
        (torch.rand(4, 96), Kind.SERIES),
        (torch.rand(4, 12, 500), Kind.SERIES),
        (torch.rand(4, 96, 7), Kind.SERIES),
        (torch.rand(4, 5), Kind.NUMBERS),
        (whole(4, 128, high=30000), Kind.NUMBERS),
        (whole(4), Kind.SCALARS),
        (torch.rand(4, 1), Kind.SCALARS),
        ([1, 2, 3], Kind.SCALARS),
        (["a", "b"], Kind.TEXT),
        (torch.rand(4, 64, 7, 7), Kind.OTHER),
        (torch.rand(4, 3, 5, 20, 20), Kind.OTHER),
        (torch.rand(0, 3, 20, 20), Kind.OTHER),
        (torch.tensor(1.0), Kind.OTHER),
        (None, Kind.OTHER),
        (torch.eye(9).to_sparse(), Kind.OTHER),
    ],
)
def test_kind_of_a_value(value: Any, kind: Kind) -> None:
    assert kind_of(Part("batch", None, value)) is kind
