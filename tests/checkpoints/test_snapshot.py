"""Is a copy of a checkpoint's content what is in its file, whatever happens to the original?"""

from __future__ import annotations

import collections
import functools
import io
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_adapter.checkpoints import snapshot
from lightning_adapter.checkpoints.file import read, ready, write
from lightning_adapter.checkpoints.free_memory import free_memory
from lightning_adapter.checkpoints.snapshot import Snapshot
from lightning_adapter.errors import CheckpointError
from lightning_adapter.versions.torch_private import Records, records_of


class Named(torch.Tensor):
    """A subclass, which is pickled by the name of its class."""


class Thing:
    """Of the user's, and allowed by them."""

    def __init__(self) -> None:
        self.values = [1, 2]


def plain_content() -> dict[str, Any]:
    base = torch.arange(100.0)
    tied = torch.nn.Parameter(torch.ones(3))
    module = torch.nn.Sequential(torch.nn.Conv2d(2, 3, 3), torch.nn.BatchNorm2d(3))
    both, text = [1, [2]], "".join(["no", " constant"])
    return {
        "state_dict": {"base": base, "view": base[10:20].view(2, 5), "transposed": torch.arange(6).view(2, 3).t()},
        "module": module.state_dict(),  # which has attributes
        "tied": [tied, tied, tied.data, torch.nn.Parameter(torch.arange(3), requires_grad=False)],
        "of a graph": torch.ones(3, requires_grad=True) * 2,
        "channels last": torch.arange(16).view(2, 2, 2, 2).to(memory_format=torch.channels_last),
        "again": [base, base],
        "part": torch.arange(100.0)[10:20],
        "repeated": torch.ones(1, 1).expand(4, 4),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "later type": torch.ones(3).to(torch.uint16),
        "number": torch.tensor(3),
        "nothing": torch.empty(0),
        "part of nothing": torch.zeros(0, 4)[:, 2:],
        "flags": torch.tensor([2, 1, 0], dtype=torch.uint8).view(torch.bool),
        "epoch": 3,
        "text": {"a": [1, (2.5, None)], "b": {1, (2, "x")}, text: text, (1, "k"): b"bytes"},
        "both": (both, both, {"again": both}),
        "counted": collections.Counter("aab"),
        "in order": collections.OrderedDict(a=[1], b={}),
        "of torch": [torch.float16, torch.device("cpu"), torch.Size([1, 2]), 1j],
    }


def odd_content() -> dict[str, Any]:
    marked = torch.ones(3)
    marked.mark = ["of the user's"]  # type: ignore[attr-defined]
    thinned = set(range(20))
    thinned -= set(range(20)) - {7, 8}  # a copy would have them in the other order
    return {
        **plain_content(),
        "sparse": torch.eye(3).to_sparse(),
        "compressed": torch.eye(3).to_sparse_csr(),
        "subclass": torch.ones(2).as_subclass(Named),
        "conjugated": torch.ones(2, dtype=torch.complex64).conj(),
        "marked": marked,
        "thing": Thing(),
        "by weight": {torch.ones(3): "the key is the user's tensor"},
        "set of weights": {torch.ones(3)},
        "thinned": thinned,
    }


ODD = tuple(name for name in odd_content() if name not in plain_content())


def one_odd(name: str) -> dict[str, Any]:
    return {**plain_content(), name: odd_content()[name]}


def saved_at_once(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def changed_in_place(content: dict[str, Any]) -> None:
    with torch.no_grad():
        content["state_dict"]["base"].zero_()
        content["state_dict"]["transposed"].add_(1)
        content["module"]["0.weight"].mul_(2)
        content["tied"][0].fill_(7)
        content["half"].mul_(5)
    content["module"]._metadata["0"]["version"] = 9
    content["text"]["a"].append("later")
    content["text"]["b"].add(7)
    content["both"][0][1].append(3)
    content["counted"]["z"] = 1
    content["in order"]["a"].append(2)
    content["epoch"] = 4
    if "thing" in content:
        content["thing"].values.append(3)
    if "marked" in content:
        content["marked"].mark.append("later")


@pytest.mark.parametrize(
    "made",
    [plain_content, odd_content, *(functools.partial(one_odd, name) for name in ODD)],
    ids=["plain", "odd", *ODD],
)
def test_file_is_the_one_of_the_moment_bit_for_bit(made: Callable[[], dict[str, Any]], tmp_path: Path) -> None:
    content = made()
    expected = saved_at_once(content)
    kept = Snapshot.of(content)
    assert kept is not None
    changed_in_place(content)
    write(tmp_path / "x.ckpt", kept)
    assert (tmp_path / "x.ckpt").read_bytes() == expected
    assert saved_at_once(content) != expected


def test_plain_data_is_pickled_when_it_is_written_and_what_is_odd_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once: list[object] = []

    def noted(content: object, room: Callable[[int], None]) -> Records:
        at_once.append(content)
        return records_of(content, room)

    monkeypatch.setattr("lightning_adapter.checkpoints.snapshot.records_of", noted)
    Snapshot.of(plain_content())
    assert not at_once
    for name in ODD:
        at_once.clear()
        Snapshot.of(one_odd(name))
        assert at_once, name


def test_content_that_no_file_can_hold_is_refused_before_training_goes_on() -> None:
    seen_twice = torch.ones(2)
    with pytest.raises(RuntimeError, match="view the same data as different types"):
        Snapshot.of({"a": seen_twice, "b": seen_twice.view(torch.int32)})


def test_hook_that_is_lost_is_told_of_before_training_goes_on() -> None:
    hooked = torch.ones(2, requires_grad=True)
    hooked.register_hook(lambda gradient: gradient)
    with pytest.warns(UserWarning, match="will not be serialized"):
        Snapshot.of({"a": hooked})


@pytest.mark.parametrize("left", [0, 8])
def test_tensor_whose_memory_was_freed_is_written_as_it_is(left: int, tmp_path: Path) -> None:
    freed = torch.ones(4)
    freed.untyped_storage().resize_(left)
    kept = Snapshot.of({"a": freed})
    assert kept is not None
    write(tmp_path / "x.ckpt", kept)
    assert (tmp_path / "x.ckpt").read_bytes() == saved_at_once({"a": freed})


def test_type_that_deterministic_algorithms_cannot_fill_is_written_as_it_is() -> None:
    content = {"bits": torch.ones(8, dtype=torch.uint8).view(torch.bits8), "weight": torch.ones(3)}
    expected = saved_at_once(content)
    torch.use_deterministic_algorithms(True)
    try:
        snapshot = Snapshot.of(content)
    finally:
        torch.use_deterministic_algorithms(False)

    stream = io.BytesIO()
    assert snapshot is not None
    snapshot.write(stream)
    assert stream.getvalue() == expected


def test_copies_are_of_main_memory_whatever_the_default_device_is(tmp_path: Path) -> None:
    content = plain_content()
    expected = saved_at_once(content)
    with torch.device("meta"):
        kept = Snapshot.of(content)
    assert kept is not None
    write(tmp_path / "x.ckpt", kept)
    assert (tmp_path / "x.ckpt").read_bytes() == expected


def test_storage_that_tensors_share_is_copied_and_written_once(tmp_path: Path) -> None:
    weight = torch.zeros(1000, 1000)
    kept = Snapshot.of(ready({"state_dict": {"a": weight, "b": weight.t(), "c": weight[0]}}))
    assert kept is not None
    write(tmp_path / "x.ckpt", kept)
    assert (tmp_path / "x.ckpt").stat().st_size < 1.1 * weight.nbytes
    found = read(tmp_path / "x.ckpt")["state_dict"]
    assert found["a"].data_ptr() == found["b"].data_ptr() == found["c"].data_ptr()


@pytest.mark.parametrize(("free", "is_copied"), [(4000, True), (1999, False)])
def test_copy_takes_at_most_half_of_the_free_memory(
    free: int, is_copied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "_SMALL", 0)
    monkeypatch.setattr(snapshot, "free_memory", lambda: free)
    content = {"state_dict": {str(index): torch.zeros(50) for index in range(5)}}  # 1000 bytes
    assert (Snapshot.of(content) is not None) == is_copied


@pytest.mark.parametrize("odd", [{}, {"odd": torch.eye(2).to_sparse()}], ids=["plain", "odd"])
def test_no_copy_is_made_where_the_process_may_take_no_more_addresses(odd: dict[str, Any]) -> None:
    content = {"state_dict": {"weight": torch.zeros(50_000_000)}, **odd}
    limits = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (taken + 50_000_000, limits[1]))
    try:
        kept = Snapshot.of(content)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
    assert kept is None


def test_small_copy_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snapshot, "free_memory", lambda: pytest.fail("asked"))
    assert Snapshot.of({"state_dict": {"weight": torch.zeros(1000)}}) is not None


def test_full_disk_is_said_as_of_a_file_that_is_written_at_once() -> None:
    kept = Snapshot.of({"state_dict": {"weight": torch.zeros(1_000_000)}})
    assert kept is not None
    with pytest.raises(CheckpointError, match=r"/proc/x\.ckpt cannot be written: .*has room"):
        write("/proc/x.ckpt", kept)


# --- free memory ------------------------------------------------------------------------------------------------------


def group(path: Path, **files: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name.replace("__", ".")).write_text(text)


def mine(tmp_path: Path, *lines: str) -> Path:
    (tmp_path / "cgroup").write_text("\n".join(lines) + "\n")
    return tmp_path / "cgroup"


def test_machine_without_control_groups_has_what_it_has_free(tmp_path: Path) -> None:
    assert free_memory(tmp_path, tmp_path / "absent") > 1 << 20


def test_narrowest_group_around_the_process_counts_and_files_make_room(tmp_path: Path) -> None:
    group(tmp_path / "job", memory__max="1000\n", memory__current="900\n", memory__stat="anon 1\ninactive_file 300\n")
    group(tmp_path / "job" / "step", memory__max="max\n", memory__current="5\n", memory__stat="inactive_file 0\n")
    assert free_memory(tmp_path, mine(tmp_path, "0::/job/step")) == 400


def test_group_of_the_first_form_is_known_where_its_path_is_that_of_outside(tmp_path: Path) -> None:
    group(
        tmp_path / "memory",
        memory__limit_in_bytes="5000\n", memory__usage_in_bytes="6000\n", memory__stat="total_inactive_file 100\n",
    )  # fmt: skip
    lines = ("5:cpu,cpuacct:/docker/abc", "4:memory:/docker/abc", "0::/docker/abc")
    assert free_memory(tmp_path, mine(tmp_path, *lines)) == 0
