"""Files that are only on another backend: fetched here, one by one, to be uploaded.

A copy lies beside the catalog, with other partial files, as long as its upload takes; those that a
killed run has left are removed by the next. It is sent only once its digest is the catalog's.
"""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from catalogsync_assets.core.backends.replicas import Replicas
from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_queue import UploadTask
from catalogsync_assets.core.errors import DownloadError, SourceError
from catalogsync_assets.core.files import partial
from catalogsync_assets.core.files.atomic import FULL
from catalogsync_assets.core.files.partial import PartialFile

# Of every copy: a large upload that is gone on from knows its source by size and mtime, and what
# this content is does not depend on when it was fetched.
_MTIME_NS = 1


class Copies:
    """The copies that a run makes. Thread-safe."""

    def __init__(self, catalog: Catalog, replicas: Replicas) -> None:
        self._replicas = replicas
        self._root = catalog.path.parent
        self._prefix = f"{catalog_id(catalog)}-copy-"
        # The same task may be carried out twice at a time.
        self._numbers = itertools.count()
        self._run = secrets.token_hex(4)
        partial.remove_unheld(self._root, self._prefix)

    @contextmanager
    def here(self, task: UploadTask) -> Iterator[UploadTask]:
        """A task whose source is a local file with the content of the given task's source.

        Raises:
            SourceError: it cannot be read, or is not what the catalog says; the next plan takes
                another source if this one has been marked.
        """
        part = PartialFile(self._root, f"{self._prefix}{self._run}-{next(self._numbers)}")
        try:
            try:
                part.open()
                assert task.source_copy is not None
                size, sha256 = task.size_bytes, task.sha256
                self._replicas.fetch(
                    task.source_copy, part, size_bytes=size, sha256=sha256, durable=False
                )
                os.utime(part.path, ns=(_MTIME_NS, _MTIME_NS))
            except DownloadError as error:
                hint = error.hint or "try again later"
                raise SourceError(error.message, code="CopyRefused", hint=hint) from error
            except OSError as error:
                raise self._cannot_keep(error) from error
            here = replace(task, path=str(part.path), mtime_ns=_MTIME_NS, within=())
            yield replace(here, source_copy=None)
        finally:
            part.discard()
            part.close()

    def _cannot_keep(self, error: OSError) -> SourceError:
        full = error.errno in FULL
        return SourceError(
            f"a copy from another backend cannot be saved below {self._root}: {error.strerror}",
            code="NoRoom" if full else "CopyRefused",
            hint="free some space there" if full else "check the folder's permissions",
        )
