"""Does a class use the result objects of Lightning 0.9, which Lightning 1.0 removed, and what is to be written instead?

Code is looked at, never run: the names that a function uses stand in its code object.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from types import FunctionType, ModuleType

from lightning_adapter.versions.wrappers import code_within

#: What to write instead of each.
RESULT_OBJECTS = {
    "TrainResult": "return the loss from training_step, and log each value: self.log('train_loss', loss, prog_bar=True)",
    "EvalResult": (
        "log each value in validation_step: self.log('val_loss', loss), and name it as monitor= of EarlyStopping and "
        "ModelCheckpoint in place of early_stop_on and checkpoint_on"
    ),
}
REASON = "Lightning 1.0 removed its result objects"


def advice_on_import(error: BaseException) -> str:
    """What to write where a module could not be imported since it names a result object; empty for other errors."""
    if not isinstance(error, (ImportError, AttributeError)):
        return ""
    named = [name for name in RESULT_OBJECTS if f"'{name}'" in str(error)]
    if not named and "step_result" in str(error):
        named = list(RESULT_OBJECTS)
    return "".join(f"\n{REASON}: instead of {name}, {RESULT_OBJECTS[name]}." for name in named)


def result_objects_in(cls: type) -> Iterator[tuple[str, str]]:
    """The result objects that the methods of one class use, its bases left alone: pairs of a name and a method."""
    for attribute, value in vars(cls).items():
        function = inspect.unwrap(getattr(value, "__func__", getattr(value, "fget", value)))
        if isinstance(function, FunctionType):
            used = {name for code in code_within(function.__code__) for name in code.co_names}
            for name in RESULT_OBJECTS:
                if name in used and not _is_there(name, used, function):
                    yield name, attribute


def _is_there(name: str, used: set[str], function: FunctionType) -> bool:
    """Whether the name is something of the user's own, or of another library, rather than what Lightning removed."""
    if name in function.__globals__:
        return True
    modules = [value for key, value in function.__globals__.items() if key in used and isinstance(value, ModuleType)]
    return any(hasattr(module, name) for module in modules)
