"""How is one trial of a search trained, in this process?"""

from __future__ import annotations

from lightning_adapter.platform.trial import LightningTrial
from lightning_adapter.tuning.job import Ended, Job, Judge


def train(trial_class: type[LightningTrial], job: Job, judge: Judge) -> Ended:
    """Train a trial as `fit` does, and ask the searcher after each validation whether it goes on.

    Raises:
        KeyboardInterrupt, SystemExit: never of a signal to stop, which `Ended` tells as interrupted.
    """
    raise NotImplementedError
