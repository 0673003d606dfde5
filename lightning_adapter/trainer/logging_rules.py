"""In which hook may `self.log` be called, and does it mean the step's or the epoch's value there?"""

from __future__ import annotations

from collections.abc import Mapping

from lightning_adapter.versions import lightning_private
from lightning_adapter.versions.hosts import Host

# Hooks that the tables of some Lightnings lack, each with the hook whose rule it has. Those of Lightning 1.x work on
# every version; the last two are newer than the oldest table.
_SAME_RULE = {
    "training_step_end": "training_step",
    "validation_step_end": "validation_step",
    "training_epoch_end": "on_train_epoch_end",
    "validation_epoch_end": "on_validation_epoch_end",
    "on_batch_start": "on_train_batch_start",
    "on_batch_end": "on_train_batch_end",
    "on_epoch_start": "on_train_epoch_start",
    "on_epoch_end": "on_train_epoch_end",
    "configure_model": "configure_optimizers",
    "on_validation_model_zero_grad": "on_validation_model_eval",
}


class LoggingRules:
    """The table of the installed Lightning, with the hooks of Lightning 1.x that it may lack.

    Attributes:
        hooks: from the name of a hook to what is allowed and usual there; None where nothing may be logged.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        table = lightning_private.logging_table(host)
        added = {hook: table[same] for hook, same in _SAME_RULE.items()}
        self.hooks: Mapping[str, lightning_private.LogOptions | None] = {**added, **table}

    def levels(self, hook: str, on_step: bool | None, on_epoch: bool | None) -> tuple[bool, bool]:
        """`on_step` and `on_epoch` in a hook, as `_FxValidator.check_logging_and_get_default_levels` finds them.

        Raises:
            RuntimeError: nobody knows this hook.
            MisconfigurationException: nothing may be logged in it, or not at this level.
        """
        if hook not in self.hooks:
            raise RuntimeError(f"Logging inside `{hook}` is not implemented.")
        options = self.hooks[hook]
        if options is None:
            raise self._host.misconfiguration(
                f"You can't `self.log()` inside `{hook}`. HINT: You can still log directly to the logger by using"
                " `self.logger.experiment`."
            )
        on_step = options["default_on_step"] if on_step is None else on_step
        on_epoch = options["default_on_epoch"] if on_epoch is None else on_epoch
        for level, value, allowed in (
            ("on_step", on_step, options["allowed_on_step"]),
            ("on_epoch", on_epoch, options["allowed_on_epoch"]),
        ):
            if value not in allowed:
                raise self._host.misconfiguration(
                    f"You can't `self.log({level}={value})` inside `{hook}`, must be one of {allowed}."
                )
        return on_step, on_epoch
