"""Does a whole notebook show what it is to show: while it trains, after an error, of a command in a cell?"""

from __future__ import annotations

import re
from typing import Any

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from kernel import execute

_SETUP = """
import os
import signal

import torch
from torch.utils.data import DataLoader, TensorDataset
from lightning_adapter import DETLM, LightningAdapter, fit

class Module(DETLM):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(2, 1)
    def training_step(self, batch, batch_idx):
        loss = self.layer(batch[0]).square().mean()
        self.log("train_loss", loss)
        return loss
    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.layer(batch[0]).square().mean())
    def test_step(self, batch, batch_idx):
        self.log("test_loss", self.layer(batch[0]).square().mean())
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)
    def loader(self):
        return DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=2)
    train_dataloader = val_dataloader = test_dataloader = loader

class Breaks(Module):
    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.current_epoch == 1:
            raise ValueError("of the user's")

class Interrupted(Module):
    def on_train_batch_end(self, outputs, batch, batch_idx):
        if self.current_epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)

def trial(module, **arguments):
    class Trial(LightningAdapter):
        def __init__(self, context):
            super().__init__(context, module(), max_epochs=3, enable_model_summary=False, **arguments)
    return Trial

config = {"searcher": {"name": "single", "metric": "val_loss", "smaller_is_better": True}}
"""
_WARNS = """
import logging

logging.basicConfig()

class Warns(Module):
    def on_train_end(self):
        logging.getLogger("lightning_adapter").warning("said once")

quiet = fit(trial(Warns))
"""
_CELLS = [
    _SETUP,
    "trained = fit(trial(Module), config=config)",
    "trained",
    "fit(trial(Breaks))",
    "fit(trial(Interrupted))",
    "quiet = fit(trial(Module, enable_progress_bar=False))",
    "import sys\n"
    '!"{sys.executable}" -c "import sys; from lightning_adapter.runs.console import place; print(place(), sys.stderr.isatty())"\n',
    _WARNS,
]


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """Of each cell."""
    cells = [new_code_cell(source) for source in _CELLS]
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("notebook")
        done = execute(new_notebook(cells=cells), directory, patch, allow_errors=True)
    return [cell.outputs for cell in done.cells]


def shown(outputs: list[Any]) -> list[Any]:
    """What is neither printed nor an error."""
    return [output for output in outputs if "data" in output]


def test_training_leaves_one_output_with_a_row_per_validation(outputs: list[list[Any]]) -> None:
    (display,) = shown(outputs[1])
    assert display.output_type == "display_data"
    lines = display.data["text/plain"].splitlines()
    assert lines[0].split() == ["epoch", "batches", "time", "val_loss"]
    assert [line.split()[:2] for line in lines[2:5]] == [["1/3", "4"], ["2/3", "8"], ["3/3", "12"]]
    assert lines[4].endswith(" (best)")
    assert lines[5].startswith("trained in ")
    assert display.data["text/html"].count("<tr>") == 4


def test_trial_in_a_cell_is_curves_and_places_and_no_second_table_of_validations(outputs: list[list[Any]]) -> None:
    (result,) = shown(outputs[2])
    assert "finished: epoch 3/3, 12 batches" in result.data["text/html"]
    assert "data:image/png" in result.data["text/html"]
    assert "(best)" not in result.data["text/html"]


def test_error_leaves_the_last_state_and_is_named_there(outputs: list[list[Any]]) -> None:
    (display,) = shown(outputs[3])
    last = display.data["text/plain"].splitlines()
    assert last[-2].startswith("epoch 2/3  batch 0/4")
    assert last[-1].startswith("ended by ValueError after ")
    assert outputs[3][-1].ename == "ValueError"


def test_interrupted_kernel_leaves_the_last_state_and_says_how_to_go_on_in_a_notebook(outputs: list[list[Any]]) -> None:
    (display,) = shown(outputs[4])
    last = display.data["text/plain"].splitlines()[-1]
    assert re.fullmatch(r"stopped after .*: epoch 2/3, 5 batches", last)
    printed = "".join(output.text for output in outputs[4] if output.output_type == "stream")
    assert re.search(r"To go on, call fit\(\) with\n    resume_from='runs/Trial/.+/checkpoints/", printed)
    assert [output.ename for output in outputs[4] if output.output_type == "error"] == ["SystemExit"]


def test_run_without_a_progress_bar_shows_nothing_of_ours(outputs: list[list[Any]]) -> None:
    assert shown(outputs[5]) == []


def test_line_that_the_users_logging_shows_is_shown_once(outputs: list[list[Any]]) -> None:
    printed = "".join(output.text for output in outputs[7] if output.output_type == "stream")
    assert printed.count("said once") == 1


def test_commands_to_type_next_are_those_of_a_cell(outputs: list[list[Any]]) -> None:
    stopped, ended = (
        "".join(output.text for output in outputs[cell] if output.output_type == "stream") for cell in (4, 5)
    )
    assert "\n  !lightning-adapter runs compare runs/Trial/" in ended
    assert "\n  trial.test()\n" in ended
    # that `fit` has not returned
    assert "\n  !lightning-adapter runs compare runs/Trial/" in stopped
    assert "trial.test()" not in stopped


def test_command_of_a_cell_is_told_to_print_lines(outputs: list[list[Any]]) -> None:
    assert "".join(output.text for output in outputs[6]).split() == ["Place.LINES", "True"]
