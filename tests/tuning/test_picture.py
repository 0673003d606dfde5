"""search.png: of which studies there is a picture, and what it leaves alone."""

from __future__ import annotations

import random

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState, create_trial

from lightning_adapter.runs import picture_file
from lightning_adapter.tuning.picture import draw

SPACE = {
    "model.init_args.learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
    "layers": CategoricalDistribution(["[64, 64]", "[128, 64, 32]"]),
    "depth": IntDistribution(1, 4),
}


def trial(state=TrialState.COMPLETE, curve=(0.5, 0.4), value=None, seed=0):
    """One whose hyperparameters are drawn."""
    drawn = random.Random(seed)
    params = {
        "model.init_args.learning_rate": 10 ** drawn.uniform(-4, -1),
        "layers": drawn.choice(["[64, 64]", "[128, 64, 32]"]),
        "depth": drawn.randint(1, 4),
    }
    if value is None and state == TrialState.COMPLETE:
        value = min(curve)
    validations = {100 * number: each for number, each in enumerate(curve, 1)}
    return create_trial(state=state, value=value, params=params, distributions=SPACE, intermediate_values=validations)


def study(*trials, direction="minimize"):
    made = optuna.create_study(direction=direction)
    made.add_trials(trials)
    return made


def test_a_search_is_drawn(tmp_path):
    stopped = [trial(TrialState.PRUNED, (1.0 + number,), seed=number) for number in range(4)]
    assert draw(study(trial(), *stopped), tmp_path / "search.png", "val_loss")
    assert picture_file.is_ours(tmp_path / "search.png")
