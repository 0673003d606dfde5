"""Which class does `FILE_OR_MODULE:Class` name, and what is wrong where it cannot be imported?"""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import os
import pathlib
import pkgutil
import sys
import sysconfig
import traceback
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from types import ModuleType

from lightning_adapter.errors import ConfigurationError, TargetError, guess, shown

#: What is trained where the words after `fit` name a configuration, and no target.
CONFIGURED = "lightning_adapter:ConfiguredTrial"
#: Options of `fit` that name one.
_CONFIGURATIONS = ("--cli", "--hydra")
#: What somebody imports a target for, where that is not its training.
_IMPORTED_TO: ContextVar[str | None] = ContextVar("imported_to", default=None)


@contextlib.contextmanager
def imported_to(purpose: str) -> Iterator[None]:
    """Within the block, targets are imported for something else than training, and a script that trains is refused.

    Args:
        purpose: what is done with the class, after "to".
    """
    token = _IMPORTED_TO.set(purpose)
    try:
        yield
    finally:
        _IMPORTED_TO.reset(token)


def check_may_train() -> None:
    """Refuse to train where a script is only imported.

    Raises:
        ConfigurationError: says what to write.
    """
    purpose = _IMPORTED_TO.get()
    if purpose is not None:
        raise ConfigurationError(
            f"fit() is called while the file is imported to {purpose}, and would train instead. Write "
            '`if __name__ == "__main__":` before the call, as in every script that others import.'
        )


def names_a_configuration(words: Sequence[str]) -> bool:
    """Tell whether `--cli FILE` or `--hydra DIR` is among the words after `fit`."""
    return any(word.partition("=")[0] in _CONFIGURATIONS for word in words)


def target_among(words: Sequence[str]) -> str | None:
    """Return the target among the words after `fit`; None where there is none.

    With a configuration it stands before all else, or is left out: overrides may look like one.
    """
    if names_a_configuration(words):
        return words[0] if not words[0].startswith("-") else CONFIGURED
    return next((word for word in words if ":" in word and not word.startswith("-") and "=" not in word), None)


def load_target(target: str, here: str = "the current directory") -> type:
    """Import the class that `FILE_OR_MODULE:Class` names.

    The current directory comes first on `sys.path`, as under `python -m`; for a file, its own directory goes before it.

    Args:
        target: `path/to/model_def.py:Class`, `model_def:Class` or `package.module:Class`.
        here: what messages call the current directory.

    Raises:
        TargetError: no such file, module or class, or importing it fails; the message then holds the user's own error.
    """
    found = load_object(target, here)
    if not isinstance(found, type):
        raise TargetError(
            f"{target} is {found!r:.80} of type {type(found).__name__}, not a class; name the class itself, it is "
            "constructed later"
        )
    return found


def load_object(
    target: str,
    here: str = "the current directory",
    kind: str = "class",
    form: str = "FILE_OR_MODULE:Class, for example model_def.py:MNISTTrial or model_def:MNISTTrial",
) -> object:
    """Import what `FILE_OR_MODULE:NAME` names, as `load_target` does for a class.

    Args:
        target: `path/to/file.py:NAME`, `file:NAME` or `package.module:NAME`.
        here: what messages call the current directory.
        kind: what messages call a thing of this kind.
        form: how such a thing is written, with an example.

    Raises:
        TargetError: no such file, module or name, or importing it fails; the message then holds the user's own error.
    """
    place, colon, name = target.rpartition(":")
    if not (colon and place and name):
        raise TargetError(f"{target!r} names no {kind}: write {form}{_configuration_at(target)}")
    put_first_on_path(os.getcwd())
    if place.endswith(".py") or os.sep in place:
        module = _import_file(pathlib.Path(place), here)
    else:
        module = _import_module(place, here)
    try:
        return getattr(module, name)  # a package may give some of its names on demand
    except AttributeError:
        raise TargetError(
            _no_class(place, name, module) if kind == "class" else _no_object(place, name, module)
        ) from None


def _configuration_at(place: str) -> str:
    """What to type where a configuration stands in the place of a target."""
    if place.endswith((".yaml", ".yml")):
        return f". To train what a LightningCLI configuration describes, type --cli {place}"
    return f". To train what a configuration of Hydra's describes, type --hydra {place}" if os.path.isdir(place) else ""


def _no_class(place: str, name: str, module: ModuleType) -> str:
    classes = sorted(key for key, value in vars(module).items() if isinstance(value, type))
    own = [key for key in classes if vars(module)[key].__module__ == module.__name__]
    there = f"it defines {', '.join(own)}" if own else "it defines no class"
    return f"{place} has no {name}; {there}{guess(name, classes)}"


def _no_object(place: str, name: str, module: ModuleType) -> str:
    modules = {key for key, value in vars(module).items() if isinstance(value, ModuleType) or key.startswith("_")}
    own = [key for key in vars(module) if key not in modules and _is_own(vars(module)[key], module)]
    there = f"it defines {', '.join(own[:12])}" if own else "it defines nothing"
    return f"{place} has no {name}; {there}{guess(name, vars(module).keys() - modules)}"


def _is_own(value: object, module: ModuleType) -> bool:
    """Whether a module made this itself: anything but a class or a function that it imports."""
    own = getattr(value, "__module__", module.__name__)
    return own == module.__name__ or not (hasattr(value, "__qualname__") or own == "__future__")


def put_first_on_path(directory: str) -> None:
    """Let modules of a directory be imported before all others, as Python does for a script's own."""
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)


def _import_file(path: pathlib.Path, here: str) -> ModuleType:
    """Import a file under its own name, so that pickled objects and its neighbours find it by that name."""
    try:
        found = path.is_file()
    except OSError as error:  # a name that is too long, a loop of links, a folder that may not be looked into
        raise TargetError(f"{shown(str(path))} is no usable path: {error.strerror}") from error
    if not found:
        raise TargetError(_no_file(path))
    path = path.resolve()
    name = path.stem
    put_first_on_path(str(path.parent))
    loaded = sys.modules.get(name)
    if loaded is not None:
        place = getattr(loaded, "__file__", None)
        if place and pathlib.Path(place).resolve() == path:
            return loaded
        raise TargetError(
            f"{path} cannot be imported under its name: a module {name!r} is loaded already, from "
            f"{place or 'Python itself'}; rename the file"
        )
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise TargetError(f"{path} is no Python file; its name must end with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before its code runs, as `import` does: dataclasses and pickle look there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        in_package = (path.parent / "__init__.py").exists()
        hint = f"\n{path.parent.name}/ is a package: name the class as package.module:Class" if in_package else ""
        raise TargetError(_import_failure(str(path), error, here) + hint) from error
    return module


def _no_file(path: pathlib.Path) -> str:
    folder = path.parent
    near = [p.name for p in folder.glob("*.py")] if folder.is_dir() else []
    meant = difflib.get_close_matches(path.name, near, n=1)
    return (
        f"{path} is {'a directory' if path.is_dir() else 'not there'} (looked in {folder.resolve()}); "
        "give a Python file" + (f"; did you mean {str(folder / meant[0])!r}?" if meant else "")
    )


def _import_module(name: str, here: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise TargetError(
            f"{name!r} is no module name; for a file, write its path with .py: path/to/model_def.py:Class"
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The target itself is missing, as opposed to something that it imports.
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise TargetError(_no_module(name, error.name, here)) from None
        raise TargetError(_import_failure(name, error, here)) from error
    except (Exception, SystemExit) as error:
        raise TargetError(_import_failure(name, error, here)) from error


def _no_module(name: str, missing: str, here: str) -> str:
    parent, _, last = missing.rpartition(".")
    folders = list(getattr(sys.modules.get(parent), "__path__", [])) if parent else [os.getcwd()]
    near = difflib.get_close_matches(last, [module.name for module in pkgutil.iter_modules(folders)], n=1)
    meant = f"{parent}.{near[0]}" if near and parent else near[0] if near else ""
    where = f"in the package {parent}" if parent else f"in {here} {os.getcwd()}, nor installed"
    there = _below_src(missing)
    if there:
        return f"{name}: there is no module {missing!r} {where}{there}"
    return f"{name}: there is no module {missing!r} {where}" + (f"; did you mean {meant!r}?" if meant else "")


def _below_src(missing: str) -> str:
    """What to write where a module is missing that lies in `src/`, as in a project that is to be installed; else nothing."""
    place = pathlib.Path("src", *missing.split("."))
    found = next((path for path in (place, place.with_suffix(".py")) if path.exists()), None)
    if found is None:
        return ""
    return (
        f"; {found} is there: write PYTHONPATH=src before the command, as in `entrypoint: PYTHONPATH=src python3 -m "
        "lightning_adapter fit ...` on a cluster, or install the project (pip install -e .)"
    )


def _own_line(stack: traceback.StackSummary) -> str:
    """The innermost line of the user's own, below which there are Python's and installed packages'."""
    foreign = tuple(sysconfig.get_paths()[name] + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib"))
    own = [frame for frame in stack if not frame.filename.startswith((*foreign, "<"))] or list(stack)
    return f"{own[-1].filename}, line {own[-1].lineno}," if own else "its code,"


def _import_failure(what: str, error: BaseException, here: str) -> str:
    """Say what went wrong in the user's code, with the user's frames and without those of the import system."""
    report = traceback.TracebackException.from_exception(error)
    frames = [
        f
        for f in report.stack
        if f.filename not in (__file__, importlib.__file__) and not f.filename.startswith("<frozen ")
    ]
    report.stack = traceback.StackSummary.from_list(frames)
    from lightning_adapter.support.result_objects import advice_on_import

    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, ModuleNotFoundError) and error.name:
        fix = _below_src(error.name) or (
            ". To fix, install the package that holds it, and list it in requirements.txt for a cluster; a module of your own "
            f"has to lie in {here} or on PYTHONPATH"
        )
        reason = f"it imports {error.name!r}, which is not installed and not on the path{fix}"
    elif isinstance(error, FileNotFoundError):
        reason = f"{reason}, in {_own_line(report.stack)} with {os.getcwd()} as {here}"
    elif isinstance(error, SystemExit):
        reason = 'it calls sys.exit() while it is imported; put that below `if __name__ == "__main__":`'
    return f"{what} cannot be imported: {reason}{advice_on_import(error)}\n\n{''.join(report.format()).rstrip()}"
