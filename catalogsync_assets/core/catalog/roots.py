"""Library roots: the folders that are scanned, as rows, and what follows where one has moved.

A root is known by its path; what it lay on when it was last scanned tells whether that path is
still the same folder, and by that and its files' inodes it is known again at another path. That the
same names, sizes and times lie somewhere else proves nothing, as a copy has them too: a person has
to say it then.
"""

from __future__ import annotations

import os
import shlex
import socket
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from catalogsync_assets.core.catalog.backends import follows_links
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.errors import ConfigurationError, UsageError
from catalogsync_assets.core.files.file_systems import (
    FileSystems,
    file_system_of,
    is_another,
    lasts,
)
from catalogsync_assets.core.files.opening import FileStat
from catalogsync_assets.core.settings import overlap

#: Known files that are looked for at most, to tell whether a root lies somewhere.
SAMPLE = 200


@dataclass(frozen=True)
class LibraryRoot:
    """A folder that is scanned."""

    id: int | None  #: None where it has no row, as files came there by other ways than a scan
    path: str
    name: str | None  #: what a person calls it; None for the folder's own name
    #: Where it was last scanned, and what it lay on there; None where no scan has said so yet.
    host: str | None
    file_system: str | None  #: see `file_systems`
    #: UTC, as the database writes it; None for never.
    last_complete_scan_at: str | None
    rehash_began_at: str | None  #: None where it is not being read anew


#: Whether a root's path is the folder that it was: `here`; `gone`, as of a disk that is not
#: mounted; `empty`, as its mount point is then; `exchanged`, where something else is mounted there;
#: `unreadable` where there is a folder that may not be listed.
State = Literal["here", "gone", "empty", "exchanged", "unreadable"]


@dataclass(frozen=True)
class Recognised:
    """A known root whose files were found at another path."""

    root: LibraryRoot
    compared: int  #: known files that were looked for, evenly chosen
    there: int  #: of those, paths at which there is a file
    by_inode: int  #: of those, the ones that are the very files: same inode, size and mtime
    by_size_and_time: int  #: the ones with the same size and mtime, those by inode included
    #: Whether it is the root itself; else it may be a copy of it.
    proven: bool


_COLUMNS = "id, path, name, host, file_system, last_complete_scan_at, rehash_began_at"
_ROOTS = f"SELECT {_COLUMNS} FROM library_roots WHERE let_go_at IS NULL ORDER BY path"
_LET_GO = "SELECT path FROM library_roots WHERE let_go_at IS NOT NULL"


def let_go_roots(catalog: Catalog) -> set[str]:
    """The paths of roots that were let go."""
    return {row[0] for row in catalog.rows(_LET_GO)}


def library_roots(catalog: Catalog) -> list[LibraryRoot]:
    """All roots that were not let go, by path."""
    found = {row[1]: LibraryRoot(*row) for row in catalog.rows(_ROOTS)}
    let_go = let_go_roots(catalog)
    # From one to the next in the index: DISTINCT would read all of it.
    next_root = "SELECT MIN(library_root) FROM file_locations WHERE library_root > :last"
    path = ""
    while (path := catalog.scalar(next_root, last=path)) is not None:
        if path not in let_go:
            found.setdefault(path, LibraryRoot(None, path, *[None] * 5))
    return [found[path] for path in sorted(found)]


def known_roots(catalog: Catalog) -> list[str]:
    """The paths of `library_roots`."""
    return [root.path for root in library_roots(catalog)]


def root_called(catalog: Catalog, given: str) -> LibraryRoot:
    """The root of a path or a name.

    Raises:
        UsageError: there is none, or several have the name. The known ones are listed.
    """
    known = library_roots(catalog)
    path = os.path.abspath(os.path.expanduser(given))  # noqa: PTH100, PTH111
    found = [r for r in known if r.path == path] or [r for r in known if r.name == given]
    if len(found) == 1:
        return found[0]
    listed = ", ".join(r.path for r in found or known) or "none yet; scan it first"
    if found:
        raise UsageError(f"{given} is the name of {len(found)} library roots", hint=listed)
    raise UsageError(f"the catalog knows no library root {path}", hint=f"known are: {listed}")


def limits_of_links(catalog: Catalog, roots: Iterable[str] = ()) -> tuple[str, ...]:
    """The real paths of the folders that links may lead to; empty: anywhere.

    Args:
        roots: library roots, besides those that the catalog knows.
    """
    if follows_links(catalog):
        return ()
    return tuple({os.path.realpath(root): None for root in (*roots, *known_roots(catalog))})


def require_apart(roots: Sequence[Path], known: Sequence[str], *, scanned: bool = False) -> None:
    """Raise a ConfigurationError if a root overlaps another one that was scanned before.

    Args:
        scanned: they are to be scanned: one may have been meant to be in the other's stead.
    """
    for root in roots:
        others = [k for k in known if Path(k) not in roots and overlap(root, Path(k))]
        if others:
            hint = f"scan {others[0]} as before"
            if scanned and len(others) == 1:
                told = shlex.join(("catalogsync", "root", "move", others[0], str(root)))
                hint += f"; or if {root} is to be the library root in its stead, run `{told}`"
            raise ConfigurationError(
                f"library root {root} overlaps {others[0]}, which the catalog knows:"
                " files in both would be cataloged and uploaded twice",
                hint=hint,
            )


def require_moved_apart(new: Path, others: Sequence[str]) -> None:
    """Raise a ConfigurationError if the new path of a root overlaps another root."""
    for other in others:
        if new != Path(other) and overlap(new, Path(other)):
            raise ConfigurationError(
                f"{new} overlaps {other}, which is a library root too:"
                " files in both would be cataloged and uploaded twice",
                hint=f"to be rid of that one first: `catalogsync root forget {shlex.quote(other)}`",
            )


_NOTE = """
INSERT INTO library_roots (path, host, file_system) VALUES (:path, :host, :file_system)
ON CONFLICT (path) DO UPDATE SET host = excluded.host, file_system = excluded.file_system,
    let_go_at = NULL, playlists_read_at = NULL, updated_at = CURRENT_TIMESTAMP
"""
_LISTS_READ = "SELECT path FROM library_roots WHERE playlists_read_at IS NOT NULL"


def lists_read(catalog: Catalog) -> set[str]:
    """The roots below which nothing has changed since playlists were brought in line."""
    return {row[0] for row in catalog.rows(_LISTS_READ)}


def note_lists_read(catalog: Catalog, paths: Iterable[str]) -> None:
    """Playlists are in line with all that is below these roots."""
    statement = "UPDATE library_roots SET playlists_read_at = CURRENT_TIMESTAMP WHERE path = :path"
    if rows := [{"path": path} for path in paths]:
        with catalog.transaction() as connection:
            connection.execute(sa.text(statement), rows)


def note_root(catalog: Catalog, path: str, file_system: str) -> None:
    """A scan of a root begins, on this host. One that was let go is back. Idempotent.

    Until the scan has ended, playlists are due (`lists_read`): it may be killed before them.
    """
    values = {"path": path, "host": socket.gethostname(), "file_system": file_system}
    _write(catalog, _NOTE, values)


def take_back(catalog: Catalog, path: str) -> None:
    """Files are about to come below a folder by other ways than a scan: it is let go no more."""
    if path in let_go_roots(catalog):
        _set(catalog, path, "let_go_at = NULL")


def note_lost(connection: sa.Connection, path: str, name: str | None = None) -> None:
    """A root of a machine that is gone: none of this one's, but scans look for its files.

    Idempotent. As a part of another transaction.
    """
    statement = (
        "INSERT INTO library_roots (path, name, let_go_at) VALUES (:path, :name, CURRENT_TIMESTAMP)"
        " ON CONFLICT (path) DO UPDATE SET let_go_at = COALESCE(library_roots.let_go_at,"
        " excluded.let_go_at)"
    )
    connection.execute(sa.text(statement), {"path": path, "name": name})


def note_complete_scan(catalog: Catalog, path: str) -> None:
    """A scan has seen all of a root, just now."""
    _set(catalog, path, "last_complete_scan_at = CURRENT_TIMESTAMP")


def begin_rehash(catalog: Catalog, path: str) -> str:
    """All of a root is to be read anew. Where that is going on already, it goes on.

    Returns:
        Since when: what was read later need not be read again. UTC, as the database writes it.
    """
    _set(catalog, path, "rehash_began_at = COALESCE(rehash_began_at, CURRENT_TIMESTAMP)")
    statement = "SELECT rehash_began_at FROM library_roots WHERE path = :path"
    return str(catalog.scalar(statement, path=path))


def end_rehash(catalog: Catalog, path: str) -> None:
    """All of a root has been read anew."""
    _set(catalog, path, "rehash_began_at = NULL")


def name_root(catalog: Catalog, path: str, name: str | None) -> None:
    """Call a root by a name, which a root that was let go loses.

    Args:
        path: of a known one.
        name: None for none.

    Raises:
        UsageError: another root has the name.
    """
    statement = (
        "INSERT INTO library_roots (path, name) VALUES (:path, :name)"
        " ON CONFLICT (path) DO UPDATE SET name = excluded.name, updated_at = CURRENT_TIMESTAMP"
    )
    values = {"path": path, "name": name}
    with catalog.transaction() as connection:
        other = connection.scalar(sa.text(_NAMED_SO), values)
        if other is not None:
            told = shlex.join(("catalogsync", "root", "name", other, "--none"))
            raise UsageError(
                f"library root {other} is called {name} already",
                hint=f"choose another name, or take that one away: `{told}`",
            )
        connection.execute(sa.text(_NOT_NAMED_SO), values)
        connection.execute(sa.text(statement), values)


_NAMED_SO = (
    "SELECT path FROM library_roots WHERE name = :name AND path <> :path AND let_go_at IS NULL"
)
_NOT_NAMED_SO = "UPDATE library_roots SET name = NULL WHERE name = :name AND let_go_at IS NOT NULL"


def _set(catalog: Catalog, path: str, what: str, **values: object) -> None:
    statement = f"UPDATE library_roots SET {what}, updated_at = CURRENT_TIMESTAMP"
    _write(catalog, f"{statement} WHERE path = :path", {"path": path, **values})


def _write(catalog: Catalog, statement: str, values: Mapping[str, object]) -> None:
    with catalog.transaction() as connection:
        connection.execute(sa.text(statement), values)


@dataclass(frozen=True)
class Contents:
    """What the catalog has below a root."""

    files: int  #: that are there
    bytes: int  #: of these
    others: int  #: gone, left out, damaged, offloaded and the like


_CONTENTS = """
SELECT l.library_root, SUM(CASE WHEN l.status = 'active' THEN 1 ELSE 0 END),
       SUM(CASE WHEN l.status = 'active' THEN COALESCE(l.size_bytes, f.size_bytes, 0) ELSE 0 END),
       SUM(CASE WHEN l.status = 'active' THEN 0 ELSE 1 END)
FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
WHERE l.library_root IS NOT NULL AND l.status NOT IN ('superseded', 'forgotten')
  AND (:root IS NULL OR l.library_root = :root)
GROUP BY l.library_root
"""


def contents(catalog: Catalog, root: str | None = None) -> dict[str, Contents]:
    """By root, what the catalog has below it; a root without files is not there.

    Args:
        root: only this one.
    """
    return {path: Contents(*row) for path, *row in catalog.rows(_CONTENTS, root=root)}


def state_of(root: LibraryRoot) -> State:
    """Whether the path of a root is the folder that it was when it was last scanned.

    One of which no scan has said what it lay on is, unless it is empty: hidden entries alone are
    what unmounting, or a file manager's moving of all files, may leave.
    """
    try:
        with os.scandir(root.path) as entries:
            empty = all(e.name.startswith(".") or e.name == "lost+found" for e in entries)
    except PermissionError:
        return "unreadable"
    except OSError:
        return "gone"
    if is_another(file_system_of(root.path), root.file_system):
        return "exchanged"
    return "empty" if empty else "here"


def is_there(root: LibraryRoot) -> bool:
    """Whether nothing says that the folder of a root is not where it was."""
    return state_of(root) in ("here", "unreadable")


def find_moved_root(catalog: Catalog, new: Path, file_system: str) -> Recognised | None:
    """The known root that lies at another path now, if any: see `Recognised.proven`.

    Asked of are the roots of this host that are not where they were. Nothing is written.

    Args:
        new: the path, which the catalog knows no files below.
        file_system: what it lies on.
    """
    if _has_files(catalog, str(new)):
        return None
    found = [
        recognised
        for root in library_roots(catalog)
        if root.host in (None, socket.gethostname())
        and root.path != str(new)
        and not is_there(root)
        and (recognised := compare(catalog, root, new, file_system)).by_size_and_time
        and (recognised.proven or 2 * recognised.by_size_and_time >= recognised.there)
    ]
    return max(found, key=lambda r: (r.proven, r.by_inode, r.by_size_and_time), default=None)


def compare(catalog: Catalog, root: LibraryRoot, new: Path, file_system: str) -> Recognised:
    """Look for known files of a root at another path, by stat alone.

    Args:
        file_system: what the path lies on.
    """
    systems = FileSystems()
    compared = there = by_inode = by_size_and_time = 0
    for path, *known in _sample(catalog, root.path):
        compared += 1
        try:
            status = os.stat(new / path)  # noqa: PTH116
        except OSError:
            continue
        if not stat.S_ISREG(status.st_mode):
            continue
        there += 1
        seen = FileStat.of(status, systems.of_device(new / path, status.st_dev))
        if [seen.size_bytes, seen.mtime_ns] != known[:2]:
            continue
        by_size_and_time += 1
        by_inode += lasts(seen.file_system) and [seen.inode, seen.file_system] == known[2:]
    proven = (
        lasts(file_system)
        and (root.host, root.file_system) == (socket.gethostname(), file_system)
        and 2 * by_inode >= there
        and by_inode > 0
    )
    return Recognised(root, compared, there, by_inode, by_size_and_time, proven)


def inodes_of_gone(
    catalog: Catalog, file_system: str
) -> list[tuple[str, frozenset[tuple[int, int, int]]]]:
    """The roots that lay on a file system and are not where they were, with some of their files.

    Returns:
        Of each, its path, and the inode, size and mtime of up to `SAMPLE` files; none where inodes
        do not last.
    """
    if not lasts(file_system):
        return []
    here = socket.gethostname(), file_system
    gone = [
        r for r in library_roots(catalog) if (r.host, r.file_system) == here and not is_there(r)
    ]
    return [
        (
            root.path,
            frozenset(
                (inode, size, mtime)
                for _, size, mtime, inode, on in _sample(catalog, root.path)
                if on == file_system
            ),
        )
        for root in gone
    ]


_NUMBERED = """
SELECT library_path, size_bytes, mtime_ns, inode, file_system FROM (
    SELECT l.library_path, COALESCE(l.size_bytes, f.size_bytes) AS size_bytes, l.mtime_ns,
           l.inode, l.file_system, ROW_NUMBER() OVER (ORDER BY l.library_path) - 1 AS place
    FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
    WHERE l.library_root = :root AND l.status = :status) x
WHERE place % :step = 0 ORDER BY library_path
"""
_COUNT = "SELECT COUNT(*) FROM file_locations WHERE library_root = :root AND status = :status"


def _sample(catalog: Catalog, root: str) -> Iterator[Sequence[Any]]:
    """Evenly chosen files of a root: of those that are there; where none is, of those missing."""
    for status in ("active", "missing"):
        if count := catalog.scalar(_COUNT, root=root, status=status):
            step = -(-count // SAMPLE)
            yield from catalog.rows(_NUMBERED, root=root, status=status, step=step)
            return


_HAS_FILES = """
SELECT 1 FROM file_locations
WHERE library_root = :root AND status NOT IN ('superseded', 'forgotten') LIMIT 1
"""


def _has_files(catalog: Catalog, root: str) -> bool:
    return catalog.scalar(_HAS_FILES, root=root) is not None


_MOVED_PATH = """
CASE WHEN substr({column}, 1, :length) = :below THEN :new_below || substr({column}, :length + 1)
     ELSE {column} END
"""
_OTHER_INODES = "file_system = :old_system AND :new_system <> :old_system"
_MOVE_FILES = f"""
UPDATE file_locations SET
    absolute_path = {_MOVED_PATH.format(column="absolute_path")},
    container_name = CASE WHEN container_name = :old THEN :new ELSE container_name END,
    locator = CASE WHEN EXISTS (
        SELECT 1 FROM file_locations o WHERE o.file_asset_id = file_locations.file_asset_id
          AND o.backend_id = file_locations.backend_id
          AND o.locator = :new_below || substr(file_locations.locator, :length + 1))
      THEN locator ELSE {_MOVED_PATH.format(column="locator")} END,
    inode = CASE WHEN {_OTHER_INODES} THEN NULL ELSE inode END,
    ctime_ns = CASE WHEN {_OTHER_INODES} THEN NULL ELSE ctime_ns END,
    file_system = CASE WHEN {_OTHER_INODES} THEN :new_system ELSE file_system END,
    library_root = :new, updated_at = CURRENT_TIMESTAMP
WHERE library_root = :old
"""
_MOVE_ROW = """
UPDATE library_roots SET path = :new, host = :host, file_system = :new_system,
    updated_at = CURRENT_TIMESTAMP
WHERE path = :old
"""


def move_root(catalog: Catalog, old: str, new: str) -> int:
    """A root lies at another path now, with all its files. In one transaction; idempotent.

    Nothing on disk is moved or read. Where the new path is another file system, what is known of
    inodes is dropped: they were those of the old one. Columns that another program has filled
    change only where they hold the old path.

    Args:
        old: as it is known.
        new: absolute; what is there is not asked.

    Returns:
        How many files the catalog knows there now by that; 0 where nothing is known at `old`.

    Raises:
        ConfigurationError: the new path overlaps another root, or files below it are known.
    """
    known = known_roots(catalog)
    if old == new or old not in known:
        return 0
    require_moved_apart(Path(new), [k for k in known if k != old])
    from catalogsync_assets.core.catalog.files import meet_rows_of_other_programs

    meet_rows_of_other_programs(catalog, old)
    system = file_system_of(new) if os.path.isdir(new) else None  # noqa: PTH112
    below = old.rstrip("/") + "/"
    values = {
        **{"old": old, "new": new, "new_system": system},
        **{"below": below, "new_below": new.rstrip("/") + "/", "length": len(below)},
    }
    with catalog.transaction() as connection:

        def run(statement: str) -> int:
            return connection.execute(sa.text(statement), values).rowcount

        require_free(connection, new)
        was = "SELECT file_system FROM library_roots WHERE path = :old"
        values["old_system"] = connection.scalar(sa.text(was), values)
        moved = run(_MOVE_FILES)
        path = _MOVED_PATH.format(column="absolute_path")
        run(
            f"UPDATE download_tasks SET absolute_path = {path}"
            " WHERE substr(absolute_path, 1, :length) = :below"
        )
        rename_root(connection, old, new, system)
    return moved


def require_free(connection: sa.Connection, new: str) -> None:
    """Raise a ConfigurationError if the catalog knows files of a root at this path."""
    if connection.scalar(sa.text(_HAS_FILES), {"root": new}) is not None:
        raise ConfigurationError(
            f"the catalog already knows files below {new}",
            hint=f"let that root go first: `catalogsync root forget {new}`",
        )


def rename_root(connection: sa.Connection, old: str, new: str, file_system: str | None) -> None:
    """A root is known by another path, with its policy and its downloads. Its files: see
    `move_root`."""
    values = {"old": old, "new": new, "host": socket.gethostname(), "new_system": file_system}

    def run(statement: str) -> None:
        connection.execute(sa.text(statement), values)

    run("INSERT INTO library_roots (path) VALUES (:old) ON CONFLICT (path) DO NOTHING")
    for table, column in (("library_policies", "library_root"), ("download_roots", "path")):
        # What stood for the new path, when it held no file, gives way.
        there = f"EXISTS (SELECT 1 FROM {table} o WHERE o.{column} = :old)"
        run(f"DELETE FROM {table} WHERE {column} = :new AND {there}")
        run(f"UPDATE {table} SET {column} = :new WHERE {column} = :old")
    run("DELETE FROM library_roots WHERE path = :new")
    run(_MOVE_ROW)


def let_go(catalog: Catalog, path: str) -> None:
    """A root is no longer the library's; its policy goes. What becomes of its files: see
    `library.letting_go`. Idempotent."""
    with catalog.transaction() as connection:
        for statement in (
            "INSERT INTO library_roots (path, let_go_at) VALUES (:path, CURRENT_TIMESTAMP)"
            " ON CONFLICT (path) DO UPDATE SET let_go_at = CURRENT_TIMESTAMP,"
            " rehash_began_at = NULL, updated_at = CURRENT_TIMESTAMP",
            "DELETE FROM library_policies WHERE library_root = :path",
            "DELETE FROM download_roots WHERE path = :path",
        ):
            connection.execute(sa.text(statement), {"path": path})
