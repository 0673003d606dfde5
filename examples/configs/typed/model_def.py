"""The same on Determined: lightning-adapter fit model_def.py:SpiralTrial --seed 1 --hparam optimizer.lr=0.1"""

from __future__ import annotations

from determined.pytorch import PyTorchTrialContext

from lightning_adapter import LightningAdapter
from spiral import Config, SpiralData, SpiralModule


class SpiralTrial(LightningAdapter):
    Hyperparameters = Config

    def __init__(self, context: PyTorchTrialContext) -> None:
        config: Config = self.hyperparameters
        super().__init__(context, SpiralModule(config), SpiralData(config.data), max_epochs=10, log_every_n_steps=5)
