"""What stands in the block before the first batch, whatever trains, on what and for how long?"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from determined import pytorch
from torch.utils.data import DataLoader, Dataset, IterableDataset

from lightning_adapter import fit
from lightning_adapter.platform import beginning
from lightning_adapter.platform.period import Period
from parity.models import flavour, samples
from test_cluster import trial_of

models = flavour("pytorch_lightning", ours=True)

Rows = dict[str, str]


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


@pytest.fixture
def blocks(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[], list[str]]]:
    """What has been said so far that is such a block."""
    with caplog.at_level(logging.INFO, logger="lightning_adapter"):
        yield lambda: [text for text in caplog.messages if " trains\n" in text]


def rows_of(block: str) -> Rows:
    """A block is read back; a line without a name goes on with the one above."""
    head, *lines = block.splitlines()
    assert head.endswith(" trains")
    rows: Rows = {}
    for line in lines:
        name = line[:13].strip()
        value = line[13:].strip()
        if name:
            last, rows[name] = name, value
        else:
            rows[last] += f" {value}"
    return rows


def test_block_of_a_run_says_all_once_and_stands_in_its_log(blocks: Any) -> None:
    fit(trial_of(), seed=3, run_dir="run")
    (said,) = blocks()
    assert rows_of(said) == {
        "model": "Net, 65 parameters, precision 32-true",
        "device": f"CPU, {torch.get_num_threads()} thread{'s' * (torch.get_num_threads() > 1)}",
        "data": "22 samples, 6 batches per epoch, batches of 4",
        "validation": "3 batches, after every epoch",
        "length": "2 epochs, 12 batches",
        "writes to": "run",
        "seed": "3",
    }
    log = Path("run/train.log").read_text()
    assert log.count(said) == 1
    assert log.index("Trial writes to") < log.index(said) < log.index("epoch 1/2  ")


def test_dataset_that_cannot_say_its_length_trains_all_the_same(blocks: Any) -> None:
    class Unmeasured(Dataset[Any]):
        def __len__(self) -> int:
            raise ValueError("ask the sampler")

        def __getitem__(self, index: int) -> Any:
            return samples(4)[index]

    class Sampled(models.Data):  # type: ignore[name-defined, misc]
        def train_dataloader(self) -> Any:
            return DataLoader(Unmeasured(), batch_sampler=[[0, 1], [2, 3]])

    trial = fit(trial_of(data=Sampled), run_dir="run")
    assert trial.lightning_module.global_step == 4
    rows = rows_of(*blocks())
    assert rows["data"] == "not known: ValueError: ask the sampler" and rows["length"] == "2 epochs, 4 batches"


def test_block_without_a_bar_is_for_the_file_alone(blocks: Any) -> None:
    fit(trial_of(enable_progress_bar=False), run_dir="run")
    assert blocks() == []
    assert "Trial trains\n  model" in Path("run/train.log").read_text()


def test_console_shows_the_block_once_and_not_what_it_says_again(capfd: pytest.CaptureFixture[str]) -> None:
    fit(trial_of(), run_dir="run")
    printed = capfd.readouterr()
    assert printed.err.count("Trial trains") == 1 and printed.err.count("writes to") == 1
    assert "trains" not in printed.out


def test_block_fits_80_columns_but_for_a_path(blocks: Any) -> None:
    place = "a" * 90
    fit(trial_of(callbacks=[pl.callbacks.EarlyStopping("val_loss")], max_time=timedelta(hours=1)), run_dir=place)
    (said,) = blocks()
    assert [line for line in said.splitlines() if len(line) > 80] == [f"  writes to   {place}"]


def test_resume_and_warm_start_are_said_with_their_place(blocks: Any) -> None:
    first = fit(trial_of(max_epochs=1), run_dir="first")
    fit(trial_of(), resume_from="first", run_dir="second")
    fit(trial_of(max_epochs=1), warm_start_from="first", run_dir="third")
    place = first.latest_checkpoint.relative_to(Path.cwd())
    scratch, resumed, warm = map(rows_of, blocks())
    assert {"resumes", "weights of"}.isdisjoint(scratch)
    assert resumed["resumes"] == warm["weights of"] == f"{place} epoch 1, 6 batches"


def test_run_that_trains_no_batch_has_no_block(blocks: Any) -> None:
    fit(trial_of(limit_train_batches=0), run_dir="run")
    assert blocks() == []


# --- what trains ------------------------------------------------------------------------------------------------------


class Part(pl.LightningModule):
    """Made of some parameters."""

    def __init__(self, *parts: torch.nn.Module) -> None:
        super().__init__()
        self.parts = torch.nn.ModuleList(parts)


def frozen() -> torch.nn.Module:
    return torch.nn.Linear(2, 2).requires_grad_(False)


SHARED = torch.nn.Linear(3, 4)
PARAMETERS = {
    "none": ([], "no parameters"),
    "one": ([torch.nn.PReLU()], "1 parameter"),
    "many": ([torch.nn.Linear(100, 100)], "10,100 parameters"),
    "frozen ones": ([torch.nn.Linear(3, 4), frozen()], "22 parameters, 16 of them trained"),
    "all frozen": ([frozen()], "6 parameters, none of them trained"),
    "shared": ([SHARED, SHARED], "16 parameters"),
    "lazy": (
        [torch.nn.Linear(3, 4), torch.nn.LazyLinear(2)],
        "16 parameters, and 2 lazy tensors that the first batch makes",
    ),
    "complex and short": (
        [torch.nn.Linear(3, 4, dtype=torch.complex64), torch.nn.Linear(3, 4, dtype=torch.bfloat16)],
        "32 parameters",
    ),
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_counted_whatever_they_are(name: str) -> None:
    parts, said = PARAMETERS[name]
    assert beginning.parameters(Part(*parts)) == said


class ByHand(models.Net):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False

    def training_step(self, batch: Any, batch_idx: int) -> None:
        self.optimizers().step()


def test_manual_optimization_and_precision_are_said(blocks: Any) -> None:
    fit(trial_of(ByHand, precision="64-true", max_steps=1), run_dir="run")
    assert rows_of(blocks()[0])["model"] == "ByHand, 65 parameters, precision 64-true, manual optimization"


# --- on what, and how long --------------------------------------------------------------------------------------------


class Endless(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[Any]:
        while True:
            yield torch.randn(8), torch.randn(1)


class EndlessData(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        return DataLoader(Endless(), batch_size=4)


class TwoLoaders(models.Data):
    def train_dataloader(self) -> Any:
        return {"a": DataLoader(range(9), batch_size=2), "b": DataLoader(range(9), batch_size=3)}


class TakesBoth(models.Net):
    def training_step(self, batch: Any, batch_idx: int) -> None:
        return None


def test_endless_data_and_its_limits_are_said(blocks: Any) -> None:
    stops = pl.callbacks.EarlyStopping("train_loss", strict=False)
    hour = timedelta(hours=1)
    fit(trial_of(TakesBoth, EndlessData, max_epochs=-1, max_steps=1, max_time=hour, callbacks=[stops]), run_dir="a")
    fit(trial_of(TakesBoth, EndlessData, fast_dev_run=2), run_dir="b")
    timed, quick = map(rows_of, blocks())
    assert timed["data"] == "epochs of unknown length, batches of 4"
    assert timed["validation"] == "none"
    assert timed["length"] == "1 optimizer step or max_time 1:00:00; EarlyStopping (train_loss) may end it"
    assert quick["length"] == "1 epoch, 2 batches or 2 optimizer steps"


def test_several_loaders_and_accumulation_are_said(blocks: Any) -> None:
    fit(trial_of(TakesBoth, TwoLoaders, accumulate_grad_batches=2, max_epochs=1), run_dir="run")
    assert rows_of(blocks()[0])["data"] == "2 loaders, 5 batches per epoch, an optimizer step every 2 batches"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"val_check_interval": 0.5}, "3 batches, after every 3 batches of an epoch"),
        ({"val_check_interval": 4, "check_val_every_n_epoch": None}, "3 batches, after every 4 batches"),
        ({"check_val_every_n_epoch": 2}, "after every 2 epochs"),
        ({"limit_val_batches": 0}, "none"),
    ],
)
def test_moments_of_validation_are_said(blocks: Any, arguments: dict[str, Any], said: str) -> None:
    fit(trial_of(**arguments), run_dir="run")
    assert rows_of(blocks()[0])["validation"] == said


def test_validation_period_of_fit_is_said_in_its_place(blocks: Any) -> None:
    fit(trial_of(max_epochs=1), validation_period=pytorch.Batch(2), run_dir="run")
    assert rows_of(blocks()[0])["validation"] == "3 batches, after every 2 batches"
    assert beginning.of_period(Period(pytorch.Epoch(3))) == "after every 3 epochs"
    assert beginning.of_period(Period(pytorch.Epoch([3, 5]))) == "after some epochs"


# --- elsewhere --------------------------------------------------------------------------------------------------------


def test_block_of_a_clusters_trial_says_which_one_it_is_and_who_may_end_it(cluster: Any, blocks: Any) -> None:
    config = {"searcher": {"name": "adaptive_asha", "metric": "val_loss"}}
    with cluster(config=config, trial_seed=4, trial_id=7, experiment_id=3):
        fit(trial_of())
    rows = rows_of(blocks()[0])
    assert rows["trial"] == "7 of experiment 3" and rows["seed"] == "4" and "writes to" not in rows
    assert rows["length"] == "2 epochs, 12 batches; the searcher may end it"


def test_block_under_determineds_own_trainer_says_whose_periods_they_are(cluster: Any, blocks: Any) -> None:
    with cluster(trial_id=7, experiment_id=3), pytorch.init(hparams={}) as context:
        trial = trial_of()(context)
        pytorch.Trainer(trial, context).fit(max_length=pytorch.Epoch(1))
    rows = rows_of(blocks()[0])
    assert rows["trial"] == "7 of experiment 3"
    assert rows["validation"] == "3 batches, in Determined's periods"
    assert rows["length"] == "2 epochs, 12 batches; Determined's max_length may end it"
