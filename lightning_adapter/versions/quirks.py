"""What do older Lightnings do otherwise than the newest one, until which version, and which test shows it?

A field of `Quirks` is one row of this table. Lightnings 1.9.5, 2.0.9 and 2.6.6 were compared; the limits in between are
those of Lightning's changelog. `tests/versions/test_quirks.py` holds the rows to the code and to the tests.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields

from packaging.version import Version


@dataclass(frozen=True)
class Row:
    """One difference between versions.

    Attributes:
        name: of the field of `Quirks`.
        until: the first version that does as the newest one does.
        why: what older Lightnings do.
        follows: the function of an older Lightning that does it, by its place in the package; that of the newest
            version which has the quirk and was compared.
        test: the test that fails under such a version once the quirk is not heeded, as pytest names it.
    """

    name: str
    until: Version
    why: str
    follows: str
    test: str

    def holds_for(self, version: Version) -> bool:
        """Whether a version has the quirk; a pre-release counts as the release that it precedes."""
        return Version(version.base_version) < self.until


def _until(version: str, why: str, *, follows: str, test: str) -> bool:
    column: bool = field(metadata={"until": Version(version), "why": why, "follows": follows, "test": test})
    return column


@dataclass(frozen=True)
class Quirks:
    """Which of the differences one version has: True where it does as older Lightnings do."""

    # --- the life of a run

    joins_after_data: bool = _until(
        "2.1",
        "`prepare_data` runs before the processes of a job find each other and are seeded anew",
        follows="trainer.trainer.Trainer._run",
        test="tests/distributed/test_processes.py::test_parameters_are_those_of_lightnings_ddp_trainer",
    )
    knows_checkpoint_early: bool = _until(
        "2.0",
        "`trainer.ckpt_path` is set before `prepare_data` and `setup`",
        follows="trainer.trainer.Trainer._fit_impl",
        test="tests/resume/test_starting_point.py::test_path_of_the_checkpoint_is_known_when_lightning_knows_it",
    )
    replaces_same_class_alone: bool = _until(
        "2.1",
        "a callback of `configure_callbacks` replaces those of its very class, not those of a base class of it",
        follows="trainer.connectors.callback_connector._CallbackConnector._attach_model_callbacks",
        test="tests/parity/test_hooks.py::test_configure_callbacks_replaces_one_of_a_base_class",
    )
    checks_limits_first: bool = _until(
        "2.0",
        "whether the run is over already is asked before the training loaders are",
        follows="loops.fit_loop.FitLoop.skip",
        test="tests/parity/test_training.py::test_max_epochs_zero_trains_nothing",
    )
    asks_for_data_anew: bool = _until(
        "2.0",
        "training loaders that `estimated_stepping_batches` made are asked for again",
        follows="loops.fit_loop.FitLoop.on_run_start",
        test="tests/parity/test_optimization.py::test_one_cycle_over_the_estimated_number_of_steps",
    )
    checks_no_loader: bool = _until(
        "2.0",
        "a loader that is no DataLoader is not iterated once more to see whether it can be",
        follows="trainer.connectors.data_connector.DataConnector._request_dataloader",
        test="tests/parity/test_loaders.py::test_loader_that_draws_when_it_is_iterated",
    )
    leaves_loader_states: bool = _until(
        "2.2",
        "what a training loader with a `state_dict` says is neither saved in a checkpoint's `loops` nor read from there",
        follows="loops.fit_loop._FitLoop.setup_data",
        test="tests/resume/test_stateful_loaders.py::test_adapter_goes_on_in_the_data_as_lightning_does",
    )
    trains_all_at_start: bool = _until(
        "2.2",
        "the whole module is set to training mode when training starts",
        follows="loops.fit_loop._FitLoop.reset",
        test="tests/parity/test_training.py::test_module_in_eval_mode_as_a_whole",
    )

    names_bar_base: bool = _until(
        "2.0",
        "the base class of progress bars is `ProgressBarBase`",
        follows="trainer.connectors.callback_connector.CallbackConnector._configure_progress_bar",
        test="tests/parity/test_callbacks.py::test_timer_that_is_never_over",
    )

    keeps_running_loss: bool = _until(
        "2.0",
        "a progress bar shows the mean of the latest losses, which `fit_loop.running_loss` keeps",
        follows="loops.batch.training_batch_loop.TrainingBatchLoop._update_running_loss",
        test="tests/parity/test_progress_bars.py::test_bar_of_lightnings_is_told_the_same",
    )

    # --- an epoch and its batches

    tells_batch_sampler: bool = _until(
        "2.0",
        "the batch sampler itself is told the epoch by `set_epoch`, not the sampler inside it",
        follows="loops.fit_loop.FitLoop.on_advance_start",
        test="tests/parity/test_loaders.py::test_samplers_that_are_told_the_epoch",
    )
    iterates_in_epoch: bool = _until(
        "2.1",
        "the training loaders are iterated within the epoch, after its first hooks",
        follows="loops.training_epoch_loop._TrainingEpochLoop.on_run_start",
        test="tests/parity/test_third_party_habits.py::test_data_made_with_the_weights_of_the_moment",
    )
    waits_within_limits: bool = _until(
        "2.0",
        "no batch is fetched ahead where a limit says how many batches of an endless loader are used",
        follows="loops.fit_loop.FitLoop.prefetch_batches",
        test="tests/parity/test_third_party_habits.py::test_data_made_with_the_weights_of_the_moment",
    )
    limits_outside: bool = _until(
        "2.1",
        "`limit_train_batches` ends an epoch without the batch before it being the last one",
        follows="loops.training_epoch_loop._TrainingEpochLoop.advance",
        test="tests/parity/test_training.py::test_limit_train_batches",
    )
    transfers_while_fetching: bool = _until(
        "2.0",
        "whether a batch is the last one becomes known after it was moved to the device",
        follows="utilities.fetching.DataFetcher.on_fetch_end",
        test="tests/parity/test_hooks.py::test_batch_transfer_hooks_of_the_module",
    )
    skips_at_once: bool = _until(
        "2.1",
        "`on_train_batch_start` returning -1 ends the epoch without schedulers",
        follows="loops.training_epoch_loop._TrainingEpochLoop.advance",
        test="tests/parity/test_training.py::test_on_train_batch_start_returning_minus_one_ends_the_epoch",
    )
    hides_batch_idx: bool = _until(
        "2.1",
        "a step that takes no `batch_idx` makes it 0 for the hooks around it, and for accumulation",
        follows="loops.optimization.automatic._AutomaticOptimization.run",
        test="tests/parity/test_training.py::test_step_signatures",
    )
    empty_list: bool = _until(
        "2.0",
        "`on_train_batch_end` gets an empty list for a step that was skipped",
        follows="loops.epoch.training_epoch_loop.TrainingEpochLoop._prepare_outputs_training_batch_end",
        test="tests/parity/test_training.py::test_training_step_that_returns_none_sometimes",
    )
    monitors_in_order: bool = _until(
        "2.0",
        "EarlyStopping and Checkpoint callbacks come before the module at the end of an epoch",
        follows="loops.fit_loop.FitLoop.on_advance_end",
        test="tests/parity/test_callbacks.py::test_early_stopping_on_a_training_metric",
    )

    # --- validation

    counts_by_loader: bool = _until(
        "2.0",
        "the batches of a validation are counted from 0 for each of its loaders",
        follows="loops.epoch.evaluation_epoch_loop.EvaluationEpochLoop.reset",
        test="tests/parity/test_progress_bars.py::test_bar_of_lightnings_is_told_the_same",
    )
    iterates_in_validation: bool = _until(
        "2.0",
        "the validation loaders are iterated after the first hooks of a validation, and asked for before training starts"
        " without the trainer saying that it validates",
        follows="loops.dataloader.evaluation_loop.EvaluationLoop.advance",
        test="tests/parity/test_hooks.py::test_loaders_of_the_module_that_ask_the_trainer",
    )
    zeroes_in_validation: bool = _until(
        "2.1",
        "each validation zeroes the gradients once the module is in evaluation mode",
        follows="loops.evaluation_loop._EvaluationLoop.on_run_start",
        test="tests/parity/test_hooks.py::test_gradients_enabled_by_validation_step",
    )
    trains_all_after_validation: bool = _until(
        "2.2",
        "a validation leaves the whole module in training mode, not in the modes from before",
        follows="core.hooks.ModelHooks.on_validation_model_train",
        test="tests/parity/test_training.py::test_mode_of_a_submodule_changed_in_a_hook",
    )
    always_tells_loader: bool = _until(
        "2.0",
        "the hooks around a validation batch get `dataloader_idx` with a single loader too",
        follows="loops.epoch.evaluation_epoch_loop.EvaluationEpochLoop._on_evaluation_batch_start",
        test="tests/parity/test_versions.py::test_number_of_arguments_of_the_hooks_around_a_validation_batch",
    )
    leaves_loader_idx_unchecked: bool = _until(
        "2.0",
        "a `validation_step` without `dataloader_idx` beside several loaders is called, and Python complains",
        follows="loops.epoch.evaluation_epoch_loop.EvaluationEpochLoop._evaluation_step",
        test="tests/parity/test_versions.py::test_validation_step_without_dataloader_idx_beside_two_loaders_fails_as_in_lightning",
    )

    # --- what is logged and shown

    shows_epoch_values: bool = _until(
        "2.1",
        "after a validation `callback_metrics` shows the epoch's values until the next batch",
        follows="trainer.connectors.logger_connector.logger_connector._LoggerConnector.metrics",
        test="tests/parity/test_versions.py::test_metrics_read_between_a_validation_and_the_next_batch",
    )
    keeps_fractional_steps: bool = _until(
        "2.1",
        "a metric logged as `step` is handed to the loggers as it is, not as a whole number",
        follows="trainer.connectors.logger_connector.logger_connector._LoggerConnector.log_metrics",
        test="tests/parity/test_logging.py::test_step_logged_as_a_metric_sets_the_step",
    )
    hparams_clash_is_misconfiguration: bool = _until(
        "2.0",
        "hyperparameters that module and datamodule disagree on are a MisconfigurationException, not a RuntimeError",
        follows="trainer.trainer.Trainer._log_hyperparams",
        test="tests/parity/test_logging.py::test_clashing_hyperparameters_fail_as_in_lightning",
    )
    shows_combined_loader: bool = _until(
        "2.0",
        "`trainer.train_dataloader` is a CombinedLoader of what the user returned",
        follows="trainer.trainer.Trainer.reset_train_dataloader",
        test="tests/parity/test_training.py::test_facts_read_from_the_trainer",
    )
    shows_loader_list: bool = _until(
        "2.0",
        "`trainer.val_dataloaders` is a list, whatever the user returned",
        follows="trainer.trainer.Trainer.reset_val_dataloader",
        test="tests/parity/test_training.py::test_facts_read_from_the_trainer",
    )
    names_precision_by_bits: bool = _until(
        "2.0",
        "`trainer.precision` reads '16', '32', '64' or 'bf16', without '-mixed' or '-true'",
        follows="trainer.trainer.Trainer.precision",
        test="tests/parity/test_training.py::test_facts_read_from_the_trainer",
    )

    # --- precision and processes

    converts_late: bool = _until(
        "2.1",
        '"64-true" converts the module after its optimizers are made, and a batch when it enters a step',
        follows="plugins.precision.double.DoublePrecisionPlugin.connect",
        test="tests/parity/test_training.py::test_precision",
    )
    caches_casts: bool = _until(
        "2.5.5",
        "autocast keeps the weights that it has converted until the step is over",
        follows="plugins.precision.amp.MixedPrecisionPlugin.autocast_context_manager",
        test="tests/parity/test_rules.py::test_autocast_keeps_no_casted_weights",
    )
    saves_scaler_of_plugin: bool = _until(
        "2.1",
        "the precision's class is called MixedPrecisionPlugin, and a checkpoint has the loss scaler under that name",
        follows="trainer.connectors.checkpoint_connector._CheckpointConnector.dump_checkpoint",
        test="tests/versions/test_quirks.py::test_scaler_is_saved_under_the_name_of_the_precision_class",
    )
    wraps_every_sampler: bool = _until(
        "2.0",
        "with several processes every sampler is wrapped in a DistributedSamplerWrapper, plain ones too",
        follows="trainer.connectors.data_connector.DataConnector._get_distributed_sampler",
        test="tests/distributed/test_processes.py::test_parameters_are_those_of_lightnings_ddp_trainer",
    )
    finds_unused_parameters: bool = _until(
        "2.0",
        'strategy "ddp" looks for parameters without gradients',
        follows="strategies.ddp.DDPStrategy.pre_configure_ddp",
        test="tests/distributed/test_processes.py::test_parameters_are_those_of_lightnings_ddp_trainer",
    )

    # --- Lightning 1.x: several optimizers in automatic optimization, and the names of then

    takes_old_arguments: bool = _until(
        "2.0",
        "the Trainer knows `use_distributed_sampler` as `replace_sampler_ddp`",
        follows="trainer.trainer.Trainer.__init__",
        test="tests/parity/test_training.py::test_replace_sampler_ddp_under_its_old_name",
    )
    schedules_accumulation: bool = _until(
        "2.0",
        "a GradientAccumulationScheduler is always among the callbacks, also where a dictionary by epoch is given",
        follows="trainer.connectors.callback_connector.CallbackConnector._configure_accumulated_gradients",
        test="tests/parity/test_versions.py::test_accumulation_by_epoch_given_as_a_dictionary",
    )
    calls_any_step_end: bool = _until(
        "2.0",
        "`training_step_end` and `validation_step_end` are hooks, so that any method of these names is called",
        follows="loops.optimization.optimizer_loop.OptimizerLoop._training_step",
        test="tests/parity/test_versions.py::test_step_end_that_the_step_calls_too",
    )
    gives_indices: bool = _until(
        "2.0",
        "hooks of the module are given the optimizer's index, those that take any arguments too",
        follows="loops.optimization.optimizer_loop.OptimizerLoop._optimizer_step",
        test="tests/parity/test_versions.py::test_hooks_that_take_any_arguments",
    )
    takes_indices: bool = _until(
        "2.0",
        "LightningModule's own methods take the optimizer's index and `optimizer_step` three flags",
        follows="core.module.LightningModule.optimizer_step",
        test="tests/parity/test_versions.py::test_hooks_that_take_any_arguments",
    )
    numbers_optimizers: bool = _until(
        "2.0",
        "the wrapped optimizers are held by index, know it, and `Strategy.backward` is given it",
        follows="strategies.strategy.Strategy.backward",
        test="tests/parity/test_optimization.py::test_manual_optimization",
    )
    numbers_schedulers: bool = _until(
        "2.0",
        "a scheduler in a list of dictionaries has the index of its optimizer as `opt_idx`",
        follows="core.optimizer._configure_optimizers",
        test="tests/parity/test_versions.py::test_scheduler_in_a_list_of_dictionaries",
    )
    nests_optimizer_loops: bool = _until(
        "2.0",
        "a checkpoint has the optimizers' counts below `epoch_loop.batch_loop`",
        follows="loops.epoch.training_epoch_loop.TrainingEpochLoop.connect",
        test="tests/versions/test_quirks.py::test_loops_of_a_checkpoint_have_the_keys_of_the_installed_lightning",
    )


ROWS = tuple(Row(name=column.name, **column.metadata) for column in fields(Quirks))


def quirks_of(version: Version) -> Quirks:
    """What a release of Lightning does otherwise than the newest one."""
    return Quirks(**{row.name: row.holds_for(version) for row in ROWS})
