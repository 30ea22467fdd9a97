"""What the assets need from outside, as Dagster resources: configuration and small factories.

What is done with a catalog or a store is in `core`.
"""

from catalogsync_assets.resources.catalog import CatalogResource
from catalogsync_assets.resources.object_stores import ObjectStoreResource

__all__ = ["CatalogResource", "ObjectStoreResource"]
