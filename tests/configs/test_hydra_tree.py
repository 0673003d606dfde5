"""Hydra's configurations: composed, kept as plain data, and what they refer to of Hydra's job."""

from __future__ import annotations

import copy
import enum
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lightning_adapter.configs import hydra_tree
from lightning_adapter.errors import ConfigurationError

from . import hydra_files

hydra = pytest.importorskip("hydra")
from hydra.core.config_store import ConfigStore  # noqa: E402
from hydra.core.global_hydra import GlobalHydra  # noqa: E402
from hydra.core.hydra_config import HydraConfig  # noqa: E402
from hydra.version import VersionBase, getbase, setbase  # noqa: E402
from omegaconf import MISSING, OmegaConf  # noqa: E402


@pytest.fixture
def files(project: Path) -> Iterator[Path]:
    hydra_files.write(project)
    yield project


def the_librarys_own(directory: Path, name: str, overrides: list[str]) -> Any:
    with hydra.initialize_config_dir(str(directory), version_base=None):
        return OmegaConf.to_container(hydra.compose(name, overrides), resolve=False)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["experiment=wide", "logger=csv", "data.batch_size=8"],
        ["+extra={a: [1, 2]}", "~callbacks", "++model.extra=3", "width='5'"],
        ["~model.optimizer.lr", "tags=[b,c]", "+callbacks@trainer.more=two"],
    ],
)
def test_a_tree_is_what_hydra_composes_with_the_same_overrides(
    files: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    monkeypatch.setenv("PROJECT_ROOT", str(files))  # as the project's scripts have it
    tree = hydra_tree.compose("configs", "train", overrides)
    assert tree == the_librarys_own(files / "configs", "train", overrides)
    assert list(tree) == list(the_librarys_own(files / "configs", "train", overrides))
    assert tree["paths"]["output_dir"] == "${hydra:runtime.output_dir}"


@pytest.mark.parametrize(
    ("directory", "name"),
    [
        ("configs", None),
        ("configs", "train"),
        ("configs", "train.yaml"),
        ("configs/train", None),
        ("configs/train.yaml", None),
        ("./configs/", None),
    ],
)
def test_a_configuration_is_found_however_it_is_named(files: Path, directory: str, name: str | None) -> None:
    assert hydra_tree.compose(directory, name)["seed"] == 7
    assert hydra_tree.compose(files / directory, name)["seed"] == 7


def test_config_goes_before_train_and_the_only_file_is_taken(files: Path) -> None:
    (files / "configs" / "config.yaml").write_text("seed: 1")
    assert hydra_tree.compose("configs")["seed"] == 1
    (files / "one").mkdir()
    (files / "one" / "fit_it.yaml").write_text("seed: 2")
    assert hydra_tree.compose("one")["seed"] == 2
    (files / "one" / "other.yaml").write_text("seed: 3")
    with pytest.raises(ConfigurationError, match="one has fit_it, other: say which is the primary one, as in one/NAME"):
        hydra_tree.compose("one")


@pytest.mark.parametrize(
    ("directory", "overrides", "message"),
    [
        ("nowhere/train", [], "neither a directory nowhere/train nor a file nowhere/train.yaml"),
        ("configs/trian", [], "nor a file configs/trian.yaml; did you mean 'train'"),
        ("configs", ["model=deep"], r"Could not find 'model/deep'\s+Available options in 'model':\s+broken\s+plain"),
        ("configs", ["trainer.max_epoch=1"], "Key 'max_epoch' is not in struct"),
        ("configs", ["width=1,2"], "lightning-adapter init"),
        ("configs", ["width=["], "no viable alternative"),
        ("configs", ["+callbacks=[{a: 1}]"], r"cannot be composed: TypeError.*\ncallbacks= chooses a file of"),
        ("configs", ["model=broken"], r"broken.yaml.*line 2"),
        ("configs/experiment/wide", [], r"give .*configs/train experiment=wide"),
    ],
)
def test_what_cannot_be_composed_is_told_in_hydras_words(
    files: Path, directory: str, overrides: list[str], message: str
) -> None:
    (files / "configs" / "model" / "broken.yaml").write_text("a: 1\n b: [\n")
    with pytest.raises(ConfigurationError, match=message):
        hydra_tree.compose(directory, None, overrides)


def test_the_search_path_of_the_primary_file_is_followed(files: Path) -> None:
    (files / "elsewhere" / "model").mkdir(parents=True)
    (files / "elsewhere" / "model" / "other.yaml").write_text("_target_: x.Other\n")
    (files / "configs" / "far.yaml").write_text(
        "defaults: [train, override model: other]\nhydra:\n  searchpath: ['file://elsewhere']\n"
    )
    (files / "configs" / "far.yaml").write_text(
        "defaults:\n  - train\n  - override model: other\nhydra:\n  searchpath: ['file://elsewhere']\n"
    )
    assert hydra_tree.compose("configs", "far")["model"]["_target_"] == "x.Other"


def test_plugins_that_launch_jobs_and_write_logs_need_not_be_installed(files: Path) -> None:
    (files / "configs" / "plugged.yaml").write_text(
        """
defaults:
  - train
  - override hydra/launcher: a_cluster
  - override hydra/sweeper: a_searcher
  - override hydra/job_logging: coloured
  - _self_
hydra:
  launcher: {partition: long}
  sweeper: {params: {width: "1,2"}}
"""
    )
    assert hydra_tree.compose("configs", "plugged") == hydra_tree.compose("configs", "train")
    with pytest.raises(Exception, match="coloured"):  # nothing is left that another composition would take
        the_librarys_own(files / "configs", "plugged", [])
    GlobalHydra.instance().clear()
    store = ConfigStore.instance()
    store.store(group="hydra/launcher", name="a_cluster", node={"registered": "later"})
    hydra_tree.compose("configs", "plugged")
    assert store.load("hydra/launcher/a_cluster.yaml").node == {"registered": "later"}
    del store.repo["hydra"]["launcher"]["a_cluster.yaml"]


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass
class Structured:
    _target_: str = "hydra_project.Model"
    colour: Colour = Colour.BLUE
    sizes: tuple[int, int] = (1, 2)
    path: Path = Path("a/b")
    needed: int = MISSING
    inner: dict[str, float] = field(default_factory=lambda: {"x": 1.5})


def test_a_structured_configuration_becomes_plain_data(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ConfigStore.instance(), "repo", copy.deepcopy(ConfigStore.instance().repo))
    ConfigStore.instance().store(group="model", name="structured", node=Structured)
    with pytest.warns(UserWarning, match=r"model\.colour: a member of an Enum arrives as its name"):
        tree = hydra_tree.compose("configs", None, ["model=structured"])
    assert tree["model"] == {
        "_target_": "hydra_project.Model",
        "colour": "BLUE",
        "sizes": [1, 2],
        "path": "a/b",
        "needed": "???",
        "inner": {"x": 1.5},
    }
    json.dumps(tree)


SCHEMA = """
from dataclasses import dataclass
from hydra.core.config_store import ConfigStore

@dataclass
class Sizes:
    width: int = 64
    depth: int = 2

ConfigStore.instance().store(group="sizes", name="checked", node=Sizes)
"""


def test_configurations_that_a_module_registers_are_found_where_it_is_imported(files: Path) -> None:
    (files / "own_schema.py").write_text(SCHEMA)
    schema = files / "configs" / "with_schema.yaml"
    schema.write_text("defaults: [sizes: checked, _self_]\n")
    with pytest.raises(ConfigurationError, match=r"sizes(.|\n)*ConfigStore is found where .*\+_imports_=\[MODULE\]"):
        hydra_tree.compose("configs/with_schema")
    tree = hydra_tree.compose("configs", None, ["+sizes=checked", "+_imports_=[own_schema]", "sizes.width=3"])
    assert tree["sizes"] == {"width": 3, "depth": 2}
    with pytest.raises(ConfigurationError, match=r"Value 'x' of type 'str' could not be converted to Integer"):
        hydra_tree.compose("configs", None, ["+sizes=checked", "sizes.width=x"])
    del sys.modules["own_schema"], ConfigStore.instance().repo["sizes"]
    schema.write_text(f"{schema.read_text()}_imports_: own_schema\n")
    assert hydra_tree.compose("configs", "with_schema")["sizes"]["width"] == 64
    del ConfigStore.instance().repo["sizes"]


def test_keys_and_values_that_hyperparameters_cannot_hold_are_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"key 1 of a is of type int(.|\n)*b is b'x' of type bytes"):
        hydra_tree.tree_of(OmegaConf.create({"a": {1: 2}, "b": b"x"}))


def test_a_configuration_of_a_script_is_not_changed_whatever_its_flags() -> None:
    cfg = OmegaConf.create({"a": "${b}", "b": [1, "${c}"], "c": "x"})
    OmegaConf.set_readonly(cfg, True)
    OmegaConf.set_struct(cfg, True)
    before = OmegaConf.to_yaml(cfg)
    assert hydra_tree.tree_of(cfg) == {"a": "${b}", "b": [1, "${c}"], "c": "x"}
    assert OmegaConf.to_yaml(cfg) == before
    assert OmegaConf.is_readonly(cfg) and OmegaConf.is_struct(cfg)


def test_a_part_of_a_configuration_takes_along_what_it_refers_to() -> None:
    cfg = OmegaConf.create({"fit": {"a": "${b}/z", "c": "${d}", "own": "${e}"}, "b": "x", "d": {"e": "${b}"}})
    assert hydra_tree.tree_of(cfg.fit) == {"a": "x/z", "c": {"e": "x"}, "own": "${e}"}


def test_of_hydras_job_a_tree_keeps_what_it_refers_to(files: Path) -> None:
    tree = hydra_tree.compose(
        "configs",
        None,
        [
            "+a=${hydra:job.name}-${hydra:runtime.choices.model}",
            "+c=${hydra:run.dir}",
            "+hydra.job.env_set={CUDA_HOME: /x}",
        ],
    )
    assert tree["hydra"] == {
        "job": {"env_set": {"CUDA_HOME": "/x"}, "name": "train"},
        "runtime": {"choices": {"model": "plain"}},
    }
    assert "hydra" not in hydra_tree.compose("configs", None, ["hydra.job.name=mine"])


def test_a_reference_to_a_reference_and_an_enum_of_hydras_are_kept(files: Path) -> None:
    tree = hydra_tree.compose(
        "configs", None, ["+a='${hydra:runtime.choices.${b}}'", "+b=model", "+c=${hydra:mode}", "hydra.mode=RUN"]
    )
    assert tree["hydra"]["runtime"]["choices"]["model"] == "plain" and tree["hydra"]["mode"] == "RUN"
    tree["model"]["extra"] = {"a": "${a}", "c": "${c}"}
    json.dumps(tree)
    hydra_tree.check(tree, files)


def test_a_tree_that_is_a_dictconfig_again_means_the_same(files: Path) -> None:
    tree = hydra_tree.compose("configs", None, ["+a=${hydra:job.name}", "+b='${now:%S.%f}'", "hydra.job.name=mine"])
    assert set(tree["hydra"]) == {"job", "now"}
    assert hydra_tree.tree_of(OmegaConf.create(tree)) == tree


def test_a_name_of_the_job_that_the_configuration_gives_is_kept(files: Path) -> None:
    tree = hydra_tree.compose("configs", None, ["+a=${hydra:job.name}", "hydra.job.name=${task_name}_x"])
    assert tree["hydra"] == {"job": {"name": "fitting_x"}}


def test_what_a_job_of_hydras_does_besides_is_told(files: Path) -> None:
    with pytest.warns(UserWarning, match=r"hydra\.job\.chdir is true, and training stays"):
        hydra_tree.compose("configs", None, ["hydra.job.chdir=true"])
    with pytest.warns(UserWarning, match=r"hydra\.callbacks names notify, which nothing calls"):
        hydra_tree.compose("configs", None, ["+hydra.callbacks.notify={_target_: x.Y}"])


def test_nothing_of_hydra_is_left(files: Path) -> None:
    for name in ("hydra", "now", "python_version"):
        OmegaConf.clear_resolver(name)
    version = VersionBase.instance().version_base
    setbase("1.2")
    variables = dict(os.environ)
    hydra_tree.compose("configs")
    with pytest.raises(ConfigurationError):
        hydra_tree.compose("configs", None, ["model=deep"])
    assert not GlobalHydra.instance().is_initialized()
    assert not HydraConfig.initialized()
    assert not any(OmegaConf.has_resolver(name) for name in ("hydra", "now", "python_version"))
    assert str(getbase()) == "1.2"
    VersionBase.instance().version_base = version
    assert dict(os.environ) == variables


def test_a_job_of_hydras_goes_on_as_it_was(files: Path) -> None:
    with hydra.initialize_config_dir(str(files / "configs"), version_base="1.1"):
        before = GlobalHydra.instance().hydra
        hydra_tree.compose("configs")
        assert GlobalHydra.instance().hydra is before
        assert hydra.compose("train")["seed"] == 7


def test_outside_of_a_job_no_output_directory_is_known() -> None:
    assert hydra_tree.running_output_dir() is None


SCRIPT = """
import hydra, json, os, pathlib
from hydra.core.hydra_config import HydraConfig
from lightning_adapter.configs import hydra_tree
from omegaconf import OmegaConf

@hydra.main(config_path="configs", config_name="train", version_base=None)
def main(cfg):
    before = OmegaConf.to_yaml(HydraConfig.instance().cfg), OmegaConf.to_yaml(cfg)
    model = hydra.utils.instantiate(cfg.model)
    tree = hydra_tree.tree_of(cfg)
    run = pathlib.Path("elsewhere")
    hydra_tree.check(tree, run)
    parts = hydra_tree.build(tree, run)
    other = hydra_tree.compose(pathlib.Path(__file__).parent / "configs", None, ["model=override", "width=9"])
    print(json.dumps({
        "tree": tree, "there": str(hydra_tree.running_output_dir()), "made": parts.lightning_module.extra,
        "out": parts.lightning_module.out, "own": model.extra, "other": other["hydra"],
        "same": before == (OmegaConf.to_yaml(HydraConfig.instance().cfg), OmegaConf.to_yaml(cfg)),
        "cwd": os.getcwd(),
    }))

main()
"""


def test_under_hydra_main_a_tree_means_what_the_script_sees(files: Path) -> None:
    (files / "main.py").write_text(SCRIPT)
    (files / "configs" / "model" / "override.yaml").write_text("of: ${hydra:job.override_dirname}\n")
    extra = (
        "+model.extra={name: '${hydra:job.name}', choice: '${hydra:runtime.choices.data}', "
        "time: '${now:%S-%f}', cwd: '${hydra:runtime.cwd}', _convert_: all}"
    )
    done = subprocess.run(
        [sys.executable, "main.py", extra, "hydra.run.dir=there", "hydra.job.chdir=true", "width=3"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(files), *filter(None, sys.path)]), "PROJECT_ROOT": "."},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert said["same"]
    assert said["there"] == said["cwd"] == str(files / "there")
    assert said["out"] == str(files / "there" / "elsewhere" / "x")
    assert said["made"] == said["own"]
    assert said["made"]["name"] == "main" and said["made"]["cwd"] == str(files)
    assert said["tree"]["hydra"]["now"] == {"%S-%f": said["own"]["time"]}
    assert said["other"] == {"job": {"override_dirname": "model=override,width=9"}}


def test_without_hydra_the_extra_to_install_is_named(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hydra", None)
    for use in (lambda: hydra_tree.compose("configs"), lambda: hydra_tree.build({}, files)):
        with pytest.raises(ConfigurationError, match=r"pip install 'lightning-adapter\[hydra\]'"):
            use()


def test_who_does_not_use_it_does_not_import_hydra() -> None:
    code = (
        "import sys, lightning_adapter.configs.hydra_tree as h; h.running_output_dir(); print('hydra' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "False"
