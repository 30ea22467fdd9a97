"""`downloaded_files`: the scan as an asset."""

import os

import pytest

from catalogsync_assets.core.download import disks
from catalogsync_assets.core.download.disks import DEFAULT_RESERVE
from catalogsync_assets_tests.support.audio_files import tagged
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.files import flipped

MIB = 1024 * 1024


def test_a_scan_says_how_many_files_and_songs_there_are_and_how_large(
    pipeline, sample, use_library
):
    use_library(sample)
    files = [path for path in sample.rglob("*") if path.is_file()]

    metadata = pipeline.scan().metadata

    assert metadata["dagster/row_count"] == metadata["new"] == len(files) == 24
    assert metadata["songs"] == len({path.with_suffix("") for path in files})
    assert metadata["size (MiB)"] == round(sum(p.stat().st_size for p in files) / MIB, 3) > 0
    assert [metadata[name] for name in ("changed", "unchanged", "gone", "problems")] == [0] * 4
    assert metadata["left out or gone"] == []
    assert metadata["new batches"] == ", ".join(pipeline.keys("batch")) != ""
    assert metadata["library roots"] == str(sample)


def test_a_scan_says_how_much_there_is_of_each_format(pipeline, library):
    library.fill(2, size=400_000)
    gone = library.add("gone.ogg")
    library.add("one.flac", size=900_000)
    pipeline.scan()
    gone.unlink()

    metadata = pipeline.scan().metadata

    assert metadata["by format"] == [
        {"format": "flac", "files": 1, "MiB": round(900_000 / MIB, 3)},
        {"format": "mp3", "files": 2, "MiB": round(800_000 / MIB, 3)},
    ]
    assert metadata["bytes by format"].startswith("![MiB by format](data:image/svg+xml;base64,")


def test_a_second_scan_says_what_is_new_changed_unchanged_and_gone(pipeline, library):
    gone, changed, *_ = pipeline.fill(5)
    gone.unlink()
    library.add(changed.relative_to(library.root).as_posix(), b"another content")
    library.add("new.mp3")

    metadata = pipeline.scan().metadata

    figures = ("dagster/row_count", "new", "changed", "unchanged", "gone")
    assert [metadata[name] for name in figures] == [5, 1, 1, 3, 1]
    assert {"file": str(gone), "reason": "gone from the disk"} in metadata["left out or gone"]
    assert metadata["not there as they were"] == [
        {"state": "gone", "files": 1},
        {"state": "damaged", "files": 0},
        {"state": "offloaded", "files": 0},
        {"state": "left out", "files": 0},
        {"state": "forgotten", "files": 0},
    ]


def test_a_scan_says_what_has_moved_and_what_seems_damaged(pipeline, library, cloud):
    damaged = library.root / "a.flac"
    tagged(damaged, "flac vorbis", title=["Old"], artist=["A"])
    moved, _ = pipeline.fill(2)
    pipeline.upload()  # from then on, the content is known
    moved.rename(library.root / "moved.mp3")
    library.rewrite("a.flac", flipped(damaged.read_bytes()))

    for times_moved in (1, 0):
        metadata = pipeline.scan().metadata
        assert (metadata["moved"], metadata["seem damaged"]) == (times_moved, 1)
        assert metadata["files that seem damaged"] == [{"file": str(damaged)}]
        assert (metadata["new"], metadata["changed"], metadata["gone"]) == (0, 0, 0)
        assert (metadata["moved roots"], metadata["not mounted"]) == ([], 0)


def test_a_root_that_lies_elsewhere_is_said_to_have_moved(pipeline, library, use_library, tmp_path):
    pipeline.fill(3)
    new = tmp_path / "elsewhere"
    library.root.rename(new)
    use_library(new)

    metadata = pipeline.scan().metadata

    assert metadata["moved roots"] == [
        {"was at": str(library.root), "lies at": str(new), "files": 3}
    ]
    assert (metadata["new"], metadata["moved"], metadata["gone"]) == (0, 0, 0)
    assert metadata["left out or gone"] == []


def test_a_scan_that_finds_nothing_new_makes_no_batch(pipeline):
    pipeline.fill(3)
    before = pipeline.keys("batch")

    metadata = pipeline.scan().metadata

    assert metadata["new batches"] == "none"
    assert (metadata["new"], metadata["unchanged"]) == (0, 3)
    assert pipeline.keys("batch") == before


def test_problems_are_all_counted_but_only_some_are_shown(pipeline, library):
    library.fill(60)  # none of them has tags that could be read

    metadata = pipeline.scan().metadata

    assert metadata["problems"] == 60
    assert len(metadata["left out or gone"]) == 50
    row = metadata["left out or gone"][0]
    assert row["file"].endswith("0000.mp3")
    assert "tags cannot be read" in row["reason"]


def test_the_backends_and_batches_of_the_catalog_become_partitions(
    pipeline, library, backend, catalog
):
    backend("one")
    pipeline.fill(2)
    assert pipeline.keys("backend") == ["one"]
    assert pipeline.keys("batch") == rows(catalog, "SELECT key FROM batches") != []

    backend("two")
    library.add("later.mp3")
    pipeline.scan()

    assert pipeline.keys("backend") == ["one", "two"]
    assert pipeline.keys("batch") == rows(catalog, "SELECT key FROM batches ORDER BY key")
    assert len(pipeline.keys("batch")) == 2


@pytest.mark.parametrize(
    ("config", "batches"),
    [({"batch_max_files": 2}, 3), ({"batch_max_bytes": 300}, 5), ({}, 1)],
    ids=["by-files", "by-bytes", "by-default"],
)
def test_the_size_of_batches_is_configured(pipeline, library, config, batches):
    library.fill(5, size=300)

    metadata = pipeline.scan(**config).metadata

    assert len(metadata["new batches"].split(", ")) == batches == len(pipeline.keys("batch"))


def test_roots_of_the_run_come_before_those_of_the_environment(pipeline, library, another_library):
    library.fill(2)
    other = another_library("other")
    other.add("song.mp3")

    metadata = pipeline.scan(library_roots=[str(other.root)]).metadata

    assert metadata["dagster/row_count"] == 1
    assert metadata["library roots"] == str(other.root)


def test_a_root_that_lost_all_its_files_fails_until_that_is_accepted(pipeline, library, catalog):
    (file,) = pipeline.fill(1)
    file.unlink()
    present = "SELECT COUNT(*) FROM file_locations WHERE status = 'active'"

    description, metadata = pipeline.scan().failure

    assert description.startswith(f"library root {library.root} holds no readable audio file")
    assert "check that its disk is mounted" in metadata["hint"]
    assert rows(catalog, present) == [1]

    assert pipeline.scan(allow_empty=True).metadata["gone"] == 1
    assert rows(catalog, present) == [0]


def test_what_is_queued_is_downloaded_before_the_scan(
    pipeline, library, web, queue_downloads, remote, backend
):
    cloud = backend()
    queue_downloads(web.add("/1.flac"), web.add("/2.flac"), web.url + "/404")

    metadata = pipeline.scan().metadata

    assert metadata["dagster/row_count"] == 2
    assert metadata["unchanged"] == 2
    (row,) = metadata["downloads"]
    assert (row["source"], row["done"], row["failed"]) == ("http", 2, 1)
    assert float(row["MiB"]) > 0
    (failure,) = metadata["downloads failed"]
    assert "not found (HTTP 404)" in failure["reason"]
    assert metadata["download retries"] == 0
    pipeline.plan()
    assert pipeline.upload().success
    assert remote(cloud).contents() == library.contents()


def test_a_queue_that_is_empty_is_not_spoken_of(pipeline, library):
    library.fill(1)

    assert not [name for name in pipeline.scan().metadata if name.startswith("download")]


def test_full_disks_fail_the_run_after_what_came_was_cataloged(
    pipeline, library, web, queue_downloads, catalog, monkeypatch
):
    """A disk that has room for no more than the reserve and one of two files."""
    found = os.statvfs(library.root)
    free = (DEFAULT_RESERVE + 4_000) // found.f_frsize + 1
    full = os.statvfs_result((*found[:4], free, *found[5:]))
    monkeypatch.setattr(disks.os, "statvfs", lambda _: full)
    queue_downloads({"url": web.add("/1.flac")}, {"url": web.add("/2.flac"), "size": 3_000_000})

    description, metadata = pipeline.scan().failure

    assert description.startswith("no room for the next file (3,000,000 bytes)")
    assert "library_roots" in metadata["hint"]
    assert rows(catalog, "SELECT file_count FROM batches") == [1]
    assert pipeline.keys("batch") == rows(catalog, "SELECT key FROM batches")
    assert rows(catalog, "SELECT status FROM download_tasks ORDER BY id") == [
        "succeeded",
        "pending",
    ]
