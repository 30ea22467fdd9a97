"""`pending_uploads` and `remote_locations` when the store does what it should."""

import urllib.request
from collections import Counter

import pytest

from catalogsync_assets_tests.support.database import rows

MIB = 1024 * 1024


# --- pending_uploads ----------------------------------------------------------------------------


def test_a_plan_says_how_much_is_to_be_sent_and_where(pipeline, cloud, statuses):
    pipeline.fill(3, size=500_000)

    metadata = pipeline.plan().metadata

    assert metadata == {
        "dagster/row_count": 3,
        "newly queued": 3,
        "size (MiB)": round(1_500_000 / MIB, 3),
        "bucket": cloud.bucket,
        "bucket link": f"{cloud.endpoint}/{cloud.bucket}/",
        "endpoint": cloud.endpoint,
    }
    assert statuses() == {"pending": 3}


def test_a_second_plan_queues_nothing_twice(pipeline, cloud, statuses):
    pipeline.fill(3)
    pipeline.plan()

    metadata = pipeline.plan().metadata

    assert (metadata["newly queued"], metadata["dagster/row_count"]) == (0, 3)
    assert statuses() == {"pending": 3}


def test_a_plan_queues_again_what_failed(pipeline, cloud, remote, statuses):
    pipeline.fill(2)
    remote(cloud).put("album/0001.mp3", b"foreign")
    assert not pipeline.upload().success
    assert statuses() == {"succeeded": 1, "failed": 1}

    metadata = pipeline.plan().metadata

    assert (metadata["newly queued"], metadata["dagster/row_count"]) == (1, 1)
    assert statuses() == {"succeeded": 1, "pending": 1}


def test_a_plan_is_about_one_backend(pipeline, backend, catalog):
    backend("one")
    two = backend("two")
    pipeline.fill(2)

    pipeline.plan("two")

    assert rows(catalog, "SELECT target_backend_id FROM upload_tasks") == [two.id] * 2


# --- remote_locations ---------------------------------------------------------------------------


def test_a_cell_says_how_many_files_bytes_and_formats_it_holds_and_how_fast_they_came(
    pipeline, cloud, library, in_place
):
    library.fill(3, size=700_000)
    library.add("b.flac", size=900_000)
    pipeline.scan()

    run = pipeline.upload()

    size = round(3_000_000 / MIB, 3)
    metadata = run.metadata
    expected = {
        "dagster/row_count": 4,
        "size (MiB)": size,
        "uploaded": 4,
        "uploaded (MiB)": size,
        "adopted": 0,
        "retries": 0,
        "failures": [],
        "by format": [
            {"format": "mp3", "files": 3, "MiB": round(2_100_000 / MIB, 3)},
            {"format": "flac", "files": 1, "MiB": round(900_000 / MIB, 3)},
        ],
    }
    assert {name: metadata[name] for name in expected} == expected
    assert 0 < metadata["seconds"] < 30
    assert metadata["rate (MiB/s)"] == pytest.approx(size / metadata["seconds"], rel=0.05)
    assert pipeline.cells() == {f"cloud|{pipeline.keys('batch')[0]}"}
    assert in_place(cloud)


def test_a_cell_needs_no_plan_before_it(pipeline, cloud, statuses):
    pipeline.fill(2)

    assert pipeline.upload().success

    assert statuses() == {"succeeded": 2}


def test_a_second_materialization_of_a_cell_speaks_to_no_store(pipeline, backend, proxy):
    backend("cloud", endpoint=proxy.endpoint)
    pipeline.fill(3)
    pipeline.upload()
    proxy.requests.clear()

    metadata = pipeline.upload().metadata

    assert (metadata["uploaded"], metadata["uploaded (MiB)"]) == (0, 0.0)
    assert metadata["dagster/row_count"] == 3
    assert proxy.requests == []


def test_figures_keep_their_type_when_there_is_nothing_to_do(pipeline, cloud):
    """Dagster plots a figure over the materializations."""
    pipeline.fill(1)
    something = pipeline.upload().metadata

    nothing = pipeline.upload().metadata

    assert {n: type(v) for n, v in nothing.items()} == {n: type(v) for n, v in something.items()}


def test_files_found_in_place_are_adopted_and_said_to_be(pipeline, cloud, remote):
    first, *_ = pipeline.fill(3)
    remote(cloud).put("album/0000.mp3", first.read_bytes())

    metadata = pipeline.upload().metadata

    assert (metadata["uploaded"], metadata["adopted"]) == (2, 1)


def test_a_cell_says_what_its_store_has_copied_and_what_was_sent(
    pipeline, backend, library, proxy, remote
):
    """Of five files two are renamed, two change places, and one is gone from the store."""
    cloud = backend("cloud", endpoint=proxy.endpoint, layout="path")
    files = pipeline.fill(5, size=700_000)
    pipeline.upload()
    remote(cloud).delete("album/0004.mp3")
    assert pipeline.audit(sample_percent=100).metadata["missing"] == 1
    for old, new in (("0000", "a"), ("0001", "b"), ("0002", "x"), ("0003", "0002"), ("x", "0003")):
        (files[0].parent / f"{old}.mp3").rename(files[0].parent / f"{new}.mp3")
    assert pipeline.scan().metadata["moved"] == 4
    proxy.requests.clear()

    run = pipeline.upload()

    metadata = run.metadata
    assert (metadata["uploaded"], metadata["uploaded (MiB)"]) == (1, round(700_000 / MIB, 3))
    # One of the two that change places goes out of the way first.
    assert (metadata["copied"], metadata["adopted"]) == (5, 0)
    assert "1 file of batch" in run.text
    assert "4 files that moved, to be copied by its store" in run.text
    assert library.contents().items() <= remote(cloud).contents().items()
    sent = [r for r in proxy.of("PUT") if not r.header("x-amz-copy-source")]
    assert [request.key for request in sent] == [f"{cloud.key_prefix}album/0004.mp3"]
    assert pipeline.upload().metadata["copied"] == 0


def test_a_cell_says_which_objects_were_lost(pipeline, backend, remote):
    """What was to be copied to the key of a file that has moved is gone."""
    cloud = backend("cloud", layout="path")
    first, _ = pipeline.fill(2)
    pipeline.upload()
    first.rename(first.with_name("x.mp3"))
    pipeline.scan()
    remote(cloud).delete("album/0000.mp3")

    metadata = pipeline.upload().metadata

    assert (metadata["lost"], metadata["copied"], metadata["uploaded"]) == (1, 0, 1)


@pytest.mark.parametrize("config", [{"limit": 1}, {"chunk_max_files": 1}], ids=str)
def test_a_file_that_two_copies_bring_to_its_key_is_one_file(
    pipeline, backend, library, remote, config
):
    cloud = backend("cloud", layout="path")
    files = pipeline.fill(2)
    pipeline.upload()
    for old, new in (("0000", "x"), ("0001", "0000"), ("x", "0001")):
        (files[0].parent / f"{old}.mp3").rename(files[0].parent / f"{new}.mp3")
    pipeline.scan()

    assert pipeline.upload(config=config).success

    for _ in range(2):
        assert pipeline.upload(config=config).success
    assert library.contents().items() <= remote(cloud).contents().items()


def test_a_cell_shows_an_object_that_can_be_listened_to(pipeline, backend, store, library):
    backend("cloud", public_base_url=store.public_base_url)
    file = library.add("Hvít Nótt/01 50% & more.mp3")
    pipeline.scan()

    url = pipeline.upload().metadata["sample object"]

    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.read() == file.read_bytes()


def test_a_cell_is_one_batch_on_one_backend(pipeline, backend, library, remote):
    one, two = backend("one"), backend("two")
    library.fill(4)
    pipeline.scan(batch_max_files=2)
    _, second = pipeline.keys("batch")

    pipeline.plan("two")  # of both batches

    run = pipeline.upload("two", second, config={"chunk_max_files": 1})

    assert len([step for step in run.done if ".upload_chunk[" in step]) == 2
    assert run.metadata["dagster/row_count"] == run.metadata["uploaded"] == 2
    assert remote(one).keys() == []
    assert remote(two).keys() == ["album/0002.mp3", "album/0003.mp3"]
    assert pipeline.cells() == {f"two|{second}"}
    assert run.tags["dagster/partition/backend"] == "two"  # by which runs are limited


@pytest.mark.parametrize(
    ("chunks", "steps"),
    [({"chunk_max_files": 2}, 3), ({"chunk_max_bytes": 900}, 2), ({}, 1)],
    ids=["by-files", "by-bytes", "by-default"],
)
def test_a_cell_is_cut_into_chunks_and_each_file_is_sent_once(
    pipeline, backend, proxy, in_place, chunks, steps
):
    cloud = backend("cloud", endpoint=proxy.endpoint)
    pipeline.fill(5, size=300)

    run = pipeline.upload(config=chunks)

    assert len([step for step in run.done if ".upload_chunk[" in step]) == steps
    assert (run.metadata["uploaded"], run.metadata["dagster/row_count"]) == (5, 5)
    sent = Counter(request.key for request in proxy.of("PUT"))
    assert sent == {f"{cloud.key_prefix}album/{i:04d}.mp3": 1 for i in range(5)}
    assert in_place(cloud)


def test_the_events_of_a_run_do_not_grow_with_its_files(pipeline, backend):
    backend("one")
    pipeline.fill(2)
    (small,) = pipeline.keys("batch")
    few = len(pipeline.upload("one", small).events)
    pipeline.fill(20, folder="more")
    (large,) = set(pipeline.keys("batch")) - {small}

    assert len(pipeline.upload("one", large).events) == few


def test_no_secret_is_in_the_events_of_a_cell(pipeline, cloud, library, store):
    library.fill(2)
    runs = [pipeline.scan(), pipeline.plan(), pipeline.upload(), pipeline.presence()]

    assert all(run.success for run in runs)
    assert not any(store.secret_access_key in run.text for run in runs)
