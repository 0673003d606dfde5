"""Train on a spiral with Lightning's Trainer: python plain.py"""

from __future__ import annotations

import lightning.pytorch as pl

from spiral import Config, SpiralData, SpiralModule


def main(config: Config) -> None:
    pl.seed_everything(1, workers=True)
    module = SpiralModule(config)
    trainer = pl.Trainer(max_epochs=10, log_every_n_steps=5)
    trainer.fit(module, SpiralData(config.data))


if __name__ == "__main__":
    main(Config())
