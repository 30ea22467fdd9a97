"""Files, stores and the catalog in any order of events: what must always be so.

A machine of hypothesis writes and damages local files, uploads, damages and deletes objects behind
our back, verifies, repairs, offloads, restores, and kills an offload at any of its steps.
What the stores really hold is read past the code under test, after every step and in the very
moment before a file is deleted.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from catalogsync_assets.core.audit.audit import AuditRequest, audit
from catalogsync_assets.core.audit.offload import offload
from catalogsync_assets.core.backends import ObjectBackend
from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.uploads import enqueue
from catalogsync_assets.core.library import removal
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.transfer.engine import Limits, upload
from catalogsync_assets.core.transfer.stores import StoreClient
from catalogsync_assets_tests.core.audit.kills import STEPS, Killed, die_at

NAMES = ("a.mp3", "b.mp3", "c.mp3")
FILES = st.sampled_from(NAMES)
BACKENDS = st.integers(0, 1)
LIMITS = Limits(workers=2, attempts=1)
# One that keeps digests, and one of which nothing is known: its objects are read.
PROVIDERS = ("seaweedfs", "other")
MOMENT = 1_700_000_000_000_000_000
LOCAL = (
    "SELECT l.library_path, l.status, f.sha256 FROM file_locations l"
    " JOIN file_assets f ON f.id = l.file_asset_id"
    " WHERE l.library_root IS NOT NULL AND l.status <> 'superseded'"
)
CLAIMS = (
    "SELECT l.backend_id, l.locator, f.sha256, f.superseded_by_id FROM file_locations l"
    " JOIN file_assets f ON f.id = l.file_asset_id"
    " JOIN storage_backends b ON b.id = l.backend_id"
    " WHERE b.backend_type = 'object_storage' AND l.status = 'active'"
)
CURRENT = (
    "SELECT l.library_path, f.sha256 FROM file_assets f JOIN file_locations l"
    " ON l.file_asset_id = f.id WHERE f.superseded_by_id IS NULL AND l.library_root IS NOT NULL"
    " AND l.status <> 'superseded' AND f.sha256 IS NOT NULL"
)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


class Machine(RuleBasedStateMachine):
    """One library, two stores, one catalog."""

    def __init__(
        self,
        s3: Any,
        backends: list[ObjectBackend],
        folder: Path,
        blank: Path,
        query: Callable[..., list[Any]],
        connect: Callable[[ObjectBackend], StoreClient],
    ) -> None:
        super().__init__()
        self.s3 = s3
        self.query = query
        self.connect = connect
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        self.root = folder / "music"
        self.root.mkdir(parents=True)
        self.catalog = Catalog.open(shutil.copy(blank, folder / "catalog.db"))
        self.backends = [register(self.catalog, b)[0] for b in backends]
        self.clock = itertools.count(1)
        self.noise = itertools.count(1)
        # What was changed behind the catalog's back, and not looked at since.
        self.tampered: set[tuple[int, str]] = set()
        self.removed_by_offload = 0
        self.before: dict[str, set[str]] = {}
        self.destroying = False

    def teardown(self) -> None:
        self.catalog.close()
        for backend in self.backends:
            for key in self.objects(backend):
                self.s3.delete_object(Bucket=backend.bucket, Key=key)

    # --- the truth ------------------------------------------------------------------------------

    def objects(self, backend: ObjectBackend) -> dict[str, bytes]:
        listed = self.s3.list_objects_v2(Bucket=backend.bucket, Prefix=backend.key_prefix)
        found = {}
        for entry in listed.get("Contents", []):
            with self.s3.get_object(Bucket=backend.bucket, Key=entry["Key"])["Body"] as body:
                found[entry["Key"]] = body.read()
        return found

    def on_disk(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in self.root.iterdir()}

    def holders(self) -> dict[str, set[str]]:
        """Where each content is: by digest, the disk and backends that have it."""
        found: dict[str, set[str]] = {}
        for content in self.on_disk().values():
            found.setdefault(sha256(content), set()).add("disk")
        for backend in self.backends:
            for content in self.objects(backend).values():
                found.setdefault(sha256(content), set()).add(backend.name)
        return found

    # --- what users and the world do ------------------------------------------------------------

    @rule(name=FILES, size=st.sampled_from([20, 30]))
    def write(self, name: str, size: int) -> None:
        """New content, and a scan."""
        self.destroying = True
        (self.root / name).write_bytes(f"{next(self.noise):>{size}}".encode())
        moment = MOMENT + next(self.clock) * 1_000_000_000
        os.utime(self.root / name, ns=(moment, moment))
        self.scan()

    @rule(name=FILES)
    def rot_on_disk(self, name: str) -> None:
        """Other bytes, though size and time are the same."""
        self.destroying = True
        path = self.root / name
        if path.exists():
            before = path.stat()
            path.write_bytes(f"{next(self.noise):~>{before.st_size}}".encode())
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    @rule(backend=BACKENDS, name=FILES, how=st.sampled_from(["corrupt", "truncate", "delete"]))
    def damage(self, backend: int, name: str, how: str) -> None:
        self.destroying = True
        store = self.backends[backend]
        key = store.key_prefix + name
        content = self.objects(store).get(key)
        if content is None:
            return
        if how == "delete":
            self.s3.delete_object(Bucket=store.bucket, Key=key)
        else:
            size = len(content) - 5 if how == "truncate" else len(content)
            body = f"{next(self.noise):#>{size}}".encode()
            self.s3.put_object(Bucket=store.bucket, Key=key, Body=body)
        self.tampered.add((store.id, key))

    # --- what the program does ------------------------------------------------------------------

    @rule()
    def scan(self) -> None:
        scan(self.catalog, [self.root], allow_empty=True)

    @rule(backend=BACKENDS)
    def upload(self, backend: int) -> None:
        store = self.backends[backend]
        enqueue(self.catalog, store)
        upload(self.catalog, store, limits=LIMITS, connect=self.connect)

    @rule(
        backend=BACKENDS,
        level=st.sampled_from(["listing", "head", "full"]),
        repair=st.booleans(),
    )
    def verify(self, backend: int, level: Any, repair: bool) -> None:
        store = self.backends[backend]
        request = AuditRequest(level=level, repair=repair, anew=True)
        audit(self.catalog, store, request, limits=LIMITS, connect=self.connect)
        if level != "listing":
            self.tampered = {(id_, key) for id_, key in self.tampered if id_ != store.id}

    @rule(copies=st.integers(1, 2), kill=st.sampled_from([None, None, *STEPS]))
    def offload(self, copies: int, kill: str | None) -> None:
        remove = removal.remove

        def checked(file: Any, *more: Any) -> None:
            """In the moment before the deletion, the stores are read by other means."""
            content = Path(file.absolute_path).read_bytes()
            holders = [b for b in self.backends if content in self.objects(b).values()]
            assert len(holders) >= copies, f"{file.path} is on {[b.name for b in holders]} only"
            assert sha256(content) == file.sha256
            remove(file, *more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(removal, "remove", checked)
            if kill is not None:
                die_at(kill, patch)
            try:
                report = offload(
                    self.catalog,
                    copies,
                    dry_run=False,
                    workers=2,
                    attempts=1,
                    connect=self.connect,
                )
            except Killed:
                return
        self.removed_by_offload += report.removed
        assert not [p for p in self.root.iterdir() if p.name.startswith(".")]
        assert "offloading" not in [status for _, status, _ in self.query(self.catalog, LOCAL)]

    # --- what must always be so -----------------------------------------------------------------

    @invariant()
    def local_rows_are_true(self) -> None:
        there = self.on_disk()
        for path, status, _ in self.query(self.catalog, LOCAL):
            if status in ("active", "offloaded"):
                assert (path in there) == (status == "active"), (path, status)

    @invariant()
    def claims_are_true_as_far_as_nobody_has_tampered(self) -> None:
        held = {b.id: self.objects(b) for b in self.backends}
        for backend_id, key, digest, _ in self.query(self.catalog, CLAIMS):
            if (backend_id, key) not in self.tampered:
                assert key in held[backend_id], f"{key} is claimed, and gone"
                assert sha256(held[backend_id][key]) == digest, f"{key} is claimed, and other"

    @invariant()
    def no_content_is_lost_by_the_program(self) -> None:
        """Of current files: what was somewhere before a step of ours is somewhere after it."""
        now = self.holders()
        if not self.destroying:
            for path, digest in self.query(self.catalog, CURRENT):
                assert digest in now or digest not in self.before, f"{path} is gone everywhere"
        self.before, self.destroying = now, False


@pytest.fixture
def connect() -> Iterator[Callable[[ObjectBackend], StoreClient]]:
    """Clients that are made once: each example has the same backends."""
    made: dict[ObjectBackend, StoreClient] = {}

    def get(backend: ObjectBackend) -> StoreClient:
        backend = replace(backend, workers=2)
        return made.setdefault(backend, made.get(backend) or StoreClient(backend))

    yield get
    for client in made.values():
        client.s3.close()


def test_whatever_happens_nothing_is_lost_and_no_claim_is_false(
    s3: Any,
    unregistered: Callable[..., ObjectBackend],
    tmp_path: Path,
    blank: Path,
    rows: Callable[..., list[Any]],
    connect: Callable[[ObjectBackend], StoreClient],
) -> None:
    backends = [unregistered(f"store-{p}", provider=p) for p in PROVIDERS]
    make = functools.partial(Machine, s3, backends, tmp_path / "world", blank, rows, connect)

    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=25,
            stateful_step_count=25,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
