from __future__ import annotations

import functools
import importlib
import warnings
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import pytest
from determined.pytorch import PyTorchTrial

from lightning_adapter import monkey_patch
from lightning_adapter.errors import TargetError, UnsupportedError
from lightning_adapter.monkey_patch import Finding, NoEffectWarning
from lightning_adapter.support import Support

# Imported here and not in the fixture: the import of Lightning sets an environment variable, which no test may.
PACKAGES = [name for name in ("pytorch_lightning", "lightning.pytorch") if find_spec(name.partition(".")[0])]
for package in PACKAGES:
    importlib.import_module(package)


@pytest.fixture(params=PACKAGES)
def lightning(request: pytest.FixtureRequest) -> ModuleType:
    return importlib.import_module(request.param)


def found(cls: type, owner: str = "LightningModule") -> dict[str, Support]:
    return {finding.name: finding.support for finding in monkey_patch.inspect_class(cls, owner)}


def function(*args: Any, **kwargs: Any) -> None:
    """A hook of any signature."""


def new_class(base: type, **attributes: Any) -> type:
    return type("Lit", (base,), attributes)


def test_class_without_overrides_gives_no_findings(lightning: ModuleType) -> None:
    assert found(new_class(lightning.LightningModule)) == {}
    assert found(new_class(lightning.LightningDataModule), "LightningDataModule") == {}
    assert found(new_class(lightning.Callback), "Callback") == {}


def test_class_with_supported_warned_and_rejected_overrides_gives_all_in_table_order(lightning: ModuleType) -> None:
    cls = new_class(
        lightning.LightningModule,
        configure_sharded_model=function,
        test_step=function,
        training_step=function,
        a_helper_of_mine=function,
    )

    assert list(found(cls).items()) == [
        ("training_step", Support.SUPPORTED),
        ("test_step", Support.WARNED),
        ("configure_sharded_model", Support.REJECTED),
    ]


@pytest.mark.parametrize("name", ["training_epoch_end", "validation_epoch_end", "on_epoch_start", "on_epoch_end"])
def test_hook_of_lightning_1_is_found_with_any_installed_version(lightning: ModuleType, name: str) -> None:
    assert found(new_class(lightning.LightningModule, **{name: function})) == {name: Support.SUPPORTED}


def test_datamodule_that_tests_and_predicts_is_warned_about_both_loaders(lightning: ModuleType) -> None:
    cls = new_class(
        lightning.LightningDataModule, train_dataloader=function, test_dataloader=function, predict_dataloader=function
    )

    assert found(cls, "LightningDataModule") == {
        "train_dataloader": Support.SUPPORTED,
        "test_dataloader": Support.WARNED,
        "predict_dataloader": Support.WARNED,
    }


def test_callback_of_lightning_1_is_sorted_into_the_three(lightning: ModuleType) -> None:
    cls = new_class(
        lightning.Callback, on_batch_start=function, on_init_start=function, on_configure_sharded_model=function
    )

    assert found(cls, "Callback") == {
        "on_batch_start": Support.SUPPORTED,
        "on_init_start": Support.WARNED,
        "on_configure_sharded_model": Support.REJECTED,
    }


def test_override_in_a_mixin_counts_and_the_message_names_it(lightning: ModuleType) -> None:
    class LoggingMixin:
        def on_train_start(self) -> None: ...

    class Lit(LoggingMixin, lightning.LightningModule):  # type: ignore[name-defined, misc]
        pass

    (finding,) = monkey_patch.inspect_class(Lit, "LightningModule")

    assert (finding.name, finding.support) == ("on_train_start", Support.SUPPORTED)
    assert f"(in {__name__}." in finding.message and "LoggingMixin)" in finding.message


def test_mixin_that_lightning_hides_in_the_mro_does_not_count(lightning: ModuleType) -> None:
    mixin = type("Late", (), {"on_train_start": function})

    assert found(type("Lit", (lightning.LightningModule, mixin), {})) == {}


def test_override_in_a_third_party_base_class_counts(lightning: ModuleType) -> None:
    base = type("LibraryModule", (lightning.LightningModule,), {"__module__": "torchbox.models", "test_step": function})

    assert found(type("Lit", (base,), {})) == {"test_step": Support.WARNED}


@pytest.mark.parametrize(
    "module", ["torchmetrics.base", "pytorch_lightning_bolts", "lightning_adapter_demo", "lightning.app"]
)
def test_module_name_that_only_resembles_a_host_package_is_the_users(lightning: ModuleType, module: str) -> None:
    cls = new_class(lightning.LightningModule, __module__=module, test_step=function)

    assert found(cls) == {"test_step": Support.WARNED}


@pytest.mark.parametrize(
    "module",
    ["lightning_adapter.module", "pytorch_lightning.core.x", "lightning.pytorch", "lightning_fabric.x", "torch.x"],
)
def test_override_in_a_host_package_is_not_the_users(lightning: ModuleType, module: str) -> None:
    assert found(new_class(lightning.LightningModule, __module__=module, test_step=function)) == {}


def test_boring_model_of_lightnings_demos_is_inspected_as_a_users(lightning: ModuleType) -> None:
    demos = importlib.import_module(f"{lightning.__name__}.demos.boring_classes")

    names = found(demos.BoringModel)

    assert names["training_step"] is Support.SUPPORTED
    assert names["test_step"] is Support.WARNED
    assert Support.REJECTED not in names.values()


@pytest.mark.parametrize("name", ["validation_step", "test_step", "configure_sharded_model", "truncated_bptt_steps"])
def test_attribute_that_is_none_is_no_override(lightning: ModuleType, name: str) -> None:
    assert found(new_class(lightning.LightningModule, **{name: None})) == {}


def test_none_in_a_subclass_takes_back_the_override_of_its_base(lightning: ModuleType) -> None:
    base = new_class(lightning.LightningModule, validation_step=function)

    assert found(new_class(base, validation_step=None)) == {}


def test_lightnings_own_function_under_its_own_name_is_no_override(lightning: ModuleType) -> None:
    base = new_class(lightning.LightningModule, test_step=function)

    assert found(new_class(base, test_step=lightning.LightningModule.test_step)) == {}


@pytest.mark.parametrize(
    "value",
    [lambda self, batch: None, functools.partial(function), staticmethod(function), 7],
    ids=["lambda", "partial", "staticmethod", "number"],
)
def test_lambda_partial_staticmethod_and_plain_value_are_overrides(lightning: ModuleType, value: Any) -> None:
    assert found(new_class(lightning.LightningModule, predict_step=value)) == {"predict_step": Support.WARNED}


def test_inspection_evaluates_no_property_of_the_user(lightning: ModuleType) -> None:
    def explode(self: Any) -> None:
        raise RuntimeError("evaluated")

    cls = new_class(
        lightning.LightningModule,
        example_input_array=property(explode),
        mine=property(explode),
        test_step=property(explode),
    )

    expected = {"example_input_array": Support.SUPPORTED, "test_step": Support.WARNED}
    assert found(cls) == expected
    assert {finding.name: finding.support for finding in monkey_patch.inspect_instance(cls())} == expected


def test_inspection_does_not_instantiate(lightning: ModuleType) -> None:
    def init(self: Any) -> None:
        raise RuntimeError("instantiated")

    cls = new_class(lightning.LightningModule, __init__=init, training_step=function)

    assert found(cls) == {"training_step": Support.SUPPORTED}
    assert "training_step" in monkey_patch.report(cls)


def test_training_step_with_hiddens_is_rejected_and_not_listed_as_running(lightning: ModuleType) -> None:
    def training_step(self: Any, batch: Any, batch_idx: int, hiddens: Any) -> None: ...

    (finding,) = monkey_patch.inspect_class(
        new_class(lightning.LightningModule, training_step=training_step), "LightningModule"
    )

    assert finding.support is Support.REJECTED
    assert finding.message.startswith("Lit has a training_step with a parameter 'hiddens': truncated backpropagation")


@pytest.mark.parametrize("wrap", [staticmethod, classmethod, functools.partial])
def test_hiddens_behind_a_descriptor_or_partial_are_found(lightning: ModuleType, wrap: Any) -> None:
    def training_step(batch: Any, batch_idx: int, hiddens: Any) -> None: ...

    assert found(new_class(lightning.LightningModule, training_step=wrap(training_step))) == {
        "training_step(hiddens)": Support.REJECTED
    }


def test_hiddens_behind_a_decorator_are_found(lightning: ModuleType) -> None:
    def training_step(self: Any, batch: Any, batch_idx: int, hiddens: Any) -> None: ...

    @functools.wraps(training_step)
    def decorated(*args: Any) -> None: ...

    assert found(new_class(lightning.LightningModule, training_step=decorated)) == {
        "training_step(hiddens)": Support.REJECTED
    }


@pytest.mark.parametrize("step", ["training_step", "validation_step"])
def test_step_over_dataloader_iter_is_supported(lightning: ModuleType, step: str) -> None:
    def over_iterator(self: Any, dataloader_iter: Any) -> None: ...

    cls = new_class(lightning.LightningModule, **{step: over_iterator})

    assert found(cls) == {f"{step}(dataloader_iter)": Support.SUPPORTED}


@pytest.mark.parametrize(("steps", "rejected"), [(2, True), (0, False), (-1, False)])
def test_truncated_bptt_steps_of_the_class_is_rejected_above_zero(
    lightning: ModuleType, steps: int, rejected: bool
) -> None:
    findings = monkey_patch.inspect_class(
        new_class(lightning.LightningModule, truncated_bptt_steps=steps), "LightningModule"
    )

    assert [finding.support for finding in findings] == [Support.REJECTED] * rejected
    assert all(f"Lit sets truncated_bptt_steps = {steps}: " in finding.message for finding in findings)


def test_truncated_bptt_steps_as_a_property_is_rejected_unread(lightning: ModuleType) -> None:
    def explode(self: Any) -> int:
        raise RuntimeError("evaluated")

    cls = new_class(lightning.LightningModule, truncated_bptt_steps=property(explode))

    assert found(cls) == {"truncated_bptt_steps": Support.REJECTED}


@pytest.mark.parametrize(("steps", "rejected"), [(3, True), (0, False)])
def test_truncated_bptt_steps_of_the_instance_is_rejected_above_zero(
    lightning: ModuleType, steps: int, rejected: bool
) -> None:
    module = new_class(lightning.LightningModule)()
    module.truncated_bptt_steps = steps

    findings = monkey_patch.inspect_instance(module)

    assert [finding.support for finding in findings] == [Support.REJECTED] * rejected
    assert all("Lit sets truncated_bptt_steps = 3: " in finding.message for finding in findings)


def test_hook_assigned_to_the_instance_counts_and_none_takes_back_that_of_the_class(lightning: ModuleType) -> None:
    module = new_class(lightning.LightningModule, validation_step=function, training_step=function)()
    module.validation_step = None
    module.test_step = module.training_step

    names = {finding.name: finding.message for finding in monkey_patch.inspect_instance(module)}

    assert set(names) == {"training_step", "test_step"}
    assert names["test_step"].startswith("Lit assigns test_step: training does not call it")


def test_bare_instance_gives_no_findings(lightning: ModuleType) -> None:
    for base in (lightning.LightningModule, lightning.LightningDataModule, lightning.Callback):
        assert monkey_patch.inspect_instance(new_class(base)()) == []


def test_inspection_leaves_class_and_host_untouched(lightning: ModuleType) -> None:
    cls = new_class(lightning.LightningModule, training_step=function, test_step=function)
    before = [dict(vars(base)) for base in cls.__mro__[:-1]]

    monkey_patch.inspect_instance(cls())
    monkey_patch.report(cls)

    assert [dict(vars(base)) for base in cls.__mro__[:-1]] == before


def finding(support: Support, message: str) -> Finding:
    return Finding(support, "Callback", "on_test_start", message)


def test_reject_or_warn_without_faults_is_silent() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        monkey_patch.reject_or_warn([])
        monkey_patch.reject_or_warn([finding(Support.SUPPORTED, "fine")])


def test_reject_or_warn_names_all_rejected_in_one_error() -> None:
    findings = [finding(Support.REJECTED, "A is wrong."), finding(Support.REJECTED, "B is wrong.")]

    with pytest.raises(
        UnsupportedError, match=r"2 things are not supported here\.\n  - A is wrong\.\n  - B is wrong\."
    ):
        monkey_patch.reject_or_warn(findings)


def test_reject_or_warn_warns_of_each_once_also_when_it_then_raises() -> None:
    findings = [
        finding(Support.WARNED, "C is idle."),
        finding(Support.WARNED, "C is idle."),
        finding(Support.REJECTED, "A is wrong."),
        finding(Support.WARNED, "D is idle."),
    ]

    with (
        pytest.warns(NoEffectWarning) as caught,
        pytest.raises(UnsupportedError, match=r"one thing is not supported here\.\n  - A is wrong\.$"),
    ):
        monkey_patch.reject_or_warn(findings)

    assert [str(warning.message) for warning in caught] == ["C is idle.", "D is idle."]
    assert {warning.filename for warning in caught} == {__file__}


def told(findings: list[Finding], after: monkey_patch.AfterTraining) -> list[str]:
    with monkey_patch.making_trial(after), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        monkey_patch.reject_or_warn(findings)
    return [str(warning.message) for warning in caught]


def idle_hooks(lightning: ModuleType) -> list[Finding]:
    module = new_class(lightning.LightningModule, test_step=function, predict_step=function)
    data = type("Data", (lightning.LightningDataModule,), {"test_dataloader": function})
    return [
        *monkey_patch.inspect_class(module, "LightningModule"),
        *monkey_patch.inspect_class(data, "LightningDataModule"),
    ]


def test_hooks_of_tests_and_predictions_are_told_in_one_warning_with_the_commands_that_run_them(
    lightning: ModuleType,
) -> None:
    training = monkey_patch.AfterTraining.of_training

    assert told(idle_hooks(lightning), training(False, "runs/T/1", False)) == [
        "Training calls no hooks for tests and predictions: Lit.test_step, Lit.predict_step, Data.test_dataloader. When it "
        "is done, `lightning-adapter test` and `lightning-adapter predict` call them."
    ]


def test_hooks_of_tests_on_a_cluster_are_told_with_what_works_there(lightning: ModuleType) -> None:
    training = monkey_patch.AfterTraining.of_training

    assert told(idle_hooks(lightning), training(False, "12", True)) == [
        "Training calls no hooks for tests and predictions: Lit.test_step, Lit.predict_step, Data.test_dataloader. To test "
        "the best checkpoint in the end, add --test to `fit` in the entrypoint; or type `lightning-adapter test 12` or "
        "`lightning-adapter predict 12` on a machine that reaches the master."
    ]


def test_hooks_of_a_test_that_was_asked_for_are_not_told(lightning: ModuleType) -> None:
    training = monkey_patch.AfterTraining.of_training

    assert told(idle_hooks(lightning), training(True, "12", True)) == [
        "Training calls no hooks for predictions: Lit.predict_step. When it is done, type `lightning-adapter predict 12` on "
        "a machine that reaches the master."
    ]


def test_hooks_of_tests_and_predictions_are_not_told_where_they_run(lightning: ModuleType) -> None:
    with warnings.catch_warnings(), monkey_patch.making_trial(monkey_patch.AfterTraining.of_trained()):
        warnings.simplefilter("error")
        monkey_patch.reject_or_warn(idle_hooks(lightning))


def test_hooks_of_tests_under_a_foreign_loop_are_told_with_the_commands_of_both_places(lightning: ModuleType) -> None:
    with pytest.warns(NoEffectWarning, match="lightning-adapter test RUN.*lightning-adapter test EXPERIMENT"):
        monkey_patch.reject_or_warn(idle_hooks(lightning))


def test_warning_says_what_was_found_why_and_what_to_do(lightning: ModuleType) -> None:
    cls = new_class(lightning.LightningModule, get_progress_bar_dict=function)

    with pytest.warns(
        NoEffectWarning,
        match=r"^Lit overrides get_progress_bar_dict: Lightning 1\.7 removed it .* Instead, log the values with",
    ):
        monkey_patch.reject_or_warn(monkey_patch.inspect_class(cls, "LightningModule"))


@pytest.mark.parametrize("owner", ["LightningModule", "LightningDataModule", "Callback"])
def test_owner_is_read_from_the_base_classes(lightning: ModuleType, owner: str) -> None:
    assert monkey_patch.owner_of(new_class(new_class(getattr(lightning, owner)))) == owner


@pytest.mark.parametrize("cls", [int, type("Callback", (), {}), type("LightningModule", (), {})])
def test_class_that_extends_nothing_of_lightning_raises(cls: type) -> None:
    with pytest.raises(TargetError, match=rf"\.{cls.__name__} \(bases: builtins\.object\) is none of the classes"):
        monkey_patch.report(cls)


def test_report_lists_rejected_first_then_warned_then_what_runs(lightning: ModuleType) -> None:
    cls = new_class(
        lightning.LightningModule, training_step=function, test_step=function, configure_sharded_model=function
    )

    text = monkey_patch.report(cls)

    assert text.splitlines()[0] == "Lit (LightningModule): 1 rejected, 1 warned, 1 runs"
    positions = [text.index(word) for word in ("configure_sharded_model ", "test_step ", "training_step ")]
    assert positions == sorted(positions)
    assert "Instead, create the layers in" in text
    assert max(map(len, text.splitlines())) <= 120


def test_report_of_a_class_that_overrides_nothing_says_so(lightning: ModuleType) -> None:
    assert "Nothing of Callback is overridden" in monkey_patch.report(new_class(lightning.Callback))


@pytest.fixture
def trial_base() -> type:
    return type("LightningAdapter", (PyTorchTrial,), {"__module__": "lightning_adapter.adapter"})


def test_report_of_a_trial_lists_its_overrides_and_what_cannot_be_known(trial_base: type) -> None:
    cls = type("MyTrial", (trial_base,), {"build_callbacks": function, "helper": function})

    text = monkey_patch.report(cls)

    assert text.splitlines()[0] == "MyTrial (LightningAdapter): 1 of the trial's own methods overridden"
    assert "build_callbacks" in text and "helper" not in text
    assert "a check does not construct it" in text.replace("\n", " ")
    assert monkey_patch.inspect_any(cls) == []


def test_inspect_any_finds_what_inspect_class_finds_with_the_owner(lightning: ModuleType) -> None:
    cls = new_class(lightning.Callback, on_test_start=function)

    assert monkey_patch.inspect_any(cls) == monkey_patch.inspect_class(cls, "Callback") != []
