"""How an upload is told of while it runs, and drawn when it has ended."""

from __future__ import annotations

import base64
import itertools
import sys

import pytest
from defusedxml import ElementTree

from catalogsync_assets.assets.ui import plots
from catalogsync_assets.assets.ui.progress import MAX_SAMPLES, Progress, Rate, Sample, rates
from catalogsync_assets.core.catalog.status import BackendStatus, FormatTotal
from catalogsync_assets.core.upload.upload import UploadReport

MIB = 1024 * 1024
HOUR = 3600


class Upload:
    """An upload of many files at a steady rate, without a store.

    Attributes:
        lines: what it said.
    """

    def __init__(self, files: int, seconds: int) -> None:
        self.lines: list[str] = []
        self._now = 1_000_000.0
        self.progress = Progress(self.lines.append, clock=lambda: self._now)
        self.report = UploadReport(
            "cloud", 16, in_flight=16, queued=files, queued_bytes=files * MIB
        )
        self._seconds = seconds

    def run(self, share: float = 1.0) -> Upload:
        """Go on up to this share; the engine reports some four times a second."""
        for step in range(1, int(self._seconds * 4 * share) + 1):
            self._now += 0.25
            self.report.succeeded = self.report.queued * step // (self._seconds * 4)
            self.report.bytes = self.report.settled_bytes = self.report.succeeded * MIB
            self.progress(self.report)
        return self


def test_the_lines_of_an_upload_do_not_grow_with_its_files():
    few, many = Upload(100, 60).run(), Upload(1_000_000, 60).run()

    assert len(many.lines) == len(few.lines) == 12


@pytest.mark.parametrize(("hours", "most"), [(1, 250), (24, 1_700)])
def test_the_longer_an_upload_takes_the_rarer_are_its_lines(hours, most):
    lines = Upload(1_000_000, hours * HOUR).run().lines

    assert hours * 60 <= len(lines) <= most


def test_a_line_says_how_far_how_fast_and_how_long_still():
    upload = Upload(6_000, 600).run(0.5)
    upload.report.failed, upload.report.retries = 2, 7
    upload.run(0)

    assert upload.lines[-1] == (
        "3,000 of 6,000 files (50%), 3,000.0 of 6,000.0 MiB (50%), 10.0 MiB/s, 10.0 files/s,"
        " about 5 min left, 16 on their way, 0 failed"
    )


def test_a_line_says_what_failed_and_was_repeated():
    upload = Upload(6_000, 600)
    upload.report.failed, upload.report.retries = 1_234, 7

    upload.run(0.5)

    assert upload.lines[-1].endswith("16 on their way, 1,234 failed, 7 retries")


def test_parts_of_a_large_file_count_while_they_come():
    upload = Upload(1, 60)
    upload.report.bytes_in_parts = MIB // 2

    upload.run(0.5)

    assert "0.5 of 1.0 MiB (50%)" in upload.lines[-1]


def test_the_samples_of_an_upload_are_few_however_long_it_takes():
    upload = Upload(1_000_000, HOUR).run()

    samples = upload.progress.finish(upload.report)

    assert MAX_SAMPLES / 2 <= len(samples) <= MAX_SAMPLES
    assert (samples[0].files, samples[-1].files) == (0, 1_000_000)
    assert samples[-1].at - samples[0].at == HOUR


# --- rates --------------------------------------------------------------------------------------


def test_rates_are_what_was_sent_in_each_second():
    chunk = [Sample(100, 0, 0), Sample(101, 10, 1), Sample(102, 40, 2)]

    assert rates([chunk]) == [Rate(0.5, 10, 1), Rate(1.5, 30, 1)]


def test_rates_of_chunks_at_the_same_time_are_added():
    first = [Sample(100, 0, 0), Sample(102, 20, 2)]
    second = [Sample(101, 0, 0), Sample(103, 60, 4)]

    assert rates([first, second]) == [Rate(0.5, 10, 1), Rate(1.5, 40, 3), Rate(2.5, 30, 2)]


def test_nothing_is_lost_between_the_points_of_a_plot():
    chunks = []
    for start in (0, 7, 500):
        upload = Upload(5_000, 777).run()
        samples = upload.progress.finish(upload.report)
        chunks.append([sample._replace(at=sample.at + start) for sample in samples])

    found = rates(chunks)

    width = found[1].second - found[0].second
    assert len(found) == 60
    assert sum(rate.bytes for rate in found) * width == pytest.approx(15_000 * MIB)
    assert sum(rate.files for rate in found) * width == pytest.approx(15_000)


@pytest.mark.parametrize("chunks", [[], [()], [[Sample(100, 0, 0)]]])
def test_what_sent_nothing_has_no_rate(chunks):
    assert rates(chunks) == []


def test_an_upload_that_took_no_time_has_one():
    assert len(rates([[Sample(100, 0, 0), Sample(100, 10, 1)]])) == 1


# --- plots --------------------------------------------------------------------------------------


def status(name: str, songs: int, partial: int, absent: int) -> BackendStatus:
    total = songs + partial + absent
    return BackendStatus(
        name, "object_storage", "music", songs, partial, absent, total, 0, 0, 0, 0, 0, 0, None
    )


PLOTS = {
    "throughput": lambda: plots.throughput(
        [Rate(s + 0.5, 1e8 / 3 * (1 + s % 7), 123.456 * (1 + s % 5)) for s in range(60)]
    ),
    "songs per backend": lambda: plots.songs_by_backend(
        [status(f"a-backend-with-a-name-{i}", 1_000_000 // i, i, i * 1000) for i in range(1, 21)]
    ),
    "MiB by format": lambda: plots.bytes_by_format(
        [FormatTotal("flac", 1000, 10**12 // (i + 1)) for i in range(30)]
    ),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_is_a_small_picture_that_needs_nothing_from_elsewhere(name):
    found = PLOTS[name]().value

    head, picture = found.removesuffix(")").split("base64,")
    assert head == f"![{name}](data:image/svg+xml;"
    assert len(found) < 40_000
    svg = base64.b64decode(picture)
    tags = {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(svg).iter()}
    assert {"path", "text"} & tags
    assert not {"script", "image", "use", "link"} & tags
    assert b"@import" not in svg
    assert b"googleapis" not in svg
    assert b"xml-stylesheet" not in svg


def test_there_is_no_plot_of_nothing():
    empty = [plots.throughput([]), plots.songs_by_backend([]), plots.bytes_by_format([])]
    empty.append(plots.songs_by_backend([status("cloud", 0, 0, 0)]))

    assert {plot.value for plot in empty} == {"Nothing to show."}


def test_drawing_leaves_python_s_imports_as_they_were():
    before = list(map(type, sys.meta_path))

    PLOTS["throughput"]()

    assert not [
        finder
        for finder in itertools.filterfalse(before.__contains__, map(type, sys.meta_path))
        if finder.__module__.startswith("pygal")
    ]
