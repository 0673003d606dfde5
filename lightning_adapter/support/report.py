"""How does a report on one class read, as `lightning-adapter check` prints it?"""

from __future__ import annotations

from collections.abc import Iterable

from lightning_adapter.support.overrides import TRIAL, Finding, inspect_class, overridden_methods, owner_of
from lightning_adapter.support.row import Support

_STATUS = {Support.REJECTED: "rejected", Support.WARNED: "warned", Support.SUPPORTED: "runs"}


def report(cls: type) -> str:
    """What of a module, datamodule, callback or trial class runs, is warned about, is rejected, and why: a text table.

    Raises:
        TargetError: if `cls` is none of them.
    """
    owner = owner_of(cls)
    if owner == TRIAL:
        return _report_trial(cls)
    findings = inspect_class(cls, owner)
    counts = {status: sum(f.support is treatment for f in findings) for treatment, status in _STATUS.items()}
    lines = [f"{cls.__name__} ({owner}): " + ", ".join(f"{count} {status}" for status, count in counts.items())]
    if findings:
        ordered = [finding for treatment in _STATUS for finding in findings if finding.support is treatment]
        lines += ["", _table(("name", "treatment", "why, and what to do"), (_cells(cls, f) for f in ordered))]
    else:
        lines += ["", f"Nothing of {owner} is overridden outside Lightning itself."]
    if owner == "LightningModule":
        lines += ["", "What __init__ assigns (truncated_bptt_steps, a hook) is looked at when training starts."]
    return "\n".join(lines)


def _report_trial(cls: type) -> str:
    methods = overridden_methods(cls)
    lines = [f"{cls.__name__} ({TRIAL}): {len(methods)} of the trial's own methods overridden"]
    if methods:
        cells = ((name, f"{definer.__module__}.{definer.__qualname__}") for name, definer in methods)
        lines += ["", _table(("name", "defined in"), cells)]
    lines += [
        "",
        "Which module, datamodule and callbacks a trial trains is known once it is constructed, and a check does not "
        "construct it.",
        "To see what of them is supported, check their classes.",
    ]
    return "\n".join(lines)


def _cells(cls: type, finding: Finding) -> tuple[str, str, str]:
    # The first column and the title say already which name of which class was found.
    note = finding.message.removeprefix(f"{cls.__name__} ").removeprefix(f"overrides {finding.name}: ")
    return finding.name, _STATUS[finding.support], note


def _table(headers: tuple[str, ...], cells: Iterable[tuple[str, ...]]) -> str:
    from tabulate import tabulate  # not before there is a table: every training imports this file

    widths = [None] * (len(headers) - 1) + [72]
    table: str = tabulate(list(cells), headers=headers, tablefmt="simple", maxcolwidths=widths)
    return table
