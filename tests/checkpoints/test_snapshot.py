"""Is a copy of a checkpoint's content what is in its file, whatever happens to the original?"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch

from lightning_adapter.checkpoints import snapshot
from lightning_adapter.checkpoints.file import read, ready, write
from lightning_adapter.checkpoints.free_memory import free_memory
from lightning_adapter.checkpoints.snapshot import Snapshot
from lightning_adapter.errors import CheckpointError


class Named(torch.Tensor):
    """A subclass, which is pickled by the name of its class."""


def odd_content() -> dict[str, Any]:
    base = torch.arange(100.0)
    tied = torch.nn.Parameter(torch.ones(3))
    return {
        "state_dict": {"base": base, "view": base[10:20].view(2, 5), "transposed": torch.arange(6).view(2, 3).t()},
        "tied": [tied, tied],
        "of a graph": torch.ones(3, requires_grad=True) * 2,
        "sparse": torch.eye(3).to_sparse(),
        "compressed": torch.eye(3).to_sparse_csr(),
        "subclass": torch.ones(2).as_subclass(Named),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "nothing": torch.empty(0),
        "conjugated": torch.ones(2, dtype=torch.complex64).conj(),
        "epoch": 3,
        "text": {"a": [1, (2.5, None)], "b": {1, 2}},
    }


def saved_at_once(content: object) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


def changed_in_place(content: dict[str, Any]) -> None:
    with torch.no_grad():
        content["state_dict"]["base"].zero_()
        content["state_dict"]["transposed"].add_(1)
        content["tied"][0].fill_(7)
        content["half"].mul_(5)
        content["sparse"].mul_(3)
    content["text"]["a"].append("later")
    content["epoch"] = 4


def test_file_is_the_one_of_the_moment_bit_for_bit(tmp_path: Path) -> None:
    content = odd_content()
    expected = saved_at_once(content)
    kept = Snapshot.of(content)
    assert kept is not None
    changed_in_place(content)
    write(tmp_path / "x.ckpt", kept)
    assert (tmp_path / "x.ckpt").read_bytes() == expected
    assert saved_at_once(content) != expected


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
