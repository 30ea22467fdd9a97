"""A library that has lived is scanned and uploaded by processes that are killed.

At any moment no row is false and nothing that was safe is lost; the next ones come to the same end.
"""

import functools
import itertools
import signal
from dataclasses import replace

import pytest

from catalogsync_assets.core.backends.generation import GENERATION
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets_tests.support.audio_files import tagged, with_id3_in_front
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.files import sha256
from catalogsync_assets_tests.support.living import Living
from catalogsync_assets_tests.support.proxy import refusal

# A command that dies in the moment before it commits so many transactions, of few files each. It
# says in the end how many there were.
_DYING = """
import os, signal, sys
import sqlalchemy as sa
from catalogsync_assets.cli import main
from catalogsync_assets.core.library import follow, root_scan
root_scan._CHUNK = 5
follow._Follow._keep.__defaults__ = (5,)
left = last = int(sys.argv[1])
def die(_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
sa.event.listen(sa.Engine, "commit", die)
try:
    main(sys.argv[2:], prog_name="catalogsync")
finally:
    print("commits", last - left)
"""
_OBJECTS = """
SELECT l.locator, l.status, f.sha256 FROM file_locations l
JOIN storage_backends b ON b.id = l.backend_id AND b.backend_type = 'object_storage'
JOIN file_assets f ON f.id = l.file_asset_id ORDER BY 1, 2, 3
"""
_FILES = """
SELECT l.absolute_path, l.status, f.sha256, f.object_key, f.song_id, f.superseded_by_id IS NULL
FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
JOIN storage_backends b ON b.id = l.backend_id AND b.backend_type = 'local' ORDER BY 1, 2, 3
"""
_PRESENCE = """
SELECT song_id, backend_id, files_total, files_present, bytes_present FROM song_backend_presence
ORDER BY 1, 2
"""


class _Life:
    """What was before a library lived, to be lived through again and again."""

    def __init__(self, s3, store, catalog, living, backend):
        self._s3, self._store, self._catalog = s3, store, catalog
        self.backend, self.roots = backend, (living.root, living.other)
        self.scan_it = ["scan", "--db", catalog.path]
        self.scan_it += [word for root in self.roots for word in ("--library-root", root)]
        self.upload_it = ["upload", "--backend", backend.name, "--workers", 4, "--db", catalog.path]
        self._aside = f"aside/{store.prefix}"
        catalog.close()
        self._rows = catalog.path.read_bytes()
        self._before = self._tags()
        self._copy(store.prefix, self._aside, self._before)
        self.safe = set(map(sha256, store.contents().values()))

    def begin_anew(self):
        """The disk is as it is after all; catalog and store are as they were before."""
        self._catalog.close()
        for path in self._catalog.path.parent.glob(f"{self._catalog.path.name}-*"):
            path.unlink()
        self._catalog.path.write_bytes(self._rows)
        now = self._tags()
        for key in now.keys() - self._before:
            self._store.delete(key)
        other = [key for key, tag in self._before.items() if now.get(key) != tag]
        self._copy(self._aside, self._store.prefix, other)
        assert self._tags() == self._before

    def _tags(self):
        """The ETag of each object, by its key without the prefix."""
        listed = self._s3.list_objects_v2(Bucket=self._store.bucket, Prefix=self._store.prefix)
        prefix = self._store.prefix
        return {o["Key"].removeprefix(prefix): o["ETag"] for o in listed.get("Contents", [])}

    def _copy(self, old, new, keys):
        bucket = self._store.bucket
        for key in keys:
            source = {"Bucket": bucket, "Key": old + key}
            self._s3.copy_object(Bucket=bucket, Key=new + key, CopySource=source)

    def require_truth(self):
        """No active row is false, no key two files', and nothing is lost that was safe."""
        held = self._held()
        active = [row for row in rows(self._catalog, _OBJECTS) if row[1] == "active"]
        for locator, _, digest in active:
            assert held.get(locator) == digest, locator
        assert len({locator for locator, *_ in active}) == len(active)
        assert self.safe <= set(held.values())

    def _held(self):
        """The digest of each object, by its whole key; read where it is another than before."""
        return {
            self._store.prefix + key: self._digest(key, tag)
            for key, tag in self._tags().items()
            if key != GENERATION  # it counts the runs
        }

    @functools.cache  # noqa: B019
    def _digest(self, key, _):
        return sha256(self._store.get(key))

    def end(self):
        """All that matters of how it ends."""
        status = [replace(s, last_success=None) for s in backend_status(self._catalog)]
        told = [rows(self._catalog, sql) for sql in (_FILES, _PRESENCE)]
        active = [row for row in rows(self._catalog, _OBJECTS) if row[1] == "active"]
        return [status, *told, active, self._held()]


@pytest.fixture
def life(tmp_path, s3, scanned, uploaded, catalog, backend, remote, proxy):
    """A library of sixty files was uploaded, and has lived since; in a folder that has kept its
    name, files have come to the names of others."""
    through = backend(layout="path", endpoint=proxy.endpoint)
    other = tmp_path / "other"
    other.mkdir()
    living = Living(tmp_path / "music", other, 60)
    names = [other / f"{i}.mp3" for i in range(8)]
    for name in names:
        tagged(name, "mp3 id3", title=[f"Here before {name.stem}"])
    scanned(living.root, other)
    assert uploaded(through).failed == 0
    made = _Life(s3, remote(through), catalog, living, through)
    living.live()
    for edited in names[:2]:
        with_id3_in_front(edited, title=[f"Edited {edited.stem}"])
    for old, new in [(2, 8), (3, 2), (8, 3), (4, 5), (6, 7)]:  # a swap, and over others
        (other / f"{old}.mp3").replace(other / f"{new}.mp3")
    return made


#: How many moments of a scan, and of an upload before it commits, and at a request.
FEW, MANY = (1, 1, 2), (7, 3, 10)


@pytest.mark.parametrize("moments", [FEW, pytest.param(MANY, marks=pytest.mark.thorough)])
def test_killed_at_any_moment_it_comes_to_the_same_end_and_no_row_is_false(
    life, scanned, uploaded, proxy, run_python, start_python, moments
):
    proxy.start_anew()
    commits = []
    for command in (life.scan_it, life.upload_it):
        done = run_python(_DYING, 0, *command)
        assert done.code == 0, done.err
        commits.append(int(done.out.split()[-1]))
    counts = [*commits, len(proxy.requests)]
    life.require_truth()
    expected = life.end()

    kinds = zip(("scan", "commit", "request"), counts, moments, strict=True)
    for kind, number, arrives in [
        (kind, number, at % 2) for kind, *spread in kinds for at, number in _spread(*spread)
    ]:
        life.begin_anew()
        if kind == "scan":
            assert run_python(_DYING, number, *life.scan_it).code == -signal.SIGKILL
            life.require_truth()
        scanned(*life.roots)
        if kind != "scan":
            process = start_python(_DYING, number if kind == "commit" else 0, *life.upload_it)
            if kind == "request":
                proxy.before.append(_killer(process, number, arrives=arrives))
            _, errors = process.communicate()
            assert process.returncode == -signal.SIGKILL, errors
            proxy.start_anew()
            life.require_truth()
        assert uploaded(life.backend).failed == 0
        assert uploaded(life.backend).queued == 0
        life.require_truth()
        assert life.end() == expected, (kind, number)


def _spread(count, moments):
    """So many numbers from 1 on and below a count, each with its place among them."""
    return enumerate(1 + (2 * i + 1) * (count - 1) // (2 * moments) for i in range(moments))


def _killer(process, number, *, arrives):
    came = itertools.count(1)

    def kill(_):
        at = next(came)
        if at == number:
            process.kill()
            process.wait()
        return None if at < number or (at == number and arrives) else refusal(0)

    return kill
