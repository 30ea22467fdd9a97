"""Files that have moved: whatever comes to their old paths, no object makes way for it."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

import pytest

from catalogsync_assets.core.catalog import keys, locations
from catalogsync_assets.core.catalog.backends import catalog_id, register
from catalogsync_assets.core.catalog.object_keys import fold
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.catalog.upload_plan import enqueue, missing_candidates
from catalogsync_assets.core.catalog.upload_queue import count_pending
from catalogsync_assets.core.errors import LibraryError
from catalogsync_assets.core.restore.restore import restore_replaced
from catalogsync_assets.core.stores.objects import OWNER_TAG
from catalogsync_assets.core.stores.profile import StoreProfile
from catalogsync_assets.core.upload.upload import upload
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.files import flipped
from catalogsync_assets_tests.support.proxy import refusal
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


@pytest.fixture
def following(backend):
    """A backend whose objects follow their files."""
    return backend(layout="path")


@pytest.fixture
def is_true(catalog, library, remote):
    """`is_true(backend)`: each file is whole under its own key, and nothing is left to do."""
    where = (
        "SELECT l.locator, p.library_path, f.object_key FROM file_locations l"
        " JOIN file_assets f ON f.id = l.file_asset_id"
        " JOIN file_locations p ON p.file_asset_id = f.id AND p.library_path IS NOT NULL"
        " WHERE l.backend_id = ? AND l.status = 'active' AND p.status = 'active'"
    )

    def check(backend):
        found = remote(backend).contents()
        held = rows(catalog, where, backend.id)
        for locator, path, key in held:
            assert locator == backend.key_prefix + key
            assert found[key] == (library.root / path).read_bytes()
        assert sorted(path for _, path, _ in held) == sorted(library.contents())
        assert rows(catalog, "SELECT 1 FROM upload_tasks WHERE status <> 'succeeded'") == []

    return check


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


def test_a_newcomer_is_stored_aside_only_where_the_old_object_stays(
    catalog, library, cloud, backend, synced, move, is_true
):
    following = backend("other", layout="path")
    library.add("a.mp3")
    synced(cloud)
    synced(following)
    move({"a.mp3": "b.mp3"})
    library.add("a.mp3")

    synced(cloud)
    synced(following)

    assert rows(catalog, WHERE, cloud.id)[0] == (1, f"{cloud.key_prefix}a.mp3")
    assert rows(catalog, WHERE, cloud.id)[1][1].startswith(f"{cloud.key_prefix}a~")
    assert rows(catalog, WHERE, following.id)[1] == (2, f"{following.key_prefix}a.mp3")
    is_true(following)


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


# --- objects that follow ------------------------------------------------------------------------

VERIFIED = "SELECT verified_at FROM file_locations WHERE backend_id = ? AND status = 'active'"


def test_an_object_is_copied_to_the_key_of_the_new_path(
    catalog, library, following, synced, move, is_true, remote
):
    library.add("a.mp3")
    synced(following)
    change(catalog, "UPDATE file_locations SET verified_at = '2020-01-01 00:00:00'")
    move({"a.mp3": "new/b.mp3"})

    report = synced(following)

    assert (report.copied, report.succeeded, report.bytes, report.failed) == (1, 0, 0, 0)
    is_true(following)
    assert remote(following).keys() == ["a.mp3", "new/b.mp3"]
    assert rows(catalog, VERIFIED, following.id) == ["2020-01-01 00:00:00"]
    assert synced(following).queued == 0


@pytest.mark.parametrize(
    "moves",
    [
        {"a.mp3": "b.mp3", "b.mp3": "a.mp3"},
        {"a.mp3": "b.mp3", "b.mp3": "c.mp3", "c.mp3": "a.mp3"},
        {"a.mp3": "b.mp3", "b.mp3": "c.mp3", "c.mp3": "d.mp3"},
        {"c.mp3": "d.mp3", "b.mp3": "c.mp3", "a.mp3": "b.mp3", "e.mp3": "f.mp3", "f.mp3": "e.mp3"},
    ],
)
def test_objects_change_places_as_their_files_did(library, following, synced, move, is_true, moves):
    for name in "abcef":
        library.add(f"{name}.mp3")
    synced(following)
    move(moves)

    report = synced(following)

    assert (report.succeeded, report.bytes, report.failed) == (0, 0, 0)
    assert report.copied >= len(moves)
    is_true(following)
    assert synced(following).queued == 0


def test_a_plan_of_files_that_change_places_is_made_once(catalog, library, following, synced, move):
    for name in "ab":
        library.add(f"{name}.mp3")
    synced(following)
    move({"a.mp3": "b.mp3", "b.mp3": "a.mp3"})

    assert enqueue(catalog, following) == 3
    assert enqueue(catalog, following) == 0
    assert count_pending(catalog, following)[0] == 1  # by a detour; the others wait for it


def test_a_newcomer_takes_the_key_that_has_become_free(
    library, following, synced, move, is_true, remote
):
    library.add("a.mp3")
    synced(following)
    move({"a.mp3": "b.mp3"})
    synced(following)
    library.add("a.mp3")

    assert synced(following).failed == 0
    is_true(following)
    assert remote(following).contents() == library.contents()


def test_a_layout_that_keeps_leaves_keys_and_one_that_follows_migrates_them(
    catalog, library, cloud, synced, move, is_true, remote
):
    library.add("a.mp3")
    library.add("b.mp3")
    synced(cloud)
    move({"a.mp3": "c.mp3"})
    assert synced(cloud).queued == 0
    assert remote(cloud).keys() == ["a.mp3", "b.mp3"]

    follows, _ = register(catalog, replace(cloud, layout="path"))

    assert synced(follows).copied == 1
    is_true(follows)


def test_what_was_planned_to_follow_is_dropped_where_keys_are_to_stay(
    catalog, library, following, scanned, synced, move
):
    library.add("a.mp3")
    synced(following)
    move({"a.mp3": "b.mp3"})
    assert enqueue(catalog, following) == 1
    keeps, _ = register(catalog, replace(following, layout="keep"))

    enqueue(catalog, keeps)

    assert count_pending(catalog, keeps) == (0, 0)


def test_where_a_store_cannot_copy_keys_stay(catalog, library, backend, synced, move, remote):
    unable = backend(layout="path", tested=StoreProfile(copies=False))
    library.add("a.mp3")
    synced(unable)
    move({"a.mp3": "b.mp3"})

    assert synced(unable).queued == 0
    assert remote(unable).keys() == ["a.mp3"]
    (status,) = [s for s in backend_status(catalog) if s.name == unable.name]
    assert status.not_by_path == 1


def test_an_object_in_the_way_of_a_move_is_a_conflict(
    catalog, library, following, synced, move, remote
):
    content = library.add("a.mp3").read_bytes()
    synced(following)
    move({"a.mp3": "b.mp3"})
    remote(following).put("b.mp3", b"a stranger's")

    report = synced(following)

    assert codes(report) == ["Conflict"]
    assert remote(following).contents() == {"a.mp3": content, "b.mp3": b"a stranger's"}
    assert rows(catalog, WHERE, following.id) == [(1, f"{following.key_prefix}a.mp3")]


@pytest.mark.parametrize("whole", [True, False])
def test_a_copy_that_a_killed_run_has_left_is_read(
    catalog, library, following, synced, move, is_true, remote, whole
):
    content = library.add("a.mp3").read_bytes()
    synced(following)
    move({"a.mp3": "b.mp3"})
    left = content if whole else flipped(content)
    sha256 = base64.b64encode(hashlib.sha256(left).digest()).decode()
    tag = {OWNER_TAG: f"{catalog_id(catalog)}/1", "catalogsync-copied": "1"}
    remote(following).put("b.mp3", left, Metadata=tag, ChecksumSHA256=sha256)

    assert synced(following).copied == 1
    is_true(following)


def test_content_that_is_there_is_copied_and_not_sent(
    library, following, synced, is_true, remote, catalog
):
    content = library.add("a.mp3", size=5000).read_bytes()
    synced(following)
    library.add("copy of a.mp3", content)
    library.add("new.mp3", size=700)

    report = synced(following)

    assert (report.copied, report.succeeded, report.bytes) == (1, 1, 700)
    is_true(following)
    tag = remote(following).head("copy of a.mp3")["Metadata"][OWNER_TAG]
    assert tag == f"{catalog_id(catalog)}/2"


def test_content_is_sent_where_the_copy_of_it_fails(library, proxy, backend, synced, is_true):
    through = backend(endpoint=proxy.endpoint, layout="path")
    content = library.add("a.mp3").read_bytes()
    synced(through)
    library.add("b.mp3", content)
    proxy.answer(refusal(400, "InvalidRequest"), lambda r: r.header("x-amz-copy-source"))

    report = synced(through)

    assert (report.copied, report.succeeded, report.failed) == (0, 1, 0)
    is_true(through)


@pytest.fixture
def no_row_is_false(catalog, remote):
    """`no_row_is_false(backend)`: what a row says of an object, the bucket holds."""
    said = (
        "SELECT l.locator, f.sha256 FROM file_locations l JOIN file_assets f"
        " ON f.id = l.file_asset_id WHERE l.backend_id = ? AND l.status = 'active'"
    )

    def check(backend):
        found = remote(backend).contents()
        for locator, sha256 in rows(catalog, said, backend.id):
            content = found[locator.removeprefix(backend.key_prefix)]
            assert hashlib.sha256(content).hexdigest() == sha256, locator

    return check


@pytest.mark.parametrize(
    ("arrives", "further"),
    [
        ([True, False], 8),  # in turn
        pytest.param([True, False], 4, marks=pytest.mark.thorough),
        pytest.param([True], 4, marks=pytest.mark.thorough),
        pytest.param([False], 4, marks=pytest.mark.thorough),
    ],
)
def test_runs_that_are_killed_at_any_request_leave_no_row_false_and_come_to_the_same_end(
    catalog,
    library,
    proxy,
    backend,
    scanned,
    synced,
    uploaded,
    uploading,
    move,
    is_true,
    no_row_is_false,
    arrives,
    further,
):
    """The first at its first request, which the store still gets, or not; the next ones later."""
    through = backend(endpoint=proxy.endpoint, layout="path")
    for name in "abcdefgh":
        library.add(f"{name}.mp3")
    synced(through)
    move({"a.mp3": "b.mp3", "b.mp3": "a.mp3", "c.mp3": "new/c.mp3"})
    move({"e.mp3": "f.mp3", "f.mp3": "g.mp3", "g.mp3": "e.mp3"})
    library.add("c.mp3", b"a newcomer")
    library.add("d.mp3", b"an edit of d")
    library.add("h2.mp3", (library.root / "h.mp3").read_bytes())
    scanned()
    kills, finished = 0, False
    while not finished:
        process = uploading("--workers", 1)
        came = 0
        arrived = arrives[kills % len(arrives)]

        def kill(request, process=process, last=further * kills, arrived=arrived):
            nonlocal came
            came += 1
            if came > last + 1:
                return refusal(0)  # of what was on its way
            if came == last + 1:
                process.kill()
                process.wait()
                return None if arrived else refusal(0)
            return None

        proxy.before[:] = [kill]
        _, errors = process.communicate()
        proxy.before.clear()
        finished = process.returncode >= 0
        assert not finished or process.returncode == 0, errors
        no_row_is_false(through)
        kills += 1

    assert kills > (4 if further == 4 else 2)
    assert uploaded(through).queued == 0
    is_true(through)


@pytest.mark.parametrize(
    ("left", "status"), [(None, "missing"), (b"other", "damaged"), ("rotten", "damaged")]
)
@pytest.mark.parametrize("is_here", [True, False])
def test_where_the_object_of_a_moved_file_is_gone_that_is_known_and_the_file_is_sent(
    catalog,
    library,
    following,
    scanned,
    uploaded,
    synced,
    move,
    is_true,
    remote,
    left,
    status,
    is_here,
):
    content = library.add("a.mp3").read_bytes()
    library.add("b.mp3")
    synced(following)
    if left is None:
        remote(following).delete("a.mp3")
    else:
        remote(following).put("a.mp3", flipped(content) if left == "rotten" else left)
    if left == "rotten":  # nothing tells before the copy is read
        change(catalog, "UPDATE file_locations SET etag = NULL")
    move({"a.mp3": "new/a.mp3", "b.mp3": "new/b.mp3"})
    if not is_here:
        (library.root / "new/a.mp3").unlink()
        scanned()

    report = uploaded(following)

    assert (report.copied, report.lost) == (1, 1)
    assert (report.succeeded, report.failed) == ((1, 0) if is_here else (0, 1))
    old = "SELECT status FROM file_locations WHERE backend_id = ? AND locator = ?"
    (now,) = rows(catalog, old, following.id, f"{following.key_prefix}a.mp3")
    if is_here:
        assert now == "superseded"
        is_true(following)
    else:
        assert now == status
    assert uploaded(following).queued == 0


def test_an_object_that_was_stored_anew_is_read_and_copied(
    catalog, library, following, synced, move, is_true, remote
):
    content = library.add("a.mp3").read_bytes()
    synced(following)
    change(catalog, "UPDATE file_locations SET etag = '\"old\"' WHERE etag IS NOT NULL")
    move({"a.mp3": "b.mp3"})

    report = synced(following)

    assert (report.copied, report.lost, report.failed) == (1, 0, 0)
    assert remote(following).get("b.mp3") == content
    is_true(following)


# --- what an edit replaces ----------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["path", "keep"])
def test_the_content_that_an_edit_replaces_is_kept_and_can_be_brought_back(
    catalog, library, backend, synced, remote, is_true, tmp_path, layout
):
    cloud = backend(layout=layout)
    first = library.add("album/a.mp3").read_bytes()
    synced(cloud)
    library.add("album/a.mp3", b"a bad edit")
    synced(cloud)

    is_true(cloud)
    assert remote(cloud).keys(kept=True) == [".catalogsync/old/1/a.mp3"]
    report = restore_replaced(catalog, tmp_path / "back")
    (back,) = (tmp_path / "back" / "album").iterdir()
    assert (report.restored, report.failed) == (1, 0)
    assert back.name.startswith("a (replaced ")
    assert back.read_bytes() == first


def test_what_several_backends_have_kept_comes_back_once_from_whichever_has_it(
    catalog, library, backend, synced, remote, tmp_path
):
    backends = [backend(name) for name in ("one", "two")]
    for content in (b"first", b"second", b"third"):
        library.add("a.mp3", content)
        for each in backends:
            synced(each)
    for each, gone in zip(backends, (1, 2), strict=True):
        remote(each).delete(f".catalogsync/old/{gone}/a.mp3")

    report = restore_replaced(catalog, tmp_path / "back")

    assert (report.files, report.restored, report.failed) == (2, 2, 0)
    assert sum(report.backends.values()) == 2
    back = [file.read_bytes() for file in (tmp_path / "back").glob("*.mp3")]
    assert sorted(back) == [b"first", b"second"]
    only = restore_replaced(catalog, tmp_path / "back of one", backend=backends[0])
    assert (only.files, only.restored, only.failed) == (2, 1, 1)


@pytest.mark.parametrize("size", [3000, pytest.param(2 * 1024**2, marks=pytest.mark.thorough)])
@pytest.mark.parametrize("gone", [False, True])
def test_an_edit_that_is_taken_back_is_copied_from_what_was_kept(
    library, cloud, small_parts, synced, remote, is_true, size, gone
):
    first = library.add("a.mp3", size=size).read_bytes()
    synced(cloud)
    second = library.add("a.mp3", size=size).read_bytes()
    synced(cloud)
    if gone:
        remote(cloud).delete(".catalogsync/old/1/a.mp3")
    library.add("a.mp3", first)

    report = synced(cloud)

    assert (report.copied, report.succeeded, report.failed) == (not gone, gone, 0)
    assert report.bytes == (size if gone else 0)
    is_true(cloud)
    assert remote(cloud).get(".catalogsync/old/2/a.mp3") == second
    assert synced(cloud).queued == 0


def test_an_edit_to_a_content_that_is_there_under_another_key_is_copied(
    library, cloud, synced, remote, is_true
):
    content = library.add("a.mp3", size=3000).read_bytes()
    library.add("b.mp3", size=3000)
    synced(cloud)
    library.add("b.mp3", content)

    report = synced(cloud)

    assert (report.copied, report.succeeded, report.failed) == (1, 0, 0)
    is_true(cloud)


@pytest.mark.parametrize("settings", [{"copies": False}, {"versioned": True}])
def test_nothing_is_kept_where_it_cannot_be_or_need_not(library, backend, synced, remote, settings):
    cloud = backend(tested=StoreProfile(**settings))
    library.add("a.mp3", b"first")
    synced(cloud)
    library.add("a.mp3", b"second")

    report = synced(cloud)

    assert report.replaced_for_good == ("copies" in settings)
    assert remote(cloud).contents() == {"a.mp3": b"second"}
    assert remote(cloud).keys(kept=True) == []


def test_nothing_is_kept_if_nobody_wants_it(library, cloud, synced, remote, monkeypatch):
    monkeypatch.setenv("CATALOGSYNC_KEEP_REPLACED_DAYS", "0")
    library.add("a.mp3", b"first")
    synced(cloud)
    library.add("a.mp3", b"second")

    assert synced(cloud).replaced_for_good == 0
    assert remote(cloud).keys(kept=True) == []


def test_an_earlier_content_that_was_lost_is_no_reason_not_to_replace_it(
    catalog, library, cloud, synced, remote
):
    """Nobody has noticed yet that it rotted."""
    content = library.add("a.mp3").read_bytes()
    synced(cloud)
    tag = {OWNER_TAG: f"{catalog_id(catalog)}/1"}
    remote(cloud).put("a.mp3", flipped(content), Metadata=tag)
    library.add("a.mp3", b"second")

    assert synced(cloud).succeeded == 1
    assert remote(cloud).contents() == {"a.mp3": b"second"}
    assert remote(cloud).keys(kept=True) == []


def test_an_earlier_content_is_not_replaced_before_its_copy_is_proven(
    library, proxy, through_proxy, synced, remote
):
    library.add("a.mp3", b"first")
    synced(through_proxy)
    library.add("a.mp3", b"second")
    proxy.answer(refusal(400, "InvalidRequest"), lambda r: r.header("x-amz-copy-source"))

    assert synced(through_proxy).failed == 1
    assert remote(through_proxy).get("a.mp3") == b"first"


def test_a_swap_over_several_scans_ends_at_the_plain_keys(
    catalog, library, following, scanned, uploaded, held
):
    library.add("a.mp3", b"one")
    library.add("b.mp3", b"two")
    scanned()
    uploaded(following)
    for old, new in (("a", "q"), ("b", "a"), ("q", "b")):
        (library.root / f"{old}.mp3").rename(library.root / f"{new}.mp3")
        scanned()

    assert uploaded(following).bytes == 0
    assert held(following) == {1: b"one", 2: b"two"}
    assert [
        key.removeprefix(following.key_prefix) for _, key in rows(catalog, WHERE, following.id)
    ] == ["b.mp3", "a.mp3"]


def test_a_folder_that_cannot_be_made_for_what_was_replaced_is_named(catalog, tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(LibraryError, match="cannot be made"):
        restore_replaced(catalog, tmp_path / "file" / "inner")
