"""What does a DETDM have that a LightningDataModule has not?"""

from __future__ import annotations


class DataModuleMixin:
    """What DETDM adds to a LightningDataModule: nothing that Lightning would notice.

    A user who wants `determined.pytorch.DataLoader` returns it from `train_dataloader()` / `val_dataloader()`, or from
    `train_det_dataloader()` / `val_det_dataloader()`, which win where they are defined.
    """
