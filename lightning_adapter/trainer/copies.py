"""What is a copy of the trainer: in a pickle, in a loader's worker process that is spawned, in a deep copy?

Lightning's Trainer is copied with all that it has. Here the run cannot be, it is Determined's; what user code holds besides,
a datamodule whose method is a `collate_fn`, a callback that keeps the trainer, has to be copied all the same.
"""

from __future__ import annotations

from typing import Any

#: What a copy knows: facts of the moment, and module and datamodule, which are copied along as in Lightning.
FACTS = (
    *("lightning_module", "datamodule", "default_root_dir", "log_dir", "ckpt_path", "state", "received_sigterm"),
    *("current_epoch", "global_step", "is_last_batch", "should_stop", "interrupted", "should_log"),
    *("num_training_batches", "num_val_batches", "num_sanity_val_batches", "val_check_batch", "enable_validation"),
    *("training", "validating", "sanity_checking", "testing", "predicting", "evaluating"),
    *("callback_metrics", "logged_metrics", "progress_bar_metrics", "precision", "distributed_sampler_kwargs"),
    *("world_size", "global_rank", "local_rank", "node_rank", "is_global_zero"),
    *("num_devices", "num_nodes", "device_ids"),
)


class TrainerCopy:
    """What a trainer knew when it was copied; what is changed here changes no run."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked for by whoever copies this
            raise AttributeError(name)
        raise AttributeError(
            f"This is a copy of the trainer, in a worker process or out of a pickle or a deep copy, and holds no {name}. It has"
            f" what the trainer knew when it was copied: {', '.join(sorted(vars(self)))}."
        )

    @property
    def model(self) -> Any:
        """The module, without what wraps it for an exchange of gradients."""
        return self.lightning_module

    def print(self, *args: object, **kwargs: Any) -> None:
        """Print on the chief alone."""
        if self.is_global_zero:
            print(*args, **kwargs)
