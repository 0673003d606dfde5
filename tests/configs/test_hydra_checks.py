"""What is wrong with a Hydra tree is told at once, with its place, before anything is made."""

from __future__ import annotations

import copy
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lightning_adapter.cli import main
from lightning_adapter.configs import hydra_tree
from lightning_adapter.configs.parts import Tree
from lightning_adapter.errors import ConfigurationError

from . import hydra_files

pytest.importorskip("hydra")


@pytest.fixture
def files(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    hydra_files.write(project)
    monkeypatch.syspath_prepend(str(project))
    yield project


TREE: Tree = {
    "model": {
        "_target_": "hydra_project.Model",
        "net": {"_target_": "hydra_project.Net", "inputs": 4, "width": 2, "outputs": 1},
        "optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1},
    },
    "data": {"_target_": "hydra_project.Data", "batch_size": 4},
    "trainer": {"_target_": "pytorch_lightning.Trainer", "max_epochs": 1},
}


def changed(changes: dict[str, Any]) -> Tree:
    """The tree with other values at dotted places."""
    tree = copy.deepcopy(TREE)
    for place, value in changes.items():
        *groups, last = place.split(".")
        node = tree
        for name in groups:
            node = node.setdefault(name, {})
        node[last] = value
    return tree


def test_a_whole_tree_is_checked_and_nothing_is_made(files: Path) -> None:
    tree = hydra_tree.compose("configs", None, ["callbacks=two", "logger=csv"])
    hydra_tree.check(tree, files)
    assert importlib.import_module("hydra_project").MADE == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_imports_": 3}, "_imports_ is 3; give a list of modules"),
        (
            {"model": None, "lit": {"_target_": "needing.Lit"}},
            "is a LightningModule; lit._target_ is 'needing.Lit', and importing",
        ),
        (
            {"model._target_": "hydra_project.Modl"},
            "model._target_ is 'hydra_project.Modl', and hydra_project has no 'Modl'; did you mean 'Model'?",
        ),
        (
            {"model._target_": "hydra_projct.Model"},
            "there is no module 'hydra_projct', neither installed nor in the current directory",
        ),
        (
            {"model.net._target_": "hydra_project.Net.deep"},
            "model.net._target_ is 'hydra_project.Net.deep', and hydra_project.Net has no 'deep'",
        ),
        ({"model._target_": "needing.Model"}, "importing needing fails: it imports 'not_installed_anywhere'"),
        ({"model._target_": "of_a_src.Model"}, "it lies below src/: set PYTHONPATH=src"),
        ({"model._target_": "hydra_project"}, "is of type module; name a class or a function"),
        ({"model._target_": "..Model"}, "a target is written as package.module.Class"),
        ({"model.net._target_": "${nope}"}, "model.net._target_: Interpolation key 'nope' not found"),
        ({"model._target_": "???"}, "model._target_: `???` means"),
        ({"model.net.widht": 3}, "model.net.widht: hydra_project.Net has no argument 'widht'; did you mean 'width'?"),
        (
            {"model.net": {"_target_": "hydra_project.Net", "inputs": 1}},
            "model.net: hydra_project.Net needs 'width', 'outputs', which nothing gives",
        ),
        (
            {"model.net._args_": [1, 2, 3, 4], "model.net.inputs": 1},
            "takes at most 3 positional arguments, and `_args_` has 4",
        ),
        ({"model.net._args_": [1]}, "model.net.inputs: hydra_project.Net gets 'inputs' twice, by `_args_` too"),
        ({"model.net._args_": 1}, "model.net._args_ is 1; write a list"),
        ({"model.net._partial_": "yes"}, "model.net._partial_ is 'yes'; write true or false"),
        (
            {"model.optimizer": {"_target_": "torch.optim.SGD", "lr": 0.1}},
            "needs 'params', which nothing gives; write `_partial_: true` beside it",
        ),
        (
            {"model.optimizer.learning_rate": 1},
            "model.optimizer.learning_rate: torch.optim.SGD has no argument 'learning_rate'",
        ),
        (
            {"model.extra": "${my_own:1}"},
            "model.extra: Unsupported interpolation type my_own; a resolver is known once the module",
        ),
        ({"model.extra": "${hydra.job.name}"}, "what belongs to Hydra's job is written ${hydra:...}"),
        ({"model.extra": "${oc.env:NOT_SET_ANYWHERE}"}, "Environment variable 'NOT_SET_ANYWHERE' not found"),
        (
            {"model.extra": "${later}", "later": "???"},
            "model.extra: refers to later, where `???` means that a value must be given",
        ),
        ({"model.extra": "${model.extra}"}, "model.extra: Recursive interpolation detected"),
        (
            {
                "model.extra": "${here",
            },
            "model.extra: no viable alternative at input '${here'",
        ),
        ({"model.extra": {"a": "${there}"}, "there": {"b": "${model.extra}"}}, "model.extra"),
        (
            {"trainer._target_": "hydra_project.Net"},
            "trainer._target_ is 'hydra_project.Net', and training here stands in for Lightning's own Trainer",
        ),
        (
            {"trainer._target_": "lightning.pytorch.Trainer"},
            "derives from pytorch_lightning's LightningModule; write pytorch_lightning.Trainer",
        ),
        (
            {"trainer.max_epoch": 3},
            "trainer.max_epoch: pytorch_lightning.Trainer has no argument 'max_epoch'; did you mean 'max_epochs'?",
        ),
        ({"trainer._args_": [1]}, "trainer._args_: give the Trainer its arguments by name"),
        ({"trainer": "???"}, "trainer: `???` means that a value must be given"),
        (
            {"trainer": {"max_epoch": 1}},
            "trainer.max_epoch: the Trainer has no argument 'max_epoch'; did you mean 'max_epochs'?",
        ),
        (
            {"trainer": None, "trianer": {"x": {}}},
            "there is no 'trainer' with a `_target_`, nor another node whose class",
        ),
        ({"trainer": 3}, "there is no 'trainer'"),
        (
            {"model": None, "modle": {"_target_": "hydra_project.Net"}},
            "nor another node whose class is a LightningModule; did you mean 'modle'?",
        ),
        (
            {"model": None, "a": TREE["model"], "b": TREE["model"]},
            "a, b all are of a LightningModule: say which one is trained",
        ),
        ({"model": "${nope}"}, "model: Interpolation key 'nope' not found"),
        ({"data": "${nope}"}, "data: Interpolation key 'nope' not found"),
        ({"callbacks": {"a": "${nope}"}}, "callbacks.a: Interpolation key 'nope' not found"),
        ({"callbacks": [{"_target_": "hydra_project.Told"}]}, "callbacks[0]: hydra_project.Told needs 'name'"),
        ({"callbacks": 3}, "callbacks is 3; give a group or a list"),
        (
            {"callbacks": [{"_target_": "hydra_project.Told", "name": 1}], "trainer.callbacks": []},
            "callbacks and trainer.callbacks both say what the Trainer gets",
        ),
        ({"seed": -1}, "seed is -1; give a whole number from 0 to 4294967295"),
        ({"hydra": {"jbo": 1}}, "hydra holds what Hydra's own node does not: Key 'jbo' not in 'HydraConf'"),
        ({"_imports_": "not_there"}, "_imports_ names 'not_there', which cannot be imported"),
    ],
)
def test_a_fault_is_told_with_its_place(files: Path, changes: dict[str, Any], message: str) -> None:
    (files / "needing.py").write_text("import not_installed_anywhere\n")
    (files / "src").mkdir()
    (files / "src" / "of_a_src").mkdir()
    with pytest.raises(ConfigurationError) as caught:
        hydra_tree.check(changed(changes), files)
    assert message in str(caught.value)


def test_all_faults_are_in_one_message(files: Path) -> None:
    tree = changed(
        {
            "model.net.width": "???",
            "data.batch_size": "???",
            "model.extra": "${nope}",
            "trainer.max_epoch": 3,
            "seed": "x",
        }
    )
    with pytest.raises(ConfigurationError) as caught:
        hydra_tree.check(tree, files)
    text = str(caught.value)
    assert text.startswith("configuration has 4 faults:")
    assert "data.batch_size, model.net.width: `???` means that a value must be given" in text
    for part in ("model.extra: ", "trainer.max_epoch: ", "seed is 'x'"):
        assert part in text


@pytest.mark.parametrize(
    "changes",
    [
        {"unused": "???", "other": "${nope}", "tags": ["${nope}"]},
        {"model.optimizer.momentum": "???"},  # of a partial, whose caller gives it
        {"callbacks": {"monitor": {"patience": "???", "mode": "${nope}"}}},  # says something of a callback not chosen
        {"callbacks": None, "logger": {}},
        {"model.extra": {"_target_": "builtins.dict", "_recursive_": False, "a": {"_target_": "not.there"}}},
        {"data": None},
        {
            "data": {"batch_size": 3},
            "datamodule": {"_target_": "hydra_project.Data", "batch_size": "${data.batch_size}"},
        },
        {
            "data": {"_target_": "hydra_project.Told", "name": "x"},
            "datamodule": {"_target_": "hydra_project.Data", "batch_size": 1},
        },
        {"model.extra": "${things}", "things": {"_target_": "hydra_project.Told", "name": "${seed}"}, "seed": 1},
    ],
)
def test_what_hydra_would_not_mind_is_no_fault(files: Path, changes: dict[str, Any]) -> None:
    tree = changed(changes)
    hydra_tree.check(tree, files)
    hydra_tree.build(tree, files)


def test_what_to_do_about_resolvers_is_told_once(files: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        hydra_tree.check(changed({"model.extra": ["${mine:1}", "${mine:2}", "${yours:3}"]}), files)
    text = str(caught.value)
    assert text.count("Unsupported interpolation type") == 3 and text.count("_imports_: [package.module]") == 1


def test_a_fault_names_the_line_of_the_file_or_the_override_that_says_it(files: Path) -> None:
    (files / "configs" / "model" / "plain.yaml").write_text(
        "_target_: hydra_project.Model\nnet:\n  _target_: hydra_project.Nett\n  inputs: 1\noptimizer: ???\n"
    )
    (files / "configs" / "experiment" / "bad.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /callbacks: stop\nmodel:\n  out: ${nope}\n"
    )
    overrides = ["experiment=bad", "+trainer.max_epoch=3", "seed=x"]
    tree = hydra_tree.compose("configs", None, overrides)
    with pytest.raises(ConfigurationError) as caught:
        hydra_tree.check_composed(tree, files, "configs", None, overrides)
    text = str(caught.value)
    for fault, where in {
        "model.optimizer, callbacks.early_stopping.monitor: ": "plain.yaml, line 5; configs/callbacks/stop.yaml, line 3)",
        "model.net._target_ is": "(configs/model/plain.yaml, line 3)",
        "model.out: Interpolation": "(configs/experiment/bad.yaml, line 5)",
        "trainer.max_epoch: pytorch_lightning.Trainer has no": "(the override +trainer.max_epoch=3)",
        "seed is 'x'": "(the override seed=x)",
    }.items():
        line = next(line for line in text.splitlines() if fault in line)
        assert line.endswith(where), line


def test_the_command_names_the_file_and_shows_no_traceback(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--hydra", "configs", "model.net._target_=hydra_project.Nett", "+model.net.deep=1"]) == 2
    said = capsys.readouterr().err
    assert "did you mean 'Net'? (the override model.net._target_=hydra_project.Nett)" in said
    (files / "configs" / "model" / "plain.yaml").write_text("_target_: hydra_project.Modl\n")
    assert main(["fit", "--hydra", "configs/train"]) == 2
    said += capsys.readouterr().err
    assert "did you mean 'Model'? (configs/model/plain.yaml, line 1)" in said
    assert "Traceback" not in said
    assert not (files / "runs").exists()


def test_code_that_fails_while_it_is_imported_shows_its_own_exception(files: Path) -> None:
    (files / "failing.py").write_text("raise ZeroDivisionError('as I am imported')\n")
    with pytest.raises(ZeroDivisionError, match="as I am imported"):
        hydra_tree.check(changed({"model._target_": "failing.Model"}), files)
