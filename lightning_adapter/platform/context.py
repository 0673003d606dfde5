"""What is Determined's context in a local run?"""

from __future__ import annotations

import sys
from typing import Any

from determined import pytorch

from lightning_adapter.errors import ConfigurationError, guess
from lightning_adapter.platform.hyperparameter_reads import HyperparameterReads, ReadHyperparameters


class LocalContext(pytorch.PyTorchTrialContext):
    """Determined's context in a local run, with errors that say what to type.

    Attributes:
        reads: which hyperparameters the trial has read.
    """

    def __init__(self, **options: Any) -> None:
        values = options.get("hparams") or {}
        self.reads = HyperparameterReads(values)
        self._read_values = ReadHyperparameters(values, self.reads)
        super().__init__(**options)

    def get_hparam(self, name: str) -> Any:
        """The value of a hyperparameter."""
        values = self._read_values
        if name not in values:
            known = ", ".join(sorted(dict.keys(values))) or "none"
            raise ConfigurationError(
                f"The trial asks for the hyperparameter {name!r}, which has no value (given: {known})"
                f"{guess(name, dict.keys(values)) or '.'} Add it to "
                f"'hyperparameters:' in the experiment YAML, or type --hparam {name}=VALUE, or "
                f"fit(hparams={{{name!r}: ...}})."
            )
        value = values[name]
        return value.copy() if isinstance(value, ReadHyperparameters) and _wants_plain_dicts() else value

    def get_hparams(self) -> dict[str, Any]:
        """All hyperparameters; Determined's own reader raises where there are none."""
        return self._read_values.copy() if _wants_plain_dicts() else self._read_values

    def get_experiment_config(self) -> dict[str, Any]:
        """The experiment's configuration, which has the hyperparameters in it."""
        self.reads.read_all(())
        config: dict[str, Any] = super().get_experiment_config()
        return config

    def get_per_slot_batch_size(self) -> int:
        """Batch size of one process."""
        self._need_batch_size()
        return int(super().get_per_slot_batch_size())

    def get_global_batch_size(self) -> int:
        """Batch size of all processes together."""
        self._need_batch_size()
        return int(super().get_global_batch_size())

    def _need_batch_size(self) -> None:
        if self._read_values.get("global_batch_size") is None:
            raise ConfigurationError(
                "The trial asks for the batch size, but the hyperparameter global_batch_size has no value. Add "
                "'global_batch_size: 64' to 'hyperparameters:' in the experiment YAML, or type "
                "--hparam global_batch_size=64."
            )


def _wants_plain_dicts() -> bool:
    """Whether somebody may hand a group to OmegaConf, which takes no subclass of dict for a configuration."""
    return "omegaconf" in sys.modules
