"""Where do the digits come from? A directory you name, a download, or the 10,000 digits beside this file.

The first of these that applies is used:

1. The directory given as `data_dir`, or in the environment variable MNIST_DIR. Nothing else is tried when one is named.
2. The full MNIST, downloaded once into a cache directory and verified. The environment variable MNIST_URL names a
   mirror of your own.
3. Where no mirror can be reached: `digits/`, 8,500 real digits to train on and 1,500 to validate on, with a warning.

A directory holds MNIST's four gzipped IDX files under their usual names (the keys of `SHA256`). The `train-*` files are
trained on, all of them; the `t10k-*` files are the validation set.
"""

from __future__ import annotations

import contextlib
import difflib
import gzip
import hashlib
import logging
import math
import os
import tempfile
import zlib
from pathlib import Path

import numpy as np
import requests
import torch
from torch.utils.data import TensorDataset

EMBEDDED = Path(__file__).resolve().parent / "digits"
MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
SHA256 = {  # of the uncompressed content, since mirrors compress differently
    "train-images-idx3-ubyte.gz": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte.gz": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte.gz": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte.gz": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}
TIMEOUT = (3.05, 15)  # seconds to connect, seconds between two pieces of the answer
MEAN, STD = 0.1307, 0.3081  # of the pixels of MNIST's training images, scaled to 0..1

logger = logging.getLogger(__name__)


class DigitsError(RuntimeError):
    """The digits cannot be had from the source that applies; the message says why and what to do."""


class MirrorUnreachableError(DigitsError):
    """No mirror answered, which is what a machine without network sees."""


def fetch(data_dir: str | Path | None = None) -> Path:
    """Make sure that the digits are on this machine; called once per node, before any process calls `load`.

    Args:
        data_dir: A directory with the four files; None for the environment variable MNIST_DIR, a download, or the
            embedded digits.

    Returns:
        The directory that `load` will read.

    Raises:
        DigitsError: Files are missing from the directory that was named, or a mirror sent something else than MNIST.
    """
    named = _named_directory(data_dir)
    if named is not None:
        return named
    cache = cache_directory()
    try:
        for name in SHA256:
            if not _is_intact(cache / name):
                _download(name, cache)
    except MirrorUnreachableError as error:
        logger.warning(
            "MNIST could not be downloaded, so this run uses the embedded digits in %s: 8,500 to train on and 1,500 to "
            "validate on, instead of 60,000 and 10,000. Accuracy will be lower. To use all of them, set MNIST_DIR to a "
            "directory that holds %s. (%s)",
            EMBEDDED,
            ", ".join(SHA256),
            error,
        )
        return EMBEDDED
    return cache


def load(data_dir: str | Path | None = None) -> tuple[TensorDataset, TensorDataset]:
    """Read the digits that `fetch` made available; called in every process.

    Args:
        data_dir: As for `fetch`.

    Returns:
        The training set and the validation set. A sample is a float32 image of shape (1, 28, 28), normalised with
        MNIST's mean and standard deviation, and an int64 label from 0 to 9.

    Raises:
        DigitsError: A file is missing or is not what its name says.
    """
    directory = _named_directory(data_dir)
    if directory is None:
        cache = cache_directory()
        directory = cache if all((cache / name).is_file() for name in SHA256) else EMBEDDED
    return _read_pair(directory, "train"), _read_pair(directory, "t10k")


def cache_directory() -> Path:
    """Return the directory that downloaded files are kept in; it need not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lightning_adapter_mnist"


def _named_directory(data_dir: str | Path | None) -> Path | None:
    """Return the directory that the user named, checked for the four files; None if none was named."""
    named = data_dir or os.environ.get("MNIST_DIR")
    if not named:
        return None
    directory = Path(named).expanduser()
    source = "data_dir" if data_dir else "the environment variable MNIST_DIR"
    if not directory.is_dir():
        raise DigitsError(
            f"{source} names {str(directory)!r}, which is not a directory. Name one that holds {', '.join(SHA256)}, or "
            "name none to have MNIST downloaded."
        )
    present = sorted(path.name for path in directory.iterdir())
    missing = []
    for name in SHA256:
        if name not in present:
            # Uncompressed files, and names with a dot for a dash, are common.
            near = difflib.get_close_matches(name, present, n=1, cutoff=0.8)
            missing.append(f"{name} (found {near[0]})" if near and near[0] not in SHA256 else name)
    if missing:
        raise DigitsError(
            f"{source} names {str(directory)!r}, where these files are missing: {', '.join(missing)}. The four files "
            f"must be gzipped and named {', '.join(SHA256)}; rename or gzip what is there, or name no directory to "
            "have MNIST downloaded."
        )
    return directory


def _is_intact(path: Path) -> bool:
    """Return whether a cached file is there and is MNIST's; remove it if it is something else."""
    if not path.is_file():
        return False
    if _sha256(path) == SHA256[path.name]:
        return True
    logger.warning("%s is not MNIST's file (wrong SHA-256); it is removed and downloaded again.", path)
    path.unlink()
    return False


def _sha256(path: Path) -> str | None:
    """Return the SHA-256 of a gzip file's uncompressed content, None if it is no gzip file or a torn one."""
    digest = hashlib.sha256()
    try:
        with gzip.open(path) as file:
            # In pieces: a file that unpacks to something huge must not fill the memory before it is found wrong.
            while piece := file.read(1 << 20):
                digest.update(piece)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        return None
    return digest.hexdigest()


def _download(name: str, cache: Path) -> None:
    """Bring one file into the cache, whole and verified or not at all."""
    own_mirror = os.environ.get("MNIST_URL")
    unreachable, wrong = [], []
    for base in [own_mirror] if own_mirror else MIRRORS:
        url = f"{base.rstrip('/')}/{name}"
        try:
            response = requests.get(url, timeout=TIMEOUT)
            response.raise_for_status()
            content = response.content
        except requests.RequestException as error:
            if own_mirror and not isinstance(error, (requests.ConnectionError, requests.Timeout)):
                raise DigitsError(
                    f"MNIST_URL is {own_mirror!r}, but {url} cannot be downloaded: {error}. Set it to the address "
                    f"under which {', '.join(SHA256)} are found, or unset it to use the public mirrors."
                ) from error
            unreachable.append(f"{url}: {error}")
            continue
        if _store(content, cache / name):
            return
        wrong.append(url)
    if wrong:
        raise DigitsError(
            f"What {' and '.join(wrong)} sent is not MNIST's {name} (wrong SHA-256), so it was not used. A proxy or a "
            "login page may have answered instead. Set MNIST_DIR to a directory that holds the files, or to "
            f"{str(EMBEDDED)!r} to train on the embedded digits."
        )
    raise MirrorUnreachableError("; ".join(unreachable))


def _store(content: bytes, path: Path) -> bool:
    """Write a downloaded file beside its place and move it there; return False if it is not MNIST's file."""
    if not content.startswith(b"\x1f\x8b"):
        # Servers that declare the compression as the transfer's (Content-Encoding) have it undone on the way.
        content = gzip.compress(content, mtime=0)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        if _sha256(Path(aside)) != SHA256[path.name]:
            return False
        os.replace(aside, path)
        return True
    finally:
        with contextlib.suppress(FileNotFoundError):  # it was moved into place
            os.unlink(aside)


def _read_pair(directory: Path, part: str) -> TensorDataset:
    """Read the images and labels of one part ("train" or "t10k")."""
    images_path = directory / f"{part}-images-idx3-ubyte.gz"
    labels_path = directory / f"{part}-labels-idx1-ubyte.gz"
    images, labels = _read_idx(images_path), _read_idx(labels_path)
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise DigitsError(f"{images_path} holds an array of shape {images.shape}; images of 28 by 28 are expected.")
    if labels.shape != images.shape[:1]:
        raise DigitsError(f"{labels_path} holds labels of shape {labels.shape} for {len(images)} images.")
    if not len(labels) or labels.max() > 9:
        raise DigitsError(f"{labels_path} must hold at least one label, and only 0 to 9.")
    scaled = torch.from_numpy(images.astype(np.float32)).unsqueeze(1)
    scaled.div_(255).sub_(MEAN).div_(STD)
    return TensorDataset(scaled, torch.from_numpy(labels.astype(np.int64)))


def _read_idx(path: Path) -> np.ndarray:
    """Read a gzipped IDX file of unsigned bytes: two zeros, type 8, the number of dimensions, their sizes, the data."""
    try:
        content = gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DigitsError(f"{path} is not a whole gzip file: {error}.") from error
    if len(content) < 4 or content[:3] != b"\x00\x00\x08":
        raise DigitsError(
            f"{path} is not an IDX file of unsigned bytes: it begins with {content[:4].hex() or 'nothing'}."
        )
    start = 4 + 4 * content[3]
    shape = tuple(np.frombuffer(content[4:start], dtype=">u4").tolist())
    if len(content) - start != math.prod(shape):
        raise DigitsError(f"{path} announces an array of shape {shape} but holds {len(content) - start} bytes.")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
