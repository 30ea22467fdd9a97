"""A library root that begins further up, or further down, than it did: its files stay where they
are, and only what is above them belongs to the root or to their paths. Where the files themselves
are elsewhere, see `roots.move_root`.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import Any

from catalogsync_assets.core.catalog import keys
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import meet_rows_of_other_programs
from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.catalog.roots import known_roots, require_free, require_moved_apart
from catalogsync_assets.core.catalog.roots import rename_root as _rename_root
from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.files.file_systems import file_system_of

#: Files that get their keys at a time.
_PAGE = 5_000


def is_other_extent(old: str, new: str) -> bool:
    """Whether one of two different folders lies in the other, by their paths."""
    one, other = PurePosixPath(old), PurePosixPath(new)
    return one != other and (one.is_relative_to(other) or other.is_relative_to(one))


_OF_FILES = "library_root = :old AND status NOT IN ('superseded', 'forgotten')"
_OUTSIDE = "substr(library_path, 1, :length) <> :prefix"
_LET_GO_OF_HISTORY = f"""
UPDATE file_locations SET library_root = NULL, library_path = NULL
WHERE library_root = :old AND {_OUTSIDE}
"""
_SET_PATHS = """
UPDATE file_locations SET
    container_name = CASE WHEN container_name = :old THEN :new ELSE container_name END,
    locator = CASE WHEN locator = library_path AND NOT EXISTS (
        SELECT 1 FROM file_locations o WHERE o.file_asset_id = file_locations.file_asset_id
          AND o.backend_id = file_locations.backend_id AND o.locator = {path})
      THEN {path} ELSE locator END,
    library_path = {path}, library_root = :new, updated_at = CURRENT_TIMESTAMP
WHERE library_root = :old
"""
_WIDER = ":prefix || file_locations.library_path"
_NARROWER = "substr(file_locations.library_path, :length + 1)"
# A file that is below another root as well, as after a restore beside it, keeps its key.
_PLACES = """
SELECT l.id, l.file_asset_id, l.library_path FROM file_locations l
WHERE l.library_root = :new AND l.status <> 'superseded' AND l.id > :after
  AND NOT EXISTS (
    SELECT 1 FROM file_locations o WHERE o.file_asset_id = l.file_asset_id
      AND o.library_root <> :new AND o.status <> 'superseded')
ORDER BY l.id LIMIT :page
"""


def set_extent(catalog: Catalog, old: str, new: str) -> int:
    """A root begins at a folder above or below from now on. In one transaction; idempotent.

    Its files get other paths below it, and with them the object keys of these paths. Nothing on
    disk is moved or read.

    Args:
        old: as it is known.
        new: absolute; a folder above the old one, or below it.

    Returns:
        How many files the catalog knows there now; 0 where nothing is known at `old`.

    Raises:
        ConfigurationError: the new path overlaps another root, files below it are known, or some of
            the root's files lie outside of it.
    """
    known = known_roots(catalog)
    if old not in known or not is_other_extent(old, new):
        return 0
    require_moved_apart(Path(new), [k for k in known if k != old])
    meet_rows_of_other_programs(catalog, old)
    wider = PurePosixPath(old).is_relative_to(new)
    inner, outer = (old, new) if wider else (new, old)
    prefix = f"{PurePosixPath(inner).relative_to(outer)}/"
    values: dict[str, Any] = {"old": old, "new": new, "prefix": prefix, "length": len(prefix)}
    with catalog.transaction() as connection:
        require_free(connection, new)
        if not wider:
            _require_inside(connection, values)
            connection.execute(sa.text(_LET_GO_OF_HISTORY), values)
        path = _WIDER if wider else _NARROWER
        moved = connection.execute(sa.text(_SET_PATHS.format(path=path)), values).rowcount
        _rename_root(connection, old, new, file_system_of(new))
        after = 0
        while page := connection.execute(
            sa.text(_PLACES), {**values, "after": after, "page": _PAGE}
        ).all():
            keys.rename(connection, [(asset, new, path) for _, asset, path in page])
            after = page[-1][0]
    return moved


def _require_inside(connection: sa.Connection, values: dict[str, Any]) -> None:
    statement = f"SELECT COUNT(*), MIN(library_path) FROM file_locations WHERE {_OF_FILES}"
    count, first = connection.execute(sa.text(f"{statement} AND {_OUTSIDE}"), values).one()
    if count:
        raise ConfigurationError(
            f"{count:,} files that the catalog knows below {values['old']} are not below"
            f" {values['new']}, such as {first}",
            hint="what the library is to hold no more can be left out with .catalogsyncignore, or"
            " `catalogsync forget`",
        )
