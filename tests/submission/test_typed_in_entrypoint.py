"""What an entrypoint types after fit counts on this machine too, as far as it is known here."""

from __future__ import annotations

import json

import pytest

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform.typed_period import parse_period
from lightning_adapter.submission.typed_in_entrypoint import TypedInEntrypoint, typed_in_entrypoint

FIT = "python3 -m determined.launch.torch_distributed -- python3 -m lightning_adapter fit"


def test_options_that_each_trial_has_are_plain_values() -> None:
    words = (
        "--max-steps 7 --validation-period 5 --checkpoint-period '2 epochs' --warm-start-from w.ckpt --hparam a.b=1e-3"
    )
    found = typed_in_entrypoint({"entrypoint": f"{FIT} model_def:T {words} --seed 3 --run-dir d --test"})
    options = {
        "max_steps": 7,
        "validation_period": "5 batches",
        "checkpoint_period": "2 epochs",
        "warm_start_from": "w.ckpt",
    }
    assert found == TypedInEntrypoint("model_def:T", {"a": {"b": 0.001}}, options)
    assert json.loads(json.dumps(found.options)) == options
    assert parse_period(str(options["checkpoint_period"])).number == 2


def test_words_that_name_a_configuration_are_kept() -> None:
    found = typed_in_entrypoint({"entrypoint": f"{FIT} --hydra configs model=wide --max-epochs 2"})
    assert found.target == "lightning_adapter:ConfiguredTrial"
    assert found.words == ("--hydra", "configs", "model=wide", "--max-epochs", "2")
    assert found.options == {"max_epochs": 2}


@pytest.mark.parametrize(
    ("entrypoint", "target", "notice"),
    [
        (None, None, None),
        ("model_def:T", "model_def:T", None),
        (f"{FIT} model_def:T --max-epochs $EPOCHS", "model_def:T", "variables are set on a cluster alone"),
        (f"{FIT} $TARGET --max-epochs 2", None, "variables are set on a cluster alone"),
        ("python3 train.py", None, "nobody can tell from here what it trains"),
    ],
)
def test_entrypoint_that_types_nothing_that_is_known(
    entrypoint: str | None, target: str | None, notice: str | None
) -> None:
    found = typed_in_entrypoint({} if entrypoint is None else {"entrypoint": entrypoint})
    assert (found.target, found.hparams, found.options) == (target, {}, {})
    assert found.notice is None if notice is None else notice in str(found.notice)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("model_def:T --epochs 3", "unrecognized"),
        ("model_def:T --hparam lr", "is no assignment"),
        ("--seed 3", "arguments are required: FILE"),
    ],
)
def test_words_that_fit_would_refuse_are_refused_with_the_entrypoint(words: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"the entrypoint is .*{message}"):
        typed_in_entrypoint({"entrypoint": f"{FIT} {words}"})
