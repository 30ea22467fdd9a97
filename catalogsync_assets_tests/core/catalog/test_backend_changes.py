"""A backend is renamed or taken out; what is in its bucket stays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from catalogsync_assets.core.adopt.adopt import adopt
from catalogsync_assets.core.audit.queries import history
from catalogsync_assets.core.catalog.backend_changes import Loss, former_names, loss, remove, rename
from catalogsync_assets.core.catalog.backends import backend_by_name, object_backends, register
from catalogsync_assets.core.catalog.replication import (
    ALL_OTHERS,
    policy_status,
    set_policy,
    songs_under_policy,
)
from catalogsync_assets.core.catalog.search import whereis
from catalogsync_assets.core.catalog.separation import keep_verdicts
from catalogsync_assets.core.catalog.status import backend_status, failed_uploads
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.upload_queue import count_pending
from catalogsync_assets.core.errors import CatalogError, ConfigurationError, UnknownBackendError
from catalogsync_assets.core.export.contents import songs_with_files
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets_tests.support.database import change, rows

ON_BACKENDS = (
    "SELECT b.name, l.status, COUNT(*) FROM file_locations l JOIN storage_backends b"
    " ON b.id = l.backend_id WHERE b.backend_type <> 'local' GROUP BY 1, 2 ORDER BY 1, 2"
)


@pytest.fixture
def attic(backend):
    return backend("attic")


@pytest.fixture
def on_two(catalog, library, scanned, uploaded, cloud, attic):
    """Three files on two backends that are proven to be two."""
    library.fill(3)
    scanned()
    for each in (cloud, attic):
        uploaded(each)
    keep_verdicts(catalog, [(cloud, attic, "apart")])


def names(catalog):
    return [b.name for b in backend_status(catalog)]


# --- rename -------------------------------------------------------------------------------------


def test_a_renamed_backend_keeps_all_that_is_known_of_it(catalog, cloud, on_two, uploaded):
    before = rows(catalog, ON_BACKENDS)

    renamed = rename(catalog, "cloud", "sky")

    assert renamed == replace(cloud, name="sky") == backend_by_name(catalog, "sky")
    assert names(catalog) == ["local", "attic", "sky"]
    assert rows(catalog, ON_BACKENDS) == [(n.replace("cloud", "sky"), s, c) for n, s, c in before]
    assert policy_status(catalog).unproven == []
    assert uploaded(renamed).queued == 0
    assert former_names(catalog) == ["cloud"]


def test_a_name_that_is_taken_or_cannot_be_one_is_refused(catalog, cloud, attic):
    for wrong, why in (("attic", "already"), ("a|b", "cannot be a backend's name")):
        with pytest.raises(ConfigurationError, match=why):
            rename(catalog, "cloud", wrong)
    with pytest.raises(UnknownBackendError):
        rename(catalog, "clout", "sky")

    assert [b.name for b in object_backends(catalog)] == ["attic", "cloud"]


def test_a_name_that_is_given_again_is_no_former_one(catalog, cloud):
    rename(catalog, "cloud", "sky")
    rename(catalog, "sky", "cloud")
    assert former_names(catalog) == ["sky"]

    register(catalog, replace(cloud, region="eu"))
    assert former_names(catalog) == ["sky"]

    register(catalog, replace(cloud, name="sky"))
    assert former_names(catalog) == []


# --- what removing would mean -------------------------------------------------------------------


def test_every_backend_but_this_one_is_enough_where_all_are_asked_for(catalog, cloud, on_two):
    assert loss(catalog, cloud) == Loss("cloud", cloud.bucket, 3, 900, *[0] * 9)


def test_files_that_will_be_on_too_few_backends_are_counted(catalog, cloud, attic, on_two, s3):
    set_policy(catalog, ALL_OTHERS, 2)

    found = loss(catalog, cloud)

    assert (found.short_files, found.short_songs, found.nowhere_files) == (3, 3, 0)
    remove(catalog, cloud)
    assert policy_status(catalog).songs_under_policy == found.short_songs


def test_files_beside_the_music_count_apart(catalog, library, scanned, uploaded, cloud, attic):
    library.add("a.mp3")
    library.add("cover.jpg")
    scanned()
    for each in (cloud, attic):
        uploaded(each)
    keep_verdicts(catalog, [(cloud, attic, "apart")])
    set_policy(catalog, ALL_OTHERS, 2)
    assert policy_status(catalog).companions_under_policy == 0

    found = loss(catalog, cloud)

    assert (found.files, found.bytes, found.companions) == (1, 300, 1)
    assert (found.short_files, found.short_songs, found.short_companions) == (1, 1, 1)
    remove(catalog, cloud)
    status = policy_status(catalog)
    assert (status.songs_under_policy, status.companions_under_policy) == (1, 1)


def test_what_is_short_already_and_not_there_is_not_counted(
    catalog, library, scanned, uploaded, cloud, attic
):
    """One file is on both, one on this one alone, one on the other alone."""
    library.add("both.mp3")
    scanned()
    for each in (cloud, attic):
        uploaded(each)
    for name, each in (("mine.mp3", cloud), ("other.mp3", attic)):
        library.add(name)
        scanned()
        uploaded(each)
        change(catalog, "DELETE FROM upload_tasks")
    keep_verdicts(catalog, [(cloud, attic, "apart")])
    # What a later upload has brought over.
    change(
        catalog,
        "DELETE FROM file_locations WHERE backend_id = ? AND locator LIKE '%mine.mp3'",
        attic.id,
    )

    found = loss(catalog, cloud)

    assert (found.files, found.short_files, found.nowhere_files) == (2, 1, 0)
    remove(catalog, cloud)
    assert [s.title for s in songs_under_policy(catalog)] == ["mine"]


def test_what_is_nowhere_else_is_counted_and_named(
    catalog, library, scanned, uploaded, cloud, attic
):
    paths = library.fill(3)
    cover = library.add("album/cover.jpg")
    scanned()
    uploaded(cloud)
    cover.unlink()
    paths[0].unlink()
    scanned()

    found = loss(catalog, cloud)

    assert (found.files, found.nowhere_files, found.nowhere_songs) == (3, 1, 1)
    assert (found.companions, found.nowhere_companions) == (1, 1)
    keys = ["album/0000.mp3", "album/cover.jpg"]
    assert found.nowhere_keys == [cloud.key_prefix + key for key in keys]
    assert loss(catalog, attic).files == 0


def test_waiting_uploads_are_counted(catalog, library, scanned, cloud):
    library.fill(2)
    scanned()
    enqueue(catalog, cloud)

    assert loss(catalog, cloud).pending == 2


# --- remove -------------------------------------------------------------------------------------


def test_a_removed_backend_is_shown_nowhere_and_its_objects_stay(catalog, cloud, on_two, remote):
    change(
        catalog,
        "INSERT INTO audits (backend_id, level, repair, status, counts)"
        " VALUES (?, 'head', 0, 'complete', '{}')",
        cloud.id,
    )
    assert len(history(catalog)) == 1

    assert remove(catalog, cloud) == 3

    assert len(remote(cloud).keys()) == 3
    assert names(catalog) == ["local", "attic"]
    assert {place.backend for place in whereis(catalog, "mp3")} == {"local", "attic"}
    exported = [file for page in songs_with_files(catalog, "anywhere") for file in page.files]
    assert {file.backend for file in exported} == {"local", "attic"}
    assert policy_status(catalog).backends == 1
    assert policy_status(catalog).songs_under_policy == 0
    with pytest.raises(UnknownBackendError) as caught:
        backend_by_name(catalog, "cloud")
    assert caught.value.hint == "registered are: attic"
    assert former_names(catalog) == ["cloud"]
    assert history(catalog) == []
    states = rows(catalog, ON_BACKENDS)
    assert states == [("attic", "active", 3), (f"cloud (removed, {cloud.id})", "removed", 3)]
    assert rows(catalog, "SELECT removed_at IS NOT NULL FROM storage_backends ORDER BY name") == [
        0,
        1,
        0,
    ]


def test_nothing_is_restored_from_a_removed_backend(catalog, library, cloud, attic, on_two):
    remove(catalog, cloud)
    for path in library.root.rglob("*.mp3"):
        path.unlink()
    root = library.root
    assert restore(catalog, root, allow_empty=True).restored == 3
    remove(catalog, attic)
    for path in library.root.rglob("*.mp3"):
        path.unlink()
    assert restore(catalog, root, allow_empty=True).restored == 0


def test_what_waited_for_it_is_dropped_and_what_waited_for_its_files_is_planned_anew(
    catalog, library, scanned, uploaded, backend, cloud, attic
):
    paths = library.fill(2)
    scanned()
    uploaded(cloud)
    paths[0].unlink()
    scanned()
    enqueue(catalog, attic)  # one of them from the other backend
    library.add("new.mp3")
    scanned()
    enqueue(catalog, cloud)
    assert count_pending(catalog, cloud)[0] == 1

    remove(catalog, cloud)

    assert uploaded(attic).succeeded == 2
    targets = "SELECT DISTINCT target_backend_id FROM upload_tasks"
    assert rows(catalog, targets) == [attic.id]


def test_a_song_that_was_there_alone_counts_no_longer(catalog, library, scanned, uploaded, cloud):
    paths = library.fill(2)
    scanned()
    uploaded(cloud)
    paths[0].unlink()
    scanned()
    assert {b.songs_total for b in backend_status(catalog)} == {2}

    remove(catalog, cloud)

    assert {b.songs_total for b in backend_status(catalog)} == {1}


def test_what_a_run_brings_to_it_meanwhile_is_not_recorded(
    catalog, library, scanned, uploaded, cloud, remote
):
    library.fill(2)
    scanned()
    removed = []

    def at_once(report):
        if not removed:
            removed.append(remove(catalog, cloud))

    with pytest.raises(CatalogError, match="backend 'cloud' was removed meanwhile"):
        uploaded(cloud, progress=at_once)

    assert rows(catalog, ON_BACKENDS) == []
    # A plan that was being made at that moment.
    change(
        catalog,
        "INSERT INTO upload_tasks (file_asset_id, target_backend_id, target_locator, status)"
        " VALUES (1, ?, 'x', 'failed')",
        cloud.id,
    )
    assert names(catalog) == ["local"]
    assert failed_uploads(catalog) == []


def test_a_backend_is_removed_once(catalog, cloud):
    remove(catalog, cloud)

    with pytest.raises(CatalogError, match="removed meanwhile"):
        remove(catalog, cloud)


# --- and back -----------------------------------------------------------------------------------


def test_the_same_bucket_registered_again_is_filled_without_sending(
    catalog, cloud, on_two, uploaded, remote
):
    before = remote(cloud).keys()
    remove(catalog, cloud)

    again, is_new = register(catalog, replace(cloud, id=0))

    assert is_new
    assert again.id != cloud.id
    assert names(catalog) == ["local", "attic", "cloud"]
    report = uploaded(again)
    assert (report.adopted, report.succeeded, report.bytes) == (3, 0, 0)
    assert remote(cloud).keys() == before
    remove(catalog, again)  # a second time under the same name
    assert former_names(catalog) == ["cloud"]


def test_what_is_nowhere_else_is_found_again_by_adopting(
    catalog, library, scanned, uploaded, cloud
):
    paths = library.fill(2)
    scanned()
    uploaded(cloud)
    content = paths[0].read_bytes()
    paths[0].unlink()
    scanned()
    remove(catalog, cloud)
    again, _ = register(catalog, replace(cloud, id=0))

    report = adopt(catalog, again)

    assert report.adopted == 2
    assert restore(catalog, library.root).restored == 1
    assert paths[0].read_bytes() == content
