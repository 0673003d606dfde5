"""What do projects import that use the package `pytorch_lightning`? DETLM and DETDM derive from it here."""

from __future__ import annotations

try:
    import pytorch_lightning as pl
except ImportError as error:
    raise ImportError(
        "lightning_adapter.DETLM and DETDM derive from the package pytorch_lightning, which cannot be imported "
        f"({error}). Install it (pip install pytorch-lightning), or, for the package lightning, type "
        "'from lightning_adapter.lightning import DETDM, DETLM'."
    ) from error

from lightning_adapter.checkpoints.hyperparameters import GivesBackHyperparameters
from lightning_adapter.datamodule import DataModuleMixin
from lightning_adapter.module import ModuleMixin
from lightning_adapter.pictures.callback import DrawBatchesMixin


class DETLM(ModuleMixin, GivesBackHyperparameters, pl.LightningModule):  # noqa: D101 - below
    __doc__ = ModuleMixin.__doc__


class DETDM(DataModuleMixin, GivesBackHyperparameters, pl.LightningDataModule):  # noqa: D101 - below
    __doc__ = DataModuleMixin.__doc__


class DrawBatches(DrawBatchesMixin, pl.Callback):  # noqa: D101 - below
    __doc__ = DrawBatchesMixin.__doc__
