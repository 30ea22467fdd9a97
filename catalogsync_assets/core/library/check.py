"""Whether the local files that the catalog knows are still there: a `stat` each, none opened."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import known_files
from catalogsync_assets.core.catalog.roots import known_roots


@dataclass
class LocalFiles:
    """What was found."""

    checked: int = 0  #: files that should be there
    absent: int = 0  #: those that are not there, not regular files, or of a different size
    #: Path and reason of the first of them.
    examples: list[tuple[str, str]] = field(default_factory=list)


def check_local_files(catalog: Catalog, *, examples: int = 50) -> LocalFiles:
    """Look at every local file that the catalog says is there. Changes nothing.

    Args:
        examples: at most this many of the absent ones are named.
    """
    found = LocalFiles()
    for root in known_roots(catalog):
        for known in known_files(catalog, root):
            if not known.present:
                continue
            found.checked += 1
            path = Path(root, known.path)
            if reason := _wrong(path, known.size_bytes):
                found.absent += 1
                if len(found.examples) < examples:
                    found.examples.append((str(path), reason))
    return found


def _wrong(path: Path, size_bytes: int | None) -> str | None:
    """What is wrong with a file; None if nothing."""
    try:
        found = path.stat()
    except OSError as error:
        return error.strerror or str(error)
    if not stat.S_ISREG(found.st_mode):
        return "not a regular file"
    if size_bytes is not None and found.st_size != size_bytes:
        return f"{found.st_size:,} bytes, {size_bytes:,} when it was scanned"
    return None
