"""What do Lightning's own callbacks say of themselves, in each version?"""

from __future__ import annotations

import math
from typing import Any


def reason_of_early_stopping(callback: Any) -> str:
    """Why an EarlyStopping has asked for the end.

    Lightning has words for it since 2.6 (`stopping_reason_message`); before, it hands them to its logger alone, and only
    where `verbose` is set.
    """
    message = getattr(callback, "stopping_reason_message", None)
    if message:
        return str(message).replace(" Signaling Trainer to stop.", "")
    best = float(callback.best_score)
    score = f", best value {best:.6g}" if math.isfinite(best) else ""
    if callback.wait_count >= callback.patience:
        return f"{callback.monitor} did not improve in {callback.wait_count} checks{score}"
    return f"{callback.monitor} has crossed a threshold or is not finite{score}"
