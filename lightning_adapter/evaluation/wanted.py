"""What was asked to be loaded, and what of it cannot be used? Looked at before anything of the user's is imported.

Torch is not imported here: a configuration may set variables that it reads when it is imported.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lightning_adapter.errors import ConfigurationError, LightningAdapterError
from lightning_adapter.evaluation.package.form import check_trusted
from lightning_adapter.evaluation.source import Source, find
from lightning_adapter.platform import experiment
from lightning_adapter.platform.environment import device_kind

#: An experiment YAML's path, or its content.
Config: TypeAlias = str | os.PathLike[str] | Mapping[str, Any] | None


@dataclass(frozen=True)
class Wanted:
    """What is to be loaded; see `loading.load_trial`.

    Attributes:
        source: the checkpoint; None where none was found, or it is a package that may not be opened.
        config: content of the configuration that was given; None where none was.
        hparams: that were given.
        faults: what cannot be used.
        what: that was looked for.
        last: whether the newest checkpoint of a run is wanted.
    """

    source: Source | None
    config: Mapping[str, Any] | None
    hparams: experiment.Hyperparameters | None
    faults: list[LightningAdapterError] = field(default_factory=list)
    what: str | os.PathLike[str] = ""
    last: bool = False

    @classmethod
    def of(
        cls,
        what: str | os.PathLike[str],
        last: bool,
        hparams: experiment.Hyperparameters | None,
        config: Config,
        faults: Sequence[LightningAdapterError] = (),
        trust_code: bool = False,
    ) -> Wanted:
        """Look at all that was given; nothing is raised.

        Args:
            what: see `load_trial`.
            last: likewise.
            hparams: likewise.
            config: likewise.
            faults: that are known already.
            trust_code: as of `load_trial`. Of a package that nobody trusts not even the configuration is used.
        """
        faults = list(faults)
        source = content = None
        try:
            found = find(what, last=last)
            if found.is_package:
                check_trusted(found.checkpoint, found.target, trust_code)
            source = found
        except LightningAdapterError as error:
            faults.append(error)
        try:
            content = None if config is None else experiment.read(config)
            experiment.nest(hparams or {}, known=(content or {}).get("hyperparameters") or {})
        except LightningAdapterError as error:
            faults.append(error)
        return cls(source, content, hparams, faults, what, last)

    def variables(self) -> dict[str, str]:
        """The environment variables that the configuration sets: the one that was given, or the run's."""
        of_run: Mapping[str, Any] = {} if self.source is None else self.source.config
        return experiment.environment_variables({**of_run, **(self.config or {})}, device_kind)

    def raise_faults(self, *more: LightningAdapterError) -> None:
        """Raise all that cannot be used, in one message.

        Raises:
            LightningAdapterError: there is something.
        """
        faults = [*self.faults, *more]
        if len(faults) == 1:
            raise faults[0]
        if faults:
            raise ConfigurationError("\n".join(f"- {fault}" for fault in faults))
