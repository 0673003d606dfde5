"""Rules of hooks against the installed Lightning's table."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import pytorch_lightning as pl
from pytorch_lightning.trainer.connectors.logger_connector.fx_validator import _FxValidator

from lightning_adapter.trainer.logging_rules import LoggingRules
from lightning_adapter.versions import lightning_private
from tests.trainer.connectors import HOST

RULES = LoggingRules(HOST)
STEP, EVALUATION_STEP, EPOCH, NEVER = "step", "evaluation step", "epoch", "never"
#: What this package promises on every Lightning.
PROMISED = {
    **dict.fromkeys(("training_step", "on_train_batch_start", "on_train_batch_end", "on_before_backward"), STEP),
    **dict.fromkeys(("optimizer_step", "on_before_optimizer_step", "on_before_zero_grad", "clip_gradients"), STEP),
    **dict.fromkeys(("training_step_end", "on_batch_start", "on_batch_end"), STEP),  # of Lightning 1.x
    **dict.fromkeys(("validation_step", "on_validation_batch_start", "on_validation_batch_end"), EVALUATION_STEP),
    "validation_step_end": EVALUATION_STEP,
    **dict.fromkeys(("on_train_start", "on_train_epoch_start", "on_train_epoch_end", "on_validation_start"), EPOCH),
    **dict.fromkeys(("on_validation_epoch_start", "on_validation_epoch_end"), EPOCH),
    **dict.fromkeys(("training_epoch_end", "validation_epoch_end", "on_epoch_start", "on_epoch_end"), EPOCH),
    **dict.fromkeys(("setup", "teardown", "on_fit_start", "on_fit_end", "on_train_end", "on_validation_end"), NEVER),
    **dict.fromkeys(("configure_optimizers", "configure_model", "prepare_data", "lr_scheduler_step"), NEVER),
    **dict.fromkeys(("on_save_checkpoint", "on_load_checkpoint", "on_validation_model_zero_grad"), NEVER),
}
DEFAULTS = {STEP: (True, False), EVALUATION_STEP: (False, True), EPOCH: (False, True)}


@pytest.mark.parametrize("hook", PROMISED)
def test_hook_has_the_promised_rule(hook: str) -> None:
    rule = PROMISED[hook]
    if rule == NEVER:
        with pytest.raises(HOST.load("utilities.exceptions").MisconfigurationException, match=f"inside `{hook}`"):
            RULES.levels(hook, None, None)
        return
    assert RULES.levels(hook, None, None) == DEFAULTS[rule]
    if rule != EPOCH:
        assert RULES.levels(hook, True, True) == (True, True)
        assert RULES.levels(hook, False, False) == (False, False)
        return
    with pytest.raises(Exception, match=rf"`self.log\(on_step=True\)` inside `{hook}`, must be one of \(False,\)"):
        RULES.levels(hook, True, None)
    with pytest.raises(Exception, match=rf"`self.log\(on_epoch=False\)` inside `{hook}`, must be one of \(True,\)"):
        RULES.levels(hook, None, False)


@pytest.mark.parametrize("on_step", [None, True, False])
@pytest.mark.parametrize("on_epoch", [None, True, False])
def test_every_hook_of_the_installed_lightning_answers_as_it_does(on_step: bool | None, on_epoch: bool | None) -> None:
    def answer(levels: Callable[..., tuple[bool, bool]], hook: str) -> tuple[bool, bool] | str:
        try:
            return levels(hook, on_step, on_epoch)
        except HOST.load("utilities.exceptions").MisconfigurationException as refused:
            return str(refused)

    for hook in _FxValidator.functions:
        assert answer(RULES.levels, hook) == answer(_FxValidator.check_logging_and_get_default_levels, hook), hook


def test_hooks_beyond_lightnings_table_are_no_more_than_the_promised_ones() -> None:
    own = set(RULES.hooks) - set(_FxValidator.functions)
    assert own <= set(PROMISED)
    still_there = {hook for hook in own if hasattr(pl.LightningModule, hook)}
    assert not still_there, "Lightning has this hook and forgot its rule"


def test_unknown_hook_raises() -> None:
    with pytest.raises(RuntimeError, match="Logging inside `on_monday` is not implemented"):
        RULES.levels("on_monday", None, None)


def test_table_is_read_and_not_changed() -> None:
    before = dict(lightning_private.logging_table(HOST))
    LoggingRules(HOST)
    assert lightning_private.logging_table(HOST) == before
