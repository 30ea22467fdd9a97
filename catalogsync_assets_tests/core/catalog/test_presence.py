"""`song_backend_presence` says what follows from the locations, after whatever sequence of events.

The truth is worked out here in Python from the rows, by another way than the product's SQL.
"""

import random
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from catalogsync_assets.core.catalog import files as library_rows
from catalogsync_assets.core.catalog import locations, presence
from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import FileFacts, FoundStat, known_files
from catalogsync_assets.core.catalog.leases import Lease, UploadTask
from catalogsync_assets.core.catalog.results import Failed, Uploaded, record, withdraw_claims_at
from catalogsync_assets.core.catalog.schema import metadata
from catalogsync_assets.core.catalog.scope import EVERYTHING
from catalogsync_assets.core.catalog.upload_queue import enqueue
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets_tests.support.database import bytes_of, change, rows

ROOT = "/music"
PRESENCE = (
    "SELECT song_id, backend_id, files_total, files_present, bytes_present, verified_at"
    " FROM song_backend_presence ORDER BY 1, 2"
)


def truth(catalog: Catalog) -> list[tuple[Any, ...]]:
    """Presence as it must be, from the locations and file assets alone."""
    current = dict(
        rows(
            catalog,
            "SELECT id, song_id FROM file_assets"
            " WHERE superseded_by_id IS NULL AND song_id IS NOT NULL",
        )
    )
    places = rows(
        catalog,
        "SELECT file_asset_id, backend_id, verified_at FROM file_locations WHERE status = 'active'",
    )
    lost = rows(
        catalog,
        "SELECT l.file_asset_id FROM file_locations l JOIN storage_backends b"
        " ON b.id = l.backend_id WHERE l.status = 'damaged'"
        " OR (l.status = 'missing' AND b.backend_type = 'object_storage')",
    )
    existing = {asset for asset in [*(p[0] for p in places), *lost] if asset in current}
    backends = rows(catalog, "SELECT id FROM storage_backends")
    sizes = dict(rows(catalog, "SELECT id, size_bytes FROM file_assets"))
    result = []
    for song in sorted({current[asset] for asset in existing}):
        files = [asset for asset in existing if current[asset] == song]
        for backend in backends:
            here = {asset for asset, at, _ in places if asset in files and at == backend}
            verified = [
                when for asset, at, when in places if asset in here and at == backend and when
            ]
            size = sum(sizes[asset] for asset in here)
            row = (song, backend, len(files), len(here), size, min(verified, default=None))
            result.append(row)
    return sorted(result)


class World:
    """Everything that changes locations, to be called in any order."""

    def __init__(self, catalog: Catalog) -> None:
        self.catalog = catalog
        self.backends = [
            register(self.catalog, ObjectBackend(name=name, bucket="bucket"))[0]
            for name in ("one", "two")
        ]
        self._leases = [Lease(self.catalog, backend) for backend in self.backends]
        self._held: list[tuple[int, UploadTask]] = []

    def write(self, file: int) -> None:
        """A scan finds file `file` new or changed. Files 0 and 1 are of one song, 2 and 3, ..."""
        known = {k.path: k for k in known_files(self.catalog, ROOT)}
        path = f"{file}.flac"
        facts = FileFacts(
            path=path,
            absolute_path=f"{ROOT}/{path}",
            size_bytes=10**file,
            mtime_ns=1,
            format="flac",
            song={
                "title": f"song {file // 2}",
                "artist": None,
                "album": None,
                "track_number": None,
                "disc_number": None,
                "duration_seconds": None,
                "match_key": f"key {file // 2}",
            },
            replaces=known.get(path),
        )
        library_rows.record_files(self.catalog, ROOT, [facts])

    def _known(self, file: int) -> Any:
        return next((k for k in known_files(self.catalog, ROOT) if k.path == f"{file}.flac"), None)

    def lose(self, file: int) -> None:
        if known := self._known(file):
            library_rows.mark_missing(self.catalog, [known])

    def find(self, file: int) -> None:
        if known := self._known(file):
            library_rows.mark_seen(
                self.catalog, ROOT, [(known, FoundStat(known.size_bytes or 0, 2))]
            )

    def claim(self, backend: int) -> None:
        """Uploads begin; what happens until they end, happens meanwhile."""
        enqueue(self.catalog, self.backends[backend])
        self._held += [(backend, t) for t in self._leases[backend].claim(EVERYTHING, 2)]

    def finish(self, well: bool) -> None:
        if not self._held:
            return
        backend, task = self._held.pop()
        result = (
            Uploaded(task, f"{task.file_asset_id:064x}", None, "head", adopted=False)
            if well
            else Failed(task, "X", "x")
        )
        record(self.catalog, self.backends[backend], self._leases[backend].owner, [result])

    def object_is(self, file_and_status: tuple[int, Any]) -> None:
        """A verification finds an object on the first backend gone, or damaged, or true again."""
        file, status = file_and_status
        with self.catalog.read() as connection:
            found = connection.scalars(
                sa.text(
                    "SELECT id FROM file_locations WHERE backend_id = :backend AND locator = :key"
                ),
                {"backend": self.backends[0].id, "key": f"{file}.flac"},
            ).all()
        everything = ("active", "missing", "damaged")
        locations.mark(self.catalog, found, status, expected=everything)
        locations.note_verified(self.catalog, found, "read")

    def withdraw(self, file: int) -> None:
        withdraw_claims_at(self.catalog, self.backends[file % 2], f"{file}.flac")


FILES = st.integers(0, 1)
EVENTS = st.one_of(
    st.tuples(st.just("write"), FILES),
    st.tuples(st.just("lose"), FILES),
    st.tuples(st.just("find"), FILES),
    st.tuples(st.just("withdraw"), FILES),
    st.tuples(
        st.just("object_is"), st.tuples(FILES, st.sampled_from(["active", "missing", "damaged"]))
    ),
    st.tuples(st.just("claim"), st.integers(0, 1)),
    st.tuples(st.just("finish"), st.just(True)),
    st.tuples(st.just("finish"), st.booleans()),
)


@settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(events=st.lists(EVENTS, min_size=4, max_size=12))
def test_presence_is_true_after_any_sequence_of_events(catalog, events):
    with catalog.transaction() as connection:
        for table in reversed(metadata.sorted_tables):
            connection.execute(table.delete())
    world = World(catalog)

    for event, what in [("write", 0), ("write", 1), ("claim", 0), *events]:
        getattr(world, event)(what)

    assert rows(catalog, PRESENCE) == truth(catalog)


def test_a_file_that_went_missing_while_it_was_uploaded_exists_for_all_backends(catalog):
    world = World(catalog)
    world.write(0)
    world.claim(0)
    world.lose(0)
    world.finish(True)

    assert rows(catalog, PRESENCE) == truth(catalog)
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

    assert rows(catalog, PRESENCE) == truth(catalog)
    assert {(total, present) for _, _, total, present, _, _ in rows(catalog, PRESENCE)} == {(1, 0)}


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

    assert rows(catalog, PRESENCE) == before == truth(catalog)


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

    assert rows(catalog, PRESENCE) == truth(catalog)


def test_no_songs_asked_for_is_nothing_to_do(catalog):
    with catalog.transaction() as connection:
        assert presence.refresh(connection, song_ids=[]) == 0


def test_where_presence_is_untrue_it_is_told_and_left_as_it_is(catalog):
    world = busy_world(catalog)
    one = world.backends[0].id
    with catalog.read() as connection:
        assert presence.disagreements(connection, backend_id=one) == (0, [])

    change(catalog, f"UPDATE song_backend_presence SET files_present = 7 WHERE backend_id = {one}")
    change(catalog, "INSERT INTO songs (id, title) VALUES (99, 'gone')")
    change(
        catalog,
        "INSERT INTO song_backend_presence (song_id, backend_id, files_total, files_present)"
        f" VALUES (99, {one}, 1, 1)",
    )
    before = rows(catalog, PRESENCE)
    with catalog.read() as connection:
        count, listed = presence.disagreements(connection, backend_id=one)
        some = presence.disagreements(connection, backend_id=one, limit=1)

    assert count == len(listed) == 3
    assert (some[0], len(some[1])) == (3, 1)
    assert listed[0].title == "song 0"
    assert (listed[0].recorded or "").startswith("7 of ")
    assert listed[-1] == (99, "gone", "1 of 1", None)
    assert rows(catalog, PRESENCE) == before
