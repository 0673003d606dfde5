"""What do the arguments of `self.log` mean for one name in one hook?"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

import torch
from torchmetrics import Metric

from lightning_adapter.trainer.logged_values import Loggable, check_loggable
from lightning_adapter.trainer.logging_rules import LoggingRules
from lightning_adapter.versions.hosts import Host

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

#: How the values of an epoch become one.
Reduction: TypeAlias = Literal["mean", "sum", "max", "min"]
#: How user code names a reduction.
ReduceFx: TypeAlias = str | Callable[[Any], Any]

_BY_NAME: dict[str, Reduction] = {"mean": "mean", "avg": "mean", "sum": "sum", "max": "max", "min": "min"}
_BY_FUNCTION: dict[Callable[..., Any], Reduction] = {
    torch.mean: "mean",
    torch.sum: "sum",
    sum: "sum",
    torch.max: "max",
    max: "max",
    torch.min: "min",
    min: "min",
}


class LogArguments(NamedTuple):
    """What user code gave `self.log` besides name, value and batch size."""

    prog_bar: bool
    logger: bool | None
    on_step: bool | None
    on_epoch: bool | None
    reduce_fx: ReduceFx
    enable_graph: bool
    sync_dist: bool
    sync_dist_group: ProcessGroup | None
    add_dataloader_idx: bool
    metric_attribute: str | None
    rank_zero_only: bool


class Metadata(NamedTuple):
    """What those arguments mean, once defaults are filled in: Lightning's `_Metadata`.

    Checkpoints hold it as a tuple, so that the order of the fields is part of their format.
    """

    prog_bar: bool
    logger: bool
    on_step: bool
    on_epoch: bool
    reduction: Reduction
    enable_graph: bool
    sync_dist: bool
    sync_dist_group: ProcessGroup | None
    add_dataloader_idx: bool
    metric_attribute: str | None
    rank_zero_only: bool
    dataloader_idx: int | None


#: `Metadata` in a checkpoint.
SavedMetadata: TypeAlias = tuple[bool, bool, bool, bool, Reduction, bool, bool, Any, bool, str | None, bool, int | None]


class MetadataParser:
    """Finds what arguments mean; asked when a name is logged for the first time, or with other arguments.

    Args:
        host: the Lightning whose rules hold.
        module: where the Metrics that are logged live.
        has_loggers: whether there is a logger.
    """

    def __init__(self, host: Host, module: torch.nn.Module, has_loggers: Callable[[], bool]) -> None:
        self.host = host
        self.module = module
        self._has_loggers = has_loggers
        self._rules = LoggingRules(host)
        self._metric_names: dict[int, str] | None = None

    def parse(
        self, hook: str, name: str, value: Loggable, arguments: LogArguments, dataloader_idx: int | None
    ) -> Metadata:
        """The meaning of `arguments`; faults are looked for in the order of `LightningModule.log`.

        Raises:
            MisconfigurationException: arguments that are not allowed here, or contradict each other.
            RuntimeError: nobody knows this hook.
            ValueError: values of this type cannot be logged.
        """
        error = self.host.misconfiguration
        check_loggable(name, value)
        on_step, on_epoch = self._rules.levels(hook, arguments.on_step, arguments.on_epoch)
        if arguments.add_dataloader_idx and "/dataloader_idx_" in name:
            raise error(
                f"You called `self.log` with the key `{name}`"
                " but it should not contain information about `dataloader_idx` when `add_dataloader_idx=True`"
            )
        attribute = arguments.metric_attribute
        if isinstance(value, Metric) and attribute is None:
            attribute = self._attribute_of(name, value)
        if arguments.logger and not self._has_loggers():
            self.host.warn(
                f"You called `self.log({name!r}, ..., logger=True)` but have no logger configured. You can enable one"
                " by doing `Trainer(logger=ALogger(...))`"
            )
        if not on_step and not on_epoch:
            raise error("`self.log(on_step=False, on_epoch=False)` is not useful.")
        return Metadata(
            prog_bar=arguments.prog_bar,
            logger=True if arguments.logger is None else arguments.logger,
            on_step=on_step,
            on_epoch=on_epoch,
            reduction=self._reduction(arguments.reduce_fx),
            enable_graph=arguments.enable_graph,
            sync_dist=arguments.sync_dist,
            sync_dist_group=arguments.sync_dist_group,
            add_dataloader_idx=arguments.add_dataloader_idx,
            metric_attribute=attribute,
            rank_zero_only=arguments.rank_zero_only,
            dataloader_idx=dataloader_idx,
        )

    def _reduction(self, reduce_fx: ReduceFx) -> Reduction:
        """As `_Metadata._parse_reduce_fx`."""
        reduction = _BY_NAME.get(reduce_fx.lower()) if isinstance(reduce_fx, str) else _BY_FUNCTION.get(reduce_fx)
        if reduction is None:
            raise self.host.misconfiguration(
                "Only `self.log(..., reduce_fx={min,max,mean,sum})` are supported."
                " If you need a custom reduction, please log a `torchmetrics.Metric` instance instead."
                f" Found: {reduce_fx}"
            )
        return reduction

    def _attribute_of(self, name: str, metric: Metric) -> str:
        """The place of a Metric in the module, by which a checkpoint and other processes name it."""
        if self._metric_names is None:
            self._metric_names = {id(m): n for n, m in self.module.named_modules() if isinstance(m, Metric)}
        message = (
            "Could not find the `LightningModule` attribute for the `torchmetrics.Metric` logged. You can fix this by "
        )
        if not self._metric_names:
            raise self.host.misconfiguration(message + "setting an attribute for the metric in your `LightningModule`.")
        if id(metric) not in self._metric_names:
            raise self.host.misconfiguration(
                message + f"calling `self.log({name}, ..., metric_attribute=name)` where `name` is one of"
                f" {list(self._metric_names.values())}"
            )
        return self._metric_names[id(metric)]
