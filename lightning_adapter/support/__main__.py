"""How is docs/support.md made? `python -m lightning_adapter.support > docs/support.md`."""

from __future__ import annotations

from lightning_adapter.support.markdown import render_markdown

if __name__ == "__main__":
    print(render_markdown(), end="")
