"""Are the user's loaders iterated as Lightning iterates them, whatever they are?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    RandomSampler,
    Sampler,
    SubsetRandomSampler,
    WeightedRandomSampler,
)  # fmt: skip

from .harness import assert_parity, assert_same_error, since
from .models import Data, Net, NoisySamples, SizedStream, Stream, pl, samples

combined = getattr(pl.utilities, "combined_loader", None)


class Loaders(pl.LightningDataModule):
    """A datamodule from two functions."""

    def __init__(self, train: Callable[[], Any], val: Callable[[], Any] | None = None) -> None:
        super().__init__()
        self.train = train
        self.val = val or (lambda: DataLoader(samples(6, 1), 4))

    def train_dataloader(self) -> Any:
        return self.train()

    def val_dataloader(self) -> Any:
        return self.val()


def loader(count: int = 14, seed: int = 0, **options: Any) -> DataLoader:
    return DataLoader(samples(count, seed), **{"batch_size": 4, **options})


class OwnOrder(Sampler):
    """Draws its order from the global generator, with an epoch that Lightning sets."""

    def __init__(self, count: int) -> None:
        self.count, self.epoch = count, 0

    def __iter__(self) -> Iterator[int]:
        return iter(((torch.randperm(self.count) + self.epoch) % self.count).tolist())

    def __len__(self) -> int:
        return self.count

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class OwnBatches:
    """A batch sampler of one's own, of groups of growing size."""

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(14).tolist()
        yield order[:2]
        yield order[2:5]
        yield order[5:]

    def __len__(self) -> int:
        return 3


class DistributedOrder(torch.utils.data.distributed.DistributedSampler):
    pass


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": True, "num_workers": 2},
        {"shuffle": False, "num_workers": 1},
        {"shuffle": True, "drop_last": True},
        {"shuffle": True, "generator": "own"},
        {"batch_size": 1, "shuffle": True},
        {"batch_size": 100, "shuffle": True},
        {"sampler": lambda: OwnOrder(14)},
        {"sampler": lambda: SubsetRandomSampler([1, 3, 5, 7, 9])},
        {"sampler": lambda: WeightedRandomSampler([0.1, 0.9] * 7, 10)},
        {"sampler": lambda: RandomSampler(range(14), replacement=True, num_samples=9)},
        {"sampler": lambda: DistributedOrder(range(14), num_replicas=1, rank=0)},
        {"batch_sampler": lambda: OwnBatches()},
        {"batch_sampler": lambda: BatchSampler(RandomSampler(range(14)), 3, True)},
    ],
    ids=[
        "workers", "worker_in_order", "drop_last", "generator", "batch_of_1", "batch_of_all", "own_sampler", "subset",
        "weighted", "replacement", "distributed", "own_batches", "batch_sampler",
    ],
)  # fmt: skip
def test_options_of_the_training_loader(options: dict, trace: bool) -> None:
    def train() -> DataLoader:
        found = {name: value() if callable(value) else value for name, value in options.items()}
        if found.get("generator") == "own":
            found["generator"] = torch.Generator().manual_seed(5)
        if "batch_sampler" in found:
            return DataLoader(samples(14), **found)
        return loader(**found)

    assert_parity(SmallBatches, lambda: Loaders(train), trace=trace, max_epochs=3)


class SmallBatches(Net):
    """Batch norm needs more than one sample; this one has none."""

    def __init__(self) -> None:
        super().__init__()
        self.net[1] = torch.nn.Identity()


@pytest.mark.parametrize("options", [{"persistent_workers": True}, {"prefetch_factor": 1}], ids=str)
def test_augmentation_in_two_workers(options: dict) -> None:
    def train() -> DataLoader:
        return DataLoader(NoisySamples(10), 4, shuffle=True, num_workers=2, **options)

    assert_parity(Net, lambda: Loaders(train), trace=False, max_epochs=2)


def test_augmentation_in_the_main_process() -> None:
    assert_parity(Net, lambda: Data(noisy=True), max_epochs=2, val_check_interval=0.5)


def test_shuffled_validation_loader() -> None:
    assert_parity(Net, lambda: Loaders(lambda: loader(shuffle=True), lambda: loader(10, 1, shuffle=True)),
                  max_epochs=2)  # fmt: skip


def test_validation_loader_with_workers() -> None:
    assert_parity(Net, lambda: Loaders(lambda: loader(shuffle=True), lambda: loader(10, 1, num_workers=1)),
                  max_epochs=2)  # fmt: skip


def test_validation_loader_with_drop_last() -> None:
    assert_parity(Net, lambda: Loaders(lambda: loader(shuffle=True), lambda: loader(10, 1, drop_last=True)),
                  max_epochs=1)  # fmt: skip


@pytest.mark.parametrize("options", [{"max_epochs": 2}, {"max_steps": 5}, {"max_epochs": 2, "limit_train_batches": 2},
                                     {"max_epochs": 2, "val_check_interval": 2},
                                     {"max_epochs": 2, "accumulate_grad_batches": 3},
                                     {"max_steps": 5, "val_check_interval": 3, "check_val_every_n_epoch": None}],
                         ids=str)  # fmt: skip
@pytest.mark.parametrize("stream", [Stream, SizedStream])
def test_iterable_training_set(stream: Any, options: dict) -> None:
    assert_parity(lambda: Net(scheduler="step"), lambda: Loaders(lambda: DataLoader(stream(14), 4)), **options)


@pytest.mark.parametrize("options", [{}, {"limit_val_batches": 1}, {"num_sanity_val_steps": 1}], ids=str)
@pytest.mark.parametrize("stream", [Stream, SizedStream])
def test_iterable_validation_set(stream: Any, options: dict) -> None:
    assert_parity(Net, lambda: Loaders(lambda: loader(shuffle=True), lambda: DataLoader(stream(10, 1), 4)),
                  max_epochs=2, **options)  # fmt: skip


def test_iterable_training_set_with_two_workers() -> None:
    class Sharded(Stream):
        def __iter__(self) -> Iterator:
            info = torch.utils.data.get_worker_info()
            return iter([self.data[index] for index in range(info.id, len(self.data), info.num_workers)])

    assert_parity(Net, lambda: Loaders(lambda: DataLoader(Sharded(16), 4, num_workers=2)), trace=False,
                  max_epochs=2)  # fmt: skip


def test_iterable_training_set_with_fractional_val_check_interval_fails_as_in_lightning() -> None:
    assert_same_error(Net, lambda: Loaders(lambda: DataLoader(Stream(14), 4)), match="val_check_interval",
                      in_our_words=True,
                      max_epochs=1, val_check_interval=0.5)  # fmt: skip


class ShrinkingStream(Stream):
    """Yields fewer samples each time it is iterated."""

    def __iter__(self) -> Iterator:
        self.rounds = getattr(self, "rounds", 0) + 1
        return iter([self.data[index] for index in range(4 * (5 - self.rounds))])


def test_iterable_training_set_of_changing_length() -> None:
    assert_parity(lambda: Net(scheduler="step"), lambda: Loaders(lambda: DataLoader(ShrinkingStream(20), 4)),
                  max_epochs=3, accumulate_grad_batches=2)  # fmt: skip


def test_stream_longer_than_it_says() -> None:
    class Lies(SizedStream):
        def __len__(self) -> int:
            return 8

    assert_parity(Net, lambda: Loaders(lambda: DataLoader(Lies(14), 4)), max_epochs=2)


def test_stream_shorter_than_it_says() -> None:
    class Lies(SizedStream):
        def __len__(self) -> int:
            return 24

    assert_parity(lambda: Net(scheduler="step"), lambda: Loaders(lambda: DataLoader(Lies(14), 4)), max_epochs=2)


class PlainIterable:
    """Not a DataLoader: anything that can be iterated will do in Lightning."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator:
        return iter([default_batch(index) for index in range(self.count)])


class PlainSized(PlainIterable):
    def __len__(self) -> int:
        return self.count


def default_batch(index: int) -> list[torch.Tensor]:
    x, y = samples(4, index)[:]
    return [x, y]


@pytest.mark.parametrize("kind", [PlainIterable, PlainSized])
def test_loaders_that_are_no_dataloader(kind: Any) -> None:
    assert_parity(Net, lambda: Loaders(lambda: kind(4), lambda: kind(2)), max_epochs=2)


class Around:
    """A loader of one's own over a DataLoader, which draws each time that it is iterated."""

    def __init__(self, inner: DataLoader) -> None:
        self.inner = inner

    def __iter__(self) -> Iterator:
        return iter(self.inner)

    def __len__(self) -> int:
        return len(self.inner)


class Reversed(DataLoader):
    """Its iterator is a generator: nothing is drawn before the first batch is asked for."""

    def __iter__(self) -> Iterator:
        for x, y in super().__iter__():
            yield x.flip(0), y.flip(0)


@pytest.mark.parametrize("options", [{}, {"num_sanity_val_steps": 1}, {"overfit_batches": 2},
                                     {"reload_dataloaders_every_n_epochs": 1}], ids=str)  # fmt: skip
def test_loader_that_draws_when_it_is_iterated(options: dict) -> None:
    def train() -> Any:
        return Around(loader(shuffle=True))

    assert_parity(Net, lambda: Loaders(train, lambda: Around(loader(10, 1))), max_epochs=3, **options)


@pytest.mark.parametrize("workers", [0, 1])
def test_loader_whose_iterator_is_a_generator(workers: int) -> None:
    def train() -> Any:
        return Reversed(samples(14), 4, shuffle=True, num_workers=workers)

    assert_parity(Net, lambda: Loaders(train, lambda: Reversed(samples(10, 1), 4)), max_epochs=3)


class Told(OwnOrder):
    """Notes the epochs that it is told."""

    def __init__(self, count: int) -> None:
        super().__init__(count)
        self.told: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        super().set_epoch(epoch)
        self.told.append(epoch)


class ToldBatches(BatchSampler):
    """A batch sampler that is told epochs too, beside the sampler inside it."""

    epoch = 0

    def __iter__(self) -> Iterator[list[int]]:
        for batch in super().__iter__():
            yield [(index + 3 * self.epoch) % 14 for index in batch]

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


def test_samplers_that_are_told_the_epoch() -> None:
    def train() -> DataLoader:
        return DataLoader(samples(14), batch_sampler=ToldBatches(Told(14), 4, False))

    def told(module: Any, _: Any) -> Any:
        sampler = module.trainer.train_dataloader.batch_sampler
        return sampler.epoch, sampler.sampler.told

    assert_parity(Net, lambda: Loaders(train), also=told, max_epochs=3)


def test_list_of_batches_as_validation_loader() -> None:
    assert_parity(Net, lambda: Loaders(lambda: loader(shuffle=True), lambda: PlainSized(2)), max_epochs=2)


class TakesSeveral(Net):
    """Its batch is a dict or a list of batches of several loaders; some may be exhausted."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        parts = batch.values() if isinstance(batch, dict) else batch
        loss = sum(self.loss(part) for part in parts if part is not None)
        self.log("train_loss", loss, on_epoch=True, batch_size=4)
        return loss


def train_dict() -> dict:
    return {"a": loader(14, shuffle=True), "b": loader(8, 3, shuffle=True)}


def train_list() -> list:
    return [loader(14, shuffle=True), loader(8, 3)]


def train_nested() -> dict:
    return {"a": loader(12, shuffle=True), "inner": loader(8, 3)}


@pytest.mark.parametrize("trace", [True, False])
@pytest.mark.parametrize("train", [train_dict, train_list, train_nested])
def test_several_training_loaders(train: Callable, trace: bool) -> None:
    assert_parity(TakesSeveral, lambda: Loaders(train), trace=trace, max_epochs=2)


@since("2.0")
@pytest.mark.parametrize("mode", ["min_size", "max_size_cycle", "max_size"])
def test_combined_loader_modes(mode: str) -> None:
    assert_parity(TakesSeveral, lambda: Loaders(lambda: combined.CombinedLoader(train_dict(), mode)), max_epochs=2)


@since("2.0")
def test_combined_loader_with_limits() -> None:
    assert_parity(TakesSeveral, lambda: Loaders(lambda: combined.CombinedLoader(train_list(), "max_size_cycle")),
                  max_epochs=2, limit_train_batches=3, val_check_interval=2)  # fmt: skip


@since("2.0")
def test_sequential_training_loaders_fail_as_in_lightning() -> None:
    assert_same_error(TakesSeveral, lambda: Loaders(lambda: combined.CombinedLoader(train_list(), "sequential")),
                      match="sequential", in_our_words=True, max_epochs=1)  # fmt: skip


@since("2.1")
def test_validation_loaders_side_by_side() -> None:
    class Takes(Net):
        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> Any:
            first, second = batch
            self.log("val_loss", self.loss(first) + self.loss(second), batch_size=4)

    def val() -> Any:
        return combined.CombinedLoader([loader(10, 1), loader(6, 2)], "max_size_cycle")

    assert_parity(Takes, lambda: Loaders(lambda: loader(shuffle=True), val), max_epochs=2)


def test_loaders_without_datamodule_or_module_loaders() -> None:
    assert_parity(Net, lambda: (loader(shuffle=True), loader(6, 1)), max_epochs=2)


def test_training_loader_alone() -> None:
    assert_parity(Net, lambda: (loader(shuffle=True),), max_epochs=2)


def test_empty_validation_list() -> None:
    assert_parity(Net, lambda: Loaders(lambda: loader(shuffle=True), list), max_epochs=2)


class SeesBatches(Net):
    """Trains on a constant, whatever the batches are, and keeps them."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Any] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        self.seen.append(batch)
        return self.net(torch.ones(3, 4)).sum()


@pytest.mark.parametrize("plain", [[0, 1, 2], {"a": [0, 1], "b": [2, 3]}, ((0.5,), [["x", "y"]])], ids=str)
@since("2.0")
def test_list_of_plain_values_is_a_loader_of_them(plain: Any) -> None:
    assert_parity(SeesBatches, lambda: Loaders(lambda: plain), max_epochs=2, limit_val_batches=0,
                  also=lambda module, callbacks: module.seen)  # fmt: skip


@since("2.0", reason="Lightning 1.9 fails on a list of nothing itself")
def test_empty_list_of_training_loaders_is_refused_where_lightning_trains_nothing() -> None:
    with pytest.raises(AssertionError, match="the adapter raised ConfigurationError: The training data is empty"):
        assert_parity(Net, lambda: Loaders(list), max_epochs=2)


class EmptyData(pl.LightningDataModule):
    def train_dataloader(self) -> Any:
        return loader(3, drop_last=True)

    def val_dataloader(self) -> Any:
        return loader(6, 1)


def test_empty_training_set_is_refused_where_lightning_trains_nothing() -> None:
    with pytest.raises(AssertionError, match="the adapter raised ConfigurationError: The training data is empty"):
        assert_parity(Net, EmptyData, max_epochs=2)


def odd_batch(items: list) -> Any:
    x, y = torch.utils.data.default_collate(items)
    return None if x.mean() > 0.2 else (x, y)


def test_batches_that_are_none_are_passed_over() -> None:
    assert_parity(Net, lambda: Loaders(lambda: loader(22, collate_fn=odd_batch, shuffle=True)), max_epochs=2)


class NumbersOnly(Net):
    """Takes a batch of numbers and text beside tensors."""

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.loss((batch["x"], batch["y"])) * batch["weight"]

    def validation_step(self, batch: Any, batch_idx: int) -> Any:
        self.log("val_loss", self.loss((batch["x"], batch["y"])))


def with_text(items: list) -> dict:
    x, y = torch.utils.data.default_collate(items)
    return {"text": "note", "weight": 0.5, "nothing": None, "x": x, "y": y}


def test_batches_with_text_numbers_and_none() -> None:
    assert_parity(NumbersOnly, lambda: Loaders(lambda: loader(collate_fn=with_text, shuffle=True),
                                               lambda: loader(6, 1, collate_fn=with_text)), max_epochs=2)  # fmt: skip


class FromIterator(Net):
    """Pulls its batches from the loader's iterator itself."""

    def training_step(self, dataloader_iter: Any) -> Any:
        found = next(dataloader_iter)
        batch = found[0] if len(found) == 3 else found
        return self.loss(batch)


class LogsWithoutSize(FromIterator):
    """Lets Lightning guess how many samples a logged value is of."""

    def training_step(self, dataloader_iter: Any) -> Any:
        loss = super().training_step(dataloader_iter)
        self.log("one", 1.0, on_step=True, on_epoch=True)
        return loss


class LogsLaterWithoutSize(FromIterator):
    def on_train_batch_end(self, *args: Any) -> None:
        self.log("one", 1.0)


@since("2.0")
@pytest.mark.parametrize("module", [LogsWithoutSize, LogsLaterWithoutSize])
def test_step_that_fetches_itself_has_to_say_of_how_many_samples_a_value_is(module: type[Net]) -> None:
    assert_same_error(module, Data, match="should be provided", max_epochs=1)


@since("2.2")
def test_training_step_with_dataloader_iter() -> None:
    assert_parity(FromIterator, Data, trace=False, max_epochs=2)


class TakesTwo(Net):
    """Joins two batches in each step, and notes what it is told of them."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.told: list[Any] = []

    def training_step(self, dataloader_iter: Any) -> Any:
        first, second = next(dataloader_iter), next(dataloader_iter)
        self.told.append((first[1:], second[1:], dataloader_iter.fetched, dataloader_iter.length, dataloader_iter.done))
        return self.loss(first[0]) + self.loss(second[0])

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.told.append(("start", batch is None, batch_idx, self.trainer.is_last_batch))

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.told.append(("end", batch is None, batch_idx, self.trainer.is_last_batch))

    def on_validation_start(self) -> None:
        self.told.append(("validated", self.trainer.global_step))


@since("2.2")
@pytest.mark.parametrize("options", [{}, {"val_check_interval": 2}, {"val_check_interval": 3}, {"limit_train_batches": 5},
                                     {"val_check_interval": 0.5}, {"limit_train_batches": 4, "val_check_interval": 4},
                                     {"check_val_every_n_epoch": 2}, {"accumulate_grad_batches": 2},
                                     {"check_val_every_n_epoch": None, "val_check_interval": 3}],
                         ids=str)  # fmt: skip
def test_training_step_that_takes_several_batches(options: dict) -> None:
    assert_parity(lambda: TakesTwo(scheduler="step"), lambda: Loaders(lambda: loader(24, shuffle=True)),
                  also=lambda module, _: module.told, trace=False, max_epochs=3, **options)  # fmt: skip


@since("2.2")
@pytest.mark.parametrize("val_check_interval", [1, 2, 3])
def test_number_of_batches_that_the_batches_of_a_step_do_not_divide(val_check_interval: int) -> None:
    assert_parity(lambda: TakesTwo(scheduler="step"), lambda: Loaders(lambda: loader(20, shuffle=True)), trace=False,
                  also=lambda module, _: module.told, max_epochs=3, val_check_interval=val_check_interval)  # fmt: skip


@since("2.2")
def test_validation_between_the_steps_that_fetch_themselves_and_after_the_last_one() -> None:
    class Notes(FromIterator):
        validated: tuple[int, ...] = ()

        def on_validation_start(self) -> None:
            self.validated += (self.trainer.global_step,)

    assert_parity(Notes, lambda: Loaders(lambda: loader(20, shuffle=True)), trace=False, max_epochs=2,
                  also=lambda module, _: module.validated, val_check_interval=2)  # fmt: skip


@since("2.2")
@pytest.mark.parametrize("options", [{}, {"val_check_interval": 2}], ids=str)
def test_iterable_training_set_of_which_a_step_takes_several_batches(options: dict) -> None:
    assert_parity(lambda: TakesTwo(scheduler="step"), lambda: Loaders(lambda: DataLoader(Stream(24), 4)), trace=False,
                  also=lambda module, _: module.told, max_epochs=3, **options)  # fmt: skip


def test_persistent_loader_object_returned_every_time() -> None:
    kept: dict[int, DataLoader] = {}

    class Keeps(Data):
        def train_dataloader(self) -> Any:
            return kept.setdefault(id(self), loader(shuffle=True))

    assert_parity(Net, Keeps, max_epochs=3, reload_dataloaders_every_n_epochs=1)


def test_same_loader_for_training_and_validation() -> None:
    assert_parity(Net, lambda: Loaders(lambda: loader(10, shuffle=True), lambda: loader(10, shuffle=False)),
                  max_epochs=2, overfit_batches=2)  # fmt: skip


class ValidatesFromIterator(FromIterator):
    """Pulls the batches of both loops from iterators, and logs what it saw."""

    def validation_step(self, dataloader_iter: Any) -> Any:
        batch, batch_idx, _ = next(dataloader_iter)
        self.log("val_loss", self.loss(batch) + batch_idx, batch_size=len(batch[0]))


@since("2.2")
@pytest.mark.parametrize("options", [{}, {"limit_train_batches": 3, "accumulate_grad_batches": 2}])
def test_both_steps_with_dataloader_iter(options: dict) -> None:
    assert_parity(ValidatesFromIterator, lambda: Data(shuffle=True), trace=False, max_epochs=2, **options)
