"""How many copies there must be, and which songs have too few."""

import itertools
from dataclasses import astuple
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.catalog.replication import (
    ALL_OTHERS,
    EVERY_BACKEND,
    policies,
    policy_status,
    set_policy,
    songs_under_policy,
)
from catalogsync_assets.core.catalog.separation import keep_verdicts, separation
from catalogsync_assets.core.errors import UsageError
from catalogsync_assets_tests.support.database import change

STORES = {2: "one", 3: "two", 4: "three"}
ALL_APART = dict.fromkeys(itertools.combinations(STORES, 2), "apart")
ROOTS = ("/music", "/archive", None)


@pytest.fixture
def library_of(catalog):
    """`library_of(song, song, ...)`: each song a list of files, each a root (None: no local
    place), and the status of its location on each store that it is on."""

    def fill(*songs):
        numbers = itertools.count(1)
        with catalog.transaction() as connection:
            sql = connection.exec_driver_sql
            for table in ("file_locations", "file_assets", "song_backend_presence", "songs"):
                sql(f"DELETE FROM {table}")
            sql("DELETE FROM library_policies")
            sql("DELETE FROM storage_backends")
            sql("INSERT INTO storage_backends (id, name, backend_type) VALUES (1,'local','local')")
            for number, name in STORES.items():
                sql(
                    "INSERT INTO storage_backends (id, name, backend_type, container_name)"
                    " VALUES (?, ?, ?, ?)",
                    (number, name, "object_storage", name),
                )
            for song, files in enumerate(songs, 1):
                sql("INSERT INTO songs (id, title) VALUES (?, ?)", (song, f"Song {song}"))
                for root, places in files:
                    file = next(numbers)
                    sql("INSERT INTO file_assets (id, song_id) VALUES (?, ?)", (file, song))
                    place = (
                        "INSERT INTO file_locations (file_asset_id, backend_id, locator, status,"
                        " library_root) VALUES (?, ?, ?, ?, ?)"
                    )
                    if root is not None:
                        sql(place, (file, 1, str(file), "active", root))
                    for store, status in places.items():
                        sql(place, (file, store, str(file), status, None))
            presence.refresh(connection)
        judged(catalog, ALL_APART)

    return fill


def judged(catalog, verdicts):
    """Record these verdicts about pairs of the stores, in place of all others."""
    with catalog.transaction() as connection:
        connection.exec_driver_sql("UPDATE storage_backends SET config = '{}'")
    of = {b.id: b for b in object_backends(catalog)}
    keep_verdicts(catalog, [(of[a], of[b], verdict) for (a, b), verdict in verdicts.items()])


def on(*stores: int, **others: str) -> dict[int, str]:
    return dict.fromkeys(stores, "active") | {int(k[1:]): v for k, v in others.items()}


def test_without_a_policy_every_backend_must_hold_every_file(catalog, library_of):
    library_of(
        [("/music", on(2, 3, 4))],
        [("/music", on(2, 4))],
        [("/music", on(2, 3, 4)), ("/music", on(2))],
        [("/music", on(2, 3, s4="missing"))],
        [(None, on(2, 3, s4="damaged"))],
    )

    status = policy_status(catalog)

    assert (status.songs, status.songs_under_policy, status.backends) == (5, 4, 3)
    assert status.required_copies == (3, 3)
    assert [astuple(s)[0:1] + astuple(s)[3:] for s in songs_under_policy(catalog)] == [
        (2, 1, 2, 3),
        (3, 1, 1, 3),
        (4, 1, 2, 3),
        (5, 1, 2, 3),
    ]
    assert [s.song_id for s in songs_under_policy(catalog, 2)] == [2, 3]


def test_copies_are_counted_file_by_file(catalog, library_of):
    """Two files that are whole on one backend only, yet each of them on two."""
    library_of([("/music", on(2, 3)), ("/music", on(2, 4))])
    set_policy(catalog, ALL_OTHERS, 2)

    assert policy_status(catalog).songs_under_policy == 0
    assert songs_under_policy(catalog) == []


def test_a_song_is_short_if_any_of_its_files_is(catalog, library_of):
    library_of([("/music", on(2)), ("/music", on(3, 4))])
    set_policy(catalog, ALL_OTHERS, 2)

    assert policy_status(catalog).songs_under_policy == 1
    assert [(s.files, s.copies) for s in songs_under_policy(catalog)] == [(1, 1)]


def test_a_file_in_two_libraries_is_held_to_the_stricter_policy(catalog, library_of):
    library_of([("/music", on(2))])
    change(
        catalog,
        "INSERT INTO file_locations (file_asset_id, backend_id, locator, library_root)"
        " VALUES (1, 1, 'again', '/elsewhere')",
    )
    set_policy(catalog, "/music", 1)

    assert [s.required for s in songs_under_policy(catalog)] == [3]


def test_each_library_has_its_own_policy(catalog, library_of):
    library_of(
        [("/music", on(2))],
        [("/archive", on(2))],
        [("/archive", on(2, 3, 4))],
        [(None, on(2))],
        [("/music", on()), ("/archive", on(2, 3))],
    )
    set_policy(catalog, "/music", 1)
    set_policy(catalog, "/archive", EVERY_BACKEND)
    set_policy(catalog, ALL_OTHERS, 2)

    assert [(s.song_id, s.files, s.copies, s.required) for s in songs_under_policy(catalog)] == [
        (2, 1, 1, 3),
        (4, 1, 1, 2),
        (5, 2, 0, 1),
    ]
    assert policy_status(catalog).songs_under_policy == 3
    assert policy_status(catalog).required_copies == (1, 3)
    assert [(p.library_root, p.copies, p.own) for p in policies(catalog)] == [
        ("", 2, True),
        ("/archive", 3, True),
        ("/music", 1, True),
    ]


def test_a_library_that_is_offloaded_or_gone_keeps_its_policy(catalog, library_of):
    library_of([("/music", on(2))])
    set_policy(catalog, "/music", 1)

    for status in ("offloaded", "missing", "offloading"):
        change(catalog, "UPDATE file_locations SET status = ? WHERE backend_id = 1", status)
        assert songs_under_policy(catalog) == []


def test_what_exists_nowhere_needs_no_copies(catalog, library_of):
    library_of([("/music", on())], [("/music", on(2, 3)), ("/music", on(3, 4)), ("/music", on())])
    change(catalog, "UPDATE file_locations SET status = 'missing' WHERE file_asset_id IN (1, 4)")
    with catalog.transaction() as connection:
        presence.refresh(connection)
    set_policy(catalog, "/music", 2)

    assert policy_status(catalog).songs_under_policy == 0
    assert songs_under_policy(catalog) == []


def test_more_copies_than_backends_leave_every_song_short(catalog, library_of):
    library_of([("/music", on(2, 3, 4))], [("/music", on())])
    set_policy(catalog, ALL_OTHERS, 4)

    assert policy_status(catalog).songs_under_policy == 2
    assert [s.song_id for s in songs_under_policy(catalog)] == [1, 2]


def test_backends_that_are_one_store_count_as_one_copy(catalog, library_of):
    library_of([("/music", on(2, 3))], [("/music", on(2, 4))], [("/music", on(3))])
    judged(catalog, {**ALL_APART, (2, 3): "same"})

    status = policy_status(catalog)
    assert (status.songs_under_policy, status.required_copies) == (2, (2, 2))
    assert (status.backends, status.same, status.unproven) == (3, [["one", "two"]], [])
    assert [(s.song_id, s.copies) for s in songs_under_policy(catalog)] == [(1, 1), (3, 1)]

    set_policy(catalog, ALL_OTHERS, 3)
    assert policy_status(catalog).songs_under_policy == 3


def test_backends_that_are_not_proven_to_be_two_stores_count_as_one_copy(catalog, library_of):
    """Though each must hold everything: what is not proven lowers no requirement either."""
    library_of([("/music", on(2, 3, 4))], [("/music", on(2, 3))])
    judged(catalog, {(2, 3): "apart", (2, 4): "apart"})

    status = policy_status(catalog)
    assert (status.songs_under_policy, status.required_copies) == (2, (3, 3))
    assert (status.same, status.unproven) == ([], [("two", "three")])
    set_policy(catalog, ALL_OTHERS, 2)
    assert policy_status(catalog).songs_under_policy == 0


def test_a_backend_of_which_nothing_is_proven_takes_no_copies_from_the_others(catalog, library_of):
    library_of([("/music", on(2, 3))], [("/music", on(2, 4))], [("/music", on(4))])
    judged(catalog, {(2, 3): "apart"})
    set_policy(catalog, ALL_OTHERS, 2)

    assert [(s.song_id, s.copies) for s in songs_under_policy(catalog)] == [(2, 1), (3, 1)]


def test_no_copies_may_be_required(catalog, library_of):
    library_of([("/music", on())])
    set_policy(catalog, "/music", 0)
    assert policy_status(catalog).songs_under_policy == 0

    set_policy(catalog, "/music", None)
    assert policy_status(catalog).songs_under_policy == 1


def test_a_policy_for_an_unknown_root_is_refused(catalog, library_of):
    library_of([("/music", on())])

    with pytest.raises(UsageError, match="knows no library root /musik") as raised:
        set_policy(catalog, "/musik", 2)
    assert "/music" in str(raised.value.hint)


def expected(songs: Any, required: dict[str, int], known) -> list[int]:
    """The definition, as plainly as can be said."""
    short = []
    for song, files in enumerate(songs, 1):
        for root, places in files:
            exists = root is not None or bool(places)
            copies = known.copies(store for store, status in places.items() if status == "active")
            if exists and copies < required.get(root or "", required[""]):
                short.append(song)
                break
    return short


files_of = st.tuples(
    st.sampled_from(ROOTS),
    st.dictionaries(
        st.sampled_from(sorted(STORES)), st.sampled_from(["active", "active", "missing", "damaged"])
    ),
)


@pytest.mark.parametrize("examples", [50, pytest.param(1_000, marks=pytest.mark.thorough)])
def test_every_shortcut_gives_what_the_definition_says(catalog, library_of, examples):
    @settings(max_examples=examples, deadline=None)
    @given(
        songs=st.lists(st.lists(files_of, min_size=1, max_size=3), max_size=5),
        required=st.dictionaries(
            st.sampled_from(["", "/music", "/archive"]), st.integers(-1, 4), max_size=3
        ),
        verdicts=st.one_of(
            st.just(ALL_APART),
            st.dictionaries(st.sampled_from(list(ALL_APART)), st.sampled_from(["apart", "same"])),
        ),
    )
    def check(songs, required, verdicts):
        library_of(*songs)
        judged(catalog, verdicts)
        known = separation(catalog)
        with catalog.transaction() as connection:
            for root, copies in required.items():
                connection.exec_driver_sql(
                    "INSERT INTO library_policies (library_root, required_copies) VALUES (?, ?)",
                    (root, copies),
                )
        every = known.stores
        numbers = {r: every if n == EVERY_BACKEND else n for r, n in ({"": -1} | required).items()}

        short = expected(songs, numbers, known)

        assert [s.song_id for s in songs_under_policy(catalog)] == short
        assert policy_status(catalog).songs_under_policy == len(short)

    check()
