"""Audits with what they found, and how many copies a library must have.

Revision ID: 0004
Revises: 0003
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audits",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("backend_id", sa.Integer, sa.ForeignKey("storage_backends.id"), nullable=False),
        sa.Column("level", sa.String, nullable=False),
        sa.Column("sample_percent", sa.Float),
        sa.Column("since", sa.DateTime),
        sa.Column("repair", sa.Boolean, nullable=False),
        sa.Column("scope", sa.JSON),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("owner", sa.String),
        sa.Column("position", sa.String),
        sa.Column("seen", sa.LargeBinary),
        sa.Column("counts", sa.JSON),
        sa.Column("started_at", sa.DateTime, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.Column("finished_at", sa.DateTime),
        sa.Index("ix_audits_backend", "backend_id", "id"),
    )
    op.create_table(
        "audit_findings",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "audit_id", sa.Integer, sa.ForeignKey("audits.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("locator", sa.String, nullable=False),
        sa.Column("file_asset_id", sa.Integer),
        sa.Column("detail", sa.Text),
        sa.Column("repair", sa.String),
        sa.Column("created_at", sa.DateTime, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.UniqueConstraint("audit_id", "kind", "locator"),
    )
    op.create_table(
        "library_policies",
        sa.Column("library_root", sa.String, primary_key=True),
        sa.Column("required_copies", sa.Integer, nullable=False),
        sa.Column("updated_at", sa.DateTime, server_default=sa.text("CURRENT_TIMESTAMP")),
    )
    op.create_index(
        "ix_file_locations_damaged",
        "file_locations",
        ["backend_id"],
        sqlite_where=sa.text("status = 'damaged'"),
        if_not_exists=True,
    )
    op.create_index(
        "ix_file_locations_removed",
        "file_locations",
        ["status", "backend_id"],
        sqlite_where=sa.text("status IN ('offloading', 'offloaded')"),
        if_not_exists=True,
    )
