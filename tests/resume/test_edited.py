"""A checkpoint whose content somebody has edited is resumed, or refused with a CheckpointError; nothing else happens."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchmetrics
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lightning_adapter.errors import CheckpointError
from lightning_adapter.platform.start_from import check_form
from parity.harness import quiet
from parity.models import Data, Net, pl

from .interrupting import FACE
from .test_lightning import lightning_run

GONE = object()
EDITS: tuple[Any, ...] = (
    GONE, None, -5, 10**9, 1.5, True, "x", [], [None], {}, torch.ones(3), torch.tensor(float("nan"))
)  # fmt: skip


class Small(Net):
    """Has a bit of everything that is restored."""

    def __init__(self) -> None:
        super().__init__(optimizer="adam", scheduler="step")
        self.mean = torchmetrics.MeanMetric()

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        loss = super().training_step(batch, batch_idx)
        self.mean.update(loss.detach())
        self.log("mean", self.mean)
        return loss


def run(folder: Path, **options: Any) -> Any:
    class Trial(FACE.LightningAdapter):
        def __init__(self, context: Any) -> None:
            stopping = pl.callbacks.EarlyStopping("train_loss", patience=9)
            super().__init__(context, Small(), Data(), logger=False, enable_progress_bar=False,
                             enable_model_summary=False, num_sanity_val_steps=0, callbacks=[stopping])  # fmt: skip

    with quiet():
        return FACE.fit(Trial, run_dir=folder, seed=1, **options)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """The contents of a checkpoint in mid epoch, of one between epochs, and of one of Lightning's."""
    folder = tmp_path_factory.mktemp("written")
    stopped = run(folder / "mid", max_steps=4, max_epochs=1)
    whole = run(folder / "end", max_epochs=1)
    theirs: Any = str(folder / "theirs")
    lightning_run(theirs, Small, Data, 1, every_n_train_steps=4)
    files = {
        "mid": stopped.latest_checkpoint / "lightning.ckpt",
        "end": whole.latest_checkpoint / "lightning.ckpt",
        "theirs": next((folder / "theirs").glob("*step=4.ckpt")),
    }
    return {name: torch.load(file, weights_only=True) for name, file in files.items()}


def places(value: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All places in a checkpoint but those of most weights, and of long lists."""
    yield place
    if isinstance(value, dict):
        for key in list(value)[:3] if place == ("state_dict",) else value:
            yield from places(value[key], (*place, key))
    elif isinstance(value, (list, tuple)):
        for index, entry in enumerate(value[:3]):
            yield from places(entry, (*place, index))


def edited(value: Any, place: tuple[Any, ...], edit: Any) -> Any:
    if not place:
        return edit
    entries = list(value) if isinstance(value, tuple) else copy.copy(value)
    inner = edited(entries[place[0]], place[1:], edit)
    if inner is GONE:
        del entries[place[0]]
    else:
        entries[place[0]] = inner
    return tuple(entries) if isinstance(value, tuple) else entries


@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
@pytest.mark.parametrize("which", ["mid", "end", "theirs"])
def test_edited_content_is_resumed_or_refused_in_words(
    which: str, data: Any, written: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    content = written[which]
    place = data.draw(st.sampled_from(list(places(content))[1:]))
    edit = data.draw(st.sampled_from(EDITS))
    path = tmp_path / "x.ckpt"
    torch.save(edited(content, place, edit), path)
    try:
        run(Path(tempfile.mkdtemp(dir=tmp_path)), resume_from=path, max_epochs=2)
    except CheckpointError as error:
        assert len(str(error)) > 40


@settings(max_examples=150, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_form_is_looked_at_without_another_error(data: Any, written: dict[str, dict[str, Any]]) -> None:
    content = written[data.draw(st.sampled_from(["mid", "end", "theirs"]))]
    place = data.draw(st.sampled_from([place for place in places(content) if place[:1] != ("state_dict",)][1:]))
    try:
        check_form(edited(content, place, data.draw(st.sampled_from(EDITS))))
    except CheckpointError as error:
        assert str(error).count("\n") < 50


def test_every_wrong_entry_is_named_at_once(written: dict[str, dict[str, Any]]) -> None:
    content = edited(written["mid"], ("lightning_adapter", "batches", "current", "ready"), -1)
    content = edited(content, ("lightning_adapter", "ranks", 0, "random", "torch"), "x")
    content = edited(content, ("lightning_adapter", "should_stop"), GONE)
    content = edited(content, ("optimizer_states", 0, "param_groups"), GONE)

    with pytest.raises(CheckpointError, match=r"optimizer_states\[0\]\['param_groups'\] is missing"):
        check_form(content)
    content = edited(content, ("optimizer_states",), written["mid"]["optimizer_states"])
    with pytest.raises(CheckpointError) as caught:
        check_form(content)
    text = str(caught.value)
    assert "- lightning_adapter['batches']['current']['ready'] is -1, not a number from 0" in text
    assert "- lightning_adapter['ranks'][0]['random']['torch'] is 'x', not a tensor" in text
    assert "- lightning_adapter['should_stop'] is missing" in text


def test_format_of_a_newer_version_is_said(written: dict[str, dict[str, Any]]) -> None:
    with pytest.raises(CheckpointError, match=r"has format 2, and this version .* reads formats up to 1"):
        check_form(edited(written["mid"], ("lightning_adapter", "format"), 2))


def test_weights_are_taken_of_a_newer_version_whatever_else_it_holds(
    written: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    content = edited(written["mid"], ("lightning_adapter",), {"format": 2})
    torch.save(content, tmp_path / "x.ckpt")
    trial = run(tmp_path / "run", warm_start_from=tmp_path / "x.ckpt", max_epochs=0)

    weights = trial.lightning_module.state_dict()
    assert all(torch.equal(weights[name], weight) for name, weight in content["state_dict"].items())
