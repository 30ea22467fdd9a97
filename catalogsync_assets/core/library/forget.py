"""Files that are not there and that a person wants no more: they leave the library's figures.

Their objects stay, and are audited as before, but nothing more is asked of them: no upload, no
restore, no number of copies. A file that comes back is known again. Nothing here runs unasked.

A plan tells which files, and what would be lost with them; carrying it out looks at each once more,
in the transaction that forgets it. May be stopped at any moment and done again.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa

from catalogsync_assets.core.catalog import locations, remote_copies
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.roots import known_roots
from catalogsync_assets.core.catalog.schema import library_roots
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.catalog.separation import Separation, separation
from catalogsync_assets.core.catalog.upload_plan import drop_unwanted
from catalogsync_assets.core.errors import UsageError
from catalogsync_assets.core.runner.report import MOST_LISTED
from catalogsync_assets.core.settings import forget_days

#: Files forgotten in one transaction.
_CHUNK = 500
_PRESENT_HINT = (
    "delete what you want no more, scan, and forget it then; `.catalogsyncignore` leaves files out"
    " that stay; `catalogsync offload` only frees the disk"
)


@dataclass(frozen=True)
class Request:
    """Which files are meant: all that fit everything that is given."""

    #: Only files that have been gone for long: see `days`.
    gone: bool = False
    #: So many days must lie between the scan that first found a file gone and the last complete one
    #: of its root; None for the setting.
    days: int | None = None
    #: Files or folders as the catalog knows them: absolute, from the working directory, or below a
    #: library root.
    paths: Sequence[str] = ()
    scope: Scope = EVERYTHING


@dataclass(frozen=True)
class ForgottenFile:
    """A file that is forgotten, or would be."""

    path: str  #: absolute
    song_id: int | None
    status: str  #: until then: `missing`, `offloaded` or `excluded`
    size_bytes: int | None
    missing_since: str | None  #: UTC, `YYYY-MM-DD HH:MM:SS`
    copies: int  #: on different stores
    backends: list[str]  #: the names of those that hold it


@dataclass
class Share:
    """How much of a library root is meant."""

    root: str
    files: int  #: those meant, without files that were named one by one
    of: int  #: all that the catalog has below it

    @property
    def is_large(self) -> bool:
        """Whether it is more than a tenth."""
        return self.files * 10 > self.of


@dataclass
class ForgetReport:
    """What was forgotten, or would be."""

    dry_run: bool
    days: int | None  #: as of the request; None where age does not matter
    files: int = 0
    bytes: int = 0  #: as far as sizes are known
    #: The files by what they were before: `missing`, `offloaded`, `excluded`.
    before: dict[str, int] = field(default_factory=dict)
    #: Files of which there is no copy: on no backend, and at no other place of the library.
    nowhere: int = 0
    nowhere_paths: list[str] = field(default_factory=list)  #: at most 1,000 of them, absolute
    present: int = 0  #: files among those meant that are there, and are left alone
    too_soon: int = 0  #: files that are gone, but not for long enough
    roots: list[Share] = field(default_factory=list)
    #: Whether the number of files must be given to go on: more than a tenth of a root is meant.
    needs_count: bool = False
    listed: list[ForgottenFile] = field(default_factory=list)  #: at most 1,000 of them


Progress = Callable[[ForgetReport], None]


class _Part(NamedTuple):
    """Some of the files that are meant, as a condition on their location `l`."""

    sql: str
    values: dict[str, Any]
    root: str | None = None  #: where all are below one
    named: bool = False  #: a file that was named itself


@dataclass
class Plan:
    """What would be forgotten, for `forget` to carry out."""

    report: ForgetReport
    scope: Scope
    #: The locations, by the part that they are of; 8 bytes for each.
    found: list[tuple[_Part, array[int]]] = field(default_factory=list)


def plan(catalog: Catalog, request: Request) -> Plan:
    """What would be forgotten. Changes nothing.

    Raises:
        UsageError: nothing is named; a path is not known, or is known below several roots; or what
            is named is there.
        ConfigurationError: `CATALOGSYNC_FORGET_DAYS` is no number of days.
    """
    if not (request.gone or request.paths or request.scope != EVERYTHING):
        raise UsageError("no files named", hint="name files or folders, a song, or use --gone")
    if request.paths and request.scope != EVERYTHING:
        raise UsageError("files are named by path and by song", hint="name them in one way")
    days = (forget_days() if request.days is None else request.days) if request.gone else None
    made = Plan(ForgetReport(dry_run=True, days=days), request.scope)
    parts = _parts(catalog, request)
    if days is not None:
        parts = _gone_for(catalog, parts, days, made)
    report, known, shares = made.report, separation(catalog), dict[str, int]()
    for part in parts:
        ids, present = array("q"), 0
        for page in _pages(catalog, part, request.scope):
            absent = [row for row in page if not _is_there(row)]
            present += len(page) - len(absent)
            ids.extend(row.id for row in absent)
            with catalog.read() as connection:
                _note(connection, report, known, absent)
            for row in absent if not part.named else ():
                shares[row.library_root] = shares.get(row.library_root, 0) + 1
        if not request.gone:
            with catalog.read() as connection:
                present += _count(connection, part, request.scope, _PRESENT)
        if part.named and present:
            path = f"{part.root}/{part.values['path']}"
            raise UsageError(f"{path} is there, and is not forgotten", hint=_PRESENT_HINT)
        made.found.append((part, ids))
        report.present += present
    if not request.gone and report.present and not report.files:
        text = f"all of these files, {report.present:,}, are there, and are not forgotten"
        raise UsageError(text, hint=_PRESENT_HINT)
    report.roots = [
        Share(root, files, int(catalog.scalar(_OF_ROOT, root=root)))
        for root, files in sorted(shares.items())
    ]
    report.needs_count = any(share.is_large for share in report.roots)
    return made


def forget(
    catalog: Catalog, made: Plan, *, count: int | None = None, progress: Progress = lambda _: None
) -> ForgetReport:
    """Carry out a plan: forget these files, but for those that have come back meanwhile.

    Args:
        count: how many files the plan has, said by a person: where more than a tenth of a library
            root is meant.
        progress: called after each few hundred files with the report as it stands.

    Raises:
        UsageError: `count` is not that number, and must be, or is another. Nothing was forgotten.
    """
    planned = made.report
    if count != planned.files and (count is not None or planned.needs_count):
        largest = max(planned.roots, key=lambda s: s.files / max(s.of, 1), default=None)
        of_root = ""
        if largest:
            of_root = f"; below {largest.root} {largest.files:,} of {largest.of:,} files"
        said = "" if count is None else f", not {count:,}"
        raise UsageError(
            f"{planned.files:,} would be forgotten{said}{of_root}",
            hint=f"look at them without --yes; if all are meant, add --count {planned.files}",
        )
    nothing: dict[str, Any] = {"files": 0, "bytes": 0, "before": {}, "listed": []}
    report = replace(planned, dry_run=False, nowhere=0, nowhere_paths=[], **nothing)
    known = separation(catalog)
    for part, ids in made.found:
        for at in range(0, len(ids), _CHUNK):
            with catalog.transaction() as connection:
                rows = _select(connection, part, made.scope, ids=ids[at : at + _CHUNK].tolist())
                _note(connection, report, known, rows)
                for status in {row.status for row in rows}:
                    of_it = [row.id for row in rows if row.status == status]
                    locations.apply(connection, "forgotten", of_it, only=status)
                drop_unwanted(connection, [row.asset for row in rows])
            progress(report)
    return report


# --- which files are meant ----------------------------------------------------------------------


def _parts(catalog: Catalog, request: Request) -> list[_Part]:
    """The files that are meant, without regard to their state."""
    if not request.paths:
        return [_Part("", {})]
    roots = known_roots(catalog)
    named = dict.fromkeys(_place(catalog, path, roots) for path in request.paths)
    folders = [(root, path) for root, path, kind in named if kind == "folder"]
    found = []
    for root, path, kind in named:
        if any(root == r and path != p and path.startswith(_below(p)) for r, p in folders):
            continue  # a folder has it already
        values: dict[str, Any] = {"root": root}
        if kind == "file":
            sql, values["path"] = " AND l.library_root = :root AND l.library_path = :path", path
        else:
            sql = " AND l.library_root = :root"
            if path:
                sql += " AND substr(l.library_path, 1, :length) = :folder"
                values |= {"folder": _below(path), "length": len(_below(path))}
        found.append(_Part(sql, values, root, kind == "file"))
    return found


def _below(folder: str) -> str:
    """What the paths in a folder begin with; everything begins with what those of a root do."""
    return f"{folder}/" if folder else ""


_HAS_FILE = (
    "SELECT 1 FROM file_locations WHERE library_root = :root AND library_path = :path"
    " AND status <> 'superseded' LIMIT 1"
)
_HAS_FOLDER = (
    "SELECT 1 FROM file_locations WHERE library_root = :root"
    " AND substr(library_path, 1, :length) = :folder AND status <> 'superseded' LIMIT 1"
)
_Kind = Literal["file", "folder"]


def _place(catalog: Catalog, given: str, roots: Sequence[str]) -> tuple[str, str, _Kind]:
    """The library root that a path is below, the path there, and what the catalog has at it."""
    absolute = os.path.abspath(given)  # noqa: PTH100  # links stay as written, as in the roots
    places = [
        (root, absolute[len(root.rstrip("/")) + 1 :])
        for root in roots
        if absolute == root or absolute.startswith(f"{root.rstrip('/')}/")
    ]
    if not os.path.isabs(given):  # noqa: PTH117
        places += [(root, os.path.normpath(given)) for root in roots]
    found: dict[tuple[str, str], _Kind] = {}
    for root, path in places if _is_text(given) else ():
        values = {"root": root, "path": path}
        folder = {"root": root, "folder": _below(path), "length": len(_below(path))}
        if catalog.scalar(_HAS_FILE, **values):
            found[root, path] = "file"
        elif catalog.scalar(_HAS_FOLDER, **folder):
            found[root, path] = "folder"
    if not found:
        raise UsageError(
            f"the catalog knows no file or folder {given}",
            hint=f"it knows files below {', '.join(roots)}" if roots else "scan a library first",
        )
    if len(found) > 1:
        named = " and ".join(f"{root}/{path}" for root, path in found)
        raise UsageError(f"{given} is {named}", hint="name one by its absolute path")
    (((root, path), kind),) = found.items()
    return root, path, kind


def _is_text(given: str) -> bool:
    """Whether a path can be in the catalog, which has names in UTF-8 only."""
    try:
        given.encode()
    except UnicodeEncodeError:
        return False
    return True


_MISSING = " AND l.status = 'missing'"


def _gone_for(catalog: Catalog, parts: list[_Part], days: int, made: Plan) -> list[_Part]:
    """Of these files, those that two complete scans so many days apart have found gone.

    What is gone but not so long is counted.
    """
    columns = library_roots.c
    with catalog.read() as connection:
        rows = connection.execute(
            sa.select(columns.path, columns.last_complete_scan_at).where(
                columns.last_complete_scan_at.is_not(None)
            )
        )
        until = {path: last - timedelta(days=days) for path, last in rows}
    found = []
    for part in parts:
        for root in until if part.root is None else until.keys() & {part.root}:
            sql = (
                f"{part.sql} AND l.library_root = :of_root{_MISSING} AND l.missing_since <= :until"
            )
            values = {**part.values, "of_root": root, "until": until[root]}
            found.append(_Part(sql, values, root, named=False))
    with catalog.read() as connection:
        gone = sum(_count(connection, p._replace(sql=p.sql + _MISSING), made.scope) for p in parts)
        made.report.too_soon = gone - sum(_count(connection, p, made.scope) for p in found)
    return found


# --- what the catalog says of them --------------------------------------------------------------

_FROM = """
FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
WHERE l.library_root IS NOT NULL
  AND l.backend_id IN (SELECT id FROM storage_backends WHERE backend_type = 'local')
"""
_ABSENT = " AND l.status IN ('missing', 'offloaded', 'excluded')"
_PRESENT = " AND l.status IN ('active', 'damaged', 'offloading')"
_ROWS = """
SELECT l.id, f.id AS asset, CASE WHEN f.companion IS NULL THEN f.song_id END AS song_id,
       l.library_root, l.library_path, l.status,
       COALESCE(l.size_bytes, f.size_bytes) AS size, l.missing_since,
       EXISTS (SELECT 1 FROM file_locations h WHERE h.file_asset_id = f.id AND h.status = 'active'
               AND h.backend_id = l.backend_id) AS is_elsewhere
"""
_OF_ROOT = """
SELECT COUNT(*) FROM file_locations
WHERE library_root = :root AND status NOT IN ('superseded', 'forgotten')
"""


def _bound(statement: str, part: _Part, scope: Scope) -> tuple[sa.TextClause, dict[str, Any]]:
    clauses, values = scope.sql()
    text = sa.text(statement.replace("{which}", part.sql + clauses))
    if "until" in part.values:
        text = text.bindparams(sa.bindparam("until", type_=sa.DateTime))
    return text, {**part.values, **values}


def _count(connection: sa.Connection, part: _Part, scope: Scope, status: str = _ABSENT) -> int:
    statement, values = _bound(f"SELECT COUNT(*) {_FROM} {status} {{which}}", part, scope)
    return int(connection.scalar(statement, values) or 0)


def _select(
    connection: sa.Connection,
    part: _Part,
    scope: Scope,
    *,
    after: int = 0,
    ids: Sequence[int] | None = None,
) -> Sequence[sa.Row[Any]]:
    """The next of these files, by location; or those of these locations that still are."""
    page = "" if ids is None else " AND l.id IN :ids"
    statement, values = _bound(
        f"{_ROWS} {_FROM} {_ABSENT} {{which}} AND l.id > :after{page} ORDER BY l.id LIMIT {_CHUNK}",
        part,
        scope,
    )
    values["after"] = after
    if ids is not None:
        statement = statement.bindparams(sa.bindparam("ids", expanding=True))
        values["ids"] = list(ids)
    return connection.execute(statement, values).all()


def _pages(catalog: Catalog, part: _Part, scope: Scope) -> Iterator[Sequence[sa.Row[Any]]]:
    after = 0
    while True:
        with catalog.read() as connection:
            page = _select(connection, part, scope, after=after)
        if not page:
            return
        yield page
        after = page[-1].id


def _is_there(row: sa.Row[Any]) -> bool:
    """Whether a file that the catalog takes to be gone has come back, and was not scanned yet."""
    return row.status != "excluded" and os.path.lexists(_path(row))


def _path(row: sa.Row[Any]) -> str:
    return f"{row.library_root.rstrip('/')}/{row.library_path}"


def _note(
    connection: sa.Connection, report: ForgetReport, known: Separation, rows: Sequence[sa.Row[Any]]
) -> None:
    """Count these files, and list what there is room for, with their copies."""
    copies = remote_copies.copies_of(connection, [row.asset for row in rows])
    for row in rows:
        report.files += 1
        report.bytes += row.size or 0
        report.before[row.status] = report.before.get(row.status, 0) + 1
        held = list(dict.fromkeys(copy.backend_id for copy in copies.get(row.asset, ())))
        if not held and not row.is_elsewhere:
            report.nowhere += 1
            if len(report.nowhere_paths) < MOST_LISTED:
                report.nowhere_paths.append(_path(row))
        if len(report.listed) < MOST_LISTED:
            since = None if row.missing_since is None else str(row.missing_since).partition(".")[0]
            names = [known.names[id_] for id_ in held]
            report.listed.append(
                ForgottenFile(
                    *(_path(row), row.song_id, row.status, row.size, since),
                    *(known.copies(held), names),
                )
            )
