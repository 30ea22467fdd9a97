"""The level that a run finds, on simulated lines with a clock of their own."""

import heapq
import itertools
import random

import pytest

from catalogsync_assets.core.runner.level import BEGIN, Level

SIZE = 65_536


class Line:
    """A line with a store at its end.

    Args:
        latency: seconds of each request beside those in which it is served.
        rate: requests a second that are served, one after the other.
        uneven: of the times of single requests, as the sigma of a log-normal.
    """

    def __init__(self, most, *, latency, rate, uneven=0.0):
        self.latency, self.rate, self.uneven = latency, rate, uneven
        self.now = self._free_at = 100.0
        self.level = Level(most, self.now)
        self.answers = 0
        self.levels = [self.level.allowed]  # that there were
        self._random = random.Random(16)  # noqa: S311
        self._numbers = itertools.count()
        self._flying = []

    def _varied(self, seconds):
        return seconds * self._random.lognormvariate(0, self.uneven) if self.uneven else seconds

    def send(self, *, seconds=1e9, count=10**9, at_hand=10**9, refuse=lambda under_way: False):
        """Send for so long, or so many; the seconds that it took.

        Args:
            at_hand: the run has no more than this to send at a time.
            refuse: whether the store complains of a request.
        """
        began, goal = self.now, self.answers + count
        while self.now < began + seconds and self.answers < goal:
            while len(self._flying) < min(self.level.allowed, at_hand):
                self._free_at = max(self._free_at, self.now) + self._varied(1 / self.rate)
                end = self._free_at + self._varied(self.latency)
                request = self.level.begun(self.now)
                heapq.heappush(self._flying, (end, next(self._numbers), request))
            under_way = len(self._flying)
            self.now, _, request = heapq.heappop(self._flying)
            if refuse(under_way):
                self.level.complained(self.now)
            else:
                self.answers += 1
                self.level.answered(request, size=SIZE, under_way=under_way, now=self.now)
            if self.level.allowed != self.levels[-1]:
                self.levels.append(self.level.allowed)
        return self.now - began


def test_it_begins_modestly():
    assert Level(256, 0.0).allowed == BEGIN == 16
    assert Level(3, 0.0).allowed == 3


@pytest.mark.parametrize("uneven", [0.0, 0.3])
def test_it_doubles_as_long_as_that_brings_more(uneven):
    line = Line(256, latency=0.05, rate=50_000, uneven=uneven)

    line.send(seconds=1)

    assert line.levels[:5] == [16, 32, 64, 128, 256]


@pytest.mark.parametrize(
    ("latency", "rate", "seconds"),
    [(0.05, 300, 6), (0.05, 1000, 2.2), (0.02, 500, 3.6), (0.001, 800, 2.2), (0.2, 1000, 3.5)],
)
def test_files_go_about_as_fast_as_the_line_bears(latency, rate, seconds):
    """1,500 of them; `seconds` is 1.2 of the best there could be, and what the search takes."""
    for uneven in (0.0, 0.3):
        line = Line(256, latency=latency, rate=rate, uneven=uneven)

        assert line.send(count=1_500) < seconds


def test_it_settles_where_more_bring_nothing():
    line = Line(256, latency=0.05, rate=400)  # of which 20 at a time are enough

    line.send(seconds=60)

    settled = line.levels[len(line.levels) // 2 :]
    assert min(settled) >= 13
    assert max(settled) <= 40


def test_it_falls_when_requests_take_longer_and_bring_no_more():
    line = Line(256, latency=0.05, rate=4_000)
    line.send(seconds=5)
    before = line.level.allowed
    assert before > 100

    line.rate = 200  # of which ten at a time are enough
    line.send(seconds=60)

    assert line.level.allowed < before / 4


def test_it_rises_again_when_more_bring_more():
    line = Line(256, latency=0.05, rate=60)  # of which four at a time are enough
    line.send(seconds=30)
    assert line.level.allowed <= 10

    line.rate = 2_000
    line.send(seconds=15)

    assert line.level.allowed > 60


@pytest.mark.parametrize("most", [1, 2, 5, 16, 100])
def test_it_never_exceeds_its_cap(most):
    line = Line(most, latency=0.05, rate=50_000)

    line.send(seconds=20)

    assert max(line.levels) == most


def test_it_does_not_grow_for_a_run_that_has_no_more_to_send():
    line = Line(256, latency=0.05, rate=50_000)

    line.send(seconds=20, at_hand=3)

    assert line.levels == [BEGIN]


def test_a_complaint_halves_it_and_ends_the_search():
    line = Line(256, latency=0.05, rate=50_000)

    line.send(seconds=0.9, refuse=lambda under_way: under_way > 60)

    assert line.levels[:4] == [16, 32, 64, 32]
    assert line.levels[4:] == list(range(33, 33 + len(line.levels) - 4))


@pytest.mark.parametrize(
    ("complaints", "seconds_between", "left"),
    [(1, 0, 8), (16, 0.01, 8), (10, 2, 1)],
    ids=["one halves it", "a wave counts once", "one at a time is always allowed"],
)
def test_complaints_lower_it(complaints, seconds_between, left):
    level = Level(16, now=0.0)

    for i in range(complaints):
        level.complained(10 + i * seconds_between)

    assert level.allowed == left


def test_it_recovers_by_one_for_each_round_of_successes_up_to_where_it_was():
    level = Level(8, now=0.0)
    level.complained(10.0)

    for expected in (5, 6, 7, 8):
        for _ in range(level.allowed):
            assert level.allowed == expected - 1
            level.answered(level.begun(10.0), size=SIZE, under_way=1, now=10.1)

        assert level.allowed == expected


def test_a_store_that_complains_of_many_is_asked_for_about_as_many_as_it_bears():
    line = Line(256, latency=0.02, rate=50_000)
    complaints = []
    surplus = random.Random(1)  # noqa: S311

    def refuse(under_way):
        refused = surplus.random() < (under_way - 40) / under_way
        if refused:
            complaints.append(line.now)
        return refused

    line.send(seconds=20, refuse=refuse)

    assert line.answers / 20 > 0.75 * 40 / 0.02
    assert len(complaints) < line.answers / 10
