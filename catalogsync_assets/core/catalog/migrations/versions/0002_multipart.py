"""A journal of uploads in parts, from which one that was killed goes on.

Revision ID: 0002
Revises: 0001
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "multipart_uploads",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("backend_id", sa.Integer, sa.ForeignKey("storage_backends.id"), nullable=False),
        sa.Column("container_name", sa.String, nullable=False),
        sa.Column("locator", sa.String, nullable=False),
        sa.Column("upload_id", sa.String, nullable=False),
        sa.Column("file_asset_id", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("mtime_ns", sa.BigInteger, nullable=False),
        sa.Column("part_bytes", sa.BigInteger, nullable=False),
        sa.Column("checksums", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.DateTime, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.UniqueConstraint("backend_id", "container_name", "locator", "upload_id"),
    )
    op.create_table(
        "multipart_parts",
        sa.Column(
            "multipart_upload_id",
            sa.Integer,
            sa.ForeignKey("multipart_uploads.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("part_number", sa.Integer, primary_key=True),
        sa.Column("etag", sa.String, nullable=False),
        sa.Column("sha256", sa.String, nullable=False),
    )
