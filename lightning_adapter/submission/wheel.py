"""How does the container get exactly this version of the package?

What was installed from an index can be installed from there again. Anything else (a checkout, an editable install, an
archive, a repository) is packed as it runs here, so that the container trains with the same code.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import io
import pathlib
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass

from lightning_adapter.errors import ConfigurationError

_NAME = "lightning-adapter"
#: Entries of an archive bear a time; that of the file would make each wheel another one.
_TIME = (1980, 1, 1, 0, 0, 0)
_WHEEL = "Wheel-Version: 1.0\nGenerator: lightning-adapter submit\nRoot-Is-Purelib: true\nTag: py3-none-any\n"


@dataclass(frozen=True)
class Package:
    """This package, as it runs.

    Attributes:
        release: its version.
        folder: where its modules are.
    """

    release: str
    folder: pathlib.Path

    def is_from_index(self) -> bool:
        """Tell whether it was installed from an index, under the version that it has.

        `direct_url.json` is written by every installer for all that comes from elsewhere (PEP 610).
        """
        found = _distribution()
        if found is None or found.metadata["Version"] != self.release or found.read_text("direct_url.json") is not None:
            return False
        return pathlib.Path(str(found.locate_file(self.folder.name))).resolve() == self.folder.resolve()

    def build_wheel(self) -> tuple[str, bytes]:
        """Pack it; the same files give the same wheel.

        Returns:
            The name of the file, and what it holds.

        Raises:
            ConfigurationError: it was never installed, so that nothing says what it requires.
        """
        found = _distribution()
        metadata = None if found is None else found.read_text("METADATA")
        if found is None or metadata is None or found.metadata["Version"] != self.release:
            installed = "is not installed" if found is None else f"is installed as version {found.version}"
            raise ConfigurationError(
                f"{_NAME} {self.release} runs from {self.folder}, and {installed}, so that nothing says what it requires. To "
                f"fix, install it: pip install -e {self.folder.parent}"
            )
        info = f"lightning_adapter-{self.release}.dist-info"
        entries = {
            **dict(self._files()),
            f"{info}/METADATA": metadata.encode(),
            f"{info}/WHEEL": _WHEEL.encode(),
            f"{info}/entry_points.txt": (found.read_text("entry_points.txt") or "").encode(),
        }
        record = "".join(f"{name},sha256={_digest(content)},{len(content)}\n" for name, content in entries.items())
        entries[f"{info}/RECORD"] = f"{record}{info}/RECORD,,\n".encode()
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
            for name, content in entries.items():
                entry = zipfile.ZipInfo(name, _TIME)
                entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
                file.writestr(entry, content)
        return f"lightning_adapter-{self.release}-py3-none-any.whl", archive.getvalue()

    def _files(self) -> Iterator[tuple[str, bytes]]:
        for path in sorted(self.folder.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts and path.suffix in (".py", ".typed"):
                yield path.relative_to(self.folder.parent).as_posix(), path.read_bytes()


def _distribution() -> importlib.metadata.Distribution | None:
    try:
        return importlib.metadata.distribution(_NAME)
    except importlib.metadata.PackageNotFoundError:
        return None


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
