"""What does a complete experiment YAML say of a configuration, and what is there to be changed in it?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path as FilePath
from typing import Any

from ruamel.yaml import YAML

from lightning_adapter.configs.determined_form import Form
from lightning_adapter.configs.hydra_sweeper import Sweeper
from lightning_adapter.configs.objective import (
    Objective,
    batch_size_of,
    epochs_of,
    length_of,
    objective_of,
    resolved,
    slots_of,
    variables_of,
)
from lightning_adapter.configs.origins import Origin
from lightning_adapter.configs.parts import CLASS_KEYS, Tree
from lightning_adapter.configs.placing import Placed, place
from lightning_adapter.configs.tree_paths import Path, at, is_below
from lightning_adapter.configs.yaml_text import Writer
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.platform import experiment
from lightning_adapter.platform.target import CONFIGURED
from lightning_adapter.submission.entrypoint import TORCH_LAUNCHER
from lightning_adapter.submission.requirements import FILE

#: Trials of a search that has no end, as Optuna's sweeper has it.
_TRIALS = 20
_FIT = "python3 -m lightning_adapter fit"
_SEEDS = ("seed_everything", "seed")
_PLACE = "hyperparameters"
_BATCH_SIZE = "global_batch_size"
#: What the cluster decides, and a trainer section may say otherwise.
_OF_THE_JOB = ("devices", "num_nodes")


@dataclass(frozen=True)
class Experiment:
    """An experiment YAML.

    Attributes:
        text: all of it.
        hyperparameters: the tree in it.
    """

    text: str
    hyperparameters: Mapping[str, Any]


def experiment_yaml(origin: Origin, words: Sequence[str], slots: int | None, requirements: bool) -> Experiment:
    """Return an experiment YAML.

    Args:
        origin: what its hyperparameters are composed from.
        words: overrides, sweeps among them.
        slots: processes of a trial; None for as many as the configuration asks for.
        requirements: whether a file with what the environment needs is written beside it.

    Raises:
        ConfigurationError: something cannot be read, composed, or drawn by Determined; all of it is told.
    """
    items, sweeper = origin.overrides(words)
    placed = place(origin, items)
    notes = {**origin.notes(items), **placed.notes}
    return _Yaml(origin, placed, notes, sweeper, slots, requirements).made()


class _Yaml:
    def __init__(
        self,
        origin: Origin,
        placed: Placed,
        notes: Mapping[Path, str],
        sweeper: Sweeper,
        slots: int | None,
        requirements: bool,
    ) -> None:
        self._origin = origin
        self._placed = placed
        self._sweeper = sweeper
        self._requirements = requirements
        self._notes: dict[Path, str] = {(_PLACE, *path): note for path, note in notes.items()}
        self._above: dict[Path, str] = {}
        self._whole = origin.whole(placed.tree)
        asked = slots_of(self._whole) if self._is_configured else None
        self._slots = slots or asked or 1
        self._tree = self._of_the_job(placed.tree, slots, asked)
        if self._is_configured:
            self._note_what_is_elsewhere()

    @property
    def _is_configured(self) -> bool:
        return self._origin.dialect != "values"

    def made(self) -> Experiment:
        content: dict[str, Any] = {"name": self._name(), "entrypoint": self._entrypoint()}
        searcher = self._searcher()
        form = Form(self._origin.dialect, self._placed.ranges, searcher["name"] == "grid")
        hyperparameters = form.of(self._tree)
        self._add_batch_size(hyperparameters)
        content |= {_PLACE: hyperparameters, "searcher": searcher, "max_restarts": 5}
        self._notes[("max_restarts",)] = "of a trial whose container fails; it goes on from its last checkpoint"
        content["resources"] = {"slots_per_trial": self._slots}
        self._notes[("resources", "slots_per_trial")] = (
            "GPUs of a trial; with another number change the entrypoint's launcher too"
            if self._slots == 1
            else "GPUs of a trial, a process each"
        )
        self._add_seed(content)
        if form.faults:
            raise ConfigurationError("\n".join(form.faults))
        text = Writer(self._notes, self._above).text(content, self._head())
        experiment.checked(YAML(typ="safe", pure=True).load(text))
        return Experiment(text, hyperparameters)

    def _head(self) -> str:
        lines = [f"An experiment of Determined's, made from {self._origin.name}.", *self._origin.advice]
        if self._is_configured:
            lines.append(
                "A range may take the place of any value below hyperparameters: {type: log, base: 10, minval: -4, maxval: -1}."
            )
            if self._origin.dialect == "cli":
                lines.append(
                    "Defaults of the LightningCLI that reads them are not repeated there: the trial has them, too."
                )
            variables = variables_of(self._tree)
            if variables:
                lines.append(
                    f"TO CHANGE: it asks for the environment variables {', '.join(variables)}. Set them below environment:, as "
                    f"environment_variables: [{variables[0]}=VALUE]."
                )
        if self._requirements:
            lines.append(
                f"{FILE} lists what the image may lack: lightning-adapter submit sends it along with this file, and installs it."
            )
        return "\n".join(lines)

    def _name(self) -> str:
        """Of the module's class, else of the trial's, else of what the hyperparameters come from."""
        model = at(self._whole, ("model",))
        named = model if isinstance(model, str) else None
        if isinstance(model, Mapping):
            named = next((model[key] for key in CLASS_KEYS if isinstance(model.get(key), str)), None)
        task = resolved(self._tree, at(self._tree, ("task_name",))) if self._origin.dialect == "hydra" else None
        if isinstance(named, str) and "${" not in named:
            return named.rpartition(".")[2]
        if isinstance(task, str) and "${" not in task:
            return task
        if self._origin.dialect != "hydra" and self._origin.target not in (None, CONFIGURED):
            return str(self._origin.target).rpartition(":")[2]
        return FilePath(self._origin.name.partition(":")[0]).stem

    def _entrypoint(self) -> str:
        launcher = f"{TORCH_LAUNCHER} " if self._slots > 1 else ""
        target = self._origin.target or "MODULE:TrialClass"
        if self._origin.target is None:
            self._above[("entrypoint",)] = (
                "TO CHANGE: the trial, a subclass of LightningAdapter that reads these hyperparameters"
            )
        length = " --max-epochs 10" if not self._is_configured and self._origin.length is None else ""
        self._notes[("entrypoint",)] = (
            "TO CHANGE: how long to train; it wins over what the trial itself gives, such as max_epochs; without it that counts"
            if length
            else self._said_of_length()
        )
        return f"{launcher}{_FIT} {target}{length}"

    def _said_of_length(self) -> str:
        """What says how long to train, where no word of the entrypoint does."""
        if self._origin.length is not None:
            return f"as long as the trial says, {self._origin.length}"
        if length_of(self._tree) is not None:
            return "as long as hyperparameters.trainer says"
        length = length_of(self._whole)
        if length is None:
            return "TO CHANGE: add --max-epochs N; without it Lightning trains 1000 epochs"
        name, value = length
        return f"as long as a default of the LightningCLI says, trainer.{name}: {value}"

    def _of_the_job(self, tree: Tree, slots: int | None, asked: int | None) -> Tree:
        """The tree, with a trainer section that asks for what the job has."""
        if not self._is_configured or slots is None or asked is None or asked == slots:
            return tree
        trainer = tree.get("trainer") or {}
        said = {name: value for name in _OF_THE_JOB if (value := at(self._whole, ("trainer", name))) is not None}
        self._notes[(_PLACE, "trainer", "devices")] = f"as resources.slots_per_trial says; it was {said['devices']}"
        has_nodes = "num_nodes" in trainer or said.get("num_nodes", 1) != 1
        if has_nodes:
            self._notes[(_PLACE, "trainer", "num_nodes")] = f"it was {said['num_nodes']}"
        return {**tree, "trainer": {**trainer, "devices": "auto", **({"num_nodes": 1} if has_nodes else {})}}

    def _note_what_is_elsewhere(self) -> None:
        """Note what the configuration says of this machine."""
        accelerator = resolved(self._tree, at(self._tree, ("trainer", "accelerator")))
        if isinstance(accelerator, str) and accelerator != "auto":
            note = "refused where a slot has none: auto takes what is there"
            self._notes.setdefault((_PLACE, "trainer", "accelerator"), note)
        if self._tree.get("ckpt_path") is not None:
            self._notes[_PLACE, "ckpt_path"] = "TO CHANGE: a file of this machine, which no cluster has"

    def _add_batch_size(self, hyperparameters: dict[str, Any]) -> None:
        if not self._is_configured or _BATCH_SIZE in hyperparameters:
            return
        found = batch_size_of(self._tree)
        if found is None:
            return
        path, size = found
        place_ = ".".join(map(str, path))
        is_drawn = any(is_below(each, path) or is_below(path, each) for each in self._placed.ranges)
        if is_drawn or not isinstance(size, int) or isinstance(size, bool):
            reason = "is drawn by the searcher" if is_drawn else "is no plain number"
            self._above[(_PLACE, next(iter(hyperparameters)))] = (
                f"No {_BATCH_SIZE} stands here, since {place_} {reason}."
            )
            return
        hyperparameters[_BATCH_SIZE] = size * self._slots
        note = f"{place_} x slots_per_trial; the trial itself reads {place_}"
        self._notes[(_PLACE, _BATCH_SIZE)] = note

    def _searcher(self) -> dict[str, Any]:
        found = objective_of(self._whole, self._sweeper) if self._is_configured else Objective(None, True, "")
        here: Path = ("searcher", "metric")
        if found.metric is None:
            self._notes[here] = "TO CHANGE: a value that the module logs in validation, and its direction below"
        else:
            self._notes[here] = f"of {found.source}"
        if found.left is not None:
            self._above[here] = (
                f"optimized_metric is {found.left}, and hydra.sweeper.direction does not say which way: to rank trials by it,\n"
                "write it here, and its direction below."
            )
        if found.is_guessed:
            self._notes["searcher", "smaller_is_better"] = "TO CHANGE: the direction, which nothing says"
        ranks = {"metric": found.metric or "val_loss", "smaller_is_better": found.smaller_is_better}
        trials, said = self._placed.trials, self._sweeper.trials
        if not self._placed.ranges:
            return {"name": "single", **ranks}
        if trials is not None and (said is None or self._sweeper.is_grid or trials <= said):
            self._above[("searcher",)] = f"All {trials} combinations."
            return {"name": "grid", **ranks}
        most = said or _TRIALS
        epochs = epochs_of(self._whole) if self._is_configured else None
        self._notes[("searcher", "max_trials")] = (
            "of hydra.sweeper.n_trials" if said else "TO CHANGE: how many are drawn, of endlessly many"
        )
        self._above[("searcher",)] = (
            "Each trial is trained to its end. To end bad ones early, write name: adaptive_asha, and add time_metric: epochs\n"
            f"and max_time: {epochs or 'N'}, the epochs of a trial."
        )
        return {"name": "random", **ranks, "max_trials": most}

    def _add_seed(self, content: dict[str, Any]) -> None:
        if not self._is_configured:
            content["reproducibility"] = {"experiment_seed": 0}
            self._notes[("reproducibility", "experiment_seed")] = "TO CHANGE: as fit(seed=...)"
            return
        for name in _SEEDS:
            seed = resolved(self._tree, self._tree.get(name))
            if isinstance(seed, int) and not isinstance(seed, bool) and (name,) not in self._placed.ranges:
                content["reproducibility"] = {"experiment_seed": seed}
                note = f"of the searcher's draws; the trial itself takes hyperparameters.{name}"
                self._notes[("reproducibility", "experiment_seed")] = note
                return
