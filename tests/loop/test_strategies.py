"""Ranks, decisions and states of metrics; which strategy a job gets; what user code finds in one process."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torchmetrics
from torch import distributed as dist
from torchmetrics.metric import jit_distributed_available

from lightning_adapter.arguments import Arguments
from lightning_adapter.errors import ConfigurationError, RanksDriftedError
from lightning_adapter.loop.precision import Precision
from lightning_adapter.loop.strategies import horovod
from lightning_adapter.loop.strategies.base import SingleDeviceStrategy
from lightning_adapter.loop.strategies.ddp import DDPStrategy
from lightning_adapter.loop.strategies.distributed import DistributedStrategy
from lightning_adapter.loop.strategies.gradient_exchange import ExchangeAfterBackward
from lightning_adapter.loop.strategies.horovod import HorovodStrategy
from lightning_adapter.loop.strategies.select import select_strategy
from lightning_adapter.module import ModuleMixin
from lightning_adapter.versions import determined_private, lightning_private

from .ranks import CPU, HOST, Asked, Context, Threads, on_ranks


def layer(value: float = 0.0) -> torch.nn.Linear:
    module = torch.nn.Linear(1, 1)
    for parameter in module.parameters():
        torch.nn.init.constant_(parameter, value)
    return module


# --- one process ------------------------------------------------------------------------------------------------------


def single(steps: Asked, host: Any = HOST) -> SingleDeviceStrategy:
    return SingleDeviceStrategy(layer(), CPU, Precision("32-true"), host, steps)


@pytest.mark.parametrize(("legacy", "given"), [(False, (7,)), (True, (0, 7))])
def test_backward_hands_on_its_arguments_without_the_index_of_lightning_1(legacy: bool, given: tuple[int, ...]) -> None:
    steps, loss = Asked(), torch.zeros(())
    host = types.SimpleNamespace(quirks=types.SimpleNamespace(numbers_optimizers=legacy))
    single(steps, host).backward(loss, None, *given, retain_graph=True)
    assert steps.calls == [("backward", loss, None, (7,), {"retain_graph": True})]


@pytest.mark.parametrize("call", ["positional", "after the index", "by name"])
def test_optimizer_step_finds_the_closure(call: str) -> None:
    steps, closure, optimizer = Asked(), lambda: None, torch.optim.SGD(layer().parameters(), lr=0.1)
    args: tuple[Any, ...] = {"positional": (closure,), "after the index": (0, closure), "by name": ()}[call]
    named = {"closure": closure} if call == "by name" else {}
    assert single(steps).optimizer_step(optimizer, *args, **named, extra=1) == "stepped"
    assert steps.calls == [("step", optimizer, closure, {"extra": 1})]


def test_optimizers_that_user_code_sets_are_wrapped_anew_and_step_through_the_strategy() -> None:
    steps = Asked()
    strategy = single(steps)
    first, second = (torch.optim.SGD(strategy.lightning_module.parameters(), lr=lr) for lr in (0.1, 0.2))
    strategy.optimizers = [first]
    strategy.optimizers = [second, first]
    wrappers = lightning_private.optimizer_wrappers(strategy.lightning_optimizers)
    assert [wrapper.optimizer for wrapper in wrappers] == [second, first]
    wrappers[1].step()
    assert [call[:2] for call in steps.calls] == [("step", first)]


def test_single_process_exchanges_nothing() -> None:
    strategy = single(Asked())
    tensor = torch.ones(2)
    strategy.check_lengths(float("inf"))
    strategy.check_parameters(0)
    assert strategy.gradient_exchange() is None
    assert strategy.any_rank(True, False) == [True, False]
    assert strategy.all_gather(tensor) is tensor
    assert not strategy.is_distributed


# --- decisions --------------------------------------------------------------------------------------------------------


def test_any_rank_tells_each_flag_by_itself() -> None:
    flags = [(True, False, False), (False, False, True)]
    found = on_ranks(lambda rank, context: Threads(layer(), context).any_rank(*flags[rank]))
    assert found == [[True, False, True]] * 2


@pytest.mark.parametrize(("all_of_them", "wanted"), [(True, False), (False, True)])
def test_boolean_decision_is_of_all_or_of_any(all_of_them: bool, wanted: bool) -> None:
    found = on_ranks(
        lambda rank, context: Threads(layer(), context).reduce_boolean_decision(rank == 1, all=all_of_them)
    )
    assert found == [wanted] * 2


@pytest.mark.parametrize("source", [0, 1, 2])
def test_broadcast_is_from_the_rank_asked_for(source: int) -> None:
    found = on_ranks(lambda rank, context: Threads(layer(), context).broadcast({"rank": rank}, src=source), 3)
    assert found == [{"rank": source}] * 3


def test_lengths_that_differ_are_refused_with_the_limit_to_set() -> None:
    lengths = [5, float("inf"), 3]
    with pytest.raises(ConfigurationError, match=r"5 on rank 0, inf on rank 1, 3 on rank 2.*limit_train_batches=3"):
        on_ranks(lambda rank, context: Threads(layer(), context).check_lengths(lengths[rank]), 3)


def test_equal_lengths_pass() -> None:
    on_ranks(lambda rank, context: Threads(layer(), context).check_lengths(float("inf")))


# --- parameters and gradients -----------------------------------------------------------------------------------------


def test_connect_gives_all_ranks_what_rank_zero_has() -> None:
    def run(rank: int, context: Any) -> dict[str, Any]:
        module = torch.nn.BatchNorm1d(2)
        for value in module.state_dict().values():
            value.fill_(rank + 1)
        Threads(module, context).connect(automatic=True, find_unused=False)
        return {name: value.clone() for name, value in module.state_dict().items()}

    first, second = on_ranks(run)
    assert all(bool((value == 1).all()) for value in (*first.values(), *second.values()))


def test_training_step_starts_with_the_buffers_of_rank_zero_and_validation_does_not() -> None:
    def run(rank: int, context: Any) -> list[float]:
        module = torch.nn.Module()
        module.register_buffer("mean", torch.full((1,), float(rank)))
        strategy = Threads(module, context)
        return [strategy.wrap_step(name, lambda: float(module.mean))() for name in ("validation_step", "training_step")]

    assert on_ranks(run) == [[0.0, 0.0], [1.0, 0.0]]


def averaged(strategy: DistributedStrategy) -> None:
    exchange = strategy.gradient_exchange()
    assert exchange is not None
    exchange.average()


def gradients_of(function: Callable[[Threads, torch.nn.Linear], None]) -> list[float]:
    """The gradient of a weight, by rank; each rank's own is its number."""

    def run(rank: int, context: Any) -> float:
        module = layer()
        strategy = Threads(module, context)
        strategy.connect(automatic=False, find_unused=False)
        for parameter in module.parameters():
            parameter.grad = torch.full_like(parameter, float(rank))
        function(strategy, module)
        assert module.weight.grad is not None
        return float(module.weight.grad)

    return on_ranks(run)


def test_exchange_averages_gradients() -> None:
    assert gradients_of(lambda strategy, module: averaged(strategy)) == [0.5, 0.5]


def test_blocked_exchange_starts_again_when_the_outermost_block_ends() -> None:
    def nested(strategy: Threads, module: torch.nn.Linear) -> None:
        with strategy.block_backward_sync():
            with strategy.block_backward_sync():
                pass
            averaged(strategy)
            assert float(module.weight.grad or 0.0) == strategy.global_rank
        averaged(strategy)

    assert gradients_of(nested) == [0.5, 0.5]


def test_frozen_parameter_does_not_travel() -> None:
    def freeze(strategy: Threads, module: torch.nn.Linear) -> None:
        module.weight.requires_grad_(False)
        averaged(strategy)
        assert strategy.messages[-1] == ("mean", 1 + 1)  # the bias, and its mark

    assert gradients_of(freeze) == [0.0, 1.0]


def test_drifted_parameters_are_named_with_their_ranks() -> None:
    def run(rank: int, context: Any) -> None:
        module = layer()
        with torch.no_grad():
            module.bias += float(rank == 2)
        Threads(module, context).check_parameters(7)

    with pytest.raises(RanksDriftedError, match=r"After 7 batches .*rank 0's are:\n- bias on rank 2\nGradients"):
        on_ranks(run, 3)


@pytest.mark.parametrize("module", [layer(), torch.nn.Identity()], ids=["equal", "no parameters"])
def test_parameters_that_are_equal_pass(module: torch.nn.Module) -> None:
    on_ranks(lambda rank, context: Threads(module, context).check_parameters(1))


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_gathered_states_of_an_empty_rank_take_type_and_shape_of_the_others() -> None:
    def run(rank: int, context: Any) -> list[torch.Tensor]:
        own = torch.arange(6).reshape(3, 2) if rank == 1 else torch.zeros(0)  # float32, as torchmetrics leaves it
        return Threads(layer(), context).gather_states(own)

    for gathered in on_ranks(run, 3):
        assert [(tuple(each.shape), each.dtype) for each in gathered] == [
            ((0, 2), torch.int64),
            ((3, 2), torch.int64),
            ((0, 2), torch.int64),
        ]
        assert torch.equal(gathered[1], torch.arange(6).reshape(3, 2))


def test_gathered_states_of_different_lengths_keep_them() -> None:
    def run(rank: int, context: Any) -> list[list[float]]:
        return [each.tolist() for each in Threads(layer(), context).gather_states(torch.full((rank + 1,), float(rank)))]

    assert on_ranks(run) == [[[0.0], [1.0, 1.0]]] * 2


def test_gathered_states_may_be_single_numbers_or_nothing_at_all() -> None:
    scalars = on_ranks(lambda rank, context: Threads(layer(), context).gather_states(torch.tensor(rank)))
    assert [[int(each) for each in gathered] for gathered in scalars] == [[0, 1]] * 2
    nothing = on_ranks(lambda rank, context: Threads(layer(), context).gather_states(torch.zeros(0)))
    assert [[tuple(each.shape) for each in gathered] for gathered in nothing] == [[(0,), (0,)]] * 2


def test_metrics_gather_over_all_ranks_until_disconnected() -> None:
    def run(rank: int, context: Any) -> tuple[float, float]:
        module = torch.nn.Module()
        module.mean = torchmetrics.MeanMetric()
        strategy = Threads(module, context)
        strategy.attach_metrics()
        module.mean.update(float(rank))
        together = float(module.mean.compute())
        strategy.disconnect()
        module.mean.reset()
        module.mean.update(float(rank))
        return together, float(module.mean.compute())

    assert on_ranks(run) == [(0.5, 0.0), (0.5, 1.0)]


def test_metric_with_a_way_of_its_own_to_gather_keeps_it() -> None:
    def own(tensor: torch.Tensor, group: Any = None) -> list[torch.Tensor]:
        return [tensor]

    module = torch.nn.Module()
    module.mean = torchmetrics.MeanMetric(dist_sync_fn=own)
    strategy = Threads(module, Context())
    strategy.attach_metrics()
    strategy.disconnect()
    assert module.mean.dist_sync_fn is own
    assert module.mean.distributed_available_fn is jit_distributed_available


@pytest.mark.parametrize(
    ("strategy", "name"), [(SingleDeviceStrategy, "single_device"), (DDPStrategy, "ddp"), (HorovodStrategy, "horovod")]
)
def test_strategy_has_lightnings_name_which_use_ddp_asks_for(strategy: type, name: str) -> None:
    module: Any = ModuleMixin()
    module.trainer = types.SimpleNamespace(strategy=strategy)
    assert module.trainer.strategy.strategy_name == name
    assert module.use_ddp is (name == "ddp")


# --- DDP --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def process_group() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


class Doubling(torch.nn.Linear):
    """A step that calls the module's own forward."""

    def __init__(self) -> None:
        super().__init__(1, 1)
        self.unused = torch.nn.Linear(1, 1)

    def training_step(self, x: torch.Tensor) -> torch.Tensor:
        assert "forward" not in vars(self)
        return self(x).sum() * 2


def ddp(module: torch.nn.Module) -> DDPStrategy:
    return DDPStrategy(module, CPU, Precision("32-true"), HOST, Asked(), Context())  # type: ignore[arg-type]


@pytest.mark.usefixtures("process_group")
def test_ddp_runs_the_step_in_its_wrapper_which_exchanges_gradients() -> None:
    module = Doubling()
    strategy = ddp(module)
    strategy.connect(automatic=True, find_unused=True)
    step = strategy.wrap_step("training_step", module.training_step)
    assert step(torch.ones(1)) == module(torch.ones(1)).sum() * 2
    assert "forward" not in vars(module)
    assert strategy.gradient_exchange() is None
    assert strategy.wrap_step("validation_step", module.training_step) == module.training_step
    with strategy.block_backward_sync():
        assert not strategy.model.require_backward_grad_sync
    strategy.disconnect()
    assert strategy.model is module


@pytest.mark.usefixtures("process_group")
def test_ddp_puts_back_a_forward_of_the_instance_also_after_an_error() -> None:
    module = layer()
    module.forward = own = lambda x: x  # type: ignore[method-assign]

    def fail(x: torch.Tensor) -> None:
        assert module.forward is own
        raise ZeroDivisionError

    strategy = ddp(module)
    strategy.connect(automatic=True, find_unused=False)
    with pytest.raises(ZeroDivisionError):
        strategy.wrap_step("training_step", fail)(torch.ones(1))
    assert module.forward is own


@pytest.mark.usefixtures("process_group")
def test_ddp_says_what_to_do_about_parameters_that_the_loss_does_not_need() -> None:
    module = Doubling()
    strategy = ddp(module)
    strategy.connect(automatic=True, find_unused=False)
    step = strategy.wrap_step("training_step", module.training_step)
    step(torch.ones(1)).backward()
    with pytest.raises(ConfigurationError, match=r"did not depend on all parameters.*find_unused_parameters_true"):
        step(torch.ones(1))
    assert "forward" not in vars(module)  # put back although the wrapper never came to the step


@pytest.mark.usefixtures("process_group")
@pytest.mark.parametrize(("automatic", "trains"), [(False, True), (True, False)])
def test_ddp_wraps_nothing_where_a_wrapper_cannot_help(automatic: bool, trains: bool) -> None:
    module = layer().requires_grad_(trains)
    strategy = ddp(module)
    strategy.connect(automatic=automatic, find_unused=False)
    assert strategy.model is module
    assert isinstance(strategy.gradient_exchange(), ExchangeAfterBackward)


@pytest.mark.usefixtures("process_group")
def test_ddp_reduces_by_name_by_operation_and_leaves_other_things() -> None:
    strategy = ddp(layer())
    assert strategy.reduce(torch.tensor(3), reduce_op="mean") == 3
    assert strategy.reduce(torch.tensor(3.0), reduce_op="MAX") == 3.0
    assert strategy.reduce(torch.tensor(3.0), reduce_op=dist.ReduceOp.MIN) == 3.0
    assert strategy.reduce(None, reduce_op="mean") is None  # type: ignore[arg-type]


# --- Horovod ----------------------------------------------------------------------------------------------------------


class FakeHorovod:
    """Horovod between two ranks that hold the same tensors."""

    Sum, Average, Min, Max, Product = "Sum", "Average", "Min", "Max", "Product"

    def __init__(self) -> None:
        self.sent: list[tuple[Any, ...]] = []

    def allreduce_async_(self, tensor: torch.Tensor, name: str, op: str) -> torch.Tensor:
        self.sent.append((name, op, tensor.dtype))
        return tensor

    def synchronize(self, handle: torch.Tensor) -> torch.Tensor:
        return handle

    def allreduce_(self, tensor: torch.Tensor, op: str) -> torch.Tensor:
        self.sent.append((op, tensor.dtype))
        return tensor.mul_(2)

    def allreduce(self, tensor: torch.Tensor, op: str, **options: Any) -> torch.Tensor:
        self.sent.append((op, tuple(tensor.shape), options))
        return tensor * 2 if op == "Sum" else tensor

    def broadcast_(self, tensor: torch.Tensor, root_rank: int, name: str) -> None:
        self.sent.append((name, root_rank))

    def allgather(self, tensor: torch.Tensor) -> torch.Tensor:
        return torch.cat([tensor, tensor])


@pytest.fixture
def hvd(monkeypatch: pytest.MonkeyPatch) -> FakeHorovod:
    fake = FakeHorovod()
    monkeypatch.setattr(horovod, "horovod_module", lambda: fake)
    return fake


def horovod_strategy(compressed: bool = False) -> HorovodStrategy:
    context: Any = Context(1, 2)
    return HorovodStrategy(layer(), CPU, Precision("32-true"), HOST, Asked(), context, fp16_compression=compressed)


@pytest.mark.parametrize(
    ("compressed", "dtype", "travels"),
    [
        (False, torch.float32, torch.float32),
        (True, torch.float32, torch.half),
        (True, torch.float64, torch.half),
        (True, torch.bfloat16, torch.bfloat16),
    ],
)
def test_horovod_sends_large_gradients_in_half_precision_when_compressed(
    hvd: FakeHorovod, compressed: bool, dtype: torch.dtype, travels: torch.dtype
) -> None:
    mean = horovod_strategy(compressed).start_mean_of_gradients(torch.ones(2, dtype=dtype), "name")()
    assert hvd.sent == [("name", "Average", travels)]
    assert mean.dtype == dtype


def test_horovod_knows_messages_of_each_step_by_their_names(hvd: FakeHorovod) -> None:
    strategy = horovod_strategy()
    strategy.connect(automatic=True, find_unused=False)
    exchange = strategy.gradient_exchange()
    assert exchange is not None
    for _ in range(2):
        strategy.broadcast_buffers()
        exchange.differentiate(strategy.lightning_module(torch.ones(1)).sum())
    strategy.disconnect()
    assert [name for name, *_ in hvd.sent] == [
        "lightning_adapter.broadcast.torch.float32",
        *["lightning_adapter.gradients.0"] * 2,
    ]


@pytest.mark.parametrize(
    ("operation", "wanted"), [("mean", 3.0), ("avg", 3.0), ("sum", 6.0), (None, 6.0), ("ReduceOp.MAX", 3.0)]
)
def test_horovod_reduces_by_name(hvd: FakeHorovod, operation: Any, wanted: float) -> None:
    tensor = torch.tensor(3.0)
    assert horovod_strategy().reduce(tensor, reduce_op=operation) == wanted
    assert tensor == wanted  # in place, as torch does it
    assert hvd.sent[0][1] == (1,)  # Horovod takes no 0-dimensional tensor


def test_horovod_mean_over_a_process_set_divides_by_its_size(hvd: FakeHorovod) -> None:
    group = types.SimpleNamespace(size=lambda: 4)
    assert horovod_strategy().reduce(torch.tensor(8.0), group, "mean") == 4.0
    assert hvd.sent[0][2] == {"process_set": group}


def test_horovod_refuses_an_operation_that_it_lacks(hvd: FakeHorovod) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot reduce with 'band'. Use one of sum, mean"):
        horovod_strategy().reduce(torch.tensor(1), reduce_op="band")


def test_horovod_gather_has_the_gradient_of_torch(hvd: FakeHorovod) -> None:
    tensor = torch.tensor([1.0, 2.0], requires_grad=True)
    gathered = horovod_strategy().all_gather(tensor, sync_grads=True)
    (gathered * torch.tensor([[1.0], [10.0]])).sum().backward()
    assert tensor.grad is not None
    assert tensor.grad.tolist() == [20.0, 20.0]  # of rank 1, summed over both


# --- which strategy ---------------------------------------------------------------------------------------------------


def selected(processes: int = 2, device: str = "cpu", **arguments: Any) -> SingleDeviceStrategy:
    context: Any = Context(0, processes)
    where = torch.device(device)
    return select_strategy(Arguments(**arguments), layer(), where, Precision("32-true"), HOST, Asked(), context)


@pytest.fixture
def under_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(determined_private.HOROVOD_VARIABLE, raising=False)


@pytest.fixture
def under_horovodrun(monkeypatch: pytest.MonkeyPatch, hvd: FakeHorovod) -> None:
    monkeypatch.setenv(determined_private.HOROVOD_VARIABLE, "1")


@pytest.mark.usefixtures("under_torchrun")
@pytest.mark.parametrize("strategy", ["auto", "ddp", "ddp_find_unused_parameters_true"])
def test_processes_of_torchrun_get_ddp(strategy: str) -> None:
    assert type(selected(strategy=strategy)) is DDPStrategy


@pytest.mark.usefixtures("under_horovodrun")
def test_processes_of_horovodrun_get_horovod_with_its_compression() -> None:
    strategy = selected(strategy="horovod", fp16_compression=True)
    assert isinstance(strategy, HorovodStrategy)
    assert strategy.fp16_compression
    assert type(selected()) is HorovodStrategy


@pytest.mark.usefixtures("under_torchrun")
def test_single_process_may_ask_for_any_strategy() -> None:
    for arguments in ({"strategy": "horovod"}, {"strategy": "ddp"}, {"sync_batchnorm": True, "fp16_compression": True}):
        assert type(selected(1, **arguments)) is SingleDeviceStrategy


@pytest.mark.usefixtures("under_torchrun")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "horovod"}, r"these 2 processes were not started by horovodrun\. Start them with horovodrun"),
        ({"fp16_compression": True}, r"this job runs torch DDP\. Leave it out"),
        ({"sync_batchnorm": True}, r"this job has CPU processes\. Leave it out"),
    ],
)
def test_what_torch_processes_cannot_do_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        selected(**arguments)


@pytest.mark.usefixtures("under_horovodrun")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"strategy": "ddp"}, r"strategy='ddp' was asked for.*started by horovodrun\. Start them with torchrun"),
        ({"sync_batchnorm": True, "device": "cuda"}, r"this job has Horovod\. Leave it out"),
    ],
)
def test_what_horovod_cannot_do_is_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        selected(**arguments)


@pytest.mark.usefixtures("under_torchrun")
def test_all_refusals_stand_in_one_message() -> None:
    with pytest.raises(
        ConfigurationError, match=r"(?s)not started by horovodrun.*\nfp16_compression.*\nsync_batchnorm"
    ):
        selected(strategy="horovod", fp16_compression=True, sync_batchnorm=True)


@pytest.mark.usefixtures("under_torchrun")
def test_sync_batchnorm_on_cuda_devices_of_ddp_is_taken() -> None:
    assert type(selected(device="cuda", sync_batchnorm=True)) is DDPStrategy
