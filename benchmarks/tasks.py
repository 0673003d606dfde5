"""What is trained: three models over synthetic data, and a loader that notes when it is asked for a batch.

The clock is in the loader, because that is the one thing that all systems run in the same way: the time from one fetch
to the next is the time of a step, whoever drives it.
"""

from __future__ import annotations

import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, default_collate
from torchmetrics import Accuracy

from benchmarks.names import CNN, NOTHING, ONE_VALUE, PERCEPTRON, SEVERAL, TRANSFORMER

CLASSES = 10
#: One report falls into each window: Lightning and the adapter report every 50 batches, Determined every 100.
WINDOW = 100
#: In seconds. On a machine that others use too, the processor's time for this thread says more than the wall's.
CLOCKS = {"wall": time.perf_counter, "cpu": time.thread_time}
now = CLOCKS[os.environ.get("BENCHMARK_CLOCK", "wall")]
#: Batches that are run before anything is measured.
WARM_UP = 20
#: Batches of the perceptron whose predictions are evaluated: 50,016 samples.
PREDICTED = 1563
#: What the host calls to wait for a GPU; `.item()`, `.cpu()` and the like come here.
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")


def perceptron() -> nn.Module:
    """784-64-10: so little to compute that the framework's share of a step is large."""
    return nn.Sequential(nn.Linear(784, 64), nn.ReLU(), nn.Linear(64, CLASSES))


def cnn() -> nn.Module:
    """The network of examples/mnist."""
    return nn.Sequential(
        nn.Conv2d(1, 16, kernel_size=5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=5),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(512, CLASSES),
    )


class Transformer(nn.Module):
    """Two encoder layers over sequences of 16 tokens: many parameters, little arithmetic in each."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(100, 32)
        layer = nn.TransformerEncoderLayer(32, nhead=4, dim_feedforward=64, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, num_layers=2, enable_nested_tensor=False)
        self.head = nn.Linear(32, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the class of each sequence."""
        out: Tensor = self.head(self.encoder(self.embedding(tokens)).mean(dim=1))
        return out


@dataclass(frozen=True)
class Model:
    """A network, one input for it, and how much of it is measured.

    Attributes:
        steps: batches of training in one measurement, a few windows.
        repetitions: how often it is measured; the quicker, the more often.
    """

    network: Callable[[], nn.Module]
    inputs: Callable[[int], Tensor]
    batch_size: int
    steps: int
    repetitions: int


MODELS = {
    PERCEPTRON: Model(perceptron, lambda n: torch.randn(n, 784), 32, WARM_UP + 3 * WINDOW + 1, 15),
    CNN: Model(cnn, lambda n: torch.randn(n, 1, 28, 28), 64, WARM_UP + WINDOW + 1, 5),
    TRANSFORMER: Model(Transformer, lambda n: torch.randint(0, 100, (n, 16)), 16, WARM_UP + WINDOW + 1, 5),
}
_ALL_VALUES = ("loss", *(f"value_{i}" for i in range(1, 10)))
#: By what is logged.
_VALUES: dict[str, tuple[str, ...]] = {NOTHING: (), ONE_VALUE: _ALL_VALUES[:1], SEVERAL: _ALL_VALUES}
_VALIDATION_VALUES = {logging: tuple(f"validation_{name}" for name in names) for logging, names in _VALUES.items()}


class Task(nn.Module):
    """One model with its loss and the values that are logged; the systems differ in nothing of this.

    Attributes:
        accuracy: of training, with the value of each batch; None where no metric is logged.
        validation_accuracy: of the whole validation alone.
    """

    def __init__(self, model: str, logging: str) -> None:
        super().__init__()
        self.network = MODELS[model].network()
        self.logging = logging
        self.accuracy, self.validation_accuracy = (
            Accuracy(task="multiclass", num_classes=CLASSES) if logging == SEVERAL else None for _ in range(2)
        )

    def forward(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of a batch and what is logged of it; the metric of the phase has taken the batch in."""
        x, y = batch
        logits = self.network(x)
        loss = F.cross_entropy(logits, y)
        if self.training:
            if self.accuracy is not None:
                self.accuracy(logits, y)
            return loss, dict.fromkeys(_VALUES[self.logging], loss)
        if self.validation_accuracy is not None:
            self.validation_accuracy.update(logits, y)
        return loss, dict.fromkeys(_VALIDATION_VALUES[self.logging], loss)

    def optimizer(self) -> torch.optim.Optimizer:
        """Adam, made for the parameters as they are now."""
        return torch.optim.Adam(self.parameters(), lr=1e-3)


class Clock:
    """Notes when batches are fetched."""

    def __init__(self) -> None:
        self.ticks: list[float] = []
        self.fetched = 0

    def collate(self, samples: list[Any]) -> Any:
        """`default_collate`, noted."""
        self.ticks.append(now())
        self.fetched += 1
        return default_collate(samples)

    def step_times(self) -> list[float]:
        """Seconds from fetch to fetch, the first ones left out."""
        ticks = self.ticks[WARM_UP:]
        return [later - sooner for sooner, later in itertools.pairwise(ticks)]

    def step_time(self) -> float:
        """Median over windows of the mean step of a window: what is done once per report has its share."""
        ticks = self.ticks[WARM_UP:]
        window = min(WINDOW, len(ticks) - 1)
        starts = range(0, len(ticks) - window, window)
        return statistics.median((ticks[start + window] - ticks[start]) / window for start in starts)


class Counter(Clock):
    """Counts the function calls of one window after the first batches; what a step calls does not depend on the machine.

    Attributes:
        calls: per step, of functions written in Python and of built-in ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls = {"python": 0.0, "built in": 0.0}
        self._counted = {"call": 0, "c_call": 0}

    def _count(self, frame: FrameType, event: str, argument: Any) -> None:
        if event in self._counted:
            self._counted[event] += 1

    def collate(self, samples: list[Any]) -> Any:
        """As that of `Clock`."""
        if self.fetched == WARM_UP:
            sys.setprofile(self._count)
        elif self.fetched == WARM_UP + WINDOW:
            sys.setprofile(None)
            python, built_in = self._counted.values()
            self.calls = {"python": python / WINDOW, "built in": built_in / WINDOW}
        return super().collate(samples)


class Profile(Clock):
    """Watches the device as well, for one window after the first batches.

    Attributes:
        busy: share of the window in which the GPU computed.
        waits: how often per step the host waited for the GPU.
    """

    def __init__(self) -> None:
        super().__init__()
        self.busy = self.waits = 0.0
        self._profiler = torch.profiler.profile()  # of all devices that there are

    def collate(self, samples: list[Any]) -> Any:
        """As that of `Clock`."""
        if self.fetched == WARM_UP:
            self._profiler.start()
        elif self.fetched == WARM_UP + WINDOW:
            self._profiler.stop()
            events = self._profiler.key_averages()
            seconds = self.ticks[-1] - self.ticks[WARM_UP - 1]
            kernels = [e for e in events if e.device_type.name == "CUDA" and not e.is_user_annotation]
            self.busy = sum(event.self_device_time_total for event in kernels) / 1e6 / seconds
            self.waits = sum(event.count for event in events if event.key in WAITS) / WINDOW
        return super().collate(samples)


class Samples(Dataset[Any]):
    """A few batches in memory, served again and again under a length of choice."""

    def __init__(self, model: str, length: int) -> None:
        described = MODELS[model]
        self.kept = 8 * described.batch_size
        self.inputs = described.inputs(self.kept)
        self.labels = torch.randint(0, CLASSES, (self.kept,))
        self.length = length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> Any:
        index %= self.kept
        return self.inputs[index], self.labels[index]


def loader(model: str, batches: int, clock: Clock) -> DataLoader[Any]:
    """A plain DataLoader without worker processes, the same for all systems."""
    size = MODELS[model].batch_size
    return DataLoader(Samples(model, batches * size), batch_size=size, collate_fn=clock.collate)
