"""Does user code find at `self.trainer` what it finds at Lightning's, and is what it writes honoured?"""

from __future__ import annotations

import pathlib
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from packaging.version import Version

from lightning_adapter.trainer.callback_list import CallbackList
from lightning_adapter.trainer.loop_views import ValidationRuns
from lightning_adapter.trainer.stop_request import StopRequest
from lightning_adapter.trainer.view import Trainer, TrainerParts, trainer_class
from trainer.parts import HOST, LEGACY, Data, Strategy, arguments, loader_of

pl = HOST.pl
UNKNOWN = float("inf")


class Dispatcher:
    """Keeps loggers and what they are told."""

    def __init__(self) -> None:
        self.loggers: list[Any] = []
        self.logged: list[Any] = []

    def replace(self, loggers: list[Any]) -> None:
        self.loggers = loggers

    def log_metrics(self, metrics: dict[str, Any], step: int | None) -> None:
        self.logged.append((metrics, step))


class Run:
    """A trainer over the parts of a run."""

    def __init__(self, training: Any = lambda: loader_of(4), callbacks: Any = (), **given: Any) -> None:
        self.module = pl.LightningModule()
        self.data = Data(training=training, **given)
        self.settings, self.progress = self.data.settings, self.data.progress
        self.stop = StopRequest(is_distributed=False)
        self.callbacks = CallbackList(arguments(callbacks=list(callbacks)), HOST, shows_summary=False)
        self.dispatcher = Dispatcher()
        self.strategy = Strategy(self.module)
        self.runs = ValidationRuns()
        self.saved: list[Any] = []
        self.told_to_end = False
        self.shown = SimpleNamespace(
            callback_metrics={"a": 1}, logged_metrics={"b": 2}, progress_bar_metrics={"c": 3.0}
        )
        parts: dict[str, Any] = {
            "host": HOST,
            "module": self.module,
            "datamodule": None,
            "arguments": arguments(**given),
            "settings": self.settings,
            "callbacks": self.callbacks,
            "progress": self.progress,
            "stop": self.stop,
            "connector": self.shown,
            "dispatcher": self.dispatcher,
            "data": self.data.connector,
            "strategy": self.strategy,
            "validation_runs": self.runs,
            "schedulers": ["a scheduler"],
            "frequencies": [2, 1],
            "default_root_dir": "root",
            "dump_checkpoint": lambda weights_only: {"weights_only": weights_only},
            "save_checkpoint": lambda filepath, weights_only: self.saved.append((filepath, weights_only)),
            "received_sigterm": lambda: self.told_to_end,
        }
        self.trainer: Trainer = trainer_class(HOST)(TrainerParts(**parts))


# --- settings ---------------------------------------------------------------------------------------------------------

SETTINGS = [
    "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "min_steps", "max_steps", "min_epochs",
    "max_epochs", "fast_dev_run", "overfit_batches", "limit_train_batches", "limit_val_batches", "limit_test_batches",
    "limit_predict_batches", "val_check_interval", "check_val_every_n_epoch", "num_sanity_val_steps",
    "reload_dataloaders_every_n_epochs", "log_every_n_steps", "barebones", "benchmark", "enable_progress_bar",
]  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_setting_written_on_the_trainer_is_the_runs_and_read_there(name: str) -> None:
    run = Run()
    written, changed = object(), object()

    setattr(run.trainer, name, written)
    reached = getattr(run.settings, name)
    setattr(run.settings, name, changed)

    assert reached is written
    assert getattr(run.trainer, name) is changed


@pytest.mark.parametrize("name", ["max_epochs", "min_epochs"])
def test_limits_written_on_the_fit_loop_are_the_runs(name: str) -> None:
    run = Run()

    setattr(run.trainer.fit_loop, name, 7)

    assert getattr(run.settings, name) == getattr(run.trainer.fit_loop, name) == getattr(run.trainer, name) == 7


def test_limits_written_on_the_epoch_loop_are_the_runs() -> None:
    run = Run()

    run.trainer.fit_loop.epoch_loop.max_steps = 7

    assert run.settings.max_steps == run.trainer.max_steps == run.trainer.fit_loop.max_steps == 7


def test_pass_without_training_is_asked_for_as_weight_averaging_does() -> None:
    run = Run()

    run.trainer.fit_loop._skip_backward = True

    assert run.settings.skip_backward
    assert run.trainer.fit_loop._skip_backward


def test_number_of_batches_written_on_the_trainer_limits_the_epoch() -> None:
    run = Run()
    run.data.connector.load_training()

    data = run.data.connector.training
    assert data is not None

    run.trainer.num_training_batches = 3
    first = (run.progress.num_training_batches, data.num_batches)
    run.trainer.fit_loop.max_batches = 2

    assert first == (3, 3)
    assert (run.trainer.num_training_batches, run.trainer.fit_loop.max_batches, data.num_batches) == (2, 2, 2)


# --- names that are not there -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fit", "test", "tune" if LEGACY else "predict", "test_loop", "validate_loop"])
def test_absent_name_of_lightnings_trainer_explains_itself(name: str) -> None:
    trainer = Run().trainer

    with pytest.raises(
        AttributeError,
        match=rf"self\.trainer\.{name} is part of Lightning's Trainer.*Use one of: .*current_epoch.*lightning_module",
    ):
        getattr(trainer, name)

    assert not hasattr(trainer, name)


def test_explanation_offers_no_absent_and_no_private_name() -> None:
    with pytest.raises(AttributeError) as caught:
        Run().trainer.fit()

    offered = str(caught.value).split("Use one of: ")[1].rstrip(".").split(", ")
    assert "fit" not in offered and "settings" in offered
    assert not [name for name in offered if name.startswith("_")]


def test_name_that_lightning_has_not_is_an_ordinary_mistake() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        Run().trainer.nonsense  # noqa: B018


def test_every_public_name_of_lightnings_trainer_is_there_or_explains_itself() -> None:
    cls, held = trainer_class(HOST), vars(Run().trainer)

    names = [name for name in dir(pl.Trainer) if not name.startswith("_")]
    assert not [name for name in names if not hasattr(cls, name) and name not in held]
    assert trainer_class(HOST) is cls


# --- the step estimate ------------------------------------------------------------------------------------------------

LENGTHS = [1, 5, UNKNOWN]
GRID = [
    (accumulation, epochs, steps) for accumulation in (1, 2, 3) for epochs in (0, 1, 3, -1) for steps in (-1, 0, 2, 40)
]


class Enough(Exception):
    """Lightning's Trainer has told what a test wants to know."""


def lightnings_estimates(length: float) -> list[float]:
    """What Lightning's own Trainer estimates, for each point of the grid."""
    found: list[float] = []

    class Asks(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.layer = torch.nn.Linear(1, 1)

        def training_step(self, batch: Any, batch_idx: int) -> None:
            pass

        def configure_optimizers(self) -> None:
            for accumulation, epochs, steps in GRID:
                self.trainer.accumulate_grad_batches = accumulation
                self.trainer.fit_loop.max_epochs = epochs
                self.trainer.fit_loop.epoch_loop.max_steps = steps
                found.append(self.trainer.estimated_stepping_batches)
            raise Enough

    trainer = pl.Trainer(
        max_epochs=1,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    with pytest.raises(Enough):
        trainer.fit(Asks(), loader_of(length))
    return found


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.skipif(LEGACY, reason="Lightning 1.x keeps accumulation in a callback, so the grid cannot be set there")
def test_estimate_of_steps_is_lightnings(length: float) -> None:
    ours = []
    for accumulation, epochs, steps in GRID:
        run = Run(lambda: loader_of(length), accumulate_grad_batches=accumulation, max_epochs=epochs, max_steps=steps)
        ours.append(run.trainer.estimated_stepping_batches)

    assert list(zip(GRID, ours, strict=True)) == list(zip(GRID, lightnings_estimates(length), strict=True))


def test_estimate_of_steps_loads_the_data_once_and_only_if_need_be() -> None:
    endless, limited = Run(max_epochs=-1), Run(max_epochs=2, reload_dataloaders_every_n_epochs=1)

    _ = endless.trainer.estimated_stepping_batches
    _ = limited.trainer.estimated_stepping_batches
    limited.data.epoch_passes()
    _ = limited.trainer.estimated_stepping_batches

    assert (endless.data.asked["train"], limited.data.asked["train"]) == (0, 1)


# --- facts ------------------------------------------------------------------------------------------------------------


def test_wish_to_stop_reaches_the_run() -> None:
    run = Run()

    run.trainer.should_stop = True

    assert run.stop.agreed
    assert run.trainer.should_stop is True


def test_progress_is_that_of_the_run() -> None:
    run = Run()
    run.data.epoch_passes()
    run.progress.advance_epoch_ready()
    run.progress.advance_epoch_started()
    run.progress.batch.total.set_to(6, 6, 6, 6)
    run.progress.batch.advance_ready(True)
    run.progress.optimizer_steps = 3
    run.progress.batches_that_stepped = 2
    trainer = run.trainer
    loop = trainer.fit_loop

    assert (trainer.current_epoch, trainer.global_step, trainer.is_last_batch) == (1, 3, True)
    assert (loop.batch_idx, loop.total_batch_idx, loop.epoch_loop.global_step) == (0, 6, 3)
    assert (loop.epoch_loop.batch_idx, loop.epoch_loop.total_batch_idx) == (0, 6)
    assert loop.epoch_loop._batches_that_stepped == 2
    assert loop.epoch_loop.optim_progress.optimizer_steps == 3
    assert loop.epoch_loop.batch_progress is run.progress.batch
    assert loop.epoch_progress is run.progress.epoch
    assert loop.epoch_loop.val_loop.batch_progress is run.progress.validation


@pytest.mark.parametrize("automatic", [True, 1, False, 0])
def test_steps_are_those_of_the_loop_that_the_module_uses(automatic: Any) -> None:
    run = Run()
    run.module.automatic_optimization = automatic
    run.progress.count_steps_from(3)
    loop = run.trainer.fit_loop.epoch_loop
    counted = (
        loop.automatic_optimization.optim_progress.optimizer.step.total.completed,
        loop.manual_optimization.optim_step_progress.total.completed,
    )

    assert counted == ((3, 0) if automatic else (0, 3))


def test_validation_loop_tells_whether_it_has_run() -> None:
    run = Run()
    loop = run.trainer.fit_loop.epoch_loop.val_loop
    seen = [loop._has_run]
    run.runs.batch_processed()
    seen.append(loop._has_run)
    run.runs.begin()
    seen.append(loop._has_run)

    assert seen == [False, True, False]


@pytest.mark.parametrize(
    ("stage", "others"),
    [
        ("training", ["validating", "sanity_checking"]),
        ("validating", ["training", "sanity_checking"]),
        ("sanity_checking", ["training", "validating"]),
    ],
)
def test_one_stage_at_a_time(stage: str, others: list[str]) -> None:
    trainer = Run().trainer
    assert trainer.training

    setattr(trainer, stage, True)

    assert getattr(trainer, stage)
    assert not any(getattr(trainer, other) for other in [*others, "testing", "predicting"])
    assert trainer.evaluating is trainer.state.stage.evaluating
    assert trainer._active_loop is (trainer.fit_loop if stage == "training" else trainer.fit_loop.epoch_loop.val_loop)
    for other in others:
        setattr(trainer, other, False)
    assert getattr(trainer, stage)
    setattr(trainer, stage, False)
    assert not getattr(trainer, stage)
    assert trainer._active_loop is None


@pytest.mark.parametrize(("every", "stepped", "expected"), [(3, 1, False), (3, 2, True), (1, 0, True), (0, 0, False)])
def test_batch_is_logged_every_n_steps(every: int, stepped: int, expected: bool) -> None:
    run = Run(log_every_n_steps=every)
    run.progress.batches_that_stepped = stepped

    assert run.trainer.should_log is expected


def test_batch_that_ends_the_run_is_logged_unless_nothing_is() -> None:
    run, silent = Run(log_every_n_steps=3), Run(log_every_n_steps=0)
    run.stop.ask(True)
    silent.stop.ask(True)

    assert run.trainer.should_log is True
    assert silent.trainer.should_log is False


def test_validation_is_logged_by_its_own_batches() -> None:
    run = Run(log_every_n_steps=3)
    run.trainer.validating = True
    run.progress.batches_that_stepped = 2
    seen = []
    for _ in range(3):
        run.progress.validation.advance_ready(False)
        seen.append(run.trainer.should_log)

    assert seen == [False, False, True]


def test_metrics_are_those_that_were_logged() -> None:
    trainer = Run().trainer

    assert (trainer.callback_metrics, trainer.logged_metrics) == ({"a": 1}, {"b": 2})
    assert trainer.progress_bar_metrics == trainer.progress_bar_dict == {"c": 3.0}


def test_metrics_of_a_callback_go_to_the_loggers_where_the_batch_is_logged() -> None:
    run = Run(log_every_n_steps=1)

    run.trainer._logger_connector.log_metrics({"lr": 1.0}, 5)

    assert run.dispatcher.logged == [({"lr": 1.0}, 5)]
    assert run.trainer._logger_connector.should_update_logs


def test_loggers_are_those_that_user_code_assigns() -> None:
    run = Run()
    first, second = SimpleNamespace(log_dir="logs", save_dir="x"), SimpleNamespace(save_dir="saves")
    before = (run.trainer.logger, run.trainer.log_dir)
    run.trainer.loggers = [first, second]
    several = run.trainer.logger
    run.trainer.logger = second
    one = run.trainer.loggers
    run.trainer.logger = None

    assert before == (None, "root")
    assert several is first
    assert one == [second]
    assert run.dispatcher.loggers == []


@pytest.mark.parametrize("kind", ["TensorBoardLogger", "CSVLogger", "other"])
def test_directory_of_the_first_logger_is_lightnings(kind: str, tmp_path: pathlib.Path) -> None:
    if kind == "CSVLogger" and HOST.version < Version("2.1"):
        pytest.skip("older Lightnings name the directory above")
    if kind == "other":
        logger: Any = SimpleNamespace(log_dir="logs", save_dir="saves")
    else:
        logger = getattr(pl.loggers, kind)(tmp_path, version=3)
    run = Run()
    run.trainer.loggers = [logger]
    theirs = pl.Trainer(accelerator="cpu", logger=logger, enable_checkpointing=False, enable_progress_bar=False)

    assert run.trainer.log_dir == theirs.log_dir


def test_loaders_are_shown_once_they_are_there() -> None:
    made = loader_of(4)
    run = Run(lambda: made)
    before = (run.trainer.train_dataloader, run.trainer.val_dataloaders, run.trainer.num_val_batches)
    run.data.connector.load_training()
    run.data.connector.load_validation()

    assert before == (None, None, [])
    shown = run.trainer.train_dataloader
    assert LEGACY or shown.dataset is made.dataset
    assert run.trainer.num_val_batches == [2]
    assert run.trainer.val_check_batch == 4


def test_callbacks_that_user_code_assigns_are_the_runs() -> None:
    early, checkpoint = pl.callbacks.EarlyStopping("loss"), pl.callbacks.ModelCheckpoint()
    run = Run(callbacks=[checkpoint])
    before = (run.trainer.early_stopping_callback, run.trainer.checkpoint_callback)

    run.trainer.callbacks = [early]

    assert before == (None, checkpoint)
    assert run.callbacks.items == [early]
    assert (run.trainer.early_stopping_callback, run.trainer.checkpoint_callbacks) == (early, [])


def test_optimizers_that_user_code_assigns_are_the_strategys() -> None:
    run = Run()
    optimizers: list[Any] = ["an optimizer"]

    run.trainer.optimizers = optimizers

    assert run.strategy.optimizers is optimizers
    assert (run.trainer.lr_scheduler_configs, run.trainer.optimizer_frequencies) == (["a scheduler"], [2, 1])


def test_only_the_chief_prints(capsys: pytest.CaptureFixture[str]) -> None:
    run = Run()
    run.trainer.print("from the chief")
    run.strategy.is_global_zero = False
    run.trainer.print("from another")

    assert capsys.readouterr().out == "from the chief\n"


@pytest.mark.parametrize(("weights_only", "expected"), [(None, False), (False, False), (True, True)])
def test_checkpoint_is_written_by_the_run(tmp_path: pathlib.Path, weights_only: bool | None, expected: bool) -> None:
    run = Run()

    run.trainer.save_checkpoint(tmp_path / "x.ckpt", weights_only)

    assert run.saved == [(tmp_path / "x.ckpt", expected)]


def test_storage_options_of_a_checkpoint_are_refused_as_lightnings_plugin_does(tmp_path: pathlib.Path) -> None:
    run = Run()

    with pytest.raises(
        TypeError, match=r"`storage_options` arg is not supported: \{'anon': True\} would be read by nobody"
    ):
        run.trainer.save_checkpoint(tmp_path / "x.ckpt", storage_options={"anon": True})

    assert not run.saved


def test_facts_of_one_process() -> None:
    trainer = Run().trainer

    assert (trainer.world_size, trainer.global_rank, trainer.num_nodes, trainer.device_ids) == (1, 0, 1, [0])
    assert trainer.distributed_sampler_kwargs is None
    assert trainer.is_global_zero
    assert trainer.model is trainer.lightning_module
    with trainer.profiler.profile("anything"):
        pass
