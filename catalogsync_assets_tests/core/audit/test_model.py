"""Files, stores and the catalog in any order of events: what must always be so.

A machine of hypothesis writes and damages local files, uploads, damages and deletes objects behind
our back, verifies, repairs, offloads, restores, and kills an offload at any of its steps.
What the stores really hold is read past the code under test, after every step and in the very
moment before a file is deleted.
"""

import functools
import itertools
import os
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from catalogsync_assets.core.audit.audit import AuditRequest, audit
from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_queue import enqueue
from catalogsync_assets.core.library import removal
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.offload.offload import OffloadReport, offload
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.upload.upload import Limits, upload
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.files import sha256
from catalogsync_assets_tests.support.kills import STEPS, Killed, die_at

NAMES = ("a.mp3", "b.mp3", "c.mp3")
FILES = st.sampled_from(NAMES)
BACKENDS = st.integers(0, 1)
ONE_OR_BOTH = st.sampled_from([(0,), (1,), (0, 1)])
LEVELS = ("listing", "head", "full")
LIMITS = Limits(workers=2, attempts=1)
# One that keeps digests, and one of which nothing is known: its objects are read.
PROVIDERS = ("seaweedfs", "other")
MOMENT = 1_700_000_000_000_000_000
LOCAL = (
    "SELECT library_path, status FROM file_locations"
    " WHERE library_root IS NOT NULL AND status <> 'superseded'"
)
CLAIMS = (
    "SELECT l.backend_id, l.locator, f.sha256 FROM file_locations l"
    " JOIN file_assets f ON f.id = l.file_asset_id"
    " JOIN storage_backends b ON b.id = l.backend_id"
    " WHERE b.backend_type = 'object_storage' AND l.status = 'active'"
)
CURRENT = (
    "SELECT l.library_path, f.sha256 FROM file_assets f JOIN file_locations l"
    " ON l.file_asset_id = f.id WHERE f.superseded_by_id IS NULL AND l.library_root IS NOT NULL"
    " AND l.status <> 'superseded' AND f.sha256 IS NOT NULL"
)


class Machine(RuleBasedStateMachine):
    """One library, two stores, one catalog."""

    # The examples are drawn by a hash of this signature.
    def __init__(self, s3, backends, folder, blank, connect, events) -> None:
        super().__init__()
        self.events = events
        self.s3 = s3
        self.connect = connect
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        self.root = folder / "music"
        self.root.mkdir(parents=True)
        self.catalog = Catalog.open(shutil.copy(blank, folder / "catalog.db"))
        # As in other tests: waiting for the disk would only cost time.
        sa.event.listen(
            self.catalog.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF")
        )
        self.catalog.close()
        self.backends = [register(self.catalog, b)[0] for b in backends]
        self.clock = itertools.count(1)
        self.noise = itertools.count(1)
        # What was changed behind the catalog's back, and not looked at since.
        self.tampered: set[tuple[int, str]] = set()
        self.read: dict[tuple[str, str, int], bytes] = {}
        self.before: set[str] = set()
        self.destroying = False

    def teardown(self) -> None:
        self.catalog.close()
        for backend in self.backends:
            for key in self.objects(backend):
                self.s3.delete_object(Bucket=backend.bucket, Key=key)

    # --- the truth ------------------------------------------------------------------------------

    def objects(self, backend: ObjectBackend) -> dict[str, bytes]:
        """By key. What the store lists as unchanged is not read again."""
        listed = self.s3.list_objects_v2(Bucket=backend.bucket, Prefix=backend.key_prefix)
        found = {}
        for entry in listed.get("Contents", []):
            version = (entry["Key"], entry["ETag"], entry["Size"])
            if version not in self.read:
                with self.s3.get_object(Bucket=backend.bucket, Key=entry["Key"])["Body"] as body:
                    self.read[version] = body.read()
            found[entry["Key"]] = self.read[version]
        return found

    def on_disk(self) -> dict[str, bytes]:
        return {p.name: p.read_bytes() for p in self.root.iterdir()}

    @initialize()
    def begin(self) -> None:
        """All files on both stores: else most histories would never come to an offload."""
        for name in NAMES:
            self.write(name, 20)
        self.upload((0, 1))

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

    @rule(where=ONE_OR_BOTH)
    def upload(self, where: tuple[int, ...]) -> None:
        for store in (self.backends[i] for i in where):
            enqueue(self.catalog, store)
            done = upload(self.catalog, store, limits=LIMITS, connect=self.connect)
            self.events["uploaded"] += done.succeeded

    @rule(where=ONE_OR_BOTH, level=st.sampled_from(LEVELS))
    def verify(self, where: tuple[int, ...], level: Any, repair: bool = False) -> None:
        request = AuditRequest(level=level, repair=repair, anew=True)
        for store in (self.backends[i] for i in where):
            done = audit(self.catalog, store, request, limits=LIMITS, connect=self.connect)
            self.events["repaired"] += done.repaired
            if level != "listing":
                self.tampered = {(id_, key) for id_, key in self.tampered if id_ != store.id}

    @rule(where=ONE_OR_BOTH, level=st.sampled_from(LEVELS))
    def repair(self, where: tuple[int, ...], level: Any) -> None:
        self.verify(where, level, repair=True)

    @rule()
    def restore(self) -> None:
        done = restore(
            self.catalog,
            self.root,
            allow_empty=True,
            workers=2,
            attempts=1,
            reserve_bytes=0,
            connect=self.connect,
        )
        self.events["restored"] += done.restored

    @rule(copies=st.integers(1, 2))
    def offload(self, copies: int) -> None:
        done = self.checked_offload(copies)
        self.events["removed"] += done.removed
        self.events["stayed"] += done.failed + done.too_few
        self.events["settled"] += done.settled
        assert not [p for p in self.root.iterdir() if p.name.startswith(removal.PREFIX)]
        assert "offloading" not in [status for _, status in rows(self.catalog, LOCAL)]

    @rule(copies=st.integers(1, 2), step=st.sampled_from(STEPS))
    def offload_and_die(self, copies: int, step: str) -> None:
        with pytest.MonkeyPatch.context() as patch:
            die_at(step, patch)
            try:
                self.checked_offload(copies)
            except Killed:
                self.events[step] += 1

    def checked_offload(self, copies: int) -> OffloadReport:
        """In the moment before each deletion, the stores are read by other means."""
        remove = removal.remove

        def checked(file: Any, *more: Any) -> None:
            content = Path(file.absolute_path).read_bytes()
            holders = [b.name for b in self.backends if content in self.objects(b).values()]
            assert len(holders) >= copies, f"{file.path} is on {holders} only"
            assert sha256(content) == file.sha256
            remove(file, *more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(removal, "remove", checked)
            return offload(
                self.catalog, copies, dry_run=False, workers=2, attempts=1, connect=self.connect
            )

    # --- what must always be so -----------------------------------------------------------------

    @invariant()
    def all_is_well(self) -> None:
        disk = self.on_disk()
        stores = {b.id: self.objects(b) for b in self.backends}
        self.local_rows_are_true(disk)
        self.claims_are_true_as_far_as_nobody_has_tampered(stores)
        contents = [*disk.values(), *(c for held in stores.values() for c in held.values())]
        self.no_content_is_lost_by_the_program({sha256(content) for content in contents})

    def local_rows_are_true(self, disk: dict[str, bytes]) -> None:
        for path, status in rows(self.catalog, LOCAL):
            if status in ("active", "offloaded"):
                assert (path in disk) == (status == "active"), (path, status)

    def claims_are_true_as_far_as_nobody_has_tampered(
        self, stores: dict[int, dict[str, bytes]]
    ) -> None:
        for backend_id, key, digest in rows(self.catalog, CLAIMS):
            if (backend_id, key) not in self.tampered:
                assert key in stores[backend_id], f"{key} is claimed, and gone"
                assert sha256(stores[backend_id][key]) == digest, f"{key} is claimed, and other"

    def no_content_is_lost_by_the_program(self, now: set[str]) -> None:
        """Of current files: what was somewhere before a step of ours is somewhere after it."""
        if not self.destroying:
            for path, digest in rows(self.catalog, CURRENT):
                assert digest in now or digest not in self.before, f"{path} is gone everywhere"
        self.before, self.destroying = now, False


@pytest.fixture
def connect():
    """Clients that are made once: each example has the same backends."""
    made = {}

    def get(backend):
        backend = replace(backend, workers=2)
        return made.setdefault(backend, made.get(backend) or StoreClient(backend))

    yield get
    for client in made.values():
        client.close()


def test_whatever_happens_nothing_is_lost_and_no_claim_is_false(
    s3, unregistered, buckets, tmp_path, blank, connect
):
    backends = [
        unregistered(f"store-{provider}", provider=provider, bucket=bucket)
        for provider, bucket in zip(PROVIDERS, buckets, strict=False)
    ]
    events = Counter()
    world = tmp_path / "world"
    make = functools.partial(Machine, s3, backends, world, blank, connect, events)

    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=40,
            stateful_step_count=12,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

    # Or the model would say nothing.
    assert min(events[e] for e in ("uploaded", "repaired", "restored", "removed", "stayed")) > 0
    assert sum(events[step] > 0 for step in STEPS) > 2
