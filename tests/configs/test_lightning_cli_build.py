"""Whatever is built of a tree, Lightning's Trainer makes of it what it makes under LightningCLI's own `fit`, bit for bit."""

from __future__ import annotations

import copy
import functools
import json
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import pytest
import torch
import yaml
from lightning.pytorch.cli import LightningCLI

from lightning_adapter import LightningAdapter, fit
from lightning_adapter.configs import lightning_cli
from lightning_adapter.configs.lightning_cli import Cli
from lightning_adapter.configs.parts import Parts
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.monkey_patch import NoEffectWarning

from . import cli_project
from .cli_project import (
    AccumulatingTrainer,
    Data,
    LinkedCli,
    Model,
    OwnOptimizerCli,
    model_builder,
    trainer_builder,
)

M = cli_project.__name__
TRAINER = "{max_epochs: 2, logger: false, enable_progress_bar: false, enable_model_summary: false}"
SUBCLASSES = f"""
model: {{class_path: {M}.Model, init_args: {{lr: 0.1, net: {{activation: TANH}}}}}}
data: {{class_path: {M}.Data}}
trainer: {TRAINER}
seed_everything: 3
"""
OPTIMIZER = """
optimizer: {class_path: torch.optim.Adam, init_args: {lr: 0.02}}
lr_scheduler: {class_path: StepLR, init_args: {step_size: 1, gamma: 0.5}}
"""
CLASSES = f"seed_everything: 5\ntrainer: {TRAINER}\ndata: {{batch_size: 6}}\n"
OF_CLASSES = {"model_class": Model, "datamodule_class": Data}
CASES: dict[str, tuple[str, Sequence[str], type | None, dict[str, Any]]] = {
    "sections": (SUBCLASSES + OPTIMIZER, ["--optimizer.lr=0.1", "--model.net.width=5"], None, {}),
    "no seed": (SUBCLASSES.replace("3\n", "false\n"), [], None, {}),
    "other model": (
        SUBCLASSES,
        ["--model", "CallableModel", "--model.optimizer=SGD", "--model.optimizer.lr=0.3"],
        None,
        {"auto_configure_optimizers": False, "seed_everything_default": 4},
    ),
    "links": (CLASSES, ["--early.patience=1", "--optimizer.lr=0.3"], LinkedCli, OF_CLASSES),
    "own optimizer": (SUBCLASSES + OPTIMIZER, [], OwnOptimizerCli, {}),
    "trainer class": (SUBCLASSES, ["--trainer.max_epochs=1"], None, {"trainer_class": AccumulatingTrainer}),
}


@pytest.fixture(autouse=True)
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["main.py"])
    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)


def trained(parts: Parts) -> list[torch.Tensor]:
    pl.Trainer(**parts.trainer_arguments).fit(parts.lightning_module, datamodule=parts.datamodule)
    return list(parts.lightning_module.state_dict().values())


@pytest.mark.parametrize(("text", "words", "cls", "arguments"), CASES.values(), ids=CASES)
def test_training_is_that_of_lightningcli(
    text: str, words: list[str], cls: type | None, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("source.yaml").write_text(text, encoding="utf-8")
    torch.manual_seed(123)
    own = (cls or LightningCLI)(args=["fit", "--config", "source.yaml", *words], **copy.deepcopy(arguments))
    expected, state = list(own.model.state_dict().values()), torch.get_rng_state()

    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    cli = Cli(cls, arguments)
    tree = json.loads(json.dumps(lightning_cli.compose("source.yaml", words, cli)))
    lightning_cli.check(tree, cli)
    torch.manual_seed(123)
    parts = lightning_cli.build(tree, cli, lightning_cli.seed_of(tree, cli))
    assert all(map(torch.equal, expected, trained(parts)))
    assert torch.equal(state, torch.get_rng_state())
    assert dict(own.model.hparams) == dict(parts.lightning_module.hparams)

    monkeypatch.delenv("PL_GLOBAL_SEED", raising=False)
    tree, cli = lightning_cli.tree_of(own)
    torch.manual_seed(123)
    assert all(map(torch.equal, expected, trained(lightning_cli.build(tree, cli, lightning_cli.seed_of(tree, cli)))))


# --- what is made ---


def built(text: str, cli: Cli | None = None, seed: int | bool = 3) -> Parts:
    return lightning_cli.build(yaml.safe_load(text), cli, seed)


def test_trainer_arguments_are_those_that_differ_from_lightnings_defaults() -> None:
    defaults = {"trainer_defaults": {"gradient_clip_val": 0.5}}
    arguments = built(SUBCLASSES, Cli(arguments=defaults)).trainer_arguments
    (save,) = arguments.pop("callbacks")
    assert type(save).__name__ == "SaveConfigCallback"
    assert arguments == {
        "max_epochs": 2,
        "logger": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "gradient_clip_val": 0.5,
    }


def test_configuration_is_saved_as_the_class_says() -> None:
    own = Cli(arguments={"save_config_kwargs": {"overwrite": True, "config_filename": "mine.yaml"}})
    (save,) = built(SUBCLASSES, own).trainer_arguments["callbacks"]
    assert (save.overwrite, save.config_filename) == (True, "mine.yaml")


def test_no_configuration_is_saved_where_the_class_says_so() -> None:
    assert "callbacks" not in built(SUBCLASSES, Cli(arguments={"save_config_callback": None})).trainer_arguments


def test_callback_that_saves_the_configuration_can_be_pickled() -> None:
    (save,) = built(SUBCLASSES).trainer_arguments["callbacks"]
    assert pickle.loads(pickle.dumps(save)).config_filename == "config.yaml"


def test_saved_configuration_of_a_run_makes_the_same_again() -> None:
    tree = lightning_cli.compose(_written(SUBCLASSES + OPTIMIZER))

    class Trial(LightningAdapter):
        def __init__(self, context: Any) -> None:
            parts = lightning_cli.build(context.get_hparams(), Cli(), 3)
            super().__init__(context, parts.lightning_module, parts.datamodule, **parts.trainer_arguments)

    trial = fit(Trial, hparams=tree, run_dir="run")
    saved = lightning_cli.compose("run/config.yaml")
    assert saved["model"]["init_args"]["num_classes"] == 3  # a default, written out
    assert saved["seed_everything"] == 3
    assert all(
        map(torch.equal, trial.lightning_module.state_dict().values(), trained(lightning_cli.build(saved, seed=3)))
    )
    # and where the run goes on, its directory has the file already, which is nobody's to overwrite
    before = Path("run/config.yaml").read_text()
    longer = {**tree, "trainer": {**tree["trainer"], "max_epochs": 3}}
    fit(Trial, hparams=longer, run_dir="run", resume_from="run")
    assert Path("run/config.yaml").read_text() == before
    assert lightning_cli.compose("run/config-1.yaml")["trainer"]["max_epochs"] == 3


def _written(text: str) -> str:
    Path("config.yaml").write_text(text, encoding="utf-8")
    return "config.yaml"


def test_seed_is_that_of_the_tree_or_of_the_class() -> None:
    class Seeded(LightningCLI):
        def add_arguments_to_parser(self, parser: Any) -> None:
            parser.set_defaults({"seed_everything": 8})

    assert lightning_cli.seed_of({"seed_everything": False}) is False
    assert lightning_cli.seed_of({"fit": {"seed_everything": 2}}) == 2
    assert lightning_cli.seed_of({}) is True
    assert lightning_cli.seed_of({}, Cli(arguments={"seed_everything_default": 7})) == 7
    assert lightning_cli.seed_of({}, Cli(Seeded)) == 8


def test_nothing_is_seeded_without_a_seed() -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    assert torch.equal(torch.nn.Linear(6, 7).weight, built_with_state(state).net[0].weight)


def built_with_state(state: torch.Tensor) -> Any:
    torch.set_rng_state(state)
    return built(f"model: {{class_path: {M}.Model, init_args: {{lr: 0.1}}}}", seed=False).lightning_module


def test_function_in_the_place_of_a_class_is_called() -> None:
    module = built("model: {lr: 0.7}", Cli(arguments={"model_class": model_builder})).lightning_module
    assert isinstance(module, Model)
    assert module.lr == 0.7


def test_tree_that_names_the_class_of_the_cli_is_taken() -> None:
    cli = Cli(LinkedCli, OF_CLASSES)
    tree = {"model": {"class_path": f"{M}.Model", "init_args": {"lr": 0.7}}, "data": {"class_path": f"{M}.Data"}}
    lightning_cli.check(tree, cli)
    assert lightning_cli.build(tree, cli, 1).lightning_module.lr == 0.7
    with pytest.raises(ConfigurationError) as error:
        lightning_cli.check({"model": {"class_path": f"{M}.Model", "init_args": {"lr": "x"}}}, cli)
    assert error.value.keys == ("model", "init_args", "lr")  # type: ignore[attr-defined]


def test_package_is_that_of_the_classes() -> None:
    for package in ("lightning.pytorch", "pytorch_lightning"):
        tree = {"model": {"class_path": f"{package}.demos.boring_classes.BoringModel"}}
        (save,) = lightning_cli.build(tree, seed=1).trainer_arguments["callbacks"]
        assert type(save).__module__ == f"{package}.cli"


# --- LightningCLIs that do more ---


def test_partial_of_a_trainer_gives_its_arguments() -> None:
    cli = Cli(OwnOptimizerCli, {"trainer_class": AccumulatingTrainer})
    assert built(SUBCLASSES + OPTIMIZER, cli).trainer_arguments["accumulate_grad_batches"] == 2
    to_be = lightning_cli.cli_flow.to_be(functools.partial(pl.Trainer, max_steps=3), max_epochs=1)
    assert to_be.arguments == {"max_steps": 3, "max_epochs": 1}


class OverridingTrainer(pl.Trainer):
    def fit(self, *args: Any, **kwargs: Any) -> None: ...


class BusyTrainer(pl.Trainer):
    def __init__(self, callbacks: Any = None) -> None:
        super().__init__(callbacks=callbacks)
        self.strategy.barrier()


@pytest.mark.parametrize(
    ("trainer", "told"),
    [
        (trainer_builder, "trainer_class=trainer_builder is no Trainer of Lightning's"),
        (OverridingTrainer, "OverridingTrainer overrides fit of Lightning's Trainer, which does not train here"),
        (BusyTrainer, r"BusyTrainer.__init__\(\) does more than to choose arguments"),
    ],
)
def test_trainer_that_does_more_than_lightnings_is_refused(trainer: Any, told: str) -> None:
    with pytest.raises(ConfigurationError, match=f"{told}.*trainer_defaults="):
        built(f"model: {M}.CallableModel", Cli(arguments={"trainer_class": trainer}))


def _cli(**methods: Any) -> Cli:
    return Cli(type("MyCli", (LightningCLI,), methods))


def test_method_in_the_place_of_fit_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"MyCli has a method fit\(\) .* Move what it does before training"):
        lightning_cli.check(yaml.safe_load(SUBCLASSES), _cli(fit=lambda self, **kwargs: None))


def test_after_fit_is_told_not_to_be_called_and_is_not() -> None:
    cli = _cli(after_fit=lambda self: pytest.fail("called"))
    with pytest.warns(NoEffectWarning, match=r"MyCli.after_fit\(\) is not called: .* `lightning-adapter fit --test`"):
        lightning_cli.tell_unused(cli)
    built(SUBCLASSES, cli)


def test_trainer_made_by_the_class_itself_is_refused() -> None:
    cli = _cli(instantiate_trainer=lambda self, **kwargs: pl.Trainer(logger=False))
    with pytest.raises(ConfigurationError, match=r"MyCli.instantiate_trainer\(\) makes a Trainer itself"):
        built(SUBCLASSES, cli)


def test_before_fit_finds_the_arguments_of_the_trainer() -> None:
    seen = []
    logger = "{class_path: lightning.pytorch.loggers.CSVLogger, init_args: {save_dir: logs}}"
    cli = _cli(before_fit=lambda self: seen.append((self.trainer.max_epochs, self.trainer.logger.save_dir)))
    built(SUBCLASSES.replace("logger: false", f"logger: {logger}"), cli)
    assert seen == [(2, "logs")]


@pytest.mark.parametrize(
    ("ask", "told"),
    [
        (lambda trainer: trainer.world_size, "asks its trainer for world_size.*on_fit_start"),
        (lambda trainer: setattr(trainer, "x", 1), "asks its trainer for x, to set it.*trainer_defaults="),
        (lambda trainer: trainer.logger, "its logger, and the configuration names none"),
    ],
)
def test_before_fit_that_asks_for_more_is_told(ask: Any, told: str) -> None:
    text = SUBCLASSES.replace("logger: false, ", "")
    with pytest.raises(ConfigurationError, match=told):
        built(text, _cli(before_fit=lambda self: ask(self.trainer)))


# --- LightningCLIs that scripts have made ---


def test_configuration_of_a_script_is_what_was_typed_with_all_classes_named() -> None:
    words = ["--model.lr=0.7", "--trainer.logger=false", "--trainer.max_epochs", "1"]
    made = LinkedCli(**OF_CLASSES, args=words, run=False, seed_everything_default=4)
    tree, cli = lightning_cli.tree_of(made)
    assert tree == {
        "model": {"class_path": f"{M}.Model", "init_args": {"lr": 0.7}},
        "trainer": {"logger": False, "max_epochs": 1},
        "seed_everything": 4,
        "data": {"class_path": f"{M}.Data"},
    }
    assert cli.cls is LinkedCli
    assert lightning_cli.build(json.loads(json.dumps(tree)), cli, 4).lightning_module.batch_size == 4


def test_seed_1_of_a_script_is_not_taken_for_the_default_true() -> None:
    config = yaml.safe_load(SUBCLASSES)
    made = LightningCLI(args={**config, "seed_everything": 1}, run=False)
    tree, _ = lightning_cli.tree_of(made)
    assert tree["seed_everything"] is not True
    assert tree["seed_everything"] == 1


def test_object_among_the_defaults_of_a_callback_is_left_to_its_class() -> None:
    swa = {"class_path": "lightning.pytorch.callbacks.StochasticWeightAveraging", "init_args": {"swa_lrs": 0.1}}
    config = yaml.safe_load(SUBCLASSES)
    made = LightningCLI(args={**config, "trainer": {"logger": False, "callbacks": [swa]}}, run=False)
    tree, cli = lightning_cli.tree_of(made)
    assert "device" not in tree["trainer"]["callbacks"][0]["init_args"]
    lightning_cli.build(tree, cli, 3)


def test_configuration_alone_is_taken_where_it_names_its_classes() -> None:
    made = LightningCLI(args=yaml.safe_load(SUBCLASSES), run=False)
    tree, cli = lightning_cli.tree_of(made.config)
    assert cli == Cli()
    assert lightning_cli.build(tree, cli, 3).lightning_module.net[0].out_features == 7
    of_class = LightningCLI(model_class=Model, args={"model": {"lr": 0.1}}, run=False)
    with pytest.raises(ConfigurationError, match="Give the LightningCLI that was made of it"):
        lightning_cli.tree_of(of_class.config)


class NeedyCli(LightningCLI):
    def __init__(self, name: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)


def test_class_that_needs_more_than_lightningcli_keeps_is_refused() -> None:
    made = NeedyCli("x", model_class=Model, args={"model": {"lr": 0.1}}, run=False)
    with pytest.raises(ConfigurationError, match=r"NeedyCli.__init__\(\) needs name"):
        lightning_cli.tree_of(made)


def test_class_that_names_its_own_model_is_made_again() -> None:
    class Own(LightningCLI):
        def __init__(self) -> None:
            super().__init__(Model, Data, run=False, args=["--model.lr=0.7", "--trainer.logger=false"])

    tree, cli = lightning_cli.tree_of(Own())
    assert cli.arguments == {}
    parts = lightning_cli.build(tree, cli, lightning_cli.seed_of(tree, cli))
    assert parts.lightning_module.lr == 0.7
