"""Removes a local file so that a kill loses nothing, and sets right what a kill has left.

The caller has made certain that others hold the file, and has marked its row `offloading`. Then the
file is renamed in its folder, looked at once more - by now nobody can replace it by name - and only
then deleted. Whether that came about or was cut short, `recover` makes the rows true by what it
finds:

===========================  ==================  ==============================================
a kill came                  leaves              then
===========================  ==================  ==============================================
before the renaming          the file            it stays; its row is active again
before the deletion          the renamed file    it gets its name back; its row is active again
after it                     nothing             the row says that it was removed
===========================  ==================  ==============================================

Recovering only ever undoes: to go on would need the stores, which may have lost the file since.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from catalogsync_assets.core.catalog import locations, offloads
from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.locks import lock
from catalogsync_assets.core.catalog.offloads import LocalFile
from catalogsync_assets.core.errors import CatalogError, NotRemoved
from catalogsync_assets.core.files.atomic import move_to_free_name, sync_folder
from catalogsync_assets.core.files.digests import sha256_of_open
from catalogsync_assets.core.files.opening import mtime_ns, open_regular

#: How a file is called in the moment before it is deleted. It has no extension of audio, so that
#: no scan takes it for a file of the library.
PREFIX = ".catalogsync-offload-"
#: Seconds to wait for another process that only sets something right.
PATIENCE = 5.0
_LOCK = "offload-lock"


class Identity(NamedTuple):
    """What tells a file and its state from every other: a write changes mtime or ctime."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    ctime_ns: int

    @classmethod
    def of(cls, status: os.stat_result) -> Identity:
        return cls(
            status.st_dev, status.st_ino, status.st_size, mtime_ns(status), status.st_ctime_ns
        )

    def survives_renaming(self, later: Identity) -> bool:
        """Whether it is the same file in the same state; a renaming changes the ctime."""
        return self[:-1] == later[:-1]


@contextmanager
def alone(catalog: Catalog, *, patience: float | None = None) -> Iterator[bool]:
    """The right to remove files of this catalog's library; one process at a time has it.

    Ends with the process, however that ends. The catalog's users are on one machine, as SQLite's
    write-ahead log wants it.

    Args:
        patience: seconds to wait for another; `PATIENCE` by default.

    Yields:
        Whether it was to be had.

    Raises:
        CatalogError: the catalog has a second name, so that others need not find this lock.
    """
    # Symbolic links are followed by `catalog_path`. Hard links SQLite cannot bear either: each name
    # has a log of its own (https://sqlite.org/howtocorrupt.html, section 2.5).
    if catalog.path.stat().st_nlink > 1:
        raise CatalogError(
            f"the catalog {catalog.path} has another name (a hard link): who uses that one would"
            " not see that files are being removed",
            hint="keep one of the names; the other may be a symbolic link",
        )
    with lock(catalog, _LOCK, patience=PATIENCE if patience is None else patience) as right:
        yield right


@contextmanager
def no_removal(catalog: Catalog) -> Iterator[bool]:
    """As long as the block runs, nobody has the right of `alone`. Several may ask for this at once.

    For those who put files below a root and say so: what is there must not be on its way out.

    Yields:
        False if somebody is removing files.
    """
    with lock(catalog, _LOCK, shared=True, patience=PATIENCE) as right:
        yield right


def inspect(file: LocalFile) -> None:
    """Raise NotRemoved unless a file may go as far as a look at the disk tells. Reads nothing."""
    path = Path(file.absolute_path)
    if not os.path.exists(file.root):  # noqa: PTH110
        raise NotRemoved(
            f"library root {file.root} is not there",
            code="RootMissing",
            hint="is its disk mounted?",
        )
    if file.sha256 is None:
        raise NotRemoved(
            f"{path}: the catalog does not know its digest yet",
            code="NoDigest",
            hint="an upload, or `adopt`, reads it",
        )
    # Not through `..`, or a link to a folder: a scan does not go there either.
    root = Path(os.path.realpath(file.root))
    if Path(os.path.realpath(path.parent)) != root / os.path.dirname(file.path):  # noqa: PTH120
        raise NotRemoved(
            f"{path} does not lie below {file.root} itself, or its folder is a link",
            code="Outside",
        )
    try:
        found = path.lstat()
    except OSError as error:
        raise _unreadable(path, error) from error
    if stat.S_ISLNK(found.st_mode):
        raise NotRemoved(f"{path} is a link; what it leads to is left alone", code="Link")
    if not stat.S_ISREG(found.st_mode):
        raise NotRemoved(f"{path} is not a regular file", code="Changed", hint="scan again")
    if found.st_nlink > 1:
        raise NotRemoved(
            f"{path} has {found.st_nlink - 1} more hard links; removing it would free nothing",
            code="HardLink",
        )
    if (found.st_size, mtime_ns(found)) != (file.size_bytes, file.mtime_ns):
        raise _changed(path)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise _unwritable(path, "permission denied")


def hashed(file: LocalFile) -> Identity:
    """What a file is, now that its whole content has been found to have the catalog's digest.

    Raises:
        NotRemoved: it cannot be read, has changed, or holds something else.
    """
    path = Path(file.absolute_path)
    try:
        with open_regular(path, follow=False) as content:
            before = Identity.of(os.fstat(content.fileno()))
            sha256 = sha256_of_open(content)
            after = Identity.of(os.fstat(content.fileno()))
    except OSError as error:
        raise _unreadable(path, error) from error
    if before != after or (after.size_bytes, after.mtime_ns) != (file.size_bytes, file.mtime_ns):
        raise _changed(path)
    if sha256 != file.sha256:
        raise NotRemoved(
            f"{path}: its content has not the digest that the catalog holds,"
            " though size and mtime are the same",
            code="ContentDiffers",
            hint="damaged? Restore it; or, if it was edited on purpose, `touch` it and scan",
        )
    return after


def remove(file: LocalFile, identity: Identity, catalog_name: str) -> None:
    """Delete a file whose row is marked, if it is still what was hashed.

    `recover` has that written to disk, and says it in the catalog.

    Raises:
        NotRemoved: it has changed, or the system refuses; the file is there, under its name
            unless the code is `Kept`.
    """
    path, private = Path(file.absolute_path), _private_path(file, catalog_name)
    try:
        if Identity.of(path.lstat()) != identity:
            raise _changed(path)
        try:
            move_to_free_name(path, private)
            if not identity.survives_renaming(Identity.of(private.lstat())):
                raise _changed(path)
            private.unlink()
        except (OSError, NotRemoved):
            _put_back(path, private)
            raise
    except FileNotFoundError as error:
        raise _unreadable(path, error) from error
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error


def _private_path(file: LocalFile, catalog_name: str) -> Path:
    """Where a file lies in the moment before it is deleted: in its folder, under our name."""
    folder = Path(file.absolute_path).parent
    return folder / f"{PREFIX}{catalog_name}-{file.location_id}"


def _put_back(path: Path, private: Path) -> None:
    """Give a file its name back, if it has lost it; what is there by now stays.

    Raises:
        NotRemoved: it could not be given; the message says where it is.
    """
    try:
        found = private.lstat()
        # If somebody has put another file there, both stay, where a scan sees them.
        beside = path.with_name(f"{path.stem}.kept-{found.st_ino}{path.suffix}")
        try:
            _move_once(private, path)
        except FileExistsError:
            _move_once(private, beside)
    except FileNotFoundError:
        return
    except OSError as error:
        raise NotRemoved(
            f"{path} is kept as {private}: {error.strerror or error}",
            code="Kept",
            hint="check the permissions of the folder; the next run gives it its name back",
        ) from error


def _move_once(private: Path, target: Path) -> None:
    """`move_to_free_name`; it may have been begun, and killed between two names and one."""
    try:
        move_to_free_name(private, target)
    except FileExistsError:
        if not os.path.samestat(private.lstat(), target.lstat()):
            raise
        private.unlink()


@dataclass
class Recovered:
    """What was made of what an offload had left."""

    #: Files that stay, or have their name back.
    returned: list[LocalFile] = field(default_factory=list)
    removed: list[LocalFile] = field(default_factory=list)  #: files that it had deleted already
    #: What could not be set right, and why.
    problems: dict[LocalFile, str] = field(default_factory=dict)


def recover(catalog: Catalog, root: str | None = None) -> Recovered:
    """Set right what an offload has left, killed or not; see the table above. Idempotent.

    The caller has the right of `alone`.

    Args:
        root: only below this one.
    """
    found = Recovered()
    folders = {f: Path(f.absolute_path).parent for f in offloads.unfinished(catalog, root)}
    if not folders:
        return found
    name = catalog_id(catalog)
    for file, folder in folders.items():
        try:
            if folder.is_dir():
                _put_back(Path(file.absolute_path), _private_path(file, name))
            else:  # then nothing can be said of it
                found.problems[file] = (
                    "a stopped run was about to remove it, and its folder is not there now; is its"
                    " disk mounted?"
                )
        except NotRemoved as error:
            found.problems[file] = error.message
    for folder in {folder for file, folder in folders.items() if file not in found.problems}:
        try:
            sync_folder(folder)
        except OSError as error:
            why = error.strerror or str(error)
            found.problems |= {file: why for file in folders if folders[file] == folder}
    for file in folders.keys() - found.problems.keys():
        there = os.path.lexists(file.absolute_path)
        (found.returned if there else found.removed).append(file)
    locations.mark(catalog, [file.location_id for file in found.returned], "kept")
    locations.mark(catalog, [file.location_id for file in found.removed], "offloaded")
    return found


def recover_if_alone(catalog: Catalog, root: str) -> Recovered:
    """`recover`, unless an offload is under way, whose files are its own affair."""
    if offloads.unfinished(catalog, root):
        with alone(catalog, patience=0) as right:
            if right:
                return recover(catalog, root)
    return Recovered()


def _unreadable(path: Path, error: OSError) -> NotRemoved:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return NotRemoved(f"{path} is not there", code="Gone", hint="is its disk mounted? Scan")
    return NotRemoved(
        f"{path} cannot be read: {error.strerror or error}",
        code="Unreadable",
        hint="check its permissions and its disk",
    )


def _changed(path: Path) -> NotRemoved:
    return NotRemoved(
        f"{path} has changed since the last scan", code="Changed", hint="scan again, then upload"
    )


def _unwritable(path: Path, why: str) -> NotRemoved:
    return NotRemoved(
        f"{path} cannot be removed: {why}",
        code="Unwritable",
        hint="check the permissions of its folder, and that the disk is not read-only",
    )
