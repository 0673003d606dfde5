"""One process of Horovod: plays scenes with gradients that travel while backward runs, and with ones that wait for its end.

python exchanging.py OUT_DIRECTORY
"""

from __future__ import annotations

import faulthandler
import json
import pathlib
import sys
import warnings
from typing import Any

import torch

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent))

from lightning_adapter.loop.precision import Precision
from lightning_adapter.loop.strategies import gradient_exchange
from lightning_adapter.loop.strategies.gradient_exchange import ExchangeAfterBackward, GradientExchange
from lightning_adapter.loop.strategies.horovod import HorovodStrategy
from loop.exchange_scenes import EACH_LAYER, SCENES, Net, Scene
from loop.ranks import CPU, HOST, Asked, Context


def played(scene: Scene, strategy: HorovodStrategy, overlapping: bool) -> list[Any]:
    net = Net()
    net.events = []  # type: ignore[assignment]
    parameters = list(net.parameters())
    exchange: GradientExchange = (
        strategy.exchange_of(parameters)
        if overlapping
        else ExchangeAfterBackward(parameters, lambda tensor: strategy.sum_(tensor) / 2)
    )
    scene(net, strategy.global_rank, exchange)
    exchange.close()
    return [None if p.grad is None else p.grad.detach().clone() for p in parameters]


def same(left: list[Any], right: list[Any]) -> bool:
    pairs = list(zip(left, right, strict=True))
    return all((one is None) == (other is None) and (one is None or torch.equal(one, other)) for one, other in pairs)


def main() -> None:
    import horovod.torch as hvd

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # a scene that hangs says where
    faulthandler.dump_traceback_later(60, exit=True)
    hvd.init()
    rank = hvd.rank()
    context: Any = Context(rank, hvd.size())
    strategy = HorovodStrategy(Net(), CPU, Precision("32-true"), HOST, Asked(), context)
    gradient_exchange._FULL = EACH_LAYER
    found = {
        scene.__name__: same(played(scene, strategy, overlapping=True), played(scene, strategy, overlapping=False))
        for scene in SCENES
    }
    (pathlib.Path(sys.argv[1]) / f"{rank}.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
