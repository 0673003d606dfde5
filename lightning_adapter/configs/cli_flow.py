"""How does LightningCLI's own code read a configuration and make its classes, without a Trainer?

The order is that of `LightningCLI.__init__`: parsing, seeding, instantiating, the optimizers of the configuration, then
`before_fit`. A subclass of the user's class follows it, with answers of ours at three places: what is parsed, what happens
where a Trainer would be made, and what becomes of its `fit`.
"""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeAlias

from lightning_adapter import notices
from lightning_adapter.configs import cli_kept
from lightning_adapter.configs.cli_saving import keep_saved
from lightning_adapter.configs.cli_trainer import TrainerToBe, to_be
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.monkey_patch import NoEffectWarning

#: jsonargparse's parser, its Namespace, and a LightningCLI: not imported before they are used.
Parser: TypeAlias = Any
Config: TypeAlias = Any
MadeCli: TypeAlias = Any

#: The subcommand of LightningCLI whose place a trial takes.
FIT = "fit"
#: LightningCLI's name of the seed.
SEED = "seed_everything"


class _Parsed(BaseException):
    """Parsing is done, and nothing more was asked for; no `except Exception` of the user's stops it."""

    def __init__(self, result: object) -> None:
        self.result = result


class _Following:
    """Comes before the user's LightningCLI class among the bases of the class that is run.

    Attributes:
        has_sections: whether what is read may have sections of other subcommands beside that of `fit`.
        parsers: those that were made, by the name of their subcommand; the parser itself under none.
    """

    has_sections = False
    parsers: dict[str, Parser]

    def setup_parser(self, add_subcommands: bool, main_kwargs: dict[str, Any], *args: Any, **kwargs: Any) -> None:
        """Leave out the parsers of other subcommands where nobody asks them: each takes as long as that of `fit`."""
        every = self.subcommands()  # type: ignore[attr-defined]
        asked = every if self.has_sections or main_kwargs.get("default_config_files") else {FIT: every[FIT]}
        made: list[Parser] = []
        vars(self).update(subcommands=lambda: asked, made=made)
        super().setup_parser(add_subcommands, main_kwargs, *args, **kwargs)  # type: ignore[misc]
        del vars(self)["subcommands"], vars(self)["made"]
        self.parsers = dict(zip(("", *asked), made, strict=False))

    def init_parser(self, **kwargs: Any) -> Parser:
        """Parsers raise what LightningCLI prints before it exits."""
        parser = super().init_parser(**{**kwargs, "exit_on_error": False})  # type: ignore[misc]
        vars(self)["made"].append(parser)
        return parser


@dataclass(frozen=True)
class Parsers:
    """What a LightningCLI reads configurations with.

    Attributes:
        main: its parser.
        fit: that of the subcommand; the same one where the class was written with `run=False`.
        classes: the section of module and of datamodule to the class, or function, whose arguments stand in it as they are;
            other sections have a `class_path`.
        read: what they have read, by the text of the tree.
    """

    main: Parser
    fit: Parser
    classes: Mapping[str, Callable[..., object]]
    read: dict[str, Config] = field(default_factory=dict)

    @classmethod
    def of(cls, cli: MadeCli) -> Parsers:
        """Those of a LightningCLI that is being made."""
        main = cli.parsers[""]
        given = {"model": cli.model_class, "data": cli.datamodule_class}
        is_wrapped = {"model": cli.subclass_mode_model, "data": cli.subclass_mode_data}
        return cls(
            main,
            cli.parsers.get(FIT, main),
            {key: value for key, value in given.items() if value is not None and not is_wrapped[key]},
        )


def parse(
    cls: type, arguments: Mapping[str, Any], parsing: Callable[[Parsers], object], has_sections: bool = False
) -> Any:
    """Let a LightningCLI make its parser, and nothing else; one that is kept is taken in its place.

    Args:
        cls: the LightningCLI.
        arguments: of its constructor.
        parsing: is given what it has made.
        has_sections: whether what is read may have sections of other subcommands.

    Returns:
        What `parsing` has returned.
    """

    def parse_arguments(self: Any, parser: Parser, args: object) -> NoReturn:
        parsers = Parsers.of(self)
        if not has_sections:
            cli_kept.keep(cls, arguments, parsers)
        raise _Parsed(parsing(parsers))

    kept = None if has_sections else cli_kept.kept_parsers(cls, arguments)
    made = _derived(cls, {"parse_arguments": parse_arguments, "has_sections": has_sections})
    try:
        if kept is not None:
            return parsing(kept)
        made(**arguments)
    except _Parsed as parsed:
        return parsed.result
    except ConfigurationError:
        raise
    except ValueError as error:  # of `ArgumentParser.link_arguments`, whose keys differ where no class is known
        raise ConfigurationError(
            f"{cls.__qualname__} cannot make its parser: {error} It has to know the classes that the project constructs it "
            f"with. Name them in a trial: {trial_that_names(cls.__qualname__)}"
        ) from error
    raise ConfigurationError(
        f"{cls.__qualname__} was made without reading a configuration: its __init__() has to call that of LightningCLI."
    )


def trial_that_names(cls: str) -> str:
    """What is written for a LightningCLI of a project's own, and typed then."""
    return (
        f'`class Trial(ConfiguredTrial): cli_class = {cls}; cli_arguments = {{"model_class": MyModel, "datamodule_class": '
        "MyData}`, and type `trial.py:Trial --cli FILE` after fit or init."
    )


def instantiate(cls: type, arguments: Mapping[str, Any], config: Callable[[Parsers], dict[str, Any]]) -> MadeCli:
    """Let a LightningCLI do all that it does up to `trainer.fit`.

    Args:
        cls: the LightningCLI; was checked.
        arguments: of its constructor.
        config: gives what is to be parsed.

    Returns:
        The LightningCLI, whose trainer is a TrainerToBe.
    """
    cli_kept.end()

    def parse_arguments(self: Any, parser: Parser, args: object) -> None:
        with warnings.catch_warnings():
            # what was typed is a command of ours, and not for the LightningCLI
            warnings.filterwarnings("ignore", message="LightningCLI's args parameter")
            super(made, self).parse_arguments(parser, config(Parsers.of(self)))

    def instantiate_trainer(self: Any, **kwargs: Any) -> TrainerToBe:
        given = self.trainer_class
        self.trainer_class = functools.partial(to_be, given)
        # LightningCLI names the class in a warning
        self.trainer_class.__qualname__ = getattr(given, "__qualname__", repr(given))
        trainer = super(made, self).instantiate_trainer(**kwargs)
        self.trainer_class = given
        if not isinstance(trainer, TrainerToBe):
            raise ConfigurationError(
                f"{cls.__qualname__}.instantiate_trainer() makes a {type(trainer).__name__} itself, and the trial, which "
                "trains, has to know its arguments. Write `return super().instantiate_trainer(name=value, ...)` there."
            )
        keep_saved(trainer.arguments.get("callbacks"))
        return trainer

    methods = {"parse_arguments": parse_arguments, "instantiate_trainer": instantiate_trainer, "after_fit": None}
    made = _derived(cls, methods)
    cli = made(**arguments)
    # its parser refers to it, and a callback to the parser: it can be pickled as one of the user's class alone
    cli.__class__ = cls
    del cli.parsers
    return cli


def check_methods(cls: type) -> None:
    """Refuse a LightningCLI that trains in another way.

    Raises:
        ConfigurationError: says what to write instead.
    """
    if callable(getattr(cls, "fit", None)):
        raise ConfigurationError(
            f"{cls.__qualname__} has a method fit() in the place of Trainer.fit, which is not called here: the trial trains. "
            "Move what it does before training into before_fit(), and leave it out."
        )


def tell_unused(cls: type) -> None:
    """Warn of a method of a LightningCLI that nobody calls."""
    if callable(getattr(cls, "after_fit", None)):
        notices.warn(
            f"{cls.__qualname__}.after_fit() is not called: a trial may be paused and go on elsewhere before its training "
            "ends. To test the best checkpoint when it has, use `lightning-adapter fit --test` or fit(test=True); for "
            "anything else, on_fit_end() of a callback.",
            NoEffectWarning,
        )


def _derived(cls: type, methods: dict[str, Any]) -> Any:
    """The class that is run; messages of LightningCLI's name it as the user's."""
    names = {"__module__": cls.__module__, "__qualname__": cls.__qualname__, "__doc__": cls.__doc__}
    return type(cls.__name__, (_Following, cls), {**methods, **names})
