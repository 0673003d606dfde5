"""Which hyperparameters does the code of a trial read by name, where it declares none?"""

from __future__ import annotations

import ast
import inspect
import textwrap

_READS = ("get_hparam", "get_hparams")


def names_read(trial_class: type) -> dict[str, int]:
    """Return the names that are written in `get_hparam("name")` or `get_hparams()["name"]`, each with its line in the file.

    Those that other code reads, or that are not written as text, are not among them.
    """
    try:
        lines, first = inspect.getsourcelines(trial_class)
        tree = ast.parse(textwrap.dedent("".join(lines)))
    except (OSError, SyntaxError, TypeError):  # no file, as of a class that was typed at a prompt
        return {}
    found: dict[str, int] = {}
    for node in ast.walk(tree):
        name = _name(node)
        if name is not None:
            found.setdefault(name, first - 1 + getattr(node, "lineno", 1))
    return dict(sorted(found.items(), key=lambda item: item[1]))


def reads_batch_size(trial_class: type) -> bool:
    """Tell whether the code asks for its share of `global_batch_size`."""
    try:
        return "batch_size(" in inspect.getsource(trial_class)
    except (OSError, TypeError):
        return False


def _name(node: ast.AST) -> str | None:
    """The text in `context.get_hparam("x")`, or in `context.get_hparams()["x"]`."""
    if isinstance(node, ast.Call) and _called(node) == "get_hparam" and node.args:
        return _text(node.args[0])
    if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Call) and _called(node.value) == "get_hparams":
        return _text(node.slice)
    return None


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) and node.func.attr in _READS else ""


def _text(node: ast.expr) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None
