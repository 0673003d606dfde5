"""A trial made of a configuration trains as the configuration's own library does, here and on a cluster."""

from __future__ import annotations

import csv
import importlib.util
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from omegaconf import OmegaConf

from lightning_adapter import ConfiguredTrial, LightningAdapter, build, cli, fit, load_config, load_trial
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.runs import record

pytestmark = pytest.mark.usefixtures("configured", "seeding")

QUIET = ["--trainer.logger=false", "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
OVERRIDES = ["--model.init_args.lr=0.2", "--optimizer=Adam", "--lr_scheduler=ExponentialLR", "--lr_scheduler.gamma=0.5"]


@pytest.fixture
def seeding(monkeypatch: pytest.MonkeyPatch) -> None:
    """`seed_everything(workers=True)` says so in the environment, as Lightning's does."""
    for name in ("PL_GLOBAL_SEED", "PL_SEED_WORKERS"):
        monkeypatch.setenv(name, "0")
    monkeypatch.syspath_prepend(".")


def weights(module: torch.nn.Module) -> torch.Tensor:
    return torch.cat([value.flatten().double() for value in module.state_dict().values()])


def values(metrics: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}


def own_cli(monkeypatch: pytest.MonkeyPatch, *words: str) -> Any:
    """What `python main.py fit --config config.yaml` trains."""
    from pytorch_lightning.cli import LightningCLI

    monkeypatch.setattr(sys, "argv", ["main.py"])
    return LightningCLI(args=["fit", "--config", "config.yaml", *QUIET, *words], save_config_callback=None)


def own_hydra(*overrides: str) -> Any:
    """What the template's `train.py` trains."""
    import hydra
    import pytorch_lightning as pl

    with hydra.initialize_config_dir(str(Path("configs").resolve()), version_base=None):
        config = hydra.compose("train", [*overrides, "~paths", "trainer.default_root_dir=."])
    pl.seed_everything(config.seed, workers=True)
    data, model = hydra.utils.instantiate(config.data), hydra.utils.instantiate(config.model)
    trainer = hydra.utils.instantiate(config.trainer, logger=False, enable_progress_bar=False)
    trainer.fit(model, data)
    return trainer


# --- the numbers of the library's own way -----------------------------------------------------------------------------


@pytest.mark.parametrize("words", [[], OVERRIDES], ids=["as it is", "overrides"])
def test_lightning_cli_configuration_trains_to_the_numbers_of_lightning_cli(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_cli(monkeypatch, *words)
    trial = fit(ConfiguredTrial, hparams=load_config("config.yaml", words))
    assert torch.equal(weights(trial.lightning_module), weights(own.model))
    assert values(trial.callback_metrics) == values(own.trainer.callback_metrics)


@pytest.mark.parametrize("words", [[], ["experiment=big", "model.optimizer.lr=0.3"]], ids=["as it is", "experiment"])
def test_hydra_configuration_trains_to_the_numbers_of_hydra(words: list[str]) -> None:
    own = own_hydra(*words)
    trial = fit(ConfiguredTrial, hparams=load_config("configs", words))
    assert torch.equal(weights(trial.lightning_module), weights(own.lightning_module))
    assert values(trial.callback_metrics) == values(own.callback_metrics)
    assert words == [] or trial.lightning_module.lr == 0.3  # which refers to model.optimizer.lr


def test_command_with_cli_configuration_needs_no_trial_class(monkeypatch: pytest.MonkeyPatch) -> None:
    own = own_cli(monkeypatch, "--model.init_args.lr", "0.2")
    assert cli.main(["fit", "--cli", "config.yaml", "--run-dir", "here", "--model.init_args.lr", "0.2"]) == 0
    loaded = load_trial("here")
    assert torch.equal(weights(loaded.lightning_module), weights(own.model))
    assert record.read(Path("here"))["target"] == "lightning_adapter:ConfiguredTrial"


def test_command_with_hydra_configuration_takes_overrides_among_its_own_options() -> None:
    own = own_hydra("experiment=big", "trainer.max_epochs=1")
    words = [
        "--hydra",
        "configs",
        "experiment=big",
        "--run-dir",
        "here",
        "trainer.max_epochs=1",
        "--hparam",
        "data.batch_size=4",
    ]
    assert cli.main(["fit", *words]) == 0
    assert torch.equal(weights(load_trial("here").lightning_module), weights(own.lightning_module))


def test_script_gives_the_lightning_cli_that_it_has_made(monkeypatch: pytest.MonkeyPatch) -> None:
    import parts
    from pytorch_lightning.cli import LightningCLI

    class Linked(LightningCLI):
        def add_arguments_to_parser(self, parser: Any) -> None:
            parser.link_arguments("data.batch_size", "model.hidden")

    monkeypatch.setattr(sys, "argv", ["main.py"])
    words = ["--seed_everything=4", "--data.batch_size=6", "--trainer.max_epochs=1", *QUIET]
    own = Linked(parts.LitNet, parts.Data, args=["fit", *words], save_config_callback=None)
    made = Linked(parts.LitNet, parts.Data, args=words, run=False, save_config_callback=None)
    trial = fit(ConfiguredTrial, hparams=made, run_dir="here")
    assert torch.equal(weights(trial.lightning_module), weights(own.model))
    assert trial.lightning_module.net[0].out_features == 6

    # Lightning's own LightningCLI knows of no link
    with pytest.raises(ConfigurationError, match=r"(?s)does not say which trial it was.*cli_class = MyLightningCLI"):
        load_trial("here")
    with pytest.raises(ConfigurationError, match="Linked adds arguments or links to its parser"):
        fit(ConfiguredTrial, hparams=made, package="model.pt")

    class Trial(ConfiguredTrial):
        cli_class = Linked
        cli_arguments = {"model_class": parts.LitNet, "datamodule_class": parts.Data}

    assert torch.equal(weights(load_trial("here", Trial).lightning_module), weights(own.model))


def test_seed_of_fit_wins_over_that_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    own = own_cli(monkeypatch, "--seed_everything=11")
    trial = fit(ConfiguredTrial, hparams=load_config("config.yaml"), seed=11)
    assert torch.equal(weights(trial.lightning_module), weights(own.model))
    assert record.read(trial.run_dir)["seed"] == 11


@pytest.mark.parametrize(
    ("source", "words", "seed"),
    [("config.yaml", ["--seed_everything=false"], None), ("configs", ["seed=null"], None)],
)
def test_configuration_without_a_seed_is_trained_from_the_state_that_is_there(
    source: str, words: list[str], seed: int | None
) -> None:
    tree = load_config(source, words)
    found = []
    for _ in range(2):
        torch.manual_seed(13)
        found.append(fit(ConfiguredTrial, hparams=tree, max_epochs=1))
    torch.manual_seed(13)
    found.append(fit(build(tree)[0], max_epochs=1))
    assert all(torch.equal(weights(found[0].lightning_module), weights(each.lightning_module)) for each in found)
    assert record.read(found[0].run_dir)["seed"] is seed


def test_seed_that_lightning_is_to_choose_is_known() -> None:
    tree = {**load_config("config.yaml"), "seed_everything": None}  # which Lightning reads as true
    trial = fit(ConfiguredTrial, hparams=tree, max_epochs=1)
    assert isinstance(record.read(trial.run_dir)["seed"], int)


# --- what comes after -------------------------------------------------------------------------------------------------


def test_configured_run_is_resumed_and_tested_by_its_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    own = own_cli(monkeypatch, "--trainer.max_epochs=3")
    tree = load_config("config.yaml")
    fit(ConfiguredTrial, hparams=tree, run_dir="here")
    trial = fit(ConfiguredTrial, resume_from="here", run_dir="here", max_epochs=3)
    assert torch.equal(weights(trial.lightning_module), weights(own.model))
    assert load_trial("here", last=True).test() == trial.test(ckpt_path="last")


def test_whole_configuration_takes_nothing_of_a_checkpoint() -> None:
    tree = load_config("config.yaml")
    fit(ConfiguredTrial, hparams=tree, run_dir="here", max_epochs=1)
    less = load_config("config.yaml", ["--trainer.callbacks=null"])
    del less["model"]["init_args"]  # the class's own lr is another
    for start in ({"resume_from": "here"}, {"warm_start_from": "here"}):
        trial = fit(ConfiguredTrial, hparams=less, max_epochs=2, **start)
        assert record.read(trial.run_dir)["hyperparameters"] == less
        assert trial.lightning_module.hparams.lr == 0.1
    assert load_trial("here", hparams=less).lightning_module.hparams.lr == 0.1
    assert load_trial("here").lightning_module.hparams.lr == 0.05


def test_run_that_goes_on_keeps_the_seed_that_was_typed(caplog: pytest.LogCaptureFixture) -> None:
    tree = load_config("config.yaml")
    fit(ConfiguredTrial, hparams=tree, run_dir="here", max_epochs=1, seed=5)
    whole = fit(ConfiguredTrial, hparams=tree, seed=5)
    for given in ({}, {"hparams": tree}):
        trial = fit(ConfiguredTrial, resume_from="here", max_epochs=2, **given)
        assert record.read(trial.run_dir)["seed"] == 5
        assert torch.equal(weights(trial.lightning_module), weights(whole.lightning_module))
    caplog.clear()
    trial = fit(ConfiguredTrial, hparams={**tree, "seed_everything": 8}, resume_from="here", max_epochs=2)
    assert record.read(trial.run_dir)["seed"] == 8
    assert any("was seeded with 5, and the seed of the configuration is 8" in line for line in caplog.messages)
    assert not any("taken from the checkpoint" in line for line in caplog.messages)


def test_use_of_a_checkpoint_leaves_the_configuration_of_the_project_as_it_is() -> None:
    tree, before = load_config("config.yaml"), Path("config.yaml").read_text()
    trial = fit(ConfiguredTrial, hparams=tree, run_dir="here", max_epochs=1)
    moved = trial.latest_checkpoint.rename("moved")
    load_trial(moved, ConfiguredTrial).test(verbose=False)
    assert Path("config.yaml").read_text() == before
    trial = build(tree)[0]
    trial.log.info("nobody keeps it")
    fit(trial, run_dir="built", max_epochs=1)
    assert "training has ended" in Path("built/train.log").read_text()
    assert trial.log is trial.context.run_log  # of the run, and no more that of before
    assert list(Path("built").rglob("config.yaml"))


def test_project_is_put_on_the_path_once() -> None:
    fit(ConfiguredTrial, hparams=load_config("config.yaml"), run_dir="here", max_epochs=1)
    load_trial("here")
    path = list(sys.path)
    load_trial("here")
    assert sys.path == path


def test_run_is_collected_under_the_name_of_its_module() -> None:
    trial = fit(ConfiguredTrial, hparams=load_config("config.yaml"), max_epochs=1)
    assert trial.run_dir.parent == Path("runs/LitNet").resolve()


def test_checkpoint_that_a_configuration_names_is_gone_on_from() -> None:
    first = fit(ConfiguredTrial, hparams=load_config("config.yaml"), max_epochs=1)
    whole = fit(ConfiguredTrial, hparams=load_config("config.yaml"))
    path = first.latest_checkpoint / "lightning.ckpt"
    trial = fit(ConfiguredTrial, hparams={**load_config("config.yaml"), "ckpt_path": str(path)})
    assert torch.equal(weights(trial.lightning_module), weights(whole.lightning_module))
    with pytest.raises(ConfigurationError, match=r"ckpt_path is 'gone\.ckpt', which is no file"):
        fit(ConfiguredTrial, hparams={**load_config("config.yaml"), "ckpt_path": "gone.ckpt"})


def test_checkpoint_of_a_hydra_tree_may_refer_to_something(monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["+ckpt_path=${oc.env:FROM,null}"]
    first = fit(ConfiguredTrial, hparams=load_config("configs", words), max_epochs=1)
    monkeypatch.setenv("FROM", str(first.latest_checkpoint / "lightning.ckpt"))
    trial = fit(ConfiguredTrial, hparams=load_config("configs", words))
    assert record.read(trial.run_dir)["parent"] is not None
    with pytest.raises(ConfigurationError, match="nowhere"):
        fit(ConfiguredTrial, hparams=load_config("configs", ["+ckpt_path=${nowhere}"]))


def test_run_is_used_from_another_directory_and_its_package_without_the_project(
    configured: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = fit(ConfiguredTrial, hparams=load_config("configs"), run_dir="here", package="model.pt")
    elsewhere = configured / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    # in a process of its own, which has not imported the project
    program = """
import pathlib, sys
from lightning_adapter import load_trial
folder = pathlib.Path(sys.argv[1])
print(load_trial(folder / "here").test(verbose=False))
(folder / "parts.py").unlink()
del sys.modules["parts"]
print(load_trial(folder / "model.pt", trust_code=True).test(verbose=False))
"""
    done = subprocess.run([sys.executable, "-c", program, str(configured)], capture_output=True, text=True, timeout=120)
    assert done.stdout.count(str(trial.test(verbose=False))) == 2, done.stderr


def test_run_of_several_devices_is_used_on_one(capsys: pytest.CaptureFixture[str]) -> None:
    fit(ConfiguredTrial, hparams=load_config("config.yaml"), run_dir="here")
    tree = {"trainer": {"devices": 4, "accelerator": "gpu", "num_nodes": 2}}
    assert load_trial("here", hparams=tree).validate() == load_trial("here").validate()
    with pytest.raises(ConfigurationError, match=r"devices=.?4.? is not what this job has"):
        fit(build({**load_config("config.yaml"), "trainer": {"devices": 4}})[0])


def test_run_of_a_cli_that_links_is_gone_on_from_by_who_reads_it_so(monkeypatch: pytest.MonkeyPatch) -> None:
    import parts
    from pytorch_lightning.cli import LightningCLI

    class Linked(LightningCLI):
        def add_arguments_to_parser(self, parser: Any) -> None:
            parser.link_arguments("data.batch_size", "model.hidden")

    class Trial(ConfiguredTrial):
        cli_class = Linked
        cli_arguments = {"model_class": parts.LitNet, "datamodule_class": parts.Data}

    tree = {"seed_everything": 1, "model": {"lr": 0.3}, "data": {"batch_size": 4}, "trainer": {"max_epochs": 1}}
    fit(Trial, hparams=tree, run_dir="here")
    with pytest.raises(ConfigurationError, match=r"was read by .*Linked, which adds arguments or links"):
        fit(ConfiguredTrial, resume_from="here", max_epochs=2)
    assert fit(Trial, resume_from="here", run_dir="here", max_epochs=2).lightning_module.hparams.lr == 0.3


def test_configuration_that_names_no_class_is_whole_where_the_cli_knows_it(cluster: Any) -> None:
    import parts

    class Trial(ConfiguredTrial):
        cli_arguments = {"model_class": parts.LitNet, "datamodule_class": parts.Data}

    tree = {"model": {"lr": 0.3}, "data": {"batch_size": 4}, "trainer": {"max_epochs": 1}}
    with cluster(hparams={"model": {"lr": 0.5}}):
        assert fit(Trial, hparams=tree).lightning_module.hparams.lr == 0.5


def test_configuration_that_is_there_is_left_as_it_is_where_it_would_be_saved() -> None:
    before = Path("config.yaml").read_text()
    fit(ConfiguredTrial, hparams=load_config("config.yaml", ["trainer.default_root_dir=.", "trainer.logger=false"]))
    assert Path("config.yaml").read_text() == before
    assert "class_path: parts.LitNet" in Path("config-1.yaml").read_text()


def test_checkpoints_are_ranked_by_what_a_callback_monitors() -> None:
    words = ["trainer.callbacks.monitor=val_loss", "trainer.callbacks.mode=max"]
    trial = fit(ConfiguredTrial, hparams=load_config("config.yaml", [f"--{word}" for word in words]), run_dir="here")
    with Path("here/metrics.csv").open() as file:
        logged = [float(row["val_loss"]) for row in csv.DictReader(file) if row["val_loss"]]
    assert logged[0] > logged[1]  # the loss falls, and more of it is called better
    assert trial.best_checkpoint != trial.latest_checkpoint
    assert record.read(Path("here"))["metric"] == {"name": "val_loss", "smaller_is_better": False}
    again = fit(ConfiguredTrial, config="here/experiment.yaml", run_dir="again")
    assert again.best_checkpoint != again.latest_checkpoint


def test_checkpoints_are_ranked_by_what_the_cli_itself_monitors() -> None:
    import parts
    from pytorch_lightning.callbacks import EarlyStopping
    from pytorch_lightning.cli import LightningCLI

    class Stops(LightningCLI):
        def add_arguments_to_parser(self, parser: Any) -> None:
            parser.add_lightning_class_args(EarlyStopping, "early")
            parser.set_defaults({"early.monitor": "val_loss", "early.mode": "max"})

    class Trial(ConfiguredTrial):
        cli_class = Stops
        cli_arguments = {"model_class": parts.LitNet, "datamodule_class": parts.Data}

    values = {"model": {"lr": 0.05}, "data": {"batch_size": 4}, "trainer": {"max_epochs": 1}}
    assert Trial.metric_of(values) == ("val_loss", False)


def test_sweep_of_a_configuration_is_told_where_one_trial_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    swept = "# @package _global_\nhydra: {sweeper: {params: {model.optimizer.lr: '0.1,0.2'}}}\n"
    Path("configs/experiment/swept.yaml").write_text(swept)
    assert cli.main(["fit", "--hydra", "configs", "experiment=swept", "trainer.max_epochs=1"]) == 0
    assert "sweeps over model.optimizer.lr, and here one trial is trained" in capsys.readouterr().err


def test_command_composes_a_configuration_of_hydras_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import hydra

    names: list[str] = []
    compose = hydra.compose
    monkeypatch.setattr(
        hydra, "compose", lambda name, *args, **kwargs: names.append(name) or compose(name, *args, **kwargs)
    )
    assert cli.main(["fit", "--hydra", "configs", "trainer.max_epochs=1"]) == 0
    assert names == ["train"]


# --- built before ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["config.yaml", "configs"])
def test_built_objects_are_trained_to_the_numbers_of_fit(source: str) -> None:
    config = load_config(source)
    expected = fit(ConfiguredTrial, hparams=config)
    trial, module, datamodule = build(config)
    assert not trial.built.run_dir.exists()
    assert "not trained yet: fit(trial) trains these very objects" in trial._repr_html_()
    torch.rand(5)  # a look at the data, for instance
    assert fit(trial) is trial
    assert trial.lightning_module is module and trial.datamodule is datamodule
    assert torch.equal(weights(module), weights(expected.lightning_module))
    assert trial.run_dir.is_dir() and (trial.run_dir.parent / "latest").resolve() == trial.run_dir
    assert source == "config.yaml" or Path(trial.arguments.default_root_dir) == trial.run_dir
    with pytest.raises(ConfigurationError, match="has trained already"):
        fit(trial)


def test_built_trial_is_made_of_what_build_was_given() -> None:
    trial, _, _ = build(load_config("config.yaml"), seed=4)
    with pytest.raises(ConfigurationError, match="hparams and seed with a trial that is built already"):
        fit(trial, hparams={"a": 1}, seed=2)
    expected = fit(ConfiguredTrial, hparams=load_config("config.yaml"), seed=4)
    assert torch.equal(weights(fit(trial).lightning_module), weights(expected.lightning_module))


def test_built_trial_of_a_class_of_the_projects_has_its_context_before_its_base_class_is_called() -> None:
    class Early(ConfiguredTrial):
        def __init__(self, context: Any) -> None:
            self.read = self.context.get_hparams()["seed_everything"]
            super().__init__(context)

    trial, _, _ = build(load_config("config.yaml"), trial_class=Early)
    assert fit(trial, max_epochs=1).read == 7


@pytest.mark.parametrize(
    "text", ["config.yaml, line 2: trainer has nothing in it", "config.yaml, line 1: seed_everything is -3"]
)
def test_what_lightning_cli_fails_at_without_a_place_is_told_with_it(text: str) -> None:
    Path("config.yaml").write_text(
        "seed_everything: 3\ntrainer:\nmodel: parts.LitNet\n"
        if "trainer" in text
        else "seed_everything: -3\nmodel: parts.LitNet\n"
    )
    with pytest.raises(ConfigurationError, match=text):
        load_config("config.yaml")


def test_seed_that_is_text_is_recorded_as_a_number() -> None:
    trial = fit(ConfiguredTrial, hparams={**load_config("config.yaml"), "seed_everything": "5"}, max_epochs=1)
    assert record.read(trial.run_dir)["seed"] == 5


def test_group_whose_names_are_numbers_from_0_stays_a_group() -> None:
    names = {"names": {0: "cat", 1: "dog"}}
    Path("named.py").write_text(
        "import parts\n\n\nclass Named(parts.LitNet):\n"
        "    def __init__(self, names: dict[int, str], table: dict, lr: float = 0.1):\n"
        "        super().__init__()\n        self.names, self.table = names, table\n"
    )
    arguments = {**names, "table": {"0": [1], "1": {"0": 2}}}
    config = {"model": {"class_path": "named.Named", "init_args": arguments}, "data": "parts.Data"}
    Path("named.yaml").write_text(yaml.safe_dump(config))
    tree = json.loads(json.dumps(load_config("named.yaml")))
    module = build(tree)[1]
    assert {"names": module.names, "table": module.table} == arguments
    fit(ConfiguredTrial, hparams=tree, run_dir="here", max_epochs=1)
    assert load_trial("here").lightning_module.table == arguments["table"]


def test_script_of_hydras_may_give_a_group_whose_names_are_numbers() -> None:
    config = OmegaConf.create(dict(load_config("configs")))
    config.model.lr = {"0": "cat", "1": "dog"}
    assert build(config)[1].lr == {"0": "cat", "1": "dog"}


def test_numbers_that_json_lacks_arrive() -> None:
    tree = load_config("config.yaml", ["--model.init_args.lr=-.inf"])
    assert build(json.loads(json.dumps(tree, allow_nan=False)))[1].hparams.lr == -math.inf
    tree = load_config("configs", ["model.lr=[inf,-inf,nan]"])
    found = build(json.loads(json.dumps(tree, allow_nan=False)))[1].lr
    assert list(found[:2]) == [math.inf, -math.inf] and math.isnan(found[2])


@pytest.mark.parametrize("text", ["lr:\t0.2", "lr: 0.1\n    lr: 0.2"])
def test_configuration_is_read_as_its_library_reads_yaml(text: str) -> None:
    path = Path("config.yaml")
    path.write_text(path.read_text().replace("lr: 0.05", text))
    assert load_config("config.yaml")["model"]["init_args"]["lr"] == 0.2


@pytest.mark.parametrize(
    ("source", "overrides", "said"),
    [
        (None, [], r"load_config\(\) was given None, which is no path"),
        (b"config.yaml", [], "which is no path"),
        ("configs", "seed=1", r"overrides='seed=1'. Give a list of words"),
        ("config.yaml", [1], r"overrides=\[1\]. Give a list of words"),
    ],
)
def test_what_load_config_cannot_take_is_told(source: Any, overrides: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        load_config(source, overrides)


# --- on a cluster ------------------------------------------------------------------------------------------------------


def test_values_of_the_cluster_are_put_into_a_configuration_and_reach_what_refers_to_them(cluster: Any) -> None:
    own = own_hydra("model.optimizer.lr=0.3", "data.batch_size=8")
    drawn = {"model": {"optimizer": {"lr": 0.3}}, "data": {"batch_size": 8}}
    with cluster(hparams=drawn, trial_seed=99):
        trial = fit(ConfiguredTrial, hparams=load_config("configs", ["model.optimizer.lr=0.7"]))
    assert torch.equal(weights(trial.lightning_module), weights(own.lightning_module))
    assert trial.lightning_module.lr == 0.3


@pytest.mark.parametrize(
    ("words", "rate"), [(["--hparam", "model.init_args.lr=0.9"], 0.9), (["--model.init_args.lr=0.9"], 0.3)]
)
def test_hyperparameter_that_is_typed_wins_over_the_cluster_and_an_override_does_not(
    words: list[str], rate: float, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = own_cli(monkeypatch, f"--model.init_args.lr={rate}")
    with cluster(hparams={"model": {"init_args": {"lr": 0.3}}}) as master:
        assert cli.main(["fit", "--cli", "config.yaml", *words]) == 0
    _, told = master.validation[-1]
    assert told["val_loss"] == pytest.approx(values(own.trainer.callback_metrics)["val_loss"], abs=0)


def test_whole_tree_of_the_cluster_trains_with_its_own_seed(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own = own_cli(monkeypatch)
    tree = load_config("config.yaml")
    tree["trainer"]["callbacks"] = dict(enumerate_text(tree["trainer"]["callbacks"]))
    with cluster(hparams={**tree, "global_batch_size": 4}, trial_seed=99):
        trial = fit(ConfiguredTrial)
    assert torch.equal(weights(trial.lightning_module), weights(own.model))


def enumerate_text(values: list[Any]) -> list[tuple[str, Any]]:
    """A list as the experiment YAML has it where one of its values is a range."""
    return [(str(index), value) for index, value in enumerate(values)]


def test_group_that_the_cluster_has_drawn_takes_the_place_of_a_whole_group(cluster: Any) -> None:
    own = own_hydra("model=wide")
    drawn = {"model": load_config("configs", ["model=wide"])["model"]}
    with cluster(hparams=drawn):
        trial = fit(ConfiguredTrial, hparams=load_config("configs"))
    assert torch.equal(weights(trial.lightning_module), weights(own.lightning_module))


def test_checkpoint_in_a_configuration_is_refused_on_a_cluster(cluster: Any) -> None:
    Path("some.ckpt").touch()
    with cluster(hparams={**load_config("config.yaml"), "ckpt_path": "some.ckpt"}):
        with pytest.raises(ConfigurationError, match="on a cluster a trial goes on from its own"):
            fit(ConfiguredTrial)


# --- what cannot be used -----------------------------------------------------------------------------------------------


def test_trial_that_reads_no_configuration_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("model_def.py").write_text("from lightning_adapter import LightningAdapter\nclass T(LightningAdapter): pass\n")
    assert cli.main(["fit", "model_def.py:T", "--cli", "config.yaml"]) == 2
    assert "does not read a configuration, which --cli names" in capsys.readouterr().err


def test_built_trial_that_cannot_be_trained_stays_as_it_was_built() -> None:
    trial, _, _ = build({**load_config("config.yaml"), "trainer": {"devices": 4}})
    for _ in range(2):
        with pytest.raises(ConfigurationError, match=r"devices=.?4.? is not what this job has"):
            fit(trial)


def test_built_trial_whose_training_has_failed_says_where_it_can_be_gone_on_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import parts

    def fail(self: Any, *batch: Any) -> None:
        raise RuntimeError("no memory")

    trial, _, _ = build(load_config("config.yaml"))
    with monkeypatch.context() as patched:
        patched.setattr(parts.LitNet, "training_step", fail)
        with pytest.raises(RuntimeError, match="no memory"):
            fit(trial, run_dir="here")
    with pytest.raises(ConfigurationError, match=r"resume_from='.*here'"):
        fit(trial)


def test_other_trials_may_use_the_names_of_what_was_built() -> None:
    import parts

    class Own(LightningAdapter):
        def __init__(self, context: Any) -> None:
            self.built = self.target()  # type: ignore[assignment]
            super().__init__(context, parts.LitNet(), parts.Data(), max_epochs=1)

        def target(self) -> str:
            return "x"

    trial = fit(Own)
    assert trial.built == "x"
    with pytest.raises(ConfigurationError, match="pass the class itself"):
        fit(trial)


def test_what_is_no_configuration_and_a_class_that_reads_none_are_told() -> None:
    with pytest.raises(ConfigurationError, match=r"build\(\) was given 'config\.yaml', which is no configuration"):
        build("config.yaml")

    class Other(LightningAdapter):
        pass

    with pytest.raises(
        ConfigurationError, match=r"load_config\(\) was given trial_class=Other, which reads no configuration"
    ):
        load_config("config.yaml", trial_class=Other)  # type: ignore[type-var]
    with pytest.raises(
        ConfigurationError, match=r"build\(\) was given trial_class=Other, which reads no configuration"
    ):
        build(load_config("config.yaml"), trial_class=Other)  # type: ignore[type-var]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--cli", "config.yaml", "--model.init_args.lr=much"], r"lr.*much"),
        (["--cli", "config.yaml", "--model.init_args.rate=1"], r"rate"),
        (["--cli", "config.yaml", "--trainer.epochs=1"], r"epochs"),
        (["--cli", "config.yaml", "--seed_everything=-1"], r"seed_everything=-1: .* from 0 to 4294967295"),
        (["--cli", "config.yaml", "--hparam", "trainer=5"], r"trainer is 5: write arguments of the Trainer"),
        (["--cli", "gone.yaml"], r"gone\.yaml"),
        (["parts:LitNet", "--config", "config.yaml"], r"type --cli config\.yaml"),
        (["config.yaml"], r"type --cli config\.yaml"),
        (["configs"], r"type --hydra configs"),
        (
            ["main.py:Mine", "--cli", "config.yaml"],
            r"Mine is a LightningCLI.*class Trial\(ConfiguredTrial\): cli_class = Mine",
        ),
        (["--cli", "bare.yaml"], r"(?s)names no class there.*class Trial\(ConfiguredTrial\)"),
        (["--hydra", "configs", "seed=4294967296"], r"seed is 4294967296; .* from 0 to 4294967295"),
        (["--hydra", "gone"], r"gone is no configuration"),
        (["--hydra", "configs/latin"], r"latin\.yaml cannot be composed: .*decode"),
        (["--hydra", "configs/endless"], r"endless\.yaml cannot be composed: RecursionError"),
        (["--hydra", "configs", "model=tall"], r"(?s)model/tall.*wide"),
        (["--hydra", "configs", "model.net._target_=parts.Nut"], r"parts\.Nut"),
        (["--hydra", "configs", "model.lr=${nowhere}"], r"nowhere"),
    ],
)
def test_bad_configuration_is_one_message_without_a_traceback(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("bare.yaml").write_text("model: {lr: 0.1}\n")
    Path("main.py").write_text("from pytorch_lightning.cli import LightningCLI\nclass Mine(LightningCLI): pass\n")
    Path("configs/latin.yaml").write_bytes("a: é".encode("latin-1"))
    Path("configs/endless.yaml").write_text("a: &a [*a]\n")
    assert cli.main(["fit", *words]) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    assert re.search(said, err), err
    assert not Path("runs").exists()


def test_experiment_whose_values_cannot_be_used_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    tree = load_config("config.yaml", ["model.init_args.lr=0.3"])
    tree["model"]["init_args"]["lr"] = "much"
    Path("experiment.yaml").write_text(json.dumps({"hyperparameters": tree}))
    assert cli.main(["fit", "lightning_adapter:ConfiguredTrial", "--config", "experiment.yaml"]) == 2
    assert re.search(r"(?s)error: experiment\.yaml: .*lr.*much", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("words", "place"),
    [
        (["--cli", "config.yaml", "--trainer.devices=4"], "the override --trainer.devices=4"),
        (["--cli", "more.yaml"], "more.yaml, line 3"),
        (["--cli", "config.yaml", "--cli", "more.yaml"], "more.yaml, line 3"),
        (["--hydra", "configs", "+trainer.devices=4"], "the override +trainer.devices=4"),
        (["--hydra", "configs", "trainer=four"], "configs/trainer/four.yaml, line 2"),
    ],
)
def test_devices_that_contradict_the_job_are_told_with_their_place(
    words: list[str], place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("more.yaml").write_text("trainer:\n  max_epochs: 1\n  devices: 4\nmodel: parts.LitNet\ndata: parts.Data\n")
    Path("configs/trainer/four.yaml").write_text("_target_: pytorch_lightning.Trainer\ndevices: 4\n")
    assert cli.main(["fit", *words]) == 2
    assert re.search(rf"devices=.?4.? is not what this job has.*\({re.escape(place)}\)", capsys.readouterr().err)


# --- who pays for it ---------------------------------------------------------------------------------------------------


def test_libraries_of_configurations_are_not_imported_by_who_does_not_use_them() -> None:
    # in a process of its own, since this one has them
    program = """
import sys
import lightning_adapter.lightning
from lightning_adapter import ConfiguredTrial, LightningAdapter, build, cli, fit, load_config
sys.exit(", ".join(sorted({"jsonargparse", "hydra", "omegaconf", "pydantic", "simple_parsing"} & set(sys.modules))))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stderr.strip() == ""


@pytest.mark.parametrize(
    ("missing", "words", "extra"),
    [("jsonargparse", ["--cli", "config.yaml"], "cli"), ("hydra", ["--hydra", "configs"], "hydra")],
)
def test_extra_that_is_not_installed_is_named(
    missing: str, words: list[str], extra: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more, known=importlib.util.find_spec: None if name == missing else known(name, *more),
    )
    monkeypatch.setitem(sys.modules, missing, None)
    assert cli.main(["fit", *words]) == 2
    assert f"pip install 'lightning-adapter[{extra}]'" in capsys.readouterr().err
