"""Each trial has a logger of its own, from its constructor on, wherever it trains."""

from __future__ import annotations

import concurrent.futures
import gc
import logging
import sys
import weakref
from pathlib import Path
from typing import Any

import pytest
from determined import pytorch

from lightning_adapter import fit
from lightning_adapter.runs.run_log import RunLogger
from parity.models import flavour
from test_cluster import trial_of

models = flavour("pytorch_lightning", ours=True)


class Speaks(models.Net):
    """Says who it is, in each of the ways."""

    name = ""

    def on_train_epoch_start(self) -> None:
        print(f"printed by {self.name}")
        print(f"told by {self.name}", file=sys.stderr)
        logging.getLogger("of_the_user").warning("logged by %s", self.name)


def speaking(said: str, within: type | None = None, run_dir: Path | None = None) -> type:
    """A trial that speaks, and trains another one within a hook."""

    class Named(Speaks):
        name = said

        def on_validation_end(self) -> None:
            if within is not None:
                fit(within, run_dir=run_dir)

    class Trial(trial_of(Named, max_epochs=1)):  # type: ignore[misc]
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            self.log.info("constructing %s", said)
            super().__init__(context)

    return Trial


def words_of(run: Path, name: str) -> list[str]:
    words = ("constructing", "printed by", "told by", "logged by")
    text = (run / "train.log").read_text()
    return [word for word in words for _ in range(text.count(f"{word} {name}"))]


ALL = ["constructing", "printed by", "told by", "logged by"]


def test_run_within_a_hook_of_another_has_its_own_log(tmp_path: Path) -> None:
    fit(speaking("outer", speaking("inner"), tmp_path / "inner"), run_dir=tmp_path / "outer")
    assert words_of(tmp_path / "outer", "outer") == words_of(tmp_path / "inner", "inner") == ALL
    assert words_of(tmp_path / "outer", "inner") == words_of(tmp_path / "inner", "outer") == []
    outer = (tmp_path / "outer" / "train.log").read_text()
    assert "max_epochs=1 reached" in outer and outer.count("training has ended") == 1


def test_runs_in_threads_have_each_its_own_log(tmp_path: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        ended = [pool.submit(fit, speaking(name), run_dir=tmp_path / name) for name in "ab"]
        for each in ended:
            each.result()
    for name, other in ("ab", "ba"):
        assert words_of(tmp_path / name, name) == ALL and words_of(tmp_path / name, other) == []


def test_logger_is_freed_with_its_trial(tmp_path: Path) -> None:
    trial = fit(speaking("first"), run_dir=tmp_path / "run")
    assert isinstance(trial.log, RunLogger)
    gone = weakref.ref(trial.log)
    del trial
    gc.collect()
    assert gone() is None


def test_trial_may_keep_something_of_its_own_as_log(tmp_path: Path) -> None:
    class Trial(trial_of(max_epochs=1)):  # type: ignore[misc]
        def __init__(self, context: Any) -> None:
            self.log = ["of the trial"]
            super().__init__(context)

    trial = fit(Trial, run_dir=tmp_path / "set")
    assert trial.log == ["of the trial"]

    class Method(trial_of(max_epochs=1)):  # type: ignore[misc]
        def log(self) -> str:
            return "a method"

    assert fit(Method, run_dir=tmp_path / "method").log() == "a method"
    for name in ("set", "method"):
        assert "training has ended at epoch 1/1, 6 batches" in (tmp_path / name / "train.log").read_text()


def test_trial_on_a_cluster_and_under_determineds_own_trainer_has_one_too(
    cluster: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lightning_adapter")
    with cluster():
        assert isinstance(fit(speaking("managed")).log, RunLogger)
    with cluster(config={"searcher": {"max_length": {"epochs": 1}}}), pytorch.init(hparams={}) as context:
        trial = speaking("hosted")(context)
        pytorch.Trainer(trial, context).fit()
    assert isinstance(trial.log, RunLogger)
    assert "constructing managed" in caplog.messages and "constructing hosted" in caplog.messages
