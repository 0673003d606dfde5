"""Which hooks, methods, properties and Trainer arguments of Lightning are supported, warned about or rejected here?

This module is data. `monkey_patch` acts on it, `docs/support.md` is printed from it
(`python -m lightning_adapter.support > docs/support.md`), and a test compares it with the installed Lightning in both
directions, so that a name which a new Lightning adds cannot be missed.

A hook whose row ended is still treated as its row says, on any installed version: user code of 2021 overrides it
whatever is installed today.
"""

from __future__ import annotations

import difflib
from typing import Any

from lightning_adapter.errors import ConfigurationError
from lightning_adapter.support.row import OWNERS, Row, Support

_NO_TEST = "training does not call it; it runs where the trained model is tested"
_DO_TEST = (
    "type `lightning-adapter test RUN` when training is done, or add --test to `fit`; on a cluster add --test to `fit` in "
    "the entrypoint, or type `lightning-adapter test EXPERIMENT` on a machine that reaches the master; in Python call "
    "trial.test()"
)
_NO_PREDICT = "training does not call it; it runs where the trained model predicts"
_DO_PREDICT = (
    "type `lightning-adapter predict RUN` when training is done; of a cluster's training type "
    "`lightning-adapter predict EXPERIMENT` on a machine that reaches the master; in Python call trial.predict()"
)
_NO_TBPTT = "truncated backpropagation through time splits one batch into several steps, which Determined counts as one"
_DO_TBPTT = (
    "split the sequences in the DataLoader, or set automatic_optimization = False and loop over the pieces in "
    "training_step"
)
_NO_SHARDING = (
    "sharded strategies (FSDP, DeepSpeed, model parallel) are not available: every rank holds the whole model"
)
_DO_SHARDING = "create the layers in __init__() or configure_model() and train with strategy='ddp'"
_ITERATOR = "the step pulls its batches from the iterator; as in Lightning, batch transfer hooks are not called then"
_OLD_CALL = "called with every Lightning, where Lightning 1.x called it"
_NO_PRETRAIN = "there is no pretrain routine here, and Lightning 1.8 removed it, so this is not called"
_SLOTS = "the experiment YAML decides how many devices train, and Determined's launcher starts one rank for each"
_DO_SLOTS = (
    "leave it out, or at its default, and say resources.slots_per_trial in the experiment YAML (off a cluster start the "
    "script with torchrun --nproc_per_node=N)"
)
_IN_PROGRESS_BAR = "Lightning 1.7 moved it to the progress bar"
_NO_TUNER = "Lightning's tuner changes the hyperparameters that Determined chose"
_NO_FILES = "Determined decides where the files of a trial go and which checkpoints are kept"


def _same(owner: str, kind: str, support: Support, names: str, **rest: Any) -> tuple[Row, ...]:
    """Rows that differ in nothing but the name; `names` is separated by spaces."""
    return tuple(Row(owner, name, kind, support, **rest) for name in names.split())


def _module(name: str, kind: str, support: Support = Support.SUPPORTED, **rest: Any) -> Row:
    return Row("LightningModule", name, kind, support, **rest)


def _data(name: str, kind: str, support: Support = Support.SUPPORTED, **rest: Any) -> Row:
    return Row("LightningDataModule", name, kind, support, **rest)


def _callback(name: str, kind: str, support: Support = Support.SUPPORTED, **rest: Any) -> Row:
    return Row("Callback", name, kind, support, **rest)


def _argument(name: str, support: Support = Support.SUPPORTED, accepted: tuple[object, ...] = (), **rest: Any) -> Row:
    # None asks for the default with every argument
    return Row("Trainer argument", name, "argument", support, accepted=(None, *accepted), **rest)


_HYPERPARAMETERS = "hparams hparams_initial"
_CHECKPOINT_KEYS = "CHECKPOINT_HYPER_PARAMS_KEY CHECKPOINT_HYPER_PARAMS_NAME CHECKPOINT_HYPER_PARAMS_TYPE"
_TRANSFER_HOOKS = "on_before_batch_transfer transfer_batch_to_device on_after_batch_transfer"
_EPOCH_LOOP_HOOKS = (
    "on_train_start on_train_end on_train_epoch_start on_train_batch_start on_train_batch_end on_train_epoch_end "
    "on_validation_start on_validation_end on_validation_epoch_start on_validation_epoch_end "
    "on_validation_batch_start on_validation_batch_end"
)
_STEP_HOOKS = "on_before_zero_grad on_before_backward on_after_backward on_before_optimizer_step"
_TEST_LOOP_HOOKS = (
    "on_test_start on_test_end on_test_epoch_start on_test_epoch_end on_test_batch_start on_test_batch_end"
)
#: What has an effect where a trial ends with a test.
TEST_HOOKS = frozenset(
    "test_step test_dataloader test_step_end test_epoch_end on_test_model_eval on_test_model_train on_test_dataloader "
    f"{_TEST_LOOP_HOOKS}".split()
)
_PREDICT_LOOP_HOOKS = (
    "on_predict_start on_predict_end on_predict_epoch_start on_predict_epoch_end on_predict_batch_start "
    "on_predict_batch_end"
)
#: What has an effect where a trained model predicts.
PREDICT_HOOKS = frozenset(
    "predict_step predict_dataloader on_predict_model_eval on_predict_model_train on_predict_dataloader "
    f"{_PREDICT_LOOP_HOOKS}".split()
)
_LOADERS = (
    "a training loader without batches, an empty list too, is an error, where Lightning returns from fit without training; "
    "over several ranks a validation loader is split without padding, so that each sample counts once, where Lightning pads"
)
_YES, _WARN, _NO = Support.SUPPORTED, Support.WARNED, Support.REJECTED

_LIGHTNING_MODULE: tuple[Row, ...] = (
    # The steps
    _module(
        "training_step",
        "hook",
        reason="Lightning 1.x's optimizer_idx is passed where it is a parameter, and the keys log and progress_bar of a "
        "returned dict are logged, as before 1.0; other numbers that are returned and not logged are named in one warning; "
        "under manual optimization with DDP the buffers of batch norm are "
        "rank 0's on all ranks",
    ),
    _module("training_step(hiddens)", "argument", _NO, reason=_NO_TBPTT, instead=_DO_TBPTT),
    _module("training_step(dataloader_iter)", "argument", reason=_ITERATOR),
    _module(
        "validation_step",
        "hook",
        reason="a dataloader_idx without a default is 0 where there is one loader, and no error; numbers that are returned and not "
        "logged are named in one warning",
    ),
    _module("validation_step(dataloader_iter)", "argument", reason=_ITERATOR),
    _module("training_step_end", "hook", reason=_OLD_CALL, until="2.0"),
    _module("validation_step_end", "hook", reason=_OLD_CALL, until="2.0"),
    _module("training_epoch_end", "hook", reason=_OLD_CALL, until="2.0"),
    _module("validation_epoch_end", "hook", reason=_OLD_CALL, until="2.0"),
    _module("forward", "method"),
    # The life of a fit
    _module("prepare_data", "hook", reason="once per node, or once in all where prepare_data_per_node is False"),
    _module("setup", "hook", reason="with stage='fit'"),
    _module("configure_model", "hook", reason="called with every Lightning", since="2.1"),
    _module("configure_callbacks", "hook"),
    *_same("LightningModule", "hook", _YES, "train_dataloader val_dataloader", reason=_LOADERS),
    _module(
        "configure_optimizers",
        "hook",
        reason="every return form of Lightning 1.5 to 2.6: several optimizers and their frequency too",
    ),
    *_same("LightningModule", "hook", _YES, "on_fit_start on_fit_end"),
    *_same("LightningModule", "hook", _YES, _EPOCH_LOOP_HOOKS),
    *_same("LightningModule", "hook", _YES, "on_validation_model_eval on_validation_model_train"),
    _module("on_validation_model_zero_grad", "hook", since="2.1"),
    *_same("LightningModule", "hook", _YES, "on_epoch_start on_epoch_end", reason=_OLD_CALL, until="1.8"),
    _module("teardown", "hook", reason="with stage='fit'"),
    # Moving a batch, one optimizer step
    *_same("LightningModule", "hook", _YES, _TRANSFER_HOOKS),
    *_same("LightningModule", "hook", _YES, _STEP_HOOKS),
    *_same("LightningModule", "hook", _YES, "backward optimizer_step", reason="the parameters of Lightning 1.x too"),
    _module("optimizer_zero_grad", "hook", reason="the parameters of Lightning 1.x too"),
    _module("configure_gradient_clipping", "hook", reason="the parameters of Lightning 1.x too"),
    _module("lr_scheduler_step", "hook", reason="the parameters of Lightning 1.x too", since="1.6"),
    *_same("LightningModule", "method", _YES, "optimizers lr_schedulers manual_backward clip_gradients"),
    *_same("LightningModule", "method", _YES, "toggle_optimizer untoggle_optimizer"),
    _module("toggled_optimizer", "method", since="2.5.2"),
    _module("automatic_optimization", "property"),
    # Checkpoints
    _module("on_save_checkpoint", "hook", reason="with the keys of a Lightning checkpoint, on every rank"),
    _module("on_load_checkpoint", "hook", reason="with the keys of a Lightning checkpoint, on every rank"),
    _module("load_from_checkpoint", "method", reason="takes the lightning.ckpt in a checkpoint directory"),
    _module("strict_loading", "property", since="2.2"),
    *_same("LightningModule", "property", _YES, _CHECKPOINT_KEYS),
    # Logging
    *_same(
        "LightningModule",
        "method",
        _YES,
        "log log_dict",
        reason="over several ranks epoch values are always reduced, step values with sync_dist=True "
        "(Lightning leaves epoch values rank-local without it, so that plateau schedulers drift apart)",
    ),
    *_same("LightningModule", "property", _YES, "logger"),
    _module("loggers", "property", since="1.6"),
    _module("print", "method"),
    # Where am I
    _module(
        "trainer", "property", reason="holds the facts of this trial; it has no fit(), validate(), test() or predict()"
    ),
    *_same("LightningModule", "property", _YES, "current_epoch global_step global_rank local_rank on_gpu device dtype"),
    _module("all_gather", "method"),
    _module("fabric", "property", reason="None, as under Lightning's Trainer", since="1.9"),
    _module("device_mesh", "property", reason="None: model parallel strategies are rejected", since="2.3"),
    _module("precision", "property", reason="Lightning 2 took the attribute away", until="2.0"),
    _module("use_amp", "property", reason="DETLM has it still, beside use_ddp, use_ddp2, use_dp, use_tpu", until="1.8"),
    # Plain code of Lightning that no trainer stands behind
    _module("save_hyperparameters", "method"),
    *_same("LightningModule", "property", _YES, _HYPERPARAMETERS),
    _module("remove_ignored_hparams", "method", since="2.6.1"),
    _module("example_input_array", "property"),
    *_same("LightningModule", "method", _YES, "freeze unfreeze to_onnx to_torchscript"),
    _module("to_tensorrt", "method", since="2.6"),
    *_same("LightningModule", "method", _YES, "from_compiled to_uncompiled", since="1.8.4", until="2.0"),
    *_same("LightningModule", "method", _YES, "to cpu cuda float double half type"),
    _module("prepare_data_per_node", "property"),
    _module(
        "allow_zero_length_dataloader_with_multiple_devices",
        "property",
        reason="a rank without validation samples is allowed either way",
    ),
    # Testing and predicting
    *_same("LightningModule", "hook", _WARN, "test_step test_dataloader", reason=_NO_TEST, instead=_DO_TEST),
    *_same(
        "LightningModule", "hook", _WARN, "test_step_end test_epoch_end", reason=_NO_TEST, instead=_DO_TEST, until="2.0"
    ),
    *_same("LightningModule", "hook", _WARN, _TEST_LOOP_HOOKS, reason=_NO_TEST, instead=_DO_TEST),
    *_same(
        "LightningModule", "hook", _WARN, "on_test_model_eval on_test_model_train", reason=_NO_TEST, instead=_DO_TEST
    ),
    _module("on_test_dataloader", "hook", _WARN, reason=_NO_TEST, instead=_DO_TEST, until="1.7"),
    *_same(
        "LightningModule", "hook", _WARN, "predict_step predict_dataloader", reason=_NO_PREDICT, instead=_DO_PREDICT
    ),
    *_same("LightningModule", "hook", _WARN, _PREDICT_LOOP_HOOKS, reason=_NO_PREDICT, instead=_DO_PREDICT),
    _module("on_predict_model_eval", "hook", _WARN, reason=_NO_PREDICT, instead=_DO_PREDICT),
    _module("on_predict_dataloader", "hook", _WARN, reason=_NO_PREDICT, instead=_DO_PREDICT, until="1.7"),
    # Without effect
    *_same(
        "LightningModule",
        "hook",
        _WARN,
        "on_pretrain_routine_start on_pretrain_routine_end",
        reason=_NO_PRETRAIN,
        instead="rename it to on_fit_start()",
        until="1.8",
    ),
    *_same(
        "LightningModule",
        "hook",
        _WARN,
        "on_train_dataloader on_val_dataloader",
        reason="Lightning 1.7 removed it and it is not called",
        instead="do it at the head of train_dataloader() or val_dataloader()",
        until="1.7",
    ),
    _module(
        "get_progress_bar_dict",
        "hook",
        _WARN,
        reason="Lightning 1.7 removed it and the progress bar does not ask for it",
        instead="log the values with self.log(..., prog_bar=True)",
        until="1.7",
    ),
    _module(
        "log_grad_norm",
        "hook",
        _WARN,
        reason="only Trainer(track_grad_norm=...) calls it, and that argument is rejected",
        instead="log lightning's grad_norm(self, norm_type=2) in on_before_optimizer_step()",
        until="2.0",
    ),
    _module(
        "on_hpc_save",
        "hook",
        _WARN,
        reason="only Lightning's SLURM connector calls it; Determined's preemption saves an ordinary checkpoint",
        instead="rename it to on_save_checkpoint()",
        until="1.8",
    ),
    _module(
        "on_hpc_load",
        "hook",
        _WARN,
        reason="only Lightning's SLURM connector calls it; Determined's preemption saves an ordinary checkpoint",
        instead="rename it to on_load_checkpoint()",
        until="1.8",
    ),
    *_same(
        "LightningModule",
        "hook",
        _WARN,
        "add_to_queue get_from_queue",
        reason="only spawn strategies call it, and Determined's launcher starts every rank as a process of its own",
        instead="keep the values on self, or save them in on_save_checkpoint()",
        until="1.7",
    ),
    _module(
        "on_post_move_to_device",
        "hook",
        _WARN,
        reason="only TPU strategies need it, and TPUs are not available here",
        instead="tie the weights in __init__()",
        until="1.7",
    ),
    # Rejected
    _module("tbptt_split_batch", "hook", _NO, reason=_NO_TBPTT, instead=_DO_TBPTT, until="2.0"),
    _module(
        "truncated_bptt_steps",
        "property",
        _NO,
        reason=_NO_TBPTT,
        instead=f"set it to 0 and {_DO_TBPTT}",
        until="2.0",
    ),
    _module("configure_sharded_model", "hook", _NO, reason=_NO_SHARDING, instead=_DO_SHARDING),
)

_LIGHTNING_DATA_MODULE: tuple[Row, ...] = (
    _data("prepare_data", "hook", reason="once per node, or once in all where prepare_data_per_node is False"),
    _data("setup", "hook", reason="with stage='fit', once per process"),
    *_same("LightningDataModule", "hook", _YES, "train_dataloader val_dataloader", reason=_LOADERS),
    *_same("LightningDataModule", "hook", _YES, _TRANSFER_HOOKS),
    *_same("LightningDataModule", "hook", _YES, "state_dict load_state_dict", since="1.6"),
    _data("teardown", "hook", reason="with stage='fit'"),
    _data("on_exception", "hook", since="2.3"),
    _data(
        "trainer", "property", reason="holds the facts of this trial; it has no fit(), validate(), test() or predict()"
    ),
    _data("name", "property"),
    _data("prepare_data_per_node", "property"),
    _data(
        "allow_zero_length_dataloader_with_multiple_devices",
        "property",
        reason="a rank without validation samples is allowed either way",
    ),
    _data("from_datasets", "method"),
    _data("load_from_checkpoint", "method", reason="takes the lightning.ckpt in a checkpoint directory", since="1.7"),
    *_same("LightningDataModule", "property", _YES, _CHECKPOINT_KEYS, since="1.7"),
    _data("save_hyperparameters", "method"),
    *_same("LightningDataModule", "property", _YES, _HYPERPARAMETERS),
    _data("remove_ignored_hparams", "method", since="2.6.1"),
    *_same(
        "LightningDataModule",
        "method",
        _YES,
        "add_argparse_args from_argparse_args get_init_arguments_and_types",
        until="2.0",
    ),
    _data("parse_argparser", "method", since="1.8", until="2.0"),
    _data("test_dataloader", "hook", _WARN, reason=_NO_TEST, instead=_DO_TEST),
    _data("predict_dataloader", "hook", _WARN, reason=_NO_PREDICT, instead=_DO_PREDICT),
    _data("on_test_dataloader", "hook", _WARN, reason=_NO_TEST, instead=_DO_TEST, until="1.7"),
    _data("on_predict_dataloader", "hook", _WARN, reason=_NO_PREDICT, instead=_DO_PREDICT, until="1.7"),
    *_same(
        "LightningDataModule",
        "hook",
        _WARN,
        "on_train_dataloader on_val_dataloader",
        reason="Lightning 1.7 removed it and it is not called",
        instead="do it at the head of train_dataloader() or val_dataloader()",
        until="1.7",
    ),
    _data(
        "on_save_checkpoint",
        "hook",
        _WARN,
        reason="Lightning 1.8 stopped calling it in data modules, and it is not called here",
        instead="return what is to be saved from state_dict()",
        until="2.0",
    ),
    _data(
        "on_load_checkpoint",
        "hook",
        _WARN,
        reason="Lightning 1.8 stopped calling it in data modules, and it is not called here",
        instead="take what was saved in load_state_dict(state_dict)",
        until="2.0",
    ),
)

_CALLBACK: tuple[Row, ...] = (
    *_same("Callback", "hook", _YES, "setup teardown", reason="with stage='fit'"),
    *_same("Callback", "hook", _YES, "on_fit_start on_fit_end"),
    *_same(
        "Callback",
        "hook",
        _YES,
        "on_sanity_check_start on_sanity_check_end",
        reason="where num_sanity_val_steps is set; its default here is 0",
    ),
    *_same("Callback", "hook", _YES, _EPOCH_LOOP_HOOKS),
    *_same("Callback", "hook", _YES, _STEP_HOOKS),
    *_same(
        "Callback",
        "hook",
        _YES,
        "on_epoch_start on_epoch_end on_batch_start on_batch_end",
        reason=_OLD_CALL,
        until="1.8",
    ),
    _callback("on_exception", "hook", reason="KeyboardInterrupt and signals that stop a local run included"),
    *_same("Callback", "hook", _YES, "on_save_checkpoint on_load_checkpoint"),
    *_same("Callback", "hook", _YES, "state_dict load_state_dict", since="1.6"),
    _callback("state_key", "property"),
    *_same("Callback", "hook", _WARN, _TEST_LOOP_HOOKS, reason=_NO_TEST, instead=_DO_TEST),
    *_same("Callback", "hook", _WARN, _PREDICT_LOOP_HOOKS, reason=_NO_PREDICT, instead=_DO_PREDICT),
    *_same(
        "Callback",
        "hook",
        _WARN,
        "on_pretrain_routine_start on_pretrain_routine_end",
        reason=_NO_PRETRAIN,
        instead="rename it to on_fit_start()",
        until="1.8",
    ),
    *_same(
        "Callback",
        "hook",
        _WARN,
        "on_init_start on_init_end on_before_accelerator_backend_setup",
        reason="it belongs to the construction of Lightning's Trainer, which is not constructed here",
        instead="do it in setup(trainer, pl_module, stage)",
        until="1.8",
    ),
    _callback(
        "on_keyboard_interrupt",
        "hook",
        _WARN,
        reason="Lightning 1.7 removed it and it is not called",
        instead="do it in on_exception(trainer, pl_module, exception), which is called for KeyboardInterrupt too",
        until="1.7",
    ),
    _callback("on_configure_sharded_model", "hook", _NO, reason=_NO_SHARDING, instead=_DO_SHARDING, until="1.8"),
)

_TRAINER_ARGUMENTS: tuple[Row, ...] = (
    _argument(
        "precision",
        reason="'32-true', '16-mixed', 'bf16-mixed', 'bf16-true', '16-true', '64-true', and 16, 32, 64 and their "
        "strings; transformer-engine is rejected",
    ),
    _argument(
        "strategy",
        reason="'auto', 'ddp', 'ddp_find_unused_parameters_true', 'horovod'; dp and ddp2 (one process for several "
        "devices), sharded and TPU strategies are rejected",
    ),
    _argument("gradient_clip_val"),
    _argument("gradient_clip_algorithm"),
    _argument("accumulate_grad_batches"),
    _argument("callbacks"),
    _argument("logger"),
    _argument("log_every_n_steps", reason="also the period at which Determined is told training metrics"),
    *_same("Trainer argument", "argument", _YES, "max_epochs min_epochs max_steps min_steps"),
    _argument("max_time"),
    *_same("Trainer argument", "argument", _YES, "limit_train_batches limit_val_batches overfit_batches fast_dev_run"),
    _argument("limit_test_batches", reason="in `lightning-adapter test RUN`, trial.test() and fit(test=True)"),
    _argument("limit_predict_batches", reason="in `lightning-adapter predict RUN` and trial.predict()"),
    *_same("Trainer argument", "argument", _YES, "val_check_interval check_val_every_n_epoch"),
    _argument(
        "num_sanity_val_steps",
        reason="its default is 0, not 2: a trial is resumed often, and each start would pay for it; on a cluster it is 2 in a "
        "trial whose code has no text that could be searcher.metric",
    ),
    _argument("reload_dataloaders_every_n_epochs"),
    _argument("use_distributed_sampler", since="2.0"),
    _argument("sync_batchnorm"),
    _argument("inference_mode", since="1.8"),
    *_same("Trainer argument", "argument", _YES, "detect_anomaly deterministic benchmark"),
    *_same("Trainer argument", "argument", _YES, "enable_progress_bar enable_model_summary"),
    _argument("enable_autolog_hparams", since="2.6"),
    _argument("barebones", since="2.0"),
    _argument(
        "default_root_dir",
        reason="where callbacks and loggers write; the directory of the run is fit(run_dir=...), and Determined's "
        "checkpoints go where checkpoint_storage says",
    ),
    _argument("amp_backend", reason="'native' or 'apex', with every Lightning", until="2.0"),
    _argument("amp_level", reason="'O0' to 'O3', for apex, with every Lightning", until="2.0"),
    # Where it runs
    _argument("accelerator", _NO, accepted=("auto",), reason=_SLOTS, instead=_DO_SLOTS),
    _argument("devices", _NO, accepted=("auto", -1, "-1"), reason=_SLOTS, instead=_DO_SLOTS),
    _argument("num_nodes", _NO, accepted=(1,), reason=_SLOTS, instead=_DO_SLOTS),
    _argument("gpus", _NO, reason=_SLOTS, instead=_DO_SLOTS, until="2.0"),
    _argument("auto_select_gpus", _NO, accepted=(False,), reason=_SLOTS, instead=_DO_SLOTS, until="2.0"),
    _argument("num_processes", _NO, reason=_SLOTS, instead=_DO_SLOTS, until="2.0"),
    *_same(
        "Trainer argument",
        "argument",
        _NO,
        "tpu_cores ipus",
        reason="Determined's slots are GPUs or CPUs",
        instead="leave it out and train on GPUs",
        until="2.0",
    ),
    _argument(
        "plugins",
        _NO,
        accepted=([], ()),
        reason="process group, precision and checkpoint storage are Determined's here, not Lightning's plugins",
        instead="say with precision, strategy and sync_batchnorm what the plugins are to do",
    ),
    _argument(
        "profiler",
        _NO,
        reason="a Lightning profiler wraps the calls of Lightning's loops, and those loops do not run",
        instead="set profiling.enabled: true in the experiment YAML, or use torch.profiler in a Callback",
    ),
    _argument(
        "log_gpu_memory",
        _NO,
        accepted=(False,),
        reason="Determined charts the memory of each GPU",
        instead="set profiling.enabled: true in the experiment YAML, or use Lightning's DeviceStatsMonitor",
        until="1.7",
    ),
    # Where files go, what is resumed
    _argument(
        "weights_save_path",
        _NO,
        reason=_NO_FILES,
        instead="type default_root_dir=..., or callbacks=[ModelCheckpoint(dirpath=...)]",
        until="1.8",
    ),
    _argument(
        "enable_checkpointing",
        _WARN,
        accepted=(True,),
        reason="a trial goes on from its checkpoints, so they are written all the same",
        instead="set checkpoint_policy: none in the experiment YAML, which leaves the checkpoint at the end and those of "
        "fit(checkpoint_period=...)",
    ),
    _argument(
        "checkpoint_callback",
        _NO,
        accepted=(True,),
        reason=_NO_FILES,
        instead="give a callback of your own as callbacks=[...], or set checkpoint_policy: none in the experiment YAML to "
        "have fewer checkpoints",
        until="1.7",
    ),
    _argument(
        "model_registry",
        _NO,
        reason="it names a place in Lightning's own registry",
        instead="register the checkpoint in Determined's model registry",
        since="2.5.1",
    ),
    _argument(
        "resume_from_checkpoint",
        _NO,
        reason="a trial on a cluster resumes from the checkpoint that Determined chose",
        instead="pass fit(resume_from=...), which takes a .ckpt too",
        until="2.0",
    ),
    # The tuner, and what Lightning replaced by code of the user's
    _argument(
        "auto_lr_find",
        _NO,
        accepted=(False,),
        reason=_NO_TUNER,
        instead="make the learning rate a hyperparameter with a range in the experiment YAML",
        until="2.0",
    ),
    _argument(
        "auto_scale_batch_size",
        _NO,
        accepted=(False,),
        reason=_NO_TUNER,
        instead="make the batch size a hyperparameter in the experiment YAML",
        until="2.0",
    ),
    _argument(
        "replace_sampler_ddp",
        _NO,
        accepted=(True,),
        reason="Lightning 2 renamed it",
        instead="type use_distributed_sampler=True or False",
        until="2.0",
    ),
    _argument(
        "multiple_trainloader_mode",
        _NO,
        accepted=("max_size_cycle",),
        reason="Lightning 2 moved it to the loader",
        instead="return CombinedLoader(loaders, mode=...) from train_dataloader()",
        until="2.0",
    ),
    _argument(
        "move_metrics_to_cpu",
        _NO,
        accepted=(False,),
        reason="logged values stay on the device, so that no step waits for it",
        instead="leave it out, or log value.cpu()",
        until="2.0",
    ),
    _argument(
        "track_grad_norm",
        _NO,
        accepted=(-1,),
        reason="Lightning 2 removed it",
        instead="log lightning's grad_norm(self, norm_type=2) in on_before_optimizer_step()",
        until="2.0",
    ),
    _argument(
        "terminate_on_nan",
        _NO,
        accepted=(False,),
        reason="Lightning 1.7 removed it",
        instead="type on_nan='raise', or detect_anomaly=True to learn where the NaN comes from",
        until="1.7",
    ),
    _argument(
        "stochastic_weight_avg",
        _NO,
        accepted=(False,),
        reason="Lightning 1.7 removed it",
        instead="type callbacks=[StochasticWeightAveraging(swa_lrs=...)]",
        until="1.7",
    ),
    _argument(
        "reload_dataloaders_every_epoch",
        _NO,
        accepted=(False,),
        reason="Lightning 1.6 renamed it",
        instead="type reload_dataloaders_every_n_epochs=1",
        until="1.6",
    ),
    _argument(
        "prepare_data_per_node",
        _NO,
        accepted=(True,),
        reason="Lightning 1.7 moved it to the data",
        instead="set self.prepare_data_per_node in the module or the datamodule",
        until="1.7",
    ),
    _argument(
        "flush_logs_every_n_steps",
        _NO,
        reason="Lightning 1.7 moved it to the Loggers",
        instead="type logger=CSVLogger(..., flush_logs_every_n_steps=...)",
        until="1.7",
    ),
    _argument(
        "weights_summary",
        _NO,
        accepted=("top",),
        reason="Lightning 1.7 removed it",
        instead="type enable_model_summary=..., or callbacks=[ModelSummary(max_depth=...)]",
        until="1.7",
    ),
    _argument(
        "progress_bar_refresh_rate",
        _NO,
        reason=_IN_PROGRESS_BAR,
        instead="type enable_progress_bar=..., or callbacks=[TQDMProgressBar(refresh_rate=...)]",
        until="1.7",
    ),
    _argument(
        "process_position",
        _NO,
        accepted=(0,),
        reason=_IN_PROGRESS_BAR,
        instead="type callbacks=[TQDMProgressBar(process_position=...)]",
        until="1.7",
    ),
)

TABLE: tuple[Row, ...] = (*_LIGHTNING_MODULE, *_LIGHTNING_DATA_MODULE, *_CALLBACK, *_TRAINER_ARGUMENTS)


#: Callbacks of Lightning that cannot work here: name -> (reason, what to do instead).
REJECTED_CALLBACKS: dict[str, tuple[str, str]] = {
    "BatchSizeFinder": (
        "it restarts Lightning's own training loop with other batch sizes, and Determined runs the loop here",
        "Search over `global_batch_size` in the experiment YAML.",
    ),
    "LearningRateFinder": (
        "it restarts Lightning's own training loop with other learning rates, and Determined runs the loop here",
        "Search over the learning rate in the experiment YAML.",
    ),
}


def rows(owner: str, version: str | None = None) -> list[Row]:
    """The rows of one owner, in the order of the table.

    Args:
        owner: one of `OWNERS`.
        version: a Lightning version, as in `pytorch_lightning.__version__`; only what that version has is returned.
            None returns the rows of every version.

    Raises:
        ConfigurationError: if `owner` is not one of `OWNERS`.
    """
    if owner not in OWNERS:
        guess = difflib.get_close_matches(owner, OWNERS, n=1)
        hint = f"did you mean {guess[0]!r}?" if guess else f"choose one of {', '.join(map(repr, OWNERS))}."
        raise ConfigurationError(f"The support table has no owner {owner!r}: {hint}")
    return [row for row in TABLE if row.owner == owner and (version is None or row.holds_for(version))]
