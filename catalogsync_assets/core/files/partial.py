"""Partial files, not complete yet: `ROOT/.catalogsync/CATALOG-TASK.part`, with notes beside it.

One lies on the disk that the file will lie on, under a name that task and catalog give it, so that
a later run finds it. The notes (`.json`) tell what it is the beginning of. No scan sees them.

========================  ===========================================================
a kill leaves             the next run
========================  ===========================================================
a file and its notes      asks for the rest, if the notes allow to tell that it fits
a whole file              checks and places it, without asking the source
a placed file, no row     recognises it by the notes, which go only after the row
========================  ===========================================================
"""

from __future__ import annotations

import errno
import fcntl
import functools
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from catalogsync_assets.core.errors import DownloadError, SourceUnavailableError
from catalogsync_assets.core.files.atomic import move_to_free_name, sync_folder
from catalogsync_assets.core.files.digests import sha256_of
from catalogsync_assets.core.files.opening import open_regular, regular_fd

FOLDER = ".catalogsync"
_PIECE = 1024 * 1024


@dataclass(frozen=True)
class Resume:
    """The beginning of the content is here already."""

    offset: int  #: bytes that are here; more than 0
    #: What `Notes.validator` is; None if the source gave none, but the whole will be checked
    #: against a digest.
    validator: str | None


@dataclass(frozen=True)
class Notes:
    """What a partial file is the beginning of."""

    #: As the source gave them.
    validator: str | None = None
    total: int | None = None
    name: str | None = None
    #: Of the machine, when the file was begun. What was written before a power failure need not
    #: have reached the disk.
    boot: str = ""
    #: Where it is about to be placed, below the root; its content is then whole and has the digest
    #: `sha256`.
    target: str | None = None
    sha256: str | None = None


class PartialFile:
    """One file on its way, held against other processes as long as it is open.

    Attributes:
        path: where the content lies until it is placed.
        size: bytes that are here.
        notes: see `Notes`.
        resumed: whether some of the bytes came in an earlier try.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self._name = name
        self._folder = root / FOLDER
        self.path = self._folder / f"{name}.part"
        self._notes_path = self._folder / f"{name}.json"
        self._fd = -1
        self._digest = hashlib.sha256()
        self.size = 0
        self.notes = Notes()
        self.resumed = False

    def open(self) -> None:
        """Take hold of the partial file, made if it is not there.

        Raises:
            SourceUnavailableError: another process holds it.
            DownloadError: something else has the name of the folder.
            OSError: as the system says it.
        """
        while True:
            with suppress(FileExistsError):  # `exist_ok` fails where another worker removes it now
                self._folder.mkdir()
            try:
                self._fd = regular_fd(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
            except (FileNotFoundError, NotADirectoryError) as error:
                if os.path.lexists(self._folder) and not self._folder.is_dir():
                    raise DownloadError(
                        f"{self._folder} is not a folder, or is a broken link: partial files cannot"
                        " be kept there",
                        code="NameTaken",
                        hint="move it away; the folder is then created",
                    ) from error
                continue  # another worker has just removed the empty folder
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._let_go()  # what is there is the other process's
                raise SourceUnavailableError(
                    f"{self.path} is being written by another process", code="Busy"
                ) from error
            if _is_at(self._fd, self.path):
                break
            self._let_go()  # its last holder has just removed it
        self.size = os.fstat(self._fd).st_size
        self.notes = _read_notes(self._notes_path)
        self.resumed = self.size > 0

    def close(self) -> None:
        """Let go of it; what is there stays, if it is anything. Idempotent."""
        if self._fd >= 0:
            is_empty = not self.size and self.notes.target is None
            if is_empty and _is_at(self._fd, self.path):
                remove(self.root, self._name)
            self._let_go()

    def _let_go(self) -> None:
        os.close(self._fd)
        self._fd = -1

    def is_whole(self, *, checked: bool) -> bool:
        """Whether all of it is here, as far as the source has said how much that is."""
        return self._is_sound(checked) and self.size == self.notes.total

    def resume(self, *, checked: bool) -> Resume | None:
        """What to ask for, where the bytes that are here can be gone on from.

        Args:
            checked: whether the whole will be compared with a digest.
        """
        if self._is_sound(checked) and (checked or self.notes.validator is not None):
            return Resume(self.size, self.notes.validator)
        return None

    def _is_sound(self, checked: bool) -> bool:
        return self.size > 0 and (checked or self.notes.boot == _boot())

    def begin(self, notes: Notes) -> None:
        """Start over."""
        # Emptied first: never may old bytes lie beside new notes.
        os.ftruncate(self._fd, 0)
        os.lseek(self._fd, 0, os.SEEK_SET)
        self._digest = hashlib.sha256()
        self.size, self.resumed = 0, False
        self._note(replace(notes, boot=_boot()))

    def go_on(self) -> None:
        """Read what is here, for the digest, and go on behind it."""
        self._digest = hashlib.sha256()
        os.lseek(self._fd, 0, os.SEEK_SET)
        while piece := os.read(self._fd, _PIECE):
            self._digest.update(piece)
        self.resumed = True

    def append(self, piece: bytes | memoryview) -> None:
        """Write a piece through to the system: a killed process loses none that it has read.

        Raises:
            OSError: as the system says it; of a full disk some bytes may have been written.
        """
        view = memoryview(piece)
        while view:
            written = os.write(self._fd, view)
            self._digest.update(view[:written])
            self.size += written
            view = view[written:]

    def sync(self) -> str:
        """Bring the content to the disk; its SHA-256 in hex."""
        os.fsync(self._fd)
        return self.sha256()

    def sha256(self) -> str:
        """The SHA-256 in hex of what is here, as far as it was written or gone on from."""
        return self._digest.hexdigest()

    def read_at(self, offset: int, size: int) -> bytes:
        """These bytes, as far as they are here."""
        return os.pread(self._fd, size, offset)

    def record_total(self, total: int) -> None:
        """Note that these are all the bytes, where the source did not say how many there are."""
        if self.notes.total != total:
            self._note(replace(self.notes, total=total))

    def placed(self) -> Path | None:
        """Where an earlier run has placed the file, if it did."""
        if self.notes.target is None:
            return None
        target = self.root / self.notes.target
        try:
            if os.path.samestat(target.stat(), os.fstat(self._fd)):
                return target
            if not self.size and sha256_of(target) == self.notes.sha256:
                return target
        except OSError:
            return None
        return None

    def place(self, names: Iterator[str], sha256: str) -> Path:
        """Give the file the first of these names below the root that is free.

        The name appears with the whole content under it, or not at all, and takes no other file's
        place. Both folders are on disk afterwards.

        Raises:
            DownloadError: a folder of that name cannot be made, or lies on another disk.
            OSError: as the system says it.
        """
        for name in names:
            target = self.root / name
            self._note(replace(self.notes, target=name, sha256=sha256))
            _make_folders(self.root, target.parent)
            try:
                move_to_free_name(self.path, target)
            except FileExistsError:
                continue
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                raise DownloadError(
                    f"{target.parent} is on a different disk than {self.root}",
                    code="AnotherDisk",
                    hint="add that disk as a library root of its own",
                ) from error
            sync_folder(target.parent)
            return target
        raise DownloadError(f"every name for {self._name} is taken", code="NoFreeName")

    def discard(self) -> None:
        """Remove all that is here of it, for good. Idempotent."""
        remove(self.root, self._name)
        if self._fd >= 0:
            os.ftruncate(self._fd, 0)  # whoever else has it open gets nothing of it
        self.size, self.notes = 0, Notes()

    def _note(self, notes: Notes) -> None:
        new = self._notes_path.with_suffix(".new")
        fd = regular_fd(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW)
        with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123
            file.write(json.dumps(asdict(notes)))
        new.replace(self._notes_path)
        self.notes = notes


def size_of(root: Path, name: str) -> int | None:
    """The bytes of a partial file below the root; None if there is no such file."""
    if not (root / FOLDER / f"{name}.json").exists():
        return None
    try:
        return (root / FOLDER / f"{name}.part").stat().st_size
    except FileNotFoundError:
        return 0


def remove(root: Path, name: str) -> None:
    """Remove file and notes, and the folder when it is empty. Idempotent."""
    for ending in ("part", "new", "json"):  # the notes last: they say what the rest is
        (root / FOLDER / f"{name}.{ending}").unlink(missing_ok=True)
    try:
        (root / FOLDER).rmdir()
    except OSError:  # others are still there
        return


def remove_unheld(root: Path, prefix: str) -> None:
    """Remove the partial files below a root with this prefix that nobody has open."""
    for name in names(root, prefix):
        discard_unheld(root, name)


def discard_unheld(root: Path, name: str) -> None:
    """Remove a partial file, unless somebody has it open. Idempotent."""
    part = PartialFile(root, name)
    try:
        part.open()
    except (DownloadError, OSError):
        return
    part.discard()
    part.close()


def names(root: Path, prefix: str) -> set[str]:
    """The names of the partial files below a root that begin like this."""
    try:
        found = [p for p in (root / FOLDER).iterdir() if p.name.startswith(prefix)]
    except OSError:
        return set()
    return {p.stem for p in found if p.suffix in (".part", ".json", ".new")}


def _is_at(fd: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False


def _read_notes(path: Path) -> Notes:
    try:
        with open_regular(path, follow=False) as file:
            return Notes(**json.loads(file.read()))
    except (OSError, ValueError, TypeError):
        return Notes()


def _make_folders(root: Path, folder: Path) -> None:
    missing = []
    while folder != root and not folder.is_dir():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        try:
            new.mkdir(exist_ok=True)
        except (FileExistsError, NotADirectoryError) as error:
            raise DownloadError(
                f"{new} is a file, but should be a folder of music",
                code="NameTaken",
                hint="move the file away",
            ) from error
        sync_folder(new.parent)


@functools.cache
def _boot() -> str:
    """Names the time since this machine was started."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()
    except OSError:
        return str(round(psutil.boot_time(), -2))
