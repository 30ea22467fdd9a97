"""Brings one file into the library: open, write, check, place.

A source only gives bytes. Here they are written to a partial file, compared with what is known of
them, checked - an error page with status 200 is not music - and placed under the file's name.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import tenacity

from catalogsync_assets.core.catalog.download_queue import Downloaded, DownloadTask
from catalogsync_assets.core.download.disks import Disks
from catalogsync_assets.core.download.report import DownloadReport, Limits
from catalogsync_assets.core.download.sources import Content, Item, Source, Sources
from catalogsync_assets.core.errors import DownloadError, LibraryError, SourceUnavailableError
from catalogsync_assets.core.files.atomic import FULL
from catalogsync_assets.core.files.formats import LOOKED_AT, MEDIA_TYPES, format_of, look
from catalogsync_assets.core.files.names import (
    alternatives,
    guessed_title,
    name_in_url,
    target_path,
)
from catalogsync_assets.core.files.opening import FileStat
from catalogsync_assets.core.files.partial import Notes, PartialFile, Resume, remove
from catalogsync_assets.core.library.tags import read_facts
from catalogsync_assets.core.redaction import redact

#: Seconds that a wait between two tries never exceeds, unless the server asks for more.
_MAX_BACKOFF = 20.0
#: Who asks for a longer wait than this is left to the next run.
_MAX_RETRY_AFTER = 120.0


class StoppedError(Exception):
    """The run was stopped while the file was on its way."""


class _NoRoomHereError(Exception):
    """The file does not fit where it was begun."""


@dataclass
class _Job:
    """A task while it is being carried out."""

    task: DownloadTask
    name: str  #: of its partial file
    needed: int  #: bytes of the whole, as far as known; else 0
    most: int = 0  #: the most bytes of it that have been here
    fruitless: int = 0  #: tries in a row that have not brought more


@dataclass(eq=False)
class Fetcher:
    """Fetches files. Thread-safe."""

    sources: Sources
    disks: Disks
    limits: Limits
    report: DownloadReport  #: what is received, resumed and tried again is counted there
    prefix: str  #: tells the partial files of this catalog from those of others
    stop: threading.Event  #: once set, nothing goes on

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def fetch(self, task: DownloadTask) -> Downloaded:
        """Bring the task's file into the library.

        May be called again after any failure: it resumes what can be resumed.

        Raises:
            DownloadError: it cannot be downloaded, or is not what it should be.
            NoRoomError: every library root is full.
            LibraryError: a root cannot be written to.
            StoppedError: the run was stopped.
        """
        job = _Job(task, f"{self.prefix}{task.id}", task.size_bytes or 0)
        self._require_small(job, job.needed)
        source = self.sources.get(task.source)
        while True:
            root = self.disks.reserve(job.name, job.needed)
            try:
                with _opened(PartialFile(root, job.name)) as part:
                    return self._fetch_into(part, job, source)
            except _NoRoomHereError:
                remove(root, job.name)
            except OSError as error:
                if error.errno not in FULL:
                    raise DownloadError(
                        f"{redact(task.url)} cannot be saved below {root}: {error.strerror}",
                        code=errno.errorcode.get(error.errno or 0, "DiskError"),
                        hint="check the folder's permissions and the disk",
                    ) from error
                self.disks.mark_full(root)
                remove(root, job.name)
            finally:
                self.disks.leave(root, job.name)

    def _fetch_into(self, part: PartialFile, job: _Job, source: Source) -> Downloaded:
        placed = part.placed()
        if placed is not None:
            return _downloaded(job.task, part.root, placed, part.notes.sha256)
        try:
            sha256 = self._retry(lambda: self._once(part, job, source), part, job)
            names = alternatives(self._target(part, job.task), sha256)
            free = (n for n in names if not self.disks.is_remembered(part.root, n, sha256))
            placed = part.place(free, sha256)
        except DownloadError as error:
            if not error.retryable:
                part.discard()
            raise
        return _downloaded(job.task, part.root, placed, sha256)

    def _once(self, part: PartialFile, job: _Job, source: Source) -> str:
        """One try to complete the partial file; its SHA-256."""
        if self.stop.is_set():
            raise StoppedError
        checked = job.task.sha256 is not None
        if part.is_whole(checked=checked):
            part.go_on()
        else:
            self._transfer(part, job, source, part.resume(checked=checked))
        _require_audio(part, job.task)
        sha256 = part.sync()
        if job.task.sha256 in (None, sha256):
            return sha256
        message = f"{redact(job.task.url)}: SHA-256 mismatch with the manifest"
        if part.resumed:  # its beginning and its end may be of different contents
            part.begin(Notes())
            raise SourceUnavailableError(message, code="DigestDiffers")
        raise DownloadError(
            message, code="DigestDiffers", hint="correct the manifest and import it again"
        )

    def _transfer(
        self, part: PartialFile, job: _Job, source: Source, resume: Resume | None
    ) -> None:
        task = job.task
        with _from_plug_in(task, source, resume) as content:
            if content.start == 0:
                part.begin(Notes(content.validator, content.total, content.name))
            elif resume is not None and content.start == resume.offset:
                part.go_on()
                with self._lock:
                    self.report.resumed += 1
            else:
                raise DownloadError(
                    f"source {task.source!r} gave a different part of {redact(task.url)} than was"
                    " requested",
                    code="BadSource",
                )
            total = part.notes.total if content.total is None else content.total
            if part.notes.total not in (None, total):
                part.begin(Notes())
                raise SourceUnavailableError(
                    f"{redact(task.url)} changed its size during the download", code="Changed"
                )
            if total is not None:
                if task.size_bytes not in (None, total):
                    raise _differs(task, "", total, task.size_bytes or 0)
                self._require_small(job, total)
            whole = total or task.size_bytes or 0
            if not self.disks.fits(part.root, job.name, max(whole - part.size, 0)):
                job.needed = whole
                raise _NoRoomHereError
            self._write(part, job, content, total)
        if part.size != (total or task.size_bytes or part.size):
            raise SourceUnavailableError(
                f"{redact(task.url)} ended after {part.size:,} bytes", code="EndedEarly"
            )
        part.record_total(part.size)

    def _write(self, part: PartialFile, job: _Job, content: Content, total: int | None) -> None:
        most = total or job.task.size_bytes
        looked = False
        for piece in content.pieces:
            if self.stop.is_set():
                raise StoppedError
            with self._lock:
                self.report.received += len(piece)
            part.append(piece)
            self._require_small(job, part.size)
            if most is not None:
                if part.size > most:
                    raise _differs(job.task, "more", part.size, most)
                self.disks.written(part.root, job.name, most - part.size)
            if not looked and part.size >= LOOKED_AT:
                looked = True
                _require_audio(part, job.task)  # at once: who knows how much more would come

    def _require_small(self, job: _Job, size: int) -> None:
        if size > self.limits.max_file_bytes:
            raise DownloadError(
                f"{redact(job.task.url)} is larger than {self.limits.max_file_bytes:,} bytes",
                code="TooLarge",
                hint="to download it anyway, raise --max-file-mib",
            )

    @staticmethod
    def _target(part: PartialFile, task: DownloadTask) -> str:
        named = part.notes.name or name_in_url(task.url)
        kind = format_of(named, look(part.read_at).kind)
        if kind not in MEDIA_TYPES:  # all that is known is an ID3v2 tag, as an MP3 has most often
            kind = "mp3"
        return target_path(
            title=task.title,
            artist=task.artist,
            album=task.album,
            track_number=task.track_number,
            offered=part.notes.name or guessed_title(task.url),
            kind=kind,
        )

    def _retry(self, function: Callable[[], str], part: PartialFile, job: _Job) -> str:
        """Call again what failed for a passing reason: exponential backoff, full jitter, capped.

        A try that has brought new bytes does not count: a large file over a bad line arrives in
        the end.
        """
        backoff = tenacity.wait_random_exponential(multiplier=0.25, max=_MAX_BACKOFF)

        def is_hopeless(_state: tenacity.RetryCallState) -> bool:
            job.fruitless = 1 if part.size > job.most else job.fruitless + 1
            job.most = max(job.most, part.size)
            return job.fruitless >= self.limits.attempts or self.stop.is_set()

        def wait(state: tenacity.RetryCallState) -> float:
            error = state.outcome.exception() if state.outcome else None
            asked = getattr(error, "retry_after", None)
            return backoff(state) if asked is None else float(asked)

        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(_may_pass_soon),
            stop=is_hopeless,
            wait=wait,
            sleep=tenacity.sleep_using_event(self.stop),
            before_sleep=self._count_retry,
            reraise=True,
        )
        return retrying(function)

    def _count_retry(self, _state: tenacity.RetryCallState) -> None:
        with self._lock:
            self.report.retries += 1


def _may_pass_soon(error: BaseException) -> bool:
    return (
        isinstance(error, SourceUnavailableError) and (error.retry_after or 0) <= _MAX_RETRY_AFTER
    )


def _differs(task: DownloadTask, how: str, found: int, known: int) -> DownloadError:
    return DownloadError(
        f"{redact(task.url)} has {found:,} bytes{' or ' if how else ''}{how}, not {known:,}",
        code="SizeDiffers",
        hint="correct the manifest and import it again",
    )


def _require_audio(part: PartialFile, task: DownloadTask) -> None:
    if look(part.read_at).is_audio:
        return
    page = (
        part.read_at(0, LOOKED_AT).lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml"))
    )
    raise DownloadError(
        f"{redact(task.url)} is not an audio file" + (" but a web page" if page else ""),
        code="NotAudio",
        hint="open it in a browser; it may need a login, or have moved",
    )


@contextmanager
def _opened(part: PartialFile) -> Iterator[PartialFile]:
    """The partial file, open; a root that cannot be written to at all ends the run."""
    try:
        part.open()
    except OSError as error:
        if error.errno in FULL:
            raise
        raise LibraryError(
            f"library root {part.root} cannot be written to: {error.strerror}",
            hint="check its permissions, and that its disk is mounted",
        ) from error
    try:
        yield part
    finally:
        part.close()


@contextmanager
def _from_plug_in(task: DownloadTask, source: Source, resume: Resume | None) -> Iterator[Content]:
    """The content; whatever the source raises, here or in the middle, is an error of this file."""
    item = Item(task.url, task.sha256, task.size_bytes)
    with _blamed(task):
        opened: AbstractContextManager[Content] = source.open(item, resume)
        content = opened.__enter__()
    try:
        yield replace(content, pieces=_guarded(task, content.pieces))
    finally:
        with suppress(Exception):  # what was needed has been read, or was given up
            opened.__exit__(None, None, None)


def _guarded(task: DownloadTask, pieces: Iterator[bytes]) -> Iterator[bytes]:
    with _blamed(task):
        yield from pieces


@contextmanager
def _blamed(task: DownloadTask) -> Iterator[None]:
    try:
        yield
    except (DownloadError, GeneratorExit):
        raise
    except BaseException as error:
        raise DownloadError(
            f"source {task.source!r}: {redact(task.url)}:"
            f" {redact(str(error)) or 'failed without a message'} ({type(error).__name__})",
            code=type(error).__name__,
        ) from error


def _downloaded(task: DownloadTask, root: Path, placed: Path, sha256: str | None) -> Downloaded:
    path = placed.relative_to(root).as_posix()
    facts = read_facts(root, path, FileStat.of(placed.stat()), song_id=task.song_id, sha256=sha256)
    return Downloaded(task, str(root), facts, task.title == guessed_title(task.url))
