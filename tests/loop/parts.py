"""Small parts of a run for the tests of the loop: real hooks on a real Lightning, and the rest written by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lightning_adapter.arguments import Arguments
from lightning_adapter.loop.hooks import Hooks
from lightning_adapter.loop.strategies.gradient_exchange import GradientExchange
from lightning_adapter.trainer.callback_list import CallbackList
from lightning_adapter.trainer.running_hook import RunningHook
from lightning_adapter.trainer.settings import Settings
from lightning_adapter.versions import hosts
from lightning_adapter.versions.lightning_1x import Signatures

HOST = hosts.host("pytorch_lightning")


class Today:
    """Hooks are those of the installed Lightning, called with today's arguments; a test may name companions."""

    def __init__(self, before: Mapping[str, str] | None = None, after: Mapping[str, str] | None = None) -> None:
        self.called_before = dict(before or {})
        self.called_after = dict(after or {})
        self.optimizers: Sequence[Any] = ()

    def adapt(self, name: str, function: Callable[..., Any], leading: int = 0) -> Callable[..., Any]:
        # Lightning 1.x's own hooks want an index besides
        return Signatures(HOST, lambda: self.optimizers).adapt(name, function, leading)

    def is_hook(self, name: str, function: Callable[..., Any], leading: int = 0) -> bool:
        return True

    def backward(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return lambda loss, optimizer, *args, **kwargs: function(loss, *args, **kwargs)

    def index_of(self, optimizer: Any) -> int | None:
        return next((index for index, own in enumerate(self.optimizers) if own is optimizer), None)


@dataclass
class HookParts:
    """Hooks with what they read."""

    hooks: Hooks
    callbacks: CallbackList
    running: RunningHook


def arguments(**given: Any) -> Arguments:
    return Arguments(**{"enable_model_summary": False, **given})


def settings(**given: Any) -> Settings:
    return Settings(arguments(**given), HOST, has_timer=False)


def hook_parts(
    module: Any, callbacks: Sequence[Any] = (), datamodule: Any = None, adapter: Any = None, trainer: object = "trainer"
) -> HookParts:
    listed = CallbackList(arguments(callbacks=list(callbacks)), HOST, shows_summary=False)
    running = RunningHook()
    hooks = Hooks(module, datamodule, HOST, listed, running, adapter or Today(), lambda: trainer)
    return HookParts(hooks, listed, running)


def hooks_of(module: Any, callbacks: Sequence[Any] = (), datamodule: Any = None) -> Hooks:
    return hook_parts(module, callbacks, datamodule).hooks


class TakenLogs:
    """Takes what steps returned in place of logging it."""

    def __init__(self) -> None:
        self.returned: list[tuple[str, Any]] = []

    def log(self, hook: str, output: Any) -> None:
        self.returned.append((hook, dict(output)))


class Adding(GradientExchange):
    """Adds a number to gradients."""

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer], added: float) -> None:
        super().__init__([p for each in optimizers for group in each.param_groups for p in group["params"]])
        self.added = added

    def average(self) -> None:
        for parameter in self._parameters:
            assert parameter.grad is not None
            parameter.grad += self.added

    def close(self) -> None:
        pass


class OneProcess:
    """A strategy that steps optimizers and exchanges nothing, or adds a number to gradients in place of an exchange."""

    is_distributed = False
    global_rank = 0

    def __init__(self, optimizers: Sequence[torch.optim.Optimizer], added: float | None = None) -> None:
        self.optimizers = list(optimizers)
        self.added = added
        self.blocked = 0
        self.lightning_optimizers = [HOST.load("core.optimizer").LightningOptimizer(own) for own in self.optimizers]
        for wrapper in self.lightning_optimizers:
            wrapper._strategy = self

    def optimizer_step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        closure = next((value for value in (*args, *kwargs.values()) if callable(value)), None)
        return optimizer.step(closure)

    def gradient_exchange(self) -> GradientExchange | None:
        return None if self.added is None else Adding(self.optimizers, self.added)

    def block_backward_sync(self) -> Any:
        strategy = self

        class Blocked:
            def __enter__(self) -> None:
                strategy.blocked += 1

            def __exit__(self, *_: object) -> None:
                pass

        return Blocked()
