"""When are loaders asked for, how many of their batches are used, and between which batches may a validation be?"""

from __future__ import annotations

import os
import warnings
from typing import Any

import pytest
from torch.utils.data import DataLoader

from data.parts import Numbers, Stream
from lightning_adapter.errors import CheckpointError, ConfigurationError
from lightning_adapter.versions import lightning_private
from trainer.parts import HOST, Data, Misconfiguration, loader_of

UNKNOWN = float("inf")

# --- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "limit", "expected"),
    [
        (10, 1.0, 10),
        (10, 0.25, 2),
        (10, 3, 3),
        (10, 30, 10),
        (10, 1, 1),
        (UNKNOWN, 1.0, UNKNOWN),
        (UNKNOWN, 3, 3),
    ],
)
def test_epoch_has_the_batches_that_the_limit_leaves(length: float, limit: float, expected: float) -> None:
    data = Data(lambda: loader_of(length), limit_train_batches=limit, val_check_interval=1.0)

    data.connector.load_training()

    assert data.connector.training is not None
    assert data.connector.training.num_batches == data.progress.num_training_batches == expected


def test_validation_has_the_batches_that_its_own_limit_leaves_of_each_loader() -> None:
    data = Data(validation=lambda: [loader_of(10), loader_of(4)], limit_val_batches=0.5, num_sanity_val_steps=3)

    data.connector.load_validation()

    assert data.connector.validation is not None
    assert data.connector.validation.max_batches == [5, 2]
    assert data.connector.num_sanity_val_batches == [3, 2]


def test_validation_loaders_side_by_side_are_shown_so() -> None:
    combined = lightning_private.combined_loader(HOST, [loader_of(4), loader_of(2)], "min_size")
    data = Data(validation=lambda: combined)

    data.connector.load_validation()

    assert lightning_private.uncombined(data.connector.combined_validation(), "")[0] == "min_size"


def test_cores_are_shared_by_the_processes_of_a_node(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: range(16), raising=False)
    data = Data(size=8, nodes=2)

    with pytest.warns(UserWarning, match="'val_dataloader' does not have many workers.*`num_workers=3`"):
        data.connector.load_validation()


def test_fraction_that_leaves_no_batch_is_refused_with_the_least_that_does() -> None:
    data = Data(lambda: loader_of(4), limit_train_batches=0.2)

    with pytest.raises(Misconfiguration, match=r"0\.2 \* 4 < 1.*`limit_train_batches=0\.25`"):
        data.connector.load_training()


def test_fraction_of_an_unknown_length_is_refused() -> None:
    data = Data(validation=lambda: loader_of(UNKNOWN), limit_val_batches=0.5)

    with pytest.raises(Misconfiguration, match=r"limit_val_batches=0\.5 must be `1\.0` or an int.*`num_val_batches`"):
        data.connector.load_validation()


def test_limit_of_no_batches_asks_for_no_loaders() -> None:
    data = Data(limit_train_batches=0, limit_val_batches=0)

    data.connector.load_training()
    data.connector.load_validation()

    assert data.asked == {"train": 0, "val": 0}
    assert not data.connector.enable_validation


def test_empty_training_data_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="training data is empty"):
        Data(lambda: loader_of(0)).connector.load_training()


def test_number_of_batches_that_user_code_sets_ends_the_epoch_once_loaders_are_there() -> None:
    data = Data()
    data.connector.limit_epoch(2)
    before = data.progress.num_training_batches
    data.connector.load_training()
    data.connector.limit_epoch(2)

    assert (before, data.progress.num_training_batches) == (UNKNOWN, 2)


# --- the validation interval ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("length", "given", "expected"),
    [
        (10, {}, 10),
        (10, {"val_check_interval": 0.25}, 2),
        (10, {"val_check_interval": 0.01}, 1),
        (10, {"val_check_interval": 3}, 3),
        (10, {"val_check_interval": 10}, 10),
        (10, {"val_check_interval": 30, "check_val_every_n_epoch": None}, 30),
        (10, {"val_check_interval": 30, "limit_val_batches": 0}, 30),
        (10, {"val_check_interval": "00:00:01:00"}, None),
        (UNKNOWN, {}, UNKNOWN),
        (UNKNOWN, {"val_check_interval": 3}, 3),
        (10, {"val_check_interval": 0, "limit_val_batches": 0}, UNKNOWN),
    ],
)
def test_validation_interval_in_batches(length: float, given: dict[str, Any], expected: float | None) -> None:
    data = Data(lambda: loader_of(length), **given)

    data.connector.load_training()

    assert data.connector.val_check_batch == expected


def test_interval_longer_than_an_epoch_is_refused() -> None:
    data = Data(lambda: loader_of(3), val_check_interval=4)

    with pytest.raises(ConfigurationError, match=r"`val_check_interval` \(4\) must be less than or equal .*\(3\)"):
        data.connector.load_training()


def test_interval_of_no_batches_is_refused_where_there_is_a_validation() -> None:
    with pytest.raises(ConfigurationError, match="val_check_interval=0 names no batch"):
        Data(val_check_interval=0).connector.load_training()


def test_fraction_of_an_epoch_of_unknown_length_is_refused() -> None:
    data = Data(lambda: loader_of(UNKNOWN), val_check_interval=0.5)

    with pytest.raises(Misconfiguration, match=r"`val_check_interval` must be time based, `1\.0`"):
        data.connector.load_training()


@pytest.mark.parametrize(
    ("every", "expected"), [(1, [True, True, True, True]), (2, [False, True, False, True]), (None, [True] * 4)]
)
def test_epochs_that_validate(every: int | None, expected: list[bool]) -> None:
    data = Data(check_val_every_n_epoch=every, val_check_interval=2)
    seen = []
    for _ in range(4):
        seen.append(data.connector.validates_in_epoch)
        data.epoch_passes()

    assert seen == expected


def test_nothing_to_validate_on_validates_never() -> None:
    data = Data(options={"can_validate": False})

    data.connector.load_validation()

    assert not data.connector.enable_validation and not data.connector.validates_in_epoch
    assert data.asked["val"] == 0
    assert data.connector.num_sanity_val_batches == []


# --- asking again -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("every", "expected"), [(0, [1, 1, 1, 1, 1]), (1, [1, 2, 3, 4, 5]), (2, [1, 1, 2, 2, 3])])
def test_loaders_are_asked_for_again_every_n_epochs(every: int, expected: list[int]) -> None:
    data = Data(reload_dataloaders_every_n_epochs=every)
    training, validation = [], []
    for _ in range(5):
        data.connector.load_training()
        data.connector.load_training()
        data.connector.load_validation()
        training.append(data.asked["train"])
        validation.append(data.asked["val"])
        data.epoch_passes()

    assert training == validation == expected


def test_loaders_of_a_sanity_check_do_not_count_as_those_of_an_epoch_that_does_not_validate() -> None:
    counted = Data(reload_dataloaders_every_n_epochs=1)
    uncounted = Data(reload_dataloaders_every_n_epochs=1, check_val_every_n_epoch=2)
    for data in (counted, uncounted):
        data.connector.load_validation(sanity_checking=True)
        data.connector.load_validation()

    assert (counted.asked["val"], uncounted.asked["val"]) == (1, 2)


def test_loaders_that_an_estimate_made_can_be_forgotten() -> None:
    data = Data()
    data.connector.load_training()

    data.connector.forget_training()
    data.connector.load_training()

    assert data.asked["train"] == 2


def test_epochs_in_which_loaders_were_asked_for_go_into_a_checkpoint() -> None:
    first, second = Data(reload_dataloaders_every_n_epochs=2), Data(reload_dataloaders_every_n_epochs=2)
    first.connector.load_training()
    first.epoch_passes()
    second.connector.load_training()
    second.epoch_passes()
    state = first.connector.state_dict()

    second.connector.load_state_dict({**state, "loaded_in": [-1, -1]})
    second.connector.load_training()
    first.connector.load_training()

    assert state["loaded_in"] == [0, float("-inf")]
    assert (first.asked["train"], second.asked["train"]) == (1, 2)


def test_checkpoint_of_mid_epoch_of_another_length_is_refused() -> None:
    first, second = Data(lambda: loader_of(4)), Data(lambda: loader_of(5))
    for data in (first, second):
        data.connector.load_training()
        data.progress.advance_epoch_ready()
        data.progress.advance_epoch_started()
        data.progress.batch.advance_ready(False)

    with pytest.raises(CheckpointError, match="after batch 1 of an epoch of 4 batches; now an epoch has 5"):
        second.connector.load_state_dict(first.connector.state_dict())


# --- what is made of loaders ------------------------------------------------------------------------------------------


def test_several_processes_compare_lengths_and_train_on_shards() -> None:
    alike: list[bool] = []
    options = {"allgather": lambda mine: [mine, [2.0]], "validation_loaded": alike.append}
    data = Data(lambda: loader_of(8), lambda: loader_of(6), size=2, options=options)

    data.connector.load_training()
    data.connector.load_validation()

    assert data.ranks.checked == [4]
    assert data.connector.training is not None
    assert [int(batch) for batch in data.connector.training.loaders[0]] != list(range(8))
    assert data.connector.training.num_batches == 4
    assert data.connector.validation is not None
    assert (data.connector.validation.max_batches, data.connector.validation.longest) == ([3], [3])
    assert alike == [False]  # the other process has two batches


def test_sharding_can_be_left_to_the_user() -> None:
    data = Data(lambda: loader_of(8), size=2, options={"shards": False})

    data.connector.load_training()

    assert data.progress.num_training_batches == 8


def test_overfitting_reads_the_same_batches_in_order() -> None:
    data = Data(lambda: DataLoader(Numbers(8), shuffle=True), overfit_batches=3)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.connector.load_training()

    assert data.connector.training is not None
    assert [int(batch) for batch in data.connector.training.loaders[0]] == list(range(8))
    assert data.progress.num_training_batches == 3


def test_shuffled_validation_is_warned_about() -> None:
    data = Data(validation=lambda: DataLoader(Numbers(4), shuffle=True))

    with pytest.warns(UserWarning, match="`val_dataloader`'s sampler has shuffling enabled"):
        data.connector.load_validation()


@pytest.mark.parametrize(
    ("has_loggers", "given", "warned"),
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"log_every_n_steps": 4}, False),
        (True, {"fast_dev_run": True}, False),
    ],
)
def test_epoch_too_short_to_be_logged_is_warned_about(has_loggers: bool, given: dict[str, Any], warned: bool) -> None:
    data = Data(has_loggers=has_loggers, **given)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        data.connector.load_training()

    told = [str(entry.message) for entry in caught if "logging interval" in str(entry.message)]
    assert bool(told) is warned
    assert not warned or "(4)" in told[0]


def test_what_is_no_loader_is_refused_by_the_name_of_its_hook() -> None:
    with pytest.raises(ConfigurationError, match="train_dataloader"):
        Data(lambda: 5).connector.load_training()


def test_length_of_a_limited_stream_is_known() -> None:
    data = Data(lambda: DataLoader(Stream()), limit_train_batches=2)

    data.connector.load_training()

    assert data.progress.num_training_batches == 2
    data.connector.stop()
