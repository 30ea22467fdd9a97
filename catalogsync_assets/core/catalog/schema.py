"""The tables as the code of today expects them.

How a database gets here is told by `migrations`; a test holds the two together. Fifteen of the
tables keep the names that existing databases use; `batches`, `playlist_entries`, `multipart_*`,
`library_roots`, `download_roots`, `audit*` and `library_policies` are ours.

Timestamps are the database's own CURRENT_TIMESTAMP (UTC). A status is a plain string, so that a
tool which wrote the database before us can go on reading it.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.schema import SchemaItem

metadata = MetaData()


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True)


def _ref(
    name: str,
    target: str,
    *,
    nullable: bool = True,
    primary_key: bool = False,
    ondelete: str | None = None,
) -> Column[int]:
    nullable = nullable and not primary_key
    key = ForeignKey(target, ondelete=ondelete)
    return Column(name, Integer, key, nullable=nullable, primary_key=primary_key)


def _time(name: str) -> Column[object]:
    return Column(name, DateTime, server_default=text("CURRENT_TIMESTAMP"))


def _named(table: str, *more: SchemaItem) -> Table:
    name = Column("name", String, nullable=False)
    return Table(table, metadata, _id(), name, _time("created_at"), *more)


def _partial(name: str, *columns: str, where: str) -> Index:
    return Index(name, *columns, sqlite_where=text(where))


playlist_pools = _named("playlist_pools")
playlists = _named(
    "playlists",
    # The file of the library that it is made from, as far as it is; NULL for any other. Not a
    # reference: what is made from a file is no reason to keep its row.
    Column("file_asset_id", Integer),
    # How many entries of that file name nothing that the catalog knows; NULL until it was read.
    Column("unresolved", Integer),
)
pool_playlists = Table(
    "pool_playlists",
    metadata,
    _ref("pool_id", "playlist_pools.id", primary_key=True),
    _ref("playlist_id", "playlists.id", primary_key=True),
)
artist_pools = _named("artist_pools")
artists = _named("artists", Index("ix_artists_name", "name"))
pool_artists = Table(
    "pool_artists",
    metadata,
    _ref("pool_id", "artist_pools.id", primary_key=True),
    _ref("artist_id", "artists.id", primary_key=True),
)
songs = Table(
    "songs",
    metadata,
    _id(),
    Column("title", String, nullable=False),
    Column("artist", String),
    Column("album", String),
    Column("track_number", Integer),
    Column("disc_number", Integer),
    Column("duration_seconds", Float),
    # Two files with the same key are files of one song; NULL where tags say too little to tell.
    Column("match_key", String),
    _time("created_at"),
    _time("updated_at"),
    Index("ix_songs_match_key", "match_key"),
)
#: Where `playlist_songs` has this index, we have made it without a key, so that a song may stand
#: there twice; in catalogs of before schema 0005, and in adopted databases, it is a set.
REPETITIONS_INDEX = "ix_playlist_songs"
playlist_songs = Table(
    "playlist_songs",
    metadata,
    _ref("playlist_id", "playlists.id", nullable=False),
    _ref("song_id", "songs.id", nullable=False),
    Column("position", Integer),
    Index(REPETITIONS_INDEX, "playlist_id", "song_id"),
)
# The playlist's songs in their order, repetitions included, for the songs that are in
# `playlist_songs`: that one stays the set of them, which an older tool reads and writes. What that
# tool deletes takes its entries along.
playlist_entries = Table(
    "playlist_entries",
    metadata,
    _ref("playlist_id", "playlists.id", primary_key=True, ondelete="CASCADE"),
    Column("position", Integer, primary_key=True),
    _ref("song_id", "songs.id", nullable=False, ondelete="CASCADE"),
    # The manifest that listed it; NULL where the song came into the playlist in some other way.
    Column("manifest", String),
    Index("ix_playlist_entries_song", "song_id"),
)
artist_songs = Table(
    "artist_songs",
    metadata,
    _ref("artist_id", "artists.id", primary_key=True),
    _ref("song_id", "songs.id", primary_key=True),
    Index("ix_artist_songs_song", "song_id"),
)
storage_backends = Table(
    "storage_backends",
    metadata,
    _id(),
    Column("name", String, nullable=False, unique=True),
    Column("backend_type", String, nullable=False),
    Column("container_name", String),
    Column("config", JSON),
    Column("last_success_at", DateTime),
    _time("created_at"),
    _time("updated_at"),
    # When a person took it out; what was on it is history. NULL while it is used.
    Column("removed_at", DateTime),
    # Since when nothing has come to it, though something was tried; NULL where all is well.
    Column("failing_since", DateTime),
    # Of its own record of who has changed it last, as we last wrote or read it.
    Column("generation", Integer),
    # When that was found to be another's, or newer; NULL where nothing speaks against ours.
    Column("generation_doubted_at", DateTime),
    # Where a person has confirmed that this is the catalog all the same: the last audit before
    # that. The doubt ends with a complete one after it.
    Column("generation_confirmed", Integer),
    # Of the last snapshot of this catalog there: when it was made, and of which content.
    Column("snapshot_at", DateTime),
    Column("snapshot_digest", String),
)
batches = Table(
    "batches",
    metadata,
    _id(),
    Column("key", String, unique=True),
    Column("file_count", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    _time("created_at"),
)
file_assets = Table(
    "file_assets",
    metadata,
    _id(),
    _ref("song_id", "songs.id"),
    Column("size_bytes", BigInteger),
    # Lower-case hex. NULL until the content is first read whole, which an upload does.
    Column("sha256", String),
    Column("format", String),
    Column("duration_seconds", Float),
    # The key below a backend's base_prefix, fixed when the file is first seen.
    Column("object_key", String),
    Column("object_key_fold", String),
    _ref("batch_id", "batches.id"),
    # The newer content of the same path, once there is one.
    _ref("superseded_by_id", "file_assets.id"),
    _time("created_at"),
    _time("updated_at"),
    # Why its tags could not be read; NULL if they could, or were never tried.
    Column("tags_error", String),
    # Of all its tags, in hex: tells an edit of tags from damage. NULL where they were never read
    # whole.
    Column("tags_digest", String),
    # Of the sound alone, where the container keeps one, in hex.
    Column("audio_digest", String),
    # MusicBrainz's names for the recording, and for this track of this release.
    Column("recording_id", String),
    Column("release_track_id", String),
    # 1 where a person has said which song it belongs to.
    Column("song_decided", Integer),
    # Of a file beside the music, such as `image` or `cue`; NULL for music.
    Column("companion", String),
    Index("ix_file_assets_song", "song_id"),
    Index("ix_file_assets_batch", "batch_id", "id"),
    Index("ix_file_assets_key_fold", "object_key_fold"),
    # For a content that is stored already.
    Index("ix_file_assets_content", "size_bytes", "sha256"),
    _partial("ix_file_assets_companion", "companion", "id", where="companion IS NOT NULL"),
    _partial("ix_file_assets_tags_error", "id", where="tags_error IS NOT NULL"),
    _partial("ix_file_assets_audio_digest", "audio_digest", where="audio_digest IS NOT NULL"),
    _partial("ix_file_assets_recording", "recording_id", where="recording_id IS NOT NULL"),
    _partial(
        "ix_file_assets_release_track", "release_track_id", where="release_track_id IS NOT NULL"
    ),
)
file_locations = Table(
    "file_locations",
    metadata,
    _id(),
    _ref("file_asset_id", "file_assets.id", nullable=False),
    _ref("backend_id", "storage_backends.id", nullable=False),
    # The bucket.
    Column("container_name", String),
    Column("locator", String, nullable=False),
    Column("absolute_path", String),
    Column("public_url", String),
    Column("download_url", String),
    Column("status", String, nullable=False, server_default=text("'active'")),
    Column("is_primary", Integer, nullable=False, server_default=text("0")),
    # What was seen at that place: the file's stat, or the store's answer.
    Column("size_bytes", BigInteger),
    Column("mtime_ns", BigInteger),
    # For the local library: what a scan compares. Not `locator`, which an older tool may have
    # filled in its own way.
    Column("library_root", String),
    Column("library_path", String),
    Column("etag", String),
    Column("verified_at", DateTime),
    Column("verified_by", String),
    _time("created_at"),
    _time("updated_at"),
    Column("ctime_ns", BigInteger),
    # As a signed number of 64 bits.
    Column("inode", BigInteger),
    # What the file lay on when it was last seen; see `core/files/file_systems.py`.
    Column("file_system", String),
    # When a scan first found it gone (or the migration did that it was, as nobody had noted when);
    # NULL while it is there.
    Column("missing_since", DateTime),
    # When it came to have its status; NULL in rows whose status is older than this column.
    Column("status_since", DateTime),
    # Of an object that is about to be deleted, the status that it goes back to if it stays.
    Column("status_before", String),
    UniqueConstraint("file_asset_id", "backend_id", "locator"),
    Index("ix_file_locations_place", "backend_id", "container_name", "locator"),
    Index("ix_file_locations_library", "library_root", "library_path"),
    _partial("ix_file_locations_missing", "backend_id", where="status = 'missing'"),
    _partial("ix_file_locations_damaged", "backend_id", where="status = 'damaged'"),
    # What nothing more is wanted of.
    _partial(
        "ix_file_locations_unwanted",
        *("file_asset_id", "status", "backend_id"),
        where="status IN ('excluded', 'forgotten')",
    ),
    _partial(
        "ix_file_locations_removed",
        *("status", "backend_id"),
        where="status IN ('offloading', 'offloaded')",
    ),
    # What may be old weight on a backend.
    _partial(
        "ix_file_locations_past",
        "file_asset_id",
        where="status IN ('superseded', 'forgotten')",
    ),
    _partial("ix_file_locations_pruning", "locator", where="status = 'pruning'"),
    _partial(
        "ix_file_locations_unmet",
        "backend_id",
        where="library_root IS NULL AND absolute_path IS NOT NULL",
    ),
    # Followed by its inode, and not read since.
    _partial("ix_file_locations_unread", "library_root", where="verified_by = 'inode'"),
)


def _queued(*more: Column[Any]) -> tuple[Column[Any], ...]:
    """What both queues say of a task; `more` stands where the table has it."""
    return (
        Column("status", String, nullable=False, server_default=text("'pending'")),
        Column("last_error", Text),
        Column("error_code", String),
        Column("attempts", Integer, nullable=False, server_default=text("0")),
        *more,
        Column("lease_owner", String),
        # Seconds since the epoch.
        Column("lease_expires_at", Float),
        _time("created_at"),
        _time("updated_at"),
    )


download_tasks = Table(
    "download_tasks",
    metadata,
    _id(),
    _ref("song_id", "songs.id"),
    Column("source", String),
    # What the source understands; with it, the task's identity.
    Column("url", String),
    # What is known of the content beforehand; the digest in lower-case hex.
    Column("sha256", String),
    Column("size_bytes", BigInteger),
    # Where the file came to lie.
    Column("absolute_path", String),
    *_queued(),
    Index("ix_download_tasks_queue", "status", "attempts", "id"),
    # Not unique: a database that was adopted may have an address twice.
    Index("ix_download_tasks_url", "url"),
)
# The folders that are scanned.
library_roots = Table(
    "library_roots",
    metadata,
    _id(),
    # As in `file_locations.library_root`.
    Column("path", String, nullable=False, unique=True),
    # What a person calls it; NULL for the folder's own name.
    Column("name", String),
    # Where it was last scanned, and what it lay on there.
    Column("host", String),
    Column("file_system", String),
    # When a scan last saw all of it.
    Column("last_complete_scan_at", DateTime),
    # Since when all of it is being read anew; NULL where that is not going on.
    Column("rehash_began_at", DateTime),
    # When a person has said that it is the library's no longer; NULL while it is.
    Column("let_go_at", DateTime),
    _time("created_at"),
    _time("updated_at"),
    # When a scan last brought playlists in line with the files below it; NULL where that is due.
    Column("playlists_read_at", DateTime),
)
# Folders that a person has named when the library roots were full.
download_roots = Table(
    "download_roots",
    metadata,
    _id(),
    Column("path", String, nullable=False, unique=True),
    _time("created_at"),
)
song_backend_presence = Table(
    "song_backend_presence",
    metadata,
    _ref("song_id", "songs.id", primary_key=True),
    _ref("backend_id", "storage_backends.id", primary_key=True),
    Column("files_total", Integer),
    Column("files_present", Integer),
    Column("bytes_present", BigInteger),
    # The oldest verification among the files present: how old the claim is at worst.
    Column("verified_at", DateTime),
    _time("updated_at"),
    # Covers what `status` sums up.
    Index(
        "ix_song_backend_presence_backend",
        *("backend_id", "files_total", "files_present", "bytes_present"),
    ),
)
upload_tasks = Table(
    "upload_tasks",
    metadata,
    _id(),
    _ref("file_asset_id", "file_assets.id", nullable=False),
    _ref("source_location_id", "file_locations.id"),
    _ref("target_backend_id", "storage_backends.id", nullable=False),
    Column("target_container_name", String),
    Column("target_locator", String, nullable=False),
    # Lower goes first.
    *_queued(Column("queue_order", Integer, nullable=False, server_default=text("0"))),
    UniqueConstraint("file_asset_id", "target_backend_id", "target_locator"),
    Index("ix_upload_tasks_queue", "target_backend_id", "status", "queue_order", "id"),
)
# What was begun and not yet completed; a row goes when its upload is completed or aborted.
multipart_uploads = Table(
    "multipart_uploads",
    metadata,
    _id(),
    _ref("backend_id", "storage_backends.id", nullable=False),
    Column("container_name", String, nullable=False),
    Column("locator", String, nullable=False),
    Column("upload_id", String, nullable=False),
    # Not a reference: the row must outlive its file asset, or its parts could never be aborted.
    Column("file_asset_id", Integer, nullable=False),
    # The source when the upload was begun: another size or mtime, and it is begun anew.
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("part_bytes", BigInteger, nullable=False),
    # Whether parts come with their SHA-256, which a store wants to know when an upload is begun.
    Column("checksums", Boolean, nullable=False),
    _time("created_at"),
    UniqueConstraint("backend_id", "container_name", "locator", "upload_id"),
)
multipart_parts = Table(
    "multipart_parts",
    metadata,
    _ref("multipart_upload_id", "multipart_uploads.id", primary_key=True, ondelete="CASCADE"),
    Column("part_number", Integer, primary_key=True),
    # The store's name for the part, and the SHA-256 in hex of what was sent as it.
    Column("etag", String, nullable=False),
    Column("sha256", String, nullable=False),
)
# One comparison of the catalog with what a store holds; kept, as the history of that.
audits = Table(
    "audits",
    metadata,
    _id(),
    _ref("backend_id", "storage_backends.id", nullable=False),
    # listing, head or full.
    Column("level", String, nullable=False),
    # What it was limited to; NULL where it was not.
    Column("sample_percent", Float),
    Column("since", DateTime),
    Column("repair", Boolean, nullable=False),
    Column("scope", JSON(none_as_null=True)),
    # running, complete or interrupted.
    Column("status", String, nullable=False),
    # See `owners`; NULL once it is no longer running.
    Column("owner", String),
    # The last key that has been dealt with: where it goes on after a kill.
    Column("position", String),
    # Of a listing, which comes in the store's order: the locations that were met, one bit for each
    # id, compressed; NULL once it is over.
    Column("seen", LargeBinary),
    # How many files, objects, bytes and findings so far, by name.
    Column("counts", JSON),
    _time("started_at"),
    Column("finished_at", DateTime),
    Index("ix_audits_backend", "backend_id", "id"),
)
audit_findings = Table(
    "audit_findings",
    metadata,
    _id(),
    _ref("audit_id", "audits.id", nullable=False, ondelete="CASCADE"),
    # missing, size, content, unreadable or foreign.
    Column("kind", String, nullable=False),
    Column("locator", String, nullable=False),
    # NULL for an object that the catalog does not know. Not a reference: history stays.
    Column("file_asset_id", Integer),
    Column("detail", Text),
    # What was done about it: queued, repaired, or why nothing could be.
    Column("repair", String),
    _time("created_at"),
    UniqueConstraint("audit_id", "kind", "locator"),
)
# How many backends must hold each file below a root; the root '' stands for all others.
library_policies = Table(
    "library_policies",
    metadata,
    Column("library_root", String, primary_key=True),
    Column("required_copies", Integer, nullable=False),
    _time("updated_at"),
)
