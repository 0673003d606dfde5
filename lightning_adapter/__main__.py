"""How is the package run as a command? `python -m lightning_adapter` does what `lightning-adapter` does."""

from __future__ import annotations

import sys

from lightning_adapter.cli import main

if __name__ == "__main__":
    sys.exit(main())
