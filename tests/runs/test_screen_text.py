"""Of a display that goes back over itself the last state is left, and each printed line once."""

from __future__ import annotations

import io
from typing import Any

import pytest
from tqdm import tqdm

from lightning_adapter.runs.screen_text import ScreenText


class Screen(io.StringIO):
    """A terminal, of which the lines are kept."""

    def __init__(self) -> None:
        super().__init__()
        self.text = ScreenText()
        self.lines: list[str] = []

    def write(self, text: str) -> int:
        self.lines += self.text.write(text)
        return len(text)

    def isatty(self) -> bool:
        return True

    def all(self) -> list[str]:
        return [line for line in self.lines + self.text.rest() if line]


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        (["one\ntwo", " more\n"], ["one", "two more"]),
        (["windows\r\n", "twice\r\r\n"], ["windows", "twice"]),
        (["\r10%", "\r55%", "\r100%\n", "done\n"], ["100%", "done"]),
        (["a longer line", "\rshort\n"], ["short"]),
        (["10%\b\b\b20%\n"], ["20%"]),
        (["step 1 of 2\x1b[K\r", "step 2 of 2\x1b[K\n"], ["step 2 of 2"]),
        (["something\r\x1b[2K", "other\n"], ["other"]),
        (["\x1b[32mgreen\x1b[0m and \x1b]8;;http://a\x1b\\link\x1b]8;;\x07\n"], ["green and link"]),
        (["first\nsecond\n", "\x1b[2A\x1b[J", "third\n"], ["first", "second", "third"]),
        (["\rbar 1\nbar 2\n", "\x1b[2A\x1b[J", "\rbar 3\nbar 4\n", "text\n"], ["bar 3", "bar 4", "text"]),
        (["no end"], ["no end"]),
        (["\rhalf"], ["half"]),
    ],
)  # fmt: skip
def test_last_state_of_each_line_is_left(written: list[str], lines: list[str]) -> None:
    screen = Screen()
    for text in written:
        screen.write(text)
    assert screen.all() == lines


def test_plain_lines_are_given_out_at_once() -> None:
    text = ScreenText()
    assert text.write("one\ntw") == ["one"]
    assert text.write("o\n") == ["two"]
    assert text.rest() == []


def test_bar_is_given_out_when_something_else_is_printed() -> None:
    text = ScreenText()
    assert text.write("\rhalf") == text.write("\rwhole\n") == []
    assert text.write("next\n") == ["whole", "next"]
    assert text.write("at once\n") == ["at once"]


def test_bars_of_tqdm_beneath_each_other_leave_their_last_states() -> None:
    screen = Screen()
    for epoch in range(2):
        with tqdm(range(3), file=screen, desc=f"epoch {epoch}", mininterval=0) as outer:
            for _ in outer:
                for _ in tqdm(range(4), file=screen, desc="inner", mininterval=0, leave=False):
                    pass
        screen.write(f"after {epoch}\n")
    lines = screen.all()
    assert [line.split(":")[0] for line in lines] == ["epoch 0", "after 0", "epoch 1", "after 1"]
    assert "100%" in lines[0] and "3/3" in lines[2]


def test_bar_of_tqdm_that_closes_beneath_another_leaves_nothing_in_the_lines_that_follow() -> None:
    screen = Screen()
    with tqdm(total=2, file=screen, desc="ours"):
        for _ in tqdm(range(4), file=screen, desc="theirs", mininterval=0):
            pass
        screen.write("printed\n")
    lines = screen.all()
    assert "printed" in lines and sum("theirs" in line for line in lines) <= 2
    assert not [line for line in lines if line.startswith("printed") and line != "printed"]


def test_frames_of_a_live_display_are_left_out() -> None:
    live, console = pytest.importorskip("rich.live"), pytest.importorskip("rich.console")
    table: Any = pytest.importorskip("rich.table")
    screen = Screen()
    shown = console.Console(file=screen, force_terminal=True, width=40, legacy_windows=False)
    with live.Live(console=shown, refresh_per_second=1000, auto_refresh=False) as display:
        for step in range(5):
            grid = table.Table.grid()
            grid.add_row(f"step {step}")
            grid.add_row("below")
            display.update(grid, refresh=True)
            if step == 2:
                shown.print("printed above")
    shown.print("after")
    assert screen.all() == ["printed above", "step 4", "below", "after"]
