"""search.png: how did a search go on, and which hyperparameters mattered?"""

from __future__ import annotations

import pathlib

import optuna


def draw(study: optuna.Study, path: pathlib.Path, metric: str) -> bool:
    """Draw history, importance and parallel coordinates, by Optuna's own pictures for matplotlib, into one PNG.

    Args:
        study: the search.
        path: of the picture; it appears whole.
        metric: what the values are called.

    Returns:
        Whether there was something to draw.
    """
    raise NotImplementedError
