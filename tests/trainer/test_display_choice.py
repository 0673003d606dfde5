"""Which display does a run have?"""

from __future__ import annotations

import importlib.util
import logging
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.runs.console import Place
from lightning_adapter.trainer.display import choice, notebook
from lightning_adapter.trainer.display.facts import Facts
from trainer.parts import settings


def follows_batches(monkeypatch: pytest.MonkeyPatch, where: Place, wanted: bool) -> bool:
    """Whether anything moves with each batch."""
    limits: Any = SimpleNamespace(max_epochs=1)
    monkeypatch.setattr(choice, "place", lambda: where)
    facts = Facts(TrainingProgress(settings()), limits, dict, dict, lambda: 0.0, logging.getLogger("run"))
    return choice.display_of(facts, wanted).follows_batches


@pytest.mark.parametrize("where", [Place.NOTEBOOK, Place.TERMINAL])
def test_bar_moves_where_it_can_and_somebody_wants_it(monkeypatch: pytest.MonkeyPatch, where: Place) -> None:
    assert follows_batches(monkeypatch, where, wanted=True)
    assert not follows_batches(monkeypatch, where, wanted=False)


def test_lines_cost_a_batch_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not follows_batches(monkeypatch, Place.LINES, wanted=True)


def test_nothing_of_a_notebook_is_needed_where_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "IPython", None)  # importing it fails
    assert notebook.__spec__ is not None
    assert notebook.__spec__.loader is not None
    anew = importlib.util.module_from_spec(notebook.__spec__)
    notebook.__spec__.loader.exec_module(anew)
    assert anew.Cell.follows_batches
    assert not follows_batches(monkeypatch, Place.LINES, wanted=True)
