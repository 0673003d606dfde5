"""How does the support table read as the page docs/support.md?"""

from __future__ import annotations

from collections.abc import Iterable

from lightning_adapter.support import trainer_arguments
from lightning_adapter.support.row import OWNERS, Row, Support
from lightning_adapter.support.table import rows

_INTRODUCTION = """\
# What is supported

<!-- Generated from lightning_adapter/support/table.py by: python -m lightning_adapter.support > docs/support.md -->

Every public hook, method and property of `LightningModule`, `LightningDataModule` and `Callback`, and every argument of
`Trainer`, in Lightning 1.9 to 2.6; beside them the hooks and arguments of Lightning 1.5 to 1.8 that code of that time
still uses. They are the same in `pytorch_lightning` and `lightning.pytorch`.
`lightning-adapter check FILE_OR_MODULE:Class` prints the rows that a class of yours meets.

- **supported**: as in Lightning.
- **warned**: accepted and without effect; said once.
- **rejected**: an error before training starts, which names all that is rejected.

The column *Lightning* says which versions have the name (`all`: 1.5 to 2.6). Hooks of Lightning 1.x are treated as the
table says with every installed version, also one that no longer has them. A row `hook(parameter)` is about an override
of the hook that takes this parameter. Where the value of an argument matters, the row says so: Lightning's own default of
an argument is taken also where another value is rejected.
"""


def render_markdown() -> str:
    """The table as the text of `docs/support.md`; it does not depend on which Lightning is installed."""
    lines = [_INTRODUCTION]
    for owner in OWNERS:
        counts = [f"{sum(row.support is support for row in rows(owner))} {support.value}" for support in Support]
        lines += [f"## {owner}", "", ", ".join(counts) + ".", ""]
        lines += _markdown_table(rows(owner))
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _markdown_table(some: Iterable[Row]) -> list[str]:
    # Cells are not padded: with padding one longer reason would rewrite every line of the file.
    lines = ["| Name | Kind | Lightning | Treatment | Why, and what to do instead |", "| --- | --- | --- | --- | --- |"]
    for row in some:
        parts = (row.reason, row.instead and f"Instead, {row.instead}", _accepted(row))
        note = ". ".join(part for part in parts if part)
        note = note[:1].upper() + note[1:] + "." if note else ""
        cells = (f"`{row.name}`", row.kind, _versions(row), row.support.value, note.replace("|", "\\|"))
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _accepted(row: Row) -> str:
    """Which values of an argument that is not supported are taken all the same."""
    if row.kind != "argument" or row.owner != "Trainer argument" or row.support is Support.SUPPORTED:
        return ""
    job = ["what the job has"] if trainer_arguments.may_agree(row) else []
    return "Accepted: " + ", ".join([*(f"`{value!r}`" for value in row.accepted), *job])


def _versions(row: Row) -> str:
    bounds = [f">={row.since}" if row.since else "", f"<{row.until}" if row.until else ""]
    return ", ".join(filter(None, bounds)) or "all"
