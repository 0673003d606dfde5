"""Does a package hold what its model needs, and is it opened where its source is not, by whom trusts it alone?"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import threading
import types
import zipfile
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
import torch

from fake_master import fake_cluster
from lightning_adapter import LightningAdapter, cli, fit, load_trial
from lightning_adapter.errors import CheckpointError, ConfigurationError, ExportError
from lightning_adapter.evaluation.export import of_trial
from lightning_adapter.evaluation.loading import LoadedTrial
from lightning_adapter.evaluation.package import form, writing
from lightning_adapter.evaluation.package import of_trial as of_package
from lightning_adapter.evaluation.package.opening import load_model
from lightning_adapter.evaluation.source import find
from lightning_adapter.evaluation.wanted import Wanted
from parity.models import flavour

models = flavour("pytorch_lightning", ours=True)

MODEL = """
from __future__ import annotations
from typing import NamedTuple
import torch, torchmetrics
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from lightning_adapter import DETDM, DETLM, LightningAdapter
from packaged_nets.deep import mlp

class Lit(DETLM):
    def __init__(self, lr):
        super().__init__()
        self.save_hyperparameters()
        self.net, self.loss = mlp.MLP(), nn.CrossEntropyLoss()
        self.accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=2)
    def forward(self, x):
        return self.net(x)
    def training_step(self, batch, batch_idx):
        return self.loss(self(batch[0]), batch[1])
    def validation_step(self, batch, batch_idx):
        self.accuracy(self(batch[0]), batch[1])
        self.log("val_accuracy", self.accuracy)
        self.log("val_loss", self.loss(self(batch[0]), batch[1]))
    test_step = validation_step
    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), self.hparams.lr)

class Batch(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor

def together(samples):
    return Batch(*(torch.stack(each) for each in zip(*samples)))

class Data(DETDM):
    workers = None
    def setup(self, stage):
        x = torch.randn(32, 4, generator=torch.Generator().manual_seed(0))
        self.data = TensorDataset(x, (x.sum(1) > 0).long())
    def train_dataloader(self):
        return DataLoader(self.data, 8)
    def test_dataloader(self):
        workers = {"num_workers": 1, "multiprocessing_context": self.workers, "timeout": 60} if self.workers else {}
        return DataLoader(self.data, 8, collate_fn=together, **workers)
    val_dataloader = train_dataloader

class Trial(LightningAdapter):
    def __init__(self, context):
        from packaged_options import Options
        super().__init__(context, Lit(context.get_hparam("lr")), Data(), max_epochs=Options().epochs, enable_progress_bar=False,
                         enable_model_summary=False, log_every_n_steps=2)
"""
#: A dataclass whose annotations are text, which torch's importer alone cannot define.
OPTIONS = """
from __future__ import annotations
import dataclasses

@dataclasses.dataclass
class Options:
    epochs: int = 1
    place: str = __file__
"""
FILES = {
    "packaged_options.py": OPTIONS,
    "packaged_model.py": MODEL,
    "packaged_nets/__init__.py": "from packaged_nets.values import VALUES\nVALUES['scale'] = 3.0\n",
    "packaged_nets/values.py": "VALUES = {}\n",
    "packaged_nets/deep/mlp.py": (
        "from torch import nn\nfrom packaged_nets.values import VALUES\n"
        "def act(x):\n    from packaged_lazy import relu\n    return relu(x)\n"
        "class MLP(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 2)\n"
        "    def forward(self, x):\n        return self.b(act(self.a(x))) * VALUES['scale']\n"
    ),
    "packaged_lazy.py": (
        "import torch\ndef relu(x):\n    return torch.relu(x)\ndef never():\n    from packaged_script import main\n"
    ),
    # it may not be imported to be packaged
    "packaged_script.py": "import of_another_machine\ndef main():\n    pass\nraise SystemExit('ran')\n",
    "experiment.yaml": "hyperparameters:\n  lr: 0.05\nsearcher:\n  name: single\n  metric: val_loss\n",
}
#: Run in a process that has neither this project nor the one of the package on its path.
READER = """
import json, sys, torch
from torch.package import PackageImporter
module = PackageImporter(sys.argv[1]).load_pickle("lightning_adapter_package", "model.pkl")
x = torch.linspace(-1, 1, 12).reshape(3, 4)
print(json.dumps([module(x).tolist(), module.training, "packaged_model" in sys.modules, type(module).__module__]))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A project that was trained by the command, in a process of its own, with a package at the end."""
    project = tmp_path_factory.mktemp("project")
    for name, text in FILES.items():
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text(text)
    words = ["fit", "packaged_model.py:Trial", "--config", "experiment.yaml", "--run-dir", "run", "--seed", "1"]
    done = subprocess.run(
        [sys.executable, "-m", "lightning_adapter", *words, "--package", "made/best.pt"],
        cwd=project, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "package          made/best.pt" in done.stdout
    assert "packaged_options uses __file__, and a package holds the source alone" in done.stderr
    return project


@pytest.fixture
def package(trained: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """The package alone, in an otherwise empty directory."""
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "best.pt"
    made.write_bytes((trained / "made/best.pt").read_bytes())
    return made


@pytest.fixture
def imported(trained: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """The project's directory, whose modules are gone when the test ends."""
    monkeypatch.chdir(trained)
    before, path = set(sys.modules), list(sys.path)
    yield trained
    for name in set(sys.modules) - before:
        if name.startswith("packaged_"):
            del sys.modules[name]
    sys.path[:] = path


def weights_of(run: pathlib.Path) -> dict[str, Any]:
    saved: dict[str, Any] = checkpoint_of(run)["state_dict"]
    return saved


def checkpoint_of(run: pathlib.Path) -> dict[str, Any]:
    (path,) = (run / "checkpoints").glob("*/lightning.ckpt")
    saved: dict[str, Any] = torch.load(path, weights_only=True)
    return saved


def test_package_of_a_fit_holds_the_source_the_weights_once_and_how_it_was_made(
    trained: pathlib.Path, package: pathlib.Path
) -> None:
    said = form.about(package)
    assert (said["format"], said["target"], said["module"]) == (1, "packaged_model:Trial", "packaged_model:Lit")
    # a module that a function imports, and the file of a folder, which torch.package does not find
    assert said["source"] == [
        "packaged_lazy", "packaged_model", "packaged_nets", "packaged_nets.deep.mlp", "packaged_nets.values",
        "packaged_options", "packaged_script",
    ]  # fmt: skip
    assert {"torch", "torchmetrics", "lightning_adapter", "pytorch_lightning"} <= set(said["needs"])
    assert said["config"]["hyperparameters"] == {"lr": 0.05}
    assert said["metadata"]["steps_completed"] == 4
    with zipfile.ZipFile(package) as archive:
        stored = sum(entry.file_size for entry in archive.infolist() if entry.filename.endswith(".storage"))
    weights = sum(weight.nbytes for weight in weights_of(trained / "run").values())
    drawn = checkpoint_of(trained / "run")["lightning_adapter"]["data_random"]
    states = sum(state.nbytes for state in (drawn["torch"], drawn["numpy"][1], drawn["python"][1]))
    assert weights <= stored - states < 1.5 * weights


def test_package_runs_in_a_process_that_has_nothing_of_the_project(
    trained: pathlib.Path, package: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-c", READER, str(package)],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    outputs, training, has_source, module = json.loads(done.stdout)
    assert (training, has_source, module) == (False, False, "<torch_package_0>.packaged_model")
    weights = weights_of(trained / "run")
    x = torch.linspace(-1, 1, 12).reshape(3, 4)
    hidden = torch.relu(x @ weights["net.a.weight"].T + weights["net.a.bias"])
    expected = (hidden @ weights["net.b.weight"].T + weights["net.b.bias"]) * 3.0
    torch.testing.assert_close(torch.tensor(outputs), expected)


def test_package_is_tested_as_its_run_is_without_the_source(
    imported: pathlib.Path, package: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(imported)
    (of_run,) = load_trial(imported / "run", "packaged_model.py:Trial").test(verbose=False)
    for name in [name for name in sys.modules if name.startswith("packaged_")]:
        del sys.modules[name]
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder not in ("", str(imported))])

    loaded = load_trial(package, trust_code=True)
    (found,) = loaded.test(verbose=False)
    assert found == of_run
    assert (loaded.hparams, loaded.datamodule.data.tensors[0].shape) == ({"lr": 0.05}, (32, 4))  # type: ignore[union-attr]
    assert loaded.test(verbose=False) == [found]  # its weights are there more than once
    assert not any(name.startswith("packaged_") for name in sys.modules)
    assert cli.main(["test", "best.pt", "--trust-code"]) == 0
    assert json.loads((tmp_path / "best.test.json").read_text())["val_loss"] == pytest.approx(found["val_loss"])
    assert cli.main(["draw", "best.pt", "--trust-code", "--out", "drawn"]) == 0
    assert list((tmp_path / "drawn").glob("**/*.png"))


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_workers_of_a_package_hand_over_batches_of_its_classes(package: pathlib.Path, start: str) -> None:
    loaded = load_trial(package, trust_code=True)
    loaded.datamodule.workers = start  # type: ignore[union-attr]
    batches = list(loaded.dataloaders("test"))  # type: ignore[arg-type]
    assert (len(batches), type(batches[0]).__qualname__, batches[0].x.shape) == (4, "Batch", (8, 4))
    assert type(batches[0]) is sys.modules[type(batches[0]).__module__].Batch


def test_package_is_not_opened_by_who_has_not_said_to_trust_it(
    package: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["test", "best.pt"]) == 2
    said = capsys.readouterr().err
    assert (
        "is a package: weights together with the source of packaged_model:Trial, which runs with all your rights"
        in said
    )
    assert "--trust-code" in said
    with pytest.raises(ConfigurationError, match="trust_code=True"):
        load_trial(package)
    assert not any(name.startswith("packaged_") for name in sys.modules)


def packed(file: pathlib.Path, about: str, source: str = "") -> pathlib.Path:
    """A package of somebody's, with one module."""
    with torch.package.PackageExporter(str(file)) as exporter:  # type: ignore[attr-defined]
        exporter.save_source_string("evil", source)
        exporter.save_text(form.CONTENTS, form.ABOUT, about)
    return file


def saying(**changes: Any) -> str:
    """What a package says of itself."""
    right = {"format": 1, "target": "evil:Trial", "source": ["evil"], "config": {}, "metadata": {}, "versions": {}}
    return json.dumps({**right, **changes})


def test_code_of_a_package_does_not_run_where_it_is_only_looked_at(tmp_path: pathlib.Path) -> None:
    touched = tmp_path / "touched"
    made = packed(tmp_path / "hostile.pt", saying(), f"import pathlib\npathlib.Path({str(touched)!r}).touch()\n")
    with pytest.raises(ConfigurationError, match="evil:Trial"):
        load_trial(made)
    assert find(made).is_package and not touched.exists()
    with pytest.raises(CheckpointError, match="does not run here: AttributeError"):
        load_trial(made, trust_code=True)
    assert touched.exists()


def test_configuration_of_a_package_sets_no_variables_before_it_is_trusted(tmp_path: pathlib.Path) -> None:
    sets = {"environment": {"environment_variables": ["OF_A_PACKAGE=1"]}}
    made = packed(tmp_path / "hostile.pt", saying(config=sets))
    wanted = Wanted.of(made, False, None, None)
    assert wanted.variables() == {} and "--trust-code" in str(wanted.faults[0])
    assert Wanted.of(made, False, None, None, trust_code=True).variables() == {"OF_A_PACKAGE": "1"}


def test_package_under_the_name_of_a_checkpoint_runs_nothing(tmp_path: pathlib.Path) -> None:
    touched, folder = tmp_path / "touched", tmp_path / "checkpoint"
    folder.mkdir()
    (folder / "metadata.json").write_text("{}")
    made = packed(folder / "lightning.ckpt", saying(), f"import pathlib\npathlib.Path({str(touched)!r}).touch()\n")
    for what in (folder, made, made.as_uri()):
        with pytest.raises(CheckpointError, match="is no checkpoint, but an archive"):
            load_trial(what, Trial)
    with pytest.raises(CheckpointError, match="to train on, give the checkpoint"):
        fit(Trial, warm_start_from=folder)
    assert not touched.exists()


@pytest.mark.parametrize(
    "about",
    [
        "[]",
        "null",
        "[" * 100_000,
        "{}",
        saying(format=0),
        saying(target=3),
        saying(target="\x1b[2Jevil:Trial"),
        saying(config=[1]),
        saying(source={}),
        saying(versions=[]),
        saying(metadata=None),
    ],
)
def test_package_that_says_something_else_of_itself_is_refused_in_words(about: str, tmp_path: pathlib.Path) -> None:
    made = packed(tmp_path / "any.pt", about)
    with pytest.raises(CheckpointError, match=r"not as one is written|damaged") as caught:
        find(made)
    assert "\x1b" not in str(caught.value)


def test_newer_foreign_and_damaged_packages_are_told(package: pathlib.Path, tmp_path: pathlib.Path) -> None:
    foreign = tmp_path / "foreign.pt"
    with torch.package.PackageExporter(str(foreign)) as exporter:  # type: ignore[attr-defined]
        exporter.save_text("any", "thing", "")
    with pytest.raises(CheckpointError, match=r"not one of lightning-adapter export.*PackageImporter"):
        find(foreign)

    newer = packed(tmp_path / "newer.pt", saying(format=2, versions={"lightning_adapter": "9.1"}))
    with pytest.raises(CheckpointError, match=r"the form 2 of a package.*up to 1.*9\.1"):
        find(newer)

    content = bytearray(package.read_bytes())
    content[content.index(b"class Lit")] ^= 255  # sources are stored as they are
    package.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        load_trial(package, trust_code=True)


def test_checkpoint_is_no_package(trained: pathlib.Path) -> None:
    (checkpoint,) = (trained / "run" / "checkpoints").glob("*/lightning.ckpt")
    assert not form.is_package(checkpoint)


def test_export_of_a_run_by_the_command(
    imported: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "run", "packaged_model.py:Trial", "--to"]
    assert cli.main([*words, "torchscript"]) == 0
    said = capsys.readouterr().out
    assert "input       x float32 [8, 4], of the first validation batch, its first element\n" in said
    assert "difference  0 at most from the module" in said
    assert "batch size  any (tried with 1, 3, 8)\n" in said
    assert 'run it:  torch.jit.load("run/model.torchscript.pt")(x)' in said
    assert (imported / "run/model.torchscript.pt").is_file()
    assert cli.main([*words, "torchscript"]) == 2
    assert "is there already, and nothing is written over" in capsys.readouterr().err

    assert cli.main([*words, "package", "--out", str(tmp_path / "new/again.pt"), "--hparam", "lr=0.3"]) == 0
    assert form.about(tmp_path / "new/again.pt")["config"]["hyperparameters"] == {"lr": 0.3}
    assert load_trial(tmp_path / "new/again.pt", trust_code=True).hparams == {"lr": 0.3}
    assert cli.main(["export", str(tmp_path / "new/again.pt"), "--to", "package", "--trust-code"]) == 2
    assert "is a package already" in capsys.readouterr().err
    assert (
        cli.main(
            [
                "export",
                str(tmp_path / "new/again.pt"),
                "--to",
                "exported_program",
                "--trust-code",
                "--out",
                str(tmp_path / "a.pt2"),
            ]
        )
        == 0
    )


def test_checkpoint_at_a_url_is_packaged_with_what_is_known_of_it(
    imported: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    (checkpoint,) = (path.parent for path in imported.glob("run/checkpoints/*/lightning.ckpt"))
    filesystem = fsspec.filesystem("memory")
    filesystem.put(str(checkpoint), "/packaged", recursive=True)
    try:
        words = ["memory://packaged", "packaged_model.py:Trial", "--config", "experiment.yaml", "--to", "package"]
        assert cli.main(["export", *words, "--out", str(tmp_path / "a.pt")]) == 0
    finally:
        filesystem.rm("/packaged", recursive=True)
    assert form.about(tmp_path / "a.pt")["metadata"] == json.loads((checkpoint / "metadata.json").read_text())


def test_package_of_a_model_that_no_batch_can_be_given_to_is_written_and_said(
    imported: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(of_trial, "_first_two", lambda loaded, both: (torch.zeros(2, 5), None))
    words = ["export", "run", "packaged_model.py:Trial", "--out", str(tmp_path / "a"), "--to"]
    assert cli.main([*words, "exported_program"]) == 2
    assert "forward() fails with the input that is there" in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
    assert cli.main([*words, "package"]) == 0
    said = capsys.readouterr().out
    assert (
        "weights  compared with those of the module: the same" in said
        and "- a run of forward: Lit.forward() fails" in said
    )
    assert load_trial(tmp_path / "a", trust_code=True).test(verbose=False)


# --- what cannot be packaged, before training -------------------------------------------------------------------------


class Trial(LightningAdapter):
    """Of one epoch."""

    def __init__(self, context: Any) -> None:
        options = {"max_epochs": 1, "enable_model_summary": False, "enable_progress_bar": False}
        super().__init__(context, models.Net(), models.Data(), **options)


class WithLambda(Trial):
    """Its module cannot be pickled."""

    def __init__(self, context: Any) -> None:
        super().__init__(context)
        self.lightning_module.scale = lambda x: 2 * x  # type: ignore[attr-defined]
        self.lightning_module.file = threading.Lock()  # type: ignore[attr-defined]


def refused(trial: type[LightningAdapter], package: Any) -> str:
    with pytest.raises(ConfigurationError) as caught:
        fit(trial, package=package)
    assert not pathlib.Path("runs").exists() or not list(pathlib.Path("runs").glob("*/*/checkpoints/*"))
    return str(caught.value)


def test_module_that_cannot_be_pickled_is_made_again_by_its_trial(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trial = fit(WithLambda, package="best.pt", seed=1)
    why = form.about(tmp_path / "best.pt")["made_again_because"]
    assert "- scale: " in why and "- file: " in why
    assert "- loss" not in why and "_trainer" not in why
    module = load_model(tmp_path / "best.pt")
    assert (module.scale(2), module.training) == (4, False)
    assert type(module).__module__.startswith("<torch_package_")
    for name, weight in trial.lightning_module.state_dict().items():
        assert torch.equal(module.state_dict()[name], weight)

    assert trial.best_checkpoint is not None
    random, weights = torch.get_rng_state(), [weight.clone() for weight in trial.lightning_module.parameters()]
    trial.write_package(tmp_path / "again.pt", trial.best_checkpoint)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(map(torch.equal, trial.lightning_module.parameters(), weights))


def test_package_with_other_weights_is_no_package_of_the_model(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = models.Net()
    nearly = {name: weight + 1e-7 for name, weight in module.state_dict().items()}
    monkeypatch.setattr(of_package, "load_model", lambda path: types.SimpleNamespace(state_dict=lambda: nearly))
    with pytest.raises(ExportError, match="does not give back its weights"):
        of_package.write_checked(tmp_path / "best.pt", writing.Contents(Trial, module, {}, {}, {}))


def test_of_several_processes_one_exports(
    imported: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LoadedTrial, "is_chief", False)
    words = ["export", "run", "packaged_model.py:Trial", "--to", "torchscript", "--out", str(tmp_path / "a")]
    assert cli.main(words) == 0
    assert not (tmp_path / "a").exists()


def test_class_of_no_file_is_told_before_training(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "typed_somewhere", types.ModuleType("typed_somewhere"))
    monkeypatch.setattr(Trial, "__module__", "typed_somewhere")
    assert "Trial is defined in typed_somewhere, which is of no file" in refused(Trial, "best.pt")


def test_source_that_cannot_be_read_is_told_before_training(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "compiled_trial.so"
    file.write_bytes(b"\x7fELF")
    module = types.ModuleType("compiled_trial")
    module.__file__ = str(file)
    vars(module)["Trial"] = Trial
    monkeypatch.setitem(sys.modules, "compiled_trial", module)
    monkeypatch.setattr(Trial, "__module__", "compiled_trial")
    said = refused(Trial, "best.pt")
    assert (
        said.startswith("No package can be made of this trial:\n- Net cannot be packaged") and "compiled_trial" in said
    )


def test_class_of_a_script_is_told_before_training_with_what_to_type_after_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Trial, "__module__", "__main__")
    said = refused(Trial, "best.pt")
    assert "Trial is defined in the script or notebook that runs" in said
    assert ":Trial --to package" in said


def test_class_in_a_function_is_told_before_training(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Local(Trial):
        """Of no module."""

    monkeypatch.chdir(tmp_path)
    assert "Local is defined in a function" in refused(Local, "best.pt")


def test_place_that_cannot_be_written_is_told_before_training(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("")
    assert "is there already" in refused(Trial, "mine")
    assert "is no directory" in refused(Trial, "mine/best.pt")
    assert "is an address" in refused(Trial, "s3://bucket/best.pt")
    assert not (tmp_path / "runs").exists()


def test_package_on_a_cluster_is_refused_with_what_to_type_instead(tmp_path: pathlib.Path) -> None:
    with (
        fake_cluster(tmp_path) as master,
        pytest.raises(ConfigurationError, match=r"export EXPERIMENT_NUMBER --to package"),
    ):
        fit(Trial, package="best.pt")
    assert master.checkpoints == []


def test_package_goes_with_a_run_that_is_complete_alone(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stops(Trial):
        """Asks for an end."""

        def build_callbacks(self) -> Any:
            self.context.set_stop_requested(True)
            return {}

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(writing, "check", lambda *of: None)  # of a class in a function
    fit(Stops, package="best.pt")
    assert not (tmp_path / "best.pt").exists()
