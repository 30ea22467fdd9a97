"""The catalog as a resource."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager

import dagster as dg
from pydantic import Field

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.invalid_rows import explained


class CatalogResource(dg.ConfigurableResource):
    """Where the catalog is."""

    location: str | None = Field(
        default=None,
        description="A path or an sqlite:/// URL. By default $CATALOGSYNC_DB, else catalogsync.db.",
    )

    @contextmanager
    def open(self) -> Iterator[Catalog]:
        """The catalog, open for the length of the block. Nothing of it outlives a step.

        Raises:
            CatalogError: it does not exist, or is of another version; see `Catalog.open`. Or the
                block failed on a row that cannot be; see `explain`.
        """
        with closing(Catalog.open(self.location)) as catalog, explained(catalog):
            yield catalog
