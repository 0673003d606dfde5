"""`lightning-adapter runs prune`: what would go, why does the rest stay, and what is gone?"""

from __future__ import annotations

import datetime
import pathlib
import sys

from lightning_adapter.cli import runs_text
from lightning_adapter.cli.tables import Column, fitted, terminal_width
from lightning_adapter.runs import pruning, room
from lightning_adapter.runs.pruning import Plan


def run(plan: Plan, root: pathlib.Path, yes: bool) -> int:
    """Say what a plan is, and carry it out where that is wanted; return the exit status: 1 where something could not go.

    Args:
        plan: what may go.
        root: the directory that runs lie in.
        yes: whether to delete.
    """
    gain = runs_text.size(room.freed_without(plan.directories))
    print(_told(plan, root), flush=True)
    if not plan.directories:
        return 0
    if not yes:
        print(f"\nThat would give {gain} of room. Nothing is deleted yet: add --yes.", flush=True)
        return 0
    stuck = [f"{one.label} stays: {reason}" for one in plan.superfluous if (reason := pruning.remove(one)) is not None]
    gone = len(plan.superfluous) - len(stuck)
    stuck += [reason for path in plan.leftovers if (reason := pruning.delete(path)) is not None]
    for line in stuck:
        print(line, file=sys.stderr)
    result = f"{gone} {'run is' if gone == 1 else 'runs are'} deleted"
    print(f"\n{result}." if stuck else f"\n{result}, {gain} of room are free.", flush=True)
    return 1 if stuck else 0


def _told(plan: Plan, root: pathlib.Path) -> str:
    parts = []
    width, now = terminal_width(), datetime.datetime.now().astimezone()
    if plan.superfluous:
        parts.append("may go:\n" + runs_text.prunable(plan.superfluous, width, now))
    for path in plan.leftovers:
        parts.append(f"left half deleted by an earlier prune: {path} ({runs_text.size(room.freed_without([path]))})")
    if plan.kept:
        columns = [
            Column("run", [one.label for one, _ in plan.kept], is_path=True, least=21),
            Column("why", [reason for _, reason in plan.kept], least=40),
        ]
        parts.append("stay:\n" + fitted(columns, width).text)
    if not plan.directories:
        parts.append(f"No run below {root} may go." if plan.kept else f"No runs below {root}.")
    return "\n\n".join(parts)
