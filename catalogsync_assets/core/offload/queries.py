"""Local files that may go, as enough backends hold them: what the catalog says, and the mark.

See `catalog.offloads` for the marks, `catalog.separation` for what counts as a copy.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from catalogsync_assets.core.catalog import locations, remote_copies
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.invalid_rows import GUARDS, checked
from catalogsync_assets.core.catalog.offloads import LocalFile, local_files
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.catalog.replication import EVERY_BACKEND, Required
from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.catalog.separation import Separation


@dataclass
class Candidates:
    """The local files of a selection, by what the catalog says of their copies."""

    #: Locations of those that enough stores hold, the oldest first (by mtime, then id); 8 bytes for
    #: each.
    ids: array[int] = field(default_factory=lambda: array("q"))
    #: How many copies each of these needs, in the same order; 4 bytes for each.
    copies: array[int] = field(default_factory=lambda: array("i"))
    most_copies: int = 0  #: that any file needs, among these and those of which there are too few
    bytes: int = 0  #: the size of these
    #: Files of which there are fewer copies.
    too_few: int = 0
    too_few_bytes: int = 0
    younger: int = 0  #: files that have not the age that was asked for
    #: By library root, the policy that asks for more copies than were asked for here.
    below: dict[str, int] = field(default_factory=dict)


# Files beside music stay: they free next to nothing, and players and scans read them.
# A file of several local places is held to the strictest of their policies.
_WANTED = f"""
(SELECT MAX(CASE p.required_copies WHEN {EVERY_BACKEND} THEN :every
                                   ELSE COALESCE(p.required_copies, :others) END)
 FROM file_locations w LEFT JOIN library_policies p ON p.library_root = w.library_root
 WHERE w.file_asset_id = f.id AND w.library_root IS NOT NULL)
"""
_CANDIDATES = """
SELECT l.id, COALESCE(l.size_bytes, f.size_bytes, 0),
       l.mtime_ns IS NOT NULL AND l.mtime_ns <= :before,
       (SELECT {held} FROM file_locations c
        WHERE c.file_asset_id = f.id AND c.status = 'active'
          AND c.backend_id IN (SELECT value FROM json_each(:backends))),
       {wanted}, l.library_root {guards}
FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
WHERE l.backend_id IN (SELECT id FROM storage_backends WHERE backend_type = 'local')
  AND l.status = 'active' AND l.library_root IS NOT NULL
  AND f.superseded_by_id IS NULL AND f.companion IS NULL {scope}
ORDER BY l.mtime_ns, l.id
"""
#: Later than any file.
_ANY_TIME = 2**63 - 1


def candidates(
    catalog: Catalog,
    known: Separation,
    policy: Required,
    copies: int | None,
    *,
    before_ns: int | None = None,
    scope: Scope = EVERYTHING,
) -> Candidates:
    """The current local files of which there are enough copies, as far as the catalog says.

    Args:
        known: the backends whose copies count, and how they do.
        policy: what the libraries ask for.
        copies: so many of each file; None for what the policy of its library asks for, at least 1.
        before_ns: only files whose mtime is at most this, in ns; None for all.
        scope: only these.
    """
    clauses, values = scope.sql()
    values |= {
        "backends": json.dumps(list(known.names)),
        "before": _ANY_TIME if before_ns is None else before_ns,
        "every": policy.every,
        # A number that was asked for is only held against what somebody has set.
        "others": policy.others if copies is None or policy.others_set else 0,
    }
    statement = _CANDIDATES.format(
        held=known.copies_sql("c.backend_id"),
        wanted=_WANTED if policy.by_root else ":others",
        guards=GUARDS.format(location="l"),
        scope=clauses,
    )
    found = Candidates()
    with catalog.read() as connection:
        rows = connection.execution_options(yield_per=5_000).execute(sa.text(statement), values)
        for location_id, size, old_enough, held, wanted, root in checked(catalog, rows):
            needed = max(wanted, 1) if copies is None else copies
            if not old_enough:
                found.younger += 1
                continue
            found.most_copies = max(found.most_copies, needed)
            if wanted > needed:
                found.below[root] = max(wanted, found.below.get(root, 0))
            if held < needed:
                found.too_few += 1
                found.too_few_bytes += size
            else:
                found.ids.append(location_id)
                found.copies.append(needed)
                found.bytes += size
    return found


_STILL_THERE = """
FROM json_each(:ids) wanted
CROSS JOIN file_locations l ON l.id = wanted.value
JOIN file_assets f ON f.id = l.file_asset_id
WHERE l.status = 'active' AND f.superseded_by_id IS NULL
ORDER BY wanted.key
"""


def with_copies(
    catalog: Catalog, location_ids: Sequence[int], backend_ids: Collection[int]
) -> list[tuple[LocalFile, list[RemoteCopy]]]:
    """These files, in this order, each with the objects that hold it; those still there only."""
    files = local_files(catalog, _STILL_THERE, {"ids": json.dumps(list(location_ids))})
    with catalog.read() as connection:
        assets = [file.file_asset_id for file in files]
        copies = remote_copies.copies_of(connection, assets, backend_ids=backend_ids)
    return [(file, copies.get(file.file_asset_id, [])) for file in files]


_STILL_SO = """
SELECT l.id, l.size_bytes, l.mtime_ns, f.superseded_by_id, LOWER(NULLIF(f.sha256, ''))
FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
WHERE l.id IN (SELECT value FROM json_each(:ids)) AND l.status = 'active'
"""


def begin(catalog: Catalog, verified: Sequence[tuple[LocalFile, Collection[int]]]) -> set[int]:
    """Mark files as about to be removed, unless the catalog says something else by now.

    In one transaction: whatever was recorded since they were looked at - a scan's new content, an
    audit's missing object - keeps its file.

    Args:
        verified: files, each with the locations of the objects that have been verified: all of
            them must still count as there.

    Returns:
        The locations that were marked.
    """
    asked = [id_ for file, held in verified for id_ in (file.location_id, *held)]
    with catalog.transaction() as connection:
        rows = connection.execute(sa.text(_STILL_SO), {"ids": json.dumps(asked)})
        now = {row[0]: tuple(row[1:]) for row in rows}
        marked = {
            file.location_id
            for file, held in verified
            if now.get(file.location_id) == (file.size_bytes, file.mtime_ns, None, file.sha256)
            and all(location in now for location in held)
        }
        locations.apply(connection, "offload", marked)
    return marked
