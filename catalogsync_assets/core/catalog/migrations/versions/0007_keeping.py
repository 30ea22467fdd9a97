"""Companion files, when a status came to be, and what is known of a backend's own records.

Revision ID: 0007
Revises: 0006
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("file_assets", "companion", "VARCHAR"),
    ("playlists", "file_asset_id", "INTEGER"),
    ("playlists", "unresolved", "INTEGER"),
    ("library_roots", "playlists_read_at", "DATETIME"),
    ("file_locations", "status_since", "DATETIME"),
    ("file_locations", "status_before", "VARCHAR"),
    ("storage_backends", "removed_at", "DATETIME"),
    ("storage_backends", "failing_since", "DATETIME"),
    ("storage_backends", "generation", "INTEGER"),
    ("storage_backends", "generation_doubted_at", "DATETIME"),
    ("storage_backends", "generation_confirmed", "INTEGER"),
    ("storage_backends", "snapshot_at", "DATETIME"),
    ("storage_backends", "snapshot_digest", "VARCHAR"),
)
_INDEXES = (
    ("ix_file_assets_companion", "file_assets", ["companion", "id"], "companion IS NOT NULL"),
    (
        *("ix_file_locations_past", "file_locations", ["file_asset_id"]),
        "status IN ('superseded', 'forgotten')",
    ),
    ("ix_file_locations_pruning", "file_locations", ["locator"], "status = 'pruning'"),
)


def upgrade() -> None:
    for table, name, kind in _COLUMNS:
        # A database that was adopted may have a column of this name already; it is kept as it is.
        there = {column["name"].lower() for column in sa.inspect(op.get_bind()).get_columns(table)}
        if name not in there:
            op.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
    for name, table, columns, condition in _INDEXES:
        where = sa.text(condition)
        op.create_index(
            name, table, columns, sqlite_where=where, postgresql_where=where, if_not_exists=True
        )
