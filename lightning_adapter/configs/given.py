"""In which forms can a script hand over a configuration, and is it a whole one?"""

from __future__ import annotations

import argparse
import itertools
import os
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from lightning_adapter.configs import hydra_tree, lightning_cli
from lightning_adapter.configs.dialect import dialect_of
from lightning_adapter.configs.lightning_cli import Cli
from lightning_adapter.configs.listed import groups
from lightning_adapter.platform import experiment
from lightning_adapter.runs import record
from lightning_adapter.versions import hosts

#: Where projects describe their module.
_MODELS = ("model", "module")


class Whole(dict[str, Any]):
    """A tree that describes all of a trial, and not single values of it: what a cluster has drawn is put into it.

    Args:
        tree: the configuration.
        typed: values that were given one by one beside it, which win over those of a cluster too.
        swept: keys that the configuration sweeps over by itself, where one trial is made of it.
    """

    def __init__(
        self, tree: Mapping[str, Any], typed: Mapping[str, Any] | None = None, swept: Sequence[str] = ()
    ) -> None:
        super().__init__(tree)
        self.typed = typed or {}
        self.swept = swept


def cli_of(given: object) -> Cli | None:
    """The LightningCLI that a script has made, where it hands that over."""
    return lightning_cli.tree_of(given)[1] if _is_cli(given) else None


def adds_arguments(cli: Cli) -> bool:
    """Whether the parser of a LightningCLI has arguments or links of its own, of which a tree says nothing."""
    bases = () if cli.cls is None else cli.cls.__mro__
    return any("add_arguments_to_parser" in vars(base) for base in bases if base.__name__ != "LightningCLI")


def tree_of(given: object, reader: Cli) -> Any:
    """Return a configuration as plain data, and anything else as it is.

    Args:
        given: a LightningCLI, its `config`, OmegaConf's DictConfig, or names and values in any other form.
        reader: of the trial.

    Raises:
        ConfigurationError: it cannot be plain data.
    """
    if _is_cli(given):
        return Whole(groups(lightning_cli.tree_of(given)[0]))
    omegaconf: Any = sys.modules.get("omegaconf")  # who has not imported it has no value of it
    if omegaconf is not None and isinstance(given, omegaconf.DictConfig):
        return Whole(groups(hydra_tree.tree_of(given)))
    if _is_config(given):
        return Whole(groups(lightning_cli.tree_of(given)[0]))
    if (
        is_whole(given)
        or isinstance(given, argparse.Namespace)
        or (isinstance(given, Mapping) and _describes_all(given, reader))
    ):
        tree: Any = experiment.plain(given)
        return Whole(tree, given.typed if is_whole(given) else None)
    return given


def is_whole(given: object) -> TypeGuard[Whole]:
    """Tell whether `tree_of` has found a whole configuration."""
    return isinstance(given, Whole)


def own_directory(given: object) -> pathlib.Path | None:
    """The directory that Hydra has made for the running script, where it trains a configuration of Hydra's."""
    if not is_whole(given) or dialect_of(given) != "hydra":
        return None
    made = hydra_tree.running_output_dir()
    if made is None or (record.read(made) or {}).get("pid") != os.getpid():
        return made
    # a script that trains several times, a fold each; who comes back later is told that a run is there
    return next(made / str(number) for number in itertools.count(2) if not (made / str(number)).exists())


def _is_cli(given: object) -> bool:
    """Whether it is a LightningCLI: of the same package as its trainer's class, which it may have been given."""
    return any(cls.__name__ == "LightningCLI" and hosts.host_of_class(cls) is not None for cls in type(given).__mro__)


def _is_config(given: object) -> bool:
    """Whether it is what a LightningCLI has parsed."""
    jsonargparse: Any = sys.modules.get("jsonargparse")  # who has not imported it has no value of it
    return jsonargparse is not None and isinstance(given, jsonargparse.Namespace)


def _describes_all(tree: Mapping[str, Any], reader: Cli) -> bool:
    """Whether a mapping says which module is to be trained, and not only single values of it."""
    if "model_class" in reader.arguments:
        return "model" in tree and "trainer" in tree  # the LightningCLI knows the class
    return any(
        isinstance(node, Mapping) and ("class_path" in node or "_target_" in node)
        for node in (tree.get(name) for name in _MODELS)
    )
