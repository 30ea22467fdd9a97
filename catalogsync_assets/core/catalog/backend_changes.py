"""A backend gets another name, or is taken out of the catalog.

What is in its bucket is left alone by both. A backend that was removed keeps its row, as history
names it: under a name that none can have, so that its own is free, and of a type that no
statement about object stores takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from catalogsync_assets.core.catalog import locations
from catalogsync_assets.core.catalog.backends import (
    backend_by_name,
    read_config,
    require_in_use,
    settings_of,
    write_config,
)
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.catalog.presence import IN_LIBRARY
from catalogsync_assets.core.catalog.replication import short_without
from catalogsync_assets.core.catalog.schema import storage_backends
from catalogsync_assets.core.catalog.songs import SONG_OF_FILE
from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.stores.backend import ObjectBackend, validated

#: The type of a backend that was removed.
REMOVED = "removed"
#: Paths that are named.
MOST_LISTED = 20
#: In a backend's config: the names that it had.
_FORMER = "former_names"
_COLUMNS = storage_backends.c


def rename(catalog: Catalog, name: str, new_name: str) -> ObjectBackend:
    """Give a backend another name; all that is known of it stays.

    Returns:
        The backend as it is called now.

    Raises:
        UnknownBackendError: no backend is called `name`.
        ConfigurationError: `new_name` cannot be a backend's, or is one's already.
    """
    backend = backend_by_name(catalog, name)
    renamed = validated(replace(backend, name=new_name))
    with catalog.transaction() as connection:
        require_in_use(connection, backend)
        if connection.scalar(sa.select(_COLUMNS.id).where(_COLUMNS.name == new_name)) is not None:
            raise ConfigurationError(
                f"there is a backend called {new_name!r} already",
                hint="choose another name; `catalogsync backends` lists those that are taken",
            )
        _call(connection, backend, new_name)
    return renamed


@dataclass(frozen=True)
class Loss:
    """What removing a backend would take away, or has taken."""

    backend: str
    bucket: str
    #: Files of songs there that count, and their size.
    files: int
    bytes: int
    #: Of these: on fewer backends than the policy asks then, and the songs that they are of.
    short_files: int
    short_songs: int
    #: Of these: on no other backend, and not in the library either.
    nowhere_files: int
    nowhere_songs: int
    #: The same of files beside the music.
    companions: int
    short_companions: int
    nowhere_companions: int
    pending: int  #: uploads to it that are waiting, or have failed
    unfinished: int  #: large files whose upload in parts was begun, and is not complete
    nowhere_keys: list[str] = field(default_factory=list)  #: the first of all those, by key


_THERE = f"""
FROM file_assets f
WHERE f.id IN (SELECT l.file_asset_id FROM file_locations l
               WHERE l.backend_id = :backend AND l.status = 'active')
  AND f.superseded_by_id IS NULL AND {IN_LIBRARY}
"""
_NOWHERE = f"""
{_THERE} AND NOT EXISTS (
    SELECT 1 FROM file_locations o WHERE o.file_asset_id = f.id AND o.status = 'active'
      AND o.backend_id <> :backend)
"""
_FILES = f"""
SELECT COUNT(*) - COUNT(f.companion),
       COALESCE(SUM(CASE WHEN f.companion IS NULL THEN f.size_bytes END), 0), COUNT(f.companion)
{_THERE}
"""
_COUNT_NOWHERE = f"""
SELECT COUNT(*) - COUNT(f.companion), COUNT(DISTINCT {SONG_OF_FILE}), COUNT(f.companion) {_NOWHERE}
"""
_LIST_NOWHERE = f"""
SELECT l.locator FROM file_locations l
WHERE l.backend_id = :backend AND l.status = 'active'
  AND l.file_asset_id IN (SELECT f.id {_NOWHERE})
ORDER BY l.locator LIMIT :limit
"""
_PENDING = """
SELECT COUNT(*) FROM upload_tasks
WHERE target_backend_id = :backend AND status IN ('pending', 'running', 'failed')
"""
_UNFINISHED = "SELECT COUNT(*) FROM multipart_uploads WHERE backend_id = :backend"


def loss(catalog: Catalog, backend: ObjectBackend) -> Loss:
    """What removing a backend would take away. Reads the rows of all that it holds."""
    here = {"backend": backend.id}
    ((files, size, beside),) = catalog.rows(_FILES, **here)
    ((nowhere, songs, nowhere_beside),) = catalog.rows(_COUNT_NOWHERE, **here)
    listing = nowhere or nowhere_beside
    keys = catalog.rows(_LIST_NOWHERE, **here, limit=MOST_LISTED) if listing else []
    short_songs, short_files, short_beside = short_without(catalog, backend)
    return Loss(
        *(backend.name, backend.bucket, int(files), int(size), short_files, short_songs),
        *(int(nowhere), int(songs), int(beside), short_beside, int(nowhere_beside)),
        pending=int(catalog.scalar(_PENDING, **here)),
        unfinished=int(catalog.scalar(_UNFINISHED, **here)),
        nowhere_keys=[key for (key,) in keys],
    )


def remove(catalog: Catalog, backend: ObjectBackend) -> int:
    """Take a backend out of the catalog; its objects stay. In one transaction.

    What is planned for it is dropped, and a run that is uploading to it ends with an error when
    it comes to record. The name is free then. If its bucket is registered again, that is a new
    backend, on which uploads and adoptions find what lies there.

    Returns:
        How many files it held.

    Raises:
        CatalogError: it was removed already.
    """
    with catalog.transaction() as connection:
        require_in_use(connection, backend)
        # No name that is registered has a space.
        _call(connection, backend, f"{backend.name} (removed, {backend.id})")
        taken_out = {"backend_type": REMOVED, "removed_at": sa.func.current_timestamp()}
        row = sa.update(storage_backends).where(_COLUMNS.id == backend.id)
        connection.execute(row.values(**taken_out, failing_since=None))
        drop = sa.text("DELETE FROM upload_tasks WHERE target_backend_id = :backend")
        connection.execute(drop, {"backend": backend.id})
        return locations.retire(connection, backend.id)


def _call(connection: sa.Connection, backend: ObjectBackend, name: str) -> None:
    config = read_config(connection, backend.id)
    former = {*_former(config), backend.name} - {name}
    write_config(connection, backend.id, {**config, _FORMER: sorted(former)})
    row = sa.update(storage_backends).where(_COLUMNS.id == backend.id)
    connection.execute(row.values(name=name, updated_at=sa.func.current_timestamp()))


def former_names(catalog: Catalog) -> list[str]:
    """The names that backends of this catalog had, and none has now."""
    config = sa.type_coerce(_COLUMNS.config, sa.String)
    with catalog.read() as connection:
        rows = connection.execute(sa.select(_COLUMNS.name, config)).all()
    had = {name for _, text in rows for name in _former(settings_of(text))}
    return sorted(had - {name for name, _ in rows})


def _former(config: dict[str, object]) -> list[str]:
    found = config.get(_FORMER)
    return [name for name in found if isinstance(name, str)] if isinstance(found, list) else []
