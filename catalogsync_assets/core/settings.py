"""What the environment says: where the catalog is, and where the music is.

Read when asked, never at import, so that a test or a Dagster run sees the environment it runs in.
Credentials of stores are not here; see `core.transfer.stores`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from catalogsync_assets.core.errors import ConfigurationError

CATALOG_VARIABLE = "CATALOGSYNC_DB"
ROOTS_VARIABLE = "CATALOGSYNC_LIBRARY_ROOTS"
DEFAULT_CATALOG = "catalogsync.db"


def catalog_location(given: str | os.PathLike[str] | None = None) -> str:
    """Where the catalog is: as given, else `CATALOGSYNC_DB`, else `catalogsync.db` here.

    Returns:
        A file path or an SQLAlchemy URL, not yet opened.
    """
    return os.fspath(given) if given else os.environ.get(CATALOG_VARIABLE) or DEFAULT_CATALOG


def library_roots(
    given: Sequence[str | os.PathLike[str]] = (), *, known: Sequence[str] = ()
) -> list[Path]:
    """The library roots: as given, else those of `CATALOGSYNC_LIBRARY_ROOTS`, split as PATH is.

    Args:
        given: relative paths are taken from the working directory.
        known: taken where nothing is given and the variable is not set: the roots of earlier
            scans.

    Returns:
        Absolute paths in the order given, each once. Symbolic links are kept as written, so that
        a root keeps its name when the link is pointed at a new disk.

    Raises:
        ConfigurationError: no root is given, or one lies inside another (its files would be
            cataloged twice).
    """
    names = [os.fspath(g) for g in given] or [
        part for part in os.environ.get(ROOTS_VARIABLE, "").split(os.pathsep) if part
    ]
    names = names or list(known)
    if not names:
        raise ConfigurationError(
            "no library root is given",
            hint=f"set {ROOTS_VARIABLE}, or pass --library-root FOLDER (in Dagster: library_roots)",
        )
    roots = list(dict.fromkeys(Path(os.path.abspath(Path(n).expanduser())) for n in names))  # noqa: PTH100
    for inner in roots:
        try:
            os.fspath(inner).encode()
        except UnicodeEncodeError as error:
            raise ConfigurationError(
                f"the name of library root {os.fsencode(inner)!r} is not valid UTF-8",
                hint="rename the folder",
            ) from error
        for outer in roots:
            if inner != outer and inner.resolve().is_relative_to(outer.resolve()):
                raise ConfigurationError(
                    f"library root {inner} lies inside library root {outer}",
                    hint="name only the outer one",
                )
    return roots
