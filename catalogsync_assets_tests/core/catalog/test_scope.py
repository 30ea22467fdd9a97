"""Selections of songs: how they are named, and what a plan makes of them."""

from collections.abc import Callable
from typing import Any

import pytest

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope, Selection, select
from catalogsync_assets.core.catalog.upload_plan import enqueue, missing_candidates
from catalogsync_assets.core.catalog.upload_queue import (
    Failed,
    Uploaded,
    UploadLease,
    count_pending,
    list_pending,
    record,
    requeue_failed,
)
from catalogsync_assets.core.errors import UsageError
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets_tests.support.database import bytes_of, change, rows

Rows = Callable[..., list[Any]]

# Six files 1 to 6 of songs 1 to 6. Rows of groupings: 11.. playlists, 21.. artists, 31.. pools.
GROUPINGS = (
    "INSERT INTO playlists (id, name) VALUES (11, 'Evening'), (12, 'Morning'), (13, 'Empty')",
    "INSERT INTO playlist_songs (playlist_id, song_id) VALUES (11, 1), (11, 2), (12, 3)",
    "INSERT INTO artists (id, name) VALUES (21, 'Nina'), (22, 'Bill')",
    "INSERT INTO artist_songs (artist_id, song_id) VALUES (21, 2), (21, 4), (22, 5)",
    "INSERT INTO playlist_pools (id, name) VALUES (31, 'Day'), (32, 'Both')",
    "INSERT INTO pool_playlists (pool_id, playlist_id) VALUES (31, 11), (31, 12)",
    "INSERT INTO artist_pools (id, name) VALUES (41, 'Friends'), (42, 'both')",
    "INSERT INTO pool_artists (pool_id, artist_id) VALUES (41, 21), (41, 22)",
)


@pytest.fixture
def music(catalog, library, scanned):
    """Six songs and their groupings."""
    library.fill(6)
    scanned(batch_max_files=4)
    assert rows(catalog, "SELECT id, song_id FROM file_assets") == [(n, n) for n in range(1, 7)]
    for statement in GROUPINGS:
        change(catalog, statement)
    return catalog


def queued(catalog: Catalog, backend: ObjectBackend) -> list[int]:
    return [file.file_asset_id for file in list_pending(catalog, backend)]


def claimed(catalog: Catalog, backend: ObjectBackend) -> list[int]:
    return [task.file_asset_id for task in UploadLease(catalog, backend).claim(EVERYTHING, 100)]


# --- finding ------------------------------------------------------------------------------------


def test_songs_are_selected_by_id_and_must_exist(music):
    assert select(music, songs=[4, 2]) == (Selection("song", (4, 2)),)

    with pytest.raises(UsageError, match="there is no song 7 or 8 ") as caught:
        select(music, songs=[1, 7, 8])
    assert "whereis" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("asked", "kind", "row"),
    [
        ({"playlists": ["Evening"]}, "playlist", 11),
        ({"playlists": ["eVENING"]}, "playlist", 11),
        ({"playlists": ["11"]}, "playlist", 11),
        ({"artists": ["Nina"]}, "artist", 21),
        ({"artists": ["NINA"]}, "artist", 21),
        ({"artists": ["22"]}, "artist", 22),
        ({"pools": ["day"]}, "playlist pool", 31),
        ({"pools": ["31"]}, "playlist pool", 31),
        ({"pools": ["FRIENDS"]}, "artist pool", 41),
        ({"pools": ["41"]}, "artist pool", 41),
    ],
)
def test_a_selection_is_found_by_name_in_any_case_and_by_id(music, asked, kind, row):
    assert select(music, **asked) == (Selection(kind, (row,)),)


def test_a_name_that_is_a_number_goes_before_an_id(music):
    change(music, "INSERT INTO playlists (id, name) VALUES (14, '11')")

    assert select(music, playlists=["11"]) == (Selection("playlist", (14,)),)


def test_a_name_in_another_alphabet_is_found_in_any_case(music):
    change(music, "INSERT INTO playlists (id, name) VALUES (14, 'Ночь')")

    assert select(music, playlists=["Ночь"]) == (Selection("playlist", (14,)),)
    assert select(music, playlists=["НОЧЬ"]) == (Selection("playlist", (14,)),)


def test_two_playlists_of_one_name_are_both_selected(music, cloud):
    change(music, "INSERT INTO playlists (id, name) VALUES (14, 'evening')")
    change(music, "INSERT INTO playlist_songs (playlist_id, song_id) VALUES (14, 6)")

    enqueue(music, cloud, Scope(selections=select(music, playlists=["Evening"])))

    assert queued(music, cloud) == [1, 2, 6]


@pytest.mark.parametrize(
    ("asked", "known"),
    [
        ({"playlists": ["Nina"]}, ["Empty", "Evening", "Morning"]),
        ({"artists": ["Evening"]}, ["Bill", "Nina"]),
        ({"pools": ["Evening"]}, ["Both", "Day", "Friends", "both"]),
        ({"playlists": ["Evening", "99"]}, ["Empty", "Evening", "Morning"]),
    ],
)
def test_what_does_not_exist_is_wrong_use_and_what_does_is_listed(music, asked, known):
    with pytest.raises(UsageError) as caught:
        select(music, **asked)

    assert repr(next(iter(asked.values()))[-1]) in caught.value.message
    assert caught.value.hint is not None
    assert sorted(caught.value.hint.removeprefix("there are: ").split(", ")) == sorted(known)


@pytest.mark.parametrize("kind", ["playlists", "artists", "pools"])
def test_a_catalog_without_groupings_says_so(catalog, kind):
    with pytest.raises(UsageError) as caught:
        select(catalog, **{kind: ["x"]})

    assert "has no" in str(caught.value.hint)


def test_a_pool_of_both_kinds_is_wrong_use(music):
    with pytest.raises(UsageError, match=r"playlist pool 32 and artist pool 42"):
        select(music, pools=["Both"])


# --- planning -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "files"),
    [
        ({"playlists": ["Evening"]}, [1, 2]),
        ({"playlists": ["Empty"]}, []),
        ({"artists": ["Nina"]}, [2, 4]),
        ({"pools": ["Day"]}, [1, 2, 3]),
        ({"pools": ["Friends"]}, [2, 4, 5]),
        ({"playlists": ["Morning"], "artists": ["Bill"]}, [3, 5]),
        ({"playlists": ["Evening", "Morning"], "pools": ["Friends"]}, [1, 2, 3, 4, 5]),
    ],
)
def test_a_plan_is_limited_to_the_union_of_the_selections(music, cloud, asked, files):
    scope = Scope(selections=select(music, **asked))

    foreseen = [file.file_asset_id for file in missing_candidates(music, cloud, scope)]

    assert enqueue(music, cloud, scope) == len(files)
    assert queued(music, cloud) == files == foreseen
    assert count_pending(music, cloud, scope) == (len(files), 300 * len(files))


def test_selections_and_other_limits_must_all_hold(music, cloud):
    first, _ = rows(music, "SELECT key FROM batches ORDER BY id")

    enqueue(music, cloud, Scope(batch_key=first, selections=select(music, pools=["Friends"])))

    assert queued(music, cloud) == [2, 4]


def test_a_song_can_be_selected(music, cloud):
    enqueue(music, cloud, Scope(selections=(Selection("song", (6, 1)),)))

    assert queued(music, cloud) == [1, 6]


def test_what_goes_first_is_claimed_first(music, cloud):
    first = Scope(selections=select(music, artists=["Bill"], playlists=["Morning"]))

    assert enqueue(music, cloud, first=first) == 6
    assert claimed(music, cloud) == [3, 5, 1, 2, 4, 6]


def test_what_was_queued_before_can_be_put_first(music, cloud):
    enqueue(music, cloud)
    first = Scope(selections=select(music, artists=["Nina"]))

    assert enqueue(music, cloud, first=first) == 2
    assert enqueue(music, cloud, first=first) == 0
    assert claimed(music, cloud) == [2, 4, 1, 3, 5, 6]


def test_a_later_plan_without_wishes_keeps_what_is_first(music, cloud):
    enqueue(music, cloud, first=Scope(selections=select(music, artists=["Bill"])))

    assert enqueue(music, cloud) == 0
    assert claimed(music, cloud)[0] == 5


def test_candidates_are_what_a_plan_then_queues_and_change_nothing(music, cloud, library):
    before = bytes_of(music.path)

    found = list(missing_candidates(music, cloud))

    assert bytes_of(music.path) == before
    assert enqueue(music, cloud) == len(found) == 6
    assert found == list(list_pending(music, cloud))
    assert [f.path for f in found] == sorted(str(p) for p in library.root.rglob("*.mp3"))


def test_what_is_there_is_no_candidate(music, cloud):
    enqueue(music, cloud, Scope(selections=(Selection("song", (1, 2)),)))
    lease = UploadLease(music, cloud)
    done = [
        Uploaded(task, "ab" * 32, None, "head", adopted=False)
        for task in lease.claim(EVERYTHING, 100)
    ]
    record(music, cloud, lease.owner, done)

    assert [f.file_asset_id for f in missing_candidates(music, cloud)] == [3, 4, 5, 6]


# --- what is unfinished -------------------------------------------------------------------------


def test_unfinished_are_the_pending_the_running_and_the_failed_of_a_scope(music, cloud, statuses):
    enqueue(music, cloud)
    lease = UploadLease(music, cloud)
    one, two, _three = lease.claim(EVERYTHING, 3)
    done = Uploaded(one, "ab" * 32, None, "head", adopted=False)
    record(music, cloud, lease.owner, [done, Failed(two, "SlowDown", "later")])

    assert statuses() == {"succeeded": 1, "failed": 1, "running": 1, "pending": 3}
    assert count_pending(music, cloud) == (3, 900)
    assert queued(music, cloud) == [4, 5, 6]


def test_failed_tasks_are_queued_again_for_their_backend_alone(music, backend, statuses):
    one, other = backend("one"), backend("other")
    for cloud in (one, other):
        enqueue(music, cloud)
        lease = UploadLease(music, cloud)
        failed = [Failed(task, "SlowDown", "later") for task in lease.claim(EVERYTHING, 2)]
        record(music, cloud, lease.owner, failed)

    assert requeue_failed(music, one) == 2
    assert requeue_failed(music, one) == 0
    assert queued(music, one) == [1, 2, 3, 4, 5, 6]
    assert queued(music, other) == [3, 4, 5, 6]
    assert statuses() == {"pending": 10, "failed": 2}
