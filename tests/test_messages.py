"""Is a user told what Lightning's Trainer tells, in the same words: every warning and every line of information?"""

from __future__ import annotations

import ast
import contextlib
import logging
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from lightning_utilities.core.rank_zero import WarningCache
from torch.utils.data import DataLoader, IterableDataset

import lightning_adapter
from lightning_adapter.monkey_patch import NoEffectWarning
from two_ways import BoringDataModule, BoringModel, Fit, outcomes

ONE_BATCH = {"max_epochs": 1, "limit_train_batches": 1, "limit_val_batches": 0}

#: What Lightning says in fit and the adapter does not, by a part of the words, with the reason.
NOT_GIVEN = {
    ".configure_sharded_model` which is deprecated": "is rejected",
    "GPU available": "Determined chooses the device",
    "TPU available": "Determined chooses the device",
    "=1.0)` was configured so ": "is the default, which cannot be told from a value that was given",
    " strategy. Please instantiate your model inside the`LightningModule.configure_model`": "trainer.init_module is not there",
    "auto-requeue": "SLURM starts no trial",
    "equeuing SLURM job": "SLURM starts no trial",
    "SLURM auto-requeueing": "SLURM starts no trial",
    "requeing job ": "SLURM starts no trial",
    "Requeued SLURM job: ": "SLURM starts no trial",
    " failed with error code ": "SLURM starts no trial",
    "Received SIGTERM": "a signal has words of its own, which say what happens next",
    "Bypassing SIGTERM: ": "a signal has words of its own",
    "multi-GPU inside interactive / notebook environments": "the number of processes is the job's",
    "is recommended to use `Trainer(devices=1, num_nodes=1)`": "validation sees each sample once",
    "Tip: For seamless cloud": "advertises another service",
    "Restoring states from the checkpoint path at ": "said in other words, with the checkpoint that was chosen",
    " from the checkpoint at ": "said in other words",
    "(ckpt_path=None)` was called without a model": "fit has its checkpoint by resume_from",
    " was called but then you passed `trainer.fit(ckpt_path=": "fit has its checkpoint by resume_from",
    '(ckpt_path="best")` is called with Trainer': "fit has its checkpoint by resume_from",
    '(ckpt_path="last") is set, but there is no last checkpoint': "fit has its checkpoint by resume_from",
    "`weights_only` was not set, defaulting to `False`.": "says what the argument's default says",
    "Starting from v1.9.0, `tensorboardX` has been removed": "TensorBoard comes with Determined",
    " was called before the ``update`` method": "results are never computed before they are updated; torchmetrics warns itself",
    "when logging on epoch level in distributed setting": "values of an epoch are always reduced over all processes",
    "`Trainer.fit` stopped: No training batches.": "an empty training set is refused",
    "You're resuming from a checkpoint that ended before the epoch ended": "a resume goes on at the very batch",
    "predict returned None": "Lightning's own Trainer predicts, and says it",
    "Couldn't infer the batch indices fetched from your dataloader": "Lightning's own Trainer predicts, and says it",
    "Your predictions might be incomplete": "Lightning's own Trainer predicts, and says it",
    "for prediction. Lightning would normally set `drop_last=False`": "Lightning's own Trainer predicts, and says it",
    "must be implemented to be used with the Lightning Trainer": "is refused before",
    "`LightningModule.to_torchscript` has been deprecated": "Lightning's own code runs",
    "the `self.trainer` reference is not registered on the model yet": "Lightning's own code runs",
    "HINT: remove them from the output of `configure_optimizers`": "Lightning's own code runs",
    "A `OneCycleLR` scheduler is using 'interval': 'epoch'": "Lightning's own code runs",
    "but the keys will be ignored. You need to call `lr_scheduler.step()`": "Lightning's own code runs",
    "Trying to infer the `batch_size` from an ambiguous collection": "Lightning's own code runs",
    "but local rank has zero length": "a process may have no batch of a validation",
}

#: What the adapter adds.
OURS_ALONE = "without logging it. As in Lightning"
#: Where a message goes on after Lightning's words.
ADDED = " What is logged at single training steps"

# --- all of Lightning's words are settled -----------------------------------------------------------------------------

SPEAKING = {"rank_zero_warn", "rank_zero_info", "rank_zero_deprecation", "warn", "info", "warning", "deprecation"}


def texts_in(node: ast.expr) -> list[str]:
    """The parts of a text that stand in the source."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return [node.value]
    if isinstance(node, ast.JoinedStr):
        return [text for value in node.values for text in texts_in(value)]
    if isinstance(node, ast.BinOp):
        return texts_in(node.left) + texts_in(node.right)
    return [text for child in node.args for text in texts_in(child)] if isinstance(node, ast.Call) else []


def said_in(path: Path) -> Iterator[list[str]]:
    """What a file of Lightning's may say."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and node.args:
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in SPEAKING and texts_in(node.args[0]):
                yield texts_in(node.args[0])


def test_whatever_lightning_says_in_fit_is_given_in_its_words_or_has_a_reason_not_to_be() -> None:
    root = Path(pl.__file__).parent
    files = [
        *(root / "trainer").rglob("*.py"), *(root / "loops").rglob("*.py"), root / "core" / "module.py",
        root / "core" / "optimizer.py", root / "utilities" / "data.py",
    ]  # fmt: skip
    ours = [
        text
        for path in Path(lightning_adapter.__file__).parent.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.expr)
        for text in texts_in(node)
    ]
    unsettled = [
        f"{path.relative_to(root)}: {' ... '.join(texts)}"
        for path in files
        for texts in said_in(path)
        if not any(max(texts, key=len) in given for given in ours)
        and not any(part in "".join(texts) for part in NOT_GIVEN)
    ]
    assert not unsettled


# --- small situations, under both -------------------------------------------------------------------------------------


def forget_what_was_said() -> None:
    """Empty Lightning's caches of messages that are given once in a process, those of modules and of classes."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in ("pytorch_lightning", "lightning_fabric", "lightning"):
            holders = [module, *(value for value in vars(module).values() if isinstance(value, type))]
            for value in [value for holder in holders for value in vars(holder).values()]:
                if isinstance(value, WarningCache):
                    value.clear()


@contextlib.contextmanager
def listening(told: set[str]) -> Iterator[None]:
    """Hear warnings and what Lightning logs, those that it has given in this process before too."""
    forget_what_was_said()

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.add(record.getMessage())

    keep, loggers = Keep(), [logging.getLogger(name) for name in ("pytorch_lightning", "lightning_fabric", "lightning")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(keep)
        logger.setLevel(logging.INFO)
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            yield
        told.update(
            str(one.message)
            for one in seen
            if not issubclass(one.category, (NoEffectWarning, DeprecationWarning, FutureWarning))
        )
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.removeHandler(keep)
            logger.setLevel(level)


class Sized(IterableDataset):  # type: ignore[type-arg]
    def __iter__(self) -> Iterator[torch.Tensor]:
        return iter(torch.randn(4, 32))

    def __len__(self) -> int:
        return 4


def with_loader(stage: str, **options: Any) -> Any:
    class Model(BoringModel):
        pass

    dataset = options.pop("dataset", torch.randn(8, 32))
    setattr(Model, f"{stage}_dataloader", lambda self: DataLoader(dataset, **options))
    return Model()


def with_method(name: str, method: Any) -> Any:
    return type("Model", (BoringModel,), {name: method})()


def stop(self: Any, *args: Any) -> None:
    self.trainer.should_stop = True


def log_to_logger(self: Any) -> None:
    self.log("x", 1.0, logger=True)


def log_whole_number(self: Any) -> None:
    self.log("x", torch.tensor(1))


def frozen() -> Any:
    model = BoringModel()
    model.layer.eval()
    return model


def iterating(self: Any, dataloader_iter: Any) -> Any:
    return self.layer(next(dataloader_iter)[0]).sum()


def with_transfer() -> Any:
    return with_method("on_before_batch_transfer", lambda self, batch, dataloader_idx: batch)


def plateau(strict: bool) -> Callable[[Any], Any]:
    def configure_optimizers(self: Any) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "monitor": "nothing", "strict": strict},
        }

    return configure_optimizers


class OwnData(BoringDataModule):
    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return batch


def summary(self: Any) -> Any:
    return pl.callbacks.ModelSummary(max_depth=2)


#: Name, what is trained, and under which arguments.
SITUATIONS: list[tuple[str, Callable[[], Any], dict[str, Any]]] = [
    ("modules in eval mode", frozen, {}),
    ("no validation_step", lambda: with_method("validation_step", None), {"limit_val_batches": 1}),
    ("no val_dataloader", lambda: with_method("val_dataloader", None), {"limit_val_batches": 1}),
    ("no max_epochs", lambda: with_method("on_train_epoch_end", stop), {"max_epochs": None}),
    ("max_epochs and max_steps", BoringModel, {"max_epochs": 2, "max_steps": 1}),
    ("minima not met", lambda: with_method("on_train_epoch_end", stop), {"max_epochs": 3, "min_epochs": 2}),
    ("overfitting with shuffling", lambda: with_loader("train", shuffle=True), {"overfit_batches": 1}),
    ("overfitting", BoringModel, {"overfit_batches": 2}),
    ("iterable dataset with a length", lambda: with_loader("train", dataset=Sized()), {"limit_train_batches": 2}),
    ("validation that shuffles", lambda: with_loader("val", shuffle=True), {"limit_val_batches": 1}),
    ("validation without samples", lambda: with_loader("val", dataset=[]), {"limit_val_batches": 1.0}),
    ("name without a logger", lambda: with_method("on_train_epoch_end", log_to_logger), {}),
    ("whole number", lambda: with_method("on_train_epoch_end", log_whole_number), {}),
    ("short epoch with a logger", BoringModel, {"logger": True}),
    ("dataloader_iter", lambda: with_method("training_step", iterating), {}),
    ("step that returns None", lambda: with_method("training_step", lambda self, batch, batch_idx: None), {}),
    ("no optimizer", lambda: with_method("configure_optimizers", lambda self: None), {}),
    ("plateau scheduler without its metric", lambda: with_method("configure_optimizers", plateau(False)), {}),
    ("fast_dev_run", BoringModel, {"fast_dev_run": True}),
    ("one batch between validations", BoringModel, {"limit_val_batches": 1, "val_check_interval": 1}),
    ("anomaly detection", BoringModel, {"detect_anomaly": True}),
    ("deterministic and benchmark", BoringModel, {"deterministic": "warn", "benchmark": True}),
    ("mixed precision", BoringModel, {"precision": "16-mixed"}),
    ("timer twice", BoringModel, {"callbacks": [pl.callbacks.Timer("00:01:00:00")], "max_time": "00:01:00:00"}),
    ("summary of the module", lambda: with_method("configure_callbacks", summary),
     {"callbacks": [pl.callbacks.ModelSummary()], "enable_model_summary": True}),
    ("transfer hook of the module, with a datamodule", with_transfer, {"data": BoringDataModule}),
    ("transfer hooks of both", with_transfer, {"data": OwnData}),
    ("estimated steps", lambda: with_method("on_fit_start", lambda self: self.trainer.estimated_stepping_batches), {}),
    ("barebones", BoringModel, {"barebones": True}),
    ("barebones and a logged value", lambda: with_method("on_train_epoch_end", log_to_logger), {"barebones": True}),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "arguments"), [each[1:] for each in SITUATIONS], ids=[each[0] for each in SITUATIONS]
)
def test_user_is_told_what_lightning_tells(model: Callable[[], Any], arguments: dict[str, Any], tmp_path: Path) -> None:
    def situation(train: Fit) -> set[str]:
        told: set[str] = set()
        given = {**ONE_BATCH, **arguments}
        data = given.pop("data", lambda: None)()
        with listening(told):
            train(model(), data, **given)
        said = {line for line in told if not any(part in line for part in (*NOT_GIVEN, OURS_ALONE))}
        return {line.partition(ADDED)[0] for line in said}

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == theirs


def test_callback_of_the_checkpoint_that_is_missing_is_named(tmp_path: Path) -> None:
    def saving() -> list[Any]:
        stopping = pl.callbacks.EarlyStopping("x", check_on_train_epoch_end=True, strict=False)
        return [stopping, pl.callbacks.ModelCheckpoint(tmp_path / "saved")]

    def situation(train: Fit) -> list[str]:
        told: set[str] = set()
        train(BoringModel(), callbacks=saving(), **ONE_BATCH)
        file = next((tmp_path / "saved").iterdir())
        with listening(told):
            train(BoringModel(), ckpt_path=file, **{**ONE_BATCH, "max_epochs": 2})
        file.unlink()
        return [line[:120] for line in told if "callbacks used to create the checkpoint" in line]

    theirs, ours = outcomes(tmp_path, situation)
    assert ours == theirs
    assert ours
