"""What is Determined's context in a local run?"""

from __future__ import annotations

from typing import Any

from determined import pytorch

from lightning_adapter.errors import ConfigurationError


class LocalContext(pytorch.PyTorchTrialContext):
    """Determined's context in a local run, with errors that say what to type."""

    def get_hparam(self, name: str) -> Any:
        """The value of a hyperparameter."""
        hparams = self.get_hparams()
        if name not in hparams:
            known = ", ".join(sorted(hparams)) or "none"
            raise ConfigurationError(
                f"The trial asks for the hyperparameter {name!r}, which has no value (given: {known}). Add it to "
                f"'hyperparameters:' in the experiment YAML, or type --hparam {name}=VALUE, or "
                f"fit(hparams={{{name!r}: ...}})."
            )
        return hparams[name]

    def get_hparams(self) -> dict[str, Any]:
        """All hyperparameters."""
        hparams: dict[str, Any] = self._hparams or {}  # Determined's own reader raises where there are none
        return hparams

    def get_per_slot_batch_size(self) -> int:
        """Batch size of one process."""
        self._need_batch_size()
        return int(super().get_per_slot_batch_size())

    def get_global_batch_size(self) -> int:
        """Batch size of all processes together."""
        self._need_batch_size()
        return int(super().get_global_batch_size())

    def _need_batch_size(self) -> None:
        if self.get_hparams().get("global_batch_size") is None:
            raise ConfigurationError(
                "The trial asks for the batch size, but the hyperparameter global_batch_size has no value. Add "
                "'global_batch_size: 64' to 'hyperparameters:' in the experiment YAML, or type "
                "--hparam global_batch_size=64."
            )
