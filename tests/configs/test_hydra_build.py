"""Parts that are made of a Hydra tree are those that `hydra.utils.instantiate` makes in a script."""

from __future__ import annotations

import functools
import importlib
import inspect
import os
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch

from lightning_adapter.configs import hydra_tree
from lightning_adapter.configs.parts import Parts, Tree
from lightning_adapter.errors import ConfigurationError

from . import hydra_files

hydra = pytest.importorskip("hydra")
from hydra.core.hydra_config import HydraConfig  # noqa: E402
from omegaconf import OmegaConf  # noqa: E402


@pytest.fixture
def files(project: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    hydra_files.write(project)
    monkeypatch.syspath_prepend(str(project))
    monkeypatch.setenv("PROJECT_ROOT", str(project))
    yield project


def made(files: Path, *overrides: str) -> Parts:
    return hydra_tree.build(hydra_tree.compose("configs", None, overrides), files / "run")


def as_a_script_does(files: Path, *overrides: str) -> tuple[Any, Any, pl.Trainer]:
    """The flow of the lightning-hydra-template's `train`."""
    with hydra.initialize_config_dir(str(files / "configs"), version_base=None):
        cfg = hydra.compose("train", list(overrides), return_hydra_config=True)
    before = HydraConfig.instance().cfg
    OmegaConf.set_readonly(cfg.hydra, False)
    cfg.hydra.runtime.output_dir = str(files / "run")
    HydraConfig.instance().set_config(cfg)
    try:
        pl.seed_everything(cfg.seed, workers=True)
        data = hydra.utils.instantiate(cfg.data)
        model = hydra.utils.instantiate(cfg.model)
        several = {
            name: [hydra.utils.instantiate(each) for each in (cfg.get(name) or {}).values() if "_target_" in each]
            for name in ("callbacks", "logger")
        }
        return model, data, hydra.utils.instantiate(cfg.trainer, **several)
    finally:
        HydraConfig.instance().cfg = before


def test_a_model_trains_to_the_same_parameters_as_in_a_script(files: Path) -> None:
    overrides = ["experiment=wide", "logger=csv", "trainer.max_epochs=3", "+trainer.gradient_clip_val=0.01"]
    model, data, trainer = as_a_script_does(files, *overrides)
    trainer.fit(model, data)
    tree = hydra_tree.compose("configs", None, overrides)
    pl.seed_everything(hydra_tree.seed_of(tree), workers=True)
    parts = hydra_tree.build(tree, files / "run")
    again = pl.Trainer(**parts.trainer_arguments)
    again.fit(parts.lightning_module, parts.datamodule)
    theirs, ours = model.state_dict(), parts.lightning_module.state_dict()
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name]) for name in theirs)
    assert again.callback_metrics == trainer.callback_metrics
    assert [type(each) for each in again.callbacks] == [type(each) for each in trainer.callbacks]
    assert again.default_root_dir == trainer.default_root_dir == str(files / "run")


def test_parts_are_made_in_the_order_of_the_template(files: Path) -> None:
    made(files, "callbacks=two", "logger=csv")
    order = importlib.import_module("hydra_project").MADE
    assert order == ["data", "net", "model", "callback first", "callback second", "logger"]


def test_no_trainer_is_made_and_no_default_is_an_argument(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pl.Trainer, "__init__", functools.wraps(pl.Trainer.__init__)(lambda *_, **__: pytest.fail()))
    assert made(files).trainer_arguments == {
        "default_root_dir": str(files / "run"),
        "max_epochs": 2,
        "enable_progress_bar": False,
    }


@pytest.mark.parametrize("target", ["pytorch_lightning.Trainer", "pytorch_lightning.trainer.trainer.Trainer"])
@pytest.mark.parametrize("partial", [False, True])
def test_a_trainer_is_known_by_any_of_its_names_and_as_a_partial(files: Path, target: str, partial: bool) -> None:
    arguments = made(files, f"trainer._target_={target}", f"+trainer._partial_={partial}").trainer_arguments
    assert arguments["max_epochs"] == 2


def test_arguments_of_the_trainer_are_instantiated_and_plain(files: Path) -> None:
    arguments = made(
        files,
        "+trainer.devices=[0]",
        "+trainer.profiler={_target_: pytorch_lightning.profilers.SimpleProfiler}",
        "+trainer.max_time={minutes: 5}",
        "+trainer.callbacks=[{_target_: hydra_project.Told, name: inner}]",
    ).trainer_arguments
    assert arguments["devices"] == [0] and type(arguments["devices"]) is list
    assert arguments["max_time"] == {"minutes": 5} and type(arguments["max_time"]) is dict
    assert type(arguments["profiler"]) is pl.profilers.SimpleProfiler
    assert [each.name for each in arguments["callbacks"]] == ["inner"] and type(arguments["callbacks"]) is list


def test_parts_under_other_names_are_known_by_their_classes(files: Path) -> None:
    tree = hydra_tree.compose("configs")
    tree["net"] = tree["model"].pop("net")
    others = {
        "module": {**tree.pop("model"), "net": "${net}"},
        "loaders": tree.pop("data"),
        "Trainer": tree.pop("trainer"),
    }
    tree = {**tree, "model": "${net}", **others}
    hydra_tree.check(tree, files)
    parts = hydra_tree.build(tree, files)
    assert type(parts.lightning_module).__name__ == "Model" and type(parts.datamodule).__name__ == "Data"
    assert parts.trainer_arguments["max_epochs"] == 2


def test_a_trainer_without_a_target_holds_arguments(files: Path) -> None:
    tree = hydra_tree.compose("configs", None, ["callbacks=two"])
    with_target = hydra_tree.build(tree, files).trainer_arguments
    del tree["trainer"]["_target_"]
    hydra_tree.check(tree, files)
    without = hydra_tree.build(tree, files).trainer_arguments
    assert [each.name for each in without.pop("callbacks")] == [each.name for each in with_target.pop("callbacks")]
    assert without == with_target


TOLD = "hydra_project.Told"


@pytest.mark.parametrize(
    ("callbacks", "in_trainer", "names"),
    [
        ({"x": {"_target_": TOLD, "name": "a"}, "y": {"name": "b"}, "z": None}, None, ["a"]),
        ([{"_target_": TOLD, "name": "a"}, {"_target_": TOLD, "name": "b"}], None, ["a", "b"]),
        ({"_target_": TOLD, "name": "a"}, None, ["a"]),
        ({"_target_": "hydra_project.several", "names": ["a", "b"]}, None, ["a", "b"]),
        ({"x": {"_target_": TOLD, "name": "a"}, "y": {"_target_": TOLD, "name": "b"}}, ["${callbacks.y}"], ["b"]),
        ([{"_target_": TOLD, "name": "a"}], "${callbacks}", ["a"]),
        ({"x": {"name": "b"}}, [{"_target_": TOLD, "name": "a"}], ["a"]),
        (None, None, []),
        (None, [{"_target_": TOLD, "name": "a"}], ["a"]),
    ],
)
def test_callbacks_stand_at_the_top_in_any_form_or_in_the_trainer(
    files: Path, callbacks: Any, in_trainer: Any, names: list[str]
) -> None:
    tree = hydra_tree.compose("configs")
    tree["callbacks"] = callbacks
    tree["trainer"]["callbacks"] = in_trainer
    hydra_tree.check(tree, files)
    assert [each.name for each in hydra_tree.build(tree, files).trainer_arguments["callbacks"]] == names


@pytest.mark.parametrize("value", [True, False])
def test_loggers_can_be_switched(files: Path, value: bool) -> None:
    arguments = hydra_tree.build({**hydra_tree.compose("configs"), "logger": value}, files).trainer_arguments
    default = inspect.signature(pl.Trainer).parameters["logger"].default
    assert arguments.get("logger", default) is value


class Recorder(pl.LightningModule):
    """Keeps what it is given."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()
        self.given = (args, kwargs)


class Thing:
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.given = (args, kwargs)


def described(value: Any) -> Any:
    """A value with its types, all the way down."""
    if isinstance(value, functools.partial):
        return ("partial", value.func, described(value.args), described(value.keywords))
    if isinstance(value, (Thing, Recorder)):
        return (type(value).__name__, described(value.given))
    if OmegaConf.is_dict(value) or isinstance(value, dict):
        return (type(value).__name__, {key: described(item) for key, item in value.items()})
    if OmegaConf.is_list(value) or isinstance(value, (list, tuple)):
        return (type(value).__name__, [described(item) for item in value])
    return (type(value).__name__, value)


THING = f"{__name__}.Thing"
#: As in Hydra's documentation of `instantiate`: nested objects, partials, positional arguments, conversions.
EXAMPLES: dict[str, Tree] = {
    "nested": {"a": {"_target_": THING, "b": {"_target_": THING, "c": 1}}},
    "positional": {"_args_": [1, "x", {"_target_": THING, "_args_": [2]}], "y": 3},
    "partial": {"optimizer": {"_target_": "torch.optim.SGD", "_partial_": True, "lr": 0.1, "foreach": "???"}},
    "not recursive": {"_recursive_": False, "a": {"_target_": "no.such.Thing", "b": "${other}"}},
    "not recursive below": {"a": {"_target_": THING, "_recursive_": False, "b": {"_target_": "nope.X", "c": 1}}},
    "convert none": {"a": {"x": [1, 2]}, "b": [{"_target_": THING}]},
    "convert partial": {"_convert_": "partial", "a": {"x": [1, 2]}, "b": [{"_target_": THING}]},
    "convert all": {"_convert_": "all", "a": {"x": [1, {"y": "${other}"}]}, "b": [{"_target_": THING, "l": [3]}]},
    "convert object": {"_convert_": "object", "a": {"x": [1, 2]}},
    "convert below": {"a": {"_target_": THING, "_convert_": "all", "x": [1]}, "b": [1]},
    "interpolations": {"a": "${other}", "b": "${..far.b}/${oc.env:HOME}", "c": "${far}", "d": "${oc.select:nope,5}"},
    "interpolated target": {"a": {"_target_": "${name}", "b": "${.c}", "c": 4}},
    "whole objects elsewhere": {"a": "${things.one}", "b": ["${things.one}", "${things.two}"]},
    "nothing": {"a": None, "b": {}, "c": [], "d": "", "e": 1e-3, "f": False},
    "escaped": {"a": "\\${other}", "b": "it costs \\${other}"},
    "a method": {
        "a": {"_target_": "pathlib.PurePosixPath", "_args_": ["x", "y"]},
        "b": {"_target_": "math.sqrt", "_args_": [4]},
    },
}
AROUND: Tree = {
    "other": 7,
    "name": THING,
    "far": {"b": "bee", "up": "${other}"},
    "things": {"one": {"_target_": THING, "n": "${other}"}, "two": {"_target_": THING, "l": [1]}},
    "trainer": {"_target_": "pytorch_lightning.Trainer"},
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_nodes_become_what_instantiate_makes_of_them(name: str, tmp_path: Path) -> None:
    tree = {"model": {"_target_": f"{__name__}.Recorder", **EXAMPLES[name]}, **AROUND}
    theirs = hydra.utils.instantiate(OmegaConf.create(tree).model)
    before = OmegaConf.create(tree)
    hydra_tree.check(tree, tmp_path)
    ours = hydra_tree.build(tree, tmp_path).lightning_module
    assert described(ours) == described(theirs)
    assert OmegaConf.create(tree) == before


def test_directories_are_the_runs_and_the_working_directory(files: Path) -> None:
    parts = made(
        files,
        "+model.extra={run: '${hydra:run.dir}', cwd: '${hydra:runtime.cwd}', "
        "sweep: '${hydra:sweep.dir}/${hydra:sweep.subdir}', name: '${hydra:job.name}'}",
    )
    run = str(files / "run")
    assert dict(parts.lightning_module.extra) == {"run": run, "cwd": str(files), "sweep": run, "name": "train"}
    assert parts.lightning_module.out == f"{run}/x"


def test_a_relative_run_directory_is_an_absolute_output_directory(files: Path) -> None:
    tree = hydra_tree.compose("configs")
    assert hydra_tree.build(tree, Path("runs/one")).lightning_module.out == str(files / "runs" / "one" / "x")


@pytest.mark.parametrize("marked", ["", "."])
def test_the_root_of_a_project_is_found_where_no_script_has_set_it(
    files: Path, monkeypatch: pytest.MonkeyPatch, marked: str
) -> None:
    monkeypatch.delenv("PROJECT_ROOT")
    (files / "below").mkdir()
    if marked:
        (files / ".project-root").touch()
    monkeypatch.chdir(files / "below")
    tree = hydra_tree.compose(files / "configs")
    data = hydra_tree.build(tree, files).datamodule
    assert data is not None
    assert data.path == str((files if marked else files / "below") / "data")
    assert "PROJECT_ROOT" not in os.environ


def test_one_trial_has_one_time(files: Path) -> None:
    tree = hydra_tree.compose("configs", None, ["+model.extra=['${now:%S.%f}', '${now:%S.%f}']"])
    first, second = (hydra_tree.build(tree, files / "run").lightning_module.extra for _ in range(2))
    assert list(first) == list(second) == [tree["hydra"]["now"]["%S.%f"]] * 2
    del tree["hydra"]
    alone = hydra_tree.build(tree, files / "run").lightning_module.extra
    assert alone[0] == alone[1] != first[0]


def test_variables_of_the_job_hold_while_parts_are_made(files: Path) -> None:
    parts = made(files, "+hydra.job.env_set={TOKEN_OF_MINE: secret}", "+model.extra=${oc.env:TOKEN_OF_MINE}")
    assert parts.lightning_module.extra == "secret"
    assert "TOKEN_OF_MINE" not in os.environ


def test_code_that_asks_hydra_for_its_job_is_answered(files: Path) -> None:
    (files / "asking.py").write_text(
        "import hydra_project, hydra.utils\nfrom hydra.core.hydra_config import HydraConfig\n"
        "class Model(hydra_project.Model):\n"
        "    def __init__(self, **kw):\n"
        "        super().__init__(**kw)\n"
        "        self.extra = HydraConfig.get().runtime.output_dir, hydra.utils.to_absolute_path('x')\n"
    )
    module = made(files, "model._target_=asking.Model").lightning_module
    assert module.extra == (str(files / "run"), str(files / "x"))
    assert not HydraConfig.initialized()


RESOLVERS = "from omegaconf import OmegaConf\nOmegaConf.register_new_resolver('twice', lambda x: 2 * x, replace=True)\n"


@pytest.fixture
def no_resolver() -> Iterator[None]:
    yield
    if OmegaConf.has_resolver("twice"):
        OmegaConf.clear_resolver("twice")


@pytest.mark.parametrize("where", ["_imports_", "a text", "the project", "a module below"])
def test_resolvers_of_a_project_are_known(files: Path, no_resolver: None, where: str) -> None:
    overrides = ["model.optimizer.lr='${twice:${width}}'"]
    if where == "the project":  # a module that the tree names anyway
        (files / "hydra_project.py").write_text(RESOLVERS + (files / "hydra_project.py").read_text())
    elif where == "a module below":
        (files / "own_resolvers.py").write_text(RESOLVERS + "def nothing(): pass\n")
        overrides += ["+model.extra={_target_: own_resolvers.nothing}"]
    else:
        (files / "own_resolvers.py").write_text(RESOLVERS)
        overrides += ["+_imports_=own_resolvers" if where == "a text" else "+_imports_=[own_resolvers]"]
    tree = hydra_tree.compose("configs", None, overrides)
    assert tree["model"]["optimizer"]["lr"] == "${twice:${width}}"
    assert hydra_tree.build(tree, files).lightning_module.optimizer.keywords == {"lr": 4}
    hydra_tree.check(tree, files)
    assert OmegaConf.has_resolver("twice")


def test_a_seed_is_that_of_either_name(files: Path) -> None:
    seed_of = hydra_tree.seed_of
    assert seed_of({"seed": 7}) == 7
    assert seed_of({"seed": None, "seed_everything": 8}) == 8
    assert seed_of({"seed": "${other}", "other": "12"}) == 12
    assert seed_of({"seed": 0}) == 0
    assert seed_of({}) is None
    assert seed_of({"seed": False}) is None
    for bad in (-1, 1.5, "x", True, [1]):
        with pytest.raises(ConfigurationError, match=r"seed is .*; give a whole number from 0 to 4294967295"):
            seed_of({"seed": bad})
    with pytest.raises(ConfigurationError, match="seed: Interpolation key 'nope' not found"):
        seed_of({"seed": "${nope}"})


def test_nothing_is_drawn_besides_what_the_parts_draw(files: Path) -> None:
    tree = hydra_tree.compose("configs")
    pl.seed_everything(3, workers=True)
    parts = hydra_tree.build(tree, files)
    after = torch.rand(1), random.random()
    pl.seed_everything(3, workers=True)
    project = importlib.import_module("hydra_project")
    data, net = project.Data(4), project.Net(4, 2, 1)
    assert torch.equal(net[0].weight, parts.lightning_module.net[0].weight)
    assert parts.datamodule is not None and torch.equal(data.rows, parts.datamodule.rows)
    assert (torch.rand(1), random.random()) == after


def test_an_exception_of_the_users_code_is_the_users(files: Path) -> None:
    with pytest.raises(LookupError, match="the file of weights is empty") as caught:
        made(files, "+model.extra={_target_: hydra_project.Broken}")
    assert caught.traceback[-1].path == files / "hydra_project.py"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["model={_target_: hydra_project.several, names: []}"],
            "model is of type builtins.list, which is no LightningModule",
        ),
        (
            ["data._target_=hydra_project.Told", "~data.batch_size", "~data.path", "+data.name=x"],
            "which is no LightningDataModule",
        ),
        (
            ["+model.extra={_target_: math.sqrt, _args_: [x]}"],
            r"model\.extra: .*'math\.sqrt': TypeError: must be real number",
        ),
        (["+model.extra={_target_: torch.nn.Linear, in_features: 1, out_features: x}"], r"model\.extra: .*TypeError"),
        (["+model.extra={_target_: os.system, command: ls}"], r"model\.extra: Target 'os\.system' is blocklisted"),
        (["+model.extra=${nope}"], r"model\.extra: Interpolation key 'nope' not found"),
        (["model.net.inputs=???"], r"model\.net\.inputs: `\?\?\?`"),
    ],
)
def test_what_cannot_be_made_is_told_with_its_place(files: Path, overrides: list[str], message: str) -> None:
    if overrides[0].startswith("model={"):
        tree = {**hydra_tree.compose("configs"), "model": {"_target_": "hydra_project.several", "names": []}}
    else:
        tree = hydra_tree.compose("configs", None, overrides)
    with pytest.raises(ConfigurationError, match=message):
        hydra_tree.build(tree, files)
