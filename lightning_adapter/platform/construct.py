"""Is the user's trial class written so that `fit()` can construct it, and if not, what is to be written?"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from determined import InvalidHP

from lightning_adapter import monkey_patch
from lightning_adapter.errors import ConfigurationError, shown
from lightning_adapter.platform.final_test import check_testable
from lightning_adapter.platform.trial import LightningTrial, require_constructed
from lightning_adapter.platform.where_raised import note_where

Trial = TypeVar("Trial", bound=LightningTrial)


def check_trial_class(trial_class: object, caller: str = "fit()") -> None:
    """Refuse what cannot be constructed with a context.

    Args:
        trial_class: is to be a class of trials.
        caller: whom it was given to.

    Raises:
        ConfigurationError: it is no trial class, or its constructor takes something else.
    """
    if not (isinstance(trial_class, type) and issubclass(trial_class, LightningTrial)):
        made = isinstance(trial_class, LightningTrial)
        raise ConfigurationError(
            f"{caller} was given {shown(trial_class)}, which is {'an instance of a trial' if made else 'no trial class'}. "
            "Derive a class from LightningAdapter and pass the class itself."
        )
    try:
        inspect.signature(trial_class).bind(None)
    except TypeError as error:
        raise ConfigurationError(_constructor(trial_class)) from error


def construct(make: Callable[[Any], Trial], context: Any, ends_with_test: bool, what: str, on_cluster: bool) -> Trial:
    """Construct a trial whose class was checked.

    Args:
        make: the trial's class, or what gives a trial that is there another context.
        context: Determined's context.
        ends_with_test: whether its best checkpoint is to be tested.
        what: by which name commands know the trained model: the directory of the run, or the number of the experiment.
        on_cluster: whether a cluster trains.

    Raises:
        ConfigurationError: its constructor leaves out that of LightningAdapter, or a test is not possible.
    """
    after = monkey_patch.AfterTraining.of_training(ends_with_test, what, on_cluster)
    trial = constructed(make, context, after)
    if ends_with_test:
        check_testable(trial.lightning_module, trial.datamodule)
    return trial


def constructed(make: Callable[[Any], Trial], context: Any, after: monkey_patch.AfterTraining) -> Trial:
    """Construct a trial.

    Args:
        make: see `construct`.
        context: Determined's context.
        after: what is told of its hooks for tests and predictions.

    Raises:
        ConfigurationError: its constructor leaves out that of LightningAdapter.
    """
    with monkey_patch.making_trial(after):
        try:
            trial = make(context)
        except Exception as error:
            note_where(error)
            raise
    require_constructed(trial)
    return trial


@contextlib.contextmanager
def refusal_in_words(hparams: Mapping[str, Any]) -> Iterator[None]:
    """Say of which hyperparameters it is that user code refuses within the block: Determined would end with status 0.

    Raises:
        ConfigurationError: it does.
    """
    try:
        yield
    except InvalidHP as error:
        raise ConfigurationError(f"The trial refuses its hyperparameters {hparams}: {error}") from error


def _constructor(trial_class: type) -> str:
    """What is wrong with a constructor that does not take a context alone."""
    name = trial_class.__name__
    parameters = list(inspect.signature(trial_class).parameters.values())
    needed = [each.name for each in parameters if each.default is each.empty and each.kind not in _VARIABLE]
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    if not positional:
        return (
            f"{name}.__init__() takes no context, and fit() gives it one: write `def __init__(self, context):`, and "
            "`super().__init__(context, module, ...)` in it."
        )
    more = [other for other in needed if other != positional[0].name]
    read = ", ".join(f"context.get_hparam({other!r})" for other in more)
    return (
        f"{name}.__init__() needs {', '.join(more)} besides the context, and fit() gives the context alone. Give defaults, "
        f"or read the values in the constructor, for example with {read}."
    )


_VARIABLE = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
_POSITIONAL = (
    inspect.Parameter.POSITIONAL_ONLY,
    inspect.Parameter.POSITIONAL_OR_KEYWORD,
    inspect.Parameter.VAR_POSITIONAL,
)
