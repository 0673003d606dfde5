"""Arguments of a trainer: each fault is said, all of them together, and what is left is what Lightning's Trainer holds."""

from __future__ import annotations

import inspect
import math
import re
import warnings
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
from determined import pytorch

from lightning_adapter.arguments import Arguments, canonical_precision
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.support import Support, rows, trainer_arguments
from lightning_adapter.support.trainer_arguments import Job

FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "strategy object": ({"strategy": object()}, r"is a strategy object; .* give its name"),
    "strategy of several devices": ({"strategy": "dp"}, r"strategy='dp' runs several devices in one process"),
    "sharded strategy": ({"strategy": "fsdp"}, r"strategy='fsdp' shards the model"),
    "misspelt strategy": ({"strategy": "dpp"}, r"did you mean 'ddp'\?"),
    "precision": ({"precision": 8}, r"precision=8 is not one of"),
    "integer": ({"accumulate_grad_batches": 0}, r"accumulate_grad_batches=0 has to be an integer, 1 or more\."),
    "boolean for an integer": ({"max_epochs": True}, r"max_epochs=True has to be an integer, -1 or more, or None\."),
    "fraction above one": ({"limit_train_batches": 1.5}, r"invalid value 1\.5 for limit_train_batches"),
    "text for a fraction": ({"overfit_batches": "x"}, r"overfit_batches='x' has to be a fraction"),
    "sanity steps": ({"num_sanity_val_steps": -2}, r"num_sanity_val_steps=-2 has to be an integer, -1 \(all\) or more"),
    "fast_dev_run": ({"fast_dev_run": -1}, r"fast_dev_run=-1 is not a valid configuration"),
    "fraction across epochs": (
        {"check_val_every_n_epoch": None, "val_check_interval": 0.5},
        r"should be an integer or",
    ),
    "duration": ({"val_check_interval": "1:2"}, r"val_check_interval='1:2' is no duration"),
    "clipping": ({"gradient_clip_val": True}, r"gradient_clip_val=True has to be a number or None"),
    "choice": ({"on_nan": "stop"}, r"on_nan='stop' has to be one of 'warn', 'raise'\."),
    "period": ({"check_ranks_every": 10}, r"check_ranks_every=10 is no period"),
    "level without apex": ({"amp_level": "O1"}, r"amp_level='O1' belongs to apex"),
    "sanity steps in text": ({"num_sanity_val_steps": "2"}, r"num_sanity_val_steps='2' has to be an integer"),
    "fast_dev_run in text": ({"fast_dev_run": "yes"}, r"fast_dev_run='yes' is not a valid configuration.*True, False"),
    "unknown time": (
        {"val_check_interval": {"second": 5}},
        r"val_check_interval={'second': 5} is no duration: 'second'",
    ),
    "time of another type": ({"max_time": 3600}, r"max_time=3600 is no duration; write it as 'DD:HH:MM:SS'"),
    "endless time": ({"max_time": {"days": 10**12}}, r"max_time=.* is no duration: "),
    "text for a switch": ({"enable_progress_bar": "no"}, r"enable_progress_bar='no' has to be True or False"),
    "deterministic": ({"deterministic": "wran"}, r"deterministic='wran' has to be True, False or 'warn'"),
    "class of a callback": ({"callbacks": [pl.callbacks.Timer]}, r"callbacks holds the class Timer; give an instance"),
    "no callback": ({"callbacks": ["early"]}, r"callbacks holds 'early', which is no callback"),
    "no logger": ({"logger": "csv"}, r"logger holds 'csv', which is no logger"),
    "period of nothing": ({"check_ranks_every": pytorch.Batch(0)}, r"Batch\(0\) has to count at least 1"),
    "unknown name": ({"max_epoch": 3}, r"no argument 'max_epoch'; did you mean 'max_epochs'\?"),
    "rejected name": ({"profiler": "simple"}, r"^LightningAdapter does not take profiler='simple': .*\. Instead, set "),
    "devices of another job": (
        {"devices": 2},
        r"^devices=2 is not what this job has, which is 1 node with 1 CPU process: ",
    ),
    "directory": ({"default_root_dir": 3}, r"default_root_dir=3 has to be the path of a directory, or None\."),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_value_that_cannot_be_used_is_said(fault: str) -> None:
    given, message = FAULTS[fault]
    with pytest.raises(ConfigurationError, match=message):
        Arguments.of(given, Job())


ARGUMENTS = inspect.signature(pl.Trainer.__init__).parameters
DEFAULTS = {name: parameter.default for name, parameter in ARGUMENTS.items() if name != "self"}


def test_every_default_of_lightnings_trainer_is_taken() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Arguments.of(DEFAULTS, Job("cuda", 4, 2))


GPUS, CPUS = Job("cuda", 2, 3), Job("cpu", 2, 1)


@pytest.mark.parametrize(
    ("job", "given"),
    [
        (GPUS, {"accelerator": "gpu", "devices": 2, "num_nodes": 3}),
        (GPUS, {"accelerator": "CUDA", "devices": "2", "num_nodes": 1}),
        (GPUS, {"devices": [0, 1]}),
        (GPUS, {"devices": "0, 1"}),
        (GPUS, {"devices": -1}),
        (GPUS, {"gpus": 2}),
        (GPUS, {"gpus": "-1"}),
        (CPUS, {"accelerator": "cpu", "devices": 2}),
        (CPUS, {"gpus": 0, "num_processes": 2}),
        (CPUS, {"plugins": [], "enable_checkpointing": True, "limit_test_batches": 1.0}),
    ],
    ids=str,
)
def test_argument_that_asks_for_what_the_job_has_is_taken(job: Job, given: dict[str, Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert Arguments.of(given, job) == Arguments()


@pytest.mark.parametrize(
    ("job", "name", "value"),
    [
        (GPUS, "accelerator", "cpu"),
        (GPUS, "accelerator", "tpu"),
        (GPUS, "devices", 1),
        (GPUS, "devices", [1]),
        (GPUS, "devices", "1,"),
        (GPUS, "devices", "some"),
        (GPUS, "devices", True),
        (GPUS, "num_nodes", 2),
        (CPUS, "accelerator", "gpu"),
        (CPUS, "gpus", 1),
        (CPUS, "gpus", -1),
        (CPUS, "num_processes", True),
    ],
)
def test_argument_that_asks_for_another_job_is_refused(job: Job, name: str, value: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=rf"^{name}={re.escape(repr(value))} is not what this job has, .*: .*Instead"
    ):
        Arguments.of({name: value}, job)


def test_numbers_of_batches_to_test_and_to_predict_are_taken_as_those_to_validate() -> None:
    made = Arguments.of({"limit_test_batches": 3, "limit_predict_batches": 0.5}, Job())
    assert (made.limit_test_batches, made.limit_predict_batches) == (3, 0.5)
    assert Arguments(fast_dev_run=2).limit_test_batches == 2
    with pytest.raises(ConfigurationError, match=r"invalid value 1\.5 for limit_test_batches"):
        Arguments(limit_test_batches=1.5)


@pytest.mark.parametrize(
    "row", [row for row in rows("Trainer argument") if row.support is not Support.SUPPORTED], ids=lambda row: row.name
)
def test_message_on_an_argument_is_made_of_sentences(row: Any) -> None:
    value = object()

    assert re.fullmatch(
        rf"[^:]*{row.name}={re.escape(repr(value))}[^:]*: \S.*[^.]\. Instead, [a-z].*[^.]\.",
        trainer_arguments.message(row, value, Job()),
    )


def test_path_and_clipping_are_read_as_lightning_reads_them() -> None:
    home = pl.Trainer(default_root_dir="~/x/../y", logger=False, enable_checkpointing=False).default_root_dir

    assert Arguments(default_root_dir="~/x/../y").default_root_dir == home
    assert Arguments(default_root_dir="memory://x/../y").default_root_dir == "memory://x/../y"
    assert Arguments(gradient_clip_algorithm="Norm").gradient_clip_algorithm == "norm"


def test_faults_of_names_and_of_values_come_in_one_message() -> None:
    with pytest.raises(ConfigurationError) as caught:
        Arguments.of({"max_epoch": 3, "precision": 8, "max_steps": 1.5}, Job())
    assert [line.split()[0] for line in str(caught.value).splitlines()] == [
        "LightningAdapter",
        "precision=8",
        "max_steps=1.5",
    ]


@pytest.mark.parametrize(
    ("given", "name"),
    [(16, "16-mixed"), ("bf16", "bf16-mixed"), (32, "32-true"), ("64", "64-true"), ("16-true", "16-true")],
)
def test_precision_has_lightnings_name(given: Any, name: str) -> None:
    assert canonical_precision(given) == name


def test_none_asks_for_the_default_except_where_it_has_a_meaning() -> None:
    arguments = Arguments(max_steps=None, num_sanity_val_steps=None, check_val_every_n_epoch=None)  # type: ignore[arg-type]
    assert (arguments.max_steps, arguments.num_sanity_val_steps) == (-1, 0)
    assert arguments.check_val_every_n_epoch is None


@pytest.mark.parametrize(
    "given",
    [
        {"limit_train_batches": 3.0, "limit_val_batches": 1},
        {"overfit_batches": 2},
        {"overfit_batches": 0.5},
        {"fast_dev_run": 1},
        {"fast_dev_run": 3, "max_epochs": 9, "val_check_interval": 2},
        {"fast_dev_run": 3, "overfit_batches": 2},
        {"val_check_interval": 4.0},
        {"num_sanity_val_steps": -1},
    ],
)
def test_arguments_that_decide_others_decide_them_as_in_lightning(given: dict[str, Any]) -> None:
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    trainer = pl.Trainer(**{"num_sanity_val_steps": 0, **given}, **quiet)
    arguments = Arguments.of(given, Job())
    for name in (
        *("limit_train_batches", "limit_val_batches", "overfit_batches", "fast_dev_run", "val_check_interval"),
        *("num_sanity_val_steps", "check_val_every_n_epoch", "max_steps"),
    ):
        ours, theirs = getattr(arguments, name), getattr(trainer, name)
        assert (ours, type(ours)) == (theirs, type(theirs)), name


@pytest.mark.parametrize("given", ["00:01:00:30", timedelta(hours=1, seconds=30), {"minutes": 60, "seconds": 30}])
def test_time_between_validations_is_kept_in_seconds(given: Any) -> None:
    arguments = Arguments(val_check_interval=given)
    assert (arguments.val_check_time_interval, arguments.val_check_interval) == (3630.0, 1.0)


def test_barebones_switches_off_what_costs_time() -> None:
    arguments = Arguments(barebones=True, num_sanity_val_steps=2, log_every_n_steps=10)
    assert not (arguments.enable_progress_bar or arguments.enable_model_summary or arguments.logger)
    assert (arguments.num_sanity_val_steps, arguments.log_every_n_steps) == (0, 0)


def test_later_limits_win_and_none_leaves_one_as_it_is() -> None:
    arguments = Arguments(max_epochs=3, max_steps=7, check_ranks_every=pytorch.Batch(2))
    arguments.train_until(max_epochs=None, max_steps=5)
    assert (arguments.max_epochs, arguments.max_steps) == (3, 5)
    arguments.train_until(max_epochs=-1)
    assert (arguments.max_epochs, arguments.max_steps) == (-1, 5)


def test_all_sanity_batches_are_asked_for_by_minus_one() -> None:
    assert Arguments(num_sanity_val_steps=-1).num_sanity_val_steps == math.inf


def test_numbers_of_numpy_are_taken_as_lightning_takes_them() -> None:
    arguments = Arguments(max_epochs=np.int64(3), limit_train_batches=np.float32(0.5), limit_val_batches=np.int64(4))  # type: ignore[arg-type]
    values = arguments.max_epochs, arguments.limit_train_batches, arguments.limit_val_batches
    assert [(type(value), value) for value in values] == [(int, 3), (float, 0.5), (int, 4)]


@pytest.mark.parametrize("given", ["00:02:00:00", timedelta(hours=2), {"hours": 2}])
def test_longest_time_is_taken_in_every_form(given: Any) -> None:
    assert Arguments(max_time=given).max_time == given
