"""How does LightningCLI's own code read a configuration and make its classes, without a Trainer?

The order is that of `LightningCLI.__init__`: parsing, seeding, instantiating, the optimizers of the configuration, then
`before_fit`. A subclass of the user's class follows it, with answers of ours at three places: what is parsed, what happens
where a Trainer would be called, and what becomes of its `fit`.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

from lightning_adapter import notices
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.monkey_patch import NoEffectWarning
from lightning_adapter.versions import hosts

#: jsonargparse's parser, its Namespace, and a LightningCLI: not imported before they are used.
Parser: TypeAlias = Any
Config: TypeAlias = Any
MadeCli: TypeAlias = Any


class _Parsed(BaseException):
    """The configuration is parsed, and nothing more was asked for; no `except Exception` of the user's stops it."""

    def __init__(self, result: object) -> None:
        self.result = result


class TrainerMissingError(ConfigurationError, AttributeError):
    """A method of a LightningCLI asks its trainer for something that is not known before the run begins."""


class TrainerToBe:
    """Stands where LightningCLI has its trainer: holds what the Trainer would have been given."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        vars(self)["arguments"] = arguments

    def fit(self, **kwargs: Any) -> None:
        """Nothing is trained here: the trial trains. What LightningCLI would fit is what it has made."""

    @property
    def logger(self) -> Any:
        """The first logger, as `Trainer.logger`."""
        return self.loggers[0]

    @property
    def loggers(self) -> list[Any]:
        """The loggers of the configuration; the default one is not made yet."""
        given = self.arguments.get("logger")
        if given is None or isinstance(given, bool) or given == []:
            self._refuse("trainer.logger, and the configuration names no logger", "name one: `trainer: {logger: ...}`")
        return list(given) if isinstance(given, (list, tuple)) else [given]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in self.arguments:
            return self.arguments[name]
        self._refuse(f"trainer.{name}", "do it in a hook of the module or of a callback, such as on_fit_start")

    def __setattr__(self, name: str, value: object) -> None:
        self._refuse(f"sets trainer.{name}", "give it as an argument: `trainer_defaults={...}`")

    @staticmethod
    def _refuse(what: str, instead: str) -> NoReturn:
        raise TrainerMissingError(
            f"A method of the LightningCLI asks for {what}: the trial makes no Trainer, and what stands for it here has the "
            f"arguments that the Trainer would have been given, nothing else. Instead, {instead}."
        )


class _Following:
    """Comes before the user's LightningCLI class among the bases of the class that is run."""

    subcommands: Callable[[], Mapping[str, object]]

    def init_parser(self, **kwargs: Any) -> Parser:
        """Parsers raise what LightningCLI prints before it exits."""
        parser = super().init_parser(**{**kwargs, "exit_on_error": False})  # type: ignore[misc]
        vars(self).setdefault("parsers", []).append(parser)
        return parser

    @property
    def parser_of_fit(self) -> Parser:
        """The parser of the subcommand; the only one where a class was written with `run=False`."""
        main, *others = vars(self)["parsers"]
        return dict(zip(self.subcommands(), others, strict=False)).get("fit", main)


def parse(cls: type, arguments: Mapping[str, Any], parsing: Callable[[Parser, Parser], object]) -> Any:
    """Let a LightningCLI make its parser, and nothing else.

    Args:
        cls: the LightningCLI.
        arguments: of its constructor.
        parsing: is given the parser, and that of the subcommand `fit`, which is the same where there are no subcommands.

    Returns:
        What `parsing` has returned.
    """

    def parse_arguments(self: Any, parser: Parser, args: object) -> NoReturn:
        raise _Parsed(parsing(parser, self.parser_of_fit))

    made = type(cls.__name__, (_Following, cls), {"parse_arguments": parse_arguments, "__module__": cls.__module__})
    try:
        made(**arguments)
    except _Parsed as parsed:
        return parsed.result
    raise ConfigurationError(
        f"{cls.__name__} was constructed without reading a configuration: its __init__() has to call that of LightningCLI."
    )


def instantiate(cls: type, arguments: Mapping[str, Any], config: Callable[[bool], dict[str, Any]]) -> MadeCli:
    """Let a LightningCLI do all that it does up to `trainer.fit`.

    Args:
        cls: the LightningCLI; was checked.
        arguments: of its constructor.
        config: what is parsed, given whether there are subcommands.

    Returns:
        The LightningCLI, whose trainer is a TrainerToBe.
    """

    def parse_arguments(self: Any, parser: Parser, args: object) -> None:
        with warnings.catch_warnings():
            # what was typed is a command of ours, and not for the LightningCLI
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super(made, self).parse_arguments(parser, config(self.parser_of_fit is not parser))

    def instantiate_trainer(self: Any, **kwargs: Any) -> TrainerToBe:
        given = self.trainer_class
        self.trainer_class = functools.partial(_to_be, given)
        # LightningCLI names the class in a warning
        self.trainer_class.__qualname__ = getattr(given, "__qualname__", repr(given))
        trainer = super(made, self).instantiate_trainer(**kwargs)
        self.trainer_class = given
        if not isinstance(trainer, TrainerToBe):
            raise ConfigurationError(
                f"{cls.__name__}.instantiate_trainer() makes a {type(trainer).__name__} itself, and the trial, which trains, "
                "needs to know its arguments. Write `return super().instantiate_trainer(name=value, ...)` there."
            )
        return trainer

    methods = {
        "parse_arguments": parse_arguments,
        "instantiate_trainer": instantiate_trainer,
        "after_fit": None,
        "__module__": cls.__module__,
    }
    made: Any = type(cls.__name__, (_Following, cls), methods)
    return made(**arguments)


def check_methods(cls: type) -> None:
    """Refuse a LightningCLI that trains in another way, and warn of a method that nobody calls.

    Raises:
        ConfigurationError: says what to write instead.
    """
    if callable(getattr(cls, "fit", None)):
        raise ConfigurationError(
            f"{cls.__name__} has a method fit() in the place of Trainer.fit, which is not called here: the trial trains. Move "
            "what it does before training into before_fit(), and leave it out."
        )
    if callable(getattr(cls, "after_fit", None)):
        notices.warn(
            f"{cls.__name__}.after_fit() is not called: a trial may be paused and go on elsewhere before its training ends. "
            "To test the best checkpoint when it has, use `lightning-adapter fit --test` or fit(test=True); for anything "
            "else, on_fit_end() of a callback.",
            NoEffectWarning,
        )


def _to_be(trainer_class: Callable[..., object], **config: Any) -> TrainerToBe:
    """What a Trainer would have been given, by way of the user's own class or partial of it."""
    while isinstance(trainer_class, functools.partial) and not trainer_class.args:
        config = {**trainer_class.keywords, **config}
        trainer_class = trainer_class.func
    host = hosts.host_of_class(trainer_class) if isinstance(trainer_class, type) else None
    if host is None or not isinstance(trainer_class, type) or not issubclass(trainer_class, host.pl.Trainer):
        raise ConfigurationError(
            f"trainer_class={getattr(trainer_class, '__name__', trainer_class)} is a function, and the arguments that it "
            "gives the Trainer cannot be told from outside. Give `trainer_defaults={...}` in its place."
        )
    return TrainerToBe(
        config if trainer_class is host.pl.Trainer else _recorded(trainer_class, host.pl.Trainer, config)
    )


def _recorded(trainer_class: type, trainer: type, config: dict[str, Any]) -> dict[str, Any]:
    """What a subclass's constructor gives to that of Trainer.

    Raises:
        ConfigurationError: it does more than that.
    """
    more = [name for base in trainer_class.__mro__[: trainer_class.__mro__.index(trainer)] for name in vars(base)]
    methods = [name for name in more if not name.startswith("__") and hasattr(trainer, name)]
    if methods:
        raise ConfigurationError(
            f"{trainer_class.__name__} overrides {', '.join(sorted(set(methods)))} of Lightning's Trainer, which does not "
            "train here: the trial does. Move what it does into a callback, and give `trainer_defaults={...}` for arguments."
        )
    given: dict[str, Any] = {}

    def __init__(self: object, *args: Any, **kwargs: Any) -> None:
        given.update(inspect.signature(trainer.__init__).bind(self, *args, **kwargs).arguments)  # type: ignore[misc]
        given.pop("self", None)

    # stands between the user's class and Lightning's in the order in which Python looks for methods
    recorder = type("Recorder", (trainer,), {"__init__": __init__})
    type(trainer_class.__name__, (trainer_class, recorder), {})(**config)
    return given
