"""Local files that change, vanish or rot between scan and upload."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from catalogsync_assets.core.catalog.upload_queue import UploadTask
from catalogsync_assets.core.errors import SourceError
from catalogsync_assets.core.runner import run
from catalogsync_assets.core.upload.source import Source
from catalogsync_assets_tests.support.database import rotten, rows
from catalogsync_assets_tests.support.files import sha256, unprivileged
from catalogsync_assets_tests.support.uploads import codes

PLACES = "SELECT locator FROM file_locations WHERE backend_id = ? AND status = 'active'"


def test_a_file_that_changed_since_the_scan_waits_for_the_next_scan(
    library, catalog, scanned, cloud, uploaded, synced, remote, statuses
):
    library.add("a.mp3", b"before")
    library.add("b.mp3")
    scanned()
    library.add("a.mp3", b"after!")

    report = uploaded(cloud)

    assert (report.succeeded, codes(report)) == (1, ["SourceChanged"])
    assert remote(cloud).keys() == ["b.mp3"]
    assert rows(catalog, PLACES, cloud.id) == [f"{cloud.base_prefix}/b.mp3"]
    assert statuses() == {"pending": 1, "succeeded": 1}

    assert synced(cloud).succeeded == 1
    assert remote(cloud).get("a.mp3") == b"after!"


def test_a_file_that_changed_and_got_its_time_back_is_read_by_the_next_scan(
    library, scanned, cloud, uploaded, remote
):
    """The upload saw another time; size and time alone would now say that nothing has changed."""
    path = library.add("a.mp3", b"before")
    stat = path.stat()
    scanned()
    path.write_bytes(b"behind")
    assert codes(uploaded(cloud)) == ["SourceChanged"]
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    assert scanned().changed == 1

    assert uploaded(cloud).succeeded == 1
    assert remote(cloud).get("a.mp3") == b"behind"


@pytest.mark.parametrize("content", [b"after!", b"of another size"])
def test_a_changed_file_is_not_tried_again_by_the_same_run(
    library, catalog, scanned, cloud, uploaded, remote, statuses, monkeypatch, content
):
    """A run that goes on for long writes down what became of it in between."""
    monkeypatch.setattr(run, "_BATCH", 1)
    library.add("a.mp3", b"before")
    library.fill(3)
    scanned()
    library.add("a.mp3", content)

    def stop_a_run_without_end(report):
        assert report.failed < 5

    report = uploaded(cloud, workers=1, progress=stop_a_run_without_end)

    assert (report.succeeded, codes(report)) == (3, ["SourceChanged"])
    assert sorted(remote(cloud).contents()) == [f"album/000{i}.mp3" for i in range(3)]
    assert statuses() == {"pending": 1, "succeeded": 3}
    sql = "SELECT attempts FROM upload_tasks WHERE status = 'pending'"
    assert rows(catalog, sql) == [1]


@pytest.mark.parametrize("content", [b"", b"short", b"a longer content"])
def test_a_file_of_another_size_is_not_sent(library, scanned, cloud, uploaded, remote, content):
    library.add("a.mp3", b"8 bytes!")
    scanned()
    library.rewrite("a.mp3", content)

    assert codes(uploaded(cloud)) == ["SourceChanged"]
    assert remote(cloud).keys() == []


def test_a_file_that_rots_is_not_pushed_over_its_good_copies(
    library, catalog, backend, synced, remote, statuses
):
    """Another content with the same size and times is no edit."""
    library.add("a.mp3", b"good")
    first, second = backend("first"), backend("second")
    synced(first)
    library.rewrite("a.mp3", b"bad!")
    rotten(catalog, library.root / "a.mp3")

    report = synced(second)

    assert codes(report) == ["ContentDiffers"]
    assert "restore it" in report.failures[0].reason
    assert remote(first).get("a.mp3") == b"good"
    assert remote(second).keys() == []
    assert statuses() == {"succeeded": 1, "failed": 1}


def test_one_missing_file_does_not_stop_the_others(library, scanned, cloud, uploaded, remote):
    files = library.fill(6)
    scanned()
    files[2].unlink()
    files[4].unlink()
    files[4].mkdir()

    report = uploaded(cloud)

    assert report.succeeded == 4
    assert sorted(codes(report)) == ["SourceMissing", "SourceUnreadable"]
    assert {failure.file for failure in report.failures} == {str(files[2]), str(files[4])}
    assert len(remote(cloud).keys()) == 4


def test_a_file_that_may_not_be_read_says_so(public_folder):
    path = public_folder / "a.mp3"
    path.touch(mode=0o000)
    task = task_of(path)

    with unprivileged(), pytest.raises(SourceError) as caught, Source(task):
        pass

    assert (caught.value.code, caught.value.changed) == ("SourceUnreadable", False)
    assert "permissions" in (caught.value.hint or "")


# --- the source itself --------------------------------------------------------------------------


def task_of(path: Path, sha256: str | None = None) -> UploadTask:
    stat = path.stat()
    return UploadTask(1, 1, 1, 1, str(path), stat.st_size, stat.st_mtime_ns, sha256, path.name)


def test_content_and_digest_come_from_one_read(library):
    path = library.add("a.mp3", size=100_000)

    with Source(task_of(path)) as source:
        digest = source.read_into(memoryview(content := bytearray(100_000)))

    assert content == path.read_bytes()
    assert digest == sha256(bytes(content))


@pytest.mark.parametrize("size", [1, 7, 50, 100, 1_000])
def test_parts_make_the_whole(library, size):
    path = library.add("a.mp3", size=100)

    with Source(task_of(path)) as source:
        parts = list(source.parts(size))
        digest = source.finish()

    assert b"".join(parts) == path.read_bytes()
    assert {len(part) for part in parts[:-1]} <= {size}
    assert digest == sha256(path.read_bytes())


def test_an_empty_file_is_one_empty_part(library):
    with Source(task_of(library.add("a.mp3", b""))) as source:
        assert list(source.parts(10)) == [b""]
        assert source.finish() == sha256(b"")


@pytest.mark.parametrize("after", [b"another!", b"longer than before", b"short"])
def test_a_file_that_changes_while_it_is_read_is_noticed(library, after):
    path = library.add("a.mp3", b"12345678")

    with Source(task_of(path)) as source:
        parts = source.parts(4)
        next(parts)
        library.add("a.mp3", after)
        with pytest.raises(SourceError) as caught:
            list(parts)
            source.finish()

    assert (caught.value.code, caught.value.changed) == ("SourceChanged", True)


def test_a_change_while_reading_is_noticed_even_where_no_scan_has_noted_a_time(library):
    """As in rows of another program, or after a change that the next scan has still to see."""
    path = library.add("a.mp3", b"12345678")

    with Source(replace(task_of(path), mtime_ns=None)) as source:
        parts = source.parts(4)
        next(parts)
        library.add("a.mp3", b"abcdefgh")
        with pytest.raises(SourceError) as caught:
            list(parts)
            source.finish()

    assert caught.value.code == "SourceChanged"


def test_a_file_that_is_replaced_while_it_is_read_is_sent_as_it_was(library):
    """A program that writes anew and renames leaves the open file whole."""
    path = library.add("a.mp3", b"12345678")

    with Source(task_of(path)) as source:
        library.add("b.mp3", b"another!").replace(path)
        digest = source.read_into(memoryview(content := bytearray(8)))

    assert (content, digest) == (b"12345678", sha256(b"12345678"))
