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


def test_it_grows_by_what_its_requests_bring():
    """Each takes a tenth of a second, however many there are. (The law: `test_level`.)"""
    pace = ConcurrencyLimiter(32)
    stop = threading.Event()

    def send():
        while not stop.is_set():
            with pace:
                stop.wait(0.1)

    threads = [threading.Thread(target=send) for _ in range(32)]
    for thread in threads:
        thread.start()
    while pace.peak < 32 and any(thread.is_alive() for thread in threads):
        threads[0].join(0.01)
    stop.set()
    for thread in threads:
        thread.join()

    assert (pace.allowed, pace.peak) == (32, 32)


def test_a_request_within_a_request_is_a_part_of_it():
    pace = ConcurrencyLimiter(1)

    with pace, pace:
        assert pace.peak == 1


def test_a_request_that_fails_leaves_its_place(clock):
    pace = ConcurrencyLimiter(1, clock=clock)

    for _ in range(3):
        with pytest.raises(OSError, match="gone"), pace:
            raise OSError("gone")

    assert pace.peak == 1


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
