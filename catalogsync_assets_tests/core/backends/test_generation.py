"""An old copy of the catalog that was put back, a clone: what they may do to a backend, and not."""

import errno
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from catalogsync_assets.core.audit.audit import AuditRequest, audit
from catalogsync_assets.core.backends import generation
from catalogsync_assets.core.backends.generation import (
    begin_changes,
    confirm,
    is_doubted,
    require_undoubted,
)
from catalogsync_assets.core.backup.backup import back_up
from catalogsync_assets.core.catalog.backend_changes import remove
from catalogsync_assets.core.catalog.backends import backend_by_name, catalog_id, register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.separation import keep_verdicts
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.errors import GenerationDoubtedError, RunAborted
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.offload.offload import offload
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.upload.upload import Limits, upload
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.proxy import Answer, refusal


class Copy:
    """A catalog's file somewhere else, with the same library."""

    def __init__(self, path, root):
        self.catalog = Catalog.open(path)
        self.root = root

    def backend(self, name="cloud"):
        return backend_by_name(self.catalog, name)

    def uploaded(self):
        scan(self.catalog, [self.root])
        enqueue(self.catalog, self.backend())
        return upload(self.catalog, self.backend(), limits=Limits(workers=2, attempts=2))


@pytest.fixture
def clone(catalog, library, tmp_path):
    """`clone()`: the catalog as it is now, copied to another folder."""
    made = []

    def make(name="clone.db"):
        catalog.close()
        (tmp_path / "laptop").mkdir(exist_ok=True)
        shutil.copy(catalog.path, tmp_path / "laptop" / name)
        made.append(Copy(tmp_path / "laptop" / name, library.root))
        return made[-1]

    yield make
    for copy in made:
        copy.catalog.close()


@pytest.fixture
def proxy(proxy):
    """It has to do with the object itself."""
    proxy.heeds_generation = True
    return proxy


@pytest.fixture
def said(remote):
    """`said(backend)`: what the backend says of its generation."""
    return lambda backend: json.loads(remote(backend).get(".catalogsync/generation.json"))


@pytest.fixture
def put_back(catalog):
    """`put_back(content)`: an old copy in place of the catalog, in the same file."""

    def put(content):
        catalog.close()
        for path in catalog.path.parent.glob(f"{catalog.path.name}-*"):
            path.unlink()
        catalog.path.write_bytes(content)

    return put


@pytest.fixture
def old(catalog):
    """`old()`: the catalog's file as it is now."""

    def copy():
        with catalog.engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        catalog.close()
        return catalog.path.read_bytes()

    return copy


def verify_all(catalog, backend, level="listing", **options):
    return audit(catalog, backend, AuditRequest(level, **options), limits=Limits(attempts=2))


@pytest.fixture
def nothing_lasts(monkeypatch):
    """The catalog lies on a network's file system, or on a container's."""
    monkeypatch.setattr(generation, "lasts", lambda _: False)


def test_a_container_that_mounts_the_same_volume_is_the_same_writer(
    catalog, cloud, nothing_lasts, monkeypatch
):
    begin_changes(catalog, StoreClient(cloud))
    before = generation.writer_of(catalog)
    monkeypatch.setattr(socket, "gethostname", lambda: "3f9c0d1e2a4b")
    assert generation.writer_of(catalog) == before
    begin_changes(catalog, StoreClient(cloud))
    assert not is_doubted(catalog, cloud)


def test_a_copy_with_all_that_lies_beside_it_is_another_writer(
    catalog, nothing_lasts, tmp_path_factory
):
    before = generation.writer_of(catalog)
    catalog.close()
    folder = tmp_path_factory.mktemp("copy") / "of it"
    subprocess.run(["cp", "-a", catalog.path.parent, folder], check=True)
    copy = Catalog.open(folder / catalog.path.name)
    assert (folder / f"{catalog.path.name}.place").exists()
    assert generation.writer_of(copy) != before
    copy.close()


def test_where_a_copy_would_take_its_times_along_host_and_path_tell(
    catalog, nothing_lasts, monkeypatch
):
    stat = Path.stat

    def without_ctime(path, **options):
        found = stat(path, **options)
        if path.suffix != ".place":
            return found
        return SimpleNamespace(st_ctime_ns=found.st_mtime_ns, st_mtime_ns=found.st_mtime_ns)

    monkeypatch.setattr(Path, "stat", without_ctime)
    monkeypatch.setattr(Path, "exists", os.path.exists)
    before = generation.writer_of(catalog)
    assert generation.writer_of(catalog) == before
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert generation.writer_of(catalog) != before


def test_where_nothing_can_be_written_beside_the_catalog_host_and_path_tell(
    catalog, nothing_lasts, monkeypatch
):
    def refuse(path):
        raise PermissionError(errno.EACCES, "no", str(path))

    monkeypatch.setattr(generation, "private", refuse)
    before = generation.writer_of(catalog)
    assert not list(catalog.path.parent.glob("*.place*"))
    monkeypatch.setattr(socket, "gethostname", lambda: "another")
    assert generation.writer_of(catalog) != before


def test_each_run_that_sends_something_raises_it_once(catalog, library, cloud, synced, said):
    library.fill(3)
    synced(cloud)
    first = said(cloud)
    synced(cloud)
    assert said(cloud) == first
    library.fill(2, folder="more")
    synced(cloud)

    assert first["catalog_id"] == catalog_id(catalog)
    assert (first["counter"], said(cloud)["counter"]) == (1, 2)
    assert said(cloud)["writer"] == first["writer"]
    assert not is_doubted(catalog, cloud)


def test_it_costs_one_read_and_one_write_a_run(library, through_proxy, synced, proxy):
    library.fill(30)
    synced(through_proxy)
    library.fill(30, folder="more")
    proxy.requests.clear()
    synced(through_proxy)
    asked = [r.method for r in proxy.requests if r.key.endswith("generation.json")]
    assert asked == ["GET", "PUT"]


def test_an_old_copy_that_is_put_back_replaces_nothing(
    catalog, library, cloud, synced, old, put_back, remote, said
):
    library.add("a.mp3", b"the first")
    synced(cloud)
    copy = old()
    library.add("a.mp3", b"the second, which only the newer catalog knows")
    synced(cloud)
    put_back(copy)
    before = remote(cloud).contents()
    generation_before = said(cloud)
    library.add("a.mp3", b"the third")
    library.add("new.mp3", b"a new one")
    report = synced(cloud)

    assert report.reasons == {"GenerationDoubted": 1}
    (failure,) = report.failures
    assert "catalogsync catalog confirm --backend cloud" in failure.reason
    # What needs no knowledge of what was there goes on.
    assert report.succeeded == 1
    now = remote(cloud).contents()
    assert now == {**before, "new.mp3": b"a new one"}
    assert said(cloud) == generation_before


def test_an_old_copy_moves_nothing(catalog, library, backend, synced, old, put_back, remote):
    cloud = backend(layout="path")
    library.add("a.mp3", b"the first")
    synced(cloud)
    copy = old()
    library.add("b.mp3", b"another")
    synced(cloud)
    put_back(copy)
    (library.root / "a.mp3").rename(library.root / "moved.mp3")
    report = synced(cloud)

    assert report.reasons == {"GenerationDoubted": 1}
    assert sorted(remote(cloud).keys()) == ["a.mp3", "b.mp3"]


def test_a_clone_is_refused_and_may_take_over_by_confirmation_and_audit(
    catalog, library, cloud, synced, clone, said, remote
):
    library.add("a.mp3", b"the first")
    synced(cloud)
    laptop = clone()
    library.add("a.mp3", b"the second")
    assert laptop.uploaded().reasons == {"GenerationDoubted": 1}

    client = StoreClient(laptop.backend())
    assert confirm(laptop.catalog, client)
    with pytest.raises(GenerationDoubtedError, match="not audited"):
        require_undoubted(laptop.catalog, laptop.backend())
    assert laptop.uploaded().reasons == {"GenerationDoubted": 1}
    verify_all(laptop.catalog, laptop.backend(), "head", sample_percent=50.0)
    assert is_doubted(laptop.catalog, laptop.backend())
    verify_all(laptop.catalog, laptop.backend())
    assert laptop.uploaded().succeeded == 1
    assert remote(cloud).contents() == {"a.mp3": b"the second"}
    sql = "SELECT generation_doubted_at, generation_confirmed FROM storage_backends WHERE id = ?"
    assert rows(laptop.catalog, sql, cloud.id) == [(None, None)]

    # Now the first one is the copy.
    library.add("a.mp3", b"the third")
    report = synced(cloud)
    assert report.reasons == {"GenerationDoubted": 1}
    assert remote(cloud).contents() == {"a.mp3": b"the second"}


def test_an_audit_of_before_the_confirmation_does_not_count(catalog, cloud, clone, synced, library):
    library.add("a.mp3")
    synced(cloud)
    laptop = clone()
    begin_changes(laptop.catalog, StoreClient(laptop.backend()))
    verify_all(laptop.catalog, laptop.backend())
    assert confirm(laptop.catalog, StoreClient(laptop.backend()))
    assert is_doubted(laptop.catalog, laptop.backend())


def test_a_clone_does_not_offload(catalog, library, cloud, synced, clone):
    library.fill(3)
    synced(cloud)
    laptop = clone()
    with pytest.raises(RunAborted) as raised:
        offload(laptop.catalog, keep_copies=1, below_policy=True, dry_run=False, attempts=1)

    assert "another copy of this catalog" in str(raised.value)
    assert "catalogsync catalog confirm --backend cloud" in str(raised.value)
    assert len(library.contents()) == 3


def test_a_clone_makes_no_snapshots(catalog, cloud, synced, library, clone):
    library.fill(1)
    synced(cloud)
    laptop = clone()
    (report,) = back_up(laptop.catalog, [laptop.backend()], attempts=1)

    assert report.status == "failed"
    assert "catalog confirm" in report.hint


def test_another_catalog_is_told_as_one(catalog, cloud, library, synced, said, remote):
    stranger = {"catalog_id": "f" * 16, "counter": 3, "writer": "another"}
    remote(cloud).put(".catalogsync/generation.json", json.dumps(stranger).encode())
    library.fill(2)
    assert synced(cloud).succeeded == 2
    assert is_doubted(catalog, cloud)
    assert said(cloud) == stranger


def test_a_catalog_that_was_renamed_is_the_same(catalog, cloud, library, synced, tmp_path, said):
    library.fill(1)
    synced(cloud)
    catalog.close()
    renamed = catalog.path.rename(tmp_path / "renamed.db")
    again = Copy(renamed, library.root)
    try:
        library.fill(1, folder="more")
        assert again.uploaded().succeeded == 1
        assert not is_doubted(again.catalog, cloud)
        assert said(cloud)["counter"] == 2
    finally:
        again.catalog.close()


def test_a_run_that_dies_before_the_object_raises_no_doubt(catalog, library, cloud, synced, said):
    library.fill(1)
    synced(cloud)
    # As a kill leaves it: the row goes first.
    change(catalog, "UPDATE storage_backends SET generation = generation + 1")
    library.fill(1, folder="more")
    assert synced(cloud).failed == 0
    assert not is_doubted(catalog, cloud)
    assert said(cloud)["counter"] == 3


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'{"catalog_id": 1}', b"x" * 10_000, b'{"counter": 1e999}', b"[" * 4000],
)
def test_what_cannot_be_read_is_doubted(catalog, cloud, remote, content):
    remote(cloud).put(".catalogsync/generation.json", content)
    begin_changes(catalog, StoreClient(cloud))
    assert is_doubted(catalog, cloud)
    assert confirm(catalog, StoreClient(cloud))


def test_one_answer_that_was_spoilt_raises_no_doubt(catalog, through_proxy, proxy, library, synced):
    library.fill(1)
    synced(through_proxy)
    is_read = lambda r: r.method == "GET" and r.key.endswith("generation.json")  # noqa: E731
    proxy.spoil_answers(is_read, times=1)
    begin_changes(catalog, StoreClient(through_proxy))
    assert not is_doubted(catalog, through_proxy)


def test_a_page_in_its_place_is_no_answer(catalog, through_proxy, proxy):
    page = Answer(200, {"ETag": '"x"'}, b"<!DOCTYPE html><html>login</html>")
    proxy.answer(page, lambda r: r.key.endswith("generation.json"))
    with pytest.raises(Exception, match="page"):
        begin_changes(catalog, StoreClient(through_proxy))
    assert not is_doubted(catalog, through_proxy)


def test_two_runs_at_a_time_are_one_catalog(catalog, cloud, said, monkeypatch):
    begin_changes(catalog, StoreClient(cloud))
    write = generation._write

    def overtaken(*arguments):
        monkeypatch.setattr(generation, "_write", write)
        begin_changes(catalog, StoreClient(cloud))
        return write(*arguments)

    monkeypatch.setattr(generation, "_write", overtaken)
    begin_changes(catalog, StoreClient(cloud))
    assert not is_doubted(catalog, cloud)
    (counter,) = rows(catalog, "SELECT generation FROM storage_backends WHERE name = 'cloud'")
    assert said(cloud)["counter"] == counter


def test_a_bucket_under_two_names_raises_no_doubt(catalog, cloud, backend, said):
    other = backend("other", base_prefix=cloud.base_prefix)
    for each in (cloud, other, cloud, other):
        begin_changes(catalog, StoreClient(each))
    assert not is_doubted(catalog, cloud)
    assert not is_doubted(catalog, other)
    assert said(cloud)["counter"] == 4


def test_a_bucket_that_is_registered_again_raises_no_doubt(catalog, library, cloud, synced):
    library.fill(1)
    synced(cloud)
    remove(catalog, cloud)
    again, _ = register(catalog, cloud)
    library.fill(1, folder="more")
    assert synced(again).failed == 0
    assert not is_doubted(catalog, again)


def test_a_backend_of_another_store_does_not_hide_an_old_copy(catalog, backend):
    """Buckets are called alike at different services."""
    one = backend("one")
    other = backend("other", base_prefix=one.base_prefix)
    keep_verdicts(catalog, [(one, other, "apart")])
    change(catalog, "UPDATE storage_backends SET generation = 9 WHERE name = 'other'")
    begin_changes(catalog, StoreClient(one))
    change(catalog, "UPDATE storage_backends SET generation = 0 WHERE name = 'one'")
    begin_changes(catalog, StoreClient(one))
    assert is_doubted(catalog, one)


def test_there_is_nothing_to_confirm_without_a_doubt(catalog, cloud, remote):
    assert not confirm(catalog, StoreClient(cloud))
    assert remote(cloud).keys() == []


def test_a_store_that_refuses_says_so(catalog, through_proxy, proxy):
    proxy.answer(refusal(403, "AccessDenied"), lambda r: r.key.endswith("generation.json"))
    with pytest.raises(Exception, match=r"denied|refused|AccessDenied"):
        begin_changes(catalog, StoreClient(through_proxy))
