"""Downloads: tasks with leases, attempts and what is known of the content; folders to go on in.

A database that was adopted may have a column of one of these names already; it is kept as it is.

Revision ID: 0003
Revises: 0002
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

# Written out: SQLite adds no NOT NULL column without a default, and Alembic no default in one go.
_COLUMNS = {
    "sha256": "VARCHAR",
    "size_bytes": "BIGINT",
    "error_code": "VARCHAR",
    "attempts": "INTEGER NOT NULL DEFAULT 0",
    "lease_owner": "VARCHAR",
    "lease_expires_at": "FLOAT",
    "absolute_path": "VARCHAR",
}


def upgrade() -> None:
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("download_tasks")}
    for name, kind in _COLUMNS.items():
        if name.lower() not in {column.lower() for column in there}:
            op.execute(f"ALTER TABLE download_tasks ADD COLUMN {name} {kind}")
    for name, columns in (
        ("ix_download_tasks_queue", ["status", "attempts", "id"]),
        ("ix_download_tasks_url", ["url"]),
    ):
        op.create_index(name, "download_tasks", columns, if_not_exists=True)
    op.create_table(
        "download_roots",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("path", sa.String, nullable=False, unique=True),
        sa.Column("created_at", sa.DateTime, server_default=sa.text("CURRENT_TIMESTAMP")),
    )
