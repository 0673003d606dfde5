"""With what does a LightningCLI train: what file and overrides say, and all that it adds to them itself?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_adapter.configs import cli_flow
from lightning_adapter.configs.cli_class import Cli, class_and_arguments
from lightning_adapter.configs.cli_flow import Parser
from lightning_adapter.configs.cli_reading import Reader, section_of
from lightning_adapter.configs.parts import Tree
from lightning_adapter.versions import jsonargparse_names

#: What LightningCLI calls the trainer's arguments that it is constructed with.
_TRAINER_DEFAULTS = "trainer_defaults"
#: What a callback says of the value that it watches.
_WATCHED = ("monitor", "mode")


def whole(tree: Mapping[str, Any], cli: Cli) -> Tree:
    """Return a tree with the defaults of its LightningCLI, to be looked at: no parser takes it.

    Args:
        tree: as `lightning_cli.compose` returns it.
        cli: who reads it.

    Returns:
        The tree, in which module, datamodule and callbacks name their classes. Callbacks of `trainer_defaults`, which are
        objects, stand below that name.
    """
    section = section_of(tree)
    cls, arguments = class_and_arguments(cli, section)

    def read(parsers: cli_flow.Parsers) -> Tree:
        reader = Reader(parsers)
        meant = reader.meaning(section)
        named = reader.with_classes(dict(section) if meant is None else meant)
        return {**named, **_callbacks(reader.fit, named)}

    found: Tree = cli_flow.parse(cls, arguments, read)
    objects = _objects((arguments.get(_TRAINER_DEFAULTS) or {}).get("callbacks"))
    return {**found, _TRAINER_DEFAULTS: {"callbacks": objects}} if objects else found


def _callbacks(parser: Parser, tree: Mapping[str, Any]) -> Tree:
    """The sections of `add_lightning_class_args`, whose classes the parser knows."""
    found: Tree = {}
    for key in parser.callback_keys:
        cls, section = jsonargparse_names.class_of_group(parser, key), tree.get(key)
        if cls is not None and isinstance(section, Mapping):
            found[key] = {"class_path": f"{cls.__module__}.{cls.__qualname__}", "init_args": dict(section)}
    return found


def _objects(given: object) -> list[Tree]:
    """What callbacks that are made already say of themselves."""
    if given is None:
        return []
    return [
        {
            "class_path": f"{type(each).__module__}.{type(each).__qualname__}",
            "init_args": {name: getattr(each, name, None) for name in _WATCHED},
        }
        for each in (given if isinstance(given, list) else [given])
    ]
