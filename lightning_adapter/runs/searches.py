"""Is a run one of a search on this machine, and can that search still go on?"""

from __future__ import annotations

import pathlib

from lightning_adapter.runs import json_file

#: What was asked of a search and how far it is, in its directory, in which its trials' run directories lie too.
SEARCH = "search.json"
FINISHED = "finished"


def may_go_on(run: pathlib.Path) -> bool:
    """Return whether a run belongs to a search that has not come to its end, and needs the runs that it has."""
    try:
        found = json_file.read(run.resolve().parent / SEARCH)
    except FileNotFoundError:
        return False
    except (OSError, ValueError):  # nobody knows
        return True
    return not (isinstance(found, dict) and found.get("status") == FINISHED)
