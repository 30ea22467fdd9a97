"""Playlists with their order and repetitions, files whose tags could not be read, or left out.

Revision ID: 0005
Revises: 0004
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "playlist_entries",
        sa.Column(
            "playlist_id",
            sa.Integer,
            sa.ForeignKey("playlists.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column(
            "song_id", sa.Integer, sa.ForeignKey("songs.id", ondelete="CASCADE"), nullable=False
        ),
        sa.Column("manifest", sa.String),
        sa.Index("ix_playlist_entries_song", "song_id"),
    )
    # A database that was adopted may have a column of this name already; it is kept as it is.
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("file_assets")}
    if "tags_error" not in {column.lower() for column in there}:
        op.execute("ALTER TABLE file_assets ADD COLUMN tags_error VARCHAR")
    op.create_index(
        "ix_file_assets_tags_error",
        "file_assets",
        ["id"],
        sqlite_where=sa.text("tags_error IS NOT NULL"),
        postgresql_where=sa.text("tags_error IS NOT NULL"),
        if_not_exists=True,
    )
    op.create_index(
        "ix_file_locations_excluded",
        "file_locations",
        ["file_asset_id", "backend_id"],
        sqlite_where=sa.text("status = 'excluded'"),
        postgresql_where=sa.text("status = 'excluded'"),
        if_not_exists=True,
    )
