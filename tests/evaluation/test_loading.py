"""A trained model comes back with its best weights and its data, and Lightning's own Trainer gives its numbers."""

from __future__ import annotations

import shutil
import sys
import types
import warnings
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from determined.pytorch import DataLoader as DeterminedLoader
from torch.utils.data import DataLoader, TensorDataset

import lightning_adapter
from lightning_adapter import LightningAdapter, load_trial
from lightning_adapter.errors import CheckpointError, ConfigurationError, TargetError
from lightning_adapter.evaluation.loading import fresh_trial, load
from lightning_adapter.evaluation.wanted import Wanted
from parity.models import samples

from .trained import QUIET, SEED, Data, Net, Trial, by_lightning, trained, trial_of

#: The trial of a run, in a file of its own.
FILE = "from evaluation.trained import Trial as Base\n\nclass Trial(Base):\n    pass\n"


def test_module_has_the_best_weights_on_the_cpu_in_eval_mode(run: Path) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*has no effect")
        loaded = load_trial(run, Trial)
    best = torch.load(loaded.checkpoint / "lightning.ckpt", weights_only=False)["state_dict"]
    last = load_trial(run, Trial, last=True)
    module = loaded.lightning_module
    assert all(torch.equal(value, best[name]) for name, value in module.state_dict().items())
    assert not module.training and module.device.type == "cpu"
    assert last.checkpoint != loaded.checkpoint
    assert any(not torch.equal(value, best[name]) for name, value in last.lightning_module.state_dict().items())
    assert loaded.hparams == {"lr": 0.1, "global_batch_size": 4} and loaded.run_dir == run
    assert isinstance(loaded.datamodule, Data) and isinstance(loaded.trial, Trial)


def test_nothing_is_written(run: Path, project: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    loaded = load_trial(run, Trial)
    loaded.test(verbose=False)
    loaded.predict(split="val")
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before and not list(project.iterdir())


@pytest.mark.parametrize("stage", ["validate", "test"])
def test_numbers_are_those_of_lightnings_trainer(run: Path, stage: str) -> None:
    loaded = load_trial(run, Trial)
    pl.seed_everything(SEED)
    module, data = Net(), Data()
    expected = by_lightning(stage, module, data, loaded.checkpoint)
    assert getattr(loaded, stage)(verbose=False) == expected
    assert len(expected) == (2 if stage == "test" else 1) and "error" in "".join(expected[0])


def test_validation_set_that_setup_draws_is_that_of_the_training_each_time(run: Path) -> None:
    rows = [line.split(",") for line in (run / "metrics.csv").read_text().splitlines()]
    trained_value = float(dict(zip(rows[0], rows[1], strict=True))["val_loss"])
    loaded = load_trial(run, Trial)
    loaded.test(verbose=False)
    assert loaded.validate(verbose=False)[0]["val_loss"] == pytest.approx(trained_value, rel=1e-6)
    assert loaded.validate(verbose=False)[0]["val_loss"] == pytest.approx(trained_value, rel=1e-6)
    assert loaded.test(verbose=False, split="val")[0]["error"] == loaded.validate(verbose=False)[0]["error"]


def test_predictions_are_those_of_lightnings_trainer_without_a_predict_dataloader(run: Path) -> None:
    class Predicting(Data):
        def predict_dataloader(self) -> Any:
            return DataLoader(samples(10, seed=3), batch_size=4)

    loaded = load_trial(run, Trial)
    expected = by_lightning("predict", Net(), Predicting(), loaded.checkpoint)
    found = loaded.predict(dataloaders=DataLoader(samples(10, seed=3), 4))
    assert found is not None and [len(each) for each in found] == [4, 4, 2]
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    assert loaded.predict(split="val", return_predictions=False) is None
    assert loaded.datamodule.stages == ["fit", "predict"]


@pytest.mark.parametrize(("split", "stages"), [("train", ["fit", "validate"]), ("test", ["test", "validate"])])
def test_split_is_set_up_as_for_its_own_stage_too(run: Path, split: Any, stages: list[str]) -> None:
    loaded = load_trial(run, Trial)
    assert loaded.validate(verbose=False, split=split)
    assert loaded.datamodule.stages == stages
    assert "setup" not in vars(loaded.datamodule) and "val_dataloader" not in vars(loaded.datamodule)


def test_loaders_of_a_split_are_those_of_the_trial_set_up(run: Path) -> None:
    loaded = load_trial(run, Trial)
    assert len(loaded.dataloaders("train")) == 3 and len(loaded.dataloaders("val")) == 2
    assert [loader.batch_size for loader in loaded.dataloaders("test")] == [4, 3]
    assert loaded.datamodule.stages == ["fit", "test"]
    with pytest.raises(ConfigurationError, match=r"Data has no predict_dataloader\(\)"):
        loaded.dataloaders("predict")
    with pytest.raises(ConfigurationError, match="split='all' has to be one of train, val, test, predict"):
        loaded.dataloaders("all")  # type: ignore[arg-type]


def test_loaders_may_ask_the_trainer(run: Path) -> None:
    class Asks(Data):
        def train_dataloader(self) -> Any:
            return DataLoader(self.training, batch_size=self.trainer.world_size)

    assert load_trial(run, trial_of(data=Asks)).dataloaders("train").batch_size == 1


def test_callbacks_of_the_trial_have_no_part_in_loaders_and_weights_that_are_asked_for(tmp_path: Path) -> None:
    class Noted(pl.callbacks.TQDMProgressBar.__base__):  # type: ignore[misc,name-defined]  # 1.9 calls it otherwise
        def setup(self, *args: Any, **kwargs: Any) -> None:
            super().setup(*args, **kwargs)
            seen.append("setup")

    seen: list[str] = []
    kind = trial_of(LayersInSetup, callbacks=[Noted()], enable_progress_bar=True)
    trained(tmp_path / "run", kind)
    seen.clear()
    loaded = load_trial(tmp_path / "run", kind)
    assert loaded.dataloaders("val").batch_size == 4
    assert loaded.lightning_module.late is not None
    assert seen == []


def test_hyperparameters_that_are_given_win_over_those_of_the_run(run: Path, tmp_path: Path) -> None:
    assert load_trial(run, Trial, hparams={"lr": 0.5}).lightning_module.lr == 0.5
    (tmp_path / "c.yaml").write_text("hyperparameters: {lr: 0.25}\n")
    loaded = load_trial(run, Trial, config=tmp_path / "c.yaml")
    assert loaded.hparams == {"lr": 0.25, "global_batch_size": 4} and loaded.lightning_module.lr == 0.25
    again = load_trial(run, Trial, config={"hyperparameters": {"lr": {"type": "double", "minval": 0, "maxval": 1}}})
    assert again.hparams["lr"] == 0.1


def test_hyperparameter_that_was_typed_and_nobody_reads_is_named_once(run: Path) -> None:
    loaded = load_trial(run, Trial, hparams={"lr": 0.5, "leraning_rate": 0.1})
    with pytest.warns(UserWarning, match="has read no hyperparameter of this name.*: leraning_rate$"):
        loaded.validate(verbose=False)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*has read no hyperparameter")
        loaded.validate(verbose=False)
        load_trial(run, Trial, hparams={"lr": 0.5}).validate(verbose=False)


def test_checkpoint_that_a_run_has_deleted_for_a_better_one_since_it_was_found_is_not_missed(
    run: Path, tmp_path: Path
) -> None:
    copied = tmp_path / "run"
    shutil.copytree(run, copied, symlinks=True)
    wanted = Wanted.of(copied, False, None, None)
    shutil.rmtree(wanted.source.checkpoint)
    left = load(wanted, Trial).checkpoint
    assert left is not None and left.name == load_trial(run, Trial, last=True).checkpoint.name


def test_trial_arguments_reach_lightnings_trainer(run: Path) -> None:
    loaded = load_trial(run, trial_of(limit_val_batches=1, precision="64-true", inference_mode=False))
    loaded.validate(verbose=False)
    trainer = loaded.lightning_module.trainer
    assert str(trainer.precision).startswith("64") and trainer.limit_val_batches == 1
    assert trainer.num_val_batches == [1] and next(loaded.lightning_module.parameters()).dtype == torch.float64
    loaded.validate(verbose=False, limit_val_batches=2)
    assert loaded.lightning_module.trainer.num_val_batches == [2]


# --- which trial it is -------------------------------------------------------------------------------------------------


@pytest.fixture
def copied(run: Path, project: Path) -> Path:
    """The run in a directory of its own, whose record names a file of the project."""
    copy = project / "runs" / "Trial" / "one"
    shutil.copytree(run, copy)
    (project / "proj_trial.py").write_text(FILE)
    tell(copy, target="proj_trial.py:Trial", working_directory=str(project))
    return copy


def tell(run: Path, **content: Any) -> None:
    import json

    (run / "run.json").write_text(json.dumps({"format": 1, "name": "Trial", "status": "finished", **content}))


def test_run_knows_its_trial(copied: Path) -> None:
    assert load_trial(copied).validate(verbose=False)


@pytest.mark.parametrize("target", ["proj_trial.py:Trial", "proj_trial:Trial", "./proj_trial.py:Trial"])
def test_trial_is_found_from_elsewhere(
    copied: Path, project: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    tell(copied, target=target, working_directory=str(project))
    (project / "elsewhere").mkdir()
    monkeypatch.chdir(project / "elsewhere")
    assert type(load_trial(copied).trial).__module__ == "proj_trial"


def test_trial_that_is_named_wins(copied: Path, project: Path) -> None:
    (project / "proj_other.py").write_text(FILE)
    assert type(load_trial(copied, "proj_other.py:Trial").trial).__module__ == "proj_other"


def test_script_that_trains_when_imported_is_refused(copied: Path, project: Path) -> None:
    (project / "proj_trial.py").write_text(FILE + "from lightning_adapter import fit\nfit(Trial)\n")
    with pytest.raises(TargetError, match=r"(?s)fit\(\) is called while the file is imported to use its trial"):
        load_trial(copied)
    assert not (project / "runs" / "Trial" / "latest").exists()


def test_class_of_the_running_script_is_taken_from_there(
    copied: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    main = types.ModuleType("__main__")
    own = type("Trial", (Trial,), {"__module__": "__main__"})
    vars(main).update(__file__=str(project / "proj_trial.py"), Trial=own)
    monkeypatch.setitem(sys.modules, "__main__", main)
    assert type(load_trial(copied).trial) is own
    vars(main)["__file__"] = str(project / "another.py")
    assert type(load_trial(copied).trial) is not own
    del vars(main)["__file__"]  # a notebook
    tell(copied, target=None, trial="Trial")
    assert type(load_trial(copied).trial) is own


def test_trial_that_nobody_knows_has_to_be_named(copied: Path) -> None:
    tell(copied, target=None)
    with pytest.raises(ConfigurationError, match=r"does not say which trial it was: name the trial"):
        load_trial(copied)
    with pytest.raises(ConfigurationError, match=r"load_trial\(\) was given .*Net.*, which is no trial class"):
        load_trial(copied, Net)  # type: ignore[arg-type]


def test_all_faults_are_told_together(project: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        load_trial("runs/no", "proj_absent.py:Trial", config="absent.yaml")
    said = str(raised.value)
    assert "runs/no is not there" in said and "proj_absent.py is not there" in said and "absent.yaml" in said


# --- weights ----------------------------------------------------------------------------------------------------------


class LayersInSetup(Net):
    """Has no layers before `setup`."""

    def setup(self, stage: str) -> None:
        if stage in ("fit", "test"):
            self.late = torch.nn.Linear(1, 1)

    def forward(self, inputs: Any) -> Any:
        return self.late(self.net(inputs))


class LayersInConfigureModel(Net):
    def configure_model(self) -> None:
        self.late = torch.nn.Linear(1, 1)


def test_layers_that_ask_the_trainer_for_their_size_have_the_weights_of_the_checkpoint(tmp_path: Path) -> None:
    class Sized(Net):
        def configure_model(self) -> None:
            self.late = torch.nn.Linear(self.trainer.datamodule.width, 1)

    class Wide(Data):
        width = 1

    kind = trial_of(Sized, Wide)
    trial = trained(tmp_path / "run", kind)
    saved = torch.load(trial.best_checkpoint / "lightning.ckpt", weights_only=False)["state_dict"]
    state = load_trial(tmp_path / "run", kind).lightning_module.state_dict()
    assert all(torch.equal(state[name], saved[name]) for name in saved)


@pytest.mark.parametrize("kind", [LayersInSetup, LayersInConfigureModel])
def test_module_that_makes_its_layers_late_has_the_weights_of_the_checkpoint(tmp_path: Path, kind: type) -> None:
    trial = trained(tmp_path / "run", trial_of(kind))
    loaded = load_trial(tmp_path / "run", trial_of(kind))
    found = load_trial(tmp_path / "run", trial_of(kind)).test(verbose=False)
    saved = torch.load(trial.best_checkpoint / "lightning.ckpt", weights_only=False)["state_dict"]
    state = loaded.lightning_module.state_dict()
    assert "late.weight" in saved and all(torch.equal(state[name], saved[name]) for name in saved)
    module = kind()
    if not hasattr(pl.LightningModule, "configure_model") and kind is LayersInConfigureModel:
        module.configure_model()  # which training calls with every Lightning
    assert found == by_lightning("test", module, Data(), trial.best_checkpoint)
    assert loaded.lightning_module.training is False


def test_weights_of_another_module_are_refused_in_words(run: Path) -> None:
    class Other(Net):
        def __init__(self) -> None:
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.Linear(4, 5), torch.nn.Linear(5, 1))

    for use in (lambda loaded: loaded.lightning_module, lambda loaded: loaded.test(verbose=False)):
        with pytest.raises(
            CheckpointError, match=r"(?s)of another model than Other.*net\.0\.weight has shape \(3, 4\)"
        ):
            use(load_trial(run, trial_of(Other)))


def test_file_of_lightnings_trainer_is_loaded(tmp_path: Path) -> None:
    pl.seed_everything(SEED)
    module, data = Net(), Data()
    trainer = pl.Trainer(accelerator="cpu", max_epochs=1, default_root_dir=tmp_path, **QUIET)
    trainer.fit(module, datamodule=data)
    trainer.save_checkpoint(tmp_path / "lightning.ckpt")
    (tmp_path / "lightning.ckpt").rename(tmp_path / "theirs.ckpt")
    loaded = load_trial(tmp_path / "theirs.ckpt", trial_of())
    assert loaded.run_dir is None and loaded.test(verbose=False) == trainer.test(Net.load_from_checkpoint(
        tmp_path / "theirs.ckpt"), datamodule=Data(), verbose=False)  # fmt: skip
    with pytest.raises(ConfigurationError, match="is of no run here: name the trial"):
        load_trial(tmp_path / "theirs.ckpt")


def test_states_of_callbacks_and_datamodule_come_back(tmp_path: Path) -> None:
    class Counts(pl.Callback):
        def __init__(self) -> None:
            self.count = 0

        def on_train_batch_start(self, *args: Any) -> None:
            self.count += 1

        def state_dict(self) -> dict[str, Any]:
            return {"count": self.count}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.count = state["count"]

    class Fitted(Data):
        mean = 0.0

        def state_dict(self) -> dict[str, Any]:
            return {"mean": 2.5}

        def load_state_dict(self, state: dict[str, Any]) -> None:
            self.mean = state["mean"]

    counts: list[Counts] = []

    class Counting(LightningAdapter):
        def __init__(self, context: Any) -> None:
            counts.append(Counts())
            super().__init__(context, Net(), Fitted(), callbacks=[counts[-1]], max_epochs=2, **QUIET)

    trained(tmp_path / "run", Counting)
    loaded = load_trial(tmp_path / "run", Counting)
    loaded.test(verbose=False)
    assert loaded.datamodule.mean == 2.5
    # Lightning restores callbacks outside of `fit` since 2.6
    newest = tuple(map(int, pl.__version__.split(".")[:2])) >= (2, 6)
    assert counts[-1].count == (3 if newest else 0)


# --- where training has its loaders from -------------------------------------------------------------------------------


def test_loaders_that_the_trial_or_determined_brings_win_as_in_training(tmp_path: Path) -> None:
    class Builds(LightningAdapter):
        def __init__(self, context: Any) -> None:
            super().__init__(context, Net(), Data(), max_epochs=1, **QUIET)

        def build_validation_data_loader(self) -> Any:
            return DeterminedLoader(samples(6, seed=9), batch_size=2)

    class Determined(Data):
        def val_det_dataloader(self) -> Any:
            return DeterminedLoader(samples(6, seed=9), batch_size=2)

    expected = pl.Trainer(accelerator="cpu", **QUIET)
    for number, kind in enumerate((Builds, trial_of(data=Determined, max_epochs=1))):
        trained(tmp_path / str(number), kind)
        loaded = load_trial(tmp_path / str(number), kind)
        found = loaded.validate(verbose=False)
        module = loaded.lightning_module
        assert found == expected.validate(module, DataLoader(samples(6, seed=9), 2), verbose=False)
        assert loaded.test(verbose=False, split="val")[0]["error"] == found[0]["error"]
        assert loaded.datamodule.stages[0] == "fit"


class Regression(lightning_adapter.DETLM):
    """A loss function and a forward."""

    loss_fn = "mse_loss"

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(4, 1)

    def forward(self, inputs: Any) -> Any:
        return self.net(inputs)

    def train_dataloader(self) -> Any:
        return DataLoader(samples(8), batch_size=4)

    def val_dataloader(self) -> Any:
        return DataLoader(samples(8, seed=2), batch_size=4)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_step_that_a_loss_function_stands_for_validates_too(tmp_path: Path) -> None:
    trial = trained(tmp_path / "run", trial_of(Regression, None, max_epochs=1))
    found = load_trial(tmp_path / "run", trial_of(Regression, None)).validate(verbose=False)
    assert found == trial.validate(verbose=False)  # type: ignore[attr-defined]
    assert found[0]["val_loss"] == pytest.approx(float(trial.callback_metrics["val_loss"]))
    with pytest.raises(ConfigurationError, match=r"or validate on the test data: .* validate WHAT --split test"):
        trial.test()


def test_module_of_a_loss_function_predicts_from_its_inputs_with_targets_or_without() -> None:
    inputs = torch.stack([x for x, _ in samples(8, seed=2)])
    fresh = fresh_trial(trial_of(Regression, None))
    expected = list(fresh.lightning_module(inputs).split(4))
    for given in (
        {"split": "val"},  # (x, y)
        {"dataloaders": DataLoader(inputs, batch_size=4)},
        {"dataloaders": DataLoader(TensorDataset(inputs), batch_size=4)},
    ):
        found = fresh.predict(**given)
        assert all(torch.equal(*pair) for pair in zip(found, expected, strict=True))


def test_module_whose_loaders_were_asked_for_is_still_traced() -> None:
    fresh = fresh_trial(trial_of(Regression, None))
    inputs = next(iter(fresh.dataloaders("val")))[0]
    module = fresh.lightning_module
    traced = module.to_torchscript(method="trace", example_inputs=inputs)
    assert torch.equal(traced(inputs), module(inputs))


def test_predict_step_of_ones_own_is_not_replaced() -> None:
    class Own(Regression):
        def predict_step(self, batch: Any, batch_idx: int) -> Any:
            return batch_idx

    assert fresh_trial(trial_of(Own, None)).predict(split="val") == [0, 1]


# --- what is missing ---------------------------------------------------------------------------------------------------


class Bare(pl.LightningModule):
    """Trains, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Linear(4, 1)

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.net(batch[0]).sum()

    def train_dataloader(self) -> Any:
        return DataLoader(samples(4), batch_size=2)

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.parametrize(
    ("stage", "said"),
    [
        ("validate", [r"Bare has no validation_step\(\)", r"Bare has no val_dataloader\(\).*--split train"]),
        ("test", [r"Bare has no test_step\(\)", r"Bare has no test_dataloader\(\).*--split train \(split='train'\)"]),
        ("predict", [r"Bare has no predict_step\(\) and no forward\(\)", r"Bare has no predict_dataloader\(\)"]),
    ],
)
def test_all_that_is_missing_is_said(stage: str, said: list[str]) -> None:
    fresh = fresh_trial(trial_of(Bare, None))
    with pytest.raises(ConfigurationError, match="(?s)" + ".*".join(said)):
        getattr(fresh, stage)()


def test_test_loaders_are_named_where_others_are_missing() -> None:
    class OnlyTest(Bare):
        def validation_step(self, batch: Any, batch_idx: int) -> None: ...

        def test_dataloader(self) -> Any:
            return DataLoader(samples(4), batch_size=2)

    with pytest.raises(ConfigurationError, match=r"--split test \(split='test'\)"):
        fresh_trial(trial_of(OnlyTest, None)).validate()


def test_argument_that_lightnings_trainer_has_not_is_refused_with_a_guess(run: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no argument limit_tes_batches; did you mean 'limit_test_batches'\?"):
        load_trial(run, Trial).test(limit_tes_batches=1)


def test_two_sources_of_loaders_are_refused(run: Path) -> None:
    with pytest.raises(ConfigurationError, match="dataloaders and split were both given"):
        load_trial(run, Trial).test(DataLoader(samples(4)), split="val")


# --- a trial that was not trained --------------------------------------------------------------------------------------


def test_fresh_trial_has_the_weights_that_fit_would_begin_with() -> None:
    pl.seed_everything(3)
    module = Net()
    fresh = fresh_trial(Trial, config={"hyperparameters": {"lr": 0.1, "global_batch_size": 4}}, seed=3)
    assert torch.equal(fresh.lightning_module.net[0].weight, module.net[0].weight)
    assert fresh.checkpoint is None and fresh.run_dir is None
    assert len(fresh.dataloaders("train")) == 3 and fresh.validate(verbose=False)


def test_faces_export_it() -> None:
    import lightning_adapter.lightning as face

    assert lightning_adapter.load_trial is face.load_trial is load_trial


class WithoutPredictStep(Net):
    """Has Lightning's own predict_step, which gives forward the whole batch."""

    predict_step = pl.LightningModule.predict_step

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


def test_predict_step_that_is_missing_where_forward_does_not_take_the_batch_is_said(run: Path) -> None:
    loaded = load_trial(run, trial_of(WithoutPredictStep))
    with pytest.raises(
        ConfigurationError,
        match=r"WithoutPredictStep has no predict_step\(\), so .* whole batch, .* AttributeError: .* Write `def predict_step",
    ):
        loaded.predict(split="val")
    assert len(loaded.predict(DataLoader(torch.ones(4, 3), 2)) or ()) == 2


def test_error_of_a_forward_that_takes_the_batch_is_the_modules_own() -> None:
    class Fails(WithoutPredictStep):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            raise MemoryError("too large")

    with pytest.raises(MemoryError, match="too large"):
        fresh_trial(trial_of(Fails)).predict(DataLoader(torch.ones(4, 3), 2))
