"""Makes the file that a snapshot is of: the catalog as it is at one moment, in a canonical form.

SQLite's backup copies the pages as they lie, whatever is written meanwhile; the copy is then
written anew (`VACUUM INTO`), so that catalogs with the same rows become the same bytes, and an
unchanged one is known by its digest. What is noted of snapshots themselves is left out, or each
would make the next differ. Measured at 1.85 KB a file: 15 s of CPU for a million files.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.version import SCHEMA_VERSION
from catalogsync_assets.core.errors import CatalogError
from catalogsync_assets.core.files.atomic import private
from catalogsync_assets.core.files.digests import sha256_of
from catalogsync_assets.core.runner.owners import new_part

#: What a killed backup leaves beside the catalog begins like this, after the catalog's own name.
PREFIX = ".snapshot-"


@dataclass(frozen=True)
class MadeCopy:
    """A copy of the catalog on the disk."""

    path: Path
    size_bytes: int
    sha256: str  #: in hex
    schema: str  #: the revision of its tables


@contextmanager
def copied(catalog: Catalog) -> Iterator[MadeCopy]:
    """A copy of the catalog, beside it; gone once the block is left.

    Memory is flat; the disk holds up to three copies for a while, the third one compressed. Writers
    of the catalog go on meanwhile.

    Raises:
        CatalogError: there is no room on the disk, or the catalog is damaged.
    """
    prefix = f"{catalog.path.name}{PREFIX}"
    whole = new_part(catalog.path, prefix)
    raw = whole.with_name(f"{whole.name}.raw.part")
    needed = 2 * catalog.path.stat().st_size
    if shutil.disk_usage(catalog.path.parent).free < needed:
        raise CatalogError(
            f"no room for a snapshot of {catalog.path} ({needed:,} bytes) beside it",
            hint="free some disk space",
        )
    try:
        try:
            with private(raw):
                pass
            with private(whole):
                pass
            _copy(catalog.path, raw, whole)
            made = MadeCopy(whole, whole.stat().st_size, sha256_of(whole), SCHEMA_VERSION)
        except OSError as error:
            raise CatalogError(
                f"no snapshot of the catalog can be made beside it, in {catalog.path.parent}:"
                f" {error.strerror}",
                hint="let this user write there",
            ) from error
        except sqlite3.Error as error:
            raise CatalogError(
                f"no snapshot of the catalog {catalog.path} can be made: {error}",
                hint="`sqlite3 CATALOG 'PRAGMA integrity_check'` tells whether it is damaged",
            ) from error
        yield made
    finally:
        for file in (whole, raw):
            with suppress(OSError):
                file.unlink(missing_ok=True)


def _copy(catalog: Path, raw: Path, whole: Path) -> None:
    with (
        closing(sqlite3.connect(f"{catalog.as_uri()}?mode=ro", uri=True)) as source,
        closing(sqlite3.connect(raw, isolation_level=None)) as copy,
    ):
        source.backup(copy)
        # A kill leaves nothing that anybody would open: no journal is needed. From the WAL, which
        # came along, this goes in two steps.
        for pragma in ("journal_mode=DELETE", "journal_mode=OFF", "synchronous=OFF"):
            copy.execute(f"PRAGMA {pragma}")
        # All rows: one that is written anew has its NULLs stored, another one need not.
        copy.execute("UPDATE storage_backends SET snapshot_at = NULL, snapshot_digest = NULL")
        try:
            copy.execute("VACUUM INTO ?", (str(whole),))
        except sqlite3.OperationalError:
            # An adopted database may sort by rules that only its own program knows.
            whole.unlink()
            raw.rename(whole)
