"""Whose configuration a tree is, is told by how it names classes."""

from __future__ import annotations

from typing import Any

import pytest

from lightning_adapter.configs.dialect import dialect_of


@pytest.mark.parametrize(
    ("tree", "dialect"),
    [
        ({"model": {"_target_": "parts.Net"}}, "hydra"),
        ({"callbacks": [{"_target_": "parts.Stop"}]}, "hydra"),
        ({"model": {"class_path": "parts.Net"}}, "cli"),
        ({"model": {"lr": 0.1}}, "cli"),
        ({"model": {"class_path": "parts.Net", "init_args": {"net": {"_target_": "torch.nn.Linear"}}}}, "cli"),
    ],
)
def test_dialect_is_that_of_the_outermost_name_of_a_class(tree: dict[str, Any], dialect: str) -> None:
    assert dialect_of(tree) == dialect
