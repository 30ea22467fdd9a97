"""The snapshots that a backend holds: what they are called, which there are, and how one is read.

Below the backend's prefix they lie as `.catalogsync/catalog/CATALOG/20261127T030000Z.db.zst`, with
`.age` behind it where they are encrypted; CATALOG is the id of the catalog. What a bucket says of
them is untrusted: a key of another form is no snapshot, and what is read is believed by its digest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from catalogsync_assets.core.backup.sealing import unseal
from catalogsync_assets.core.errors import CatalogError, KeyRefusedError, UsageError
from catalogsync_assets.core.files.atomic import move_to_free_name, private, sync_folder
from catalogsync_assets.core.runner.owners import new_part
from catalogsync_assets.core.stores.backend import OWN_FOLDER
from catalogsync_assets.core.stores.classify import NO_SUCH_KEY
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.retry import Retry, once

#: Below the backend's prefix.
SNAPSHOTS = f"{OWN_FOLDER}catalog/"
#: In a snapshot's user metadata: the revision of its tables, and the SHA-256 of the SQLite file.
SCHEMA, PLAIN_SHA256 = "catalogsync-schema", "catalogsync-plain-sha256"
_ENCRYPTED = ".age"
_STAMP = "%Y%m%dT%H%M%SZ"
# No year is that of a clock that counts from its end: the next snapshot must have a name, too.
_NAME = re.compile(r"([0-9a-f]{8,64})/((?:19|2\d)\d{6}T\d{6}Z)\.db\.zst(\.age)?", re.ASCII)
_SCHEMA = re.compile(r"[0-9]{4,8}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
#: Reads of one that turns out to be damaged: what comes may have been spoilt on its way.
_READS = 2


@dataclass(frozen=True)
class Snapshot:
    """A snapshot as a bucket names it; nothing of it has been read."""

    catalog_id: str  #: of the catalog that it is of
    made_at: datetime  #: in UTC
    key: str  #: the whole key
    size_bytes: int | None  #: as stored
    encrypted: bool
    #: The revision of its tables, and the SHA-256 in hex of the SQLite file; None where the store
    #: has lost them.
    schema: str | None = None
    sha256: str | None = None


def snapshot_name(catalog_id: str, made_at: datetime, *, encrypted: bool) -> str:
    """The key of a snapshot, below the backend's prefix."""
    stamp = made_at.astimezone(timezone.utc).strftime(_STAMP)
    return f"{SNAPSHOTS}{catalog_id}/{stamp}.db.zst{_ENCRYPTED if encrypted else ''}"


def owner_tag(catalog_id: str) -> str:
    """What a snapshot carries in its metadata: which catalog has put it."""
    return f"{catalog_id}/snapshot"


def list_snapshots(
    client: StoreClient, *, catalog_id: str | None = None, retry: Retry = once, look: bool = True
) -> list[Snapshot]:
    """The snapshots on a backend, newest first.

    Args:
        catalog_id: only those of this catalog; None for those of all.
        retry: calls each request.
        look: ask for what is said of each, too: a request for each.

    Raises:
        StoreError: the store refused, or was silent, or its listing cannot be believed.
    """
    below = SNAPSHOTS if catalog_id is None else f"{SNAPSHOTS}{catalog_id}/"
    found: list[Snapshot] = retry(lambda: list(_listed(client, below)))
    found.sort(key=lambda s: (s.made_at, s.key), reverse=True)
    return [with_metadata(client, s, retry=retry) for s in found] if look else found


def _listed(client: StoreClient, below: str) -> Iterator[Snapshot]:
    prefix = client.backend.key_prefix + SNAPSHOTS
    for page in client.list_pages(below=below):
        for key, size, _ in page:
            if (named := _NAME.fullmatch(key.removeprefix(prefix))) is None:
                continue
            with suppress(ValueError):  # such as the 31st of June
                made_at = datetime.strptime(named[2], _STAMP).replace(tzinfo=timezone.utc)
                yield Snapshot(named[1], made_at, key, size, bool(named[3]))


def with_metadata(client: StoreClient, snapshot: Snapshot, *, retry: Retry = once) -> Snapshot:
    """The snapshot with what its metadata says of it, as far as the store has kept that."""
    there = retry(lambda: client.head(snapshot.key))
    said: Mapping[str, str] = there.metadata if there else {}
    schema, sha256 = _said(said, SCHEMA, _SCHEMA), _said(said, PLAIN_SHA256, _SHA256)
    return replace(snapshot, schema=schema, sha256=sha256)


def _said(metadata: Mapping[str, str], name: str, form: re.Pattern[str]) -> str | None:
    found = metadata.get(name, "")
    return found if form.fullmatch(found) else None


def fetch_snapshot(
    client: StoreClient,
    snapshot: Snapshot,
    to: Path,
    passphrase: str | None,
    *,
    retry: Retry = once,
) -> None:
    """Bring a snapshot's SQLite file here: read, decrypted, decompressed, compared with its digest.

    The file appears whole or not at all, and is its owner's alone. Memory is flat; the disk holds
    the snapshot as stored, and once more compressed, for a while beside it. What is in the file is
    as untrusted as before: a database whose schema or rows anybody may have made.

    Args:
        to: the file to be made; nothing may be there.
        passphrase: of an encrypted one; another snapshot may need another.
        retry: calls each request.

    Raises:
        UsageError: something is at `to`.
        ConfigurationError: it is encrypted, and the passphrase is missing or another one.
        CatalogError: it is damaged: two reads agree on that.
        StoreError: the store refused, or was silent.
        OSError: as the system says it of the disk.
    """
    if to.exists():
        raise UsageError(f"{to} is there already", hint="name a file that is not")
    part = new_part(to, f"{to.name}.snapshot-")
    for read in range(_READS):
        try:
            _bring(client, snapshot, part, passphrase, retry)
        except CatalogError:
            if read == _READS - 1:
                raise
        else:
            break
    try:
        move_to_free_name(part, to)
    except FileExistsError as error:
        part.unlink()
        raise UsageError(f"{to} is there already", hint="name a file that is not") from error
    sync_folder(to.parent)


def _bring(
    client: StoreClient, snapshot: Snapshot, part: Path, passphrase: str | None, retry: Retry
) -> None:
    sealed = new_part(part, f"{part.name}.sealed-")
    try:
        retry(lambda: _download(client, snapshot.key, sealed))
        sha256 = unseal(sealed, part, passphrase, encrypted=snapshot.encrypted)
        _require_same(snapshot, sha256)
        with part.open("rb") as file:
            os.fsync(file.fileno())
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    finally:
        sealed.unlink(missing_ok=True)


def _require_same(snapshot: Snapshot, sha256: str) -> None:
    if snapshot.sha256 not in (None, sha256):
        raise CatalogError(
            f"the snapshot {snapshot.key} is damaged: it has not the digest that it was made with",
            hint="take an older one",
        )


def _download(client: StoreClient, key: str, target: Path) -> None:
    target.unlink(missing_ok=True)
    try:
        found = client.open(key)
    except KeyRefusedError as error:
        if error.code != NO_SUCH_KEY:
            raise
        raise KeyRefusedError(
            f"backend {client.backend.name!r}: there is no snapshot {key!r}",
            code=NO_SUCH_KEY,
            hint="`catalogsync catalog snapshots` lists those that there are",
        ) from error
    with private(target) as file:
        for piece in found.pieces:
            file.write(piece)
