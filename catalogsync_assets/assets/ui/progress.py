"""How a run goes: lines for the log meanwhile, and of an upload samples for a plot.

A log line costs about 4 ms and is seen at once, metadata only at the end. Neither grows with the
number of files.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

from catalogsync_assets.assets.ui.metadata import mebibytes
from catalogsync_assets.core.upload.upload import UploadReport

#: Seconds between lines at the beginning; a line each sixtieth of the time that has passed later,
#: but at least one a minute. A day makes some 1,700 lines.
_SECONDS = 5.0
_SHARE = 60
_MAX_SECONDS = 60.0
#: Samples kept of a chunk. Once there are more, every other one is dropped.
MAX_SAMPLES = 120
#: Seconds between samples at the beginning; results are recorded twice a second.
_SAMPLE_SECONDS = 0.5
#: Up to this many, seconds are shown as seconds, and minutes as minutes.
_SMALL = 90
#: Points of a plot.
_POINTS = 60


_Report = TypeVar("_Report")


def now_and_then(
    say: Callable[[str], None], line: Callable[[_Report], str]
) -> Callable[[_Report], None]:
    """Takes a report as it grows, and says a line of it every five seconds."""
    next_line = time.monotonic() + _SECONDS

    def show(report: _Report) -> None:
        nonlocal next_line
        if time.monotonic() >= next_line:
            next_line = time.monotonic() + _SECONDS
            say(line(report))

    return show


class Sample(NamedTuple):
    """What had been sent of a chunk at a time."""

    at: float  #: seconds since the epoch
    bytes: int  #: sent so far, parts of large files included
    files: int  #: sent or found in place so far


class Progress:
    """Takes an upload's report as it grows; see `upload.upload`.

    Args:
        say: takes a line for the log.
        clock: seconds; `time.time` but for tests.
    """

    def __init__(
        self, say: Callable[[str], None], *, clock: Callable[[], float] = time.time
    ) -> None:
        self._say = say
        self._clock = clock
        self._started = clock()
        self._at_last_line = Sample(self._started, 0, 0)
        self._next_line = self._started + _SECONDS
        self._step = _SAMPLE_SECONDS
        self.samples = [self._at_last_line]

    def __call__(self, report: UploadReport) -> None:
        now = _sample(report, self._clock())
        if now.at - self.samples[-1].at >= self._step:
            self._keep(now)
        if now.at >= self._next_line:
            self._say(_line(report, self._at_last_line, now, now.at - self._started))
            self._at_last_line = now
            elapsed = now.at - self._started
            self._next_line = now.at + min(_MAX_SECONDS, max(_SECONDS, elapsed / _SHARE))

    def finish(self, report: UploadReport) -> tuple[Sample, ...]:
        """All samples, with what there is in the end."""
        self._keep(_sample(report, self._clock()))
        return tuple(self.samples)

    def _keep(self, sample: Sample) -> None:
        self.samples.append(sample)
        if len(self.samples) > MAX_SAMPLES:
            del self.samples[1::2]
            self._step *= 2


def _sample(report: UploadReport, at: float) -> Sample:
    files = report.succeeded + report.adopted + report.copied
    return Sample(at, report.bytes + report.bytes_in_parts, files)


def _line(report: UploadReport, before: Sample, now: Sample, elapsed: float) -> str:
    """One line: how far, how fast since the last line, how long still, what is in the way."""
    finished = min(report.settled_bytes + report.bytes_in_parts, report.queued_bytes)
    seconds = now.at - before.at
    parts = [
        f"{now.files:,} of {report.queued:,} files{_percent(now.files, report.queued)}",
        f"{mebibytes(finished):,.1f} of {mebibytes(report.queued_bytes):,.1f} MiB"
        + _percent(finished, report.queued_bytes),
        f"{mebibytes(max(0, now.bytes - before.bytes)) / seconds:,.1f} MiB/s",
        f"{(now.files - before.files) / seconds:,.1f} files/s",
    ]
    if finished and finished < report.queued_bytes:
        left = elapsed * (report.queued_bytes - finished) / finished
        parts.append(f"about {_duration(left)} left")
    parts.append(f"{report.in_flight} on their way")
    parts.append(f"{report.failed:,} failed")
    if report.retries:
        parts.append(f"{report.retries:,} retries")
    return ", ".join(parts)


def _percent(part: int, whole: int) -> str:
    return f" ({100 * part / whole:.0f}%)" if whole else ""


def _duration(seconds: float) -> str:
    """For a person, such as `45 s`, `12 min`, `3 h 20 min`."""
    if seconds < _SMALL:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < _SMALL else f"{minutes // 60} h {minutes % 60} min"


class Rate(NamedTuple):
    """Bytes and files per second, around a second after the start."""

    second: float
    bytes: float
    files: float


def rates(chunks: Iterable[Sequence[Sample]]) -> list[Rate]:
    """How fast several chunks went together, in at most 60 points of the same length.

    Args:
        chunks: samples of each, in order of time; chunks may overlap.
    """
    known = [samples for samples in chunks if len(samples) > 1]
    if not known:
        return []
    start = min(samples[0].at for samples in known)
    length = max(samples[-1].at for samples in known) - start
    # Results are recorded twice a second; shorter intervals would show that, not the network.
    points = max(1, min(_POINTS, int(length)))
    width = length / points or 1.0
    edges = [start + i * width for i in range(points + 1)]
    by_then = [[_by(samples, edge) for samples in known] for edge in edges]
    sent, done = ([sum(total[i] for total in totals) for totals in by_then] for i in (0, 1))
    return [
        Rate(
            second=(i + 0.5) * width,
            # What was sent in parts counts again once a failed upload is started again.
            bytes=max(0.0, (sent[i + 1] - sent[i]) / width),
            files=max(0.0, (done[i + 1] - done[i]) / width),
        )
        for i in range(points)
    ]


def _by(samples: Sequence[Sample], at: float) -> tuple[float, float]:
    """Bytes and files of a chunk by a time, between two samples by the straight line."""
    index = min(max(1, bisect_left(samples, at, key=lambda s: s.at)), len(samples) - 1)
    before, after = samples[index - 1], samples[index]
    span = after.at - before.at
    share = min(1.0, max(0.0, (at - before.at) / span)) if span > 0 else 1.0
    return (
        before.bytes + share * (after.bytes - before.bytes),
        before.files + share * (after.files - before.files),
    )
