"""Train on a spiral with Determined: python train.py model.optimizer.lr=0.1"""

from __future__ import annotations

import hydra
from omegaconf import DictConfig

from lightning_adapter import ConfiguredTrial, fit


@hydra.main(version_base="1.3", config_path="configs", config_name="train")
def main(cfg: DictConfig) -> float:
    trainer = fit(ConfiguredTrial, hparams=cfg)
    return trainer.callback_metrics[cfg.optimized_metric].item()


if __name__ == "__main__":
    main()
