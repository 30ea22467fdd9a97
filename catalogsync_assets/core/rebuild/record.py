"""Objects become files of the catalog: which of them is which file, and what is written of it.

An object that says to be of a file that the catalog knows, and of the same content, is that file,
under whatever key; which paths that gives is settled once all of these are known, as files may have
changed places. What lies at the key of a known file, and says to have been put for another one
of that catalog, is a newer content of its path. Anything else is a new file, at the path that its
key says. All is written as said, not as verified; and no file is taken to be on a local disk: each
has a place below a root that nobody has any more, at which a scan looks for it by its content.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import sqlalchemy as sa

from catalogsync_assets.core.catalog import keys, locations, remote_copies, roots
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import FileFacts, KnownFile, insert_files
from catalogsync_assets.core.catalog.locations import Stored
from catalogsync_assets.core.catalog.object_keys import fold
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.rebuild.names import UNNAMED
from catalogsync_assets.core.rebuild.staging import Item, Moved
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.verify import bare

#: Statuses of a location that say that its object holds its file.
_STANDING = ("active", "missing", "damaged")


def that_count(copies: Sequence[RemoteCopy]) -> list[RemoteCopy]:
    """Of what the catalog has at a key, what says what is there; where nothing does, what was."""
    standing = [c for c in copies if c.status in _STANDING]
    return standing or [c for c in copies if c.status != "removed"]


@dataclass
class Recorded:
    """What became of some objects."""

    new: list[Item] = field(default_factory=list)  #: files that nobody knew
    joined: list[Item] = field(default_factory=list)  #: of files that were known
    known: list[Item] = field(default_factory=list)  #: were recorded just so before
    #: Objects that are other ones than the catalog has at their keys, and say nothing of it; each
    #: with what the catalog has there.
    doubtful: list[tuple[Item, RemoteCopy]] = field(default_factory=list)


class _Asset(NamedTuple):
    id: int
    sha256: str | None
    size_bytes: int | None
    object_key: str | None


def record_objects(
    catalog: Catalog,
    backend: ObjectBackend,
    items: Sequence[Item],
    *,
    of_catalog: str | None,
    root: str,
    unnamed_root: str,
    note_moved: Callable[[Sequence[Moved]], None],
    only_known: bool = False,
) -> Recorded:
    """Write down what some objects are, in one transaction. Idempotent.

    What waits for another object, as its key is still that one's, is in none of the results: call
    again with it once others have been recorded.

    Args:
        of_catalog: the id of the catalog that is lost: the numbers of its files are kept.
        root: the lost root that new files are said to have been below.
        unnamed_root: the same of those whose path another file has there.
        note_moved: takes down files that may have moved, for `follow_moves`.
        only_known: only objects of files that the catalog knows; the others are in no result.
    """
    with catalog.transaction() as connection:
        where = backend, of_catalog, root, unnamed_root
        return _Page(connection, *where, note_moved, only_known).execute(items)


def follow_moves(catalog: Catalog, backend: ObjectBackend, moved: Sequence[Moved]) -> list[Moved]:
    """Give files the paths that the keys of their objects say, in one transaction. Idempotent.

    Args:
        moved: together, what has changed places with one another.

    Returns:
        Those for which nothing is left to be done: the others' paths are other files' still.
    """
    with catalog.transaction() as connection:
        copies = remote_copies.copies_at(connection, backend, [m.key for m in moved])
        there = {(copy.file_asset_id, copy.key) for copy in copies if copy.status == "active"}
        over = [m for m in moved if m[:2] not in there]
        paths = {m.file_asset_id: m.path for m in moved if m[:2] in there}
        done = locations.move_lost(connection, paths)
        keys.rename(connection, [(asset, root, paths[asset]) for asset, root in done.items()])
    return [*over, *(m for m in moved if m.file_asset_id in done)]


@dataclass
class _Page:
    connection: sa.Connection
    backend: ObjectBackend
    of_catalog: str | None
    root: str
    unnamed_root: str
    note_moved: Callable[[Sequence[Moved]], None]
    only_known: bool

    def execute(self, items: Sequence[Item]) -> Recorded:
        connection, done = self.connection, Recorded()
        self._at: dict[str, list[RemoteCopy]] = {}
        for copy in remote_copies.copies_at(connection, self.backend, [i.key for i in items]):
            self._at.setdefault(copy.key, []).append(copy)
        numbers = [n for item in items if (n := self._number(item))]
        names = {item.key: fold(item.key.removeprefix(self.backend.key_prefix)) for item in items}
        named = keys.named(connection, sorted(set(names.values())))
        # Of those that lie aside, as their own key is another file's.
        aside = [i.path for i in items if i.path != i.key.removeprefix(self.backend.key_prefix)]
        by_path = self._at_paths(aside)
        self._assets = self._read_assets([*numbers, *named, *by_path.values()])
        by_name = {folded: asset for asset, folded in named.items()}
        self._met: set[int] = set()
        claims: dict[str, tuple[Item, Stored]] = {}
        fresh: list[Item] = []
        earlier: dict[str, int] = {}
        moved: list[Moved] = []
        paths: set[str] = set()
        for item in items:
            copies = that_count(self._at.get(item.key, []))
            standing = next((c for c in copies if c.status in _STANDING), None)
            asset = self._same(item, by_name.get(names[item.key]))
            if any(_is_same(item, c) for c in copies):
                done.known.append(item)
            elif asset is not None:
                if asset not in self._met:
                    self._met.add(asset)
                    claims[item.key] = item, _stored(item, asset)
                    if self._has_moved(item, self._assets[asset]):
                        moved.append(Moved(asset, item.key, item.path))
            elif self.only_known:
                pass
            elif standing is not None and not self._is_newer(item, standing):
                done.doubtful.append((item, standing))
            elif self._number(item) not in self._met and item.path not in paths:
                number = self._number(item)
                self._met |= {number} if number else set()
                paths.add(item.path)
                fresh.append(item)
                before = by_name.get(names[item.key]) or by_path.get(item.path)
                if number and before is not None and self._is_of(item, self._assets[before]):
                    earlier[item.key] = before
        claims |= self._insert(fresh, earlier)
        written = locations.record_stored(
            connection, self.backend, [stored for _, stored in claims.values()]
        )
        # Before they are recorded: after a kill they would pass for known.
        self.note_moved(moved)
        new = {item.key for item in fresh}
        for key in (stored.key for stored in written):
            (done.new if key in new else done.joined).append(claims[key][0])
        return done

    def _number(self, item: Item) -> int | None:
        """The file asset of the lost catalog that an object was put for, by its own word."""
        owner = item.owner
        if owner is None or owner.catalog_id != self.of_catalog:
            return None
        return owner.file_asset_id

    def _same(self, item: Item, named: int | None) -> int | None:
        """The known file whose content an object says to hold."""
        for asset_id in (self._number(item), named):
            asset = self._assets.get(asset_id or 0)
            if asset is None or asset.size_bytes not in (None, item.size_bytes):
                continue
            is_said = asset.sha256 is None and asset.id == self._number(item)
            if asset.sha256 == item.sha256 or is_said:
                return asset.id
        return None

    def _is_newer(self, item: Item, standing: RemoteCopy) -> bool:
        number = self._number(item)
        return number is not None and number != standing.file_asset_id

    def _has_moved(self, item: Item, asset: _Asset) -> bool:
        """Whether a file's object is under another key than when the catalog was last written."""
        name = item.key.removeprefix(self.backend.key_prefix)
        here = {c.file_asset_id for c in self._at.get(item.key, []) if c.status in _STANDING}
        return not (asset.object_key == name or asset.id in here or item.path.startswith(UNNAMED))

    def _is_of(self, item: Item, asset: _Asset) -> bool:
        """Whether an object lies under a file's own key, or aside of it."""
        name = item.key.removeprefix(self.backend.key_prefix)
        return asset.object_key == name or item.path != name

    # --- new files

    def _insert(
        self, items: Iterable[Item], earlier: Mapping[str, int]
    ) -> dict[str, tuple[Item, Stored]]:
        """Make files of objects; each with what is to be recorded of it by key."""
        replaced = self._known_places(earlier.values())
        by_root: dict[str, list[tuple[Item, FileFacts]]] = {}
        for item in items:
            known = replaced.get(earlier.get(item.key, 0))
            root, replaces = known or (self.root, None)
            if replaces is not None and replaces.path != item.path:
                item = item._replace(path=replaces.path)  # noqa: PLW2901
            facts = self._facts(root, item, replaces)
            by_root.setdefault(root, []).append((item, facts))
        claims: dict[str, tuple[Item, Stored]] = {}
        left: list[Item] = []
        for root, files in by_root.items():
            made = self._insert_below(root, [facts for _, facts in files])
            for item, facts in files:
                if facts.path in made:
                    claims[item.key] = item, _stored(item, made[facts.path])
                else:
                    left.append(item)
        if left:  # another file has their path
            files = [(item, self._facts(self.unnamed_root, item)) for item in left]
            made = self._insert_below(self.unnamed_root, [facts for _, facts in files])
            for item, facts in files:
                if facts.path in made:
                    claims[item.key] = item, _stored(item, made[facts.path])
        return claims

    def _facts(self, root: str, item: Item, replaces: KnownFile | None = None) -> FileFacts:
        number = self._number(item)
        return FileFacts(
            path=item.path,
            absolute_path=f"{root.rstrip('/')}/{item.path}",
            size_bytes=item.size_bytes,
            mtime_ns=0,
            sha256=item.sha256,
            replaces=replaces,
            file_asset_id=number if number not in self._assets else None,
            **item.facts,
        )

    def _insert_below(self, root: str, files: Sequence[FileFacts]) -> dict[str, int]:
        """Record files that were below a root, and are not; their file assets by path."""
        connection = self.connection
        roots.note_lost(connection, root)
        recorded = insert_files(connection, root, files)
        rows = connection.execute(_AT_PATHS, {"root": root, "paths": list(recorded)}).all()
        ids = [row.id for row in rows]
        locations.apply(connection, "gone", ids)
        locations.forget_stat(connection, ids)
        return {row.library_path: row.file_asset_id for row in rows}

    # --- what is known

    def _read_assets(self, ids: Sequence[int]) -> dict[int, _Asset]:
        rows = self.connection.execute(_ASSETS, {"ids": sorted(set(ids))})
        return {row[0]: _Asset(*row) for row in rows}

    def _at_paths(self, paths: Sequence[str]) -> dict[str, int]:
        """The file that was last at each of these paths."""
        rows = self.connection.execute(_LOST_AT, {"root": self.root, "paths": paths}).all()
        return dict[str, int](rows)

    def _known_places(self, assets: Iterable[int]) -> dict[int, tuple[str, KnownFile]]:
        """Where these files were last, by file asset: the root, and the file below it."""
        rows = self.connection.execute(_PLACES, {"ids": sorted(set(assets))})
        return {row[2]: (row[0], KnownFile(*row[1:10])._replace(companion=row[10])) for row in rows}


def _with_list(statement: str, name: str) -> sa.TextClause:
    return sa.text(statement).bindparams(sa.bindparam(name, expanding=True))


_AT_PATHS = _with_list(
    "SELECT id, library_path, file_asset_id FROM file_locations"
    " WHERE library_root = :root AND status = 'active' AND library_path IN :paths",
    "paths",
)
_ASSETS = _with_list(
    "SELECT id, LOWER(NULLIF(sha256, '')), size_bytes, object_key FROM file_assets"
    " WHERE id IN :ids",
    "ids",
)
_PLACES = _with_list(
    "SELECT l.library_root, l.id, f.id, f.song_id, l.library_path, l.status, f.size_bytes,"
    " l.mtime_ns, NULLIF(f.sha256, ''), f.object_key IS NOT NULL, f.companion"
    " FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
    " WHERE f.id IN :ids AND l.library_path IS NOT NULL AND l.status IN"
    " ('missing', 'excluded', 'forgotten', 'offloaded')"
    " ORDER BY l.status = 'missing', l.id DESC",  # the last counts
    "ids",
)
_LOST_AT = _with_list(
    "SELECT l.library_path, l.file_asset_id FROM file_locations l"
    " WHERE l.library_root = :root AND l.library_path IN :paths AND l.status = 'missing'",
    "paths",
)


def _is_same(item: Item, copy: RemoteCopy) -> bool:
    return bare(item.etag) == bare(copy.etag) and copy.size_bytes in (None, item.size_bytes)


def _stored(item: Item, asset: int) -> Stored:
    return Stored(asset, item.key, item.size_bytes, item.sha256, item.etag, item.how)
