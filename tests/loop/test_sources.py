"""Who is asked for loaders?"""

from __future__ import annotations

from typing import Any

from lightning_adapter.loop.sources import LoaderSources
from loop.parts import HOST, hook_parts

pl = HOST.pl


class Module(pl.LightningModule):
    """Has training loaders."""

    def train_dataloader(self) -> str:
        return "of the module"


class Data(pl.LightningDataModule):
    """Has validation loaders."""

    def val_dataloader(self) -> str:
        return "of the datamodule"


class Determined(pl.LightningDataModule):
    """Has loaders under the adapter's own names besides."""

    def train_dataloader(self) -> str:
        return "Lightning's name"

    def train_det_dataloader(self) -> str:
        return "the adapter's name"


def asked(module: Any, data: Any = None, own: Any = (None, None)) -> tuple[Any, Any]:
    sources = LoaderSources(hook_parts(module, datamodule=data).hooks, *own)
    training, validation = sources.training(), sources.validation()
    return training and training(), validation and validation()


def test_trial_is_asked_first() -> None:
    own = (lambda: "training of the trial", lambda: "validation of the trial")

    assert asked(Module(), Data(), own) == ("training of the trial", "validation of the trial")


def test_datamodule_alone_is_asked_where_there_is_one() -> None:
    assert asked(Module(), Data()) == (None, "of the datamodule")


def test_datamodule_is_asked_by_the_adapters_name_first() -> None:
    assert asked(Module(), Determined()) == ("the adapter's name", None)


def test_module_is_asked_for_what_it_overrides() -> None:
    assert asked(Module()) == ("of the module", None)


def test_loaders_of_the_module_are_made_in_their_hook() -> None:
    class Looks(pl.LightningModule):
        def val_dataloader(self) -> str | None:
            return parts.running.name

    parts = hook_parts(Looks())
    source = LoaderSources(parts.hooks, None, None).validation()

    assert source is not None
    assert source() == "val_dataloader"


def test_loaders_that_setup_adds_are_found_at_the_next_look() -> None:
    module = pl.LightningModule()
    sources = LoaderSources(hook_parts(module).hooks, None, None)
    before = sources.training()
    module.train_dataloader = lambda: "late"
    after = sources.training()

    assert before is None
    assert after is not None and after() == "late"
