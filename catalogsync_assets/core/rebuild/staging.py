"""What has been read of objects, kept beside the catalog that is made until all of it is there.

A file of its own: to look at a million objects takes hours, and a kill is to cost seconds; and what
becomes of an object may depend on all others.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from catalogsync_assets.core.rebuild.names import Owner
from catalogsync_assets.core.stores.verify import bare


class Item(NamedTuple):
    """An object that may be a file, as a look at it has told."""

    key: str  #: the whole key
    path: str  #: below a library root; safe
    size_bytes: int
    etag: str | None
    sha256: str  #: in hex; only said, unless `how` tells
    how: str | None  #: `head` or `read`, where the digest is the store's, or that of its bytes
    owner: Owner | None  #: who says to have put it
    modified: float | None  #: when, in seconds since the epoch
    #: What there is to record of it besides: values of `FileFacts`.
    facts: dict[str, Any]


class Moved(NamedTuple):
    """A file that may be at another path than the catalog has, as its object is at another key."""

    file_asset_id: int
    key: str  #: the whole key of the object
    path: str  #: that this stands for


_TABLE = """
CREATE TABLE IF NOT EXISTS objects (
    key TEXT PRIMARY KEY, path TEXT, size INTEGER, etag TEXT, sha256 TEXT, how TEXT,
    catalog TEXT, file INTEGER NOT NULL, modified REAL NOT NULL, facts TEXT, state TEXT,
    later INTEGER NOT NULL DEFAULT 1) WITHOUT ROWID
"""
_MOVED_TABLE = "CREATE TABLE IF NOT EXISTS moved (file INTEGER PRIMARY KEY, key TEXT, path TEXT)"
# For `waiting`: made once most are there.
_INDEX = """
CREATE INDEX IF NOT EXISTS in_turn ON objects (later, file, modified, key) WHERE state = 'waiting'
"""
_ADD = "INSERT OR REPLACE INTO objects VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'waiting', 1)"
# Of one file that was copied from key to key, the last comes last.
_WAITING = """
SELECT key, path, size, etag, sha256, how, catalog, file, modified, facts, later FROM objects
WHERE state = 'waiting' AND (later, file, modified, key) > (?, ?, ?, ?)
ORDER BY later, file, modified, key LIMIT ?
"""


class Staging:
    """A table on disk. Not thread-safe."""

    def __init__(self, path: Path) -> None:
        """
        Args:
            path: of its file, which is made where there is none, for its owner alone.
        """
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.execute("PRAGMA synchronous=NORMAL")
        self._db.execute(_TABLE)
        self._db.execute(_MOVED_TABLE)

    def close(self) -> None:
        """Close it; what it holds stays."""
        self._db.close()

    def known(self, keys: Collection[str]) -> dict[str, tuple[str, int]]:
        """Those of these keys that have been looked at: the ETag, without quotes, and the size."""
        rows = self._db.execute(
            "SELECT key, etag, size FROM objects WHERE key IN (SELECT value FROM json_each(?))",
            (json.dumps(list(keys)),),
        )
        return {key: (bare(etag), size) for key, etag, size in rows}

    def add(self, items: Sequence[Item]) -> None:
        """Keep them, all or none, in place of what was known of their keys."""
        rows = [
            (
                *item[:6],
                *(item.owner or (None, 0)),
                item.modified or 0.0,
                json.dumps(item.facts),
            )
            for item in items
        ]
        self._all(_ADD, rows)

    def owners(self) -> dict[str, int]:
        """How many objects say that they are of which catalog, the most frequent first."""
        rows = self._db.execute(
            "SELECT catalog, COUNT(*) FROM objects WHERE catalog IS NOT NULL"
            " GROUP BY catalog ORDER BY 2 DESC, 1"
        )
        return dict(rows.fetchall())

    def waiting(self, of_catalog: str | None, size: int) -> Iterator[list[Item]]:
        """Those of which nothing is decided, in pages: first those of a catalog, in the order of
        its files, then the others by key. What is settled meanwhile does no harm."""
        self._db.execute(_INDEX)
        is_later = (
            "UPDATE objects SET later = (catalog IS NULL OR catalog <> ?) WHERE state = 'waiting'"
        )
        self._db.execute(is_later, (of_catalog or "",))
        after: tuple[Any, ...] = (0, -1, 0.0, "")
        while page := self._db.execute(_WAITING, (*after, size)).fetchall():
            yield [_item(row[:-1]) for row in page]
            *_, file, modified, _, later = page[-1]
            after = (later, file, modified, page[-1][0])

    def settle(self, keys: Collection[str]) -> None:
        """Something was decided of these."""
        self._all("UPDATE objects SET state = 'settled' WHERE key = ?", [(key,) for key in keys])

    def note_moved(self, moved: Sequence[Moved]) -> None:
        """Keep these, each in place of what was noted of its file."""
        self._all("INSERT OR REPLACE INTO moved VALUES (?, ?, ?)", moved)

    def moved(self, size: int) -> Iterator[list[Moved]]:
        """Those that were noted, in pages. What is dropped meanwhile does no harm."""
        page_of = "SELECT file, key, path FROM moved WHERE file > ? ORDER BY file LIMIT ?"
        after = 0
        while page := list(map(Moved._make, self._db.execute(page_of, (after, size)))):
            yield page
            after = page[-1].file_asset_id

    def drop_moved(self, moved: Sequence[Moved]) -> None:
        """These are done with."""
        self._all("DELETE FROM moved WHERE file = ?", [(m.file_asset_id,) for m in moved])

    def _all(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        self._db.execute("BEGIN")
        try:
            self._db.executemany(statement, rows)
        except BaseException:
            if self._db.in_transaction:  # a full disk has ended it by itself
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def discard(path: Path) -> None:
    """Remove such a table, where there is one; it is closed.

    Raises:
        OSError: as the system says it.
    """
    for name in (path, Path(f"{path}-journal")):
        name.unlink(missing_ok=True)


def _item(row: Sequence[Any]) -> Item:
    *first, catalog, file, modified, facts = row
    owner = None if catalog is None else Owner(catalog, file)
    return Item._make((*first, owner, modified or None, json.loads(facts)))
