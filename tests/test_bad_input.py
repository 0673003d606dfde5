"""Does each kind of bad input end in one message that says what to do, before training and without a traceback?

Every case is trained by the command, whose exit status and text a person sees. `python` cases call `fit` as well.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from determined import pytorch
from torch.utils.data import DataLoader, TensorDataset

from lightning_adapter import LightningAdapter, cli, fit
from lightning_adapter.errors import CheckpointError, ConfigurationError, LightningAdapterError
from parity.models import flavour, samples

models = flavour("pytorch_lightning", ours=True)

MODEL_DEF = """
import torch
from lightning_adapter import LightningAdapter
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)

class Trial(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, models.Net(), models.Data(), max_epochs=1, enable_model_summary=False)

class AsksLearningRate(LightningAdapter):
    def __init__(self, context):
        context.get_hparam("learning_rate")

class AsksBatchSize(LightningAdapter):
    def __init__(self, context):
        context.get_per_slot_batch_size()

class AsksGlobalBatchSize(LightningAdapter):
    def __init__(self, context):
        context.get_global_batch_size()

class UnknownArgument(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, models.Net(), models.Data(), gradient_clip=0.5, max_epoch=3)

class NoModule(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, torch.nn.Linear(1, 1))

class NoData(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, models.Net())

class WrongDatamodule(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, models.Net(), [1, 2])

class Sharded(models.Net):
    def configure_sharded_model(self):
        pass

    def tbptt_split_batch(self, batch, split_size):
        pass

class RejectedHooks(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, Sharded(), models.Data())

class NotATrial:
    pass
"""


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory with a model definition and a good configuration, which is the current one."""
    (tmp_path / "bad_model_def.py").write_text(MODEL_DEF)
    (tmp_path / "good.yaml").write_text("hyperparameters:\n  global_batch_size: 8\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield tmp_path
    sys.modules.pop("bad_model_def", None)


def message_of(words: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says when it fails as expected; nothing may have been trained."""
    assert cli.main(["fit", *words]) == status
    error = capsys.readouterr().err
    lines = [line for line in error.splitlines() if line.startswith("lightning-adapter: error: ")]
    assert len(lines) == 1 and "Traceback" not in error, error
    assert not list(Path().glob("runs/*/*/checkpoints/*")), "something was trained"
    return error[error.index(lines[0]) :]


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        ("bad_model_def", ["names no class", "FILE_OR_MODULE:Class"]),
        ("bad_model_def:Tril", ["has no Tril", "did you mean 'Trial'"]),
        ("bad_model_de:Trial", ["no module 'bad_model_de'", "did you mean 'bad_model_def'"]),
        ("bad_model_de.py:Trial", ["is not there", "bad_model_def.py"]),
        ("bad_model_def:NotATrial", ["NotATrial", "Derive a class from LightningAdapter"]),
        ("bad_model_def:NoModule", ["torch.nn.modules.linear.Linear", "no LightningModule", "DETLM"]),
        ("bad_model_def:NoData", ["Net has no train_dataloader()", "build_training_data_loader"]),
        ("bad_model_def:WrongDatamodule", ["builtins.list", "no LightningDataModule", "DETDM"]),
        (
            "bad_model_def:UnknownArgument",
            ["no argument 'gradient_clip'", "'gradient_clip_val'", "no argument 'max_epoch'", "'max_epochs'"],
        ),
    ],
)
def test_target_or_trial_that_cannot_train(target: str, parts: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    message = message_of([target], 2, capsys)
    assert all(part in message for part in parts), message


def test_all_rejected_hooks_are_in_one_message(capsys: pytest.CaptureFixture[str]) -> None:
    message = message_of(["bad_model_def:RejectedHooks"], 2, capsys)
    assert "configure_sharded_model" in message and "tbptt_split_batch" in message


@pytest.mark.parametrize(
    ("target", "text", "words", "parts"),
    [
        ("Trial", "hyperparameters: {a: [1, 2", [], ["config.yaml is not valid YAML", "line 1"]),
        ("Trial", "- a\n- b\n", [], ["holds a list", "top level"]),
        ("Trial", "", [], ["config.yaml is empty"]),
        ("Trial", "hyperparameter:\n  a: 1\n", [], ["hyperparameter is no key", "did you mean 'hyperparameters'"]),
        ("Trial", "searcher:\n  metrc: val_loss\nmax_restart: 1\n", [], ["searcher.metrc", "max_restart", "2 faults"]),
        ("Trial", "max_restarts: many\n", [], ["max_restarts is 'many'", "whole number"]),
        (
            "Trial",
            "hyperparameters:\n  lr: {type: log, base: 10, minval: -4, maxval: -1}\n"
            "  width: {type: int, minval: 1, maxval: 9}\n",
            [],
            ["2 of them are ranges without a value", "lr (log", "--hparam", "width"],
        ),
        ("AsksLearningRate", "hyperparameters: {lr: 1}\n", [], ["'learning_rate'", "given: lr", "--hparam learning"]),
        ("AsksBatchSize", "hyperparameters: {lr: 1}\n", [], ["global_batch_size has no value", "global_batch_size=64"]),
        ("AsksGlobalBatchSize", "hyperparameters: {lr: 1}\n", [], ["global_batch_size has no value"]),
        ("Trial", "hyperparameters: {global_batch_size: 1.5}\n", [], ["global_batch_size is 1.5", "whole number"]),
        ("Trial", "hyperparameters: {lr: 1}\n", ["--hparam", "lr.x=3"], ["lr.x", "has nothing below it"]),
        ("Trial", "hyperparameters: {lr: 1}\n", ["--hparam", "lr=[1"], ["lr=[1", "cannot be read"]),
    ],
)  # fmt: skip
def test_configuration_that_cannot_be_used(
    target: str, text: str, words: list[str], parts: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (project / "config.yaml").write_text(text)
    message = message_of([f"bad_model_def:{target}", "--config", "config.yaml", *words], 2, capsys)
    assert all(part in message for part in parts), message


def test_configuration_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    message = message_of(["bad_model_def:Trial", "--config", "god.yaml"], 2, capsys)
    assert "does not exist" in message and "did you mean 'good.yaml'" in message


@pytest.mark.parametrize("option", ["--resume-from", "--warm-start-from"])
@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (lambda path: None, ["does not exist"]),
        (lambda path: path.mkdir(), ["is no checkpoint", "checkpoints/"]),
        (lambda path: path.write_text("x = 1"), ["cut short", "no checkpoint"]),
        (lambda path: (path.mkdir(), (path / "lightning.ckpt").write_bytes(b"")), ["metadata.json"]),
        (
            lambda path: (path.mkdir(), (path / "metadata.json").write_text('{"steps_completed": 1}')),
            ["lightning.ckpt", "does not exist"],
        ),
        (lambda path: torch.save({"weights": 1}, path), ["no state_dict"]),
        (lambda path: torch.save({"state_dict": types.SimpleNamespace(x=1)}, path), ["is not read"]),
    ],
    ids=["absent", "empty directory", "text", "no metadata", "no weights", "other content", "objects"],
)
def test_checkpoint_that_is_none(
    option: str, make: Callable[[Path], Any], parts: list[str], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(project / "ckpt")
    message = message_of(["bad_model_def:Trial", option, "ckpt"], 2, capsys)
    assert "ckpt" in message and all(part in message for part in parts), message


def test_checkpoint_of_another_model_names_what_differs(project: Path) -> None:
    class Wider(models.Net):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(4, 1))
            self.more = torch.nn.Linear(1, 1)

    first = fit(trial_of(models.Net), run_dir=project / "first")
    with pytest.raises(CheckpointError, match=r"(?s)of another model than Wider.*more\.bias.*net\.0\.weight has shape"):
        fit(trial_of(Wider), resume_from=first.latest_checkpoint)


# --- loaders, datasets and optimizers: each through fit() and through the command -------------------------------------


def trial_of(
    module: Callable[[], Any] = models.Net, data: Callable[[], Any] | None = models.Data, **arguments: Any
) -> type[LightningAdapter]:
    class Trial(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            given = {"max_epochs": 1, "enable_model_summary": False, **arguments}
            super().__init__(context, module(), data and data(), **given)

    return Trial


def data_with(train: Any = None, val: Any = None) -> Callable[[], Any]:
    """A datamodule whose loaders are what the functions return."""

    class Data(models.Data):
        def train_dataloader(self) -> Any:
            return super().train_dataloader() if train is None else train()

        def val_dataloader(self) -> Any:
            return super().val_dataloader() if val is None else val()

    return Data


class Unsized:
    """Neither sized nor iterable."""


def optimizing(result: Callable[[Any], Any]) -> Callable[[], Any]:
    class Module(models.Net):
        def configure_optimizers(self) -> Any:
            return result(self)

    return Module


def sgd(module: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(module.parameters(), 0.1)


EMPTY = TensorDataset(torch.zeros(0, 4), torch.zeros(0, 1))

CASES: dict[str, tuple[type[LightningAdapter], type[LightningAdapterError], list[str]]] = {
    "train loader None": (trial_of(data=data_with(lambda: None)), ConfigurationError, ["train_dataloader", "None"]),
    "train loader int": (trial_of(data=data_with(lambda: 5)), ConfigurationError, ["train_dataloader", "5"]),
    "train loader object": (trial_of(data=data_with(Unsized)), ConfigurationError, ["train_dataloader", "Unsized"]),
    "val loader int": (trial_of(data=data_with(val=lambda: 5)), ConfigurationError, ["val_dataloader", "5"]),
    "no batches": (
        trial_of(data=data_with(lambda: DataLoader(samples(3), 4, drop_last=True))),
        ConfigurationError,
        ["training data is empty", "drop_last"],
    ),
    "empty dataset": (
        trial_of(data=data_with(lambda: DataLoader(EMPTY, 4))),
        ConfigurationError,
        ["training data is empty"],
    ),
    "optimizer nonsense": (trial_of(optimizing(lambda module: 3)), ConfigurationError, ["configure_optimizers", "3"]),
    "optimizer list": (
        trial_of(optimizing(lambda module: [sgd(module), 3])),
        ConfigurationError,
        ["configure_optimizers"],
    ),
    "optimizer dict": (
        trial_of(optimizing(lambda module: {"optimiser": sgd(module)})),
        ConfigurationError,
        ["optimi"],
    ),
    "scheduler nonsense": (
        trial_of(optimizing(lambda module: {"optimizer": sgd(module), "lr_scheduler": 5})),
        ConfigurationError,
        ["lr scheduler `int` is invalid"],
    ),
    "scheduler interval": (
        trial_of(
            optimizing(
                lambda module: {
                    "optimizer": sgd(module),
                    "lr_scheduler": {
                        "scheduler": torch.optim.lr_scheduler.StepLR(torch.optim.SGD(module.parameters(), 0.1), 1),
                        "interval": "batch",
                    },
                }
            )
        ),
        ConfigurationError,
        ["interval", "batch"],
    ),
    "precision": (trial_of(precision="32-bit"), ConfigurationError, ["precision", "32-bit"]),
    "strategy": (trial_of(strategy="fsdp"), ConfigurationError, ["fsdp", "shards the model"]),
    "limits": (trial_of(max_epochs=1.5, accumulate_grad_batches=0), ConfigurationError, ["max_epochs=1.5", "=0"]),
    "interval": (trial_of(val_check_interval=100), ConfigurationError, ["val_check_interval", "100"]),
    "no interval": (
        trial_of(val_check_interval=0),
        ConfigurationError,
        ["val_check_interval=0", "limit_val_batches=0"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_trial_brings_cannot_be_used(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trial_class, kind, parts = CASES[name]
    with pytest.raises(kind) as raised:
        fit(trial_class)
    assert all(part in str(raised.value) for part in parts), str(raised.value)
    monkeypatch.setattr("lightning_adapter.cli.fit.load_target", lambda target: trial_class)
    message_of(["any:Trial"], 2, capsys)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"max_epochs": 1.5}, "max_epochs=1.5 has to be an integer"),
        ({"max_steps": -2}, "max_steps=-2"),
        ({"validation_period": 5}, r"validation_period=5 is no period.*Batch\(n\)"),
        ({"checkpoint_period": pytorch.Epoch(0)}, r"checkpoint_period=Epoch\(0\) has to count at least 1"),
        ({"hparams": ["lr"]}, "hparams=.*has to be a dict"),
        ({"seed": "one"}, "seed='one'"),
        ({"seed": -1}, "seed=-1"),
        ({"resume_from": 3}, "resume_from=3 has to be a path"),
        ({"run_dir": 3}, "run_dir=3 has to be a path"),
        ({"run_dir": ""}, "run_dir='' is empty"),
        ({"run_dir": "x" * 300}, "run_dir=.* is no usable path: File name too long"),
        ({"warm_start_from": "a\0b"}, "warm_start_from=.* is no usable path: embedded null byte"),
        ({"validation_period": pytorch.Batch("ab")}, r"Batch\('ab'\) has to count at least 1"),  # type: ignore[arg-type]
        ({"validation_period": pytorch.Epoch(True)}, r"Epoch\(True\) has to count at least 1"),
        ({"validation_period": pytorch.Epoch}, "is no period"),
        ({"config": 5}, "config=5"),
        ({"config": {"hyperparameters": {"f": print}}}, "JSON cannot carry"),
        ({"resume_from": "a", "warm_start_from": "b"}, "Give one of them"),
        (
            {"max_epochs": "3", "seed": 1.5, "validation_period": "1"},
            r"(?s)max_epochs='3'.*validation_period.*seed=1.5",
        ),
    ],
)
def test_arguments_of_fit_that_cannot_be_used(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        fit(trial_of(), **arguments)
    assert not Path("runs").exists()


def test_period_that_numpy_counts_is_taken(tmp_path: Path) -> None:
    fit(trial_of(), validation_period=pytorch.Batch(np.int64(2)), max_epochs=np.int64(1), run_dir=tmp_path)  # type: ignore[arg-type]


@pytest.mark.parametrize("what", [5, models.Net, trial_of])
def test_what_is_no_trial_class(what: Any) -> None:
    with pytest.raises(ConfigurationError, match="no trial class"):
        fit(what)


def test_run_directory_that_is_a_file(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "taken").write_text("")
    assert "run_dir" in message_of(["bad_model_def:Trial", "--run-dir", "taken"], 2, capsys)


def test_an_error_of_user_code_keeps_its_own_traceback() -> None:
    class Breaks(models.Net):
        def training_step(self, batch: Any, batch_idx: int) -> Any:
            raise ZeroDivisionError("in the user's step")

    with pytest.raises(ZeroDivisionError, match="in the user's step"):
        fit(trial_of(Breaks))


# --- trials that are written wrongly ----------------------------------------------------------------------------------


class NoSuper(LightningAdapter):
    def __init__(self, context: Any) -> None:
        self.module = models.Net()


class NoContext(LightningAdapter):
    def __init__(self) -> None:
        super().__init__(None, models.Net())


class MoreThanContext(LightningAdapter):
    def __init__(self, context: Any, lr: float, width: int) -> None:
        super().__init__(context, models.Net())


class NoConstructor(LightningAdapter):
    pass


class ContextForgotten(LightningAdapter):
    def __init__(self, context: Any) -> None:
        super().__init__(models.Net(), models.Data())  # type: ignore[arg-type]


class ContextLeftOut(LightningAdapter):
    def __init__(self, context: Any) -> None:
        super().__init__(lightning_module=models.Net())


class ClassOfModule(LightningAdapter):
    def __init__(self, context: Any) -> None:
        super().__init__(context, models.Net, models.Data())


class ClassOfData(LightningAdapter):
    def __init__(self, context: Any) -> None:
        super().__init__(context, models.Net(), models.Data)


class FromArguments(LightningAdapter):
    def __init__(self, context: Any) -> None:
        super().from_argparse_args({"max_epochs": 1})


@pytest.mark.parametrize(
    ("trial_class", "match"),
    [
        (
            NoSuper,
            r"NoSuper\.__init__\(\) does not call that of LightningAdapter.*Write `super\(\)\.__init__\(context, mod",
        ),
        (NoContext, r"NoContext\.__init__\(\) takes no context.*write `def __init__\(self, context\):`"),
        (MoreThanContext, r"needs lr, width besides the context.*context\.get_hparam\('lr'\)"),
        (NoConstructor, r"NoConstructor gives LightningAdapter no module.*Write `def __init__\(self, context\):`"),
        (ContextForgotten, r"models.*Net'> in the place of the context\. Write `super\(\)\.__init__\(context, module"),
        (ContextLeftOut, r"given no context\. Write `super\(\)\.__init__\(context, module"),
        (ClassOfModule, r"given the class Net; give an instance: Net\(\.\.\.\)"),
        (ClassOfData, r"given the class Data; give an instance: Data\(\.\.\.\)"),
        (
            FromArguments,
            r"no from_argparse_args\(\).*super\(\)\.__init__\(context, module, datamodule, max_epochs=args",
        ),
    ],
)
def test_trial_that_is_written_wrongly_is_told_what_to_write(trial_class: Any, match: str) -> None:
    with pytest.raises(ConfigurationError, match=match):
        fit(trial_class)


def test_trial_without_its_base_is_told_so_under_determineds_own_trainer() -> None:
    with pytest.raises(ConfigurationError, match="does not call that of LightningAdapter"):
        NoSuper(None).build_callbacks()


def test_instance_in_the_place_of_the_class_is_told_apart() -> None:
    with pytest.raises(ConfigurationError, match=r"an instance of a trial.*pass the class itself"):
        fit(NoSuper(None))  # type: ignore[arg-type]
