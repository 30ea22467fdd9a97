"""First schema: creates what is missing and adds our columns to tables that are already there.

A database in the older shape keeps every row and every column that is not ours; columns that we
add to a table with rows are nullable or have a default.

Revision ID: 0001
Revises:
"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def _id() -> sa.Column[int]:
    return sa.Column("id", sa.Integer, primary_key=True)


def _ref(
    name: str, target: str, *, nullable: bool = True, primary_key: bool = False
) -> sa.Column[int]:
    return sa.Column(
        name,
        sa.Integer,
        sa.ForeignKey(target),
        nullable=nullable and not primary_key,
        primary_key=primary_key,
    )


def _time(name: str) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime, server_default=sa.text("CURRENT_TIMESTAMP"))


def _name() -> sa.Column[str]:
    return sa.Column("name", sa.String, nullable=False)


def _ensure_table(table: str, *items: sa.schema.SchemaItem) -> None:
    """Create the table, or add the columns that it lacks."""
    inspector = sa.inspect(op.get_bind())
    if not inspector.has_table(table):
        op.create_table(table, *items)
        return
    there = {column["name"] for column in inspector.get_columns(table)}
    for item in items:
        if isinstance(item, sa.Column) and item.name not in there:
            _add_column(table, item)


def _add_column(table: str, column: sa.Column[object]) -> None:
    """ALTER TABLE ADD COLUMN as SQLite allows it on a table with rows.

    It refuses a default that is not constant (CURRENT_TIMESTAMP), and NOT NULL, UNIQUE or a key
    without a default; such a column is added bare. Written out, as Alembic would add a foreign key
    in a second statement, which SQLite has not.
    """
    bind = op.get_bind()
    parts = [column.name, column.type.compile(bind.dialect)]
    default = column.server_default
    if isinstance(default, sa.DefaultClause) and "CURRENT" not in str(default.arg):
        parts += ["NOT NULL"] if not column.nullable else []
        parts += ["DEFAULT", str(default.arg)]
    for key in column.foreign_keys:
        target, _, target_column = key.target_fullname.partition(".")
        parts.append(f"REFERENCES {target} ({target_column})")
    op.execute(f"ALTER TABLE {table} ADD COLUMN {' '.join(parts)}")


def _borrow(table: str, column: str, other: str) -> None:
    """Fill a column that we have added from one that says the same under another name."""
    there = {c["name"] for c in sa.inspect(op.get_bind()).get_columns(table)}
    if other in there:
        op.execute(f"UPDATE {table} SET {column} = {other} WHERE {column} IS NULL")


def _ensure_index(name: str, table: str, columns: list[str], where: str | None = None) -> None:
    condition = None if where is None else sa.text(where)
    op.create_index(name, table, columns, if_not_exists=True, sqlite_where=condition)


def _ensure_unique(table: str, columns: list[str]) -> None:
    """Make sure that rows can be told apart by these columns, on which our upserts rely."""
    inspector = sa.inspect(op.get_bind())
    keys: list[Sequence[str | None]] = [inspector.get_pk_constraint(table)["constrained_columns"]]
    keys += [unique["column_names"] for unique in inspector.get_unique_constraints(table)]
    keys += [index["column_names"] for index in inspector.get_indexes(table) if index["unique"]]
    if not any(sorted(c for c in key if c) == sorted(columns) for key in keys):
        op.create_index(f"uq_{table}", table, columns, unique=True)


def upgrade() -> None:
    for pool, member, members in (
        ("playlist_pools", "playlist", "playlists"),
        ("artist_pools", "artist", "artists"),
    ):
        _ensure_table(pool, _id(), _name(), _time("created_at"))
        _ensure_table(members, _id(), _name(), _time("created_at"))
        _ensure_table(
            f"pool_{members}",
            _ref("pool_id", f"{pool}.id", primary_key=True),
            _ref(f"{member}_id", f"{members}.id", primary_key=True),
        )
    _ensure_table(
        "songs",
        _id(),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("artist", sa.String),
        sa.Column("album", sa.String),
        sa.Column("track_number", sa.Integer),
        sa.Column("disc_number", sa.Integer),
        sa.Column("duration_seconds", sa.Float),
        sa.Column("match_key", sa.String),
        _time("created_at"),
        _time("updated_at"),
    )
    _ensure_table(
        "playlist_songs",
        # Catalogs made before schema 0005 have these two as their key, and not the index.
        _ref("playlist_id", "playlists.id", nullable=False),
        _ref("song_id", "songs.id", nullable=False),
        sa.Column("position", sa.Integer),
        sa.Index("ix_playlist_songs", "playlist_id", "song_id"),
    )
    _ensure_table(
        "artist_songs",
        _ref("artist_id", "artists.id", primary_key=True),
        _ref("song_id", "songs.id", primary_key=True),
    )
    _ensure_table(
        "storage_backends",
        _id(),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("backend_type", sa.String, nullable=False),
        sa.Column("container_name", sa.String),
        sa.Column("config", sa.JSON),
        sa.Column("last_success_at", sa.DateTime),
        _time("created_at"),
        _time("updated_at"),
    )
    _ensure_table(
        "batches",
        _id(),
        sa.Column("key", sa.String, unique=True),
        sa.Column("file_count", sa.Integer, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        _time("created_at"),
    )
    _ensure_table(
        "file_assets",
        _id(),
        _ref("song_id", "songs.id"),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("sha256", sa.String),
        sa.Column("format", sa.String),
        sa.Column("duration_seconds", sa.Float),
        sa.Column("object_key", sa.String),
        sa.Column("object_key_fold", sa.String),
        _ref("batch_id", "batches.id"),
        _ref("superseded_by_id", "file_assets.id"),
        _time("created_at"),
        _time("updated_at"),
    )
    _ensure_table(
        "file_locations",
        _id(),
        _ref("file_asset_id", "file_assets.id", nullable=False),
        _ref("backend_id", "storage_backends.id", nullable=False),
        sa.Column("container_name", sa.String),
        sa.Column("locator", sa.String, nullable=False),
        sa.Column("absolute_path", sa.String),
        sa.Column("public_url", sa.String),
        sa.Column("download_url", sa.String),
        sa.Column("status", sa.String, nullable=False, server_default=sa.text("'active'")),
        sa.Column("is_primary", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("size_bytes", sa.BigInteger),
        sa.Column("mtime_ns", sa.BigInteger),
        sa.Column("library_root", sa.String),
        sa.Column("library_path", sa.String),
        sa.Column("etag", sa.String),
        sa.Column("verified_at", sa.DateTime),
        sa.Column("verified_by", sa.String),
        _time("created_at"),
        _time("updated_at"),
        sa.UniqueConstraint("file_asset_id", "backend_id", "locator"),
    )
    _ensure_table(
        "download_tasks",
        _id(),
        _ref("song_id", "songs.id"),
        sa.Column("source", sa.String),
        sa.Column("url", sa.String),
        sa.Column("status", sa.String, nullable=False, server_default=sa.text("'pending'")),
        sa.Column("last_error", sa.Text),
        _time("created_at"),
        _time("updated_at"),
    )
    _ensure_table(
        "song_backend_presence",
        _ref("song_id", "songs.id", primary_key=True),
        _ref("backend_id", "storage_backends.id", primary_key=True),
        sa.Column("files_total", sa.Integer),
        sa.Column("files_present", sa.Integer),
        sa.Column("bytes_present", sa.BigInteger),
        sa.Column("verified_at", sa.DateTime),
        _time("updated_at"),
    )
    _ensure_table(
        "upload_tasks",
        _id(),
        _ref("file_asset_id", "file_assets.id", nullable=False),
        _ref("source_location_id", "file_locations.id"),
        _ref("target_backend_id", "storage_backends.id", nullable=False),
        sa.Column("target_container_name", sa.String),
        sa.Column("target_locator", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False, server_default=sa.text("'pending'")),
        sa.Column("last_error", sa.Text),
        sa.Column("error_code", sa.String),
        sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("queue_order", sa.Integer, nullable=False, server_default=sa.text("0")),
        sa.Column("lease_owner", sa.String),
        sa.Column("lease_expires_at", sa.Float),
        _time("created_at"),
        _time("updated_at"),
        sa.UniqueConstraint("file_asset_id", "target_backend_id", "target_locator"),
    )
    _borrow("songs", "title", "name")
    for table in ("playlists", "artists", "playlist_pools", "artist_pools"):
        _borrow(table, "name", "title")
    for name, table, columns in (
        ("ix_artists_name", "artists", ["name"]),
        ("ix_songs_match_key", "songs", ["match_key"]),
        ("ix_artist_songs_song", "artist_songs", ["song_id"]),
        ("ix_file_assets_song", "file_assets", ["song_id"]),
        ("ix_file_assets_batch", "file_assets", ["batch_id", "id"]),
        ("ix_file_assets_key_fold", "file_assets", ["object_key_fold"]),
        ("ix_file_locations_place", "file_locations", ["backend_id", "container_name", "locator"]),
        ("ix_file_locations_library", "file_locations", ["library_root", "library_path"]),
        (
            "ix_song_backend_presence_backend",
            "song_backend_presence",
            ["backend_id", "files_total", "files_present", "bytes_present"],
        ),
        (
            "ix_upload_tasks_queue",
            "upload_tasks",
            ["target_backend_id", "status", "queue_order", "id"],
        ),
    ):
        _ensure_index(name, table, columns)
    _ensure_index(
        "ix_file_locations_missing", "file_locations", ["backend_id"], "status = 'missing'"
    )
    _ensure_index(
        "ix_file_locations_unmet",
        "file_locations",
        ["backend_id"],
        "library_root IS NULL AND absolute_path IS NOT NULL",
    )
    _ensure_unique("storage_backends", ["name"])
    _ensure_unique("file_locations", ["file_asset_id", "backend_id", "locator"])
    _ensure_unique("upload_tasks", ["file_asset_id", "target_backend_id", "target_locator"])
    # Figures that are made anew: a pair that is there twice keeps its newest row.
    op.execute(
        "DELETE FROM song_backend_presence WHERE rowid NOT IN"
        " (SELECT MAX(rowid) FROM song_backend_presence GROUP BY song_id, backend_id)"
    )
    _ensure_unique("song_backend_presence", ["song_id", "backend_id"])
