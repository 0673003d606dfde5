"""Where does a search's study stand while one process alone writes to it?

In memory, where each event asks for it many times, and in a file, which gets an event whole or not at all. (Optuna itself reads a
file anew for each question, since others may have written, and waits for the disk after each value that it writes.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from optuna.distributions import BaseDistribution
from optuna.storages import InMemoryStorage, RDBStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

#: Seconds for which a write waits until those who read the file have let it go.
_READERS_S = 60.0


class EventStorage(InMemoryStorage):
    """Optuna's storage in memory, which writes to a file as well.

    Others may read the file meanwhile.

    Args:
        url: of a file of SQLite; what it holds already is read.
    """

    def __init__(self, url: str) -> None:
        super().__init__()
        self._file = RDBStorage(url, engine_kwargs={"connect_args": {"timeout": _READERS_S}})
        # by their numbers in memory
        self._study_ids: dict[int, int] = {}
        self._trial_ids: dict[int, int] = {}
        for study in self._file.get_all_studies():
            self._read(study.study_name, self._file.get_study_id_from_name(study.study_name))

    def _read(self, name: str, theirs: int) -> None:
        mine = super().create_new_study(self._file.get_study_directions(theirs), name)
        self._study_ids[mine] = theirs
        for key, value in self._file.get_study_user_attrs(theirs).items():
            super().set_study_user_attr(mine, key, value)
        for key, value in self._file.get_study_system_attrs(theirs).items():
            super().set_study_system_attr(mine, key, value)
        for trial in self._file.get_all_trials(theirs):
            trial_id = super().create_new_trial(mine, trial)
            self._trial_ids[trial_id] = self._file.get_trial_id_from_study_id_trial_number(theirs, trial.number)

    @contextlib.contextmanager
    def one_event(self) -> Iterator[None]:
        """Let all that is written in the block reach the file at its end; nothing of it, where the process ends before."""
        sessions = self._file.scoped_session
        with self._file.engine.connect() as connection, connection.begin() as transaction:
            sessions.remove()
            sessions.configure(bind=connection)
            try:
                yield
            finally:
                sessions.remove()
                sessions.configure(bind=self._file.engine)
                if transaction.is_active:  # also where an error ends the block: memory has what was written before
                    transaction.commit()

    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        """See `BaseStorage`."""
        mine = super().create_new_study(directions, study_name)
        self._study_ids[mine] = self._file.create_new_study(directions, self.get_study_name_from_id(mine))
        return mine

    def delete_study(self, study_id: int) -> None:
        """See `BaseStorage`."""
        super().delete_study(study_id)
        self._file.delete_study(self._study_ids.pop(study_id))

    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`."""
        super().set_study_user_attr(study_id, key, value)
        self._file.set_study_user_attr(self._study_ids[study_id], key, value)

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`."""
        super().set_study_system_attr(study_id, key, value)
        self._file.set_study_system_attr(self._study_ids[study_id], key, value)

    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        """See `BaseStorage`."""
        mine = super().create_new_trial(study_id, template_trial)
        self._trial_ids[mine] = self._file.create_new_trial(self._study_ids[study_id], template_trial)
        return mine

    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        """See `BaseStorage`."""
        super().set_trial_param(trial_id, param_name, param_value_internal, distribution)
        self._file.set_trial_param(self._trial_ids[trial_id], param_name, param_value_internal, distribution)

    def set_trial_state_values(self, trial_id: int, state: TrialState, values: Sequence[float] | None = None) -> bool:
        """See `BaseStorage`."""
        changed = super().set_trial_state_values(trial_id, state, values)
        self._file.set_trial_state_values(self._trial_ids[trial_id], state, values)
        return changed

    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        """See `BaseStorage`."""
        super().set_trial_intermediate_value(trial_id, step, intermediate_value)
        self._file.set_trial_intermediate_value(self._trial_ids[trial_id], step, intermediate_value)

    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`."""
        super().set_trial_user_attr(trial_id, key, value)
        self._file.set_trial_user_attr(self._trial_ids[trial_id], key, value)

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        """See `BaseStorage`."""
        super().set_trial_system_attr(trial_id, key, value)
        self._file.set_trial_system_attr(self._trial_ids[trial_id], key, value)
