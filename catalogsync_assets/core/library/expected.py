"""How many files a scan will meet, for whoever watches it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.known_paths import count_known
from catalogsync_assets.core.errors import CatalogSyncError
from catalogsync_assets.core.files.companions import Companions
from catalogsync_assets.core.files.formats import MEDIA_TYPES, extension

#: Seconds after which somebody wants to know; a scan that is over by then counts nothing.
PATIENCE = 2.0


class Expected:
    """About how many files lie below some roots: as many as the catalog knows there, and of a root
    that it does not know as many as are listed, while the scan goes on."""

    def __init__(self, catalog: Catalog, roots: Sequence[Path]) -> None:
        self._catalog = catalog
        self._roots = roots
        self._asked = time.monotonic() + PATIENCE
        self._counting: threading.Thread | None = None
        self._total: int | None = None

    def total(self, done: int) -> int | None:
        """How many there are; None while that is not known, or it has proved wrong.

        Args:
            done: how many have been met.
        """
        if self._counting is None and time.monotonic() >= self._asked:
            # Nobody waits for it, the end of the program neither.
            self._counting = threading.Thread(target=self._count, daemon=True)
            self._counting.start()
        return self._total if self._total is not None and self._total >= done else None

    def _count(self) -> None:
        with suppress(CatalogSyncError, OSError):  # the scan will say what is wrong
            kind_of = Companions.of_settings().kind_of
            total = 0
            for root in self._roots:
                total += count_known(self._catalog, str(root)) or sum(
                    extension(name) in MEDIA_TYPES or kind_of(name) is not None
                    for *_, names in os.walk(root)
                    for name in names
                )
            self._total = total
