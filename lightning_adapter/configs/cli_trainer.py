"""What would LightningCLI have given to its Trainer, which is not made here?"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import hosts


class TrainerMissingError(ConfigurationError, AttributeError):
    """A method of a LightningCLI asks its trainer for something that is not known before the run begins."""


class TrainerToBe:
    """Stands where LightningCLI has its trainer: knows the arguments that the Trainer would have been given.

    Attributes:
        arguments: by name.
    """

    arguments: dict[str, Any]

    def __init__(self, arguments: dict[str, Any]) -> None:
        vars(self)["arguments"] = arguments

    def fit(self, **kwargs: Any) -> None:
        """Nothing is trained here: the trial trains what LightningCLI has made."""
        given = [name for name in ("train_dataloaders", "val_dataloaders") if kwargs.get(name) is not None]
        if given:
            self._refuse(f"fit({', '.join(given)})", "return loaders from the module or the datamodule")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by copy, pickle and the like
            raise AttributeError(name)
        if name in ("logger", "loggers"):
            loggers = self._loggers()
            return loggers if name == "loggers" else next(iter(loggers), None)
        if name in vars(self).get("arguments", {}):
            return self.arguments[name]
        self._refuse(name, "do it in a hook of the module or of a callback, such as on_fit_start")

    def _loggers(self) -> list[Any]:
        """The loggers of the configuration; the default one is not made yet."""
        given = self.arguments.get("logger")
        if given is None or given is True:
            self._refuse("its logger, and the configuration names none", "name one: `trainer: {logger: ...}`")
        return list(given) if isinstance(given, (list, tuple)) else [given] if given else []

    def __setattr__(self, name: str, value: object) -> None:
        self._refuse(f"{name}, to set it", f"give it as an argument, `trainer_defaults={{'{name}': ...}}`")

    @staticmethod
    def _refuse(what: str, instead: str) -> NoReturn:
        raise TrainerMissingError(
            f"A method of the LightningCLI asks its trainer for {what}. The trial trains, so that there is no Trainer yet: what "
            f"stands for it knows the arguments that the Trainer would have been given, and nothing else. Instead, {instead}."
        )


def to_be(trainer_class: Callable[..., object], **config: Any) -> TrainerToBe:
    """Return what stands for `trainer_class(**config)`.

    Raises:
        ConfigurationError: it is not Lightning's Trainer, nor something whose arguments for it can be told.
    """
    while isinstance(trainer_class, functools.partial) and not trainer_class.args:
        config = {**trainer_class.keywords, **config}
        trainer_class = trainer_class.func
    host = hosts.host_of_class(trainer_class) if isinstance(trainer_class, type) else None
    if host is None or not isinstance(trainer_class, type) or not issubclass(trainer_class, host.pl.Trainer):
        raise ConfigurationError(
            f"trainer_class={getattr(trainer_class, '__qualname__', trainer_class)} is no Trainer of Lightning's, and which "
            "arguments it gives to one cannot be told. Give `trainer_defaults={...}` in its place."
        )
    return TrainerToBe(
        config if trainer_class is host.pl.Trainer else _given_by(trainer_class, host.pl.Trainer, config)
    )


def _given_by(trainer_class: type, trainer: type, config: Mapping[str, Any]) -> dict[str, Any]:
    """What a subclass's constructor gives to that of Trainer.

    Raises:
        ConfigurationError: the subclass does more than that.
    """
    bases = trainer_class.__mro__[: trainer_class.__mro__.index(trainer)]
    methods = {name for base in bases for name in vars(base) if not name.startswith("__") and hasattr(trainer, name)}
    if methods:
        raise ConfigurationError(
            f"{trainer_class.__qualname__} overrides {', '.join(sorted(methods))} of Lightning's Trainer, which does not train "
            "here: the trial does. Move what it does into a callback, and give `trainer_defaults={...}` for arguments."
        )
    given: dict[str, Any] = {}

    def __init__(self: object, *args: Any, **kwargs: Any) -> None:
        given.update(inspect.signature(trainer).bind(*args, **kwargs).arguments)

    # stands between the user's class and Lightning's in the order in which `super()` goes through them
    recorder = type("Trainer", (trainer,), {"__init__": __init__})
    made = type(trainer_class.__name__, (trainer_class, recorder), {})
    try:
        made(**config)
    except AttributeError as error:  # what Lightning's constructor would have set
        raise ConfigurationError(
            f"{trainer_class.__qualname__}.__init__() does more than to choose arguments ({error}), and the trial makes no "
            "Trainer. Move what it does into a callback, and give `trainer_defaults={...}` for arguments."
        ) from error
    return given
