"""In which order does the fit loop do what it does, and where does it wait?"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from packaging.version import Version

from lightning_adapter.loop.fit_loop import Event, FitLoop
from lightning_adapter.loop.progress import Phase, TrainingProgress
from lightning_adapter.trainer.display.display import Display
from lightning_adapter.trainer.stop_request import StopRequest
from lightning_adapter.versions.quirks import quirks_of
from loop.parts import HOST, settings

PER_EPOCH = 3
EPOCH_END = [
    "epoch end reached",
    "on_train_epoch_end others",
    "ranks meet",
    "on_train_epoch_end monitors",
    "on_epoch_end",
    "epoch values",
    "plateau by epoch",
    "loggers",
    "reset",
]


class Recorder:
    """Parts of a run that write down in one list what the loop asks of them.

    Args:
        told: the list.
        progress: advanced by batches and loaders as the real parts do.
        version: of Lightning.
    """

    def __init__(self, told: list[str], progress: TrainingProgress, version: str = "2.6.6") -> None:
        self.told = told
        self.progress = progress
        self.said: list[str] = []
        self.host = SimpleNamespace(
            quirks=quirks_of(Version(version)), misconfiguration=HOST.misconfiguration, inform=self.said.append
        )
        self.module = "module"
        self.configs: list[object] = []
        self.trainer = "trainer"
        self.ends_early_at: int | None = None
        self.outputs: list[Any] | None = None
        self.returned: object = None
        self.logged_under: list[int] = []
        self.loaders: list[object] = []
        self.training = self

    # hooks
    def call(self, name: str, monitoring: bool | None = None) -> None:
        self.told.append(name if monitoring is None else f"{name} {'monitors' if monitoring else 'others'}")

    # data
    def load_training(self) -> None:
        self.told.append("loaders")
        self.progress.epoch_length_known(PER_EPOCH)

    def set_epoch(self, loaders: list[object]) -> None:
        assert loaders is self.loaders

    def start(self) -> None:
        self.told.append("iter")

    # the batch
    def advance(self) -> bool:
        batch = self.progress.batch
        if batch.current.ready == self.ends_early_at:
            return False
        batch.advance_ready(batch.current.ready + 1 == PER_EPOCH)
        batch.advance_started()
        batch.advance_processed()
        batch.advance_completed()
        self.progress.advance_optimizer_step()
        self.told.append(f"batch {batch.current.ready}")
        return True

    # logging
    def epoch_end_reached(self) -> None:
        self.told.append("epoch end reached")

    def ranks_meet(self) -> None:
        self.told.append("ranks meet")

    def on_epoch_end(self) -> None:
        self.told.append("epoch values")

    def current_log(self) -> dict[str, Any]:
        return {}

    def log_training(self, metrics: dict[str, Any]) -> None:
        self.told.append("loggers")
        self.logged_under.append(self.progress.batches_that_stepped)

    def reset_results(self) -> None:
        self.told.append("reset")

    def save(self) -> None:
        self.told.append("loggers save")

    # schedulers
    def step(self, interval: str, plateau: bool) -> None:
        assert plateau
        self.told.append(f"plateau by {interval}")

    # outputs of an epoch
    def take(self) -> list[Any] | None:
        return self.outputs

    def reported(self, epoch_over: bool) -> None:
        assert epoch_over

    def call_with_outputs(self, hook: str, outputs: list[Any]) -> object:
        self.told.append(f"{hook} {outputs}")
        return self.returned


class Run:
    """A fit loop over `PER_EPOCH` batches an epoch, and what it did."""

    def __init__(self, version: str = "2.6.6", with_outputs: bool = False, **limits: Any) -> None:
        self.told: list[str] = []
        self.settings = settings(**{"max_epochs": 1, **limits})
        self.progress = TrainingProgress(self.settings)
        self.stop = StopRequest(is_distributed=False)
        self.parts: Any = Recorder(self.told, self.progress, version)
        parts = self.parts
        self.loop = FitLoop(
            trainer=parts.trainer, hooks=parts, progress=self.progress, settings=self.settings, stop=self.stop,
            data=parts, connector=parts, dispatcher=parts, schedulers=parts, batch=parts, returned_logs=parts,
            epoch_outputs=parts if with_outputs else None, unlogged=parts, display=Display(),  # type: ignore[arg-type]
            accumulation=None, any_rank=None, epoch_starts=lambda epoch: self.told.append(f"epoch {epoch}"),
            state=lambda: dict(self.progress.state_dict()),
        )  # fmt: skip

    def drive(self, at: Any = lambda event, count: None) -> list[str]:
        """Run to the end, telling each event; `at` is called with an event and how often it came."""
        seen = {event: 0 for event in Event}
        for event in self.loop.events():
            seen[event] += 1
            self.told.append(event.name)
            at(event, seen[event])
        return self.told

    @property
    def batches(self) -> int:
        return self.progress.total_batches


def test_one_epoch_goes_in_lightnings_order() -> None:
    assert Run().drive() == [
        "loaders",
        "epoch 0",
        "on_train_epoch_start",
        "batch 1",
        "MAY_VALIDATE",
        "MAY_PAUSE",
        "batch 2",
        "MAY_VALIDATE",
        "MAY_PAUSE",
        "batch 3",
        "MAY_VALIDATE",
        *EPOCH_END,
        "on_train_end",
    ]


def test_last_batch_may_pause_after_the_epochs_end_and_the_next_epoch_iterates_anew() -> None:
    told = Run(max_epochs=2).drive()

    last = told.index("batch 3")
    assert told[last : told.index("batch 1", last) + 1] == [
        "batch 3",
        "MAY_VALIDATE",
        *EPOCH_END,
        "MAY_PAUSE",
        "loaders",
        "epoch 1",
        "on_train_epoch_start",
        "iter",
        "batch 1",
    ]


def test_older_lightning_iterates_each_epoch_after_its_first_hooks_and_monitors_in_order() -> None:
    told = Run(version="1.9.5").drive()

    assert told[:5] == ["loaders", "epoch 0", "on_train_epoch_start", "iter", "batch 1"]
    assert told[told.index("epoch end reached") :][:3] == ["epoch end reached", "on_train_epoch_end", "on_epoch_end"]


def test_plateau_schedulers_step_after_the_validation_of_a_batch() -> None:
    run = Run()
    run.parts.configs.append("a scheduler")

    told = run.drive()

    assert told[told.index("batch 1") :][:4] == ["batch 1", "MAY_VALIDATE", "plateau by step", "MAY_PAUSE"]


def test_run_is_finished_when_its_generator_ends_and_not_before() -> None:
    run = Run()
    phases = []

    run.drive(lambda event, _: phases.append(run.progress.phase))

    assert set(phases) == {Phase.IN_EPOCH}
    assert run.told[-1] == "on_train_end"
    assert run.progress.is_finished and run.progress.phase is Phase.BETWEEN_EPOCHS
    assert run.progress.current_epoch == 1
    assert list(run.loop.events()) == []


def test_epoch_is_logged_under_the_step_of_its_last_batch() -> None:
    run = Run(max_epochs=2)

    run.drive()

    assert run.parts.logged_under == [PER_EPOCH - 1, 2 * PER_EPOCH - 1]
    assert run.progress.batches_that_stepped == 2 * PER_EPOCH


@pytest.mark.parametrize("trained", [0, 2])
def test_epoch_without_a_further_batch_ends_and_pauses_without_a_validation(trained: int) -> None:
    run = Run(max_epochs=2)
    run.parts.ends_early_at = trained

    told = run.drive()

    assert told.count("MAY_VALIDATE") == 2 * trained
    assert told.count("on_epoch_end") == 2
    end = told.index("epoch end reached")
    assert told[end - 1] == ("MAY_PAUSE" if trained else "on_train_epoch_start")
    assert told[told.index("reset") + 1] == "MAY_PAUSE"
    assert run.loop.resume_point is None


# --- stops and limits -------------------------------------------------------------------------------------------------


def test_stop_asked_for_at_a_pause_ends_the_epoch_before_another_batch() -> None:
    run = Run(max_epochs=3)

    told = run.drive(lambda event, count: run.stop.ask(event is Event.MAY_PAUSE and count == 2))

    assert run.batches == 2
    pause = len(told) - 1 - told[::-1].index("MAY_PAUSE")
    assert told[pause + 1] == "epoch end reached"
    assert told[-1] == "on_train_end"
    assert "plateau by epoch" not in told  # as the epoch was not trained to its end


def test_stop_asked_for_at_a_validation_ends_the_epoch_and_lets_the_loggers_write() -> None:
    run = Run(max_epochs=3)

    told = run.drive(lambda event, count: run.stop.ask(event is Event.MAY_VALIDATE and count == 2))

    assert run.batches == 2
    assert told[told.index("batch 2") :][:4] == ["batch 2", "MAY_VALIDATE", "loggers save", "epoch end reached"]


def test_stop_asked_for_before_the_first_epoch_trains_nothing() -> None:
    run = Run(max_epochs=3)
    run.stop.ask(True)

    assert run.drive() == ["on_train_end"]
    assert run.progress.is_finished


def test_stop_iteration_thrown_in_at_a_validation_ends_the_epoch() -> None:
    run = Run(max_epochs=2)
    run.parts.configs.append("a scheduler")
    events = run.loop.events()

    assert next(events) is Event.MAY_VALIDATE
    assert events.throw(StopIteration()) is Event.MAY_PAUSE
    assert run.told[run.told.index("batch 1") :][:2] == ["batch 1", "epoch end reached"]
    assert "plateau by step" not in run.told
    assert run.loop.resume_point is None
    assert run.progress.current_epoch == 1


@pytest.mark.parametrize("hook", ["on_train_epoch_start", "on_train_epoch_end"])
def test_stop_iteration_of_a_hook_around_an_epoch_ends_the_run(hook: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(max_epochs=3)
    call = run.parts.call

    def stops(name: str, monitoring: bool | None = None) -> None:
        call(name, monitoring)
        if name == hook:
            raise StopIteration

    monkeypatch.setattr(run.parts, "call", stops)

    assert run.drive()[-1] == "on_train_end"
    assert run.progress.current_epoch == 0
    assert run.progress.is_finished


@pytest.mark.parametrize(
    ("limits", "batches"),
    [({}, 1), ({"min_epochs": 2}, 2 * PER_EPOCH), ({"min_steps": 2, "min_epochs": 0}, 2), ({"min_steps": 5}, 5)],
)
def test_stop_does_not_end_a_run_before_its_minima(limits: dict[str, int], batches: int) -> None:
    run = Run(max_epochs=5, **limits)

    run.drive(lambda event, count: run.stop.ask(True))

    assert run.batches == batches


def test_steps_reached_in_mid_epoch_keep_a_resume_point_of_before_the_epochs_end() -> None:
    run = Run(max_epochs=-1, max_steps=PER_EPOCH + 2)

    told = run.drive()

    point = run.loop.resume_point
    assert run.batches == PER_EPOCH + 2
    assert point is not None
    assert point["in_epoch"]
    assert point["batches"]["current"]["ready"] == 2
    assert point["epochs"]["current"] == {"ready": 2, "started": 2, "processed": 1, "completed": 1}
    assert told.count("plateau by epoch") == 1


@pytest.mark.parametrize("limits", [{"max_epochs": 2}, {"max_epochs": -1, "max_steps": 2 * PER_EPOCH}])
def test_limit_that_a_full_epoch_reaches_keeps_no_resume_point(limits: dict[str, int]) -> None:
    run = Run(**limits)

    run.drive()

    assert run.batches == 2 * PER_EPOCH
    assert run.loop.resume_point is None


def test_resume_point_does_not_change_with_the_run() -> None:
    held: dict[str, Any] = {"gradients": [1]}
    run = Run(max_steps=2)
    run.loop.state = lambda: held

    run.drive()
    held["gradients"].append(2)

    assert run.loop.resume_point == {"gradients": [1]}


def test_run_with_nothing_left_to_do_is_done() -> None:
    run = Run(max_epochs=1)
    run.progress.advance_epoch_processed()

    assert run.loop.is_done()
    assert run.progress.current_epoch == 1


# --- resumed ----------------------------------------------------------------------------------------------------------


def test_run_resumed_in_mid_epoch_does_not_start_the_epoch_again() -> None:
    first = Run(max_steps=2)
    first.drive()
    second = Run()
    second.progress.load_state_dict(first.loop.resume_point)  # type: ignore[arg-type]

    told = second.drive()

    assert told[:2] == ["batch 3", "MAY_VALIDATE"]
    assert "on_train_epoch_start" not in told
    assert second.progress.current_epoch == 1


def counts(number: int) -> dict[str, int]:
    return dict.fromkeys(("ready", "started", "processed", "completed"), number)


def test_run_resumed_by_lightning_at_an_epochs_end_does_not_iterate_a_second_time() -> None:
    run = Run(max_epochs=3)
    batches: Any = {"current": counts(PER_EPOCH), "total": counts(PER_EPOCH), "is_last_batch": True}
    run.progress.load_lightning(PER_EPOCH, counts(1), batches, PER_EPOCH)

    told = run.drive()

    assert told[:4] == ["loaders", "epoch 1", "on_train_epoch_start", "batch 1"]
    assert told.count("iter") == 1  # of the epoch after that
    assert told.count("plateau by epoch") == 2


def test_run_resumed_by_lightning_after_the_last_batch_leaves_out_plateau_schedulers_of_that_epoch() -> None:
    run = Run(max_epochs=2)
    run.progress.epoch_length_known(PER_EPOCH)
    epochs = {**counts(0), "ready": 1, "started": 1}
    batches: Any = {"current": counts(PER_EPOCH), "total": counts(PER_EPOCH), "is_last_batch": True}
    run.progress.load_lightning(PER_EPOCH, epochs, batches, PER_EPOCH - 1)

    told = run.drive()

    assert told[0] == "epoch end reached"
    assert "plateau by epoch" not in told[: told.index("MAY_PAUSE")]
    assert told.count("plateau by epoch") == 1


# --- outputs of an epoch ----------------------------------------------------------------------------------------------


def test_outputs_of_the_epoch_are_handed_over_at_its_end() -> None:
    run = Run(with_outputs=True)
    run.parts.outputs = [1, 2]

    told = run.drive()

    end = told.index("epoch end reached")
    assert told[end + 1 : end + 4] == ["training_epoch_end [1, 2]", "ranks meet", "on_train_epoch_end others"]


def test_hook_for_outputs_that_returns_something_is_refused() -> None:
    run = Run(with_outputs=True)
    run.parts.outputs, run.parts.returned = [1], 5

    with pytest.raises(HOST.load("utilities.exceptions").MisconfigurationException, match="expects a return of None"):
        run.drive()


def test_other_ranks_are_asked_at_the_epochs_end() -> None:
    run = Run(max_epochs=3)
    run.stop = run.loop.stop = StopRequest(is_distributed=True)
    run.loop.any_rank = lambda *flags: [True]

    run.drive()

    assert run.batches == PER_EPOCH


def test_accumulation_acts_before_the_hooks_of_an_epoch() -> None:
    class Schedule:
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            run.told.append(f"accumulation {trainer} {pl_module} {run.progress.epoch.current.ready}")

    run = Run()
    run.loop.accumulation = Schedule()

    assert run.drive()[:3] == ["loaders", "accumulation trainer module 0", "epoch 0"]
