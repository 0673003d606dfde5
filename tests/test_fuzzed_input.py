"""Whatever is given, it is used, or refused by a ConfigurationError in under a second: tried with thousands of odd inputs."""

from __future__ import annotations

import argparse
import contextlib
import datetime
import decimal
import enum
import fractions
import gc
import io
import sys
import time
import types
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from determined import pytorch
from hypothesis import strategies as st

import lightning_adapter
from lightning_adapter import cli
from lightning_adapter.arguments import Arguments
from lightning_adapter.errors import ConfigurationError, LightningAdapterError
from lightning_adapter.platform import experiment
from lightning_adapter.platform.request import FitRequest
from lightning_adapter.support.trainer_arguments import Job

#: The same inputs in each run. How long each takes is measured in the time of this process, which other processes do not
#: lengthen.
fuzzed = hypothesis.settings(
    derandomize=True,
    deadline=None,
    max_examples=200,
    database=None,
    phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)

GOOD = """\
name: mnist
hyperparameters:
  global_batch_size: 32
  learning_rate: {type: log, base: 10, minval: -4, maxval: -1}
  layers: {type: int, minval: 1, maxval: 4, count: 2}
  act: {type: categorical, vals: [relu, gelu]}
  hidden: {type: const, val: {a: 1}}
searcher: {name: single, metric: val_loss, max_length: {epochs: 2}, smaller_is_better: true}
min_validation_period: {batches: 100}
reproducibility: {experiment_seed: 3}
environment: {environment_variables: [A=1, B=2]}
checkpoint_storage: {save_trial_best: 1}
"""
TOKENS = [
    *("0x", "1_", "0o9", "1e400", "-.inf", ".nan", "2020-13-45", "2020-01-01T99:99:99Z", "4294967296", "9" * 5000),
    *(
        "!!int x",
        "!!float x",
        "!!bool x",
        "!!timestamp x",
        "!!binary x",
        "!!set {a}",
        "!!omap [a]",
        "!foo x",
        "!!null x",
    ),
    *(
        "&a [*a]",
        "&a {b: *a}",
        "*a",
        "<<: *a",
        "<<: 3",
        "? [a, b]",
        "{",
        "}",
        "[",
        "]",
        ":",
        "- ",
        "\n",
        "\n  ",
        "'",
        '"',
    ),
    *(
        "---\n",
        "...\n",
        "%YAML 9.9\n",
        "\t",
        "\x00",
        "\u2028",
        "\ufeff",
        "|",
        ">",
        "# ",
        "null",
        "~",
        "true",
        "[]",
        "{}",
    ),
    *(
        "type: log",
        "type: [a]",
        "base: 0",
        "count: 0",
        "minval: 1e309",
        "0x" + "f" * 5000,
        "\\ud800",
        '"\\ud800"',
        "=",
        "@",
    ),
]


@st.composite
def broken_yaml(draw: st.DrawFn) -> str:
    text = GOOD
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(text)))
        gone = draw(st.sampled_from([0, 0, 1, 3, 10, 40]))
        text = text[:at] + draw(st.sampled_from(TOKENS)) + text[at + gone :]
    return text


def use(config: Any) -> None:
    """All that a local run does with a configuration, up to the constructor of the trial."""
    settings = experiment.read(config)
    values = {"learning_rate": 0.01, "layers": 2, "act": "relu"}
    found = experiment.hyperparameters(settings, values)
    experiment.global_batch_size_check(found, 2)
    experiment.periods(settings, found.get("global_batch_size"))


@contextlib.contextmanager
def within_a_second() -> Iterator[None]:
    gc.disable()  # in a process that has run thousands of tests, it takes as long as what is measured
    try:
        start = time.process_time()
        yield
        assert time.process_time() - start < 1.0
    finally:
        gc.enable()


def refused_or_used(function: Callable[[], object]) -> None:
    """Any other error than ours fails the test, and a message that nobody could read does."""
    with within_a_second(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            function()
        except LightningAdapterError as error:
            assert str(error) and max(map(len, str(error).splitlines())) < 3000


@fuzzed
@hypothesis.given(broken_yaml())
def test_broken_yaml_is_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    refused_or_used(lambda: use(path))


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


BOMB = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))
MERGES = "a0: &a0 {x: 1}\n" + "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}]}}\n" for i in range(1, 40))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("name: 2020-13-45\n", r"line 1, column 7: '2020-13-45' is no timestamp: month must be in 1"),
        ("data:\n  a: !!int x\n", r"line 2, column 6: 'x' is no int"),
        ("data: {a: !!bool x}\n", r"line 1, column 11: 'x' is no bool"),
        ("data: {a: !!float x}\n", r"'x' is no float"),
        (f"data: {{a: {'9' * 5000}}}\n", r"is no int"),
        (f"data: {{a: 0x{'f' * 5000}}}\n", r"data\.a is <int>, which JSON cannot carry"),
        ("data: &a [1, *a]\n", r"line 1, column 14: \*a stands inside of &a"),
        ("data: &a {b: {c: *a}}\n", r"\*a stands inside of &a"),
        (
            "reproducibility: {experiment_seed: 4294967296}\n",
            r"experiment_seed is 4294967296, but must be .* 2\*\*32 - 1",
        ),
        (f"min_validation_period: {{batches: {10**30}}}\n", r"must be one of \{batches: N\}"),
        ("hyperparameters: {a: {type: log, base: 10, minval: 1, maxval: 1000000000}}\n", r"a\.maxval is 1000000000"),
        ("hyperparameters: {a: {type: double, minval: .nan, maxval: 1}}\n", r"a\.minval is nan, but must be a number"),
        ('data: {a: "\\ud800"}\n', r"no valid Unicode"),
        (f"data: {nested(3000)}\n", r"nested more than 50 levels deep"),
        ("- " * 3000, r"nested more than 50 levels deep"),
        ("? " * 3000, r"nested more than 50 levels deep"),
        (f"data:\n{BOMB}", r"more than 100,000 values"),
        (f"data:\n{MERGES}", r"more than 100,000 values"),
        (f"data: {'x' * 2_000_001}\n", r"more than 2,000,000 characters"),
    ],
    ids=range(19),
)
def test_text_that_would_take_long_or_is_no_value_is_refused_at_once(tmp_path: Path, text: str, problem: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text.replace("\na", "\n  a"), encoding="utf-8")
    with within_a_second(), pytest.raises(ConfigurationError, match=problem):
        use(path)


# --- values in Python ---


class Color(enum.Enum):
    RED = 1


class Unprintable:
    """Its text cannot be had, and neither its truth."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")

    def __bool__(self) -> bool:
        raise RuntimeError("neither true nor false")

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("not comparable")

    __hash__ = None  # type: ignore[assignment]


class OddPath:
    def __fspath__(self) -> Any:
        return b"bytes"


def recursive() -> Any:
    itself: dict[str, Any] = {}
    itself["a"] = [itself]
    return itself


def deep() -> Any:
    value: Any = 1
    for _ in range(3000):
        value = {"a": value}
    return value


def bomb() -> Any:
    value: Any = [1, 1]
    for _ in range(40):
        value = [value, value]
    return {"a": value}


ODD: list[Callable[[], Any]] = [
    *(lambda v=v: v for v in (0, 1, -1, 3, -3, 2**40, 2**63, 10**400, True, False, None, 0.5, 1.5, 2.0, -0.1)),  # type: ignore[misc]
    *(
        lambda v=v: v
        for v in (float("nan"), float("inf"), -float("inf"), 1e308, 1j, b"x", b"", Ellipsis, NotImplemented)
    ),  # type: ignore[misc]
    *(
        lambda v=v: v
        for v in ("", " ", "x", "yes", "2", "1:2", "00:00:00:05", "a" * 300, "a/" * 3000, "\0", "\ud800", "a\nb")
    ),  # type: ignore[misc]
    *(lambda v=v: v for v in ({}, [], (), set(), {1}, [1], ["a"], {"a": 1}, {1: 2}, {"second": 5}, {"days": 10**12})),  # type: ignore[misc]
    *(lambda v=v: v for v in ({"hours": "x"}, {"seconds": float("nan")}, range(3), object, object(), print, len, int)),  # type: ignore[misc]
    *(lambda v=v: v for v in (np.int64(2), np.float32(0.5), np.bool_(True), np.zeros(2), np.array(1), np.array(["a"]))),  # type: ignore[misc]
    *(
        lambda v=v: v
        for v in (torch.tensor(2), torch.zeros(2), datetime.timedelta(1), datetime.timedelta(-1), Color.RED)
    ),  # type: ignore[misc]
    *(
        lambda v=v: v
        for v in (decimal.Decimal(1), fractions.Fraction(1, 2), datetime.date(2020, 1, 1), Path("x"), Color)
    ),  # type: ignore[misc]
    *(lambda v=v: v for v in (pytorch.Batch(2), pytorch.Batch(0), pytorch.Batch(np.int64(2)), pytorch.Epoch(1.5))),  # type: ignore[misc, arg-type]
    *(lambda v=v: v for v in (pytorch.Batch("ab"), pytorch.Epoch(True), pytorch.Batch([1, 2]), pytorch.Batch(None))),  # type: ignore[misc, arg-type]
    *(lambda v=v: v for v in (pytorch.Batch, pytorch.Epoch(2**70), argparse.Namespace(a=1), argparse.Namespace(), sys)),  # type: ignore[misc]
    *(
        Unprintable,
        OddPath,
        recursive,
        deep,
        bomb,
        lambda: types.SimpleNamespace(a=1),
        lambda: [Unprintable()],
        lambda: iter(()),
    ),
]
odd = st.sampled_from(ODD)
ARGUMENTS = sorted(Arguments.__dataclass_fields__)
FIT = sorted(FitRequest.__dataclass_fields__)


@fuzzed
@hypothesis.given(st.dictionaries(st.sampled_from(ARGUMENTS), odd, min_size=1, max_size=4))
def test_wrong_arguments_of_the_adapter_are_refused(given: dict[str, Callable[[], Any]]) -> None:
    refused_or_used(lambda: Arguments.of({name: make() for name, make in given.items()}, Job()))


@fuzzed
@hypothesis.given(st.dictionaries(st.sampled_from(FIT), odd, min_size=1, max_size=4))
def test_wrong_arguments_of_fit_are_refused(given: dict[str, Callable[[], Any]]) -> None:
    def asked() -> None:
        values: dict[str, Any] = {**dict.fromkeys(FIT), **{name: make() for name, make in given.items()}}
        request = FitRequest.of(**values)
        settings = experiment.read(request.config)
        experiment.hyperparameters(settings, request.hparams)

    refused_or_used(asked)


@pytest.mark.parametrize("make", ODD, ids=range(len(ODD)))
def test_no_single_value_gets_through_any_argument_as_a_bare_error(make: Callable[[], Any]) -> None:
    for name in ARGUMENTS:
        refused_or_used(lambda name=name: Arguments.of({name: make()}, Job()))
    for name in FIT:
        refused_or_used(lambda name=name: FitRequest.of(**{**dict.fromkeys(FIT), name: make()}))
    for config in ({"data": {"a": make()}}, {"hyperparameters": {"a": make()}}, make()):
        refused_or_used(lambda config=config: use(config))
    refused_or_used(lambda: experiment.hyperparameters({"hyperparameters": {"a": 1, "b": {"c": 1}}}, {"a": make()}))
    refused_or_used(lambda: experiment.hyperparameters({"hyperparameters": {"a": 1, "b": {"c": 1}}}, {"b": make()}))
    refused_or_used(lambda: experiment.override({"a": 1, "b": {"c": 1}}, {"b": make()}))


# --- the command ---

WORDS = [
    *("fit", "check", "--config", "--hparam", "--seed", "--max-epochs", "--max-steps", "--run-dir", "--resume-from"),
    *(
        "--warm-start-from",
        "--validation-period",
        "--checkpoint-period",
        "--version",
        "json:JSONDecoder",
        "no_module:X",
    ),
    *(
        "a.py:X",
        "a" * 300 + ".py:X",
        "\0.py:X",
        "a/" * 3000 + "x.py:X",
        ":",
        "..a:X",
        "a=1",
        "a=[1",
        "a.b=2",
        "=",
        "a=&b [*b]",
    ),
    *(
        f"a={nested(500)}",
        "a=2020-13-45",
        "a..b=1",
        "\0",
        "\ud800",
        "",
        "-1",
        "0",
        "9" * 5000,
        "1 epochs",
        "x",
        "--",
        "-h",
    ),
    *("good.yaml", "/", "/dev/null", "a" * 300, "\0=1", "\ud800=1", "a=\ud800", "global_batch_size=x", "1.5"),
]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A directory with a configuration, and a runner that trains nothing but reads all that it was given."""

    def fit(trial_class: type, **given: Any) -> None:
        request = FitRequest.of(**given)
        use_values = experiment.hyperparameters(experiment.read(request.config), request.hparams)
        experiment.global_batch_size_check(use_values, 2)

    runner: Any = types.ModuleType("lightning_adapter.platform.fit")
    runner.fit = fit
    folder = tmp_path_factory.mktemp("project")
    (folder / "good.yaml").write_text("name: x\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        patch.setitem(sys.modules, "lightning_adapter.platform.fit", runner)
        patch.setattr(lightning_adapter, "runner", runner, raising=False)
        yield


def status_of(words: list[str]) -> tuple[int, str]:
    """The exit status of a command, and what it says on stderr."""
    with contextlib.redirect_stderr(io.StringIO()) as told, contextlib.redirect_stdout(io.StringIO()):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                status: Any = cli.main(words)
            except SystemExit as ended:
                status = ended.code
    return status, told.getvalue()


@pytest.mark.usefixtures("project")
@fuzzed
@hypothesis.given(st.lists(st.sampled_from(WORDS), max_size=6))
def test_wrong_words_end_the_command_with_a_status(words: list[str]) -> None:
    status, told = status_of(["fit", "json:JSONDecoder", *words])
    assert status == 0 or (status == 2 and "error: " in told)


@pytest.mark.usefixtures("project")
@pytest.mark.parametrize("word", WORDS, ids=range(len(WORDS)))
def test_every_wrong_word_is_refused_wherever_it_stands(word: str) -> None:
    commands = [["fit", word], ["check", word], [word]]
    commands += [
        ["fit", "json:JSONDecoder", option, word] for option in WORDS if option.startswith("--") and option != "--"
    ]
    for words in commands:
        status, told = status_of(words)
        assert status == 0 or (status == 2 and "error: " in told), words
