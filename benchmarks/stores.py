"""What a run works on - a new server, a scanned catalog - and whether it did what it should."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from datasets import DataSet
from peers import catalogsync, register_command
from processes import ProgramFailed, run

from catalogsync_assets.core.errors import CatalogSyncError
from catalogsync_assets.local_s3.store import LocalStore, local_store

#: SeaweedFS takes no more writes once less than 1 % of the disk is free.
_KEPT_FREE = 0.015
#: How a run may fail that is not this program's fault.
FAILURES = (ProgramFailed, CatalogSyncError, BotoCoreError, ClientError)


@contextmanager
def new_store(scratch: Path, size_bytes: int) -> Iterator[LocalStore]:
    """A server with an empty store, deleted afterwards: SeaweedFS gives the space of deleted
    objects back only when it compacts a volume. One object has opened the first volumes, and
    nothing that was written before is still on its way to the disk.

    Args:
        size_bytes: what will be stored.

    Raises:
        ProgramFailed: the disk has no room for it.
    """
    directory = scratch / "store"
    disk = shutil.disk_usage(scratch)
    needed = int(size_bytes * 1.1 + disk.total * _KEPT_FREE)
    if disk.free < needed:
        raise ProgramFailed(f"{needed / 1e9:.1f} GB must be free, and {disk.free / 1e9:.1f} are")
    try:
        with local_store(directory) as store:
            _client(store).put_object(Bucket=store.bucket, Key="warm-up", Body=b"warm-up")
            os.sync()
            yield store
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _client(store: LocalStore) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=store.access_key_id,
        aws_secret_access_key=store.secret_access_key,
        config=Config(s3={"addressing_style": "path"}),
    )


def scan(data: DataSet, scratch: Path, env: dict[str, str]) -> tuple[Path, float]:
    """A catalog that knows the files, and the seconds that `catalogsync scan` took for it.

    The files come from the page cache.
    """
    data.read()
    database = scratch / f"{data.name}.db"
    command = catalogsync("scan", "--db", str(database), "--library-root", str(data.root))
    usage = run(command, env, log=scratch / "scan.log")
    return database, usage.seconds


def fresh_catalog(
    scanned: Path, scratch: Path, store: LocalStore, prefix: str, env: dict[str, str]
) -> Path:
    """A copy of a scanned catalog with the store registered as the backend `bench`."""
    database = scratch / "run.db"
    for leftover in scratch.glob("run.db*"):
        leftover.unlink()
    shutil.copyfile(scanned, database)
    register = [*register_command(store, prefix), "--db", str(database)]
    run(register, env, log=scratch / "register.log")
    return database


def check_objects(store: LocalStore, prefix: str, data: DataSet) -> None:
    """Count what is stored, by listing it.

    Raises:
        ProgramFailed: it is not as many objects, or bytes, as the files are.
    """
    pages = _client(store).get_paginator("list_objects_v2")
    listed = pages.paginate(Bucket=store.bucket, Prefix=f"{prefix}/")
    sizes = [found["Size"] for page in listed for found in page.get("Contents", [])]
    if (len(sizes), sum(sizes)) != (data.files, data.size_bytes):
        raise ProgramFailed(
            f"{len(sizes):,} objects of {sum(sizes):,} bytes are stored,"
            f" not {data.files:,} of {data.size_bytes:,}"
        )


def check_rows(database: Path, env: dict[str, str], scratch: Path, data: DataSet) -> None:
    """Ask catalogsync how many files it has recorded as stored.

    Raises:
        ProgramFailed: not all.
    """
    log = scratch / "status.log"
    run(catalogsync("status", "--json", "--db", str(database)), env, log=log)
    backends = json.loads(log.read_text())["backends"]
    recorded = next(b["files"] for b in backends if b["name"] == "bench")
    if recorded != data.files:
        raise ProgramFailed(f"{recorded:,} files are recorded, not {data.files:,}")
