"""Does each sample load under a seed of its own, whoever loads it?"""

from __future__ import annotations

import pickle
import random

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from data.parts import Stream
from lightning_adapter.data.random_state import RandomState
from lightning_adapter.data.seeding import SeededSampler, SeededSamples, WorkerSeeds, seed_each_sample
from lightning_adapter.errors import ConfigurationError
from lightning_adapter.versions import hosts


class Noise(Dataset):
    name = "noise"

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index, float(torch.rand(())), np.random.rand(), random.random()], dtype=torch.float64)

    def __len__(self) -> int:
        return 8


def one_pass(seed: int, **options: object) -> torch.Tensor:
    torch.manual_seed(seed)
    loader = seed_each_sample(DataLoader(Noise(), **options))
    return torch.cat([batch.reshape(-1, 4) for batch in loader])


def test_samples_are_the_same_whatever_loads_them() -> None:
    expected = one_pass(1, batch_size=2)
    assert len(set(expected[:, 1].tolist())) == 8  # no two samples share a seed
    assert torch.equal(one_pass(1, batch_size=2, num_workers=2), expected)
    assert torch.equal(one_pass(1, batch_size=4), expected)
    assert torch.equal(one_pass(1, batch_size=None), expected)
    assert not torch.equal(one_pass(2, batch_size=2), expected)


def test_passes_have_other_seeds() -> None:
    sampler = SeededSampler(range(3))
    torch.manual_seed(1)
    assert list(sampler) != list(sampler)


def test_random_state_of_the_main_process_comes_back_also_after_an_error() -> None:
    class Fails(Noise):
        def __getitem__(self, index: int) -> torch.Tensor:
            raise KeyError(index)

    before = RandomState.now().state_dict()
    SeededSamples(Noise())[3, 7]
    with pytest.raises(KeyError):
        SeededSamples(Fails())[3, 7]
    after = RandomState.now().state_dict()
    assert torch.equal(after["torch"], before["torch"])
    assert torch.equal(after["numpy"][1], before["numpy"][1]) and after["numpy"][2:] == before["numpy"][2:]
    assert torch.equal(after["python"][1], before["python"][1])


def test_attributes_of_dataset_and_sampler_are_still_found_after_pickling() -> None:
    samples = pickle.loads(pickle.dumps(SeededSamples(Noise())))
    assert (samples.name, len(samples)) == ("noise", 8)
    sampler = pickle.loads(pickle.dumps(SeededSampler(range(1, 4))))
    assert (sampler.start, len(sampler)) == (1, 3)


@pytest.mark.parametrize("loader", [DataLoader(Stream()), [1, 2]], ids=["stream", "list"])
def test_data_without_indices_is_refused(loader: object) -> None:
    with pytest.raises(ConfigurationError, match="is read in sequence"):
        seed_each_sample(loader)


def test_workers_are_seeded_only_where_seed_everything_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for asked in ("0", "1"):
        monkeypatch.setenv("PL_SEED_WORKERS", asked)
        loader = DataLoader(Noise())
        assert WorkerSeeds(hosts.host("pytorch_lightning"), 0)(loader) is loader
        assert (loader.worker_init_fn is not None) == (asked == "1")
