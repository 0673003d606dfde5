"""A trial that names a dataclass has it from its constructor's first line on, wherever and however it is made."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from determined import pytorch
from ruamel.yaml import YAML
from torch.utils.data import DataLoader, TensorDataset

from lightning_adapter import DETLM, LightningAdapter, cli, fit, load_trial
from lightning_adapter.checkpoints import file
from lightning_adapter.errors import ConfigurationError

QUIET: dict[str, Any] = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False}


@dataclass
class Optim:
    lr: float = 0.1  # the step size
    momentum: float = 0.0


@dataclass
class Config:
    width: int
    optim: Optim = field(default_factory=Optim)
    global_batch_size: int = 4
    sizes: tuple[int, ...] = (1, 2)


class Net(DETLM):
    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.layer = torch.nn.Linear(config.width, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0]).pow(2).mean()

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.log("val_loss", self.layer(batch[0]).pow(2).mean())

    def test_step(self, batch: Any, batch_idx: int) -> None:
        self.log("test_loss", self.layer(batch[0]).pow(2).mean())

    def predict_step(self, batch: Any, batch_idx: int) -> Any:
        return self.layer(batch[0])

    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(torch.ones(8, self.config.width)), batch_size=self.config.global_batch_size)

    val_dataloader = test_dataloader = predict_dataloader = train_dataloader

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), self.config.optim.lr, self.config.optim.momentum)


class Trial(LightningAdapter):
    Hyperparameters = Config

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        self.first: Config = self.hyperparameters
        self.batch_size = context.get_per_slot_batch_size()
        self.asked = context.get_hparam("optim")
        super().__init__(context, Net(self.first), max_epochs=1, **QUIET)


WIDE = {"width": 3}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check(trial: Any, expected: Config) -> None:
    assert trial.hyperparameters is trial.first and trial.first == expected
    assert trial.batch_size == expected.global_batch_size and trial.asked["lr"] == expected.optim.lr


def test_local_run_has_the_instance_and_keeps_plain_data_of_all_of_it(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lightning_adapter")
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The trial has read no hyperparameter")
        trial = fit(Trial, hparams={"width": 3, "optim.lr": 1}, run_dir="run")
    check(trial, Config(3, Optim(1.0)))
    whole = {
        "width": 3,
        "optim": {"lr": 1, "momentum": 0.0},
        "global_batch_size": 4,
        "sizes": [1, 2],
    }
    assert YAML(typ="safe").load(Path("run/experiment.yaml"))["hyperparameters"] == whole
    assert trial.latest_checkpoint is not None
    saved = file.read(trial.latest_checkpoint)
    assert saved["lightning_adapter"]["hyperparameters"] == whole
    log = Path("run/train.log").read_text().splitlines()
    assert "differs from the defaults: width=3, optim.lr=1" in log[:8]
    assert "  differs     from the defaults: width=3, optim.lr=1" in log


def test_what_a_run_was_made_with_is_kept_where_defaults_change_later(monkeypatch: pytest.MonkeyPatch) -> None:
    fit(Trial, hparams=WIDE, run_dir="run")

    @dataclass
    class Later:
        width: int = 5
        optim: Optim = field(default_factory=lambda: Optim(lr=7, momentum=0.5))
        global_batch_size: int = 2
        sizes: tuple[int, ...] = ()
        added: str = "x"

    monkeypatch.setattr(Trial, "Hyperparameters", Later)
    later = Later(3, Optim(), 4, (1, 2))
    loaded: Any = load_trial("run", Trial)
    check(loaded.trial, later)
    assert loaded.hparams["added"] == "x"
    loaded.test(verbose=False)
    assert len(loaded.predict()) == 2
    check(fit(Trial, resume_from="run", max_epochs=2), later)


@dataclass
class Typed:
    type: str = "adam"
    lr: float = 0.1


@dataclass
class OfTyped(Config):
    width: int = 3
    optim: Typed = field(default_factory=Typed)  # type: ignore[assignment]
    names: dict[str, int] = field(default_factory=lambda: {"a": 1})


def test_field_whose_name_is_that_of_a_ranges_key_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class OwnType(LightningAdapter):
        Hyperparameters = OfTyped

        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            config = self.hyperparameters
            super().__init__(context, Net(Config(config.width, Optim(config.optim.lr))), max_epochs=1, **QUIET)

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="The trial has read no hyperparameter")
        fit(OwnType, hparams={"optim.type": "sgd", "names": {"b": 2}}, run_dir="run")
    loaded: Any = load_trial("run", OwnType, hparams={"optim.lr": 0.2})
    assert loaded.trial.hyperparameters == OfTyped(optim=Typed("sgd", 0.2), names={"b": 2})


def test_loading_says_what_does_not_fit_any_more() -> None:
    fit(Trial, hparams=WIDE, run_dir="run")
    with pytest.raises(ConfigurationError, match=r"optim.lr is the text 'a', but must be a number"):
        load_trial("run", Trial, hparams={"optim.lr": "a"})


def test_instance_of_the_dataclass_is_taken_for_what_it_was_made_of() -> None:
    check(fit(Trial, hparams=Config(2, Optim(momentum=0.5), sizes=())), Config(2, Optim(momentum=0.5), sizes=()))


@dataclass
class Doubling:
    width: int = 3

    def __post_init__(self) -> None:
        self.width *= 2


class DoublingTrial(LightningAdapter):
    Hyperparameters = Doubling

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        super().__init__(context, Net(Config(self.hyperparameters.width)), max_epochs=1, **QUIET)


def test_post_init_runs_once_on_what_was_given_and_again_after_loading() -> None:
    trial = fit(DoublingTrial, hparams={"width": 2}, run_dir="run")
    assert trial.hyperparameters.width == 4
    assert load_trial("run", DoublingTrial).trial.hyperparameters.width == 4  # type: ignore[attr-defined]


def test_instance_that_is_another_when_it_is_made_again_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="it would have width=8 in place of 4"):
        fit(DoublingTrial, hparams=Doubling(2))


def test_all_faults_are_told_before_anything_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ConfigurationError, match="has 3 faults"):
        fit(Trial, hparams={"optim": {"lrr": 1}, "sizes": 3})
    assert list(Path.cwd().iterdir()) == []


def test_range_without_a_value_is_told_as_ever() -> None:
    config = {"hyperparameters": {"width": {"type": "int", "minval": 1, "maxval": 3}}}
    with pytest.raises(ConfigurationError, match="is a range without a value"):
        fit(Trial, config=config)
    check(fit(Trial, config=config, hparams=WIDE), Config(3))


class Lazy(LightningAdapter):
    """Never reads the instance."""

    Hyperparameters = Config

    def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
        super().__init__(context, Net(Config(context.get_hparam("width"))), max_epochs=1, **QUIET)


def test_hyperparameter_that_nobody_reads_is_still_named() -> None:
    with pytest.warns(UserWarning, match=r"has read no hyperparameter of this name.*: optim.lr$"):
        fit(Lazy, hparams={"width": 3, "optim.lr": 0.1})


def test_values_are_checked_also_where_nobody_reads_the_instance() -> None:
    fit(Lazy, hparams=WIDE, run_dir="run")
    with pytest.raises(ConfigurationError, match="sizes is 3, but must be a list"):
        load_trial("run", Lazy, hparams={"sizes": 3})
    with (
        pytorch.init(hparams={"width": 3, "sizes": 3}) as context,
        pytest.raises(ConfigurationError, match="sizes is 3, but must be a list"),
    ):
        Lazy(context)


def test_loaded_trial_takes_an_instance_too() -> None:
    fit(Trial, hparams=WIDE, run_dir="run")
    check(load_trial("run", Trial, hparams=Config(3, Optim(0.7))).trial, Config(3, Optim(0.7)))


def test_trial_without_a_dataclass_may_keep_something_of_its_own_under_the_name() -> None:
    class Own(LightningAdapter):
        def __init__(self, context: pytorch.PyTorchTrialContext) -> None:
            with pytest.raises(AttributeError, match="write `Hyperparameters = MyConfig` in the class"):
                _ = self.hyperparameters
            self.hyperparameters = {"own": 1}
            super().__init__(context, Net(Config(2)), max_epochs=1, **QUIET)

    assert fit(Own).hyperparameters == {"own": 1}


def test_cluster_gives_typed_values_of_what_it_has_drawn(cluster: Any, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "lightning_adapter")
    with cluster(hparams={"width": 3, "optim": {"lr": 0.5}}) as master:
        check(fit(Trial), Config(3, Optim(0.5)))
    assert "  differs     from the defaults: width=3, optim.lr=0.5" in caplog.text.splitlines()
    saved = file.read(next(master.store.rglob("metadata.json")).parent)
    assert saved["lightning_adapter"]["hyperparameters"]["sizes"] == [1, 2]


def test_determineds_own_trainer_gives_them_as_well() -> None:
    with pytorch.init(hparams={"width": 3}) as context:
        trial = Trial(context)
        check(trial, Config(3))
        pytorch.Trainer(trial, context).fit(max_length=pytorch.Batch(1))


def test_determineds_own_trainer_is_told_all_faults() -> None:
    with (
        pytorch.init(hparams={"width": "3", "wdth": 1}) as context,
        pytest.raises(ConfigurationError, match="has 2 faults"),
    ):
        Trial(context)


MODEL = """
from dataclasses import dataclass
import pytorch_lightning as pl
from lightning_adapter import LightningAdapter

@dataclass
class Config:
    width: int
    lr: float = 0.1  # the step size

class Trial(LightningAdapter):
    Hyperparameters = Config

    def __init__(self, context):
        super().__init__(context, pl.LightningModule())

class Wrong(Trial):
    Hyperparameters = Config(3)
"""


@pytest.mark.parametrize("words", [("check", "typed_model.py:Trial"), ("fit", "typed_model.py:Trial", "--help")])
def test_hyperparameters_are_listed(words: tuple[str, ...], project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "typed_model.py").write_text(MODEL)
    try:
        assert cli.main(list(words)) == 0
    except SystemExit as end:
        assert end.code == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[-2:] == [["width", "int", "required"], ["lr", "float", "0.1", "the", "step", "size"]]


def test_misuse_is_told_where_hyperparameters_are_listed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "typed_model.py").write_text(MODEL)
    with pytest.raises(SystemExit) as end:
        cli.main(["fit", "typed_model.py:Wrong", "--help"])
    assert end.value.code == 2
    assert "an instance; write the class: Wrong.Hyperparameters = Config." in capsys.readouterr().err
