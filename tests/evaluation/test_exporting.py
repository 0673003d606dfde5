"""Does an exported file compute what the module computes, for which batch sizes, and what is said where it cannot?"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Callable
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
import torchmetrics
from torch import Tensor, nn

from lightning_adapter import LightningAdapter
from lightning_adapter.errors import ConfigurationError, ExportError
from lightning_adapter.evaluation.export import onnx_format
from lightning_adapter.evaluation.export.comparison import compare
from lightning_adapter.evaluation.export.example import Example, of_batch, of_module
from lightning_adapter.evaluation.export.exporting import Exported, Model, export
from lightning_adapter.evaluation.export.formats import Format
from lightning_adapter.evaluation.export.of_trial import export_trial
from lightning_adapter.evaluation.export.onnx_format import Onnx
from lightning_adapter.evaluation.export.request import check_installed
from lightning_adapter.evaluation.export.torch_formats import ExportedProgram, TorchScript
from lightning_adapter.evaluation.loading import fresh_trial
from lightning_adapter.runs.placing import place

FIRST = "the first validation batch"
TORCH: list[Callable[[], Format]] = [TorchScript, ExportedProgram]


class Module(pl.LightningModule):
    """Normalizes, drops out, and holds what a trained module holds besides layers."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Dropout(), nn.Linear(8, 3))
        self.accuracy = torchmetrics.Accuracy(task="multiclass", num_classes=3)
        self.loss = nn.CrossEntropyLoss()

    def forward(self, x: Tensor) -> Any:
        return self.net(x)


class DictOutput(Module):
    """Two inputs, a dict of outputs, and an option."""

    def forward(self, x: Tensor, y: Tensor, *, scale: float = 2.0) -> Any:  # type: ignore[override]
        logits = self.net(x) + self.net(y)
        return {"logits": logits * scale, "pair": (logits, logits.argmax(1))}


class ByName(Module):
    """As a model of a library's."""

    def forward(self, **inputs: Tensor) -> Any:  # type: ignore[override]
        return self.net(inputs["x"]) * inputs["weight"][:, None]


class Branching(Module):
    """Its program depends on the data."""

    def forward(self, x: Tensor) -> Any:
        return self.net(x) if x.sum() > 0 else -self.net(x)


class Attention(Module):
    """As Lightning's transformer: torch fuses it in eval mode, and asks for the content of a tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.TransformerEncoderLayer(4, 2, 8, batch_first=True)

    def forward(self, x: Tensor) -> Any:
        made = self.attention(x)
        return made if torch.ones(3).sum() == 3 else -made


class OfSixRows(Module):
    """Knows one batch size."""

    def forward(self, x: Tensor) -> Any:
        return self.net(x).reshape(6, -1)


class BatchSizeInIt(Module):
    """A trace, and torch.export, take the batch size for a constant."""

    def forward(self, x: Tensor) -> Any:
        return self.net(x) * torch.full((3,), float(len(x)))


class Drawing(Module):
    """Draws random numbers in eval mode, as the encoder of a VAE."""

    def forward(self, x: Tensor) -> Any:
        made = self.net(x)
        return made + torch.randn_like(made)


class WithHook(Module):
    """Its hook takes the batch of its loader, and not what forward takes."""

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        x, y = batch
        return x, y


def model_and_input(module: pl.LightningModule, batch: Any) -> tuple[Model, Example]:
    return Model(module), of_module(module) or of_batch(module, batch, FIRST)


def made(module: pl.LightningModule, batch: Any, target: Format, directory: pathlib.Path) -> Exported:
    model, example = model_and_input(module, batch)
    return export(model, example, target, directory, target.file)


def onnx(module: pl.LightningModule, batch: Any, directory: pathlib.Path) -> Exported:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model, example = model_and_input(module, batch)
    return export(model, example, Onnx(model.run), directory, "model.onnx")


X = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kind", TORCH)
def test_file_gives_what_the_module_gives_in_eval_mode_for_any_batch_size(
    kind: Callable[[], Format], tmp_path: pathlib.Path
) -> None:
    module = Module()
    found = made(module, (X, 0), kind(), tmp_path)
    assert (found.difference.fault, found.sizes, found.any_batch_size, found.notes) == (None, (1, 3, 6), True, [])

    rows = torch.randn(17, 4)
    read = kind().load(found.files[0])(Example((rows,), {}, ("x",), ""))
    assert compare(module.eval()(rows), read).fault is None


def test_onnx_file_names_inputs_and_outputs_and_takes_any_batch_size(tmp_path: pathlib.Path) -> None:
    module = DictOutput()
    module.example_input_array = {"x": X[:1], "y": X[1:2]}  # of one sample, which exporters take for a constant
    found = onnx(module, None, tmp_path)
    assert (found.way, found.sizes, found.any_batch_size) == ("torch.onnx by torch.export", (1, 3), True)
    assert found.files == (found.files[0],)  # nothing beside it

    import onnxruntime

    session = onnxruntime.InferenceSession(str(found.files[0]), providers=["CPUExecutionProvider"])
    assert [each.name for each in session.get_inputs()] == ["x", "y"]
    assert [each.name for each in session.get_outputs()] == ["logits", "pair_0", "pair_1"]
    given = torch.randn(5, 4), torch.randn(5, 4)
    values = session.run(None, {"x": given[0].numpy(), "y": given[1].numpy()})
    expected = module.eval()(*given)
    assert compare(expected, [torch.as_tensor(value) for value in values]).fault is None


def test_onnx_of_attention_goes_by_tracing_where_the_newer_way_fails(tmp_path: pathlib.Path) -> None:
    found = onnx(Attention(), X[:, None].expand(6, 5, 4), tmp_path)
    assert (found.way, found.any_batch_size) == ("torch.onnx by tracing", True)
    assert [note.partition(": ")[0] for note in found.notes] == ["torch.onnx by torch.export"]


def test_onnx_weights_too_large_for_the_file_lie_beside_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_format, "_LARGEST", 10)
    module = Module()
    module.net[0] = nn.Linear(4, 512)  # torch keeps small tensors in the file in any case
    module.net[1], module.net[3] = nn.BatchNorm1d(512), nn.Linear(512, 3)
    found = onnx(module, (X, 0), tmp_path)
    placed = place(found.files[0], tmp_path / "model.onnx", "")
    assert [path.name for path in placed] == ["model.onnx", "model.onnx.data"]
    read = Onnx(Model(module).run).load(tmp_path / "model.onnx")(Example((X,), {}, ("x",), ""))
    assert compare(module.eval()(X), read).fault is None


def test_forward_that_takes_names_has_any_batch_size(tmp_path: pathlib.Path) -> None:
    batch = {"x": X, "weight": torch.rand(6), "labels": torch.arange(6)}
    found = made(ByName(), batch, ExportedProgram(), tmp_path)
    assert (found.sizes, found.any_batch_size) == ((1, 3, 6), True)


def test_way_that_cannot_follow_a_branch_is_said_and_the_compiler_keeps_it(tmp_path: pathlib.Path) -> None:
    assert made(Branching(), X, TorchScript(), tmp_path).way == "torch.jit.script"
    (tmp_path / "second").mkdir()
    with pytest.raises(ExportError, match=r"(?s)- torch\.export: .*data-dependent.*Try --to torchscript"):
        made(Branching(), X, ExportedProgram(), tmp_path / "second")


def test_program_of_one_batch_size_is_written_and_said(tmp_path: pathlib.Path) -> None:
    found = made(OfSixRows(), X, ExportedProgram(), tmp_path)
    assert (found.sizes, found.any_batch_size) == ((6,), False)

    (tmp_path / "second").mkdir()
    found = made(BatchSizeInIt(), X, ExportedProgram(), tmp_path / "second")
    assert (found.sizes, found.any_batch_size) == ((6,), False)
    assert found.notes[0].startswith("torch.export: ")


def test_random_forward_is_compared_with_the_same_random_numbers(tmp_path: pathlib.Path) -> None:
    assert made(Drawing(), X, TorchScript(), tmp_path).difference.largest == 0.0


def test_random_forward_that_cannot_be_compared_is_told_to_be_one(tmp_path: pathlib.Path) -> None:
    class OfOtherNumbers(ExportedProgram):
        """Draws as ONNX Runtime does: from numbers of its own."""

        def load(self, path: pathlib.Path) -> Any:
            right = super().load(path)

            def run(example: Example) -> object:
                torch.manual_seed(3)
                return right(example)

            return run

    with pytest.raises(ExportError, match=r"draws random numbers in eval mode"):
        made(Drawing(), X, OfOtherNumbers(), tmp_path)


def test_hooks_of_a_batch_are_not_called_with_the_input_of_forward(tmp_path: pathlib.Path) -> None:
    module = WithHook()
    found = made(module, (X, 0), TorchScript(), tmp_path)
    assert found.difference.fault is None
    assert "on_after_batch_transfer" not in vars(module)


def test_half_precision_is_exported_in_its_own_type(tmp_path: pathlib.Path) -> None:
    found = made(Module().bfloat16(), (X, 0), ExportedProgram(), tmp_path)
    assert found.outputs == "output bfloat16 [6, 3]"


def test_file_that_computes_something_else_is_refused(tmp_path: pathlib.Path) -> None:
    class Wrong(TorchScript):
        """Adds a tenth."""

        def load(self, path: pathlib.Path) -> Any:
            right = super().load(path)
            return lambda example: right(example) + 0.1  # type: ignore[operator]

    with pytest.raises(
        ExportError, match=r"(?s)script: it computes something else.*differs by up to 0\.1.*trace: it comp"
    ):
        made(Module(), X, Wrong(), tmp_path)


def test_largest_difference_of_all_batch_sizes_is_told(tmp_path: pathlib.Path) -> None:
    class Rounding(TorchScript):
        """A single sample is computed in another order."""

        def load(self, path: pathlib.Path) -> Any:
            right = super().load(path)
            return lambda example: right(example) + (1e-5 if example.batch_size == 1 else 0.0)  # type: ignore[operator]

    found = made(Module(), (X, 0), Rounding(), tmp_path)
    assert found.difference.largest == pytest.approx(1e-5, rel=0.1)
    assert found.difference.numbers == found.difference.compared == 3 * (6 + 1 + 3)


def test_module_that_gives_no_number_is_not_taken_for_the_same(tmp_path: pathlib.Path) -> None:
    diverged = Module()
    with torch.no_grad():
        next(diverged.parameters()).fill_(float("nan"))
    with pytest.raises(ConfigurationError, match="gives no finite number"):
        made(diverged, (X, 0), TorchScript(), tmp_path)


def test_what_a_file_prints_when_it_is_run_stays_unsaid(
    tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    class Loud(TorchScript):
        """As ONNX Runtime, from C++, and as torch's readers."""

        def load(self, path: pathlib.Path) -> Any:
            right = super().load(path)
            os.write(2, b"loaded")

            def run(example: Example) -> object:
                os.write(2, b"failed")
                return right(example)

            return run

    made(Module(), (X, 0), Loud(), tmp_path)
    assert capfd.readouterr().err == ""


def test_several_script_modules_of_an_override_are_told(tmp_path: pathlib.Path) -> None:
    class Several(Module):
        """As `to_torchscript` documents it."""

        def to_torchscript(self, *args: Any, **kwargs: Any) -> Any:
            return {"encoder": torch.jit.script(self.net), "head": torch.jit.script(self.net)}

    with pytest.raises(ExportError, match="returns the 2 modules encoder, head, and a file holds one"):
        made(Several(), X, TorchScript(), tmp_path)


def test_module_without_forward_or_with_one_that_fails_is_told() -> None:
    class Without(pl.LightningModule):
        """No forward."""

    with pytest.raises(ConfigurationError, match=r"Without has no forward\(\)"):
        Model(Without())
    model, example = model_and_input(Module(), torch.randn(6, 5))
    with pytest.raises(
        ConfigurationError, match=r"(?s)forward\(\) fails with the input.*x float32 \[6, 5\].*example_input"
    ):
        model.expected(example)


def test_libraries_that_are_missing_are_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name.startswith("onnx") else object())
    with pytest.raises(ConfigurationError, match=r"pip install onnx onnxscript onnxruntime"):
        check_installed("onnx")
    check_installed("torchscript")


class OfWords(pl.LightningModule):
    """Text of any length, which an exporter follows; or with a branch for long text, of which it follows one side; or of 7."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.words, self.head = torch.nn.Embedding(10, 4), torch.nn.Linear(28 if kind == "fixed" else 4, 2)
        self.kind = kind

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        found = self.words(ids)
        made: torch.Tensor = self.head(found.flatten(1) if self.kind == "fixed" else found.mean(1))
        return -made if self.kind == "branch" and ids.shape[1] > 6 else made


@pytest.mark.parametrize("target", ["onnx", "exported_program"])
@pytest.mark.parametrize("kind", ["any", "branch", "fixed"])
def test_sizes_in_which_two_batches_differ_are_free_where_the_model_takes_any(
    tmp_path: pathlib.Path, target: str, kind: str
) -> None:
    model = Model(OfWords(kind))
    one, two = (Example((torch.ones(4, size, dtype=torch.int64),), {}, ("ids",), "data") for size in (7, 5))
    form = Onnx(model.run) if target == "onnx" else ExportedProgram()
    made = export(model, one.beside(two), form, tmp_path, "model")
    assert made.any_batch_size and made.sizes == (1, 3, 4)
    assert made.free == ("ids dimension 1 (tried with 7 and 5)" if kind == "any" else "")
    assert any("for any ids dimension 1" in note for note in made.notes) is (kind == "branch")
    other = Example((torch.arange(18).reshape(2, 9) % 10,), {}, ("ids",), "data")
    if kind == "any":
        assert compare(model.run(other), form.load(made.files[0])(other)).fault is None


class Logging(Module):
    """Logs in forward."""

    def forward(self, x: Tensor) -> Any:
        made = super().forward(x)
        self.log("mean", made.mean())
        return made


class WithHookInData(pl.LightningDataModule):
    """Its hooks ask the Trainer, and make of a batch what forward takes."""

    def val_dataloader(self) -> Any:
        return torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X), batch_size=6)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        assert self.trainer is not None and self.trainer.validating
        return {"x": 2 * batch[0]}


def test_batch_comes_through_the_hooks_as_in_a_validation_and_forward_runs_without_a_trainer(
    tmp_path: pathlib.Path,
) -> None:
    class Trial(LightningAdapter):
        """Untrained."""

        def __init__(self, context: Any) -> None:
            super().__init__(context, Logging(), WithHookInData(), max_epochs=1)

    _, example = export_trial(fresh_trial(Trial), "exported_program", tmp_path / "a.pt2", overwrite=False)
    assert example is not None and torch.equal(example.args[0], 2 * X)
