"""How is the project sent with files beside it that it does not have, and without a change to those that it has?"""

from __future__ import annotations

import contextlib
import pathlib
import tempfile
from collections.abc import Iterator, Mapping

from lightning_adapter.submission import hook
from lightning_adapter.submission.context import Context


@contextlib.contextmanager
def staged(context: Context, made: Mapping[str, bytes]) -> Iterator[pathlib.Path]:
    """Make a directory that looks like the project with the generated files in it, until the block ends.

    It holds links to the project's files, which Determined reads through.

    Args:
        context: the project.
        made: path -> content of what is generated; it wins over the project's own.
    """
    with tempfile.TemporaryDirectory(prefix="lightning_adapter_") as folder:
        root = pathlib.Path(folder)
        for name in context.directories:
            (root / name).mkdir(parents=True)
        for name in own_files(context, made):
            (root / name).symlink_to(context.root / name)
        for name, content in made.items():
            path = root / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        yield root


def faults_of(context: Context, made: Mapping[str, bytes]) -> list[str]:
    """Say what of the project stands where something is generated, and is none of a kind that could make way for it.

    Args:
        context: the project.
        made: as for `staged`.
    """
    folders = {name.partition("/")[0] for name in made if "/" in name}
    found = [f"a directory {name}, under whose name a file is sent" for name in context.directories if name in made]
    found += [f"a file {name}, under whose name a directory is sent" for name in context.files if name in folders]
    return [f"the context {context.root} has {what}. To fix, rename it, or name it in .detignore" for what in found]


def own_files(context: Context, made: Mapping[str, bytes]) -> dict[str, int]:
    """Return the project's files that are sent as they are: path -> bytes."""
    # what an earlier submission had generated comes back with the code of an experiment that was downloaded
    generated = f"{hook.FOLDER}/"
    return {name: size for name, size in context.files.items() if name not in made and not name.startswith(generated)}
