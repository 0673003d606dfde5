"""When are gradients averaged over all processes: once backward has ended, or while it still runs?"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.utils.hooks import RemovableHandle

from lightning_adapter.loop.strategies.exchange import bundles, pack, unpack
from lightning_adapter.versions import torch_private

#: Bytes of gradients at which a bundle leaves while backward still runs.
_FULL = 4 * 2**20
#: How many choices of parameters to train are remembered, for modules that train some of them in turn.
_CHOICES = 16

#: Sends one tensor and returns what waits for the mean over all processes. It is given the name of the message, the same on
#: all ranks; messages of different names may be sent in different orders.
StartMean = Callable[[Tensor, str], Callable[[], Tensor]]


class GradientExchange(ABC):
    """Gives all processes the mean of their gradients, before anybody can read them.

    Args:
        parameters: of the module, the same on all ranks; those that require a gradient take part.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self._parameters = parameters
        self._blocks = 0  # how many `blocked` are open

    def differentiate(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """`Tensor.backward`, after which the gradients are those of all ranks unless the batch only accumulates."""
        loss.backward(*args, **kwargs)
        self.average()

    @abstractmethod
    def average(self) -> None:
        """Average the gradients as they are now, unless the batch only accumulates."""

    @contextmanager
    def blocked(self) -> Iterator[None]:
        """Nothing is exchanged in here: the batch only accumulates."""
        self._blocks += 1
        try:
            yield
        finally:
            self._blocks -= 1

    @abstractmethod
    def close(self) -> None:
        """Leave the parameters as they were found."""


class ExchangeAfterBackward(GradientExchange):
    """Averages one bundle after the other once backward has ended.

    Args:
        parameters: of the module, the same on all ranks; those that require a gradient take part.
        mean_: averages one tensor over all processes, in place or not.
    """

    def __init__(self, parameters: Sequence[Tensor], mean_: Callable[[Tensor], Tensor]) -> None:
        super().__init__(parameters)
        self._mean = mean_

    def average(self) -> None:
        """Average the gradients as they are now, unless the batch only accumulates."""
        if self._blocks:
            return
        with torch.no_grad():
            for bundle in bundles([p for p in self._parameters if p.requires_grad]):
                unpack(bundle, self._mean(pack(bundle)))

    def close(self) -> None:
        """Leave the parameters as they were found: nothing was done to them."""


class OverlappingExchange(GradientExchange):
    """Averages gradients while backward still computes others.

    Each bundle leaves as soon as all its gradients are there, and backward goes on meanwhile; all are waited for when it has
    ended. A bundle that is not complete by then leaves with what there is. The first parameters, whose gradients come last,
    are a bundle that always leaves after backward: it tells which of the others have changed since they left, and those
    travel again. That happens where a backward within the backward (reentrant activation checkpointing) comes to a
    parameter twice, or a hook writes into a gradient that was complete. A module's backward hook may write by way of `.data`,
    which torch does not count, so nothing leaves before backward has ended where there is one.

    Args:
        parameters: of the module, the same on all ranks; those that require a gradient take part.
        start_mean: sends one message.
        modules: whose backward hooks run.
    """

    def __init__(self, parameters: Sequence[Tensor], start_mean: StartMean, modules: Sequence[Module] = ()) -> None:
        super().__init__(parameters)
        self._start_mean = start_mean
        self._modules = modules
        self._plan_of = functools.lru_cache(_CHOICES)(self._make_plan)
        self._hooks: dict[int, RemovableHandle] = {}  # by index of the parameter
        self._filling: dict[int, _Bundle] = {}  # by index of the parameter, while a backward runs that sends
        self._latest: list[_Bundle] = []  # the bundles of the backward before

    def differentiate(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """`Tensor.backward`, after which the gradients are those of all ranks unless the batch only accumulates."""
        if self._blocks:
            loss.backward(*args, **kwargs)
            return
        plan = self._begin()
        # asked each time, since hooks come and go
        if len(plan) > 1 and not torch_private.have_backward_hooks(self._modules):
            for bundle in plan[:-1]:
                bundle.missing = set(bundle.indices)
                self._filling.update(dict.fromkeys(bundle.indices, bundle))
        try:
            loss.backward(*args, **kwargs)
        finally:
            self._filling.clear()
        self._finish(plan)

    def average(self) -> None:
        """Average the gradients as they are now, unless the batch only accumulates."""
        if not self._blocks:
            self._finish(self._begin())

    def close(self) -> None:
        """Leave the parameters as they were found."""
        while self._hooks:
            self._hooks.popitem()[1].remove()

    # --- what travels together ----------------------------------------------------------------------------------------

    def _begin(self) -> list[_Bundle]:
        """The bundles of the parameters that require a gradient now: callbacks and toggles change that."""
        for bundle in self._latest:
            if bundle.wait is not None:  # it was sent by a backward that raised, and user code has caught that
                bundle.receive()
        self._latest = self._plan_of(tuple([p.requires_grad for p in self._parameters]))
        return self._latest

    def _make_plan(self, trained: tuple[bool, ...]) -> list[_Bundle]:
        index_of = {id(p): index for index, p in enumerate(self._parameters)}
        portions = list(bundles([p for p, trains in zip(self._parameters, trained, strict=True) if trains], _FULL))
        # backward comes to the last parameters first
        portions.reverse()
        plan = [
            _Bundle(f"lightning_adapter.gradients.{number}", portion, [index_of[id(p)] for p in portion])
            for number, portion in enumerate(portions)
        ]
        for bundle in plan[:-1]:
            for index, parameter in zip(bundle.indices, bundle.parameters, strict=True):
                if index not in self._hooks:
                    arrived = functools.partial(self._arrived, index)
                    self._hooks[index] = parameter.register_post_accumulate_grad_hook(arrived)
        return plan

    # --- while backward runs ------------------------------------------------------------------------------------------

    def _arrived(self, index: int, parameter: Tensor) -> None:
        """A gradient has been accumulated, in whatever backward."""
        bundle = self._filling.get(index)
        # another hook of this kind may still change the gradient; it is final once backward has ended
        if bundle is None or torch_private.accumulation_hooks(parameter) > 1:
            return
        bundle.missing.discard(index)
        if not bundle.missing and bundle.wait is None:
            bundle.note()
            self._send(bundle)

    def _send(self, bundle: _Bundle, flags: Sequence[bool] = ()) -> None:
        with torch.no_grad():
            message = pack(bundle.parameters, flags)
        bundle.wait = self._start_mean(message, bundle.name)

    # --- when it has ended --------------------------------------------------------------------------------------------

    def _finish(self, plan: list[_Bundle]) -> None:
        """Send the rest, wait for all, and give the parameters the means."""
        if not plan:
            return
        *others, last = plan
        changed = [bundle.wait is not None and bundle.has_changed() for bundle in others]
        for bundle in others:
            if bundle.wait is None:
                self._send(bundle)
        self._send(last, changed)
        with torch.no_grad():
            flags = unpack(last.parameters, last.receive())
            # read only where there are any, since that waits for the device
            again = flags.tolist() if others else []
            for bundle, travels_again in zip(others, again, strict=True):
                mean = bundle.receive()
                if travels_again:
                    self._send(bundle)
                    mean = bundle.receive()
                unpack(bundle.parameters, mean)


class _Bundle:
    """Parameters whose gradients travel together, and what has become of them in this backward.

    Args:
        name: of the message.
        parameters: the same on all ranks.
        indices: of these parameters among all of the module.

    Attributes:
        missing: indices of the parameters whose gradients have not arrived yet.
        wait: waits for the mean; None where nothing is on its way.
    """

    def __init__(self, name: str, parameters: list[Tensor], indices: list[int]) -> None:
        self.name = name
        self.parameters = parameters
        self.indices = indices
        self.missing: set[int] = set()
        self.wait: Callable[[], Tensor] | None = None
        self._left: list[tuple[Tensor | None, int]] = []

    def note(self) -> None:
        """Remember the gradients, which are about to leave."""
        self._left = [(p.grad, _version(p.grad)) for p in self.parameters]

    def has_changed(self) -> bool:
        """Whether a gradient is another one, or another value has been written into it, since it left."""
        return any(
            p.grad is not gradient or _version(gradient) != version
            for p, (gradient, version) in zip(self.parameters, self._left, strict=True)
        )

    def receive(self) -> Tensor:
        """The mean of what all ranks have sent."""
        wait, self.wait, self._left = self.wait, None, []
        assert wait is not None  # sent before
        return wait()


def _version(gradient: Tensor | None) -> int:
    return 0 if gradient is None else torch_private.version(gradient)
