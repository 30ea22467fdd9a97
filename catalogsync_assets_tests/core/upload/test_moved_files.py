"""Files that have moved: whatever comes to their old paths, no object makes way for it."""

from __future__ import annotations

import pytest

from catalogsync_assets.core.catalog import keys, locations
from catalogsync_assets.core.catalog.object_keys import fold
from catalogsync_assets.core.catalog.upload_queue import (
    count_pending,
    enqueue,
    missing_candidates,
)
from catalogsync_assets.core.upload.upload import upload
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.uploads import codes

WHERE = (
    "SELECT file_asset_id, locator FROM file_locations WHERE backend_id = ? AND status = 'active'"
    " ORDER BY 1, 2"
)


@pytest.fixture
def move(catalog, library):
    """`move({"a.mp3": "b.mp3"})` moves files on disk and in the catalog, all at once."""

    def run(moves):
        root = str(library.root)
        at = "SELECT file_asset_id FROM file_locations WHERE library_path = ? AND status = 'active'"
        moved = {rows(catalog, at, old)[0]: (old, new) for old, new in moves.items()}
        for old in moves:
            (library.root / old).rename(library.root / f"{old}.moving")
        for asset, (old, new) in moved.items():
            (library.root / new).parent.mkdir(parents=True, exist_ok=True)
            (library.root / f"{old}.moving").rename(library.root / new)
            change(
                catalog,
                "UPDATE file_locations SET library_path = ?, locator = ?, absolute_path = ?"
                " WHERE file_asset_id = ? AND library_root = ?",
                *(new, new, str(library.root / new), asset, root),
            )
        with catalog.transaction() as connection:
            keys.rename(connection, [(asset, root, new) for asset, (_, new) in moved.items()])

    return run


@pytest.fixture
def held(catalog, remote):
    """`held(backend)`: the content of each file's object by file asset, as row and bucket say."""

    def ask(backend):
        found = remote(backend)
        return {
            asset: found.get(key.removeprefix(backend.key_prefix))
            for asset, key in rows(catalog, WHERE, backend.id)
        }

    return ask


def key_of(catalog, asset):
    return rows(catalog, "SELECT object_key FROM file_assets WHERE id = ?", asset)[0]


def test_a_newcomer_at_the_old_path_does_not_replace_what_moved(
    catalog, library, cloud, synced, move, held
):
    old = library.add("a.mp3").read_bytes()
    synced(cloud)
    move({"a.mp3": "b.mp3"})
    new = library.add("a.mp3").read_bytes()

    report = synced(cloud)

    assert (report.succeeded, report.failed) == (1, 0)
    assert held(cloud) == {1: old, 2: new}
    assert synced(cloud).queued == 0


def test_a_newcomer_with_the_same_content_has_an_object_of_its_own(
    library, cloud, synced, move, held, remote
):
    content = library.add("a.mp3").read_bytes()
    synced(cloud)
    move({"a.mp3": "b.mp3"})
    library.add("a.mp3", content)

    synced(cloud)

    assert held(cloud) == {1: content, 2: content}
    assert len(remote(cloud).keys()) == 2


def test_files_that_changed_places_keep_their_objects(library, cloud, synced, move, held, remote):
    contents = {i: library.add(f"{name}.mp3").read_bytes() for i, name in enumerate("ab", 1)}
    synced(cloud)
    before = remote(cloud).contents()
    move({"a.mp3": "b.mp3", "b.mp3": "a.mp3"})

    assert synced(cloud).queued == 0
    assert remote(cloud).contents() == before
    assert held(cloud) == contents


def test_new_content_of_a_swapped_file_replaces_nobody_elses(
    library, cloud, synced, move, held, remote
):
    for name in "ab":
        library.add(f"{name}.mp3")
    synced(cloud)
    move({"a.mp3": "b.mp3", "b.mp3": "a.mp3"})
    before = remote(cloud).contents()
    newer = library.add("a.mp3", b"newer").read_bytes()

    report = synced(cloud)

    assert (report.succeeded, report.failed) == (1, 0)
    assert before.items() <= remote(cloud).contents().items()
    assert held(cloud)[3] == newer


def test_a_backend_that_comes_later_has_every_file_at_its_path(
    library, cloud, backend, synced, move, remote
):
    for name in "ab":
        library.add(f"{name}.mp3")
    synced(cloud)
    move({"a.mp3": "b.mp3", "b.mp3": "a.mp3"})
    later = backend("later")

    synced(later)

    assert remote(later).contents() == library.contents()


def test_a_file_whose_key_is_taken_on_a_backend_is_stored_aside_there(
    catalog, library, cloud, scanned, synced, uploaded, move, held
):
    """The first of two that changed places is there, the second not yet."""
    library.add("a.mp3")
    synced(cloud)
    library.add("b.mp3")
    scanned()
    enqueue(catalog, cloud)
    move({"a.mp3": "b.mp3", "b.mp3": "a.mp3"})

    enqueue(catalog, cloud)
    (planned,) = missing_candidates(catalog, cloud)
    tasks = "SELECT id, target_locator, status FROM upload_tasks WHERE status = 'pending'"
    before = rows(catalog, tasks)
    assert enqueue(catalog, cloud) == 0
    assert count_pending(catalog, cloud)[0] == 1
    assert uploaded(cloud).succeeded == 1

    assert [locator for _, locator, _ in before] == [planned.locator]
    assert planned.locator.startswith(f"{cloud.key_prefix}a~")
    assert held(cloud) == {
        1: (library.root / "b.mp3").read_bytes(),
        2: (library.root / "a.mp3").read_bytes(),
    }
    assert rows(catalog, WHERE, cloud.id)[1] == (2, planned.locator)
    assert enqueue(catalog, cloud) == 0


def test_a_task_whose_key_has_become_anothers_waits_for_the_next_plan(
    catalog, library, cloud, scanned, synced, uploaded, move, held, upload_limits
):
    library.add("a.mp3")
    scanned()
    enqueue(catalog, cloud)
    key = f"{cloud.key_prefix}a.mp3"
    library.add("b.mp3")
    scanned()
    change(
        catalog,
        "INSERT INTO file_locations (file_asset_id, backend_id, container_name, locator)"
        " VALUES (2, ?, ?, ?)",
        *(cloud.id, cloud.bucket, key),
    )

    assert count_pending(catalog, cloud) == (0, 0)
    assert upload(catalog, cloud).queued == 0
    assert enqueue(catalog, cloud) == 0
    assert uploaded(cloud).succeeded == 1


def test_what_has_become_anothers_just_before_is_not_replaced(
    catalog, library, proxy, through_proxy, scanned, synced, uploaded, remote
):
    """The newer content of a path is about to replace the older, when another file comes there."""
    first = library.add("a.mp3", b"first").read_bytes()
    library.add("b.mp3")
    synced(through_proxy)
    library.add("a.mp3", b"second")
    scanned()
    enqueue(catalog, through_proxy)
    key = f"{through_proxy.key_prefix}a.mp3"

    def another_comes(request):
        if request.method == "HEAD" and request.key.endswith("a.mp3"):
            change(
                catalog,
                "UPDATE file_locations SET locator = ? WHERE file_asset_id = 2 AND backend_id = ?",
                *(key, through_proxy.id),
            )

    proxy.before.append(another_comes)

    report = uploaded(through_proxy)

    assert codes(report) == ["KeyTaken"]
    assert remote(through_proxy).get("a.mp3") == first
    proxy.before.clear()
    assert uploaded(through_proxy).succeeded == 1
    assert remote(through_proxy).get("a.mp3") == first


def test_an_object_is_recorded_for_no_second_file(catalog, library, cloud, synced):
    """Two runs may have put the same content under one key, each for a file of its own."""
    library.add("a.mp3", b"same")
    library.add("b.mp3", b"same")
    synced(cloud)
    key = f"{cloud.key_prefix}a.mp3"
    stored = locations.Stored(2, key, 4, "0" * 64, None, "read")

    with catalog.transaction() as connection:
        assert locations.record_stored(connection, cloud, [stored]) == []
        own = stored._replace(file_asset_id=1)
        assert locations.record_stored(connection, cloud, [own, own]) == [own, own]

    assert rows(catalog, WHERE, cloud.id) == [(1, key), (2, f"{cloud.key_prefix}b.mp3")]


def test_where_a_file_was_found_lost_is_over_once_it_is_stored_under_another_key(
    catalog, library, cloud, synced, move, held
):
    content = library.add("a.mp3").read_bytes()
    synced(cloud)
    change(catalog, "UPDATE file_locations SET status = 'damaged' WHERE backend_id = ?", cloud.id)
    move({"a.mp3": "b.mp3"})

    assert synced(cloud).succeeded == 1

    assert held(cloud) == {1: content}
    statuses = "SELECT locator, status FROM file_locations WHERE backend_id = ? ORDER BY 1"
    assert rows(catalog, statuses, cloud.id) == [
        (f"{cloud.key_prefix}a.mp3", "superseded"),
        (f"{cloud.key_prefix}b.mp3", "active"),
    ]


def test_moved_files_keep_keys_that_no_other_file_has(catalog, library, scanned, move):
    library.add("a.mp3")
    library.add("b.mp3")
    scanned()

    move({"a.mp3": "b.mp3", "b.mp3": "c/a.mp3"})

    assert rows(catalog, "SELECT object_key, object_key_fold FROM file_assets ORDER BY id") == [
        ("b.mp3", "b.mp3"),
        ("c/a.mp3", "c/a.mp3"),
    ]
    assert fold(key_of(catalog, 1)) != fold(key_of(catalog, 2))
