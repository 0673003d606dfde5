"""A hyperparameter that nobody reads is named, and nothing else of a dict of them is different."""

from __future__ import annotations

import copy
import json
import pickle
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch.utils.data import DataLoader

from lightning_adapter import LightningAdapter, fit
from lightning_adapter.platform.hyperparameter_reads import HyperparameterReads, ReadHyperparameters
from parity.models import flavour, samples

models = flavour("pytorch_lightning", ours=True)
VALUES = {"lr": 0.1, "optimizer": {"name": "adam", "beta": {"one": 1}}, "empty": {}}


def read(values: dict[str, Any] = VALUES) -> tuple[ReadHyperparameters, HyperparameterReads]:
    reads = HyperparameterReads(values)
    return ReadHyperparameters(values, reads), reads


USES: dict[str, tuple[Callable[[Any], object], list[str]]] = {
    "nothing": (lambda h: None, ["lr", "optimizer.name", "optimizer.beta.one", "empty"]),
    "one": (lambda h: h["lr"], ["optimizer.name", "optimizer.beta.one", "empty"]),
    "get": (lambda h: h.get("lr", 1), ["optimizer.name", "optimizer.beta.one", "empty"]),
    "pop": (lambda h: h.pop("lr"), ["optimizer.name", "optimizer.beta.one", "empty"]),
    "in": (lambda h: "lr" in h, ["lr", "optimizer.name", "optimizer.beta.one", "empty"]),
    "print": (lambda h: repr(h), ["lr", "optimizer.name", "optimizer.beta.one", "empty"]),
    "group": (lambda h: h["optimizer"]["name"], ["lr", "optimizer.beta.one", "empty"]),
    "group as arguments": (lambda h: dict(**h["optimizer"]), ["lr", "optimizer.beta.one", "empty"]),
    "all of the first level": (lambda h: dict(h), ["optimizer.name", "optimizer.beta.one"]),
    "items": (lambda h: list(h.items()), ["optimizer.name", "optimizer.beta.one"]),
    "deep copy": (lambda h: copy.deepcopy(h), []),
    "copy": (lambda h: copy.copy(h), []),
    "merged": (lambda h: h | {"more": 1}, []),
    "json": (lambda h: json.dumps(h), []),
    "pickle": (lambda h: pickle.dumps(h), []),
}


@pytest.mark.parametrize("use", USES)
def test_what_is_read_is_noted(use: str) -> None:
    function, unread = USES[use]
    values, reads = read()
    function(values)
    assert [name.split(";")[0] for name in reads.unread()] == unread


@pytest.mark.parametrize(
    "leave", [copy.copy, copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h)), lambda h: h.copy()]
)
def test_every_copy_is_a_plain_dict(leave: Callable[[Any], Any]) -> None:
    left = leave(read()[0])
    assert left == VALUES
    assert {type(left), type(left["optimizer"]), type(left["optimizer"]["beta"])} == {dict}


def test_unread_name_comes_with_the_one_that_was_asked_for() -> None:
    values, reads = read({"lerning_rate": 0.1, "optimizer": {"nme": 1}})
    values.get("learning_rate", 0.2)
    values["optimizer"].get("name")
    assert reads.unread() == [
        "lerning_rate; did you mean 'learning_rate'?",
        "optimizer.nme; did you mean 'optimizer.name'?",
    ]


# --- in a run ---


@pytest.fixture(autouse=True)
def without_omegaconf(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that has not imported it."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "omegaconf"]:
        monkeypatch.delitem(sys.modules, name)
    yield


def trial(use: Callable[[Any], object], in_loader: bool = False) -> type[LightningAdapter]:
    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            if not in_loader:
                use(context)
            super().__init__(
                context, models.Net(), models.Data(), max_steps=1, enable_model_summary=False, logger=False
            )

        if in_loader:

            def build_training_data_loader(self) -> Any:
                use(self.context)
                return DataLoader(samples(4), 2)

    return Trial


def test_mistyped_hyperparameter_is_named_once_with_a_guess_and_the_users_line(tmp_path: Path) -> None:
    mistyped = {"lerning_rate": 0.3}
    config = {"hyperparameters": {"width": 3, "unused": 1}}

    def use(context: Any) -> None:
        context.get_hparam("width")
        context.get_hparams().get("learning_rate", 0.1)

    with pytest.warns(UserWarning, match="has read no hyperparameter") as caught:
        fit(trial(use), config=config, hparams=mistyped, run_dir=tmp_path)
    (told,) = [entry for entry in caught if "has read no" in str(entry.message)]
    assert "unused, lerning_rate; did you mean 'learning_rate'?" in str(told.message)
    assert "width" not in str(told.message)
    assert told.filename == __file__


@pytest.mark.parametrize(
    ("use", "in_loader"),
    [
        (lambda context: context.get_hparams()["width"], False),
        (lambda context: dict(context.get_hparams()), False),
        (lambda context: context.get_hparam("width"), True),
        (lambda context: context.get_experiment_config()["hyperparameters"]["width"], False),
    ],
    ids=["one", "all", "in a loader", "in the configuration"],
)
def test_hyperparameters_that_are_read_are_not_named(
    use: Callable[[Any], object], in_loader: bool, tmp_path: Path
) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(trial(use, in_loader), hparams={"width": 3}, run_dir=tmp_path)
    assert not [entry for entry in caught if "has read no" in str(entry.message)]


def test_batch_size_is_read_by_who_asks_for_that_of_a_slot(tmp_path: Path) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(
            trial(lambda context: context.get_per_slot_batch_size()), hparams={"global_batch_size": 4}, run_dir=tmp_path
        )
    assert not [entry for entry in caught if "has read no" in str(entry.message)]


def test_omegaconf_takes_what_the_context_gives(tmp_path: Path) -> None:
    from omegaconf import OmegaConf

    def use(context: Any) -> None:
        assert OmegaConf.create(context.get_hparams()).optimizer.lr == 1
        assert OmegaConf.create(context.get_hparam("optimizer")).lr == 1

    fit(trial(use), hparams={"optimizer.lr": 1}, run_dir=tmp_path)
