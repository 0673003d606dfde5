"""Do the MNIST example's files hold together: the digits' sources, the YAMLs, the startup hook, the two scripts?"""

from __future__ import annotations

import ast
import difflib
import gzip
import hashlib
import http.server
import importlib.util
import os
import re
import shlex
import shutil
import struct
import subprocess
import sys
import threading
import venv
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import packaging
import pytest
import torch
import yaml
from determined.launch import horovod, torch_distributed

from lightning_adapter.platform import experiment

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "mnist"
NAMED_MNIST = os.environ.get("MNIST_DIR", "")
YAMLS = sorted(path.name for path in EXAMPLE.glob("*.yaml"))
TRAIN_IMAGES, TRAIN_LABELS = "train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"
T10K_IMAGES, T10K_LABELS = "t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


def idx(array: np.ndarray) -> bytes:
    """Return the array as an uncompressed IDX file."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def names_full_mnist() -> bool:
    """Return whether MNIST_DIR names MNIST itself; it may also name the embedded digits."""
    path = Path(NAMED_MNIST) / TRAIN_LABELS
    return bool(NAMED_MNIST) and path.is_file() and len(gzip.decompress(path.read_bytes())) == 60008


def small_mnist() -> dict[str, bytes]:
    """Return the four files of a set of six training and three validation images, gzipped."""
    images = np.random.default_rng(0).integers(0, 256, (9, 28, 28), dtype=np.uint8)
    images[0, 0, :2] = 0, 255
    labels = np.arange(9, dtype=np.uint8)
    parts = {TRAIN_IMAGES: images[:6], TRAIN_LABELS: labels[:6], T10K_IMAGES: images[6:], T10K_LABELS: labels[6:]}
    return {name: gzip.compress(idx(array), mtime=0) for name, array in parts.items()}


def write(directory: Path, files: dict[str, bytes]) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (directory / name).write_bytes(content)
    return directory


@pytest.fixture
def mnist_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The example's module, fresh, with no digits named, an empty cache and no mirror but what a test sets."""
    spec = importlib.util.spec_from_file_location("mnist_data", EXAMPLE / "mnist_data.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.delenv("MNIST_DIR", raising=False)
    monkeypatch.delenv("MNIST_URL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "MIRRORS", ())
    return module


class Mirror:
    """A web server on loopback: `answers` maps a path to (status, body, headers), `asked` lists the paths asked for."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes, dict[str, str]]] = {}
        self.asked: list[str] = []
        mirror = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                mirror.asked.append(self.path)
                status, body, headers = mirror.answers.get(self.path, (404, b"not here", {}))
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/"

    def serve(self, files: dict[str, bytes], prefix: str = "/", headers: dict[str, str] | None = None) -> str:
        """Answer with these files below the prefix; return the address to give as a mirror."""
        self.answers.update({prefix + name: (200, body, headers or {}) for name, body in files.items()})
        return self.url.rstrip("/") + prefix


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    mirror = Mirror()
    thread = threading.Thread(target=mirror.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield mirror
    mirror.server.shutdown()
    mirror.server.server_close()
    thread.join()


@pytest.fixture
def small(mnist_data: ModuleType, monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """A small set in MNIST's place: what is downloaded must be it."""
    files = small_mnist()
    hashes = {name: hashlib.sha256(gzip.decompress(content)).hexdigest() for name, content in files.items()}
    monkeypatch.setattr(mnist_data, "SHA256", hashes)
    return files


def closed_port() -> str:
    """Return an address at which nobody listens."""
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        return f"http://127.0.0.1:{server.server_port}/"


# A directory that the user names


def test_named_directory_is_read_and_normalised(mnist_data: ModuleType, tmp_path: Path) -> None:
    directory = write(tmp_path / "here", small_mnist())
    assert mnist_data.fetch(directory) == directory
    train, validation = mnist_data.load(str(directory))
    images, labels = train.tensors
    assert (images.shape, images.dtype) == ((6, 1, 28, 28), torch.float32)
    assert (labels.tolist(), labels.dtype) == ([0, 1, 2, 3, 4, 5], torch.int64)
    assert validation.tensors[1].tolist() == [6, 7, 8]
    expected = torch.tensor([(0 - 0.1307) / 0.3081, (1 - 0.1307) / 0.3081])
    torch.testing.assert_close(images[0, 0, 0, :2], expected)


def test_environment_variable_names_directory_and_argument_wins(
    mnist_data: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from_variable, from_argument = write(tmp_path / "a", small_mnist()), write(tmp_path / "b", small_mnist())
    monkeypatch.setenv("MNIST_DIR", str(from_variable))
    assert mnist_data.fetch() == from_variable
    assert mnist_data.fetch(from_argument) == from_argument


def test_named_directory_that_is_absent_raises(mnist_data: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(mnist_data.DigitsError, match="data_dir names '/no/such', which is not a directory"):
        mnist_data.fetch("/no/such")
    monkeypatch.setenv("MNIST_DIR", "/no/such")
    with pytest.raises(mnist_data.DigitsError, match="MNIST_DIR names '/no/such'"):
        mnist_data.load()


def test_missing_files_raise_naming_all_of_them_and_near_names(mnist_data: ModuleType, tmp_path: Path) -> None:
    files = small_mnist()
    directory = write(tmp_path, {TRAIN_LABELS: files[TRAIN_LABELS], "t10k-images.idx3-ubyte.gz": files[T10K_IMAGES]})
    with pytest.raises(mnist_data.DigitsError) as raised:
        mnist_data.fetch(directory)
    missing = str(raised.value).partition("missing: ")[2].partition(". The four")[0]
    assert missing == f"{TRAIN_IMAGES}, {T10K_IMAGES} (found t10k-images.idx3-ubyte.gz), {T10K_LABELS}"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (TRAIN_IMAGES, b"<html>", f"{TRAIN_IMAGES} is not a whole gzip file"),
        (TRAIN_IMAGES, small_mnist()[TRAIN_IMAGES][:-50], f"{TRAIN_IMAGES} is not a whole gzip file"),
        (TRAIN_LABELS, gzip.compress(b"hello"), "not an IDX file of unsigned bytes: it begins with 68656c6c"),
        (TRAIN_LABELS, gzip.compress(b""), "it begins with nothing"),
        (T10K_LABELS, gzip.compress(idx(np.zeros(3, np.uint8))[:-1]), r"shape \(3,\) but holds 2 bytes"),
        (T10K_LABELS, gzip.compress(idx(np.zeros(2, np.uint8))), r"labels of shape \(2,\) for 3 images"),
        (T10K_LABELS, gzip.compress(idx(np.full(3, 10, np.uint8))), "only 0 to 9"),
        (T10K_IMAGES, gzip.compress(idx(np.zeros((3, 32, 32), np.uint8))), "images of 28 by 28 are expected"),
    ],
    ids=["html", "cut short", "text", "empty", "too few bytes", "too few labels", "no digits", "other size"],
)
def test_file_that_is_not_what_its_name_says_raises(
    mnist_data: ModuleType, tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    directory = write(tmp_path, {**small_mnist(), name: content})
    with pytest.raises(mnist_data.DigitsError, match=message):
        mnist_data.load(directory)


# A download


def test_download_fills_cache_once(
    mnist_data: ModuleType, mirror: Mirror, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_URL", mirror.serve(small))
    assert mnist_data.fetch() == mnist_data.cache_directory()
    assert {path.name: path.read_bytes() for path in mnist_data.cache_directory().iterdir()} == small
    assert sorted(mirror.asked) == sorted("/" + name for name in small)
    assert len(mnist_data.load()[0]) == 6
    assert mnist_data.fetch() == mnist_data.cache_directory()
    assert len(mirror.asked) == 4


def test_download_whose_compression_is_undone_on_the_way_is_used(
    mnist_data: ModuleType, mirror: Mirror, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_URL", mirror.serve(small, headers={"Content-Encoding": "gzip"}))
    mnist_data.fetch()
    assert len(mnist_data.load()[0]) == 6


@pytest.mark.parametrize("damage", ["other digits", "login page", "torn"])
def test_wrong_download_raises_and_leaves_nothing_behind(
    mnist_data: ModuleType, mirror: Mirror, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, damage: str
) -> None:
    wrong = {
        "other digits": gzip.compress(idx(np.ones((6, 28, 28), np.uint8))),
        "login page": b"<html>please log in</html>",
        "torn": small[TRAIN_IMAGES][:-100],
    }[damage]
    monkeypatch.setenv("MNIST_URL", mirror.serve({**small, TRAIN_IMAGES: wrong}))
    with pytest.raises(mnist_data.DigitsError, match=f"not MNIST's {TRAIN_IMAGES} .wrong SHA-256., so it was not used"):
        mnist_data.fetch()
    assert list(mnist_data.cache_directory().iterdir()) == []


def test_mirror_that_sends_wrong_content_or_an_error_is_passed_over(
    mnist_data: ModuleType, mirror: Mirror, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = mirror.serve(dict.fromkeys(small, b"wrong"), prefix="/wrong/")
    monkeypatch.setattr(mnist_data, "MIRRORS", (mirror.url + "absent/", wrong, mirror.serve(small, prefix="/right/")))
    mnist_data.fetch()
    assert len(mnist_data.load()[0]) == 6


def test_own_mirror_without_the_files_raises(
    mnist_data: ModuleType, mirror: Mirror, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MNIST_URL", mirror.url + "typo/")
    with pytest.raises(mnist_data.DigitsError, match=r"MNIST_URL is 'http://127.*typo/'.*404"):
        mnist_data.fetch()


def test_damaged_cached_file_is_downloaded_again(
    mnist_data: ModuleType, mirror: Mirror, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    write(mnist_data.cache_directory(), {**small, T10K_LABELS: b"damaged"})
    monkeypatch.setenv("MNIST_URL", mirror.serve(small))
    mnist_data.fetch()
    assert mirror.asked == ["/" + T10K_LABELS]
    assert (mnist_data.cache_directory() / T10K_LABELS).read_bytes() == small[T10K_LABELS]


# The embedded digits


def test_no_network_uses_embedded_digits_and_says_so_once(
    mnist_data: ModuleType, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mnist_data, "MIRRORS", (closed_port(), closed_port()))
    assert mnist_data.fetch() == EXAMPLE / "digits"
    train, validation = mnist_data.load()
    assert (len(train), len(validation)) == (8500, 1500)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "this run uses the embedded digits" in record.getMessage()
    assert "MNIST_DIR" in record.getMessage()


def test_public_mirrors_that_refuse_lead_to_embedded_digits(
    mnist_data: ModuleType, mirror: Mirror, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mnist_data, "MIRRORS", (mirror.url,))
    assert mnist_data.fetch() == EXAMPLE / "digits"
    assert "404" in caplog.text


def test_damaged_cache_without_network_is_not_used(
    mnist_data: ModuleType, small: dict[str, bytes], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(mnist_data.cache_directory(), {**small, T10K_LABELS: b"damaged"})
    monkeypatch.setattr(mnist_data, "MIRRORS", (closed_port(),))
    mnist_data.fetch()
    assert len(mnist_data.load()[0]) == 8500
    assert "wrong SHA-256" in caplog.text


def test_embedded_digits_are_small_and_hold_every_class(mnist_data: ModuleType) -> None:
    assert sorted(path.name for path in mnist_data.EMBEDDED.iterdir()) == sorted(mnist_data.SHA256)
    assert sum(path.stat().st_size for path in mnist_data.EMBEDDED.iterdir()) <= 2_500_000
    for part, size in zip(mnist_data.load(mnist_data.EMBEDDED), (8500, 1500), strict=True):
        counts = torch.bincount(part.tensors[1], minlength=10)
        assert counts.sum() == size
        assert counts.min() > size / 10 * 0.7


needs_full_mnist = pytest.mark.skipif(not names_full_mnist(), reason="needs the full MNIST in MNIST_DIR")


@needs_full_mnist
def test_embedded_digits_are_every_sixth_of_the_full_training_set() -> None:
    for name, header in ((TRAIN_IMAGES, 16), (TRAIN_LABELS, 8)):
        content = gzip.decompress((Path(NAMED_MNIST) / name).read_bytes())
        sixth = np.frombuffer(content, np.uint8, offset=header).reshape(60000, -1)[::6]
        validates = np.arange(10000) * 3 % 20 < 3
        for embedded, chosen in ((name, ~validates), (name.replace("train", "t10k"), validates)):
            assert gzip.decompress((EXAMPLE / "digits" / embedded).read_bytes())[header:] == sixth[chosen].tobytes()


@needs_full_mnist
@pytest.mark.parametrize("name", [TRAIN_IMAGES, TRAIN_LABELS, T10K_IMAGES, T10K_LABELS])
def test_full_mnist_has_the_expected_hashes(mnist_data: ModuleType, name: str) -> None:
    content = gzip.decompress((Path(NAMED_MNIST) / name).read_bytes())
    assert hashlib.sha256(content).hexdigest() == mnist_data.SHA256[name]


# The experiment YAMLs. Determined's schema lives in its master, not in the pip package, so the keys that the schema of
# 0.38 knows, and that an example has any use for, are listed here.

KEYS = {"name", "description", "entrypoint", "hyperparameters", "searcher", "reproducibility", "resources"}
SEARCHER_KEYS = {
    "single": {"name", "metric", "smaller_is_better"},
    "adaptive_asha": {"name", "metric", "smaller_is_better"}
    | {"max_trials", "time_metric", "max_time", "divisor", "max_rungs", "mode", "max_concurrent_trials"},
}
RANGE_KEYS = {
    "log": {"type", "base", "minval", "maxval"},
    "int": {"type", "minval", "maxval"},
    "double": {"type", "minval", "maxval"},
    "categorical": {"type", "vals"},
}
LAUNCHERS = {"determined.launch.torch_distributed": torch_distributed, "determined.launch.horovod": horovod}


def read_yaml(name: str) -> dict[str, Any]:
    config = yaml.safe_load((EXAMPLE / name).read_text())
    assert isinstance(config, dict)
    return config


def adapter_arguments(entrypoint: str) -> list[str]:
    """Return what follows `python3 -m lightning_adapter`, as Determined's launcher would run it."""
    words = shlex.split(entrypoint)
    assert words[:2] == ["python3", "-m"]
    launcher = LAUNCHERS.get(words[2])
    if launcher is not None:
        overrides, words = launcher.parse_args(words[3:])[:2]
        assert overrides == []
    assert words[:3] == ["python3", "-m", "lightning_adapter"]
    return words[3:]


def option(arguments: list[str], name: str) -> str:
    return arguments[arguments.index(name) + 1]


def syntax_tree(name: str) -> ast.Module:
    return ast.parse((EXAMPLE / name).read_text())


def class_named(tree: ast.Module, name: str) -> ast.ClassDef:
    return next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)


def constants(nodes: list[ast.expr]) -> set[Any]:
    return {node.value for node in nodes if isinstance(node, ast.Constant)}


def test_all_five_yamls_are_there() -> None:
    assert YAMLS == ["adaptive.yaml", "amp.yaml", "const.yaml", "distributed.yaml", "horovod.yaml"]


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_has_only_keys_that_determined_knows(name: str) -> None:
    config = read_yaml(name)
    assert set(config) <= KEYS
    assert set(config["searcher"]) <= SEARCHER_KEYS[config["searcher"]["name"]]
    assert set(config.get("resources", {})) <= {"slots_per_trial"}
    assert set(config["reproducibility"]) == {"experiment_seed"}
    for value in config["hyperparameters"].values():
        if isinstance(value, dict):
            assert set(value) == RANGE_KEYS[value["type"]]
            assert "minval" not in value or value["minval"] < value["maxval"]


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_is_read_by_the_adapter_with_values_for_its_ranges(name: str) -> None:
    config = experiment.read(EXAMPLE / name)
    overrides = {"learning_rate": 0.01, "width": 8, "global_batch_size": 32} if name == "adaptive.yaml" else {}
    hyperparameters = experiment.hyperparameters(config, overrides)
    assert hyperparameters == {**read_yaml(name)["hyperparameters"], **overrides}
    assert experiment.searcher_metric(config) == ("val_loss", True)


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_searches_by_a_metric_that_validation_step_logs(name: str) -> None:
    module = class_named(syntax_tree("model_def.py"), "LitMNIST")
    step = next(node for node in module.body if isinstance(node, ast.FunctionDef) and node.name == "validation_step")
    calls = [node for node in ast.walk(step) if isinstance(node, ast.Call) and ast.unparse(node.func) == "self.log"]
    searcher = read_yaml(name)["searcher"]
    assert searcher["metric"] == "val_loss"
    assert searcher["metric"] in constants([call.args[0] for call in calls])
    assert searcher["smaller_is_better"] is True


@pytest.mark.parametrize("name", YAMLS)
def test_yaml_has_every_hyperparameter_that_the_trial_reads_and_no_other(name: str) -> None:
    trial = class_named(syntax_tree("model_def.py"), "MNISTTrial")
    read = constants([node.slice for node in ast.walk(trial) if isinstance(node, ast.Subscript)])
    assert {"learning_rate", "width", "dropout"} <= read
    given = set(read_yaml(name)["hyperparameters"])
    assert read | {"global_batch_size"} <= given
    assert given - read - {"global_batch_size"} <= {"precision", "data_dir"}


@pytest.mark.parametrize("name", YAMLS)
def test_entrypoint_runs_the_trial_and_any_config_it_names_is_its_own(name: str) -> None:
    arguments = adapter_arguments(read_yaml(name)["entrypoint"])
    assert arguments[:2] == ["fit", "model_def:MNISTTrial"]
    assert int(option(arguments, "--max-epochs")) > 0
    assert "--config" not in arguments or option(arguments, "--config") == name


@pytest.mark.parametrize("name", YAMLS)
def test_two_slots_come_with_a_launcher_and_one_slot_without(name: str) -> None:
    config = read_yaml(name)
    launcher = shlex.split(config["entrypoint"])[2]
    slots = config.get("resources", {}).get("slots_per_trial", 1)
    assert (slots, launcher) == {
        "distributed.yaml": (2, "determined.launch.torch_distributed"),
        "horovod.yaml": (2, "determined.launch.horovod"),
    }.get(name, (1, "lightning_adapter"))
    size = config["hyperparameters"]["global_batch_size"]
    assert all(each % slots == 0 for each in (size["vals"] if isinstance(size, dict) else [size]))


def test_adaptive_max_time_equals_max_epochs() -> None:
    config = read_yaml("adaptive.yaml")
    searcher = config["searcher"]
    assert searcher["time_metric"] == "epochs"
    assert str(searcher["max_time"]) == option(adapter_arguments(config["entrypoint"]), "--max-epochs")
    # Rungs below one epoch would stop a trial before its first validation.
    assert searcher["max_time"] >= searcher["divisor"] ** (searcher["max_rungs"] - 1)


def test_amp_differs_from_const_by_precision_alone() -> None:
    const, amp = read_yaml("const.yaml"), read_yaml("amp.yaml")
    assert amp["hyperparameters"] == {**const["hyperparameters"], "precision": "16-mixed"}


# The two scripts


def shared_part(name: str) -> list[str]:
    """Return the module's and the data's class, without their bases."""
    tree = syntax_tree(name)
    classes = [class_named(tree, "LitMNIST"), class_named(tree, "MNISTData")]
    for node in classes:
        node.bases = []
    return [ast.dump(node) for node in classes]


def test_scripts_differ_in_bases_imports_and_main_or_trial_only() -> None:
    assert shared_part("plain.py") == shared_part("model_def.py")
    rest = {
        name: [
            ast.unparse(node)
            for node in syntax_tree(name).body[1:]
            if not isinstance(node, (ast.ClassDef, ast.Import, ast.ImportFrom))
        ]
        for name in ("plain.py", "model_def.py")
    }
    assert [text.partition(":")[0] for text in rest["plain.py"]] == ["def main() -> None", "if __name__ == '__main__'"]
    assert rest["model_def.py"] == []


def test_bases_are_lightnings_and_the_adapters() -> None:
    bases = {
        name: {
            node.name: [ast.unparse(base) for base in node.bases]
            for node in syntax_tree(name).body
            if isinstance(node, ast.ClassDef)
        }
        for name in ("plain.py", "model_def.py")
    }
    assert bases["plain.py"] == {"LitMNIST": ["pl.LightningModule"], "MNISTData": ["pl.LightningDataModule"]}
    assert bases["model_def.py"] == {
        "LitMNIST": ["DETLM"],
        "MNISTData": ["DETDM"],
        "MNISTTrial": ["LightningAdapter"],
    }


def test_readme_shows_the_difference_as_it_is() -> None:
    plain, adapted = ((EXAMPLE / name).read_text().splitlines() for name in ("plain.py", "model_def.py"))
    difference = "\n".join(difflib.unified_diff(plain, adapted, "plain.py", "model_def.py", n=1, lineterm=""))
    shown = (EXAMPLE / "README.md").read_text().partition("```diff\n")[2].partition("\n```")[0]
    assert shown == difference


def run_plain(*arguments: str, **environment: str) -> str:
    result = subprocess.run(
        [sys.executable, str(EXAMPLE / "plain.py"), *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_plain_script_trains_and_prints_accuracy() -> None:
    output = run_plain("--data-dir", str(EXAMPLE / "digits"), "--max-epochs", "1")
    last = output.splitlines()[-1]
    assert float(last.split()[0].removeprefix("val_acc=")) > 0.9


def test_plain_defaults_equal_const_yaml() -> None:
    config = read_yaml("const.yaml")
    defaults = {}
    for node in ast.walk(syntax_tree("plain.py")):
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "parser.add_argument":
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            if "default" in keywords:
                defaults[ast.literal_eval(node.args[0])] = ast.literal_eval(keywords["default"])
    hyperparameters = config["hyperparameters"]
    assert defaults == {
        "--learning-rate": hyperparameters["learning_rate"],
        "--width": hyperparameters["width"],
        "--dropout": hyperparameters["dropout"],
        "--batch-size": hyperparameters["global_batch_size"],
        "--max-epochs": int(option(adapter_arguments(config["entrypoint"]), "--max-epochs")),
        "--seed": config["reproducibility"]["experiment_seed"],
    }


# The startup hook, sourced the way Determined's trial entrypoint does it

PIP = """import os, pathlib, sys
with pathlib.Path(os.environ["PIP_LOG"]).open("a") as log:
    log.write(" ".join(sys.argv[1:]) + "\\n")
constraints = [sys.argv[at + 1] for at, word in enumerate(sys.argv) if word == "--constraint"]
sys.exit(any("not-there" in word for word in sys.argv) or [pathlib.Path(name).read_text() for name in constraints].count(""))
"""


class Image(NamedTuple):
    """A container: its Python, which has nothing but what it is given here, and the context directory."""

    packages: Path
    python: Path
    context: Path

    def hold(self, name: str, release: str, *requires: str, record: str = "") -> None:
        """Have a distribution, as far as its metadata tells."""
        folder = self.packages / f"{name.replace('-', '_')}-{release}.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(metadata_of(name, release, requires))
        (folder / "RECORD").write_text(record)

    def run(self, **environment: str) -> tuple[int, list[str], list[str]]:
        """Source the hook: the exit status, the lines of the log, and the arguments of each call of pip."""
        (self.context / "startup-hook.sh").write_bytes((EXAMPLE / "startup-hook.sh").read_bytes())
        log = self.context.parent / "pip.log"
        # The last command prints a "u" if the hook has left `set -u` on.
        script = (
            'set -ex; H=startup-hook.sh; test -f "$H" && source "$H"; set +x; echo "entrypoint goes on: ${-//[^u]/}."'
        )
        result = subprocess.run(
            ["bash", "-c", script],
            cwd=self.context,
            env={
                "PATH": os.environ["PATH"],
                "DET_PYTHON_EXECUTABLE": str(self.python),
                "PIP_LOG": str(log),
                **environment,
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=60,
        )
        printed = [line for line in result.stdout.splitlines() if not line.startswith("+ ")]  # the script's own trace
        return result.returncode, printed, log.read_text().splitlines() if log.exists() else []


NEEDS = ("numpy", "torchmetrics>=0.7", "pytorch-lightning<2.7,>=1.9; extra == 'pytorch-lightning'",
         "lightning<2.7,>=1.9; extra == 'lightning'", "ruff; extra == 'dev'")  # fmt: skip
RECORD = "lightning_adapter/__init__.py,sha256=abc,10\n"
GOES_ON = "entrypoint goes on: ."


def metadata_of(name: str, release: str, requires: Iterable[str]) -> str:
    return f"Name: {name}\nVersion: {release}\n" + "".join(f"Requires-Dist: {line}\n" for line in requires)


@pytest.fixture
def image(tmp_path: Path) -> Image:
    """An image with torch, Determined and their like, in which pip writes down how it is called."""
    venv.create(tmp_path / "image", with_pip=False, symlinks=True)
    (packages,) = (tmp_path / "image" / "lib").glob("python*/site-packages")
    shutil.copytree(Path(packaging.__file__).parent, packages / "packaging")
    (packages / "pip.py").write_text(PIP)
    (tmp_path / "context").mkdir()
    made = Image(packages, tmp_path / "image" / "bin" / "python", tmp_path / "context")
    for name, release in {
        "torch": "2.9.0+cu128",
        "determined": "0.38.1",
        "numpy": "2.0",
        "torchmetrics": "1.5",
    }.items():
        made.hold(name, release)
    return made


def put_wheel(context: Path, release: str = "0.1.0", record: str = RECORD) -> str:
    name = f"lightning_adapter-{release}-py3-none-any.whl"
    with zipfile.ZipFile(context / name, "w") as wheel:
        folder = f"lightning_adapter-{release}.dist-info"
        wheel.writestr(f"{folder}/METADATA", metadata_of("lightning-adapter", release, NEEDS))
        wheel.writestr(f"{folder}/RECORD", record)
    return name


def test_hook_installs_the_wheel_and_what_the_image_lacks_of_its_needs(image: Image) -> None:
    wheel = put_wheel(image.context)
    status, printed, installs = image.run(LIGHTNING_ADAPTER_REQUIREMENT="lightning_adapter==9")
    assert (status, printed) == (0, [f"startup-hook.sh: installing ./{wheel} pytorch-lightning<2.7,>=1.9", GOES_ON])
    alone, needs = installs
    assert alone == f"install --quiet --no-warn-script-location --no-deps --force-reinstall ./{wheel}"
    assert re.fullmatch(
        r"install --quiet --no-warn-script-location --constraint \S+ pytorch-lightning<2\.7,>=1\.9", needs
    )


@pytest.mark.parametrize("line", ["import lightning.pytorch as pl", "from lightning import LightningModule",
                                  "from lightning_adapter.lightning import DETLM"])  # fmt: skip
def test_hook_takes_the_lightning_that_the_code_imports(image: Image, line: str) -> None:
    put_wheel(image.context)
    (image.context / "src").mkdir()
    (image.context / "src" / "model.py").write_text(f"import os\n{line}\n")
    assert image.run()[2][1].endswith(" lightning<2.7,>=1.9")


def test_hook_does_nothing_where_the_image_has_all(image: Image) -> None:
    put_wheel(image.context)
    (image.context / "requirements.txt").write_text("# what it needs\nnumpy>=1 # arrays\n\ntorchmetrics\n")
    image.hold("lightning-adapter", "0.1.0", *NEEDS, record=RECORD + "lightning_adapter-0.1.0.dist-info/REQUESTED,,\n")
    image.hold("pytorch-lightning", "2.6.0")
    assert image.run() == (0, [GOES_ON], [])
    for wheel in image.context.glob("*.whl"):
        wheel.unlink()
    assert image.run() == (0, [GOES_ON], [])
    assert image.run(LIGHTNING_ADAPTER_REQUIREMENT="lightning_adapter==0.1.0") == (0, [GOES_ON], [])


def test_hook_installs_a_wheel_that_is_another_build_of_the_same_version(image: Image) -> None:
    wheel = put_wheel(image.context, record="lightning_adapter/__init__.py,sha256=later,11\n")
    image.hold("lightning-adapter", "0.1.0", *NEEDS, record=RECORD)
    image.hold("pytorch-lightning", "2.6.0")
    status, printed, installs = image.run()
    assert (status, printed[-1]) == (0, GOES_ON)
    assert [install.split()[-1] for install in installs] == [f"./{wheel}"]


def test_hook_installs_the_requirement_when_there_is_no_wheel(image: Image) -> None:
    status, _, installs = image.run(LIGHTNING_ADAPTER_REQUIREMENT="lightning_adapter==0.1.0")
    assert status == 0
    assert [install.split()[-2:] for install in installs] == [["lightning_adapter==0.1.0", "pytorch-lightning"]]


def test_hook_installs_what_requirements_txt_has_and_the_image_has_not(image: Image) -> None:
    image.hold("lightning-adapter", "0.1.0", "numpy", record=RECORD)
    (image.context / "requirements.txt").write_text("numpy\ntimm\n")
    status, printed, installs = image.run()
    assert (status, printed[-1]) == (0, GOES_ON)
    assert [install.split()[-1] for install in installs] == ["--requirement=requirements.txt"]


def test_hook_without_any_source_ends_the_task(image: Image) -> None:
    status, printed, installs = image.run()
    assert (status, installs) == (1, [])
    (line,) = printed
    assert "pip wheel --no-deps" in line and "LIGHTNING_ADAPTER_REQUIREMENT" in line


def test_hook_ends_the_task_when_pip_fails(image: Image) -> None:
    status, printed, _ = image.run(LIGHTNING_ADAPTER_REQUIREMENT="not-there==0.1.0")
    assert status == 1
    assert "pip could not install 'not-there==0.1.0 pytorch-lightning'" in printed[-1]
    assert "torch==2.9.0+cu128 determined==0.38.1" in printed[-1]


def test_hook_ends_the_task_in_an_image_without_torch(image: Image) -> None:
    put_wheel(image.context)
    shutil.rmtree(image.packages / "torch-2.9.0+cu128.dist-info")
    status, printed, installs = image.run()
    assert (status, len(printed), installs) == (1, 1, [])
    assert "the image must hold torch and determined; set environment.image" in printed[0]


@pytest.mark.parametrize("place", ["on PYTHONPATH", "in the context"])
def test_hook_takes_the_package_that_is_there_as_files_alone(image: Image, place: str) -> None:
    mounted = image.context.parent / "mounted"
    package = (mounted if place == "on PYTHONPATH" else image.context) / "lightning_adapter"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert image.run(PYTHONPATH=str(mounted)) == (0, [GOES_ON], [])


def test_hook_refuses_to_choose_between_wheels(image: Image) -> None:
    for release in ("0.1.0", "0.2.0"):
        put_wheel(image.context, release)
    status, printed, installs = image.run()
    assert (status, installs) == (1, [])
    assert "found several wheels" in printed[0]


def test_hook_names_a_wheel_that_is_not_whole(image: Image) -> None:
    name = put_wheel(image.context)
    (image.context / name).write_bytes((image.context / name).read_bytes()[:100])
    status, printed, installs = image.run()
    assert (status, installs) == (1, [])
    assert printed == [f"startup-hook.sh: {name} is no whole wheel; build it anew, in the folder of this file."]


def test_hook_takes_no_file_of_the_context_for_one_of_pythons(image: Image) -> None:
    image.hold("lightning-adapter", "0.1.0", record=RECORD)
    (image.context / "zipfile.py").write_text("raise RuntimeError('the project has a module of that name')")
    assert image.run() == (0, [GOES_ON], [])
