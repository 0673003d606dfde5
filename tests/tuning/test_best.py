"""best.yaml: the searched file, with the best trial's values as constants."""

from __future__ import annotations

from lightning_adapter.platform import experiment
from lightning_adapter.tuning.best import best_yaml


def read_back(text, tmp_path):
    path = tmp_path / "best.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    return experiment.read(path)


ADAPTIVE = """\
# A search.
name: mnist  # of the examples
entrypoint: python3 -m lightning_adapter fit model_def:MNISTTrial --max-epochs 9
hyperparameters:
  # the rate
  learning_rate:   # drawn
    type: log
    base: 10
    minval: -4 # 10 to this power
    maxval: -1

  # of a layer
  width: {type: categorical, vals: [4, 8]}   # two of them
  optimizer:
    type: const
    val: {type: SGD, lr: 1e-3}
  dropout:    0.10
# how
searcher:
  name: adaptive_asha
  metric: 'val_loss'
  max_trials: 16   # many
  time_metric: epochs
  max_time: 9
reproducibility: {experiment_seed: 1}
"""

BEST = """\
# The best.
# A search.
name: mnist  # of the examples
entrypoint: python3 -m lightning_adapter fit model_def:MNISTTrial --max-epochs 9
hyperparameters:
  # the rate
  learning_rate: 0.002   # drawn

  # of a layer
  width: 8   # two of them
  optimizer:
    type: const
    val: {type: SGD, lr: 1e-3}
  dropout:    0.10
# how
searcher:
  name: single
  metric: 'val_loss'
  max_length:
    epochs: 9
reproducibility: {experiment_seed: 7}
"""


def test_a_searched_file_keeps_its_comments_its_order_and_its_spelling():
    values = {"learning_rate": 0.002, "width": 8, "optimizer": {"type": "SGD", "lr": 0.001}, "dropout": 0.1}
    assert best_yaml(ADAPTIVE, values, 7, "The best.", {}) == BEST
