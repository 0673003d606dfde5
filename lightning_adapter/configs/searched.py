"""Which hyperparameters does a search draw where a configuration is typed beside the experiment's ranges?

On a cluster the searcher's values are put into the configuration by each trial. Here the ranges are, once, and the whole is
written as `init` would write it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lightning_adapter.configs.determined_form import Form
from lightning_adapter.configs.dialect import dialect_of
from lightning_adapter.configs.listed import lists
from lightning_adapter.configs.merging import merged
from lightning_adapter.configs.parts import Tree
from lightning_adapter.configs.tree_paths import Path
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import experiment


class _Drawn:
    """Stands where a range does: a mapping would be merged with what it takes the place of."""

    def __init__(self, spec: Mapping[str, Any]) -> None:
        self.spec = dict(spec)


def searched(tree: Tree, hyperparameters: Mapping[str, Any], typed: Mapping[str, Any], is_grid: bool) -> dict[str, Any]:
    """Return the hyperparameters of a search.

    Args:
        tree: a whole configuration.
        hyperparameters: of the experiment, ranges among them; they win over the configuration.
        typed: single values, which win over both.
        is_grid: whether the searcher is a grid.

    Raises:
        ConfigurationError: a value of the configuration cannot stand in an experiment.
    """
    together = merged(merged(tree, _marked(hyperparameters)), typed)
    ranges = {path: drawn.spec for path, drawn in _drawn(lists(together), ())}
    form = Form(dialect_of(together), ranges, is_grid)
    found = form.of(lists(together))
    if form.faults:
        raise ConfigurationError("\n".join(form.faults))
    return found


def _marked(spec: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in spec.items():
        if experiment.is_range(value):
            found[name] = _Drawn(value)
        elif isinstance(value, Mapping) and value.get("type") == "const":
            found[name] = value.get("val")
        else:
            found[name] = _marked(value) if isinstance(value, Mapping) else value
    return found


def _drawn(value: object, path: Path) -> Iterator[tuple[Path, _Drawn]]:
    if isinstance(value, _Drawn):
        yield path, value
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _drawn(item, (*path, name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _drawn(item, (*path, index))
