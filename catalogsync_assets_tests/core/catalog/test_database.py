"""Opening, making and writing the catalog's file."""

import contextlib
import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from catalogsync_assets.core.catalog.database import Catalog, catalog_path
from catalogsync_assets.core.catalog.version import VERSION_TABLE
from catalogsync_assets.core.errors import CatalogError, ConfigurationError, UsageError
from catalogsync_assets.core.library import removal
from catalogsync_assets.core.settings import catalog_location, library_roots
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.files import unprivileged
from catalogsync_assets_tests.support.waiting import PATIENCE, Task

OLD_NAMES = [
    *("playlist_pools", "playlists", "pool_playlists", "artist_pools", "artists", "pool_artists"),
    *("songs", "playlist_songs", "artist_songs", "storage_backends", "file_assets"),
    *("file_locations", "download_tasks", "song_backend_presence", "upload_tasks"),
]
TABLES = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"


def files_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "catalog.db"


@pytest.fixture
def existing(path, blank):
    """A finished catalog, closed: all in one file."""
    shutil.copy(blank, path)
    return path


# --- init ---------------------------------------------------------------------------------------


def test_init_makes_the_fifteen_tables_and_ours(path):
    _, report = Catalog.initialise(path)

    assert len(OLD_NAMES) == 15
    multipart = {"multipart_uploads", "multipart_parts"}
    audits = {"audits", "audit_findings", "library_policies"}
    roots = {"library_roots", "download_roots"}
    ours = {"batches", "playlist_entries", VERSION_TABLE} | roots | multipart | audits
    assert set(rows(path, TABLES)) == {*OLD_NAMES, *ours}
    assert (report.action, report.backup) == ("created", None)


def test_a_catalog_is_kept_in_wal_mode(existing):
    assert rows(existing, "PRAGMA journal_mode") == ["wal"]


def test_foreign_keys_hold(catalog):
    with pytest.raises(CatalogError), catalog.transaction() as connection:
        connection.execute(sa.text("INSERT INTO file_assets (song_id) VALUES (4711)"))


def test_a_second_init_changes_nothing_and_makes_no_backup(existing):
    before = existing.read_bytes()

    catalog, report = Catalog.initialise(existing)
    catalog.close()

    assert (report.action, report.backup) == ("unchanged", None)
    assert existing.read_bytes() == before
    assert files_in(existing.parent) == [existing.name]


def test_init_takes_an_empty_file_for_no_catalog_yet(path):
    path.touch()

    _, report = Catalog.initialise(path)

    assert (report.action, report.backup) == ("created", None)


def test_processes_that_init_at_once_agree(path, start_python):
    code = (
        "import sys, alembic.command, catalogsync_assets.core.catalog.database as database\n"
        "print('ready', flush=True)\n"
        "sys.stdin.readline()\n"
        "print(database.Catalog.initialise(sys.argv[1])[1].action)"
    )
    processes = [start_python(code, path) for _ in range(4)]
    assert [process.line() for process in processes] == ["ready\n"] * 4
    for process in processes:
        process.go_on()
    outcomes = [process.communicate() for process in processes]

    assert [process.returncode for process in processes] == [0] * 4, outcomes
    Catalog.open(path).close()


def test_init_waits_for_another_program_that_writes(existing):
    """SQLite does not wait by itself when it is to change to WAL mode."""

    def initialise():
        Catalog.initialise(existing)[0].close()

    with closing(sqlite3.connect(existing, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=DELETE")
        other.execute("BEGIN IMMEDIATE")
        waiting = Task(initialise)
        waiting.join(0.3)  # long enough to fail, if it does not wait
        other.execute("COMMIT")
    waiting.end()


def test_an_init_that_fails_does_not_take_away_what_another_has_made_meanwhile(path, monkeypatch):
    def be_too_late(_catalog):
        monkeypatch.undo()
        Catalog.initialise(path)[0].close()
        raise CatalogError("database is locked")

    monkeypatch.setattr(Catalog, "_migrate", be_too_late)

    with pytest.raises(CatalogError):
        Catalog.initialise(path)

    Catalog.open(path).close()


def test_open_or_create_makes_a_catalog_once(path):
    Catalog.open_or_create(path).close()
    before = path.read_bytes()

    Catalog.open_or_create(path).close()

    assert path.read_bytes() == before


def test_open_or_create_does_not_migrate(path):
    change(path, "CREATE TABLE songs (id INTEGER PRIMARY KEY)")
    before = path.read_bytes()

    with pytest.raises(CatalogError, match="not a catalogsync catalog yet") as caught:
        Catalog.open_or_create(path)

    assert "catalogsync init" in (caught.value.hint or "")
    assert path.read_bytes() == before


# --- what is no catalog -------------------------------------------------------------------------


def no_database(path: Path) -> None:
    path.write_bytes(b"ID3\x04 this is a song, and no database" * 100)


def truncated(path: Path) -> None:
    """What a copy that was cut short leaves."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2 + 100])


def header_only(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def scribbled(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[100:4096] = b"\xa5" * 3996
    path.write_bytes(whole)


def newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")


@pytest.mark.parametrize("spoil", [no_database, truncated, header_only, scribbled, newer])
@pytest.mark.parametrize("how", [Catalog.open, Catalog.initialise, Catalog.open_or_create])
def test_a_file_that_is_no_catalog_of_ours_is_refused_and_left_alone(existing, spoil, how):
    spoil(existing)
    before = existing.read_bytes()

    with pytest.raises(CatalogError, match=r"catalog\.db") as caught:
        how(existing)

    assert caught.value.hint
    assert existing.read_bytes() == before


def test_a_newer_catalog_asks_for_an_upgrade(existing):
    newer(existing)

    with pytest.raises(CatalogError, match="newer catalogsync") as caught:
        Catalog.initialise(existing)

    assert caught.value.hint == "upgrade catalogsync"
    assert files_in(existing.parent) == [existing.name]


@pytest.mark.parametrize("how", [Catalog.open, Catalog.initialise, Catalog.open_or_create])
def test_a_folder_is_no_catalog(path, how):
    path.mkdir()

    with pytest.raises(CatalogError):
        how(path)

    assert files_in(path) == []


def test_open_says_how_to_make_the_catalog_that_is_missing(path):
    with pytest.raises(CatalogError, match="there is no catalog") as caught:
        Catalog.open(path)

    assert "catalogsync init" in (caught.value.hint or "")
    assert files_in(path.parent) == []


def test_init_does_not_make_folders_up(tmp_path):
    with pytest.raises(CatalogError, match=r"no-such-folder.* does not exist"):
        Catalog.initialise(tmp_path / "no-such-folder" / "catalog.db")

    assert files_in(tmp_path) == []


@pytest.mark.parametrize("how", [Catalog.open, Catalog.initialise])
def test_a_file_for_a_folder_is_one_clear_error(tmp_path, how):
    (tmp_path / "file").touch()

    with pytest.raises(CatalogError):
        how(tmp_path / "file" / "catalog.db")


@pytest.mark.parametrize("how", [Catalog.open, Catalog.initialise])
def test_a_name_that_is_too_long_is_one_clear_error(tmp_path, how):
    with pytest.raises(CatalogError):
        how(tmp_path / ("x" * 300))


# --- permissions --------------------------------------------------------------------------------


@pytest.fixture
def guarded(public_folder):
    """A catalog that belongs to somebody else."""
    path = public_folder / "catalog.db"
    Catalog.initialise(path)[0].close()
    return path


def attempt_to_write(path: Path) -> None:
    catalog = Catalog.open(path)
    with contextlib.closing(catalog), catalog.transaction() as connection:
        connection.execute(sa.text("INSERT INTO artists (name) VALUES ('x')"))


def test_a_read_only_catalog_is_one_clear_error(guarded):
    guarded.chmod(0o444)
    before = guarded.read_bytes()

    with unprivileged(), pytest.raises(CatalogError) as caught:
        attempt_to_write(guarded)

    assert "permissions" in (caught.value.hint or "")
    assert guarded.read_bytes() == before


@pytest.mark.parametrize("folder", [0o777, 0o555])
def test_a_read_only_catalog_is_read_and_nothing_is_left_beside_it(guarded, folder):
    guarded.chmod(0o444)
    guarded.parent.chmod(folder)

    with unprivileged(), contextlib.closing(Catalog.open(guarded)) as catalog:
        assert catalog.scalar("SELECT COUNT(*) FROM songs") == 0

    assert files_in(guarded.parent) == [guarded.name]


def test_a_read_only_catalog_is_not_read_without_its_log(guarded):
    with closing(sqlite3.connect(guarded)) as writer:
        writer.execute("INSERT INTO artists (name) VALUES ('x')")
        writer.commit()
        for file in guarded.parent.iterdir():
            file.chmod(0o444)

        with unprivileged(), contextlib.closing(Catalog.open(guarded)) as catalog:
            assert catalog.scalar("SELECT COUNT(*) FROM artists") == 1


def test_a_read_only_folder_is_one_clear_error(guarded):
    guarded.chmod(0o666)
    guarded.parent.chmod(0o555)
    before = guarded.read_bytes()

    with unprivileged(), pytest.raises(CatalogError) as caught:
        attempt_to_write(guarded)

    assert "permissions" in (caught.value.hint or "")
    assert guarded.read_bytes() == before
    assert files_in(guarded.parent) == [guarded.name]


def test_a_catalog_that_may_not_be_read_is_one_clear_error(guarded):
    guarded.chmod(0o000)

    for how in (Catalog.open, Catalog.initialise):
        with unprivileged(), pytest.raises(CatalogError) as caught:
            how(guarded)
        assert "permissions" in (caught.value.hint or "")


def test_a_folder_that_may_not_be_entered_is_one_clear_error(guarded):
    guarded.parent.chmod(0o700)

    for how in (Catalog.open, Catalog.initialise, Catalog.open_or_create):
        with unprivileged(), pytest.raises(CatalogError):
            how(guarded)


def test_init_in_a_read_only_folder_leaves_nothing(public_folder):
    public_folder.chmod(0o555)

    with unprivileged(), pytest.raises(CatalogError) as caught:
        Catalog.initialise(public_folder / "catalog.db")

    assert "permissions" in (caught.value.hint or "")
    assert files_in(public_folder) == []


# --- transactions -------------------------------------------------------------------------------


def insert(connection: sa.Connection, name: str) -> None:
    connection.execute(sa.text("INSERT INTO artists (name) VALUES (:name)"), {"name": name})


def test_a_transaction_is_rolled_back_and_its_error_comes_through(catalog):
    problem = RuntimeError("the very one")

    with pytest.raises(RuntimeError) as caught, catalog.transaction() as connection:
        insert(connection, "gone")
        raise problem

    assert caught.value is problem
    assert rows(catalog, "SELECT name FROM artists") == []


def test_a_rollback_that_fails_does_not_hide_the_error(catalog):
    with pytest.raises(ZeroDivisionError), catalog.transaction() as connection:
        insert(connection, "gone")
        connection.connection.driver_connection.execute("ROLLBACK")  # type: ignore[union-attr]
        _ = 1 / 0


def test_what_a_transaction_wrote_is_there_for_others(catalog):
    with catalog.transaction() as connection:
        insert(connection, "kept")

    assert rows(catalog, "SELECT name FROM artists") == ["kept"]


def test_what_is_read_in_a_transaction_is_true_until_it_commits(catalog):
    """Threads that read, then write what follows from it, lose nothing and are never refused."""

    def count_up():
        for _ in range(20):
            with catalog.transaction() as connection:
                count = connection.scalar(sa.text("SELECT COUNT(*) FROM artists"))
                insert(connection, str(count))

    for task in [Task(count_up) for _ in range(4)]:
        task.end()

    assert rows(catalog, "SELECT name FROM artists ORDER BY id") == [str(i) for i in range(80)]


def test_a_reader_does_not_stop_a_writer_and_sees_one_moment(catalog):
    counting = sa.text("SELECT COUNT(*) FROM artists")
    with catalog.read() as reader:
        assert reader.scalar(counting) == 0
        with catalog.transaction() as connection:
            insert(connection, "later")
        assert reader.scalar(counting) == 0
    with catalog.read() as reader:
        assert reader.scalar(counting) == 1


def test_a_writer_waits_for_another_process(catalog, start_python):
    holder = start_python(
        "import sqlite3, sys\n"
        "raw = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "raw.execute('BEGIN IMMEDIATE'); print('held', flush=True)\n"
        "sys.stdin.readline(); raw.execute('COMMIT')",
        catalog.path,
    )
    assert holder.line() == "held\n"

    def write():
        with catalog.transaction() as connection:
            insert(connection, "patient")

    writer = Task(write)
    assert writer.is_alive()
    holder.go_on()
    writer.end()


# --- where the catalog is -----------------------------------------------------------------------


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}", "sqlite+pysqlite:///{}"])
def test_the_variable_names_the_catalog_as_path_or_url(tmp_path, monkeypatch, form):
    path = tmp_path / "a folder" / "my catalog.db"
    path.parent.mkdir()
    monkeypatch.setenv("CATALOGSYNC_DB", form.format(path))

    Catalog.initialise()[0].close()
    opened = Catalog.open()
    opened.close()

    assert opened.path == path
    assert path.is_file()


def test_what_is_given_goes_before_the_variable(existing, monkeypatch):
    monkeypatch.setenv("CATALOGSYNC_DB", "/elsewhere.db")

    assert catalog_location(existing) == str(existing)


@pytest.mark.parametrize("form", ["{}", "sqlite:///{}"])
def test_a_link_to_a_catalog_names_the_file_itself(tmp_path, form):
    """Or its log, its locks and its backups would be sought beside the link."""
    (tmp_path / "there").mkdir()
    (tmp_path / "link.db").symlink_to("there/catalog.db")
    given = form.format(tmp_path / "link.db")

    made, _ = Catalog.initialise(given)
    made.close()

    assert made.path == catalog_path(given) == tmp_path / "there/catalog.db"
    assert made.path.is_file()
    assert (tmp_path / "link.db").is_symlink()


def test_names_with_special_characters_are_paths_and_not_urls(tmp_path):
    path = tmp_path / "100% música #1?mode=ro.db"

    Catalog.initialise(path)[0].close()
    Catalog.open(path).close()

    assert path.is_file()


def test_a_database_of_such_a_name_is_backed_up(tmp_path):
    path = tmp_path / "100% música #1?mode=ro.db"
    change(path, "CREATE TABLE songs (id INTEGER PRIMARY KEY)")

    _, report = Catalog.initialise(path)

    assert report.backup is not None
    assert report.backup.is_file()


@pytest.mark.parametrize(
    "url",
    [
        *("postgresql://user:hunter2@host/db", "mysql://user:hunter2@host/db"),
        *("postgresql://user:hunter2@host:port/db", "nonsense://user:hunter2@host/db"),
        *("://hunter2", "sqlite://", "sqlite:///:memory:"),
    ],
)
@pytest.mark.parametrize("how", [Catalog.open, Catalog.initialise])
def test_a_url_of_another_database_is_refused_without_its_password(url, how):
    with pytest.raises(ConfigurationError) as caught:
        how(url)

    assert "hunter2" not in str(caught.value)
    assert "sqlite:///" in (caught.value.hint or "")


# --- where the music is -------------------------------------------------------------------------


def test_roots_come_from_the_variable_in_order_and_once(tmp_path, monkeypatch):
    names = [str(tmp_path / name) for name in ("b", "a", "b", "a/", "")]
    monkeypatch.setenv("CATALOGSYNC_LIBRARY_ROOTS", os.pathsep.join(names[:-1]))

    assert library_roots() == [tmp_path / "b", tmp_path / "a"]


def test_no_root_at_all_is_a_configuration_error():
    with pytest.raises(ConfigurationError) as caught:
        library_roots()

    assert "CATALOGSYNC_LIBRARY_ROOTS" in (caught.value.hint or "")


def test_a_root_inside_another_is_refused(tmp_path):
    with pytest.raises(ConfigurationError, match="lies inside"):
        library_roots([tmp_path / "music", tmp_path / "music" / "jazz"])


def test_a_root_with_the_beginning_of_anothers_name_is_not_inside_it(tmp_path):
    roots = [tmp_path / "music", tmp_path / "music2"]

    assert library_roots(roots) == roots


def test_a_root_that_is_inside_another_by_a_link_is_refused(tmp_path):
    (tmp_path / "music" / "jazz").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "music" / "jazz")

    with pytest.raises(ConfigurationError, match="lies inside"):
        library_roots([tmp_path / "music", tmp_path / "link"])


@pytest.mark.parametrize("root", ["again", "again/jazz"])
def test_a_root_that_is_inside_another_by_a_second_mount_is_refused(tmp_path, root):
    (tmp_path / "music/jazz").mkdir(parents=True)
    (tmp_path / "again").mkdir()
    mount = ["mount", "--bind", str(tmp_path / "music"), str(tmp_path / "again")]
    if not shutil.which("mount") or subprocess.run(mount, check=False, timeout=PATIENCE).returncode:
        pytest.skip("mounting is not permitted here")

    try:
        with pytest.raises(ConfigurationError, match="lies inside"):
            library_roots([tmp_path / "music", tmp_path / root])
    finally:
        subprocess.run(["umount", str(tmp_path / "again")], check=True, timeout=PATIENCE)


# --- modes --------------------------------------------------------------------------------------


def modes_in(folder: Path) -> dict[str, int]:
    return {file.name: file.stat().st_mode & 0o777 for file in folder.iterdir()}


def test_a_new_catalog_and_all_beside_it_are_its_owners_alone(path):
    catalog, _ = Catalog.initialise(path)
    with catalog.transaction() as connection, removal.alone(catalog):
        connection.execute(sa.text("INSERT INTO songs (title) VALUES ('x')"))
        found = modes_in(path.parent)
    catalog.close()

    assert {path.name, path.name + "-wal", path.name + "-shm"} < set(found)
    assert set(found.values()) == {0o600}


@pytest.mark.parametrize(("mode", "lock"), [(0o600, 0o600), (0o644, 0o600), (0o664, 0o660)])
def test_a_catalog_keeps_its_mode_and_what_is_made_beside_it_is_private(path, mode, lock):
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute("CREATE TABLE songs (id INTEGER PRIMARY KEY, title TEXT NOT NULL)")
    path.chmod(mode)

    before = os.umask(0)
    try:
        catalog, report = Catalog.initialise(path)
        with removal.alone(catalog):
            found = modes_in(path.parent)
        catalog.close()
    finally:
        os.umask(before)

    assert report.backup
    assert (found[path.name], found[report.backup.name]) == (mode, 0o600)
    assert found[path.name + ".offload-lock"] == lock


# --- where it is to be --------------------------------------------------------------------------


def test_init_makes_the_folder_and_nothing_else_does(tmp_path):
    path = tmp_path / "new" / "folder" / "catalog.db"
    with pytest.raises(CatalogError, match="does not exist") as caught:
        Catalog.open_or_create(path)
    assert "catalogsync init" in (caught.value.hint or "")
    assert list(tmp_path.iterdir()) == []

    catalog, report = Catalog.initialise(path, make_folder=True)
    catalog.close()

    assert (report.action, report.folder) == ("created", path.parent)


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path):
    (tmp_path / "file").touch()

    with pytest.raises(CatalogError, match="cannot be made"):
        Catalog.initialise(tmp_path / "file" / "catalog.db", make_folder=True)


def test_a_value_that_is_no_text_is_wrong_use(catalog):
    with pytest.raises(UsageError, match="not valid UTF-8"), catalog.read() as connection:
        connection.execute(sa.text("SELECT :name"), {"name": "caf\udce9"})


def test_what_is_no_file_is_refused_and_stays(tmp_path):
    """A failed init removes the empty file that it has made, and was seen to remove devices."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()

    for name in ("pipe", "folder"):
        with pytest.raises(CatalogError, match="is not a file"):
            Catalog.initialise(tmp_path / name)
        with pytest.raises(CatalogError, match="is not a file"):
            Catalog.open(tmp_path / name)

    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder", "pipe"]


def test_a_working_directory_that_is_gone_is_named(tmp_path, monkeypatch):
    folder = tmp_path / "gone"
    folder.mkdir()
    monkeypatch.chdir(folder)
    folder.rmdir()
    with pytest.raises(ConfigurationError, match="working directory is no more"):
        catalog_path("catalog.db")
    assert catalog_path(tmp_path / "catalog.db") == tmp_path / "catalog.db"
