"""`lightning-adapter init`: each kind of source, where sweeps get to, and what is refused in words."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import fake_searcher
from lightning_adapter import cli
from lightning_adapter.configs import hydra_tree
from lightning_adapter.configs.listed import lists
from lightning_adapter.platform import experiment

pytestmark = pytest.mark.usefixtures("configured")

_OWN = """
import argparse
import dataclasses

from pytorch_lightning.cli import LightningCLI

from lightning_adapter import ConfiguredTrial, LightningAdapter
from parts import Data, LitNet


class MyCLI(LightningCLI):
    def add_arguments_to_parser(self, parser):
        parser.link_arguments("data.batch_size", "model.hidden")


class Lonely(LightningCLI):
    pass


class MyTrial(ConfiguredTrial):
    cli_class = MyCLI
    cli_arguments = {"model_class": LitNet, "datamodule_class": Data}


@dataclasses.dataclass
class Net:
    hidden: int = 4  # units of the hidden layer


@dataclasses.dataclass
class Settings:
    steps: int
    lr: float = 0.1  # of SGD
    net: Net = dataclasses.field(default_factory=Net)
    act: object = print


class Typed(LightningAdapter):
    Hyperparameters = Settings


class Untyped(LightningAdapter):
    def __init__(self, context):
        lr, name = context.get_hparam("lr"), context.get_hparams()["name"]
        super().__init__(context, LitNet(lr), Data(context.get_per_slot_batch_size()))


class Long(LightningAdapter):
    def __init__(self, context):
        settings = {}
        super().__init__(context, LitNet(), Data(), max_steps=context.get_hparam("steps"), **settings)


class Longer(Long):
    def __init__(self, context):
        super().__init__(context)


class Endless(LightningAdapter):
    def __init__(self, context):
        super().__init__(context, LitNet(context.get_hparam("lr")), Data(), max_epochs=None)


def make_parser(kind="x"):
    parser = argparse.ArgumentParser()
    parser.add_argument("data", help="where they are")
    parser.add_argument("--lr", "-l", type=float, default="0.1", help="learning rate (default: %(default)s)")
    parser.add_argument("--opt", choices=["adam", "sgd"], default="adam")
    parser.add_argument("--layers", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--fast", action="store_true")
    return parser


parser = make_parser()
with_commands = argparse.ArgumentParser()
with_commands.add_subparsers().add_parser("train")


def needs_more(arguments):
    return parser
"""


@pytest.fixture
def init(init: Callable[..., str], project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Run the command where there is a module of the project's own; return what it prints."""
    monkeypatch.syspath_prepend(str(project))
    (project / "own.py").write_text(_OWN)
    return init


def read(text: str) -> dict:
    Path("experiment.yaml").write_text(text)
    return experiment.read("experiment.yaml")


# --- kinds of sources --------------------------------------------------------------------------------------------------


def test_trial_that_declares_a_dataclass_gives_its_defaults_and_comments(init) -> None:
    text = init("own.py:Typed", "lr=0.1,0.01")
    config = read(text)
    assert config["entrypoint"] == "python3 -m lightning_adapter fit own.py:Typed --max-epochs 10"
    assert config["hyperparameters"] == {
        "steps": None,
        "lr": {"type": "categorical", "vals": [0.1, 0.01]},
        "net": {"hidden": 4},
    }
    assert "steps: null # TO CHANGE: it has to be given; int" in text
    assert "  # float; of SGD\n  lr:" in text
    assert "hidden: 4 # int; units of the hidden layer" in text
    assert "Left out, since no YAML holds their defaults: act" in text


def test_value_that_was_typed_is_not_to_be_changed(init) -> None:
    text = init("own.py:Typed", "steps=3")
    assert "  steps: 3 # int\n" in text
    assert "it has to be given" not in text
    assert "  # int\n  steps:\n    type: categorical" in init("own.py:Typed", "steps=3,4")
    assert "data: here # where they are\n" in init("own.py:parser", "data=here")
    text = init("own.py:Untyped", "name=a", "--global_batch_size", "64")
    assert "global_batch_size: 64\n" in text
    line = next(number for number, line in enumerate(_OWN.splitlines(), 1) if 'get_hparam("lr")' in line)
    assert f"name: a # read in line {line} of own.py\n" in text


def test_values_that_the_dataclass_refuses_are_told(init) -> None:
    assert "net.hidden is the text 'many'" in init("own.py:Typed", "steps=1", "net.hidden=3,many", status=2)
    assert "own.py:Typed has no lrr; did you mean 'lr'?" in init("own.py:Typed", "lrr=1", status=2)


def test_trial_that_declares_nothing_gives_what_its_code_reads(init) -> None:
    text = init("own.py:Untyped", "lr=0.5", "more=1")
    assert read(text)["hyperparameters"] == {"lr": 0.5, "name": None, "global_batch_size": 64, "more": 1}
    line = next(number for number, line in enumerate(_OWN.splitlines(), 1) if 'get_hparam("lr")' in line)
    assert f"name: null # TO CHANGE: a value; read in line {line} of own.py" in text
    assert "Untyped does not declare its hyperparameters" in text


@pytest.mark.parametrize("source", ["own.py:parser", "own:make_parser"])
def test_parser_of_a_script_gives_names_defaults_choices_and_help(init, source: str) -> None:
    text = init(source, "-l", "0.5", "--opt", "adam,sgd", "--fast")
    config = read(text)
    assert config["hyperparameters"] == {
        "data": None,
        "lr": 0.5,
        "opt": {"type": "categorical", "vals": ["adam", "sgd"]},
        "layers": [4, 8],
        "fast": True,
    }
    assert "lr: 0.5 # learning rate (default: 0.1)" in text
    assert "  # one of adam, sgd\n  opt:" in text
    assert "data: null # TO CHANGE: it has to be given; where they are" in text
    assert "TO CHANGE: the trial" in text


def test_values_that_the_parser_refuses_are_told(init) -> None:
    said = init("own:parser", "lr=fast", "opt=lbfgs", "layers=[1,x]", status=2)
    for part in ("lr is 'fast'", "opt is 'lbfgs', and has to be one of adam, sgd", "layers is 'x'"):
        assert part in said


def test_configured_trial_reads_its_file_with_its_own_cli(init) -> None:
    Path("own.yaml").write_text("data:\n  batch_size: 4\nmodel:\n  lr: 0.5\n")
    config = read(init("own.py:MyTrial", "--cli", "own.yaml", "--data.batch_size=8"))
    assert config["entrypoint"] == "python3 -m lightning_adapter fit own.py:MyTrial"
    assert config["hyperparameters"] == {"data": {"batch_size": 8}, "model": {"lr": 0.5}, "global_batch_size": 8}


def test_own_cli_is_read_by_the_trial_that_names_it(init) -> None:
    Path("own.yaml").write_text("model:\n  lr: 0.5\n")
    config = read(init("own.py:MyCLI", "--cli", "own.yaml"))
    assert config["entrypoint"].endswith("fit own.py:MyTrial")
    assert config["hyperparameters"] == {"model": {"lr": 0.5}}
    text = init("own.py:Lonely", "--cli", "config.yaml")
    assert "#     class Trial(ConfiguredTrial):\n#         cli_class = Lonely" in text
    assert read(text)["entrypoint"].endswith("fit own.py:Trial")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["broken.yaml"], "the configuration broken.yaml is not valid YAML: line 2"),
        (["configs/broken"], "configs/broken.yaml cannot be composed: while parsing"),
        (["own.py:MyTrial"], "own.py:MyTrial reads a configuration, and none is given"),
        (["own.py:Typed", "--cli", "config.yaml"], "own.py:Typed reads no configuration"),
        (["config.yaml", "--cli", "config.yaml"], "config.yaml is none"),
        (["own.py:Settings"], "of which no experiment can be made"),
        (["own.py:needs_more"], "is a function that needs arguments"),
        (["own.py:with_commands"], "has the subcommands train"),
        (["own.py:nothing"], "own.py has no nothing"),
        (["own.py"], "A trial or a parser in it is named as own.py:NAME"),
        (["configs/trein"], "configs/trein is no file and no directory"),
        (["configs", "model=glob(x*)"], "the pattern finds nothing of model: the group has net, wide"),
        (["configs", "-m", "seed=1,2"], "-m: init reads a sweep without it"),
        (["configs", "seed=1,2", "--multirun"], "--multirun: init reads a sweep without it"),
        (["configs", "--seed=3"], "--seed=3: Hydra's overrides begin with no dash. To fix, type seed=3"),
        (["configs", "--seed", "3"], "To fix, type seed=3"),
        (["configs", "--seed"], "To fix, type seed=VALUE"),
        (["configs", "-cn", "train"], "-cn: the configuration is named as SOURCE"),
        (["configs", "--hparam", "seed=3"], "To fix, type seed=3 without it"),
        (["own.py:Typed", "--hparam", "steps=3"], "To fix, type steps=3 without it"),
        (["own.py:parser", "--hparam=lr=3"], "To fix, type lr=3 without it"),
        (["own.py:Typed", "-m", "steps=3"], "-m: init reads a sweep without it"),
        (["configs", "model.nett.hidden=1,2"], "Could not override 'model.nett.hidden'"),
        (["configs", "model=net,nut"], "Could not find 'model/nut'"),
        (["configs", "seed=3,3"], "seed: 3 and 3 give one and the same configuration"),
        (["config.yaml", "--model.lr=a,b"], "a,b"),
        (["config.yaml", "--model.lrr", "1"], "lrr"),
        (["config.yaml", "~model", "model.lr"], "model.lr is no override: write key=value"),
        (["config.yaml", "-x"], "error: -x"),
        (["config.yaml", "model.lr=0.1,much"], "much"),
    ],
)
def test_bad_input_is_one_message_without_a_traceback(init, words: list[str], said: str) -> None:
    for broken in ("broken.yaml", "configs/broken.yaml"):
        Path(broken).write_text("a: [b\n")
    printed = init(*words, status=2)
    assert printed.startswith("lightning-adapter: error: ")
    assert said in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("slots", ["0", "-1", "two"])
def test_slots_that_are_no_number_are_refused(slots: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["init", "config.yaml", "--slots", slots])
    assert ended.value.code == 2
    assert "is no number of GPUs" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["Long", "Longer"])
def test_length_that_the_trial_says_is_not_overruled(init, name: str) -> None:
    line = next(number for number, line in enumerate(_OWN.splitlines(), 1) if "max_steps=" in line)
    said = f"as long as the trial says, max_steps=context.get_hparam('steps') in line {line} of own.Long\n"
    assert f"entrypoint: python3 -m lightning_adapter fit own.py:{name} # {said}" in init(f"own.py:{name}")


def test_length_that_is_not_seen_says_what_it_wins_over(init) -> None:
    said = "# TO CHANGE: how long to train; it wins over what the trial itself gives, such as max_epochs"
    for name in ("Endless", "Typed"):
        assert f"fit own.py:{name} --max-epochs 10 {said}" in init(f"own.py:{name}")


def test_length_of_the_only_trial_beside_a_parser_is_not_overruled(init) -> None:
    trial = (
        "class Trial(LightningAdapter):\n    def __init__(self, c):\n        super().__init__(c, None, max_epochs=3)\n"
    )
    Path("train.py").write_text(
        f"import argparse\nfrom lightning_adapter import LightningAdapter\n{trial}"
        "parser = argparse.ArgumentParser()\nparser.add_argument('--lr', default=0.1)\n"
    )
    assert "fit train.py:Trial # as long as the trial says, max_epochs=3 in line 5" in init("train.py:parser")


# --- sweeps ------------------------------------------------------------------------------------------------------------


def test_value_with_commas_is_a_sweep_where_its_type_takes_none(init) -> None:
    config = read(init("config.yaml", "--model.lr", "0.1,0.01", "--trainer.devices", "0,"))
    assert config["hyperparameters"]["model"]["init_args"]["lr"] == {"type": "categorical", "vals": [0.1, 0.01]}
    assert config["hyperparameters"]["trainer"]["devices"] == "0,"
    assert config["searcher"]["name"] == "grid"


def test_function_of_hydra_is_a_sweep_of_lightning_cli_too(init) -> None:
    config = read(init("config.yaml", "--model.hidden=range(2,5)", "--model.lr", "interval(0.1, 0.2)"))
    arguments = config["hyperparameters"]["model"]["init_args"]
    assert arguments["hidden"] == {"type": "int", "minval": 2, "maxval": 4, "count": 3}
    assert arguments["lr"] == {"type": "double", "minval": 0.1, "maxval": 0.2}


def test_sweep_over_a_class_draws_whole_subtrees(init) -> None:
    text = init("config.yaml", "optimizer=Adam,SGD", "seed_everything=1,2")
    names = ("torch.optim.Adam", "torch.optim.SGD")
    assert read(text)["hyperparameters"]["optimizer"]["vals"] == [{"class_path": name} for name in names]
    trials = fake_searcher.grid(text)
    found = [(trial["optimizer"]["class_path"], trial["seed_everything"]) for trial in trials]
    assert sorted(found) == [(f"torch.optim.{name}", seed) for name in ("Adam", "SGD") for seed in (1, 2)]


def test_sweep_inside_of_a_swept_group_is_drawn_with_it(init) -> None:
    trials = fake_searcher.grid(init("configs", "model=net,wide", "model.net.hidden=2,3"))
    found = [(trial["model"]["optimizer"]["_target_"], trial["model"]["net"]["hidden"]) for trial in trials]
    assert sorted(found) == [
        ("torch.optim.Adam", 2),
        ("torch.optim.Adam", 3),
        ("torch.optim.SGD", 2),
        ("torch.optim.SGD", 3),
    ]
    said = init("configs", "model=net,wide", "model.net.hidden=int(interval(2,9))", status=2)
    assert "model.net.hidden is an interval inside of model, which Determined cannot draw from" in said
    assert "give values: model.net.hidden=2,9" in said


def test_sweep_inside_of_a_group_with_a_type_of_its_own_is_drawn_with_it(init) -> None:
    Path("configs/data/typed.yaml").write_text("_target_: parts.Data\nbatch_size: 4\nkind: {type: double, size: 1}\n")
    text = init("configs", "data=typed", "data.kind.size=1,2", "model.net.hidden=2,3")
    assert [trial["data"]["kind"] for trial in fake_searcher.grid(text)] == [
        {"type": "double", "size": size} for size in (1, 2) for _ in range(2)
    ]
    said = init("configs", "data=typed", "data.kind.size=interval(1,2)", status=2)
    assert "data.kind has a key `type` of its own" in said


def test_sweep_that_changes_several_places_is_refused_with_what_to_type(init) -> None:
    Path("configs/experiment/small.yaml").write_text("# @package _global_\nseed: 9\ntrainer: {max_epochs: 1}\n")
    said = init("configs", "experiment=big,small", status=2)
    assert "experiment=big,small changes several places, model" in said
    assert "seed" in said
    assert "lightning-adapter init SOURCE experiment=big" in said


def test_sweeps_that_depend_on_each_other_are_refused(init) -> None:
    files = {
        "both.yaml": "defaults: [data: small, model: net, trainer: default, kind: x, {extra: '${model}_${kind}'}]\n",
        "kind/x.yaml": "name: x\n",
        "kind/y.yaml": "name: y\n",
        **{f"extra/{name}.yaml": "value: 1\n" for name in ("net_x", "wide_x", "net_y")},
        "extra/wide_y.yaml": "value: 2\n",
    }
    for name, text in files.items():
        path = Path("configs", name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    said = init("configs/both", "model=net,wide", "kind=x,y", status=2)
    assert "model, kind together change extra.value, which none of them changes alone" in said


def test_sweep_of_the_configuration_itself_is_drawn_as_optuna_would(init) -> None:
    Path("configs/hparams.yaml").write_text(
        "defaults: [train, _self_, override hydra/sweeper: optuna]\noptimized_metric: val_acc\n"
        "hydra:\n  sweeper:\n    _target_: hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper\n"
        "    direction: maximize\n    n_trials: 7\n    params:\n"
        "      model.optimizer.lr: tag(log, interval(0.001, 0.1))\n      data.batch_size: range(2,4)\n"
    )
    stopping = "+trainer.callbacks=[{_target_:pytorch_lightning.callbacks.EarlyStopping,monitor:val_loss}]"
    config = read(init("configs/hparams", stopping))
    assert config["searcher"] == {"name": "random", "metric": "val_acc", "smaller_is_better": False, "max_trials": 7}
    assert config["hyperparameters"]["data"]["batch_size"]["maxval"] == 4  # Optuna's range holds its end
    assert "global_batch_size" not in config["hyperparameters"]
    assert config["hyperparameters"]["model"]["lr"] == "${model.optimizer.lr}"
    assert read(init("configs/hparams", "hydra.sweeper.n_trials=3"))["searcher"]["max_trials"] == 3
    typed = read(init("configs/hparams", "model.optimizer.lr=0.1,0.2"))
    assert typed["searcher"]["name"] == "grid"  # six trials are fewer than seven
    assert read(init("configs/hparams", "model.optimizer.lr=0.1,0.2,0.3"))["searcher"]["max_trials"] == 7


def test_what_no_searcher_can_do_is_refused(init) -> None:
    for name, line in (("two", "direction: [minimize, maximize]"), ("code", "custom_search_space: a.b")):
        Path(f"configs/{name}.yaml").write_text(
            f"defaults: [train, _self_, override hydra/sweeper: optuna]\nhydra: {{sweeper: {{n_trials: 1, {line}}}}}\n"
        )
    assert "optimizes several values at once" in init("configs/two", status=2)
    assert "hydra.sweeper.custom_search_space" in init("configs/code", status=2)


# --- what stands around ------------------------------------------------------------------------------------------------


def test_best_checkpoint_says_what_is_searched_for(init) -> None:
    callbacks = "+trainer.callbacks=[{_target_:pytorch_lightning.callbacks.ModelCheckpoint,monitor:'${optimized_metric}',mode:max}]"
    searcher = read(init("configs", callbacks))["searcher"]
    assert searcher == {"name": "single", "metric": "val_loss", "smaller_is_better": False}
    text = init("configs", "~optimized_metric")
    assert read(text)["searcher"] == {"name": "single", "metric": "val_loss", "smaller_is_better": True}
    assert "TO CHANGE: a value that the module logs" in text


def test_optimized_metric_without_a_direction_is_told_where_another_is_taken(init) -> None:
    callbacks = "+trainer.callbacks=[{_target_:pytorch_lightning.callbacks.ModelCheckpoint,monitor:val_acc,mode:max}]"
    text = init("configs", callbacks, "seed=1,2")
    told = (
        "  # optimized_metric is val_loss, and hydra.sweeper.direction does not say which way: to rank trials by it,\n"
    )
    assert (
        f"{told}  # write it here, and its direction below.\n  metric: val_acc # of ModelCheckpoint at trainer.callbacks.0\n"
        in text
    )
    assert read(text)["searcher"] == {"name": "grid", "metric": "val_acc", "smaller_is_better": False}
    assert "optimized_metric is" not in init("configs", callbacks, "optimized_metric=val_acc")
    alone = "metric: val_loss # of optimized_metric\n  smaller_is_better: true # TO CHANGE: the direction, which nothing says\n"
    assert alone in init("configs")


def test_devices_of_the_configuration_give_the_slots_and_typed_slots_win(init) -> None:
    config = read(init("configs", "+trainer.devices=2", "+trainer.num_nodes=2"))
    assert config["resources"]["slots_per_trial"] == 4
    assert config["hyperparameters"]["global_batch_size"] == 16
    text = init("configs", "+trainer.devices=2", "+trainer.num_nodes=2", "--slots", "1")
    trainer = read(text)["hyperparameters"]["trainer"]
    assert (trainer["devices"], trainer["num_nodes"]) == ("auto", 1)
    assert "it was 2" in text


def test_what_is_of_this_machine_is_said(init) -> None:
    text = init(
        "configs",
        "+trainer.accelerator=cpu",
        "+ckpt_path=a.ckpt",
        "+x='${oc.env:KEY}/${oc.env:ROOT,y}'",
        "~trainer.max_epochs",
    )
    assert "accelerator: cpu # refused where a slot has none" in text
    assert "ckpt_path: a.ckpt # TO CHANGE" in text
    assert "it asks for the environment variables KEY. Set them" in text
    assert "TO CHANGE: add --max-epochs N" in text


def test_every_yaml_is_taken_by_submit(init, monkeypatch: pytest.MonkeyPatch) -> None:
    from lightning_adapter.submission import checks
    from lightning_adapter.submission.entrypoint import read_entrypoint

    for words in (["config.yaml"], ["configs", "model=net,wide"], ["config.yaml", "--slots", "4"], ["own.py:Untyped"]):
        config = read(init(*words))
        entrypoint = read_entrypoint(config["entrypoint"])
        assert entrypoint.kind == "fit"
        assert checks.faults_of(config, entrypoint, checks.Typed()) == []


def test_help_is_quick_and_imports_no_library_of_a_configuration() -> None:
    script = (
        "import sys; from lightning_adapter.cli import main\n"
        "try: main(['init', '--help'])\n"
        "except SystemExit:\n"
        "  print(sorted({'torch', 'determined', 'hydra', 'jsonargparse', 'omegaconf', 'ruamel'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "SOURCE [OVERRIDES ...] [--slots N] [--requirements] > experiment.yaml" in done.stdout


def test_composed_lists_are_those_of_the_source(init) -> None:
    text = init("configs", "+trainer.callbacks=[{_target_:a.B,x:[1]},{_target_:a.C}]", "trainer.callbacks.0.x=[2],[3]")
    first, second = (lists(trial) for trial in fake_searcher.grid(text))
    expected = hydra_tree.compose("configs", None, ["+trainer.callbacks=[{_target_:a.B,x:[2]},{_target_:a.C}]"])
    first.pop("global_batch_size")
    assert first == expected
    assert second["trainer"]["callbacks"][0]["x"] == [3]


def test_experiment_that_cannot_be_written_is_told_and_a_reader_who_has_seen_enough_is_not(configured: Path) -> None:
    command = [sys.executable, "-m", "lightning_adapter", "init", "config.yaml"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "lightning-adapter: error: the experiment YAML cannot be written: No space"
    )
    begun = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert begun.stdout is not None
    begun.stdout.close()
    assert (begun.communicate()[1], begun.returncode) == ("", 128 + signal.SIGPIPE)
