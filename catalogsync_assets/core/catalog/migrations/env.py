"""Alembic's entry: runs the migrations on the connection that `catalog.database` hands over.

The transaction belongs to the caller; nothing is committed here.
"""

from __future__ import annotations

from alembic import context

from catalogsync_assets.core.catalog.schema import metadata
from catalogsync_assets.core.catalog.version import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
    render_as_batch=False,
)
context.run_migrations()
