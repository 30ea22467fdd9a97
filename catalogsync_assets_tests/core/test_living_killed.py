"""A library that has lived is scanned and uploaded by processes that are killed.

At any moment no row is false, nothing that was safe is lost, and the next ones come to the same end.
"""

import itertools
import os
import signal
from dataclasses import replace

import pytest

from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets_tests.support.audio_files import tagged
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.files import sha256
from catalogsync_assets_tests.support.living import Living
from catalogsync_assets_tests.support.proxy import refusal

ENTRIES = "SELECT playlist_id, position, song_id FROM playlist_entries ORDER BY 1, 2"
# A command that dies in the moment before it commits so many transactions, of few files each. It
# says in the end how many there were.
_DYING = """
import os, signal, sys
import sqlalchemy as sa
from catalogsync_assets.cli import main
from catalogsync_assets.core.library import follow, scan
scan._CHUNK = 5
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

    def __init__(self, s3, store, catalog, living):
        self._s3, self._store, self._catalog, self._living = s3, store, catalog, living
        self._aside = f"aside/{store.prefix}"
        catalog.close()
        self._rows = catalog.path.read_bytes()
        self._copy(store.prefix, self._aside, store.keys())
        self._before = self._tags()
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
        keys = [*self._store.keys(), *self._store.keys(kept=True)]
        return {key: self._store.head(key)["ETag"] for key in keys}

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
        keys = [*self._store.keys(), *self._store.keys(kept=True)]
        return {self._store.prefix + key: sha256(self._store.get(key)) for key in keys}

    def end(self):
        """All that matters of how it ends."""
        status = [replace(s, last_success=None) for s in backend_status(self._catalog)]
        told = [rows(self._catalog, sql) for sql in (_FILES, _PRESENCE, ENTRIES)]
        active = [row for row in rows(self._catalog, _OBJECTS) if row[1] == "active"]
        return [status, *told, active, self._held()]


