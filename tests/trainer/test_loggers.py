"""What are loggers and Determined told, under which step, and which loggers are there?"""

from __future__ import annotations

import pathlib
from typing import Any

import pytest
import torch

from lightning_adapter.errors import NonFiniteError
from lightning_adapter.loop.progress import TrainingProgress
from lightning_adapter.trainer.loggers import LoggerDispatcher, determined_logger, loggers_of
from lightning_adapter.trainer.nonfinite import NonFiniteCheck
from trainer.parts import HOST, LEGACY, Misconfiguration, arguments, settings

pl = HOST.pl


class Writes(HOST.load("loggers.logger").Logger):
    """A logger that remembers."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[Any] = []
        self.hparams: list[Any] = []

    @property
    def name(self) -> str:
        return "writes"

    @property
    def version(self) -> str:
        return "0"

    def log_metrics(self, metrics: Any, step: Any = None) -> None:
        self.told.append((dict(metrics), step))

    def log_hyperparams(self, params: Any) -> None:
        self.hparams.append(dict(params))

    def log_graph(self, model: Any) -> None:
        self.told.append(("graph", type(model).__name__))

    def save(self) -> None:
        self.told.append("save")

    def finalize(self, status: str) -> None:
        self.told.append(status)


class Connector:
    """Remembers what went to the loggers."""

    def __init__(self) -> None:
        self.sent: list[Any] = []

    def sent_to_loggers(self, metrics: Any) -> None:
        self.sent.append(dict(metrics))


class Run:
    """A dispatcher with one logger, after two epochs and three batches that stepped."""

    def __init__(self, *loggers: Writes) -> None:
        self.progress = TrainingProgress(settings())
        self.progress.epoch.current.set_to(2, 2, 2, 2)
        self.progress.batch.total.set_to(9, 9, 9, 9)
        self.progress.batches_that_stepped = 3
        self.connector = Connector()
        self.reported: list[dict[str, float]] = []
        self.dispatcher = LoggerDispatcher(
            list(loggers),
            self.progress,
            self.connector,  # type: ignore[arg-type]
            HOST,
            self.reported.append,
            NonFiniteCheck("raise"),
        )


def values(**numbers: float) -> dict[str, torch.Tensor]:
    return {name: torch.tensor(number) for name, number in numbers.items()}


def test_training_metrics_go_to_determined_and_under_the_step_with_the_epoch_to_the_loggers() -> None:
    first, second = Writes(), Writes()
    run = Run(first, second)

    run.dispatcher.log_training(values(loss=0.5))

    assert run.reported == [{"loss": 0.5}]
    assert first.told == second.told == [({"loss": 0.5, "epoch": 2}, 3), "save"]
    assert run.connector.sent == [values(loss=0.5)]


def test_nothing_logged_is_told_to_nobody() -> None:
    logger = Writes()
    run = Run(logger)

    run.dispatcher.log_training({})
    run.dispatcher.log_metrics({})

    assert (run.reported, logger.told, run.connector.sent) == ([], [], [])


def test_metrics_of_a_callback_go_to_the_loggers_alone_under_the_step_that_it_names() -> None:
    logger = Writes()
    run = Run(logger)

    run.dispatcher.log_metrics({"lr": 0.25}, step=17)

    assert run.reported == []
    assert logger.told == [({"lr": 0.25}, 17), "save"]


def test_step_zero_is_a_step() -> None:
    logger = Writes()

    Run(logger).dispatcher.log_metrics({"lr": 0.25}, step=0)

    assert logger.told[0] == ({"lr": 0.25}, 0)


@pytest.mark.parametrize("given", [0, 40])
def test_logged_value_named_step_is_the_step(given: int) -> None:
    logger = Writes()

    Run(logger).dispatcher.log_training(values(loss=0.5, step=float(given)))

    metrics, step = logger.told[0]
    assert metrics == {"loss": 0.5}
    assert step == given
    assert HOST.quirks.keeps_fractional_steps or type(step) is int


def test_logged_epoch_is_not_overwritten() -> None:
    logger = Writes()

    Run(logger).dispatcher.log_training(values(epoch=7.0))

    assert logger.told[0] == ({"epoch": 7.0}, 3)


def test_determined_is_told_without_loggers() -> None:
    run = Run()

    run.dispatcher.log_training(values(loss=0.5, step=4.0))

    assert run.reported == [{"loss": 0.5, "step": 4.0}]
    assert run.connector.sent == []


def test_logger_that_user_code_assigns_is_told() -> None:
    old, new = Writes(), Writes()
    run = Run(old)

    run.dispatcher.replace([new])
    run.dispatcher.log_metrics({"lr": 0.25}, step=1)
    run.dispatcher.save()
    run.dispatcher.finalize("success")

    assert old.told == []
    assert new.told == [({"lr": 0.25}, 1), "save", "save", "success"]


def test_value_that_is_not_finite_is_found_with_its_batch() -> None:
    with pytest.raises(NonFiniteError, match="'noise' became nan at batch 9"):
        Run(Writes()).dispatcher.log_training(values(noise=float("nan")))


# --- hyperparameters --------------------------------------------------------------------------------------------------


class Module(pl.LightningModule):
    """Saves what it is given."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.save_hyperparameters(given)


class Data(pl.LightningDataModule):
    """Saves what it is given."""

    def __init__(self, **given: Any) -> None:
        super().__init__()
        self.save_hyperparameters(given)


def logged(module: Any, data: Any = None) -> Any:
    logger = Writes()
    Run(logger).dispatcher.log_hyperparams(module, data)
    assert logger.told == [("graph", type(module).__name__), "save"]
    return logger.hparams[0] if logger.hparams else None


def test_hyperparameters_of_module_and_datamodule_are_merged() -> None:
    assert logged(Module(lr=0.1, both=1), Data(size=2, both=1)) == {"lr": 0.1, "both": 1, "size": 2}


def test_hyperparameters_of_the_one_that_saved_some_are_logged() -> None:
    assert logged(Module(lr=0.1)) == {"lr": 0.1}
    assert logged(Module(lr=0.1), pl.LightningDataModule()) == {"lr": 0.1}
    assert logged(pl.LightningModule(), Data(size=2)) == {"size": 2}
    assert logged(pl.LightningModule(), pl.LightningDataModule()) is None


def test_hyperparameters_that_are_not_for_loggers_stay_out() -> None:
    class Quiet(pl.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.save_hyperparameters({"lr": 0.1}, logger=False)

    assert logged(Quiet()) is None


def test_hyperparameters_that_contradict_each_other_are_refused_by_name() -> None:
    with pytest.raises(Misconfiguration if LEGACY else RuntimeError, match=r"the keys \['both'\] are present in both"):
        logged(Module(both=1, lr=0.1), Data(both=2))


def test_equal_hyperparameters_of_different_types_contradict_each_other() -> None:
    with pytest.raises(Misconfiguration if LEGACY else RuntimeError, match=r"the keys \['both', 'flag'\] are present"):
        logged(Module(both=1, same=2, flag=True), Data(flag=1, same=2, both=1.0))


@pytest.mark.parametrize(
    ("other", "same"),
    [(torch.ones(2), True), (torch.zeros(2), False), (torch.ones(3), False), ([1.0, 1.0], False)],
    ids=["equal", "other-values", "other-shape", "list"],
)
def test_hyperparameters_that_are_tensors_are_compared_by_value(other: Any, same: bool) -> None:
    module, data = Module(both=torch.ones(2)), Data(both=other)

    if same:
        assert list(logged(module, data)) == ["both"]
    else:
        with pytest.raises((RuntimeError, Misconfiguration), match="Error while merging hparams"):
            logged(module, data)


@pytest.mark.parametrize("name", ["_class_path", "_instantiator"])
def test_names_that_the_cli_keeps_for_itself_are_neither_logged_nor_compared(name: str) -> None:
    module, data = Module(lr=0.1, **{name: "module"}), Data(size=2, **{name: "data"})

    assert logged(module, data) == {"lr": 0.1, "size": 2}
    assert logged(Module(lr=0.1, **{name: "module"})) == {"lr": 0.1}


def test_hyperparameters_are_those_of_the_beginning() -> None:
    module = Module(lr=0.1)
    module.hparams["lr"] = 5.0

    assert logged(module) == {"lr": 0.1}


def test_without_loggers_hyperparameters_that_contradict_each_other_are_nobodys_concern() -> None:
    Run().dispatcher.log_hyperparams(Module(both=1), Data(both=2))


# --- which loggers ----------------------------------------------------------------------------------------------------


def chosen(tmp_path: pathlib.Path, **given: Any) -> list[Any]:
    return loggers_of(arguments(**given), HOST, lambda: str(tmp_path), lambda: "root")


@pytest.mark.parametrize("given", [{}, {"logger": True}, {"logger": None}])
def test_default_logger_is_determineds(tmp_path: pathlib.Path, given: dict[str, Any]) -> None:
    (logger,) = chosen(tmp_path, **given)

    assert type(logger).__name__ == "DeterminedLogger"
    assert isinstance(logger, HOST.load("loggers.logger").Logger)


def test_loggers_of_the_user_are_taken_in_order() -> None:
    first, second = Writes(), Writes()

    assert chosen(pathlib.Path(), logger=first) == [first]
    assert chosen(pathlib.Path(), logger=(first, second)) == [first, second]
    assert chosen(pathlib.Path(), logger=False) == []
    assert chosen(pathlib.Path(), logger=[]) == []


@pytest.mark.parametrize("given", [None, True, "mine"])
def test_fast_dev_run_has_a_dummy_in_place_of_loggers(given: Any) -> None:
    (logger,) = chosen(pathlib.Path(), fast_dev_run=True, logger=Writes() if given == "mine" else given)

    assert type(logger).__name__ == "DummyLogger"


def test_fast_dev_run_without_loggers_has_none() -> None:
    assert chosen(pathlib.Path(), fast_dev_run=True, logger=False) == []
    assert chosen(pathlib.Path(), fast_dev_run=True, logger=[]) == []


class Asked:
    """A directory that counts how often it is asked for."""

    def __init__(self, path: pathlib.Path) -> None:
        self.path, self.times = path, 0

    def __call__(self) -> str:
        self.times += 1
        return str(self.path)


def test_determineds_logger_writes_what_lightnings_default_logger_writes(tmp_path: pathlib.Path) -> None:
    directory = Asked(tmp_path / "ours")
    ours: Any = determined_logger(HOST, directory, lambda: "root")
    theirs = HOST.pl.loggers.TensorBoardLogger(str(tmp_path / "theirs"), name="", version="")
    before = directory.times
    for logger in (ours, theirs):
        logger.log_hyperparams({"lr": 0.1, "layers": {"width": 3}})
        logger.log_metrics({"loss": 0.5, "accuracy": 1.0}, 3)
        logger.log_metrics({"loss": 0.25}, 4)
        logger.log_hyperparams({"mine": 1}, {"score": 0.5})
        logger.save()
        logger.finalize("success")

    assert (before, directory.times) == (0, 1)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = []
    for name in ("ours", "theirs"):
        events = EventAccumulator(str(tmp_path / name)).Reload()
        values = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
        hparams = events.PluginTagToContent("hparams")
        found.append((values, hparams.keys(), (tmp_path / name / "hparams.yaml").read_text()))
    assert found[0] == found[1]
    assert found[0][0]["loss"] == [(3, 0.5), (4, 0.25)]


def test_determineds_logger_without_a_word_writes_no_file(tmp_path: pathlib.Path) -> None:
    logger: Any = determined_logger(HOST, lambda: str(tmp_path), lambda: "root")

    logger.finalize("failed")

    assert list(tmp_path.iterdir()) == []
    assert (logger.save_dir, logger.log_dir, logger.name, logger.version) == ("root", str(tmp_path), "lightning", "")


def test_determineds_logger_opens_its_files_with_the_first_value(tmp_path: pathlib.Path) -> None:
    written = tmp_path / "made" / "for hooks"
    logger: Any = determined_logger(HOST, lambda: str(written), lambda: "root")
    run = Run(logger)

    run.dispatcher.begin()
    run.dispatcher.log_hyperparams(pl.LightningModule(), None)
    before = list(written.iterdir())
    run.dispatcher.log_training(values(loss=0.5))
    logger.finalize("failed")

    assert before == []
    assert sorted(path.name.partition(".")[0] for path in written.iterdir()) == ["events", "hparams"]


def test_determineds_logger_writes_hyperparameters_at_once(tmp_path: pathlib.Path) -> None:
    logger: Any = determined_logger(HOST, lambda: str(tmp_path), lambda: "root")

    Run(logger).dispatcher.log_hyperparams(Module(lr=0.5), None)
    found = (tmp_path / "hparams.yaml").read_text()
    logger.finalize("failed")

    assert found == "lr: 0.5\n"


def test_determineds_logger_of_a_complete_run_without_a_value_leaves_lightnings_files(tmp_path: pathlib.Path) -> None:
    ours: Any = determined_logger(HOST, lambda: str(tmp_path / "ours"), lambda: "root")
    theirs = HOST.pl.loggers.TensorBoardLogger(str(tmp_path / "theirs"), name="", version="")
    for logger in (ours, theirs):
        Run(logger).dispatcher.begin()
        logger.finalize("success")

    found = [sorted(path.name.partition(".")[0] for path in (tmp_path / name).iterdir()) for name in ("ours", "theirs")]
    assert found == [["events", "hparams"]] * 2


def test_experiment_of_another_logger_is_made_before_the_hooks(tmp_path: pathlib.Path) -> None:
    logger: Any = HOST.pl.loggers.TensorBoardLogger(str(tmp_path), name="", version="")

    Run(logger).dispatcher.begin()
    found = list(tmp_path.glob("events.*"))
    logger.finalize("failed")

    assert len(found) == 1


def test_determineds_logger_writes_on_the_chief_alone(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    directory = Asked(tmp_path)
    logger: Any = determined_logger(HOST, directory, lambda: "root")
    monkeypatch.setattr(HOST.load("utilities.rank_zero").rank_zero_only, "rank", 1)

    Run(logger).dispatcher.begin()
    logger.log_metrics({"loss": 0.5}, 3)
    logger.experiment.add_scalar("loss", 0.5, 4)
    logger.finalize("success")

    assert directory.times == 0
