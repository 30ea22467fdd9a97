"""Library roots as rows, and what tells a file that has moved from one that is new.

Revision ID: 0006
Revises: 0005
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_COLUMNS = (
    ("file_locations", "ctime_ns", "BIGINT"),
    ("file_locations", "inode", "BIGINT"),
    ("file_locations", "file_system", "VARCHAR"),
    ("file_locations", "missing_since", "DATETIME"),
    ("file_assets", "tags_digest", "VARCHAR"),
    ("file_assets", "audio_digest", "VARCHAR"),
    ("file_assets", "recording_id", "VARCHAR"),
    ("file_assets", "release_track_id", "VARCHAR"),
    ("file_assets", "song_decided", "INTEGER"),
)
_INDEXES = (
    ("ix_file_assets_audio_digest", "file_assets", "audio_digest"),
    ("ix_file_assets_recording", "file_assets", "recording_id"),
    ("ix_file_assets_release_track", "file_assets", "release_track_id"),
)


def upgrade() -> None:
    op.create_table(
        "library_roots",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("path", sa.String, nullable=False, unique=True),
        sa.Column("name", sa.String),
        sa.Column("host", sa.String),
        sa.Column("file_system", sa.String),
        sa.Column("last_complete_scan_at", sa.DateTime),
        sa.Column("rehash_began_at", sa.DateTime),
        sa.Column("let_go_at", sa.DateTime),
        sa.Column("created_at", sa.DateTime, server_default=sa.text("CURRENT_TIMESTAMP")),
        sa.Column("updated_at", sa.DateTime, server_default=sa.text("CURRENT_TIMESTAMP")),
    )
    for table, name, kind in _COLUMNS:
        # A database that was adopted may have a column of this name already; it is kept as it is.
        there = {column["name"].lower() for column in sa.inspect(op.get_bind()).get_columns(table)}
        if name not in there:
            op.execute(f"ALTER TABLE {table} ADD COLUMN {name} {kind}")
    for index, table, column in _INDEXES:
        op.create_index(
            index,
            table,
            [column],
            sqlite_where=sa.text(f"{column} IS NOT NULL"),
            postgresql_where=sa.text(f"{column} IS NOT NULL"),
            if_not_exists=True,
        )
    # Whether a content is stored already, is asked of every file that is sent.
    content = ["size_bytes", "sha256"]
    op.create_index("ix_file_assets_content", "file_assets", content, if_not_exists=True)
    # What a move leaves unread is read by later scans, some of it each time.
    unread = sa.text("verified_by = 'inode'")
    op.create_index(
        "ix_file_locations_unread",
        "file_locations",
        ["library_root"],
        sqlite_where=unread,
        postgresql_where=unread,
        if_not_exists=True,
    )
    # Files that are left out, now with those that were forgotten.
    op.drop_index("ix_file_locations_excluded", "file_locations", if_exists=True)
    unwanted = sa.text("status IN ('excluded', 'forgotten')")
    op.create_index(
        "ix_file_locations_unwanted",
        "file_locations",
        ["file_asset_id", "status", "backend_id"],
        sqlite_where=unwanted,
        postgresql_where=unwanted,
        if_not_exists=True,
    )
    # Since when they are gone was not noted; what is known for certain begins now.
    op.execute(
        "UPDATE file_locations SET missing_since = CURRENT_TIMESTAMP"
        " WHERE status = 'missing' AND missing_since IS NULL AND library_root IS NOT NULL"
    )
    op.execute(
        "INSERT INTO library_roots (path) SELECT DISTINCT library_root FROM file_locations"
        " WHERE library_root IS NOT NULL AND library_root <> ''"
    )
