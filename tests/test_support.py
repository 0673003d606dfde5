from __future__ import annotations

import importlib
import inspect
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
from packaging.version import Version
from torch import nn

from lightning_adapter import support
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.support import Row, Support

ROOT = Path(__file__).resolve().parents[1]
# Imported here and not in the fixture: the import of Lightning sets an environment variable, which no test may.
PACKAGES = [name for name in ("pytorch_lightning", "lightning.pytorch") if find_spec(name.partition(".")[0])]
for package in PACKAGES:
    importlib.import_module(package)
CLASSES = ("LightningModule", "LightningDataModule", "Callback")


@pytest.fixture(params=PACKAGES)
def lightning(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


def public_names(cls: type) -> set[str]:
    """What Lightning adds: attributes of its classes and of a bare instance, without those of torch.nn.Module."""
    ground = (*nn.Module.__mro__, object)
    names = {name for base in cls.__mro__ if base not in ground for name in vars(base)}
    names |= set(vars(cls())) - set(vars(nn.Module()))
    return {name for name in names if not name.startswith("_")}


def names_of(owner: str, version: str) -> set[str]:
    kinds = ("argument",) if owner == "Trainer argument" else ("hook", "method", "property")
    return {row.name for row in support.rows(owner, version) if row.kind in kinds}


@pytest.mark.parametrize("owner", CLASSES)
def test_rows_of_a_class_are_exactly_what_the_installed_lightning_has(lightning: ModuleType, owner: str) -> None:
    installed = public_names(getattr(lightning, owner))
    listed = names_of(owner, lightning.__version__)

    assert installed - listed == set(), "names without a row"
    assert listed - installed == set(), "rows without a name"


def test_rows_of_trainer_arguments_are_exactly_what_the_installed_lightning_has(lightning: ModuleType) -> None:
    installed = set(inspect.signature(lightning.Trainer.__init__).parameters) - {"self"}
    listed = names_of("Trainer argument", lightning.__version__)

    assert installed - listed == set(), "arguments without a row"
    assert listed - installed == set(), "rows without an argument"


def test_rows_of_a_parameter_name_a_hook_of_the_same_owner() -> None:
    parameters = [row for row in support.TABLE if row.kind == "argument" and row.owner != "Trainer argument"]

    assert {row.name for row in parameters} == {
        "training_step(hiddens)",
        "training_step(dataloader_iter)",
        "validation_step(dataloader_iter)",
    }
    for row in parameters:
        assert row.name.partition("(")[0] in names_of(row.owner, "1.9.5")


@pytest.mark.parametrize(
    ("owner", "names"),
    [
        (
            "LightningModule",
            "training_epoch_end validation_epoch_end test_epoch_end training_step_end validation_step_end "
            "test_step_end tbptt_split_batch truncated_bptt_steps on_epoch_start on_epoch_end "
            "on_pretrain_routine_start on_pretrain_routine_end get_progress_bar_dict on_hpc_save on_hpc_load "
            "add_to_queue get_from_queue on_post_move_to_device on_train_dataloader on_val_dataloader log_grad_norm",
        ),
        ("LightningDataModule", "on_save_checkpoint on_load_checkpoint on_train_dataloader on_val_dataloader"),
        (
            "Callback",
            "on_epoch_start on_epoch_end on_batch_start on_batch_end on_keyboard_interrupt on_init_start on_init_end "
            "on_pretrain_routine_start on_pretrain_routine_end on_configure_sharded_model "
            "on_before_accelerator_backend_setup",
        ),
        ("Trainer argument", "gpus auto_lr_find auto_scale_batch_size replace_sampler_ddp resume_from_checkpoint"),
    ],
)
def test_names_that_lightning_2_lost_are_in_the_table_and_end_before_2(owner: str, names: str) -> None:
    rows = {row.name: row for row in support.rows(owner)}

    for name in names.split():
        until = rows[name].until
        assert until is not None and Version(until) <= Version("2.0"), name
        assert rows[name] not in support.rows(owner, "2.0.0")


def test_everything_rejected_in_a_class_is_about_tbptt_or_sharding() -> None:
    rejected = {(row.owner, row.name) for row in support.TABLE if row.support is Support.REJECTED}

    assert {(owner, name) for owner, name in rejected if owner != "Trainer argument"} == {
        ("LightningModule", "tbptt_split_batch"),
        ("LightningModule", "truncated_bptt_steps"),
        ("LightningModule", "training_step(hiddens)"),
        ("LightningModule", "configure_sharded_model"),
        ("Callback", "on_configure_sharded_model"),
    }


@pytest.mark.parametrize("owner", CLASSES)
def test_every_hook_of_testing_and_predicting_is_warned_about(owner: str) -> None:
    unused = [
        row for row in support.rows(owner) if row.kind == "hook" and ("test" in row.name or "predict" in row.name)
    ]

    assert unused
    assert {row.support for row in unused} == {Support.WARNED}


def test_arguments_of_the_adapter_with_lightnings_names_are_supported() -> None:
    accepted = (
        "precision strategy gradient_clip_val gradient_clip_algorithm accumulate_grad_batches callbacks logger "
        "log_every_n_steps max_epochs min_epochs max_steps min_steps max_time limit_train_batches limit_val_batches "
        "limit_test_batches limit_predict_batches "
        "overfit_batches fast_dev_run val_check_interval check_val_every_n_epoch num_sanity_val_steps "
        "reload_dataloaders_every_n_epochs use_distributed_sampler sync_batchnorm inference_mode detect_anomaly "
        "deterministic benchmark enable_progress_bar enable_model_summary barebones amp_backend amp_level "
        "default_root_dir enable_autolog_hparams"
    )
    supported = {row.name for row in support.rows("Trainer argument") if row.support is Support.SUPPORTED}

    assert supported == set(accepted.split())


def test_no_name_has_two_rows_of_one_owner() -> None:
    keys = [(row.owner, row.name) for row in support.TABLE]

    assert sorted({key for key in keys if keys.count(key) > 1}) == []


@pytest.mark.parametrize("row", support.TABLE, ids=lambda row: f"{row.owner}.{row.name}")
def test_row_is_well_formed(row: Row) -> None:
    assert row.owner in support.OWNERS
    assert row.kind in ("hook", "method", "property", "argument")
    assert not row.reason.endswith(".") and not row.instead.endswith(".")
    if row.support is Support.SUPPORTED:
        assert row.instead == ""
    else:
        assert row.reason and row.instead
    if row.since is not None and row.until is not None:
        assert Version(row.since) < Version(row.until)


@pytest.mark.parametrize(
    ("version", "holds"),
    [("1.6.5", False), ("1.7.0", True), ("1.7.0rc1", True), ("1.9.5", True), ("2.0.0.dev0", False), ("2.0", False)],
)
def test_row_holds_from_since_up_to_but_without_until(version: str, holds: bool) -> None:
    row = Row("Callback", "on_moon", "hook", Support.SUPPORTED, since="1.7", until="2.0")

    assert row.holds_for(version) is holds


def test_rows_without_version_hold_those_of_every_version() -> None:
    every = support.rows("LightningModule")

    assert [row for row in support.TABLE if row.owner == "LightningModule"] == every
    assert {"training_epoch_end", "to_tensorrt"} <= {row.name for row in every}


def test_rows_of_a_misspelled_owner_raise_with_a_guess() -> None:
    with pytest.raises(ConfigurationError, match="no owner 'LightningModul': did you mean 'LightningModule'"):
        support.rows("LightningModul")


def test_rows_of_an_unknown_owner_raise_with_the_choices() -> None:
    with pytest.raises(ConfigurationError, match="no owner 'xyz': choose one of 'LightningModule', "):
        support.rows("xyz")


def test_docs_are_what_the_table_renders() -> None:
    written = (ROOT / "docs" / "support.md").read_text(encoding="utf-8")

    assert written == support.render_markdown(), "stale; run python -m lightning_adapter.support > docs/support.md"


def test_markdown_has_one_table_line_for_each_row_with_five_cells() -> None:
    lines = [line for line in support.render_markdown().splitlines() if line.startswith("| `")]

    assert len(lines) == len(support.TABLE)
    assert {len(line.replace("\\|", "").strip("|").split("|")) for line in lines} == {5}


def test_module_run_as_a_program_prints_the_markdown() -> None:
    printed = subprocess.run(
        [sys.executable, "-m", "lightning_adapter.support"], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert printed.stdout == support.render_markdown()
