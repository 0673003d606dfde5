"""When is a wish to stop followed?"""

from __future__ import annotations

import pytest

from lightning_adapter.trainer.stop_request import StopRequest


def test_single_process_is_followed_at_once_and_may_think_again() -> None:
    stop = StopRequest(is_distributed=False)

    stop.ask(True)
    asked = (stop.wanted, stop.agreed)
    stop.ask(False)

    assert asked == (True, True)
    assert (stop.wanted, stop.agreed) == (False, False)


def test_one_of_several_processes_waits_for_the_others() -> None:
    stop = StopRequest(is_distributed=True)

    stop.ask(True)

    assert (stop.wanted, stop.agreed) == (True, False)


@pytest.mark.parametrize("mine", [True, False])
@pytest.mark.parametrize("of_another", [True, False])
def test_processes_stop_if_any_of_them_wants_to(mine: bool, of_another: bool) -> None:
    stop = StopRequest(is_distributed=True)
    stop.ask(mine)
    told: list[bool] = []

    def any_rank(wanted: bool) -> list[bool]:
        told.append(wanted)
        return [wanted or of_another]

    stop.agree(any_rank)

    assert told == [mine]
    assert stop.wanted is stop.agreed is (mine or of_another)


def test_agreement_is_not_asked_for_again() -> None:
    stop = StopRequest(is_distributed=True)
    stop.decide(True)

    def any_rank(wanted: bool) -> list[bool]:
        raise AssertionError("asked")

    stop.agree(any_rank)

    assert stop.agreed


def test_decision_of_all_is_taken_back_by_a_decision() -> None:
    stop = StopRequest(is_distributed=True)
    stop.decide(True)

    stop.decide(False)

    assert (stop.wanted, stop.agreed) == (False, False)
