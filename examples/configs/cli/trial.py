"""The same on Determined: lightning-adapter fit trial.py:SpiralTrial --cli config.yaml"""

from lightning_adapter import ConfiguredTrial
from main import SpiralCLI
from spirals import SpiralData, SpiralModule


class SpiralTrial(ConfiguredTrial):
    cli_class = SpiralCLI
    cli_arguments = {"model_class": SpiralModule, "datamodule_class": SpiralData}
