"""The schema's history: from nothing, and from the shape that existing databases have."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from catalogsync_assets.core.catalog import database, presence
from catalogsync_assets.core.catalog.backends import backend_by_name, register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.schema import metadata
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.version import SCHEMA_VERSION, VERSION_TABLE
from catalogsync_assets.core.errors import CatalogError
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets_tests.support.database import bytes_of, change, rows

# As existing databases have it: fewer columns, and some that this program does not know.
OLD_SHAPE = """
CREATE TABLE playlist_pools (id INTEGER PRIMARY KEY, name TEXT NOT NULL, mood TEXT);
CREATE TABLE playlists (id INTEGER PRIMARY KEY, name TEXT NOT NULL, owner TEXT);
CREATE TABLE pool_playlists (pool_id INTEGER, playlist_id INTEGER, weight REAL,
    PRIMARY KEY (pool_id, playlist_id));
CREATE TABLE artist_pools (id INTEGER PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE artists (id INTEGER PRIMARY KEY, name TEXT NOT NULL, country TEXT);
CREATE TABLE pool_artists (pool_id INTEGER, artist_id INTEGER, PRIMARY KEY (pool_id, artist_id));
CREATE TABLE songs (id INTEGER PRIMARY KEY, title TEXT NOT NULL, lyrics TEXT);
CREATE TABLE playlist_songs (playlist_id INTEGER, song_id INTEGER, added_by TEXT,
    PRIMARY KEY (playlist_id, song_id));
CREATE TABLE artist_songs (artist_id INTEGER, song_id INTEGER, role TEXT,
    PRIMARY KEY (artist_id, song_id));
CREATE TABLE storage_backends (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE,
    backend_type TEXT NOT NULL, container_name TEXT, config JSON, quota INTEGER);
CREATE TABLE file_assets (id INTEGER PRIMARY KEY, song_id INTEGER REFERENCES songs(id),
    bitrate INTEGER);
CREATE TABLE file_locations (id INTEGER PRIMARY KEY,
    file_asset_id INTEGER NOT NULL REFERENCES file_assets(id),
    backend_id INTEGER NOT NULL REFERENCES storage_backends(id),
    container_name TEXT, locator TEXT NOT NULL, absolute_path TEXT, public_url TEXT,
    download_url TEXT, status TEXT NOT NULL DEFAULT 'active', is_primary INTEGER DEFAULT 0,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP, shelf TEXT,
    UNIQUE (file_asset_id, backend_id, locator));
CREATE TABLE download_tasks (id INTEGER PRIMARY KEY, song_id INTEGER, source TEXT,
    status TEXT NOT NULL DEFAULT 'pending', last_error TEXT, quality TEXT);
CREATE TABLE song_backend_presence (song_id INTEGER NOT NULL, backend_id INTEGER NOT NULL,
    present BOOLEAN, PRIMARY KEY (song_id, backend_id));
CREATE TABLE upload_tasks (id INTEGER PRIMARY KEY, file_asset_id INTEGER NOT NULL,
    source_location_id INTEGER, target_backend_id INTEGER NOT NULL, target_container_name TEXT,
    target_locator TEXT NOT NULL, status TEXT NOT NULL DEFAULT 'pending', last_error TEXT,
    created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP, priority INTEGER,
    UNIQUE (file_asset_id, target_backend_id, target_locator));
CREATE TABLE recommendations (song_id INTEGER, score REAL);
CREATE INDEX my_index ON songs (lyrics);
CREATE VIEW my_view AS SELECT title FROM songs;

INSERT INTO recommendations VALUES (10, 0.9);
INSERT INTO playlist_pools VALUES (1, 'evening', 'calm');
INSERT INTO playlists VALUES (5, 'Ночь', 'me');
INSERT INTO pool_playlists VALUES (1, 5, 0.5);
INSERT INTO artist_pools VALUES (1, 'friends');
INSERT INTO artists VALUES (2, 'Ægir', 'IS');
INSERT INTO pool_artists VALUES (1, 2);
INSERT INTO songs VALUES (10, 'Öldur', 'la la'), (11, '雨のち星', NULL), (12, 'Waves', 'o o');
INSERT INTO playlist_songs VALUES (5, 10, 'me'), (5, 11, 'you');
INSERT INTO artist_songs VALUES (2, 10, 'singer');
INSERT INTO storage_backends VALUES (1, 'disk', 'local', NULL, '{"root": "/music"}', NULL),
    (2, 'old-cloud', 'object_storage', 'old-bucket',
     '{"endpoint": "https://old.example", "region": "auto", "base_prefix": "m", "owner": "me"}', 9);
INSERT INTO file_assets VALUES (100, 10, 320), (101, 11, NULL), (102, 12, 128);
INSERT INTO file_locations (id, file_asset_id, backend_id, container_name, locator, absolute_path,
    is_primary, shelf) VALUES
    (1, 100, 1, '/music', 'a/01.flac', '/music/a/01.flac', 1, 'top'),
    (2, 101, 1, '/music', 'b/02.flac', '/music/b/02.flac', 1, NULL),
    (3, 102, 1, '/music', 'c/03.flac', '/music/c/03.flac', 1, NULL);
INSERT INTO file_locations (id, file_asset_id, backend_id, container_name, locator, public_url)
    VALUES (4, 100, 2, 'old-bucket', 'm/a/01.flac', 'https://cdn.example/m/a/01.flac');
INSERT INTO download_tasks VALUES (1, 12, 'tape', 'failed', 'no answer', 'high');
INSERT INTO song_backend_presence VALUES (10, 1, 1), (10, 2, 1);
INSERT INTO upload_tasks (id, file_asset_id, source_location_id, target_backend_id,
    target_container_name, target_locator, status, last_error, priority) VALUES
    (1, 100, 1, 2, 'old-bucket', 'm/a/01.flac', 'succeeded', NULL, 3),
    (2, 101, 2, 2, 'old-bucket', 'm/b/02.flac', 'failed', 'no answer', 3);
"""


def shape_of(path: Path) -> dict[str, list[str]]:
    """The columns of every table."""
    with closing(sqlite3.connect(path)) as raw:
        tables = [r[0] for r in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            table: [r[1] for r in raw.execute(f"PRAGMA table_info({table})")] for table in tables
        }


def content_of(path: Path, columns: dict[str, list[str]]) -> dict[str, list[Any]]:
    """All rows, as far as they lie in these columns."""
    with closing(sqlite3.connect(path)) as raw:
        return {
            table: raw.execute(f"SELECT {', '.join(names)} FROM {table} ORDER BY 1, 2").fetchall()
            for table, names in columns.items()
        }


@pytest.fixture
def old(tmp_path):
    """A database in the old shape, with rows in every table."""
    path = tmp_path / "music.db"
    with closing(sqlite3.connect(path)) as raw:
        raw.executescript(OLD_SHAPE)
    return path


# --- the history itself -------------------------------------------------------------------------


def test_the_migrations_make_what_the_schema_says(catalog):
    options = {"version_table": VERSION_TABLE, "compare_type": True, "compare_server_default": True}
    with catalog.read() as connection:
        context = MigrationContext.configure(connection, opts=options)

        assert compare_metadata(context, metadata) == []


def test_the_schema_version_is_the_newest_migration():
    config = Config()
    folder = Path(database.__file__).parent / "migrations"
    config.set_main_option("script_location", str(folder))

    assert ScriptDirectory.from_config(config).get_heads() == [SCHEMA_VERSION]


def test_a_fresh_catalog_carries_the_version(catalog):
    assert rows(catalog, f"SELECT version_num FROM {VERSION_TABLE}") == [SCHEMA_VERSION]


# --- a database in the old shape ----------------------------------------------------------------


def test_every_old_row_and_unknown_column_is_kept(old):
    columns = shape_of(old)
    before = content_of(old, columns)

    Catalog.initialise(old)[0].close()

    assert all(before.values())
    assert content_of(old, columns) == before


def test_unknown_tables_indexes_and_views_are_kept(old):
    Catalog.initialise(old)[0].close()

    assert rows(old, "SELECT name FROM sqlite_master WHERE name LIKE 'my_%' ORDER BY 1") == [
        "my_index",
        "my_view",
    ]
    assert rows(old, "SELECT COUNT(*) FROM my_view") == [3]


def test_every_column_of_ours_is_added(old):
    Catalog.initialise(old)[0].close()

    shape = shape_of(old)
    missing = {
        (table.name, column.name)
        for table in metadata.sorted_tables
        for column in table.columns
        if column.name not in shape[table.name]
    }
    assert missing == set()


def test_the_database_as_it_was_lies_beside_it(old):
    columns = shape_of(old)
    before = content_of(old, columns)

    _, report = Catalog.initialise(old)

    assert report.action == "migrated"
    assert report.backup is not None
    assert report.backup.parent == old.parent
    assert shape_of(report.backup) == columns
    assert content_of(report.backup, columns) == before


def test_what_the_old_tool_has_not_yet_checkpointed_is_in_the_backup(old):
    with closing(sqlite3.connect(old, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("INSERT INTO songs (id, title) VALUES (99, 'last minute')")

        _, report = Catalog.initialise(old)

    assert report.backup is not None
    for path in (old, report.backup):
        assert rows(path, "SELECT title FROM songs WHERE id = 99") == ["last minute"]


def test_migrating_twice_is_the_same_as_once(old):
    Catalog.initialise(old)[0].close()
    before = bytes_of(old)

    catalog, report = Catalog.initialise(old)
    catalog.close()

    assert (report.action, report.backup) == ("unchanged", None)
    assert bytes_of(old) == before


def test_the_old_tool_can_still_write(old):
    Catalog.initialise(old)[0].close()

    with closing(sqlite3.connect(old)) as raw, raw:
        raw.execute("INSERT INTO songs (title, lyrics) VALUES ('new', 'la')")
        raw.execute("INSERT INTO file_assets (song_id, bitrate) VALUES (10, 96)")
        raw.execute(
            "INSERT INTO file_locations (file_asset_id, backend_id, locator, shelf)"
            " VALUES (101, 2, 'm/b/02.flac', 'low')"
        )
        raw.execute(
            "INSERT INTO upload_tasks (file_asset_id, target_backend_id, target_locator, priority)"
            " VALUES (102, 2, 'm/c/03.flac', 1)"
        )
        raw.execute(
            "INSERT INTO song_backend_presence (song_id, backend_id, present) VALUES (11, 2, 1)"
        )


def test_an_old_backend_is_read_and_its_other_settings_are_kept(old):
    catalog, _ = Catalog.initialise(old)

    found = backend_by_name(catalog, "old-cloud")
    register(catalog, ObjectBackend(name="old-cloud", bucket="old-bucket", region="eu"))

    assert (found.endpoint, found.region, found.base_prefix) == ("https://old.example", "auto", "m")
    config, quota = rows(catalog, "SELECT config, quota FROM storage_backends WHERE id = 2")[0]
    assert '"owner": "me"' in config
    assert quota == 9


def test_uploads_of_old_files_are_planned_but_of_those_that_are_there(old):
    catalog, _ = Catalog.initialise(old)

    assert enqueue(catalog, backend_by_name(catalog, "old-cloud")) == 2
    assert rows(
        catalog, "SELECT target_locator FROM upload_tasks WHERE status = 'pending' ORDER BY 1"
    ) == ["m/b/02.flac", "m/c/03.flac"]
    assert [status.name for status in backend_status(catalog)] == ["disk", "old-cloud"]


def test_a_scan_of_an_old_library_knows_its_paths(old, library):
    root = str(library.root)
    change(old, "UPDATE file_locations SET container_name = ? WHERE backend_id = 1", root)
    for path in ("a/01.flac", "b/02.flac", "c/03.flac"):
        library.add(path)
    catalog, _ = Catalog.initialise(old)

    report = scan(catalog, [library.root])

    assert (report.new, report.files) == (0, 3)
    paths = "SELECT locator FROM file_locations WHERE backend_id = 1 AND status = 'active'"
    assert sorted(rows(catalog, paths)) == ["a/01.flac", "b/02.flac", "c/03.flac"]


def test_old_locations_without_a_root_are_known_by_their_absolute_path(old, library):
    change(
        old,
        "UPDATE file_locations SET container_name = NULL, absolute_path = ? || '/' || locator"
        " WHERE backend_id = 1",
        str(library.root),
    )
    for path in ("a/01.flac", "b/02.flac", "c/03.flac"):
        library.add(path)
    catalog, _ = Catalog.initialise(old)

    scan(catalog, [library.root])

    paths = (
        "SELECT absolute_path FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
        " WHERE backend_id = 1 AND status = 'active' AND superseded_by_id IS NULL"
    )
    assert len(rows(catalog, paths)) == 3


def test_presence_of_old_songs_can_be_refreshed(old):
    catalog, _ = Catalog.initialise(old)

    with catalog.transaction() as connection:
        presence.refresh(connection)

    assert rows(
        catalog,
        "SELECT song_id, backend_id, files_present, files_total FROM song_backend_presence"
        " ORDER BY 1, 2",
    ) == [(10, 1, 1, 1), (10, 2, 1, 1), (11, 1, 1, 1), (11, 2, 0, 1), (12, 1, 1, 1), (12, 2, 0, 1)]


def test_a_table_that_has_only_an_id_is_completed(tmp_path):
    path = tmp_path / "bare.db"
    for table in ("songs", "upload_tasks"):
        change(path, f"CREATE TABLE {table} (id INTEGER PRIMARY KEY)")
        change(path, f"INSERT INTO {table} VALUES (1)")

    Catalog.initialise(path)[0].close()

    shape = shape_of(path)
    for table in ("songs", "upload_tasks"):
        assert {c.name for c in metadata.tables[table].columns} <= set(shape[table])


def test_a_migration_that_fails_leaves_the_database_as_it_was(old):
    change(old, "DROP TABLE playlist_songs")
    change(old, "CREATE VIEW playlist_songs AS SELECT 1 AS one")
    before, shape = content_of(old, shape_of(old)), shape_of(old)

    with pytest.raises(CatalogError):
        Catalog.initialise(old)

    assert shape_of(old) == shape
    assert content_of(old, shape) == before


def test_a_disk_without_room_for_the_backup_is_said_before_anything_is_done(old, monkeypatch):
    usage = database.shutil.disk_usage(old.parent)
    monkeypatch.setattr(database.shutil, "disk_usage", lambda _: usage._replace(free=0))
    before = old.read_bytes()

    with pytest.raises(CatalogError, match="no room") as caught:
        Catalog.initialise(old)

    assert caught.value.hint == "free some disk space"
    assert old.read_bytes() == before
    assert [path.name for path in old.parent.iterdir()] == [old.name]


def test_foreign_keys_of_old_rows_stay_valid(old):
    Catalog.initialise(old)[0].close()

    assert rows(old, "PRAGMA foreign_key_check") == []
    assert sa.inspect(sa.create_engine(f"sqlite:///{old}")).get_table_names()


def test_files_that_were_gone_before_that_was_dated_are_gone_since_the_migration(catalog, library):
    files = library.fill(2)
    scan(catalog, [library.root])
    files[0].unlink()
    scan(catalog, [library.root])
    catalog.close()
    # As the schema before had it.
    change(catalog, "UPDATE file_locations SET missing_since = NULL")
    change(catalog, "DROP TABLE library_roots")
    change(catalog, "DROP INDEX ix_file_locations_unwanted")
    change(
        catalog,
        "CREATE INDEX ix_file_locations_excluded ON file_locations (file_asset_id)"
        " WHERE status = 'excluded'",
    )
    change(catalog, f"UPDATE {VERSION_TABLE} SET version_num = '0005'")

    Catalog.initialise(catalog.path)[0].close()

    gone = "SELECT status, missing_since >= datetime('now', '-1 hour') FROM file_locations"
    assert rows(catalog, f"{gone} ORDER BY id") == [("missing", 1), ("active", None)]
    indexes = rows(catalog, "SELECT name FROM sqlite_master WHERE name LIKE '%locations_%ed'")
    assert "ix_file_locations_unwanted" in indexes
    assert "ix_file_locations_excluded" not in indexes
