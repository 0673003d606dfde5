"""Does a trial show itself in a notebook: before fit, meanwhile, afterwards, on a cluster, loaded, after a kill?"""

from __future__ import annotations

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lightning_adapter import LightningAdapter, fit, load_trial
from lightning_adapter.evaluation.loading import fresh_trial
from lightning_adapter.runs import notebook, record
from lightning_adapter.runs.metrics_table import read_points
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)


class Odd(models.Net):
    """Logs a name that is no HTML."""

    def on_train_epoch_end(self) -> None:
        self.log("<b>a & b</b>", 0.25)


class Trial(LightningAdapter):
    def __init__(self, context: Any) -> None:
        super().__init__(context, Odd(), models.Data(), max_epochs=2, enable_model_summary=False)


class Reader(HTMLParser):
    """Tells the texts of the cells, row by row, and whether all that is opened is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
        if tag not in ("br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


def rows(html: str) -> dict[str, str]:
    return {row[0]: row[1] for row in Reader(html).rows}


def picture(html: str) -> Any:
    (data,) = re.findall(r'src="data:image/png;base64,([^"]*)"', html)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    config = {"searcher": {"name": "single", "metric": "val_loss", "smaller_is_better": True}}
    return fit(Trial, config=config, run_dir=tmp_path_factory.mktemp("runs") / "run", seed=1)


def test_a_trained_trial_shows_values_curves_and_what_it_has_left(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(trained.run_dir.parent)
    lowest = min(read_points(trained.run_dir / "metrics.csv")["validation", "val_loss"][1])
    html = trained._repr_html_()
    assert Reader(html).text.startswith("Trial · ")
    assert "epoch 2/2, 12 batches" in Reader(html).text
    shown = rows(html)
    assert shown["val_loss"] == f"{float(trained.callback_metrics['val_loss']):.6g}"
    assert shown["<b>a & b</b>"] == "0.25"
    assert shown["last checkpoint"] == f"run/checkpoints/{trained.latest_checkpoint.name}"
    assert shown["best checkpoint"] == f"run/checkpoints/{trained.best_checkpoint.name}"
    assert shown["best val_loss"] == f"{lowest:.6g}"
    assert shown["run directory"] == "run"
    assert shown["module"].startswith("Odd, ")
    assert picture(html).std() > 0
    assert len(html) < 100_000
    trained.tested({"test_loss": 0.5})
    assert rows(trained._repr_html_())["test_loss"] == "0.5"


def test_a_trial_that_is_not_trained_says_so() -> None:
    html = fresh_trial(Trial).trial._repr_html_()
    assert "not trained yet" in Reader(html).text
    assert set(rows(html)) == {"module"}
    assert "not trained; the weights are those of its constructor" in Reader(fresh_trial(Trial)._repr_html_()).text


def test_a_trial_shows_where_it_is_while_it_trains(tmp_path: Path) -> None:
    seen: list[str] = []

    class Looks(Trial):
        def __init__(self, context: Any) -> None:
            super().__init__(context)
            self.lightning_module.on_train_epoch_end = lambda: seen.append(self._repr_html_())

    fit(Looks, run_dir=tmp_path / "run")
    assert ["in training: epoch 1/2, 6 batches" in html for html in seen] == [True, False]
    assert "in training: epoch 2/2, 12 batches" in seen[1]


def test_a_trial_on_a_cluster_shows_ids_and_how_they_are_had(cluster: Any) -> None:
    with cluster():
        trial = fit(Trial)
    shown = rows(trial._repr_html_())
    assert shown["best checkpoint"] == trial.best_checkpoint_uuid
    assert shown["to get it"] == f"lightning-adapter fetch {trial.best_checkpoint_uuid}"
    assert "run directory" not in shown


def test_a_loaded_trial_shows_the_run_that_it_is_of(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(trained.run_dir.parent)
    loaded = load_trial(trained.latest_checkpoint, Trial)
    shown = rows(loaded._repr_html_())
    assert shown["checkpoint"] == f"run/checkpoints/{trained.latest_checkpoint.name}"
    assert shown["val_loss"] == f"{float(trained.callback_metrics['val_loss']):.6g}"
    assert picture(loaded._repr_html_()).std() > 0


def test_a_loaded_trial_of_a_killed_run_says_so_and_what_was_known(
    trained: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = {
        "format": 1, "status": "running", "host": "elsewhere", "pid": 1, "metrics": {"val_<i>": 0.125},
        "test": {"test_acc": 0.75}, "metric": {"name": "val_loss", "smaller_is_better": True},
        "best": {"checkpoint": "checkpoints/a", "value": 0.0625, "batches": 6, "epoch": 1},
    }  # fmt: skip
    monkeypatch.setattr(record, "read", lambda directory: kept)
    monkeypatch.setattr("lightning_adapter.evaluation.notebook.shown_status", lambda *given: "killed")
    html = load_trial(trained.latest_checkpoint, Trial)._repr_html_()
    assert "loaded, of a run that is killed" in Reader(html).text
    shown = rows(html)
    assert (shown["val_<i>"], shown["test_acc"]) == ("0.125", "0.75")
    assert (shown["best checkpoint"], shown["best val_loss"]) == ("checkpoints/a", "0.0625")


def test_a_table_of_somebody_else_is_no_reason_to_fail(tmp_path: Path) -> None:
    assert notebook.small_curves(tmp_path) is None
    (tmp_path / "metrics.csv").write_text("a,b\n1,2\n")
    assert notebook.small_curves(tmp_path) is None


def test_table_that_another_process_writes_is_drawn_and_left_as_it_is(tmp_path: Path) -> None:
    table = tmp_path / "metrics.csv"
    table.write_text("kind,batches,epoch,loss\ntrain,1,0,0.5\ntrain,2,0,0.")
    before = table.read_bytes()
    assert notebook.small_curves(tmp_path) is not None
    assert table.read_bytes() == before
