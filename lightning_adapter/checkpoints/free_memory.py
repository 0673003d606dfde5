"""How much memory may this process still take?

What the machine has free, and what the control groups leave that the process is in: those of a container or of a batch
system may allow far less than the machine has.
"""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import psutil

_MOUNT = pathlib.Path("/sys/fs/cgroup")
#: Of a control group, in its second form and in its first: its limit, what its processes have, and which line of
#: `memory.stat` says how much of that are files that make room for others.
_SECOND = ("memory.max", "memory.current", "inactive_file")
_FIRST = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")


def free_memory(mount: pathlib.Path = _MOUNT, mine: pathlib.Path = pathlib.Path("/proc/self/cgroup")) -> int:
    """Bytes; of the machine alone where it has no control groups.

    Args:
        mount: of the control groups.
        mine: names those that the process is in.
    """
    return min([int(psutil.virtual_memory().available), *_left_by_groups(mount, mine)])


def _left_by_groups(mount: pathlib.Path, mine: pathlib.Path) -> Iterator[int]:
    try:
        lines = mine.read_text(encoding="utf-8").splitlines()
    except OSError:  # another system than Linux
        return
    for line in lines:
        _, kinds, path = line.split(":", 2)
        if not kinds:
            root, names = mount, _SECOND
        elif "memory" in kinds.split(","):
            root, names = mount / "memory", _FIRST
        else:
            continue
        # a container may see the name that its group has outside of it, where there is no such directory
        group = root / path.strip("/")
        while group.is_relative_to(root):
            left = _left(group, *names)
            if left is not None:
                yield left
            group = group.parent


def _left(group: pathlib.Path, limit: str, used: str, files: str) -> int | None:
    """What a control group leaves; None where it sets no limit."""
    try:
        most, taken = (group / limit).read_text(encoding="utf-8").strip(), (group / used).read_text(encoding="utf-8")
        if most == "max":
            return None
        stat = dict(line.split(" ", 1) for line in (group / "memory.stat").read_text(encoding="utf-8").splitlines())
    except OSError:
        return None
    return max(0, int(most) - int(taken) + int(stat.get(files, 0)))
