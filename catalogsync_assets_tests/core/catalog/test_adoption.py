"""A database of an older tool, adopted: its columns, its rows, its own statements, its faults."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from catalogsync_assets.core.catalog import database
from catalogsync_assets.core.catalog.backends import backend_by_name, object_backends, register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import Scope, select
from catalogsync_assets.core.catalog.search import whereis
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.version import VERSION_TABLE
from catalogsync_assets.core.errors import CatalogError
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.upload.upload import Limits, upload
from catalogsync_assets_tests.support.database import change, rows

FILES = ("a/01.flac", "b/02.flac", "c/03.flac")

# The tool's tables, each with columns that it always fills, and gives no default.
SHAPES = {
    "playlists": "id INTEGER PRIMARY KEY, title TEXT NOT NULL, owner TEXT NOT NULL",
    "playlist_songs": "playlist_id INTEGER NOT NULL, song_id INTEGER NOT NULL, added TEXT NOT NULL",
    "artists": "id INTEGER PRIMARY KEY, name TEXT NOT NULL, sort_name TEXT NOT NULL,"
    " created_at TEXT NOT NULL",
    "artist_songs": "artist_id INTEGER NOT NULL, song_id INTEGER NOT NULL, role TEXT NOT NULL,"
    " PRIMARY KEY (artist_id, song_id)",
    "songs": "id INTEGER PRIMARY KEY, name TEXT NOT NULL, plays INTEGER NOT NULL,"
    " extra JSON NOT NULL, created_at TEXT NOT NULL, rating REAL NOT NULL",
    "storage_backends": "id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,"
    " backend_type TEXT NOT NULL, container_name TEXT, config TEXT, quota INTEGER NOT NULL,"
    " created_at TEXT NOT NULL",
    "file_assets": "id INTEGER PRIMARY KEY, song_id INTEGER REFERENCES songs (id),"
    " bitrate INTEGER NOT NULL, seen_at TIMESTAMP NOT NULL, created_at TEXT NOT NULL",
    "file_locations": "id INTEGER PRIMARY KEY,"
    " file_asset_id INTEGER NOT NULL REFERENCES file_assets (id),"
    " backend_id INTEGER NOT NULL REFERENCES storage_backends (id), container_name TEXT,"
    " locator TEXT NOT NULL, absolute_path TEXT, public_url TEXT, status TEXT NOT NULL,"
    " is_primary BOOLEAN NOT NULL, shelf TEXT NOT NULL, created_at TEXT NOT NULL",
    "song_backend_presence": "id INTEGER PRIMARY KEY, song_id INTEGER NOT NULL,"
    " backend_id INTEGER NOT NULL, present BOOLEAN NOT NULL, checked_at TEXT NOT NULL",
    "upload_tasks": "id INTEGER PRIMARY KEY, file_asset_id INTEGER NOT NULL,"
    " source_location_id INTEGER, target_backend_id INTEGER NOT NULL,"
    " target_container_name TEXT, target_locator TEXT NOT NULL, status TEXT NOT NULL,"
    " priority INTEGER NOT NULL, created_at TEXT NOT NULL",
}
THE_TOOLS_OWN = (
    "INSERT INTO songs (name, plays, extra, created_at, rating) VALUES ('New', 1, '{}', 'now', 5)",
    "INSERT INTO artists (name, sort_name, created_at) VALUES ('Zoe', 'zoe', 'now')",
    "INSERT INTO artist_songs (artist_id, song_id, role) VALUES (1, 11, 'voice')",
    "INSERT INTO playlists (title, owner) VALUES ('Fresh', 'me')",
    "INSERT INTO playlist_songs (playlist_id, song_id, added) VALUES (1, 12, 'now')",
    "INSERT INTO file_assets (song_id, bitrate, seen_at, created_at) VALUES (10, 96, 'now', 'now')",
    "INSERT INTO file_locations (file_asset_id, backend_id, locator, status, is_primary, shelf,"
    " created_at) VALUES (100, 1, 'elsewhere', 'active', 1, 'low', 'now')",
    "INSERT INTO storage_backends (name, backend_type, quota, created_at)"
    " VALUES ('tape', 'tape', 7, 'now')",
    "INSERT INTO upload_tasks (file_asset_id, target_backend_id, target_locator, status, priority,"
    " created_at) VALUES (102, 1, 'x', 'pending', 3, 'now')",
    "INSERT INTO song_backend_presence (song_id, backend_id, present, checked_at)"
    " VALUES (999, 1, 1, 'now')",
    "UPDATE file_locations SET status = 'missing' WHERE id = 3",
    "SELECT s.name, l.locator, l.shelf FROM songs s JOIN file_assets f ON f.song_id = s.id"
    " JOIN file_locations l ON l.file_asset_id = f.id WHERE l.status = 'active'",
)


class Older:
    """A database of the older tool, with a library of three files that it knows.

    Attributes:
        shapes: what `make` puts into CREATE TABLE; a test may change or remove some.
    """

    def __init__(self, path: Path, library: Any) -> None:
        self.path = path
        self.library = library
        self.shapes = dict(SHAPES)
        self.more: list[str] = []

    def make(self) -> Path:
        root = str(self.library.root)
        for file in FILES:
            self.library.add(file)
        with closing(sqlite3.connect(self.path)) as raw, raw:
            for table, columns in self.shapes.items():
                raw.execute(f"CREATE TABLE {table} ({columns})")
            self._fill(raw, root)
            for statement in self.more:
                raw.execute(statement)
        return self.path

    def _fill(self, raw: sqlite3.Connection, root: str) -> None:
        def put(table: str, **values: object) -> None:
            """A row with what the test says; anything else that must be there is `x` or 0."""
            info = raw.execute(f"PRAGMA table_info({table})").fetchall()
            there = {c[1] for c in info}
            row = {c[1]: 0 if "INT" in c[2] else "x" for c in info if c[3] and c[1] != "id"}
            row |= {k: v for k, v in values.items() if k in there}
            marks = ", ".join("?" * len(row))
            raw.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", [*row.values()])

        moment = "2020-02-03 04:05:06"
        put("storage_backends", id=1, name="disk", backend_type="local", created_at=moment)
        put("artists", id=1, name="Ægir")
        put("playlists", id=1, title="Ночь")
        for number, file in enumerate(FILES):
            put("songs", id=10 + number, name=f"Song {number}", extra='{"k": 1}')
            put("file_assets", id=100 + number, song_id=10 + number, bitrate=320, sha256="")
            put(
                "file_locations",
                id=1 + number,
                file_asset_id=100 + number,
                backend_id=1,
                locator=f"tool:{number}",
                absolute_path=f"{root}/{file}",
                status="active",
                shelf="top",
            )
        put("artist_songs", artist_id=1, song_id=10)
        put("playlist_songs", playlist_id=1, song_id=11)

    def adopt(self) -> Catalog:
        self.make()
        return Catalog.initialise(self.path)[0]


@pytest.fixture
def older(tmp_path, library):
    return Older(tmp_path / "tool.db", library)


@pytest.fixture
def sent(library, unregistered):
    """`sent(catalog)`: scan, register the backend `cloud`, plan, upload."""
    settings = []

    def run(catalog):
        report = scan(catalog, [library.root])
        if not settings:
            settings.append(unregistered())
        cloud, _ = register(catalog, settings[0])
        enqueue(catalog, cloud)
        return report, upload(catalog, cloud, limits=Limits(workers=4, attempts=2))

    return run


# --- columns that must be filled ----------------------------------------------------------------


def test_scan_plan_and_upload_work_where_every_table_has_columns_that_must_be_filled(
    older, sent, remote
):
    catalog = older.adopt()
    older.library.add("d/04.flac")

    report, uploaded = sent(catalog)

    assert (report.new, report.unchanged + report.changed, report.missing) == (1, 3, 0)
    assert (uploaded.succeeded, uploaded.failed) == (4, 0)
    assert remote(backend_by_name(catalog, "cloud")).contents() == older.library.contents()
    new = rows(catalog, "SELECT plays, extra, rating FROM songs WHERE id NOT IN (10, 11, 12)")
    assert new == [(0, "{}", 0.0)]
    assert rows(catalog, "SELECT COUNT(*) FROM songs WHERE extra = '{\"k\": 1}'") == [3]


def test_files_beside_the_music_hang_on_one_song_that_the_tool_can_read(older, sent, remote):
    catalog = older.adopt()
    before = rows(catalog, "SELECT COUNT(*) FROM songs")
    older.library.add("d/cover.jpg")
    older.library.add("d/rip.log")
    older.library.add("d/all.m3u8", b"none.flac\n")

    report, uploaded = sent(catalog)

    assert (report.new, report.companions, uploaded.failed) == (3, 3, 0)
    assert remote(backend_by_name(catalog, "cloud")).contents() == older.library.contents()
    assert rows(catalog, "SELECT COUNT(*) FROM songs") == [before[0] + 1]
    nothing = "SELECT COUNT(*) FROM file_assets WHERE song_id IS NULL"
    assert rows(catalog, nothing) == [0]


def test_tagged_files_get_their_artists_where_artists_have_columns_that_must_be_filled(
    older, sample
):
    catalog = older.adopt()

    scan(catalog, [sample])

    assert rows(catalog, "SELECT COUNT(*) FROM artist_songs WHERE role = ''")[0] > 0
    assert rows(catalog, "SELECT COUNT(*) FROM artists WHERE created_at = ''") == [0]


@pytest.mark.parametrize(
    ("table", "column"),
    [
        ("songs", "artist TEXT NOT NULL"),
        ("songs", "album TEXT NOT NULL"),
        ("songs", "track_number INTEGER NOT NULL"),
        ("songs", "duration_seconds REAL NOT NULL"),
        ("file_assets", "duration_seconds REAL NOT NULL"),
        ("file_assets", "sha256 TEXT NOT NULL"),
        ("file_locations", "updated_at TEXT NOT NULL"),
        ("storage_backends", "updated_at TEXT NOT NULL"),
        ("upload_tasks", "updated_at TEXT NOT NULL"),
    ],
)
def test_a_column_of_ours_that_this_database_wants_filled_does_not_stop_a_scan_or_an_upload(
    older, sent, table, column
):
    name, _, rest = column.partition(" ")
    older.shapes[table] = older.shapes[table].replace(
        " PRIMARY KEY,", f" PRIMARY KEY, {name} {rest},", 1
    )
    catalog = older.adopt()
    older.library.add("d/04.flac")

    _, uploaded = sent(catalog)

    assert (uploaded.succeeded, uploaded.failed) == (4, 0)


def test_a_column_of_the_key_that_must_be_filled_does_not_stop_a_scan(older, sample):
    older.shapes["artist_songs"] = (
        "artist_id INTEGER NOT NULL, song_id INTEGER NOT NULL, role TEXT NOT NULL,"
        " PRIMARY KEY (artist_id, song_id, role)"
    )
    catalog = older.adopt()

    scan(catalog, [sample])

    assert rows(catalog, "SELECT COUNT(*) FROM artist_songs")[0] > 1


@pytest.mark.parametrize("moment", ["1580702706", "'2020-02-03T04:05:06Z'", "'3 Feb 2020'", "''"])
def test_moments_that_the_tool_wrote_in_its_own_way_do_not_stop_anything(older, sent, moment):
    older.more = [
        f"UPDATE {table} SET created_at = {moment}"
        for table in ("storage_backends", "songs", "file_assets", "file_locations")
    ]
    older.more.append(
        "INSERT INTO storage_backends (name, backend_type, container_name, config, quota,"
        f" created_at) VALUES ('old', 'object_storage', 'old-bucket', '{{}}', 0, {moment})"
    )
    catalog = older.adopt()

    _, uploaded = sent(catalog)
    register(catalog, ObjectBackend(name="old", bucket="old-bucket", region="eu"))

    assert uploaded.succeeded == 3
    assert [b.name for b in object_backends(catalog)] == ["cloud", "old"]


@pytest.mark.parametrize("config", ["NULL", "'{}'", "''"])
def test_a_backend_without_settings_is_read(older, config):
    older.more = [
        "INSERT INTO storage_backends (name, backend_type, container_name, config, quota,"
        f" created_at) VALUES ('old', 'object_storage', 'b', {config}, 0, 'x')",
        "UPDATE storage_backends SET created_at = '2020-02-03 04:05:06'",
    ]
    assert backend_by_name(older.adopt(), "old").bucket == "b"


# --- names --------------------------------------------------------------------------------------


def test_what_the_tool_calls_name_or_title_is_borrowed(older):
    catalog = older.adopt()

    assert rows(catalog, "SELECT title FROM songs ORDER BY id") == ["Song 0", "Song 1", "Song 2"]
    assert rows(catalog, "SELECT name FROM playlists") == ["Ночь"]
    assert [place.song_id for place in whereis(catalog, "song 1")] == [11]


def test_a_borrowed_playlist_can_be_planned(older, unregistered, library):
    catalog = older.adopt()
    scan(catalog, [library.root])
    cloud, _ = register(catalog, unregistered())

    assert enqueue(catalog, cloud, Scope(selections=select(catalog, playlists=["Ночь"]))) == 1
    assert rows(catalog, "SELECT file_asset_id FROM upload_tasks") == [101]


def test_the_tools_own_statements_work_before_and_after_an_upload(older, sent):
    catalog = older.adopt()
    for ready in (lambda: None, lambda: sent(catalog)):
        ready()
        with closing(sqlite3.connect(older.path)) as raw:
            for statement in THE_TOOLS_OWN:
                raw.execute(statement)
            names = {r[0] for r in raw.execute(THE_TOOLS_OWN[-1])}
            raw.rollback()
        assert {"Song 0", "Song 1"} <= names


def test_a_song_that_the_tool_adds_after_the_adoption_is_met_uploaded_and_found(older, sent):
    catalog = older.adopt()
    sent(catalog)
    path = older.library.add("e/Later On.flac")
    change(
        catalog,
        "INSERT INTO songs (id, name, plays, extra, created_at, rating)"
        " VALUES (50, 'Later', 0, '{}', 'now', 0)",
    )
    change(
        catalog,
        "INSERT INTO file_assets (id, song_id, bitrate, seen_at, created_at)"
        " VALUES (500, 50, 0, 'now', 'now')",
    )
    change(
        catalog,
        "INSERT INTO file_locations (file_asset_id, backend_id, locator, absolute_path, status,"
        " is_primary, shelf, created_at) VALUES (500, 1, 'tool:9', ?, 'active', 1, '', 'now')",
        str(path),
    )

    report, uploaded = sent(catalog)

    assert (report.new, uploaded.succeeded) == (0, 1)
    assert {p.song_id for p in whereis(catalog, "later")} == {50}
    assert rows(catalog, "SELECT object_key FROM file_assets WHERE id = 500") == ["e/Later On.flac"]


# --- local files --------------------------------------------------------------------------------


def test_local_rows_are_met_by_their_path_and_keep_song_and_file(older, library):
    catalog = older.adopt()
    tools = "SELECT id, file_asset_id, container_name, locator, absolute_path FROM file_locations"
    before = rows(catalog, tools)

    report = scan(catalog, [library.root])

    assert (report.new, report.changed, report.missing) == (0, 0, 0)
    assert rows(catalog, tools) == before
    assert rows(catalog, "SELECT id, song_id, object_key, size_bytes FROM file_assets") == [
        (100 + n, 10 + n, file, 300) for n, file in enumerate(FILES)
    ]


@pytest.fixture
def doubled(older):
    """The tool has two rows for the first path, of two file assets."""
    older.more = [
        "INSERT INTO file_assets VALUES (200, 10, 96, 'x', 'x')",
        "INSERT INTO file_locations SELECT 20, 200, 1, NULL, 'tool:again', absolute_path, NULL,"
        " 'active', 0, '', 'x' FROM file_locations WHERE id = 1",
    ]
    return older


def test_two_rows_for_one_path_are_harmless_however_often_it_is_scanned(doubled, library):
    catalog = doubled.adopt()
    for _ in range(4):
        report = scan(catalog, [library.root])

        assert (report.files, report.new, report.changed, report.missing) == (3, 0, 0, 0)
        assert rows(catalog, "SELECT DISTINCT status FROM file_locations") == ["active"]


def test_a_path_that_the_tool_has_twice_is_uploaded_without_a_failure(doubled, sent, remote):
    catalog = doubled.adopt()
    for _ in range(2):
        _, uploaded = sent(catalog)

        assert [failure.reason for failure in uploaded.failures] == []
    # The second row is a file of its own to the catalog, under the name that the tool gave it.
    stored = remote(backend_by_name(catalog, "cloud")).contents()
    assert doubled.library.contents().items() <= stored.items()


def test_a_file_that_the_tool_knew_and_that_is_gone_is_missing(older, library):
    catalog = older.adopt()
    (library.root / FILES[0]).unlink()

    assert scan(catalog, [library.root]).missing == 1
    assert rows(catalog, "SELECT id FROM file_locations WHERE status = 'missing'") == [1]


# --- what is remote already ---------------------------------------------------------------------


def test_a_remote_row_counts_as_present_and_is_not_uploaded_again(
    older, sent, unregistered, remote
):
    settings = unregistered()
    older.more = [
        "INSERT INTO storage_backends VALUES (2, 'cloud', 'object_storage',"
        f" '{settings.bucket}', '{{}}', 0, '2020-01-01 00:00:00')",
        "INSERT INTO file_locations VALUES (30, 100, 2,"
        f" '{settings.bucket}', 'strange/key', NULL, NULL, 'active', 0, '', 'x')",
    ]
    catalog = older.adopt()

    _, uploaded = sent(catalog)

    assert (uploaded.queued, uploaded.succeeded) == (2, 2)
    assert sorted(remote(backend_by_name(catalog, "cloud")).keys()) == sorted(FILES[1:])
    cloud = next(b for b in backend_status(catalog) if b.name == "cloud")
    assert (cloud.songs, cloud.songs_absent, cloud.files, cloud.pending) == (3, 0, 3, 0)


def test_presence_has_its_figures_after_the_first_scan(older, library):
    older.more = [
        "INSERT INTO storage_backends VALUES (2, 'cloud', 'object_storage', 'b', '{}', 0,"
        " '2020-01-01 00:00:00')",
        "INSERT INTO file_locations VALUES (30, 100, 2, 'b', 'k', NULL, NULL, 'active', 0, '',"
        " 'x')",
        "INSERT INTO song_backend_presence VALUES (1, 10, 1, 1, 'x')",
    ]
    catalog = older.adopt()

    scan(catalog, [library.root])

    assert rows(
        catalog,
        "SELECT song_id, backend_id, files_total, files_present, bytes_present"
        " FROM song_backend_presence ORDER BY 1, 2",
    ) == [
        *((10, 1, 1, 1, 300), (10, 2, 1, 1, 300)),
        *((11, 1, 1, 1, 300), (11, 2, 1, 0, 0)),
        *((12, 1, 1, 1, 300), (12, 2, 1, 0, 0)),
    ]
    assert [(b.name, b.songs, b.songs_absent) for b in backend_status(catalog)] == [
        ("disk", 3, 0),
        ("cloud", 1, 2),
    ]


# --- tables that may be missing, and rules that may be ------------------------------------------


@pytest.mark.parametrize(
    "absent",
    [
        ("upload_tasks",),
        ("song_backend_presence",),
        ("upload_tasks", "song_backend_presence"),
        ("artist_songs", "upload_tasks"),
    ],
)
def test_a_table_that_the_tool_does_not_have_is_made(older, sent, absent):
    older.make()
    with closing(sqlite3.connect(older.path)) as raw, raw:
        for table in absent:
            raw.execute(f"DROP TABLE {table}")

    catalog = Catalog.initialise(older.path)[0]

    assert sent(catalog)[1].succeeded == 3


def test_tasks_that_the_tool_left_pending_without_a_source_are_planned_anew(
    older, sent, unregistered, remote
):
    bucket = unregistered().bucket
    older.more = [
        f"INSERT INTO storage_backends VALUES (2, 'cloud', 'object_storage', '{bucket}', '{{}}',"
        " 0, '2020-01-01 00:00:00')",
        "INSERT INTO upload_tasks VALUES (70, 100, NULL, 2, NULL, 'tool/1', 'pending', 1, 'x')",
        "INSERT INTO upload_tasks VALUES (71, 101, NULL, 2, NULL, 'tool/2', 'failed', 1, 'x')",
    ]
    catalog = older.adopt()

    _, uploaded = sent(catalog)

    assert (uploaded.succeeded, uploaded.failed) == (3, 0)
    assert sorted(remote(backend_by_name(catalog, "cloud")).keys()) == sorted(FILES)
    assert rows(catalog, "SELECT DISTINCT status FROM upload_tasks") == ["succeeded"]
    assert rows(catalog, "SELECT COUNT(*) FROM upload_tasks") == [3]


def test_presence_without_a_unique_rule_gets_one_row_for_a_song_and_backend(older, sent):
    catalog = older.adopt()
    for _ in range(2):
        sent(catalog)

    assert rows(catalog, "SELECT COUNT(*) FROM song_backend_presence") == [6]
    assert rows(catalog, "SELECT DISTINCT present FROM song_backend_presence") == [0]


def test_presence_that_the_tool_has_twice_does_not_stop_the_adoption(older, sent):
    older.more = [f"INSERT INTO song_backend_presence VALUES ({n}, 10, 1, 1, 'x')" for n in (1, 2)]

    catalog = older.adopt()

    assert sent(catalog)[1].succeeded == 3
    assert rows(catalog, "SELECT COUNT(*) FROM song_backend_presence") == [6]


# --- files that are refused ---------------------------------------------------------------------


def refused(path: Path, *, match: str) -> None:
    """Adoption is refused; no byte has changed, and nothing lies beside the file."""
    before = path.read_bytes()
    with pytest.raises(CatalogError, match=match):
        Catalog.initialise(path)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.glob("tool.db*")] == ["tool.db"]


@pytest.mark.parametrize("keep", [0.5, 0.9])
def test_a_truncated_file_is_refused_and_left_as_it_is(older, keep):
    content = older.make().read_bytes()
    older.path.write_bytes(content[: int(len(content) * keep)])

    refused(older.path, match=r"malformed|damaged")


def test_a_file_of_which_only_the_beginning_is_left_is_refused(older):
    older.path.write_bytes(older.make().read_bytes()[:60])

    refused(older.path, match=r"malformed|not a database")


def test_a_damaged_table_is_refused_and_left_as_it_is(older):
    older.make()
    page = rows(older.path, "SELECT rootpage FROM sqlite_master WHERE name = 'songs'")[0]
    size = rows(older.path, "PRAGMA page_size")[0]
    content = bytearray(older.path.read_bytes())
    content[(page - 1) * size : page * size] = b"\xa5" * size
    older.path.write_bytes(content)

    refused(older.path, match=r"malformed|damaged")


@pytest.mark.parametrize("lock", ["EXCLUSIVE", "IMMEDIATE"])
def test_a_database_that_another_program_holds_is_refused_and_left_as_it_is(
    older, lock, monkeypatch
):
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    before = older.make().read_bytes()
    with closing(sqlite3.connect(older.path, isolation_level=None)) as other:
        other.execute(f"BEGIN {lock}")

        with pytest.raises(CatalogError, match="locked") as caught:
            Catalog.initialise(older.path)

        assert caught.value.hint
        other.execute("ROLLBACK")
    assert older.path.read_bytes() == before
    assert [p.name for p in older.path.parent.glob("tool.db*")] == ["tool.db"]
    assert Catalog.initialise(older.path)[1].action == "migrated"


def test_a_database_of_a_newer_program_is_refused_and_left_as_it_is(older):
    older.make()
    change(older.path, f"CREATE TABLE {VERSION_TABLE} (version_num VARCHAR(32) NOT NULL)")
    change(older.path, f"INSERT INTO {VERSION_TABLE} VALUES ('9999')")

    refused(older.path, match="newer")
