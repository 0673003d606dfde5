"""What of the trial's code is put into a checkpoint on a cluster, and what is too large for it?

Nothing reads it there again: a resume has the experiment's own copy. It is for who gets a checkpoint without its
experiment. So data that lies beside the code, which a submission ships too, has no place in each of them.
"""

from __future__ import annotations

import logging
import math
import os
import pathlib
import shutil
from collections.abc import Collection, Mapping
from typing import NamedTuple

from determined import pytorch

from lightning_adapter.platform.size_limit import MB, largest, limit_mb
from lightning_adapter.versions import determined_private

logger = logging.getLogger("lightning_adapter")

#: Set it under `environment.environment_variables` of the experiment.
LIMIT = "LIGHTNING_ADAPTER_CODE_LIMIT_MB"
_DEFAULT_MB = 1.0


class Size(NamedTuple):
    """How much a file or a directory holds.

    Attributes:
        size: bytes.
        files: 1 for a file.
        has_code: whether there is a Python file in it.
    """

    size: int
    files: int
    has_code: bool


class UserCode:
    """The trial's code as checkpoints get it.

    Args:
        directory: the experiment's copy of the code.
        limit_mb: what is larger is left out: a file, or a directory without a Python file in it.
    """

    def __init__(self, directory: pathlib.Path, limit_mb: float = _DEFAULT_MB) -> None:
        self._directory = directory
        self._limit_mb = limit_mb
        self._left_out: Mapping[str, Size] | None = None  # known when the first checkpoint is written

    @classmethod
    def of_experiment(cls) -> UserCode:
        """The code of the experiment whose trial this process is, with the limit that its environment sets.

        Raises:
            ConfigurationError: the limit is no number of megabytes.
        """
        return cls(determined_private.user_code_directory(), limit_mb(os.environ, LIMIT, _DEFAULT_MB))

    def write(self, checkpoint: pathlib.Path) -> None:
        """Put the code below `code/` of a checkpoint's directory; what is left out of all of them is named once."""
        left_out = self._found()

        def ignored(folder: str, names: list[str]) -> Collection[str]:
            return {name for name in names if os.path.relpath(os.path.join(folder, name), self._directory) in left_out}

        # as `util.write_user_code` of Determined, which takes everything
        shutil.copytree(self._directory, checkpoint / "code", ignore=ignored)
        (checkpoint / "code").chmod(0o755)

    def trim(self, checkpoint: pathlib.Path) -> None:
        """Take what is too large out of the copy that Determined's own Trainer has just put into a checkpoint."""
        for name in self._found():
            path = checkpoint / "code" / name
            if path.is_dir():
                shutil.rmtree(path)
            elif path.exists():
                path.unlink()

    def _found(self) -> Mapping[str, Size]:
        if self._left_out is None:
            self._left_out = too_large(self._directory, self._limit_mb * MB)
            if self._left_out:
                self._tell(self._left_out)
        return self._left_out

    def _tell(self, left_out: Mapping[str, Size]) -> None:
        logger.info(
            "checkpoints hold the code without what is larger than %g MB: %s. To keep it, set %s under "
            "environment.environment_variables; a .detignore keeps it from being shipped at all",
            self._limit_mb,
            largest({name: (size.size, size.files) for name, size in left_out.items()}),
            LIMIT,
        )


class TrimmedCode(pytorch.PyTorchCallback):
    """Keeps out of the checkpoints of Determined's own Trainer, which takes all of the code, what is too large.

    Args:
        code: of the experiment.
    """

    def __init__(self, code: UserCode) -> None:
        self._code = code

    def on_checkpoint_write_end(self, checkpoint_dir: str) -> None:
        """The chief has written a checkpoint, which is not reported yet."""
        self._code.trim(pathlib.Path(checkpoint_dir))


def too_large(directory: pathlib.Path, limit: float) -> dict[str, Size]:
    """Find what is larger than a limit in bytes: files, and directories without a Python file in them.

    Returns:
        Path below the directory -> size; of a directory that is left out nothing else is named.
    """
    found: dict[str, Size] = {}
    if limit < math.inf:
        _measure(str(directory), limit, found, set())
    return {os.path.relpath(path, directory): size for path, size in found.items()}


def _measure(directory: str, limit: float, found: dict[str, Size], around: set[str]) -> Size:
    """Size of a directory; adds what is too large below it to `found`."""
    real = os.path.realpath(directory)
    if real in around:  # a link to a directory that it lies in
        return Size(0, 0, has_code=False)
    sizes = []
    with os.scandir(directory) as entries:
        for entry in entries:
            if entry.is_dir():
                inner: dict[str, Size] = {}
                size = _measure(entry.path, limit, inner, around | {real})
                if size.size > limit and not size.has_code:
                    inner = {entry.path: size}
                found.update(inner)
            elif entry.is_file():
                size = Size(entry.stat().st_size, 1, has_code=entry.name.endswith(".py"))
                if size.size > limit:
                    found[entry.path] = size
            else:
                continue
            sizes.append(size)
    return Size(
        sum(each.size for each in sizes), sum(each.files for each in sizes), any(each.has_code for each in sizes)
    )
