"""What may be believed of a name that comes from a bucket: keys, paths, owner tags."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

from catalogsync_assets.core.catalog.object_keys import beside, original_path, unusable
from catalogsync_assets.core.files.names import MAX_NAME_BYTES
from catalogsync_assets.core.stores.backend import MOVES, OWN_FOLDER, OWN_KEYS, REPLACED

#: What a whole path may have, in bytes: what Linux takes, less what a root may need of it.
_MAX_PATH_BYTES = 3_000
_OWNER = re.compile(r"([0-9a-f]{8,64})/([1-9][0-9]{0,8})")
#: Below this go files of which nothing tells a path: a kill has left them half-way to another key.
UNNAMED = "recovered/"


class Owner(NamedTuple):
    """For which file of which catalog an object was put."""

    catalog_id: str
    file_asset_id: int


def owner_of(tag: str | None) -> Owner | None:
    """What an owner tag says; None where it is of no form that this program writes."""
    found = _OWNER.fullmatch(tag or "")
    return None if found is None else Owner(found[1], int(found[2]))


def path_of(name: str) -> str | None:
    """The path below a library root that a key stands for; None for one that leads nowhere.

    Args:
        name: the key below the backend's prefix.
    """
    if name.startswith(MOVES):
        name = UNNAMED + name.removeprefix(MOVES)
    return name if is_safe(name) else None


def original_of(name: str, owner: Owner | None, roots: Collection[str]) -> str:
    """The path that a key was made of, where its suffix tells that; else what the key says.

    Args:
        name: a path that `path_of` has given.
        owner: who says to have put the object.
        roots: that the file may have been below.
    """
    own = (owner and beside(name, owner.file_asset_id)) or name
    path = original_path(own, roots) or own
    return path if is_safe(path) else name


def is_safe(path: str) -> bool:
    """Whether a path stays below its root, on any system that a file can come to."""
    if len(path.encode(errors="replace")) > _MAX_PATH_BYTES or unusable(path) is not None:
        return False
    return all(
        part not in ("", ".", "..")
        and len(part.encode()) <= MAX_NAME_BYTES
        and part.casefold() != OWN_FOLDER.rstrip("/")  # there are systems that know no case
        and not part.casefold().startswith(OWN_KEYS)
        for part in path.split("/")
    )


def is_of_file(name: str) -> bool:
    """Whether a key can be a file's, and not one of this program's own.

    Args:
        name: the key below the backend's prefix.
    """
    return not name.startswith((OWN_KEYS, OWN_FOLDER)) or name.startswith((MOVES, REPLACED))


def is_root(path: str) -> bool:
    """Whether a text can be the path of a library root of another machine."""
    return path.startswith("/") and unusable(path) is None and ".." not in path.split("/")
