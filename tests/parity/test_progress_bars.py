"""Does a progress bar of Lightning's show under the adapter what it shows under Lightning's own Trainer?"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest

from .harness import PACKAGE, assert_parity
from .models import Data, Net

BARS = importlib.import_module(f"{PACKAGE}.callbacks.progress.tqdm_progress")


class ShownBar(BARS.Tqdm):  # type: ignore[misc,name-defined]
    """Remembers what is shown instead of showing it."""

    monitor_interval = 0

    shown: list[tuple[Any, ...]]

    def display(self, *args: Any, **kwargs: Any) -> None:
        self.shown.append((self.desc, self.n, self.total, self.postfix, self.pos, self.leave))

    def close(self) -> None:
        if not self.disable:
            self.shown.append((self.desc, "is closed"))
        super().close()


class Bar(BARS.TQDMProgressBar):  # type: ignore[misc]
    """Its bars remember, each run's in a list of its own."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.shown: list[tuple[Any, ...]] = []

    def setup(self, *args: Any, **kwargs: Any) -> None:
        super().setup(*args, **kwargs)
        ShownBar.shown = self.shown

    def get_metrics(self, *args: Any) -> dict[str, Any]:
        metrics = super().get_metrics(*args)
        metrics.pop("v_num", None)  # of the logger that the harness gives
        return {**metrics, "mine": 1}


class SeveralLoaders(Data):
    """Validates with two loaders."""

    def val_dataloader(self) -> Any:
        return [super().val_dataloader(), super().val_dataloader()]


class ForSeveralLoaders(Net):
    """Takes batches of several loaders."""

    def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:
        return super().validation_step(batch, batch_idx)


CASES: dict[str, tuple[Callable[[], Any], Callable[[], Any], dict[str, Any]]] = {
    "epochs": (Net, Data, {}),
    "sanity check": (Net, Data, {"num_sanity_val_steps": 2}),
    "validations within": (Net, Data, {"val_check_interval": 2}),
    "accumulation": (Net, Data, {"accumulate_grad_batches": 2}),
    "no validation": (Net, Data, {"limit_val_batches": 0}),
    "steps": (Net, Data, {"max_epochs": None, "max_steps": 5}),
    "several loaders": (ForSeveralLoaders, SeveralLoaders, {}),
}


@pytest.mark.parametrize(("case", "refresh_rate"), [*((case, 1) for case in CASES), ("validations within", 3)])
def test_bar_of_lightnings_is_told_the_same(monkeypatch: pytest.MonkeyPatch, case: str, refresh_rate: int) -> None:
    monkeypatch.setattr(BARS, "Tqdm", ShownBar)
    build, data, arguments = CASES[case]
    run = assert_parity(
        build,
        data,
        **{"max_epochs": 2, "enable_progress_bar": True, **arguments},
        trace=False,
        callbacks=lambda: [Bar(refresh_rate=refresh_rate)],
        also=lambda _, callbacks: next(bar.shown for bar in callbacks if isinstance(bar, Bar)),
    )
    shown = run.final[-1].facts["value"]
    assert any("mine" in str(each) for each in shown)
