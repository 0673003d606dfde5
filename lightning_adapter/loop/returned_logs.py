"""What did a hook return in place of logging it, as the first Lightnings had it?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.trainer.logger_connector import LoggerConnector
from lightning_adapter.versions import lightning_1x


class ReturnedLogs:
    """Logs the "log" and "progress_bar" of what steps and epoch-end hooks return.

    Args:
        hooks: of the run.
        connector: where values are logged.
    """

    def __init__(self, hooks: Hooks, connector: LoggerConnector) -> None:
        self._hooks = hooks
        self._connector = connector

    def log(self, hook: str, output: Mapping[str, Any], monitors: bool = False) -> None:
        """Log what `hook` returned, in its name; nothing where it returned no logs.

        Args:
            hook: the hook.
            output: what it returned.
            monitors: whether other numbers in it are for callbacks and schedulers to watch, as at an epoch's end.
        """
        if lightning_1x.has_logs(output):
            self._hooks.run(hook, lightning_1x.log_returned, self._connector.log, output, monitors)

    def call_with_outputs(self, hook: str, outputs: list[Any]) -> Any:
        """Run a hook that is given the outputs of an epoch's steps.

        Returns:
            What the hook returned, None where that was logged.
        """
        returned = self._hooks.call_module(hook, outputs)
        if not lightning_1x.has_logs(returned):
            return returned
        self.log(hook, returned, monitors=True)
        return None
