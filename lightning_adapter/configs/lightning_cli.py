"""What does a configuration of LightningCLI describe: as one tree, and as the objects that it asks for?

All of it is read by the parser that the project's own LightningCLI makes (`python main.py fit --config config.yaml`), so
that types, links, defaults and refusals are those that its users know.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import yaml

from lightning_adapter.configs import cli_flow
from lightning_adapter.configs.cli_class import Cli, class_and_arguments
from lightning_adapter.configs.cli_compose import composed
from lightning_adapter.configs.cli_faults import ConfigurationFault, all_faults, unusable
from lightning_adapter.configs.cli_flow import SEED
from lightning_adapter.configs.cli_made import configured
from lightning_adapter.configs.cli_reading import Reader, refusal, section_of
from lightning_adapter.configs.parts import Parts, Tree
from lightning_adapter.configs.trainer_defaults import without_defaults
from lightning_adapter.versions import hosts

#: How jsonargparse names the class that it tries where none is named.
_UNNAMED = re.compile(r"given class_path '(pytorch_lightning|lightning\.pytorch)\.Lightning(Data)?Module'")

__all__ = ["Cli", "build", "check", "compose", "seed_of", "tell_unused", "tree_of"]


def compose(file: str | os.PathLike[str], overrides: Sequence[str] = (), cli: Cli | None = None) -> Tree:
    """Return what `python main.py fit --config FILE OVERRIDES` reads.

    Args:
        file: the configuration; further ones may be among the overrides.
        overrides: words as they are typed, such as `--model.lr`, `0.1`.
        cli: who reads it.

    Returns:
        What file and overrides say, in the order of the file: no defaults that nobody wrote, no targets of links.

    Raises:
        ConfigurationError: it is refused; the message names the places in the file.
    """
    with _advised(cli or Cli()):
        return composed(os.fspath(file), overrides, cli or Cli())


@contextlib.contextmanager
def _advised(cli: Cli) -> Iterator[None]:
    """Say what to write where a configuration names no classes, since the project's own LightningCLI knows them.

    Raises:
        ConfigurationFault: as it was raised within the block.
    """
    try:
        yield
    except ConfigurationFault as fault:
        if cli.cls is not None or not _UNNAMED.search(str(fault)):
            raise
        advice = (
            "The configuration names no class there. Write class_path and init_args; or, where a LightningCLI of the project "
            f"knows the classes, name it in a trial: {cli_flow.trial_that_names('MyLightningCLI')}"
        )
        raise ConfigurationFault(f"{fault}\n{advice}", fault.keys, fault.faults) from None


def check(tree: Mapping[str, Any], cli: Cli | None = None) -> None:
    """Refuse a tree that LightningCLI does not take: types, names, missing arguments.

    Raises:
        ConfigurationError: all that is refused, in jsonargparse's own words.
    """
    section = section_of(tree)
    cls, arguments = class_and_arguments(cli or Cli(), section)
    cli_flow.check_methods(cls)

    faults: list[ConfigurationFault] = cli_flow.parse(
        cls, arguments, lambda parsers: all_faults(section, Reader(parsers).refusal_of)
    )
    faults = faults or unusable(section)
    with _advised(cli or Cli()):
        if faults:
            raise ConfigurationFault.of(faults)


def tell_unused(cli: Cli) -> None:
    """Warn of what a LightningCLI of the project's own does that has no effect in the training of a trial."""
    if cli.cls is not None:
        cli_flow.tell_unused(cli.cls)


def build(tree: Mapping[str, Any], cli: Cli | None = None, seed: int | bool = False) -> Parts:
    """Make what a tree describes, as LightningCLI does, except for the Trainer.

    Args:
        tree: the configuration.
        cli: who reads it.
        seed: stands in the place of `seed_everything`; with False nothing is seeded here.

    Raises:
        ConfigurationError: it cannot be made.
    """
    section = {**section_of(tree), SEED: seed}
    cls, arguments = class_and_arguments(cli or Cli(), section)
    with refusal(section):
        made = cli_flow.instantiate(cls, arguments, lambda parsers: Reader(parsers).given(section))
    given = without_defaults(made.trainer.arguments, hosts.host_of(made.model).pl.Trainer)
    # LightningCLI makes a list of none, to add its own to it
    return Parts(made.model, made.datamodule, {k: v for k, v in given.items() if not (k == "callbacks" and v == [])})


def seed_of(tree: Mapping[str, Any], cli: Cli | None = None) -> int | bool:
    """Return `seed_everything` of a tree, or LightningCLI's default: True asks for a random one, False for none."""
    section = section_of(tree)
    if SEED not in section:
        cls, arguments = class_and_arguments(cli or Cli(), section)
        section = {SEED: cli_flow.parse(cls, arguments, lambda parsers: parsers.fit.get_default(SEED))}
    seed: Any = section[SEED]
    # the parser, which has checked the tree, reads whole numbers and switches of text too
    read: int | bool = yaml.safe_load(seed) if isinstance(seed, str) else seed
    return read


def tree_of(made: cli_flow.MadeCli | cli_flow.Config) -> tuple[Tree, Cli]:
    """Return the configuration of a LightningCLI that a script has made, and who builds the same of it again.

    Args:
        made: a LightningCLI; or a configuration of one that names its classes, `cli.config`.

    Returns:
        What does not stand at its default. Classes are named, also those that the LightningCLI was given.

    Raises:
        ConfigurationError: its class needs arguments that cannot be told.
    """
    return configured(made)
