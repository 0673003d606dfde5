"""What was typed on the command line, what does it call, and what is printed?

    lightning-adapter fit   FILE_OR_MODULE:TrialClass --config experiment.yaml --max-epochs 3
    lightning-adapter check FILE_OR_MODULE:Class

Exit status: 0 done; 1 the training could not go on, or `check` found something that is rejected; 2 the command, the
target or the configuration is wrong. An error of this package is one message without a traceback; an exception from
user code keeps its own. Torch is imported by the commands, not by this module, so that `--help` is quick.
"""

from __future__ import annotations

import argparse
import difflib
import importlib
import importlib.util
import os
import pathlib
import pkgutil
import re
import sys
import traceback
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from lightning_adapter.errors import ConfigurationError, LightningAdapterError, TargetError

if TYPE_CHECKING:
    from determined import pytorch

_PROGRAM = "lightning-adapter"
_UNITS = {"batch": "Batch", "batches": "Batch", "epoch": "Epoch", "epochs": "Epoch"}


class _Period(NamedTuple):
    """A period as typed; Determined's classes come with torch, so they are made only when a command runs."""

    unit: str
    number: int

    def resolve(self) -> pytorch.TrainUnit:
        from determined import pytorch

        unit: pytorch.TrainUnit = getattr(pytorch, self.unit)(self.number)
        return unit


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status.

    Args:
        argv: the words after the program's name; those of this process when None.

    Raises:
        SystemExit: `--help`, or a wrong command line (status 2), as argparse does.
    """
    arguments = _parser().parse_args(argv)
    try:
        status: int = arguments.command(arguments)
    except LightningAdapterError as error:
        print(f"{_PROGRAM}: error: {error}", file=sys.stderr)
        return 2 if isinstance(error, (ConfigurationError, TargetError)) else 1
    except KeyboardInterrupt:
        return 130
    return status


def load_target(target: str) -> type:
    """Import the class that `FILE_OR_MODULE:Class` names.

    The current directory comes first on `sys.path`, as under `python -m`; for a file, its own directory goes before it.

    Args:
        target: `path/to/model_def.py:Class`, `model_def:Class` or `package.module:Class`.

    Raises:
        TargetError: no such file, module or class, or importing it fails; the message then holds the user's own error.
    """
    place, colon, name = target.rpartition(":")
    if not (colon and place and name):
        raise TargetError(
            f"{target!r} names no class: write FILE_OR_MODULE:Class, for example model_def.py:MNISTTrial or "
            "model_def:MNISTTrial"
        )
    _put_first_on_path(os.getcwd())
    if place.endswith(".py") or os.sep in place:
        module = _import_file(pathlib.Path(place))
    else:
        module = _import_module(place)
    classes = sorted(key for key, value in vars(module).items() if isinstance(value, type))
    if name not in vars(module):
        near = difflib.get_close_matches(name, classes, n=1)
        own = [key for key in classes if vars(module)[key].__module__ == module.__name__]
        there = f"it defines {', '.join(own)}" if own else "it defines no class"
        raise TargetError(f"{place} has no {name}; {there}" + (f"; did you mean {near[0]!r}?" if near else ""))
    found = vars(module)[name]
    if not isinstance(found, type):
        raise TargetError(
            f"{target} is {found!r:.80} of type {type(found).__name__}, not a class; name the class itself, it is "
            "constructed later"
        )
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_PROGRAM, description="Train a PyTorch Lightning module as a Determined PyTorchTrial."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    fit = commands.add_parser(
        "fit",
        allow_abbrev=False,  # an entrypoint must mean the same when a later version has more options
        help="train a trial, here or on a cluster",
        description="Train a trial in this process: alone, under a launcher, or as the entrypoint of an experiment.",
    )
    fit.set_defaults(command=_fit)
    fit.add_argument("target", metavar="FILE_OR_MODULE:TrialClass", help="for example model_def.py:MNISTTrial")
    fit.add_argument("--config", metavar="FILE", help="an experiment YAML; on a cluster the cluster's own is used")
    fit.add_argument("--max-epochs", type=int, metavar="N", help="stop after N epochs")
    fit.add_argument("--max-steps", type=int, metavar="N", help="stop after N optimizer steps")
    fit.add_argument(
        "--hparam",
        action="append",
        default=[],
        type=_assignment,
        metavar="NAME=VALUE",
        help="set a hyperparameter, read as YAML; dots nest: optimizer.lr=1e-3; may be repeated",
    )
    for name, what in (("validation", "validate"), ("checkpoint", "save a checkpoint")):
        fit.add_argument(
            f"--{name}-period", type=_period, metavar="PERIOD", help=f'{what} every 100, "100 batches" or "2 epochs"'
        )
    start = fit.add_mutually_exclusive_group()
    start.add_argument(
        "--resume-from", metavar="PATH", help="continue: a checkpoint, a directory of them, or a Lightning .ckpt"
    )
    start.add_argument("--warm-start-from", metavar="PATH", help="take the weights only, and start from the beginning")
    fit.add_argument("--seed", type=int, metavar="N", help="as seed_everything(N)")
    fit.add_argument("--run-dir", metavar="DIR", help="where a local run writes; default runs/<trial>/<date-time>")

    check = commands.add_parser(
        "check",
        help="say what of a class runs, is warned about, is rejected",
        description="Look at a LightningModule, LightningDataModule, Callback or trial class without constructing it, "
        "and say what of it runs, what is warned about and what is rejected. Exit status 1 if something is rejected.",
    )
    check.set_defaults(command=_check)
    check.add_argument("target", metavar="FILE_OR_MODULE:Class", help="for example model_def.py:LitMNIST")
    return parser


def _fit(arguments: argparse.Namespace) -> int:
    from lightning_adapter.platform import experiment
    from lightning_adapter.platform.fit import fit

    trial_class = load_target(arguments.target)
    hparams = experiment.nest({name: experiment.parse_value(name, text) for name, text in arguments.hparam})
    fit(
        trial_class,
        config=arguments.config,
        hparams=hparams or None,
        max_epochs=arguments.max_epochs,
        max_steps=arguments.max_steps,
        validation_period=arguments.validation_period and arguments.validation_period.resolve(),
        checkpoint_period=arguments.checkpoint_period and arguments.checkpoint_period.resolve(),
        resume_from=arguments.resume_from,
        warm_start_from=arguments.warm_start_from,
        seed=arguments.seed,
        run_dir=arguments.run_dir,
    )
    return 0


def _check(arguments: argparse.Namespace) -> int:
    from lightning_adapter import monkey_patch, support

    cls = load_target(arguments.target)
    print(monkey_patch.report(cls))
    rejected = any(finding.support is support.Support.REJECTED for finding in monkey_patch.inspect_any(cls))
    return 1 if rejected else 0


def _assignment(text: str) -> tuple[str, str]:
    """Split `name=value`; the value is read later, as YAML."""
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise argparse.ArgumentTypeError(f"{text!r} is no assignment: write name=value, for example learning_rate=0.01")
    return name, value


def _period(text: str) -> _Period:
    """Read `100`, `100 batches` or `2 epochs`."""
    match = re.fullmatch(r"\s*(\d+)\s*([a-z]*)\s*", text, re.IGNORECASE)
    unit = (match[2].lower() or "batches") if match else ""
    if not match or unit not in _UNITS or int(match[1]) < 1:
        raise argparse.ArgumentTypeError(
            f'{text!r} is no period: write a number of batches such as 100, or "100 batches", or "2 epochs"'
        )
    return _Period(_UNITS[unit], int(match[1]))


def _put_first_on_path(directory: str) -> None:
    if sys.path[:1] != [directory]:
        sys.path.insert(0, directory)


def _import_file(path: pathlib.Path) -> ModuleType:
    """Import a file under its own name, so that pickled objects and its neighbours find it by that name."""
    if not path.is_file():
        folder = path.parent
        near = [p.name for p in folder.glob("*.py")] if folder.is_dir() else []
        guess = difflib.get_close_matches(path.name, near, n=1)
        raise TargetError(
            f"{path} is {'a directory' if path.is_dir() else 'not there'} (looked in {folder.resolve()}); "
            "give a Python file" + (f"; did you mean {str(folder / guess[0])!r}?" if guess else "")
        )
    path = path.resolve()
    name = path.stem
    _put_first_on_path(str(path.parent))
    loaded = sys.modules.get(name)
    if loaded is not None:
        if getattr(loaded, "__file__", None) and pathlib.Path(str(loaded.__file__)).resolve() == path:
            return loaded
        raise TargetError(
            f"{path} cannot be imported under its name: a module {name!r} is loaded already, from "
            f"{getattr(loaded, '__file__', None) or 'Python itself'}; rename the file"
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
        raise TargetError(_import_failure(str(path), error) + hint) from error
    return module


def _import_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise TargetError(
            f"{name!r} is no module name; for a file, write its path with .py: path/to/model_def.py:Class"
        )
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # The target itself is missing, as opposed to something that it imports.
        if error.name is not None and (name == error.name or name.startswith(f"{error.name}.")):
            raise TargetError(_no_module(name, error.name)) from None
        raise TargetError(_import_failure(name, error)) from error
    except (Exception, SystemExit) as error:
        raise TargetError(_import_failure(name, error)) from error


def _no_module(name: str, missing: str) -> str:
    parent, _, last = missing.rpartition(".")
    folders = list(getattr(sys.modules.get(parent), "__path__", [])) if parent else [os.getcwd()]
    guess = difflib.get_close_matches(last, [module.name for module in pkgutil.iter_modules(folders)], n=1)
    meant = f"{parent}.{guess[0]}" if guess and parent else guess[0] if guess else ""
    where = f"in the package {parent}" if parent else f"in the current directory {os.getcwd()}, nor installed"
    return f"{name}: there is no module {missing!r} {where}" + (f"; did you mean {meant!r}?" if meant else "")


def _import_failure(what: str, error: BaseException) -> str:
    """Say what went wrong in the user's code, with the user's frames and without those of the import system."""
    report = traceback.TracebackException.from_exception(error)
    frames = [
        f
        for f in report.stack
        if f.filename not in (__file__, importlib.__file__) and not f.filename.startswith("<frozen ")
    ]
    report.stack = traceback.StackSummary.from_list(frames)
    reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, ModuleNotFoundError) and error.name:
        reason = f"it imports {error.name!r}, which is not installed and not on the path"
    elif isinstance(error, SystemExit):
        reason = 'it calls sys.exit() while it is imported; put that below `if __name__ == "__main__":`'
    return f"{what} cannot be imported: {reason}\n\n{''.join(report.format()).rstrip()}"
