"""How many requests at a time are best, found out while they go. The law alone: no thread, no wait.

It depends on the line and the store, and nobody knows it before: a store that is near is at its
best with four, one that is 50 ms away with more than a hundred. So a run finds out as connections
of TCP do, by throughput and latency of its own requests, in rounds of as many as may be under way:

==============  ===================================================================================
it begins       with `BEGIN` requests at a time; each round doubles them, until three in a row have
                brought less than a quarter more: back to the last that did. BBR's start-up
                (Cardwell et al., "BBR: Congestion-Based Congestion Control", ACM Queue 14/5,
                2016); TCP's slow start (RFC 5681) goes on until something is lost.
it goes on      with looks to both sides, a quarter more and a fifth less, each between two rounds
                at the present level. More stays if it brings more. Less stays if it brings as much:
                requests that take longer and bring no more are too many. As BBR probes bandwidth;
                latency without a gain is the sign of TCP Vegas (Brakmo and Peterson, 1995). Not
                below `LEAST`: the rounds of so few tell little, and a store bears them.
it is told off  by a store that says "slow down", fails or does not answer in time: half as many at
                once, then one more for each round of successes, up to where it was. Additive
                increase, multiplicative decrease, as in TCP's congestion avoidance (RFC 5681).
==============  ===================================================================================

A round in which not even half of the allowed requests were under way tells nothing of the store:
the run had no more to send, or no memory for it. Nothing changes then (as in RFC 7661).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: Requests at a time with which a run begins, and those below which only complaints bring it.
BEGIN, LEAST = 16, 8
#: Seconds that a round takes at least: while a run looks for its level, and later.
_SEARCH_SECONDS, _ROUND_SECONDS = 0.1, 0.5
#: Seconds in which any number of complaints counts as one: they come from the same wave.
_ONE_WAVE = 1.0
#: And how many answers it takes, in times of the requests that may be under way.
_SEARCH_ANSWERS, _ROUND_ANSWERS = 1, 3
#: What twice as many requests must bring at least, and how often in a row they may bring less.
_WORTH_DOUBLING, _FLAT_ROUNDS = 1.25, 3
#: What a quarter more requests must bring at least; what a fifth less must still bring.
_WORTH_MORE, _ENOUGH_WITH_LESS = 1.04, 0.985
#: What a request costs beside its bytes, as bytes: so rounds of small and of larger files compare.
_OVERHEAD_BYTES = 256 * 1024


class Begun(NamedTuple):
    """A request that is under way."""

    round: int
    at: float  #: by the clock


@dataclass
class _Round:
    """What was seen of the requests that began in a round, and were answered."""

    number: int
    since: float
    answers: int = 0
    bytes: int = 0
    seconds: float = 0.0  #: that they took, added up
    under_way: int = 0  #: how many were, added up over the answers

    @property
    def at_once(self) -> float:
        return self.under_way / self.answers

    @property
    def throughput(self) -> float:
        """Bytes per second, overhead included: by Little's law, to which it does not matter how a
        round begins and ends."""
        work = self.bytes + self.answers * _OVERHEAD_BYTES
        return self.at_once * work / max(self.seconds, 1e-9)


class Level:
    """How many requests may be under way at a time. Not thread-safe.

    Attributes:
        allowed: so many, now; at least one.
    """

    def __init__(self, most: int, now: float) -> None:
        """
        Args:
            most: requests at a time, whatever more would bring.
            now: by the caller's clock, in seconds; so wherever it is asked for.
        """
        self.allowed = min(BEGIN, most)
        self._most = most
        self._round = _Round(0, now)
        self._level = self.allowed  # the best that is known; `allowed` may be a look beside it
        self._throughput: float | None = None  # of the last round at that level
        self._look: float | None = None  # of the look beside it, and where that was
        self._looked_at = 0
        self._downwards = True  # where the next look goes
        self._searching = True
        self._flat = 0  # rounds of the search that brought too little, in a row
        self._slowed = now - _ONE_WAVE
        self._recover_to = 0  # where a complaint came; 0 once it is there again
        self._successes = 0

    def begun(self, now: float) -> Begun:
        """A request begins."""
        return Begun(self._round.number, now)

    def answered(self, request: Begun, *, size: int, under_way: int, now: float) -> None:
        """A request was answered as it should.

        Args:
            size: the bytes that it has sent.
            under_way: how many requests were until then, with this one.
        """
        if self._recover_to:
            self._recover(now)
            return
        this = self._round
        if request.round != this.number:
            return
        this.answers += 1
        this.bytes += size
        this.seconds += now - request.at
        this.under_way += under_way
        times, seconds = _ROUND_ANSWERS, _ROUND_SECONDS
        if self._searching:
            times, seconds = _SEARCH_ANSWERS, _SEARCH_SECONDS
        if this.answers < times * self.allowed or now - this.since < seconds:
            return
        if 2 * this.at_once >= self.allowed:
            (self._search if self._searching else self._weigh)(this.throughput)
        self._next_round(now)

    def complained(self, now: float) -> None:
        """The store has said that it is too much, has failed, or has not answered in time."""
        self._successes = 0
        if now - self._slowed < _ONE_WAVE:
            return
        self._slowed = now
        self._recover_to = max(self._recover_to, self.allowed)
        self._level = self.allowed = max(1, self.allowed // 2)
        self._searching = False
        self._throughput = self._look = None

    def _next_round(self, now: float) -> None:
        self._round = _Round(self._round.number + 1, now)

    def _recover(self, now: float) -> None:
        self._successes += 1
        if self._successes >= self.allowed:
            self._successes = 0
            self._level = self.allowed = min(self._most, self.allowed + 1)
            if self.allowed >= min(self._most, self._recover_to):
                self._recover_to = 0
                self._next_round(now)

    def _search(self, throughput: float) -> None:
        if self._throughput is None or throughput >= self._throughput * _WORTH_DOUBLING:
            self._level, self._throughput, self._flat = self.allowed, throughput, 0
        else:
            self._flat += 1
        if self._flat == _FLAT_ROUNDS or self._level == self._most:
            self._searching = False
            self.allowed = self._level
        else:
            self.allowed = min(self._most, 2 * self.allowed)

    def _weigh(self, throughput: float) -> None:
        if self.allowed != self._level:
            self._look, self._looked_at = throughput, self.allowed
            self.allowed = self._level
            return
        if self._look is not None and self._throughput is not None:
            enough = _ENOUGH_WITH_LESS if self._looked_at < self._level else _WORTH_MORE
            if self._look >= enough * (self._throughput + throughput) / 2:
                self._level = self.allowed = self._looked_at
                self._throughput, self._look = self._look, None
                return
            self._downwards = not self._downwards
        self._throughput, self._look = throughput, None
        less = max(min(LEAST, self._level), self._level - max(1, self._level // 5))
        more = min(self._most, self._level + max(1, self._level // 4))
        self._downwards = less < self._level and (self._downwards or more == self._level)
        self.allowed = less if self._downwards else more
