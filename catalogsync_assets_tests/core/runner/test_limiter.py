"""How fast a run goes, told by a clock that the test moves."""

import threading

import pytest

from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_all_goes_at_full_speed_while_nobody_complains(clock):
    pace = ConcurrencyLimiter(16, clock=clock)
    for _ in range(100):
        pace.went_well()

    assert pace.allowed == 16


@pytest.mark.parametrize(
    ("complaints", "seconds_between", "left"),
    [(1, 0, 8), (16, 0.01, 8), (10, 2, 1)],
    ids=["one halves it", "a wave counts once", "one at a time is always allowed"],
)
def test_complaints_lower_what_goes_at_a_time(clock, complaints, seconds_between, left):
    pace = ConcurrencyLimiter(16, clock=clock)

    for _ in range(complaints):
        pace.slow_down()
        clock.now += seconds_between

    assert pace.allowed == left


def test_it_recovers_by_one_for_each_round_of_successes(clock):
    pace = ConcurrencyLimiter(16, clock=clock)
    pace.slow_down()

    for expected in (9, 10, 11):
        for _ in range(expected):
            pace.went_well()

        assert pace.allowed == expected


def test_it_recovers_to_full_speed_and_no_further(clock):
    pace = ConcurrencyLimiter(4, clock=clock)
    pace.slow_down()

    for _ in range(100):
        pace.went_well()

    assert pace.allowed == 4


def test_a_request_waits_until_there_is_room(clock):
    pace = ConcurrencyLimiter(2, clock=clock)
    pace.slow_down()  # one at a time
    entered = threading.Event()

    def enter():
        with pace:
            entered.set()

    with pace:
        other = threading.Thread(target=enter)
        other.start()
        assert not entered.wait(0.05)
    assert entered.wait(10)
    other.join()


def test_bytes_are_spread_over_time(clock):
    pace = ConcurrencyLimiter(4, bytes_per_second=1000, clock=clock)

    assert [pace.spend(500) for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]


def test_time_that_was_not_used_is_not_saved_up(clock):
    pace = ConcurrencyLimiter(4, bytes_per_second=1000, clock=clock)
    clock.now += 60

    assert [pace.spend(1000), pace.spend(1000)] == [0.0, 1.0]


def test_without_a_limit_nothing_waits(clock):
    pace = ConcurrencyLimiter(4, clock=clock)

    assert {pace.spend(10**12) for _ in range(3)} == {0.0}
