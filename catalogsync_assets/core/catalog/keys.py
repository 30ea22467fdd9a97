"""Whose a key is: no two current files ever share one, and no object makes way for another's.

A file has two kinds of keys. Its `object_key` is the one that it would get by its path now; it is
made here, and is one for all backends. Where its object really lies on a backend is told by its
location there. The two differ once the file has moved, until a backend's layout has followed; and
where its own key is another file's on that backend: then it is stored aside, under its own key with
a suffix.

On a backend, a key is a file's as long as a location of it, of any status but `removed`, names it;
but for one that is `superseded` while the file is active under another key there: its object has
been copied, and the copy proven. Of a file that is not current (`presence.current_sql`), but only
what a path once held, a key may be taken over. Where the object at a key is about to be deleted
(`pruning`), nobody may put anything there until it is gone, not even for the same file.

How a path becomes a key is said in `object_keys`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from catalogsync_assets.core.catalog import object_keys, presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lazy import sa, sa_text, schema
from catalogsync_assets.core.catalog.object_keys import fold, object_key
from catalogsync_assets.core.stores.backend import ObjectBackend

#: Values in one statement.
_PAGE = 500
#: Whether a location `n` gives its file a right to its key.
STANDS = f"""
n.status NOT IN ('pruning', 'removed')
AND NOT (n.status = 'superseded' AND EXISTS (
    SELECT 1 FROM file_locations h WHERE h.file_asset_id = n.file_asset_id
      AND h.backend_id = n.backend_id AND h.locator <> n.locator AND h.status = 'active'))
AND {presence.current_sql("n.file_asset_id", or_forgotten=True)}
"""


def is_anothers_sql(asset: str, backend: str, bucket: str, locator: str) -> str:
    """An SQL condition: whether a whole key is another current file's on a backend, or what is
    there is about to be deleted.

    Args:
        asset: the SQL expression of the id of the file that it is not to count for.
        backend, bucket, locator: those of the place.
    """
    return (
        f"(EXISTS (SELECT 1 FROM file_locations n WHERE n.backend_id = {backend}"
        f" AND n.container_name = {bucket} AND n.locator = {locator}"
        f" AND n.file_asset_id <> {asset} AND {STANDS})"
        f" OR {_being_pruned_sql(bucket, locator)})"
    )


def _being_pruned_sql(bucket: str, locator: str) -> str:
    # Whichever backend it is pruned from: several may be on one bucket.
    return (
        "EXISTS (SELECT 1 FROM file_locations d WHERE d.status = 'pruning'"
        f" AND d.locator = {locator} AND d.container_name = {bucket})"
    )


_IS_ANOTHERS = "SELECT " + is_anothers_sql(":asset", ":backend", ":bucket", ":locator")


def is_anothers(
    connection: sa.Connection, backend: ObjectBackend, locator: str, file_asset_id: int
) -> bool:
    """Whether a whole key is another current file's than this one's on a backend, or what is there
    is about to be deleted."""
    place = {"backend": backend.id, "bucket": backend.bucket, "locator": locator}
    return bool(connection.scalar(sa_text(_IS_ANOTHERS), {**place, "asset": file_asset_id}))


_HOLDERS = f"""
SELECT n.file_asset_id FROM file_locations n WHERE n.backend_id = :backend
  AND n.container_name = :bucket AND n.locator = :locator AND n.file_asset_id <> :asset
  AND {STANDS}
"""


def holders(
    connection: sa.Connection, backend: ObjectBackend, locator: str, file_asset_id: int
) -> set[int]:
    """The other current files than this one whose key a whole key is on a backend."""
    place = {"backend": backend.id, "bucket": backend.bucket, "locator": locator}
    return set(connection.scalars(sa_text(_HOLDERS), {**place, "asset": file_asset_id}))


_BEING_PRUNED = (
    "SELECT DISTINCT locator FROM file_locations WHERE status = 'pruning'"
    " AND container_name = :bucket"
)


def being_pruned(connection: sa.Connection, bucket: str, locators: Collection[str]) -> set[str]:
    """Those of these whole keys whose objects are about to be deleted, by whichever backend."""
    return set(connection.scalars(sa_text(_BEING_PRUNED), {"bucket": bucket})).intersection(
        locators
    )


def aside(
    connection: sa.Connection, backend: ObjectBackend, locator: str, file_asset_id: int
) -> str:
    """The whole key for a file whose own is another's on a backend; the same at each call."""
    prefix = backend.key_prefix

    def taken(key: str) -> bool:
        return is_anothers(connection, backend, prefix + key, file_asset_id) or bool(
            named(connection, [fold(key)]).keys() - {file_asset_id}
        )

    return prefix + object_keys.aside(locator.removeprefix(prefix), file_asset_id, taken)


def free_keys(
    connection: sa.Connection, root: str, paths: Sequence[str], *, own: Collection[int] = ()
) -> list[str]:
    """An object key for each of these paths below a root, which is no other current file's.

    Args:
        own: the file assets that these keys are for, where they are known already.
    """
    return _choose(connection, [(root, path) for path in paths], own)


def keys_of_new(
    connection: sa.Connection, root: str, files: Sequence[tuple[str, int | None]]
) -> list[str]:
    """The object key of each new file: the one that the earlier content of its path had, or a free
    one.

    Args:
        files: of each, its path below the root, and the earlier content's file asset, if any.
    """
    asset = schema.file_assets.c
    known = sa.select(asset.id, asset.object_key).where(
        asset.id.in_([earlier for _, earlier in files if earlier is not None]),
        asset.object_key.is_not(None),
    )
    by_id = dict[int | None, str](connection.execute(known).all())
    free = iter(free_keys(connection, root, [path for path, old in files if old not in by_id]))
    return [by_id[earlier] if earlier in by_id else next(free) for _, earlier in files]


_RENAME = (
    "UPDATE file_assets SET object_key = :key, object_key_fold = :fold,"
    " updated_at = CURRENT_TIMESTAMP WHERE id = :asset"
)


def rename(connection: sa.Connection, moved: Sequence[tuple[int, str, str]]) -> None:
    """Give files that have moved the object keys of their new paths.

    To be called before what is new there gets its keys. What each of them gives up is free for the
    others, so that two may change places. Idempotent.

    Args:
        moved: of each, its file asset, the library root that it is below now, and its path there.
    """
    if not moved:
        return
    keys = _choose(connection, [(root, path) for _, root, path in moved], [m[0] for m in moved])
    rows = [
        {"asset": asset, "key": key, "fold": fold(key)}
        for (asset, _, _), key in zip(moved, keys, strict=True)
    ]
    connection.exec_driver_sql(_RENAME, rows)


_WITH_SUFFIX = """
SELECT f.id, f.object_key, l.library_root, l.library_path FROM file_assets f
JOIN file_locations l ON l.file_asset_id = f.id AND l.library_path IS NOT NULL
    AND l.status = 'active'
WHERE f.object_key LIKE '%~__________%' ORDER BY f.id
"""


def drop_suffixes(catalog: Catalog) -> int:
    """Give files whose object key has a suffix the plain ones, as far as these are free by now.

    Returns:
        How many got one.
    """
    with catalog.read() as connection:
        if not _plain_again(connection):
            return 0
    with catalog.transaction() as connection:
        rows = _plain_again(connection)
        connection.exec_driver_sql(_RENAME, rows)
    return len(rows)


def _plain_again(connection: sa.Connection) -> list[dict[str, Any]]:
    found = connection.exec_driver_sql(_WITH_SUFFIX).all()
    before = {asset: key for asset, key, _, _ in found}
    keys = _choose(connection, [(root, path) for *_, root, path in found], list(before))
    return [
        {"asset": asset, "key": key, "fold": fold(key)}
        for (asset, *_), key in zip(found, keys, strict=True)
        if len(key) < len(before[asset])
    ]


def _choose(
    connection: sa.Connection, wanted: Sequence[tuple[str, str]], own: Collection[int]
) -> list[str]:
    """A key for each root and path that no current file has, but for those in `own`."""
    own = frozenset(own)
    plain = [object_key(root, path, lambda _: False) for root, path in wanted]
    folds = list(map(fold, plain))
    asked = set(folds)
    taken = _taken(connection, folds, own)

    def is_taken(key: str) -> bool:
        if (folded := fold(key)) not in asked and folded not in taken:
            # With a suffix, which few need: somebody may have a file of that very name.
            taken.update(_taken(connection, [folded], own))
        return folded in taken

    keys = []
    for (root, path), key, folded in zip(wanted, plain, folds, strict=True):
        if folded in taken:
            key = object_key(root, path, is_taken)  # noqa: PLW2901
            folded = fold(key)  # noqa: PLW2901
        taken.add(folded)
        keys.append(key)
    return keys


def _taken(connection: sa.Connection, folds: Sequence[str], own: frozenset[int]) -> set[str]:
    """Those of these folds that a current file has which is not one of `own`."""
    found = named(connection, folds)
    return {folded for asset, folded in found.items() if asset not in own}


_NAMED = f"""
SELECT f.id, f.object_key_fold FROM json_each(:folds) AS w
JOIN file_assets f ON f.object_key_fold = w.value
WHERE {presence.current_sql("f.id", or_forgotten=True)}
"""


def named(connection: sa.Connection, folds: Sequence[str]) -> dict[int, str]:
    """The current files whose object key has one of these folds, and which."""
    found = connection.exec_driver_sql(_NAMED, {"folds": json.dumps(folds)})
    return dict[int, str](found.all())
