"""Whether this catalog is the one that has changed a backend last.

Each backend has `.catalogsync/generation.json` below its prefix: the id of the catalog that has
changed it last, a counter, and the writer, which stands for that catalog's very file. Each run that
changes something raises the counter, once, before it begins; the catalog keeps the highest that it
has written.

=========================================  ======================================
the backend has                            then
=========================================  ======================================
nothing                                    it is taken as ours
our id, our writer, no higher counter      it is ours
our id, our writer, a higher counter       this is an old copy that was put back
our id, another writer                     this is a clone, or was one
another id                                 it is another catalog's, or was
=========================================  ======================================

In the last three what the catalog knows of the backend may be old. Until a person confirms that
this is the catalog that counts, and a complete audit has run after that, nothing there is replaced,
moved, pruned or relied on for the removal of a local file; new keys are put as ever, as nothing is
overwritten by that.

The row goes before the object: after a kill in between the backend has a lower counter, which
raises no doubt.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from catalogsync_assets.core.catalog.backends import SELECT, BackendRow, catalog_id, settings_of
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.doubts import (
    is_doubted,
    is_settled,
    require_undoubted,
    row_of,
)
from catalogsync_assets.core.catalog.schema import audits, storage_backends
from catalogsync_assets.core.catalog.separation import separation
from catalogsync_assets.core.errors import (
    ConflictError,
    KeyRefusedError,
)
from catalogsync_assets.core.files.atomic import private, sync_folder
from catalogsync_assets.core.files.file_systems import file_system_of, lasts
from catalogsync_assets.core.runner.owners import new_part
from catalogsync_assets.core.stores import verify
from catalogsync_assets.core.stores.backend import OWN_FOLDER, ObjectBackend
from catalogsync_assets.core.stores.classify import NO_SUCH_KEY
from catalogsync_assets.core.stores.client import ANY_VERSION, StoreClient
from catalogsync_assets.core.stores.objects import ObjectMetadata, looks_like_a_page
from catalogsync_assets.core.stores.retry import Retry, once

__all__ = ["begin_changes", "confirm", "is_doubted", "look", "require_undoubted"]

#: Below the backend's prefix.
GENERATION = f"{OWN_FOLDER}generation.json"
#: The file part of its owner tag.
_TAG = "generation"
_MOST_BYTES = 4096
#: No run comes near; more is not ours.
_MOST_COUNTER = 2**53
#: Where other runs of the same catalog come in between.
_TRIES = 5
#: Of the file that tells where a catalog is, after the catalog's own name. Its mtime is long past,
#: so that a file system shows whether it has a `ctime` of its own.
_MARK, _MARK_BYTES, _MARK_MTIME = ".place", 16, 1_000_000_000
_ROW = storage_backends.c


@dataclass(frozen=True)
class Generation:
    """What a backend says of who has changed it last."""

    catalog_id: str  #: empty where that cannot be read
    counter: int  #: grows with each run that changes something
    writer: str  #: see `writer_of`


def writer_of(catalog: Catalog) -> str:
    """What tells this catalog's file from copies of it.

    By its inode, where inodes last, so that it may be renamed and its host, too; a copy has
    another one. Else by a little file beside it (`_mark_of`); where that cannot be, by host and
    path.
    """
    system = file_system_of(catalog.path)
    if lasts(system):
        identity = f"{system}|{catalog.path.stat().st_ino}"
    else:
        identity = _mark_of(catalog) or f"{socket.gethostname()}|{catalog.path}"
    return hashlib.sha256(f"catalogsync writer|{identity}".encode()).hexdigest()[:16]


def _mark_of(catalog: Catalog) -> str | None:
    """What a file beside the catalog tells of the place that it is at; made where there is none.

    Its content alone would go with any copy. But when its inode was changed last (`ctime`), which
    was when it was made, is nothing that a program can write: a copy has a time of its own, on
    whatever machine, and whatever that is called.

    Returns:
        None where that cannot be told: nothing can be written there, or the file system makes
        `ctime` of the mtime, which a copy takes along.
    """
    path = catalog.path.with_name(f"{catalog.path.name}{_MARK}")
    try:
        if not path.exists():
            with catalog.transaction():  # one process makes it
                _make_mark(path)
        stat, content = path.stat(), path.read_bytes()
    except OSError:
        return None
    if stat.st_ctime_ns <= stat.st_mtime_ns:
        return None
    return f"{content[:_MARK_BYTES].hex()}|{stat.st_ctime_ns}"


def _make_mark(path: Path) -> None:
    if path.exists():
        return
    part = new_part(path, f"{path.name}-")
    try:
        with private(part) as file:
            file.write(secrets.token_bytes(_MARK_BYTES))
            file.flush()
            os.utime(file.fileno(), (_MARK_MTIME, _MARK_MTIME))
            os.fsync(file.fileno())
        part.rename(path)
    finally:
        part.unlink(missing_ok=True)
    sync_folder(path.parent)


# --- for those who change a backend, or rely on it


def begin_changes(catalog: Catalog, client: StoreClient, *, retry: Retry = once) -> None:
    """Raise a backend's generation, before a run changes something there; or note the doubt.

    One read and one write. Does not raise for a doubt: see `require_undoubted`.

    Raises:
        StoreError: the store refused, or was silent.
    """
    for _ in range(_TRIES):
        found, etag = _read(catalog, client, retry)
        counter = _judge(catalog, client.backend, found, raise_it=True)
        if counter is None or _write(catalog, client, counter, etag, retry):
            return


def look(catalog: Catalog, client: StoreClient, *, retry: Retry = once) -> None:
    """Note the doubt, if there is one, before a run relies on what is known of a backend.

    Raises:
        StoreError: the store refused, or was silent.
    """
    found, _ = _read(catalog, client, retry)
    _judge(catalog, client.backend, found, raise_it=False)


def confirm(catalog: Catalog, client: StoreClient, *, retry: Retry = once) -> bool:
    """Say that this is the catalog that counts, whoever has changed the backend last.

    From now on it is the other one that is in doubt. The doubt of this one ends with the next
    complete audit of the backend. May be called again: then it takes another audit.

    Returns:
        False if there was no doubt; then nothing is done.

    Raises:
        StoreError: the store refused, or was silent; or others keep writing there.
    """
    look(catalog, client, retry=retry)
    if not is_doubted(catalog, client.backend):
        return False
    rows = _rows_of_it(catalog, client.backend)
    for _ in range(_TRIES):
        found, etag = _read(catalog, client, retry)
        with catalog.transaction() as connection:
            counter = max(_written(connection, rows), found.counter if found else 0) + 1
            last = connection.scalar(sa.select(sa.func.max(audits.c.id))) or 0
            _update(connection, client.backend, generation=counter, generation_confirmed=last)
        if _write(catalog, client, counter, etag, retry):
            return True
    raise verify.unsettled(client, client.backend.key_prefix + GENERATION)


# --- the row


def _rows_of_it(catalog: Catalog, backend: ObjectBackend) -> list[int]:
    """The ids of the backend and of others that have its object in common: of a bucket that is
    registered under two names, as far as they are not proven to be two, or was under another."""
    verdicts = separation(catalog).verdicts
    others = map(
        BackendRow._make,
        catalog.rows(f"{SELECT} WHERE container_name = :bucket", bucket=backend.bucket),
    )
    return [backend.id] + [
        other.id
        for other in others
        if (settings_of(other.config).get("base_prefix") or "") == backend.base_prefix
        and verdicts.get(frozenset((backend.id, other.id))) != "apart"
        and other.id != backend.id
    ]


def _written(connection: sa.Connection, ids: list[int]) -> int:
    """The highest counter that was written through these rows; 0 for none."""
    highest = sa.select(sa.func.max(_ROW.generation)).where(_ROW.id.in_(ids))
    return connection.scalar(highest) or 0


def _update(connection: sa.Connection, backend: ObjectBackend, **values: Any) -> None:
    connection.execute(sa.update(storage_backends).where(_ROW.id == backend.id).values(**values))


def _judge(
    catalog: Catalog, backend: ObjectBackend, found: Generation | None, *, raise_it: bool
) -> int | None:
    """Note what follows from what the backend says.

    Returns:
        The counter that is to be written there now; None where none is.
    """
    expected = catalog_id(catalog), writer_of(catalog)
    rows = _rows_of_it(catalog, backend)
    with catalog.transaction() as connection:
        row, written = row_of(connection, backend), _written(connection, rows)
        if _is_strange(found, expected, written):
            since = sa.func.coalesce(_ROW.generation_doubted_at, sa.func.current_timestamp())
            _update(connection, backend, generation_doubted_at=since, generation_confirmed=None)
            return None
        if row.generation_doubted_at is not None:
            if not is_settled(connection, backend, row):
                return None
            _update(connection, backend, generation_doubted_at=None, generation_confirmed=None)
        if not raise_it:
            return None
        counter = max(written, found.counter if found else 0) + 1
        _update(connection, backend, generation=counter)
        return counter


def _is_strange(found: Generation | None, expected: tuple[str, str], written: int) -> bool:
    return found is not None and (
        (found.catalog_id, found.writer) != expected or found.counter > written
    )


# --- the object


def _read(
    catalog: Catalog, client: StoreClient, retry: Retry
) -> tuple[Generation | None, str | None]:
    """What the backend says, and its ETag. No doubt rests on a single look."""
    expected = catalog_id(catalog), writer_of(catalog)
    rows = _rows_of_it(catalog, client.backend)
    found, etag = retry(lambda: _read_once(client))
    for _ in range(_TRIES):
        with catalog.read() as connection:
            written = _written(connection, rows)
        unsure = _is_strange(found, expected, written) or (
            found is None and (bool(written) or not client.profile.conditional_put)
        )
        if not unsure:
            return found, etag
        before = found
        found, etag = retry(lambda: _read_once(client))
        if found == before:
            return found, etag
    raise verify.unsettled(client, client.backend.key_prefix + GENERATION)


def _read_once(client: StoreClient) -> tuple[Generation | None, str | None]:
    key = client.backend.key_prefix + GENERATION
    try:
        opened = client.open(key, size_bytes=0)
    except KeyRefusedError as error:
        if error.code == NO_SUCH_KEY:
            return None, None
        raise
    content = b""
    for piece in opened.pieces:
        content += piece
        if len(content) > _MOST_BYTES:
            break
    if looks_like_a_page(content):
        raise verify.cannot_read(
            client, key, "a web page or an error comes in its place", code="NotTheObject"
        )
    return _parsed(content), opened.etag or ANY_VERSION


def _parsed(content: bytes) -> Generation:
    try:
        said = json.loads(content)
        found = Generation(said["catalog_id"], said["counter"], said["writer"])
    except (ValueError, LookupError, TypeError, RecursionError):
        return Generation("", 0, "")
    texts = isinstance(found.catalog_id, str) and isinstance(found.writer, str)
    number = type(found.counter) is int and 0 <= found.counter < _MOST_COUNTER
    return found if texts and number else Generation("", 0, "")


def _write(
    catalog: Catalog, client: StoreClient, counter: int, etag: str | None, retry: Retry
) -> bool:
    """Put the counter there, in place of what was read; False if that was replaced meanwhile."""
    owner = catalog_id(catalog)
    content = json.dumps(asdict(Generation(owner, counter, writer_of(catalog)))).encode()
    metadata = ObjectMetadata("application/json", f"{owner}/{_TAG}")
    key = client.backend.key_prefix + GENERATION
    try:
        retry(lambda: client.put(key, content, metadata, replacing=etag))
    except ConflictError:
        return False
    return True
