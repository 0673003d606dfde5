"""What is asked of a search, and what does it give back?"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lightning_adapter.tuning.view import View

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class SearchRequest:
    """The arguments of `search`, as they were given.

    Attributes:
        target: `FILE_OR_MODULE:TrialClass`, from the current directory; None where the class itself is given, and where a
            search goes on that has recorded it.
        trial_class: the class itself, of a search in Python; None where `target` says it.
        config: the experiment: a YAML's path, or its content; None where a search goes on.
        text: the YAML itself, comments and all, of an experiment that was made for this search and lies in no file; `config`
            is its content then.
        hyperparameters: what is searched in the place of what the experiment says below `hyperparameters:`, ranges among them: a
            whole configuration of LightningCLI or Hydra, with the experiment's ranges where they belong.
        hparams: values that win over the experiment's, and make constants of ranges; those of the entrypoint are among them.
        trials: in place of `searcher.max_trials`.
        jobs: trials that train at the same time; None for one, or for what a search that goes on had.
        timeout_s: seconds after which the search stops, to be resumed; None for no limit.
        options: arguments of `fit` as they are typed, those of the entrypoint among them: max_epochs, max_steps,
            validation_period ("2 epochs"), checkpoint_period, warm_start_from.
        seed: in place of `reproducibility.experiment_seed`.
        search_dir: the directory of the search; by default `runs/<name>/search-<date-time>`.
        name: of the folder below `runs/`; by default the trial's class.
        resume_from: the directory of a search that goes on.
        in_this_process: whether trials are trained in the process that searches; one at a time then.
        sampler: of Optuna's, which chooses hyperparameters in place of a cluster's draws.
    """

    target: str | None = None
    trial_class: type | None = None
    config: str | os.PathLike[str] | Mapping[str, Any] | None = None
    text: str | None = None
    hyperparameters: Mapping[str, Any] | None = None
    hparams: Mapping[str, Any] | None = None
    trials: int | None = None
    jobs: int | None = None
    timeout_s: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    search_dir: str | os.PathLike[str] | None = None
    name: str | None = None
    resume_from: str | os.PathLike[str] | None = None
    in_this_process: bool = False
    sampler: optuna.samplers.BaseSampler | None = None


@dataclass(frozen=True, repr=False)
class SearchResult:
    """What a search has found.

    Attributes:
        study: Optuna's.
        best_run: the run directory of the best complete trial; None where none is complete.
        directory: of the search.
        view: the search as it is now.
        target: `FILE_OR_MODULE:TrialClass`, where it can be typed.
        options: arguments of `fit` with which each trial was trained, as they are typed; they belong to `best.yaml`.
        signal: the number of the signal that has ended it early; None where none has.
        timed_out: whether its time was over before its trials were.
    """

    study: optuna.Study
    best_run: pathlib.Path | None
    directory: pathlib.Path
    view: View
    target: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    signal: int | None = None
    timed_out: bool = False

    @property
    def interrupted(self) -> bool:
        """Whether trials are left that a resume would train."""
        # a trial may be stopped by itself, by a signal to its process or by its own code
        alone = any(row.state in ("waiting", "running", "interrupted") for row in self.view.rows)
        return self.signal is not None or self.timed_out or alone

    def __repr__(self) -> str:
        from lightning_adapter.tuning.notebook import in_words

        return f"<search in {self.directory}: {in_words(self.view)}>"

    def _repr_html_(self) -> str:
        from lightning_adapter.tuning.notebook import of_search  # takes matplotlib, which asking needs not

        return of_search(self.view)
