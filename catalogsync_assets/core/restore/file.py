"""Brings one file back below a library root: look, fetch, check, place.

What may be done with a path:

====================================  ==========================================================
below the root there is               then
====================================  ==========================================================
nothing                               fetch, compare with the digest, give it its name
what the catalog knows, unchanged     nothing
the very content                      adopt it, fetch nothing
anything else                         a conflict for a person to see; it stays as it is
====================================  ==========================================================

A path comes from the catalog, which another program may have written: it is made safe, and leads
neither out of the root nor through a link.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple

from catalogsync_assets.core.backends.replicas import Replicas
from catalogsync_assets.core.catalog.locations import LocalPlace
from catalogsync_assets.core.catalog.object_keys import unusable
from catalogsync_assets.core.catalog.remote_copies import RemoteCopy
from catalogsync_assets.core.errors import DownloadError, NoRoomError, RestoreError, SourceError
from catalogsync_assets.core.files import partial
from catalogsync_assets.core.files.atomic import FULL
from catalogsync_assets.core.files.digests import sha256_of
from catalogsync_assets.core.files.names import MAX_NAME_BYTES, safe_name
from catalogsync_assets.core.files.opening import FileStat, mtime_ns
from catalogsync_assets.core.files.partial import FOLDER, Notes, PartialFile
from catalogsync_assets.core.restore.queries import WantedFile
from catalogsync_assets.core.stores.objects import ReadObject
from catalogsync_assets.core.stores.verify import is_vouched_for

#: Bytes that are left free on the disk.
DEFAULT_RESERVE = 256 * 1024 * 1024
_PIECE = 1024 * 1024


class Brought(NamedTuple):
    """A file is below the root."""

    file: WantedFile
    #: What is to be recorded; None: it was there, unchanged, as the catalog has it, or is only
    #: planned.
    place: LocalPlace | None = None
    #: The one that it was, or would be, read from; None if it was there.
    copy: RemoteCopy | None = None
    troubles: Sequence[str] = ()  #: what was wrong with copies


def safe_path(path: str) -> str:
    """A path below a root, `/`-separated: as it is where that can do no harm, else made safe."""
    names = path.split("/")
    if all(map(_is_harmless, names)) and names[0] != FOLDER:
        return path
    return "/".join(safe_name(name) for name in names if name) or safe_name("")


def _is_harmless(name: str) -> bool:
    if name in ("", ".", "..") or unusable(name) is not None:
        return False
    return len(name.encode()) <= MAX_NAME_BYTES


@dataclass(eq=False)
class Restorer:
    """Brings files back below one root. Thread-safe."""

    root: Path
    replicas: Replicas
    prefix: str  #: what tells the parts of this catalog from those of others
    reserve_bytes: int  #: left free on the disk
    dry_run: bool  #: read, fetch and write nothing: what is of the right size is taken for the file
    received: int = 0  #: bytes that have come

    def __post_init__(self) -> None:
        self._promised = 0
        self._lock = threading.Lock()
        self._begun = partial.names(self.root, self.prefix)  # by runs that were stopped

    def restore(self, file: WantedFile) -> Brought:
        """Bring a file to its path; in a dry run, say what would be done.

        May be called again after any failure: what can be gone on from is.

        Raises:
            RestoreError: it cannot be had, or something else is in its place.
            NoRoomError: the disk is full.
        """
        path = safe_path(file.path)
        try:
            found = self._look(path, file)
            if found is None and not file.copies:
                raise RestoreError(
                    f"{file.path}: no copy to restore from: none was made, or it is damaged or"
                    " gone",
                    code="NoCopy",
                    hint="see where it is with `catalogsync whereis`",
                )
            if self.dry_run:
                return found or self._planned(file)
            name = f"{self.prefix}{file.file_asset_id}"
            if found is None:
                return self._fetch_to(path, file, name)
            if name in self._begun:
                partial.discard_unheld(self.root, name)  # it has come in another way
        except DownloadError as error:  # of the part: held by another process, or not to be placed
            raise RestoreError(error.message, code=error.code, hint=error.hint) from error
        except OSError as error:
            if error.errno in FULL:
                raise self._no_room(file) from error
            raise RestoreError(
                f"{self.root / path} cannot be written: {error.strerror or error}",
                code=errno.errorcode.get(error.errno or 0, "DiskError"),
                hint="check the folder's permissions, and the disk",
            ) from error
        return found

    def remove_useless(self, wanted: Callable[[Collection[int]], dict[int, list[str]]]) -> None:
        """Remove what stopped runs have begun and nobody will go on with.

        Args:
            wanted: tells which of these file assets count, and where each was seen below the root.
        """
        begun = {
            int(number): name
            for name in self._begun
            if (number := name.removeprefix(self.prefix)).isdigit()
        }
        seen = wanted(begun) if begun else {}
        for asset_id, name in begun.items():
            paths = seen.get(asset_id)
            if paths is None or any((self.root / path).exists() for path in paths):
                partial.discard_unheld(self.root, name)

    def _planned(self, file: WantedFile) -> Brought:
        copy = file.copies[0]
        trouble = (
            f"{file.path}: the only copy, on backend {self.replicas.name(copy.backend_id)!r}, was"
            " found damaged; it will be read and compared"
        )
        return Brought(file, None, copy, [trouble] if copy.status == "damaged" else [])

    def _look(self, path: str, file: WantedFile) -> Brought | None:
        """What is there already; None if nothing is.

        Raises:
            RestoreError: it is something else.
        """
        target = self.root / path
        self._refuse_links(path)
        try:
            found = target.stat()
        except FileNotFoundError:
            if target.is_symlink():
                raise self._conflict(target, "a link that leads nowhere") from None
            return None
        except NotADirectoryError:
            return None  # placing says it better
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
            raise self._conflict(target, "a link that leads to itself") from None
        if not stat.S_ISREG(found.st_mode):
            raise self._conflict(target, "no regular file")
        if file.seen == (found.st_size, mtime_ns(found)):
            return Brought(file)
        if file.size_bytes not in (None, found.st_size):
            raise self._conflict(target, "a file of another size")
        if self.dry_run:
            return Brought(file)
        if file.sha256 is None:
            raise self._conflict(target, "a file that there is no digest to compare with")
        if sha256_of(target) != file.sha256:
            raise self._conflict(target, "another file of the same size")
        return Brought(file, self._place_of(file, path, file.sha256))

    def _refuse_links(self, path: str) -> None:
        folder = self.root
        for name in path.split("/")[:-1]:
            folder /= name
            if folder.is_symlink():
                raise RestoreError(
                    f"{folder} is a link: no file is written through it",
                    code="LinkedFolder",
                    hint="a scan follows no links to folders either; make it a folder",
                )

    def _fetch_to(self, path: str, file: WantedFile, name: str) -> Brought:
        size = file.size_bytes or 0
        self._promise(file, size)
        part = PartialFile(self.root, name)
        try:
            part.open()
            brought = self._fetch_into(part, path, file)
        except OSError as error:
            if error.errno in FULL:
                part.discard()
            raise
        finally:
            part.close()
            with self._lock:
                self._promised -= size
        partial.remove(self.root, name)
        return brought

    def _fetch_into(self, part: PartialFile, path: str, file: WantedFile) -> Brought:
        troubles: list[SourceError | RestoreError] = []
        for copy in file.copies:
            try:
                fetched = self._fetch(part, file, copy)
            except (SourceError, RestoreError) as error:
                troubles.append(error)
                continue
            try:
                self._place(part, path, file, fetched)
            except (DownloadError, RestoreError):
                part.discard()  # of no use before a person has made room
                raise
            place = self._place_of(file, path, fetched.sha256)
            return Brought(file, place, copy, [str(error) for error in troubles])
        last = troubles[-1]
        raise RestoreError(
            f"{path}: {'; '.join(error.message for error in troubles)}",
            code=last.code,
            hint=last.hint,
        )

    def _fetch(self, part: PartialFile, file: WantedFile, copy: RemoteCopy) -> ReadObject:
        fetched = self.replicas.fetch(
            copy, part, size_bytes=file.size_bytes, sha256=file.sha256, received=self._count
        )
        # Where the catalog has no digest, another program has uploaded the file.
        if file.sha256 is None and not is_vouched_for(
            lambda: self.replicas.head(copy),
            fetched.sha256,
            fetched.size_bytes,
            cache(lambda: _md5_of(part.path)),
        ):
            part.begin(Notes())
            raise RestoreError(
                f"{copy.key!r} on backend {self.replicas.name(copy.backend_id)!r}: neither the"
                " catalog nor the store has a digest to compare it with",
                code="NoDigest",
                hint="fetch it by hand, listen to it, and scan it",
            )
        return fetched

    def _place(self, part: PartialFile, path: str, file: WantedFile, fetched: ReadObject) -> None:
        if file.mtime_ns is not None:
            # Some network disks keep no times but their own; the row will say what it is.
            with suppress(OSError):
                os.utime(part.path, ns=(file.mtime_ns, file.mtime_ns))
        try:
            part.place(iter([path]), fetched.sha256)
        except DownloadError as error:
            if error.code != "NoFreeName":
                raise
            raise self._conflict(self.root / path, "something that came meanwhile") from error

    def _place_of(self, file: WantedFile, path: str, sha256: str) -> LocalPlace:
        root, target = str(self.root), self.root / path
        found = FileStat.of(target.stat())
        return LocalPlace(file.file_asset_id, root, path, str(target), *found, sha256)

    def _count(self, size: int) -> None:
        with self._lock:
            self.received += size

    def _promise(self, file: WantedFile, size: int) -> None:
        found = os.statvfs(self.root)
        with self._lock:
            free = found.f_bavail * found.f_frsize - self.reserve_bytes - self._promised
            if free < max(size, 1):
                raise self._no_room(file)
            self._promised += size

    def _no_room(self, file: WantedFile) -> NoRoomError:
        return NoRoomError(
            f"no room for the next file ({file.size_bytes or 0:,} bytes) below {self.root}",
            hint="free some space and restore again: what is here stays, the rest follows",
        )

    @staticmethod
    def _conflict(target: Path, what: str) -> RestoreError:
        return RestoreError(
            f"{target}: there is {what} in its place",
            code="Conflict",
            hint="nothing was overwritten; move it away and restore again",
        )


def _md5_of(path: Path) -> str:
    md5 = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as content:
        while piece := content.read(_PIECE):
            md5.update(piece)
    return md5.hexdigest()
