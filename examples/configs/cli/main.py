"""Train on spirals: python main.py fit --config config.yaml"""

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from spirals import SpiralData, SpiralModule


class SpiralCLI(LightningCLI):
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("data.arms", "model.classes")


def cli_main() -> None:
    SpiralCLI(SpiralModule, SpiralData)


if __name__ == "__main__":
    cli_main()
