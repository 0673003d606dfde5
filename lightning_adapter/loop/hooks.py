"""Which hooks are overridden, how is one called, and which one is running?

A hook that nobody overrides costs a look into a dictionary: callbacks and module are looked at once, and again when user
code has changed the callbacks. Callbacks come before the module, in the order of `trainer.callbacks`, as in Lightning.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from lightning_adapter.versions import hosts

Call = Callable[..., Any]


def is_overridden(name: str, instance: Any, base: type) -> bool:
    """True if `instance` brings its own `name`, by its class or on itself, instead of the one of `base`.

    The class is asked, never the instance's properties, so nothing of the user's is evaluated.
    """
    if name in vars(instance):
        return vars(instance)[name] is not None
    own = getattr(type(instance), name, None)
    return own is not None and own is not getattr(base, name, None) and not getattr(own, "only_passes_on", False)


class _Bound(dict[str, "Call | None"]):
    """From hook to callable; what is missing is made."""

    def __init__(self, make: Callable[[str], Call | None]) -> None:
        self.make = make

    def __missing__(self, name: str) -> Call | None:
        made = self[name] = self.make(name)
        return made


class Hooks:
    """Calls hooks on callbacks and module, keeping the name of the running one for `self.log`.

    Attributes:
        running: name of the hook that is being executed, None outside of all hooks.
        bound: from the name of a hook of `Callback` and `LightningModule` to one callable that runs it everywhere, or
            None if nobody overrides it. It takes the hook's arguments and returns what the module's hook returned. After
            user code that `run` did not run, `refresh` comes first.
        adapt: from a hook's name, a function and the number of arguments before the hook's own, to a callable that
            takes the arguments of today's hook.
        is_hook: from the same three whether the function is that hook at all, and no method that only has its name.
        before: names of hooks that are called right before another one, which names them here.
        after: the same, right after.
    """

    def __init__(self, module: Any, datamodule: Any, host: hosts.Host, trainer: Any) -> None:
        self.module = module
        self.datamodule = datamodule
        self.host = host
        self.trainer = trainer
        self.running: str | None = None
        self.adapt: Callable[[str, Call, int], Call] = lambda name, function, leading: function
        self.is_hook: Callable[[str, Call, int], bool] = lambda name, function, leading: True
        self.before: Mapping[str, str] = {}
        self.after: Mapping[str, str] = {}
        self.bound = _Bound(lambda name: self._with_companions(name, self._bind(name, None)))
        self._seen: list[Any] = []

    def overridden(self, name: str) -> bool:
        """True if the module overrides `name`."""
        return is_overridden(name, self.module, self.host.pl.LightningModule)

    def overridden_in_data(self, name: str) -> bool:
        """True if there is a datamodule that overrides `name`."""
        return self.datamodule is not None and is_overridden(name, self.datamodule, self.host.pl.LightningDataModule)

    def overridden_in_callback(self, name: str, callback: Any) -> bool:
        """True if `callback` overrides `name`."""
        return is_overridden(name, callback, self.host.pl.Callback)

    def forget(self) -> None:
        """Look again at who overrides what: callbacks were added, or `setup` changed the module."""
        self.bound.clear()
        self._seen = list(self.trainer.callbacks)

    def refresh(self) -> None:
        """Look again if user code has added, removed or replaced callbacks."""
        if self.trainer.callbacks != self._seen:
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
        function, run = self.adapt(name, getattr(self.module, name), 0), self.run

        def call(*args: Any, **kwargs: Any) -> Any:
            return run(name, function, *args, **kwargs)

        return call

    def call_module(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Run a method of the module as the running hook, overridden or not."""
        return self.run(name, getattr(self.module, name), *args, **kwargs)

    def call_data(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Run a method of the datamodule. Lightning keeps the running hook's name there."""
        return getattr(self.datamodule, name)(*args, **kwargs)

    def call_callbacks(self, name: str, *args: Any, **kwargs: Any) -> None:
        """Run a hook of the callbacks alone."""
        for callback in self.trainer.callbacks:
            if self.overridden_in_callback(name, callback):
                self.run(name, getattr(callback, name), self.trainer, self.module, *args, **kwargs)

    def run(self, name: str, function: Call, *args: Any, **kwargs: Any) -> Any:
        """Run `function` as hook `name`; the name of the outer hook comes back afterwards, also after an error."""
        outer = self.running
        self.running = name
        try:
            return function(*args, **kwargs)
        except Exception as error:
            _name_hook(error, name, function)
            raise
        finally:
            self.running = outer
            if self.trainer.callbacks != self._seen:  # refresh(), without a call in each step
                self.forget()

    def _callbacks(self, monitoring: bool | None) -> Iterable[Any]:
        callbacks: list[Any] = self.trainer.callbacks
        if monitoring is None:
            return callbacks
        watchers = (self.host.pl.callbacks.EarlyStopping, self.host.pl.callbacks.Checkpoint)
        return [callback for callback in callbacks if isinstance(callback, watchers) is monitoring]

    def _with_companions(self, name: str, bound: Call | None) -> Call | None:
        before = self._bind(self.before[name], None) if name in self.before else None
        after = self._bind(self.after[name], None) if name in self.after else None
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

    def _bind(self, name: str, monitoring: bool | None) -> Call | None:
        callbacks = [
            self.adapt(name, getattr(callback, name), 2)
            for callback in self._callbacks(monitoring)
            if hasattr(callback, name)
            and self.overridden_in_callback(name, callback)
            and self.is_hook(name, getattr(callback, name), 2)
        ]
        method = getattr(self.module, name) if not monitoring and self.overridden(name) else None
        own: Any = self.adapt(name, method, 0) if callable(method) and self.is_hook(name, method, 0) else None
        if not callbacks and own is None:
            return None
        module, trainer = self.module, self.trainer
        run = self.run

        if not callbacks:

            def call_module(*args: Any) -> Any:
                return run(name, own, *args)

            return call_module

        def call_all(*args: Any) -> Any:
            for callback in callbacks:
                run(name, callback, trainer, module, *args)
            return run(name, own, *args) if own is not None else None

        return call_all


def _name_hook(error: Exception, name: str, function: Call) -> None:
    """Note on an exception in which hook of whom it was raised; the innermost hook has the word."""
    if hasattr(error, "add_note") and not getattr(error, "__notes__", None):  # Python 3.11 and later
        owner = type(getattr(function, "__self__", None)).__name__
        error.add_note(f"raised in the hook {name}" + (f" of {owner}" if owner != "NoneType" else ""))
