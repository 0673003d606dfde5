"""Which hooks are overridden, how is one called, and which one is running?

A hook that nobody overrides costs a look into a dictionary: callbacks and module are looked at once, and again when user
code has changed the callbacks. Callbacks come before the module, in the order of `trainer.callbacks`, as in Lightning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from lightning_adapter.loop.raised_in import keep_hook
from lightning_adapter.trainer.callback_list import CallbackList
from lightning_adapter.trainer.monitors import explained
from lightning_adapter.trainer.running_hook import RunningHook
from lightning_adapter.trainer.view import Trainer
from lightning_adapter.versions.hosts import Host
from lightning_adapter.versions.types import Callback, LightningDataModule, LightningModule
from lightning_adapter.versions.wrappers import underlying

Call = Callable[..., Any]


def _only_passes_on(function: object) -> bool:
    """Whether a method is one that DETLM has of its own to call Lightning's, and no wrapper of a user's around it."""
    return getattr(function, "only_passes_on", None) is function


def is_replaced(name: str, instance: Any, base: type) -> bool:
    """True if calling `name` on `instance` calls anything but the method of `base`, by its class or on itself.

    The class is asked, never the instance's properties, so nothing of the user's is evaluated.
    """
    if name in vars(instance):
        return vars(instance)[name] is not None
    own = getattr(type(instance), name, None)
    return own is not None and own is not getattr(base, name, None) and not _only_passes_on(own)


def is_overridden(name: str, instance: Any, base: type) -> bool:
    """True if `instance` brings its own `name` in the place of that of `base`; one that only wraps that is none."""
    if not is_replaced(name, instance, base):
        return False
    own = underlying(vars(instance).get(name, getattr(type(instance), name, None)))
    if own is None or _only_passes_on(own):
        return False
    return own is not underlying(getattr(base, name, None))


class _Bound(dict[str, "Call | None"]):
    """From hook to callable; what is missing is made."""

    def __init__(self, make: Callable[[str], Call | None]) -> None:
        self.make = make

    def __missing__(self, name: str) -> Call | None:
        made = self[name] = self.make(name)
        return made


class Adapter(Protocol):
    """Tells which functions are hooks of older Lightnings, and lets them be called with today's arguments."""

    @property
    def called_before(self) -> Mapping[str, str]:
        """Names of hooks that are called right before another one, which names them here."""

    @property
    def called_after(self) -> Mapping[str, str]:
        """The same, right after."""

    def adapt(self, name: str, function: Call, leading: int = 0) -> Call:
        """The hook as a callable of today's arguments; `leading` arguments stand before the hook's own."""

    def is_hook(self, name: str, function: Call, leading: int = 0) -> bool:
        """Whether a function is that hook at all, and no method that only has its name."""


class Hooks:
    """Calls hooks on callbacks and module, keeping the name of the running one for `self.log`.

    Args:
        module: the LightningModule.
        datamodule: the LightningDataModule, or None.
        host: the Lightning package of both.
        callbacks: the run's callbacks.
        running: told which hook is being executed.
        adapter: knows the hooks of older Lightnings.
        trainer: returns what callbacks are given as their trainer. It is made after this object, and asked for when
            the first hook is called: `module.trainer` holds a weak reference only, which is not what Lightning passes.

    Attributes:
        bound: from the name of a hook of `Callback` and `LightningModule` to one callable that runs it everywhere, or
            None if nobody overrides it. It takes the hook's arguments and returns what the module's hook returned. After
            user code that `run` did not run, `refresh` comes first.
    """

    def __init__(
        self,
        module: LightningModule,
        datamodule: LightningDataModule | None,
        host: Host,
        callbacks: CallbackList,
        running: RunningHook,
        adapter: Adapter,
        trainer: Callable[[], Trainer],
    ) -> None:
        self.module = module
        self.datamodule = datamodule
        self.host = host
        self._callbacks = callbacks
        self._running = running
        self._adapter = adapter
        self._trainer = trainer
        self.bound = _Bound(lambda name: self._with_companions(name, self._bind(name, None)))
        self._seen: list[Callback] = []

    def overridden(self, name: str) -> bool:
        """True if the module overrides `name`."""
        return is_overridden(name, self.module, self.host.pl.LightningModule)

    def replaced(self, name: str) -> bool:
        """True if the module's `name` is to be called at all: it overrides it, or something wraps Lightning's own."""
        return is_replaced(name, self.module, self.host.pl.LightningModule)

    def overridden_in_data(self, name: str) -> bool:
        """True if there is a datamodule that overrides `name`."""
        return self.datamodule is not None and is_overridden(name, self.datamodule, self.host.pl.LightningDataModule)

    def replaced_in_callback(self, name: str, callback: Any) -> bool:
        """True if `callback` has a `name` to be called: its own, or something around that of Lightning."""
        return is_replaced(name, callback, self.host.pl.Callback)

    def forget(self) -> None:
        """Look again at who overrides what: callbacks were added, or `setup` changed the module."""
        self.bound.clear()
        self._seen = list(self._callbacks.items)

    def refresh(self) -> None:
        """Look again if user code has added, removed or replaced callbacks."""
        if self._callbacks.items != self._seen:
            self.forget()

    def call(self, name: str, *args: Any, monitoring: bool | None = None) -> Any:
        """Run hook `name` on callbacks and module, if anybody overrides it.

        Args:
            name: the hook.
            args: its arguments.
            monitoring: None for all callbacks; True or False for those that do, or do not, watch a metric
                (EarlyStopping and Checkpoint), which Lightning calls after the module at the end of an epoch.

        Returns:
            What the module's hook returned.
        """
        self.refresh()
        bound = self.bound[name] if monitoring is None else self._with_companions(name, self._bind(name, monitoring))
        return bound(*args) if bound is not None else None

    def module_hook(self, name: str) -> Call:
        """A method of the module as the running hook, overridden or not, to be given today's arguments."""
        function, run = self._adapter.adapt(name, getattr(self.module, name)), self.run

        def call(*args: Any, **kwargs: Any) -> Any:
            return run(name, function, *args, **kwargs)

        return call

    def call_module(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Run a method of the module as the running hook, overridden or not."""
        return self.run(name, getattr(self.module, name), *args, **kwargs)

    def call_data(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Run a method of the datamodule. Lightning keeps the running hook's name there."""
        function = getattr(self.datamodule, name)
        try:
            return function(*args, **kwargs)
        except Exception as error:
            keep_hook(error, name, function)
            raise

    def call_callbacks(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Run a hook of the callbacks alone."""
        for callback in self._callbacks.items:
            if self.replaced_in_callback(name, callback):
                self.run(name, getattr(callback, name), self._trainer(), self.module, *args, **kwargs)

    def run(self, name: str, function: Call, *args: Any, **kwargs: Any) -> Any:
        """Run `function` as hook `name`; the name of the outer hook comes back afterwards, also after an error."""
        running = self._running
        outer = running.name
        running.name = name
        try:
            return function(*args, **kwargs)
        except Exception as error:
            owner = getattr(function, "__self__", None)
            missing = explained(self.host, owner, error, lambda: self._trainer().callback_metrics)
            keep_hook(missing or error, name, function)
            if missing is not None:
                raise missing from None
            raise
        finally:
            running.name = outer
            if self._callbacks.items != self._seen:  # refresh(), without a call in each step
                self.forget()

    def _watching(self, monitoring: bool | None) -> Iterable[Callback]:
        callbacks = self._callbacks.items
        if monitoring is None:
            return callbacks
        watchers = (self.host.pl.callbacks.EarlyStopping, self.host.pl.callbacks.Checkpoint)
        return [callback for callback in callbacks if isinstance(callback, watchers) is monitoring]

    def _with_companions(self, name: str, bound: Call | None) -> Call | None:
        adapter = self._adapter
        before = self._bind(adapter.called_before[name], None) if name in adapter.called_before else None
        after = self._bind(adapter.called_after[name], None) if name in adapter.called_after else None
        if before is None and after is None:
            return bound

        def call(*args: Any) -> Any:
            if before is not None and before() == -1:
                return -1
            answer = bound(*args) if bound is not None else None
            if after is not None:
                after()
            return answer

        return call

    def _hook_of(self, name: str, callback: Callback) -> Call | None:
        """A callback's hook, to be given today's arguments after trainer and module; None if it overrides none."""
        function = getattr(callback, name, None)
        if function is None or not self.replaced_in_callback(name, callback):
            return None
        adapter = self._adapter
        return adapter.adapt(name, function, 2) if adapter.is_hook(name, function, 2) else None

    def _bind(self, name: str, monitoring: bool | None) -> Call | None:
        adapter = self._adapter
        of_all = [self._hook_of(name, callback) for callback in self._watching(monitoring)]
        callbacks = [(index, hook) for index, hook in enumerate(of_all) if hook is not None]
        method = getattr(self.module, name) if not monitoring and self.replaced(name) else None
        own = adapter.adapt(name, method) if callable(method) and adapter.is_hook(name, method) else None
        if not callbacks and own is None:
            return None
        module, run = self.module, self.run

        if own is not None and not callbacks:

            def call_module(*args: Any) -> Any:
                return run(name, own, *args)

            return call_module

        trainer, seen, listed = self._trainer(), self._seen, self._callbacks

        def call_all(*args: Any) -> Any:
            walked = listed.items
            for index, hook in callbacks:
                run(name, hook, trainer, module, *args)
                if self._seen is not seen and monitoring is None:
                    self._walk_on(name, walked, index + 1, args)
                    break
            return run(name, own, *args) if own is not None else None

        return call_all

    def _walk_on(self, name: str, callbacks: list[Callback], index: int, args: tuple[Any, ...]) -> None:
        """A callback has changed the list while it is walked; as `_call_callback_hooks` walk it as it is now."""
        while index < len(callbacks):
            hook = self._hook_of(name, callbacks[index])
            if hook is not None:
                self.run(name, hook, self._trainer(), self.module, *args)
            index += 1


#: By which a traceback tells that a hook was running.
CALLS_A_HOOK = frozenset({Hooks.run.__code__, Hooks.call_data.__code__})
