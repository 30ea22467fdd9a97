"""Files, stores and the catalog in any order of events: what must always be so.

A machine writes, retags, moves, swaps, copies, damages, deletes and leaves out local
files (`model.Disk`), uploads, damages and deletes objects behind our back, verifies, repairs,
offloads, restores, forgets, prunes, takes a backend out and registers it again, and kills an
offload or a prune at any of its steps. One store's keys follow the files, the other's stay. What
the stores really hold is read past the code under test, after every step and in the very moment
before a file is deleted.
"""

import functools
import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import obstore
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, settings
from hypothesis.stateful import initialize, invariant, rule, run_state_machine_as_test

from catalogsync_assets.core.audit.audit import AuditRequest, audit
from catalogsync_assets.core.catalog.backend_changes import remove as retire
from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.errors import UsageError
from catalogsync_assets.core.library import forget, removal
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.offload.offload import OffloadReport, offload
from catalogsync_assets.core.prune.prune import prune
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.upload.upload import Limits, upload
from catalogsync_assets_tests.core.audit.model import (
    COVERS,
    EVENTS,
    PLACES,
    Disk,
    flac,
)
from catalogsync_assets_tests.core.audit.model_queries import (
    AT,
    CLAIMS,
    CONTENTS,
    CURRENT,
    HOLDERS,
    LINE,
    LOCAL,
    PRUNING,
    SHARED,
    WANTED,
)
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.files import sha256
from catalogsync_assets_tests.support.kills import STEPS, Killed, die_at, die_in_prune
from catalogsync_assets_tests.support.stores import quick_store

LIMITS = Limits(workers=2, attempts=1)
# One that keeps digests, and one of which nothing is known: its objects are read.
PROVIDERS = ("seaweedfs", "other")
LAYOUTS = ("path", "keep")
IGNORE_FILE = ".catalogsyncignore"
KEPT = ".catalogsync/"
#: What must have come of it, or the model would say nothing.
OUTCOMES = (
    *("moved", "changed", "missing", "excluded", "suspected", "forgotten", "copied", "up to date"),
    *("uploaded", "repaired", "restored", "removed", "stayed", "pruned"),
    *("taken out", "added again"),
)


class Machine(Disk):
    """One library, two stores, one catalog."""

    # The examples are drawn by a hash of this signature.
    def __init__(self, stores, backends, folder, blank, connect, events) -> None:
        super().__init__(folder)
        self.events = events
        self.stores = stores  # by bucket
        self.connect = connect
        self.catalog = Catalog.open(shutil.copy(blank, folder / "catalog.db"))
        # As in other tests: waiting for the disk would only cost time.
        sa.event.listen(
            self.catalog.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF")
        )
        self.catalog.close()
        self.backends = [register(self.catalog, b)[0] for b in backends]
        # What was changed behind the catalog's back, and not looked at since.
        self.tampered: set[tuple[int, str]] = set()
        self.read: dict[tuple[str, str, int], bytes] = {}
        self.before: dict[str, set[str]] = {}
        self.away: set[int] = set()  # backends that are taken out, by their index
        # Keys under which something lay when a backend was added again, or came to lie where no
        # claim is held against it: it may be anybody's.
        self.strange: set[str] = set()

    def teardown(self) -> None:
        self.catalog.close()
        for backend in self.backends:
            obstore.delete(self.stores[backend.bucket], list(self.objects(backend)))

    @rule(happens=EVENTS)
    def step(self, happens: tuple[Any, ...]) -> None:
        name, *arguments = happens
        getattr(self, name)(*arguments)

    # --- the truth ------------------------------------------------------------------------------

    def objects(self, backend: ObjectBackend) -> dict[str, bytes]:
        """By key. What the store lists as unchanged is not read again."""
        store, found = self.stores[backend.bucket], {}
        for page in obstore.list(store, backend.key_prefix):
            for entry in page:
                version = (entry["path"], entry["e_tag"], entry["size"])
                if version not in self.read:
                    self.read[version] = bytes(obstore.get(store, entry["path"]).bytes())
                found[entry["path"]] = self.read[version]
        return found

    @initialize()
    def begin(self) -> None:
        """All files on both stores: else most histories would never come to an offload."""
        for name in PLACES[:3]:
            self.put(name, flac(next(self.noise), "Jazz"))
        self.cover(COVERS[0], COVERS[0])
        self.scan()
        self.upload((0, 1))

    def leave_out(self, which: int | None) -> None:
        """From now on only this one, and a scan."""
        name = None if which is None else self.any_file(which)
        rules = f"/{name}\n" if name else ""
        # Nor is the file of rules, here.
        (self.root / IGNORE_FILE).write_text(f"{rules}/{IGNORE_FILE}\n")
        self.scan()

    def damage(self, backend: int, which: int, how: str, is_repaired: bool) -> None:
        store = self.backends[backend]
        there = sorted((k, c) for k, c in self.objects(store).items() if KEPT not in k)
        if not there:
            return
        self.destroying = True
        key, content = there[which % len(there)]
        if how == "delete":
            obstore.delete(self.stores[store.bucket], key)
        else:
            size = len(content) - 5 if how == "truncate" else len(content)
            body = f"{next(self.noise):#>{size}}".encode()
            obstore.put(self.stores[store.bucket], key, body)
        if (store.id, key) not in [claim[:2] for claim in rows(self.catalog, CLAIMS)]:
            self.strange.add(key)  # no audit looks for it there
        self.tampered.add((store.id, key))
        if is_repaired:
            self.repair((backend,), "full")

    def take_out(self, which: int, is_added_again: bool) -> None:
        """A person takes a backend out; its objects stay."""
        for store in self.registered((which,)):
            retire(self.catalog, store)
            self.away.add(which)
            self.events["taken out"] += 1
        if is_added_again:
            self.add_again()

    def add_again(self) -> None:
        """The buckets of backends that were taken out are registered, as new ones."""
        for which in sorted(self.away):
            store = replace(self.backends[which], id=0)
            self.backends[which], is_new = register(self.catalog, store)
            assert is_new
            self.strange |= self.objects(store).keys()
            self.events["added again"] += 1
        self.away.clear()

    def registered(self, where: tuple[int, ...] = (0, 1)) -> list[ObjectBackend]:
        return [self.backends[i] for i in where if i not in self.away]

    # --- what the program does ------------------------------------------------------------------

    def scan(self) -> None:
        report = scan(self.catalog, [self.root], allow_empty=True)
        for outcome in ("moved", "changed", "new", "missing", "excluded", "suspected"):
            self.events[outcome] += getattr(report, outcome)
        self.stale.clear()

    def upload(self, where: tuple[int, ...]) -> None:
        for store in self.registered(where):
            enqueue(self.catalog, store)
            done = upload(self.catalog, store, limits=LIMITS, connect=self.connect)
            self.events["uploaded"] += done.succeeded
            self.events["copied"] += done.copied
            self.events["failed"] += done.failed

    def bring_up_to_date(self) -> None:
        """Then every file of the library is on both stores; on the first at its path."""
        self.scan()
        self.upload((0, 1))
        if self.tampered or self.away:
            return
        following, _ = self.backends
        there = self.objects(following)
        disk = self.on_disk()
        for backend in self.backends:
            for path, own, locator, asset in rows(self.catalog, AT, backend.id):
                if not locator and self.is_anothers(backend, backend.key_prefix + own, asset):
                    continue
                assert locator, f"{path} is not on {backend.name}"
                if backend is following:
                    assert locator == following.key_prefix + own, path
                    assert there[locator] == disk[path], path
                    assert own == path or rows(self.catalog, HOLDERS, path, asset), (path, own)
        self.events["up to date"] += 1

    def is_anothers(self, backend: ObjectBackend, key: str, asset: int) -> bool:
        """Whether what is at a key, for all that the catalog can know, is no content of a file:
        that is left to a person."""
        if key not in self.strange:
            return False
        content = self.objects(backend).get(key)
        return content is not None and sha256(content) not in rows(self.catalog, LINE, asset)

    def forget(self, name: str) -> None:
        request = forget.Request(paths=(str(self.root / name),))
        with suppress(UsageError):  # it is there, or was never known
            done = forget.forget(self.catalog, forget.plan(self.catalog, request), count=1)
            self.events["forgotten"] += done.files

    def verify(self, where: tuple[int, ...], level: Any, repair: bool = False) -> None:
        request = AuditRequest(level=level, repair=repair, anew=True)
        for store in self.registered(where):
            done = audit(self.catalog, store, request, limits=LIMITS, connect=self.connect)
            self.events["repaired"] += done.repaired
            if level != "listing":
                self.tampered = {(id_, key) for id_, key in self.tampered if id_ != store.id}

    def repair(self, where: tuple[int, ...], level: Any) -> None:
        self.verify(where, level, repair=True)

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

    def offload(self, copies: int) -> None:
        if not self.registered():
            return
        done = self.checked_offload(copies)
        self.events["removed"] += done.removed
        self.events["stayed"] += done.failed + done.too_few
        self.events["settled"] += done.settled
        assert not [p for p in self.root.rglob("*") if p.name.startswith(removal.PREFIX)]
        assert "offloading" not in [status for _, status, _ in rows(self.catalog, LOCAL)]

    def offload_and_die(self, copies: int, step: str) -> None:
        if not self.registered():
            return
        with pytest.MonkeyPatch.context() as patch:
            die_at(step, patch)
            try:
                self.checked_offload(copies)
            except Killed:
                self.events[step] += 1

    def checked_offload(self, copies: int) -> OffloadReport:
        """In the moment before each deletion, the stores are read by other means."""
        copies = min(copies, len(self.registered()))
        remove = removal.remove

        def checked(file: Any, *more: Any) -> None:
            content = Path(file.absolute_path).read_bytes()
            holders = [b.name for b in self.registered() if content in self.objects(b).values()]
            assert len(holders) >= copies, f"{file.path} is on {holders} only"
            assert sha256(content) == file.sha256
            remove(file, *more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(removal, "remove", checked)
            return offload(
                self.catalog, copies, dry_run=False, workers=2, attempts=1, connect=self.connect
            )

    def prune(self, where: tuple[int, ...], what: str, copies: int, dies: str | None) -> None:
        wanted = set(rows(self.catalog, WANTED)) - self.believed()
        for store in self.registered(where):
            with pytest.MonkeyPatch.context() as patch, suppress(Killed):
                if dies:
                    die_in_prune(patch, after=dies.startswith("after"))
                done = prune(
                    self.catalog,
                    store,
                    superseded=what != "forgotten",
                    forgotten=what != "superseded",
                    older_than_seconds=0,
                    keep_copies=copies,
                    dry_run=False,
                    workers=2,
                    attempts=1,
                    connect=self.connect,
                )
                self.events["pruned"] += done.removed
                # One that was to die may have met nothing to delete.
                assert dies or rows(self.catalog, PRUNING, store.id) == []
            # Nothing else may go than what nobody wants, or is elsewhere.
            self.before[""] |= wanted & set().union(*self.before.values())
            self.before[store.name] = set()

    def believed(self) -> set[str]:
        """Contents that the catalog takes to be where nobody has looked since they were changed."""
        claims = rows(self.catalog, CLAIMS)
        stored = {digest for id_, key, digest, _ in claims if (id_, key) in self.tampered}
        return stored | {
            digest for path, _, digest in rows(self.catalog, LOCAL) if path in self.stale
        }

    # --- what must always be so -----------------------------------------------------------------

    @invariant()
    def all_is_well(self) -> None:
        disk = self.on_disk()
        stores = {b.id: self.objects(b) for b in self.backends}
        self.local_rows_are_true(disk)
        self.claims_are_true_as_far_as_nobody_has_tampered(stores)
        held = {b.name: set(map(sha256, stores[b.id].values())) for b in self.backends}
        self.no_content_is_lost_by_the_program({"": set(map(sha256, disk.values())), **held})
        self.no_two_files_share_a_key()

    def local_rows_are_true(self, disk: dict[str, bytes]) -> None:
        for path, status, digest in rows(self.catalog, LOCAL):
            if status in ("active", "offloaded") and path not in self.stale:
                # What has come there meanwhile and is no audio is suspected, and stays unrecorded.
                is_away = not disk.get(path, b"").startswith((b"fLaC", b"\xff\xd8"))
                assert path in disk if status == "active" else is_away, (path, status)
                assert status != "active" or digest in (None, sha256(disk[path])), path

    def claims_are_true_as_far_as_nobody_has_tampered(
        self, stores: dict[int, dict[str, bytes]]
    ) -> None:
        for backend_id, key, digest, size in rows(self.catalog, CLAIMS):
            if (backend_id, key) not in self.tampered:
                assert key in stores[backend_id], f"{key} is claimed, and gone"
                assert sha256(stores[backend_id][key]) == digest, f"{key} is claimed, and other"
                assert len(stores[backend_id][key]) == size

    def no_content_is_lost_by_the_program(self, now: dict[str, set[str]]) -> None:
        """What was somewhere before a step of ours is there after it: what a newer content has
        replaced is kept beside it. Only an offload takes something, from the disk."""
        if not self.destroying:
            known = set(rows(self.catalog, CONTENTS))
            for place, before in self.before.items():
                left = now[place] if place else set().union(*now.values())
                assert before & known <= left, f"a content is gone from {place}"
        self.before, self.destroying = now, False

    def no_two_files_share_a_key(self) -> None:
        assert rows(self.catalog, SHARED) == []
        folds = Counter(fold for _, fold in rows(self.catalog, CURRENT))
        assert max(folds.values(), default=1) == 1, folds


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


@pytest.fixture
def events():
    """How often each has happened."""
    return Counter()


@pytest.fixture
def make(store, unregistered, buckets, tmp_path, blank, connect, events):
    """`make()`: a machine in its own world."""
    backends = [
        unregistered(f"store-{layout}", provider=provider, bucket=bucket, layout=layout)
        for provider, bucket, layout in zip(PROVIDERS, buckets, LAYOUTS, strict=False)
    ]
    stores = {bucket: quick_store(store, bucket) for bucket in buckets}
    return functools.partial(Machine, stores, backends, tmp_path / "world", blank, connect, events)


#: One in which everything happens.
HISTORY = (
    *(("move", 0, "in/b.flac"), ("bring_up_to_date",)),
    *(("write", "b.flac", "Folk"), ("bring_up_to_date",)),
    *(("leave_out", 0), ("leave_out", None)),
    *(("rot_on_disk", 0), ("scan",), ("restore",)),
    ("damage", 0, 1, "corrupt", True),
    *(("delete", 3), ("scan",), ("restore",)),
    *(("delete", 3), ("scan",), ("forget", "in/b.flac"), ("prune", (0, 1), "both", 0, None)),
    *(("offload_and_die", 1, step) for step in STEPS),
    *(("offload", 1), ("restore",)),
    *(("damage", 1, 2, "delete", False), ("offload", 2), ("repair", (0, 1), "full")),
    *(("take_out", 0, False), ("write", "a.flac", "Jazz"), ("scan",), ("upload", (0, 1))),
    *(("take_out", 0, True), ("bring_up_to_date",)),
)


def test_all_that_may_happen_happens_once_and_all_is_well(make, events):
    machine = make()
    machine.begin()
    for happens in HISTORY:
        machine.step(happens)
        machine.all_is_well()
    machine.teardown()

    assert [outcome for outcome in OUTCOMES if not events[outcome]] == []
    assert sum(events[step] > 0 for step in STEPS) > 2


@pytest.mark.parametrize(
    ("examples", "steps"),
    [
        (14, 24),
        pytest.param(120, 50, marks=pytest.mark.thorough),
    ],
    ids=["some", "many"],
)
def test_whatever_happens_nothing_is_lost_and_no_claim_is_false(make, events, examples, steps):
    run_state_machine_as_test(
        make,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )

    assert [outcome for outcome in OUTCOMES if not events[outcome]] == [], events
