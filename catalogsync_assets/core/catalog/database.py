"""Opens the catalog, and gives the one way to read it and the one way to write it.

What is read and written lives in the modules beside this one; the tables in `schema`.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from catalogsync_assets.core.catalog import legacy
from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.catalog.legacy import LegacyColumns
from catalogsync_assets.core.catalog.version import SCHEMA_VERSION, VERSION_TABLE
from catalogsync_assets.core.errors import CatalogError, ConfigurationError, UsageError
from catalogsync_assets.core.settings import catalog_location

#: All rows of a SELECT; see `Catalog.view`.
Rows = Callable[..., Sequence[Sequence[Any]]]
#: How long a writer waits for another one, in seconds.
BUSY_TIMEOUT = 60.0


@dataclass(frozen=True)
class InitReport:
    """What `Catalog.initialise` did: `created`, `migrated` or `unchanged`; the backup and the
    folder that were made, if any."""

    path: Path
    action: str
    backup: Path | None = None
    folder: Path | None = None


class Catalog:
    """An open catalog. May be shared by threads; must not cross a fork.

    A process that has one open must not open the file in any other way than by SQLite, not even to
    look at it: closing it would drop the process's locks, and with them SQLite's own
    (https://sqlite.org/howtocorrupt.html, section 2.2).

    Use `Catalog.open` or `Catalog.initialise`, not the constructor.

    Attributes:
        changed_rows: how many rows its transactions have written so far, in all tables.
    """

    def __init__(self, path: Path, *, busy_timeout: float | None = None) -> None:
        self.path = path
        self.changed_rows = 0
        self._legacy: LegacyColumns | None = None
        self._timeout = BUSY_TIMEOUT if busy_timeout is None else busy_timeout
        self._immutable = _nobody_writes(path)
        self._lock = threading.Lock()
        self._engine: sa.Engine | None = None
        self._idle: list[sqlite3.Connection] = []

    @property
    def engine(self) -> sa.Engine:
        """What SQLAlchemy has connections of: made, and SQLAlchemy loaded, when first asked for."""
        with self._lock:
            if self._engine is None:
                # Not written as a URL: `?` and `%` may stand in a path.
                url = sa.URL.create("sqlite", database=str(self.path))
                self._engine = sa.create_engine(url, creator=self._connect)
                sa.event.listen(self._engine, "begin", _begin)
            return self._engine

    def _connect(self) -> sqlite3.Connection:
        name = f"{self.path.as_uri()}?mode=ro&immutable=1" if self._immutable else str(self.path)
        raw = sqlite3.connect(
            name,
            uri=self._immutable,
            timeout=self._timeout,
            check_same_thread=False,
            isolation_level=None,  # each BEGIN is ours
        )
        # 32 MiB of cache: with 16, planning a million files grew faster than they (exponent 1.12).
        for pragma in ("foreign_keys=ON", "synchronous=FULL", "cache_size=-32768"):
            raw.execute(f"PRAGMA {pragma}")
        return raw

    @classmethod
    def open(
        cls,
        location: str | os.PathLike[str] | None = None,
        *,
        busy_timeout: float | None = None,
    ) -> Catalog:
        """Open an existing catalog of this version.

        Args:
            location: a path or an `sqlite:///` URL; None takes `CATALOGSYNC_DB`, else the default.
            busy_timeout: seconds to wait for other programs that hold it; None: `BUSY_TIMEOUT`.

        Raises:
            CatalogError: there is no such file, it is not an SQLite database, or its schema is
                older or newer than this program's. The file is left untouched.
        """
        path = catalog_path(location)
        if _size_of(path) is None:
            raise CatalogError(
                f"there is no catalog at {path}",
                hint="make one with `catalogsync init`, or name yours: --db or CATALOGSYNC_DB",
            )
        catalog = cls(path, busy_timeout=busy_timeout)
        version = catalog.version()
        if version != SCHEMA_VERSION:
            catalog.close()
            raise _version_error(path, version)
        return catalog

    @classmethod
    def initialise(
        cls, location: str | os.PathLike[str] | None = None, *, make_folder: bool = False
    ) -> tuple[Catalog, InitReport]:
        """Make the catalog, or bring an existing database to this version, in one transaction.

        A database that already holds something is first copied beside itself. May be called
        again: a catalog of this version is opened and left as it is. When it fails, the database
        is as it was.

        A new catalog, what SQLite puts beside it, and each backup is its owner's alone (0600). An
        existing file keeps its mode, which somebody may have chosen.

        Args:
            make_folder: make the folder of a new catalog where there is none.

        Raises:
            CatalogError: the file is not an SQLite database, is newer than this program, or
                cannot be written.
        """
        path = catalog_path(location)
        existed = bool(_size_of(path))
        folder = _require_folder(path, make=make_folder) if not existed else None
        ours = not existed and _create_private(path)
        catalog = cls(path)
        backup: Path | None = None
        try:
            version = catalog.version() if existed else None
            if version == SCHEMA_VERSION:
                catalog._use_wal()
                return catalog, InitReport(path, "unchanged")
            _require_not_newer(path, version)
            if existed:
                catalog._require_sound()
                backup = _back_up(path)
            catalog._migrate()
            catalog._use_wal()
        except BaseException:
            catalog.close()
            if backup:
                backup.unlink(missing_ok=True)
            if ours and _size_of(path) == 0:  # not what another process has made of it
                path.unlink(missing_ok=True)
            if folder:
                with suppress(OSError):  # not empty: what is there is another process's
                    folder.rmdir()
            raise
        return catalog, InitReport(path, "migrated" if existed else "created", backup, folder)

    @classmethod
    def open_or_create(cls, location: str | os.PathLike[str] | None = None) -> Catalog:
        """Open the catalog, or make it where there is no file yet.

        For commands that begin a catalog's life. An existing database of another version is
        refused as by `open`: migrating it is a decision.
        """
        if not exists(location):
            cls.initialise(location)[0].close()
        return cls.open(location)

    def version(self) -> str | None:
        """The schema's revision; None for a database that has never been ours."""
        tables = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = :name"
        with self.view() as rows:
            if not rows(tables, name=VERSION_TABLE):
                return None
            found = rows(f"SELECT version_num FROM {VERSION_TABLE}")
        return None if not found or found[0][0] is None else str(found[0][0])

    def _use_wal(self) -> None:
        """Let readers and a writer work at the same time. Kept in the file."""
        import tenacity

        patiently = tenacity.Retrying(
            # SQLite's own busy handler is not called for a change of the journal mode.
            retry=tenacity.retry_if_exception_message(match=".*locked"),
            stop=tenacity.stop_after_delay(BUSY_TIMEOUT),
            wait=tenacity.wait_random(0.01, 0.1),
            reraise=True,
        )
        with _clear_errors(self.path), closing(sqlite3.connect(self.path)) as raw:
            # Outside any transaction, as SQLite wants it.
            patiently(raw.execute, "PRAGMA journal_mode=WAL")

    def _require_sound(self) -> None:
        """Raise a CatalogError if the file is damaged: nothing may be built on that."""
        found = self.scalar("PRAGMA quick_check(1)")
        if found != "ok":
            raise CatalogError(f"the database {self.path} is damaged: {found}", hint=_DAMAGED_HINT)

    def _migrate(self) -> None:
        # Imported here: alembic costs a tenth of a second, and all but the first run do without.
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        with self.transaction() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        self._legacy = None  # of the tables as they were before

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A consistent view for reading. Keep it short: it holds back the write-ahead log."""
        with _clear_errors(self.path), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def view(self) -> Iterator[Rows]:
        """One state of the catalog, for several questions whose answers belong together.

        Without SQLAlchemy, which takes longer to load than the questions of most commands take.

        Yields:
            What gives all rows of a SELECT, of which there are few. Its arguments: SQL with named
            parameters, and their values; what it does not name does no harm.
        """
        with _clear_errors(self.path):
            try:
                raw = self._idle.pop()
            except IndexError:
                raw = self._connect()
            try:
                raw.execute("BEGIN")
                yield lambda statement, /, **values: raw.execute(statement, values).fetchall()
                raw.execute("COMMIT")
            except BaseException:
                raw.close()
                raise
            self._idle.append(raw)

    def rows(self, statement: str, /, **values: object) -> Sequence[Sequence[Any]]:
        """All rows of one SELECT; see `view`."""
        with self.view() as rows:
            return rows(statement, **values)

    def scalar(self, statement: str, /, **values: object) -> Any:
        """The first column of the first row of a SELECT; None if there is none. As `rows`."""
        return next(iter(self.rows(statement, **values)), (None,))[0]

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """All or nothing: commits at the end of the block, rolls back if it raises.

        Takes SQLite's write lock at once (BEGIN IMMEDIATE), so that what is read inside stays
        true until the commit. Waits up to `BUSY_TIMEOUT` seconds for other writers. The commit
        is on disk when the block is left (synchronous=FULL).

        Raises:
            CatalogError: the database refused; what the block raised itself passes unchanged.
        """
        with _clear_errors(self.path), self.engine.connect() as plain:
            connection = plain.execution_options(catalogsync_write=True)
            raw: Any = connection.connection.driver_connection
            before = raw.total_changes
            with connection.begin():
                if self._legacy is None:
                    self._legacy = legacy.find(connection)
                connection.execution_options(**{legacy.OPTION: self._legacy})
                yield connection
            self.changed_rows += raw.total_changes - before

    def close(self) -> None:
        """Close all connections. The catalog may still be used; it opens them anew."""
        while self._idle:
            self._idle.pop().close()
        if self._engine is not None:
            self._engine.dispose()

    def remove(self) -> None:
        """Close it, and remove it from the disk: for who has made it, and has put nothing there."""
        self.close()
        for more in ("", "-wal", "-shm"):
            self.path.with_name(self.path.name + more).unlink(missing_ok=True)


def _begin(connection: sa.Connection) -> None:
    write = connection.get_execution_options().get("catalogsync_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def catalog_path(given: str | os.PathLike[str] | None = None) -> Path:
    """The catalog's file, absolute: of a path or an `sqlite:///` URL, or as the environment says.

    Symbolic links are followed, as SQLite does for its log: what lies beside the catalog - locks,
    the log, backups - is then the same for all who have it open, whatever they call it.

    Raises:
        ConfigurationError: a URL of another database, or of one in memory.
    """
    location = catalog_location(given)
    if "://" not in location:
        try:
            return Path(os.path.realpath(Path(location).expanduser()))
        except FileNotFoundError as error:
            raise ConfigurationError(
                f"the catalog {location} cannot be found: the working directory is no more",
                hint="go to another directory, or name the catalog by its absolute path",
            ) from error
    try:
        url = sa.make_url(location)
    except (sa.exc.ArgumentError, ValueError) as error:
        raise ConfigurationError(
            "the catalog's URL cannot be read", hint="write it as sqlite:////folder/catalogsync.db"
        ) from error
    if url.get_backend_name() != "sqlite" or not url.database or url.database == ":memory:":
        raise ConfigurationError(
            f"the catalog cannot be kept in a {url.get_backend_name()} database of this URL",
            hint="name an SQLite file: a path, or sqlite:////folder/catalogsync.db",
        )
    return Path(os.path.realpath(url.database))


def exists(location: str | os.PathLike[str] | None = None) -> bool:
    """Whether there is a file where the catalog should be; see `catalog_path`."""
    return _size_of(catalog_path(location)) is not None


def _size_of(path: Path) -> int | None:
    """The file's size in bytes; None if there is no such file.

    Raises:
        CatalogError: it cannot be asked for; or it is a folder, a device or the like, which SQLite
            would open, and `initialise` would remove where it fails.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CatalogError(
            f"the catalog {path} cannot be reached: {error.strerror}",
            hint="check the path and the permissions of its folders",
        ) from error
    if not stat.S_ISREG(found.st_mode):
        raise CatalogError(f"{path} is not a file", hint="name the catalog's own file with --db")
    return found.st_size


def _nobody_writes(path: Path) -> bool:
    """Whether a catalog can only be read, as on a read-only mount, or where its mode says so.

    SQLite would put a log beside it even to read it; which it cannot, or would with that mode, so
    that whoever makes the catalog writable again has a log that is not.
    """
    try:
        effective = os.access in os.supports_effective_ids
        if os.access(path, os.W_OK, effective_ids=effective) or _size_of(
            path.with_name(f"{path.name}-wal")
        ):
            return False
        mounted_so = bool(os.statvfs(path).f_flag & os.ST_RDONLY)
        return mounted_so or not path.stat().st_mode & 0o222
    except OSError:
        return False


def _require_folder(path: Path, *, make: bool) -> Path | None:
    """See that the folder for a new catalog is there.

    Returns:
        The folder, if it had to be made.
    """
    folder = path.parent
    if folder.is_dir():
        return None
    if not make:
        raise CatalogError(
            f"the folder {folder} for the catalog does not exist",
            hint=f"`catalogsync init --db {path}` makes it; or name another with --db",
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CatalogError(
            f"the folder {folder} for the catalog cannot be made: {error.strerror}",
            hint="check the path and the permissions of its folders",
        ) from error
    return folder


#: Held while a file is made, so that no thread opens it by SQLite before it is closed here; see
#: `Catalog`.
_creating = threading.Lock()


def _create_private(path: Path) -> bool:
    """An empty file for SQLite, whose journals take its mode. One that is there is left alone.

    Returns:
        Whether it was made.
    """
    try:
        with _creating:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except FileExistsError:
        return False
    except OSError as error:
        raise CatalogError(
            f"{path} cannot be made: {error.strerror}",
            hint="check the path, the room on its disk, and the permissions of its folder",
        ) from error
    return True


def _require_not_newer(path: Path, version: str | None) -> None:
    if version is not None and version > SCHEMA_VERSION:
        raise _version_error(path, version)


def _version_error(path: Path, version: str | None) -> CatalogError:
    if version is not None and version > SCHEMA_VERSION:
        return CatalogError(
            f"the catalog {path} was written by a newer catalogsync (schema {version},"
            f" this program knows {SCHEMA_VERSION})",
            hint="upgrade catalogsync",
        )
    state = "is not a catalogsync catalog yet" if version is None else f"has schema {version}"
    return CatalogError(
        f"the database {path} {state}",
        hint=f"run `catalogsync init --db {path}`: it makes a backup, then migrates",
    )


def _back_up(path: Path) -> Path:
    """Copy the database beside itself with SQLite's backup API, which sees a consistent state."""
    from catalogsync_assets.core.runner.owners import new_part

    stamp = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%S%f")
    whole = path.with_name(f"{path.name}.backup-{stamp}")
    # A kill must not leave a part of a database that looks like a backup.
    target = new_part(path, f"{path.name}.backup-")
    needed = path.stat().st_size
    if shutil.disk_usage(path.parent).free < needed:
        raise CatalogError(
            f"no room for a backup of {path} ({needed} bytes) beside it",
            hint="free some disk space",
        )
    try:
        _create_private(target)
        with (
            _clear_errors(path),
            closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as source,
            closing(sqlite3.connect(target)) as copy,
        ):
            source.backup(copy)
        target.rename(whole)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    return whole


_DAMAGED_HINT = "restore the newest backup beside it; the stores are not affected"
_HINTS = (
    ("locked", "another program holds the catalog; close it, or try again"),
    (
        "readonly",
        "check the permissions of the file, of its -wal and -shm beside it, and of its folder;"
        " SQLite writes beside the file even to read it. A copy elsewhere can be read",
    ),
    ("unable to open", "check the path, and the permissions of the file and its folder"),
    ("constraint", "a rule that this database has for its rows refused one of ours"),
    ("full", "free some disk space; nothing is lost, what was not written is done again"),
    ("malformed", _DAMAGED_HINT),
)


@contextmanager
def _clear_errors(path: Path) -> Iterator[None]:
    """Turn the database's errors into a CatalogError that says what to do."""
    try:
        yield
    except UnicodeEncodeError as error:  # a value for the database: an argument, mostly
        raise UsageError(
            f"{error.object!r} is not valid UTF-8", hint="the catalog takes names in UTF-8 only"
        ) from error
    except OverflowError as error:
        if "SQLite" not in str(error):
            raise
        raise UsageError(
            "a number is too large for the catalog", hint=f"use one up to {2**63 - 1:,}"
        ) from error
    except Exception as error:
        cause = getattr(error, "orig", error)  # SQLAlchemy wraps what the database says
        if not isinstance(cause, sqlite3.DatabaseError) or isinstance(
            cause, sqlite3.ProgrammingError
        ):
            raise
        if "not a database" in str(cause):
            raise CatalogError(
                f"{path} is not an SQLite database", hint="name the catalog's own file with --db"
            ) from error
        hint = next((h for word, h in _HINTS if word in str(cause).lower()), None)
        raise CatalogError(f"the catalog {path}: {cause}", hint=hint) from error
