"""Pairs what a scan has found with the files that are no longer where they were.

A file is followed when it moves. Whether a path that nobody knew holds a known file can be told
only once every root has been walked, so both sides wait until then: in a table on disk, as a
library that was renamed as a whole has all its files there.

What makes two of them the same, in this order:

1. the same inode of a file system that lasts, the same size and the same mtime: unread;
2. the same digest. A file is read for that if a lost one has its size, and its mtime, its inode or
   its name; or no mtime that anybody knows.

Music is never paired with a file beside it, nor are two of these that are of different kinds.
Each is paired once. What is left is new, changed, or gone.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Literal, NamedTuple

from catalogsync_assets.core.catalog.files import KnownFile
from catalogsync_assets.core.catalog.locations import MovedUnread
from catalogsync_assets.core.files.file_systems import lasts
from catalogsync_assets.core.files.opening import FileStat

#: How a file was known again.
How = Literal["inode", "read"]


class Arrived(NamedTuple):
    """What lies at a path, where the catalog expects nothing or something else."""

    id: int
    root: str
    path: str  #: below the root
    stat: FileStat
    location_id: int | None  #: the location that the catalog has for this path, if any
    quiet: bool  #: nothing but its ctime or its inode is another
    sha256: str | None  #: in hex, where it was read
    companion: str | None  #: what kind of file it is beside music; None of music

    @property
    def place(self) -> str:
        """Its absolute path."""
        return f"{self.root.rstrip('/')}/{self.path}"


class Lost(NamedTuple):
    """A known file that is not where it was."""

    root: str
    known: KnownFile


_PRAGMAS = "PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF; PRAGMA cache_size=-16384;"
_TABLES = """
CREATE TABLE arrived (
    id INTEGER PRIMARY KEY, root TEXT, path TEXT, name TEXT,
    size INTEGER, mtime INTEGER, ctime INTEGER, inode INTEGER, file_system TEXT, lasting TEXT,
    location INTEGER, quiet INTEGER, companion TEXT, sha256 TEXT);
CREATE TABLE lost (
    location INTEGER PRIMARY KEY, asset INTEGER, song INTEGER, path TEXT, status TEXT,
    size INTEGER, mtime INTEGER, sha256 TEXT, has_key INTEGER, unreadable INTEGER,
    ctime INTEGER, inode INTEGER, file_system TEXT, verified_by TEXT, verified_at TEXT,
    tags_digest TEXT, companion TEXT, root TEXT, name TEXT, lasting TEXT, replaced INTEGER);
CREATE TABLE pairs (arrived INTEGER PRIMARY KEY, location INTEGER NOT NULL UNIQUE, how TEXT);
"""
# Made once both tables are full: the second ones only where inodes have not told all.
_INDEX = "CREATE INDEX lost_by_inode ON lost (inode, lasting);"
_INDEXES = """
CREATE INDEX lost_by_size ON lost (size, mtime);
CREATE INDEX lost_by_name ON lost (name, size);
CREATE INDEX lost_by_digest ON lost (sha256);
"""
# A row is taken by the first that comes: those that have kept their names go before.
_BY_INODE = """
INSERT OR IGNORE INTO pairs
SELECT a.id, l.location, 'inode' FROM arrived a
JOIN lost l INDEXED BY lost_by_inode
    ON l.inode = a.inode AND l.lasting = a.lasting AND l.size = a.size AND l.mtime = a.mtime
    AND l.companion IS a.companion
WHERE l.location IS NOT a.location
ORDER BY l.name = a.name DESC, a.id, l.location
"""
_UNPAIRED = "SELECT EXISTS (SELECT 1 FROM arrived WHERE id NOT IN (SELECT arrived FROM pairs))"
# Each way by an index of its own: a library may have many files of one size.
_PROPOSED = """
EXISTS (SELECT 1 FROM lost l {way} AND +l.sha256 IS NOT NULL
        AND l.companion IS a.companion AND +l.location NOT IN (SELECT location FROM pairs))
"""
_WAYS = (
    "INDEXED BY lost_by_size WHERE l.size = a.size AND l.mtime = a.mtime",
    "INDEXED BY lost_by_name WHERE l.name = a.name AND l.size = a.size",
    "INDEXED BY lost_by_inode"
    " WHERE l.inode = a.inode AND l.lasting = a.lasting AND l.size = a.size",
    "WHERE l.location = a.location AND l.size = a.size",
    # Known by an object alone, which tells no mtime, and may be called otherwise.
    "INDEXED BY lost_by_size WHERE l.size = a.size AND l.mtime IS NULL",
)
_CANDIDATES = f"""
SELECT a.id, a.root, a.path FROM arrived a
WHERE a.id > :after AND a.id NOT IN (SELECT arrived FROM pairs)
  AND ({" OR ".join(_PROPOSED.format(way=way) for way in _WAYS)})
ORDER BY a.id LIMIT :page
"""
_BY_DIGEST = """
INSERT OR IGNORE INTO pairs
SELECT a.id, l.location, 'read' FROM arrived a
JOIN lost l INDEXED BY lost_by_digest ON l.sha256 = a.sha256 AND l.size = a.size
    AND l.companion IS a.companion
WHERE a.sha256 IS NOT NULL AND a.id NOT IN (SELECT arrived FROM pairs)
  AND l.location NOT IN (SELECT location FROM pairs)
ORDER BY l.location IS a.location DESC, l.name = a.name DESC, l.mtime = a.mtime DESC,
         a.id, l.location
"""
_ARRIVED = """
a.id, a.root, a.path, a.size, a.mtime, a.ctime, a.inode, a.file_system, a.location, a.quiet,
a.sha256, a.companion
"""
# Of a row `l`, in the order of `KnownFile`; then its root.
_LOST = """
{l}.location, {l}.asset, {l}.song, {l}.path, {l}.status, {l}.size, {l}.mtime, {l}.sha256,
{l}.has_key, {l}.unreadable, {l}.ctime, {l}.inode, {l}.file_system, {l}.verified_by,
{l}.verified_at, {l}.tags_digest, {l}.companion, {l}.root
"""
_KNOWN, _OVER = _LOST.format(l="l"), _LOST.format(l="o")
# A pair of which there is no more to be said than the new path; as of nearly all.
_IS_PLAIN = """
(p.how = 'inode' AND a.location IS NULL AND l.status = 'active'
 AND (a.ctime IS l.ctime OR :unread))
"""
_PLAIN = f"""
SELECT a.id, l.location, l.asset, a.root, a.path, a.size, a.mtime, a.ctime, a.inode, a.file_system,
       a.ctime IS NOT l.ctime
FROM pairs p JOIN arrived a ON a.id = p.arrived JOIN lost l ON l.location = p.location
WHERE p.arrived > :after AND {_IS_PLAIN} ORDER BY p.arrived LIMIT :page
"""
_MOVED = f"""
SELECT {_ARRIVED}, {_KNOWN}, {_OVER}, p.how FROM pairs p
JOIN arrived a ON a.id = p.arrived JOIN lost l ON l.location = p.location
LEFT JOIN lost o ON o.location = a.location AND o.location NOT IN (SELECT location FROM pairs)
WHERE p.arrived > :after AND NOT {_IS_PLAIN} ORDER BY p.arrived LIMIT :page
"""
_NOT_MOVED = f"""
SELECT {_ARRIVED}, {_KNOWN} FROM arrived a
LEFT JOIN lost l ON l.location = a.location AND l.location NOT IN (SELECT location FROM pairs)
WHERE a.id > :after AND a.id NOT IN (SELECT arrived FROM pairs) ORDER BY a.id LIMIT :page
"""
_NOT_FOUND = f"""
SELECT {_KNOWN} FROM lost l
WHERE l.location > :after AND l.location NOT IN (SELECT location FROM pairs) AND l.replaced = 0
ORDER BY l.location LIMIT :page
"""
_QUIET = f"""
SELECT {_ARRIVED}, {_KNOWN} FROM arrived a JOIN lost l ON l.location = a.location
WHERE a.id > :after AND a.quiet AND a.root = :root ORDER BY a.id LIMIT :page
"""
_TOUCHED = """
SELECT COUNT(*), COALESCE(SUM(a.size), 0) FROM pairs p
JOIN arrived a ON a.id = p.arrived JOIN lost l ON l.location = p.location
WHERE p.how = 'inode' AND a.ctime IS NOT l.ctime
"""
_BY_THIS_INODE = f"""
SELECT {_KNOWN} FROM lost l
WHERE l.inode = ? AND l.lasting = ? AND l.location IS NOT ? AND l.replaced = 0
  AND l.location NOT IN (SELECT location FROM pairs) LIMIT 1
"""
_ARRIVED_INDEX = """
CREATE INDEX IF NOT EXISTS arrived_by_size ON arrived (size, mtime) WHERE location IS NULL
"""
_HAS_ARRIVED = "SELECT 1 FROM arrived WHERE location IS NULL AND size = ? AND mtime = ? LIMIT 1"
_ADD_ARRIVED = "INSERT INTO arrived VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)"
_ADD_LOST = f"INSERT OR IGNORE INTO lost VALUES ({', '.join('?' * 21)})"
_PAGE = 500
_PLAIN_PAGE = 5_000


class Moves:
    """What one scan has met and missed.

    Fill it with `add_arrived` and `add_lost`, call `pair` once, then read what came of it.
    """

    def __init__(self) -> None:
        # A database that SQLite keeps in a file of its own once it gets large, and removes.
        self._arrived: list[tuple[Any, ...]] = []
        self._lost: list[tuple[Any, ...]] = []
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(f"{_PRAGMAS} {_TABLES} BEGIN;")

    def close(self) -> None:
        """Let go of the tables."""
        self._db.close()

    def add_arrived(
        self,
        root: str,
        path: str,
        stat: FileStat,
        location_id: int | None = None,
        *,
        quiet: bool = False,
        stayed: bool = False,
        companion: str | None = None,
    ) -> None:
        """A path holds something that the catalog does not expect there.

        Args:
            location_id: the location that the catalog has for this path, if any.
            quiet: nothing but its ctime or its inode is another.
            stayed: its inode is the one that the catalog has for the path: it came from nowhere.
            companion: what kind of file it is beside music; None of music.
        """
        lasting = stat.file_system if lasts(stat.file_system) and not stayed else None
        name = path.rpartition("/")[2]
        self._arrived.append((root, path, name, *stat, lasting, location_id, quiet, companion))
        if len(self._arrived) >= _PAGE:
            self._write()

    def add_lost(self, root: str, known: KnownFile, by: FileStat | None = None) -> None:
        """A known file is not at its path.

        Args:
            by: what is there in its stead.
        """
        # The inode of a file that was removed on purpose is free for others; one that is still at
        # the path has another name there at most.
        free = known.status in ("offloaded", "forgotten") or (
            by is not None and by.inode == known.inode
        )
        tells = not free and lasts(known.file_system)
        lasting = known.file_system if tells else None
        name = known.path.rpartition("/")[2]
        self._lost.append((*known, root, name, lasting, by is not None))
        if len(self._lost) >= _PAGE:
            self._write()

    def _write(self) -> None:
        self._db.executemany(_ADD_ARRIVED, self._arrived)
        self._db.executemany(_ADD_LOST, self._lost)
        self._arrived.clear()
        self._lost.clear()

    def has_arrived(self, size_bytes: int | None, mtime_ns: int | None) -> bool:
        """Whether a file of this size and mtime, in ns, is at a path that nobody knew."""
        self._write()
        self._db.execute(_ARRIVED_INDEX)
        return self._db.execute(_HAS_ARRIVED, (size_bytes, mtime_ns)).fetchone() is not None

    def pair(self, digest: Callable[[str, str], str | None]) -> None:
        """Find out which are the same.

        Args:
            digest: reads a file, of a root and a path below it; its SHA-256 in hex, or None if it
                cannot be read. Called once a file at most.
        """
        self._write()
        db = self._db
        db.executescript(f"{_INDEX} {_BY_INODE};")
        if not db.execute(_UNPAIRED).fetchone()[0]:
            return
        db.executescript(_INDEXES)
        for id_, root, path in self._rows(_CANDIDATES):
            if (sha256 := digest(root, path)) is not None:
                db.execute("UPDATE arrived SET sha256 = ? WHERE id = ?", (sha256, id_))
        db.execute(_BY_DIGEST)

    def quiet(self, root: str) -> Iterator[tuple[Arrived, KnownFile]]:
        """The files below a root of which nothing but ctime or inode is another; these are dealt
        with then. To be called before `pair`, and read to its end."""
        self._write()
        for row in self._rows(_QUIET, root=root):
            yield _arrived(row), _lost(row[12:]).known
        quiet = "SELECT location FROM arrived WHERE quiet AND root = ?"
        self._db.execute(f"DELETE FROM lost WHERE location IN ({quiet})", (root,))
        self._db.execute("DELETE FROM arrived WHERE quiet AND root = ?", (root,))

    def touched(self) -> tuple[int, int]:
        """How many of those that an inode has told have another ctime, as after a renaming or an
        edit that kept the mtime; and their size in bytes."""
        count, size = self._db.execute(_TOUCHED).fetchone()
        return int(count), int(size)

    def plain(self, *, unread: bool) -> Iterator[list[MovedUnread]]:
        """Known files at paths that nobody knew, told by their inodes, of which there is no more to
        be said: in large chunks, as a library that was renamed as a whole has all its files here.

        Args:
            unread: whether those that are `touched` are among them; else `moved` has them.
        """
        for page in self._pages(_PLAIN, _PLAIN_PAGE, unread=unread):
            yield [MovedUnread._make(row[1:]) for row in page]

    def moved(self, *, unread: bool) -> Iterator[tuple[Arrived, Lost, How, KnownFile | None]]:
        """The other files that are elsewhere now, or the same where they were; with how that is
        known, and with the known file whose path each has taken, if that was found nowhere.

        Args:
            unread: as `plain` was asked.
        """
        for row in self._rows(_MOVED, unread=unread):
            over = None if row[30] is None else _lost(row[30:]).known
            yield _arrived(row), _lost(row[12:]), row[-1], over

    def not_moved(self) -> Iterator[tuple[Arrived, KnownFile | None]]:
        """What no known file that was elsewhere accounts for; with what the catalog has there, if
        that has not moved away itself."""
        for row in self._rows(_NOT_MOVED):
            yield _arrived(row), None if row[12] is None else _lost(row[12:]).known

    def not_found(self) -> Iterator[Lost]:
        """The known files that were found nowhere, and whose paths hold nothing else."""
        yield from map(_lost, self._rows(_NOT_FOUND))

    def by_inode(self, arrived: Arrived) -> Lost | None:
        """The lost file of elsewhere that had this inode, of a file system that lasts: a hint, no
        more."""
        if not lasts(arrived.stat.file_system):
            return None
        which = arrived.stat.inode, arrived.stat.file_system, arrived.location_id
        row = self._db.execute(_BY_THIS_INODE, which).fetchone()
        return None if row is None else _lost(row)

    def take(self, arrived: Arrived, lost: Lost) -> None:
        """Pair two by what the caller knows."""
        values = (arrived.id, lost.known.location_id, "tags")
        self._db.execute("INSERT OR IGNORE INTO pairs VALUES (?, ?, ?)", values)

    def _rows(self, statement: str, **values: Any) -> Iterator[Sequence[Any]]:
        return chain.from_iterable(self._pages(statement, _PAGE, **values))

    def _pages(self, statement: str, size: int, **values: Any) -> Iterator[list[Sequence[Any]]]:
        """As what is done about a row may write into the tables."""
        values |= {"after": 0, "page": size}
        while page := self._db.execute(statement, values).fetchall():
            yield page
            values["after"] = page[-1][0]


def _arrived(row: Sequence[Any]) -> Arrived:
    """From a row that begins with `_ARRIVED`."""
    id_, root, path, *stat, location_id, quiet, sha256, companion = row[:12]
    return Arrived(id_, root, path, FileStat(*stat), location_id, bool(quiet), sha256, companion)


def _lost(row: Sequence[Any]) -> Lost:
    """From a row that begins with `_LOST`."""
    return Lost(row[17], KnownFile._make(row[:17]))
