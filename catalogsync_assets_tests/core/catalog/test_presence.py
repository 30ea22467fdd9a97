"""`song_backend_presence` says what follows from the locations.

After each event: `test_locations`.
"""

from __future__ import annotations

import random

import pytest
import sqlalchemy as sa

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets_tests.core.world import PRESENCE, World, truth
from catalogsync_assets_tests.support.database import bytes_of, change, rows


def test_a_file_that_went_missing_while_it_was_uploaded_exists_for_all_backends(catalog):
    world = World(catalog)
    world.write(0)
    world.claim(0)
    world.lose(0)
    world.finish(True)

    assert rows(catalog, PRESENCE) == truth(catalog, rows)
    assert len(rows(catalog, PRESENCE)) == 3


def test_a_file_whose_last_copy_is_withdrawn_exists_nowhere(catalog):
    world = World(catalog)
    for event, what in (("write", 0), ("claim", 0), ("finish", True), ("lose", 0)):
        getattr(world, event)(what)
    assert rows(catalog, PRESENCE) != []

    world.withdraw(0)

    assert rows(catalog, PRESENCE) == []


@pytest.mark.parametrize("found", ["missing", "damaged"])
def test_a_file_whose_last_copy_is_lost_does_not_drop_out_of_the_sums(catalog, found):
    world = World(catalog)
    for event, what in (("write", 0), ("claim", 0), ("finish", True), ("lose", 0)):
        getattr(world, event)(what)

    world.object_is((0, found))

    assert rows(catalog, PRESENCE) == truth(catalog, rows)
    assert {(total, present) for _, _, total, present, _, _ in rows(catalog, PRESENCE)} == {(1, 0)}


@pytest.mark.parametrize("why", ["leave_out", "forget"])
@pytest.mark.parametrize("other", ["missing", "damaged", "offloaded"])
def test_a_file_that_is_not_wanted_at_one_place_counts_by_another(catalog, why, other):
    world = World(catalog)
    for event, what in (("write", 0), ("claim", 0), ("finish", True), (why, 0)):
        getattr(world, event)(what)
    assert rows(catalog, PRESENCE) == truth(catalog, rows) == []
    change(
        catalog,
        "INSERT INTO file_locations (file_asset_id, backend_id, locator, library_root, status)"
        " SELECT file_asset_id, backend_id, 'elsewhere', '/other', ? FROM file_locations"
        " WHERE library_root IS NOT NULL",
        other,
    )

    with catalog.transaction() as connection:
        presence.refresh(connection)

    assert rows(catalog, PRESENCE) == truth(catalog, rows)
    assert {(total, present) for _, _, total, present, *_ in rows(catalog, PRESENCE)} == {
        (1, 0),
        (1, 1),
    }


@pytest.mark.parametrize("back", ["find", "download", "restore"])
def test_a_forgotten_file_counts_again_once_it_is_back(catalog, back):
    world = World(catalog)
    for event, what in (("write", 0), ("claim", 0), ("finish", True), ("lose", 0)):
        getattr(world, event)(what)
    before = rows(catalog, PRESENCE)
    world.forget(0)
    assert rows(catalog, PRESENCE) == []

    getattr(world, back)((0, 0) if back == "restore" else 0)

    assert rows(catalog, PRESENCE) == truth(catalog, rows)
    assert len(rows(catalog, PRESENCE)) == len(before) == 3


def busy_world(catalog: Catalog) -> World:
    world = World(catalog)
    choice = random.Random(7)  # noqa: S311
    for file in range(4):
        world.write(file)
    for _ in range(20):
        event, what = choice.choice(
            [("write", choice.randrange(4)), ("claim", choice.randrange(2)), ("finish", True)]
        )
        getattr(world, event)(what)
    return world


def test_presence_can_be_made_from_nothing(catalog):
    busy_world(catalog)
    before = rows(catalog, PRESENCE)
    change(catalog, "DELETE FROM song_backend_presence")

    with catalog.transaction() as connection:
        presence.refresh(connection)

    assert rows(catalog, PRESENCE) == before == truth(catalog, rows)


def test_a_second_refresh_writes_nothing(catalog):
    busy_world(catalog)
    with catalog.transaction() as connection:
        presence.refresh(connection)
    before = bytes_of(catalog.path)

    with catalog.transaction() as connection:
        assert presence.refresh(connection) == 0

    assert bytes_of(catalog.path) == before


def test_untrue_rows_are_put_right(catalog):
    busy_world(catalog)
    with catalog.transaction() as connection:
        connection.execute(sa.text("UPDATE song_backend_presence SET files_present = 7"))
        connection.execute(sa.text("INSERT INTO songs (id, title) VALUES (99, 'gone')"))
        connection.execute(
            sa.text("INSERT INTO song_backend_presence (song_id, backend_id) VALUES (99, 1)")
        )
        presence.refresh(connection)

    assert rows(catalog, PRESENCE) == truth(catalog, rows)


def test_no_songs_asked_for_is_nothing_to_do(catalog):
    with catalog.transaction() as connection:
        assert presence.refresh(connection, song_ids=[]) == 0
