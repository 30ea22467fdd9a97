"""What an import of a manifest did, and what a run of downloads may do and did."""

from __future__ import annotations

from dataclasses import dataclass, field

from catalogsync_assets.core.manifests.lines import BadLine
from catalogsync_assets.core.runner.report import RunReport


@dataclass
class ImportReport:
    """What an import did."""

    entries: int = 0  #: acceptable entries of the manifest
    #: Rows that were made for them.
    tasks: int = 0
    songs: int = 0
    playlists: int = 0
    playlist_songs: int = 0  #: songs that came into a playlist, each counted once
    removed: int = 0  #: songs that left a playlist, as they are no longer listed
    local: int = 0  #: entries that are paths of files that the catalog knows
    known: int = 0  #: entries whose address had a task already
    updated: int = 0  #: of those, the ones that got another size or digest
    bad: int = 0  #: lines that were left out; at most 1,000 of them are in `problems`
    problems: list[BadLine] = field(default_factory=list)
    #: Values that could not be read, and that songs can do without; at most 1,000 of them are in
    #: `warnings`.
    odd: int = 0
    warnings: list[BadLine] = field(default_factory=list)
    #: What lines that are not UTF-8 were read as; None if there were none.
    guessed_encoding: str | None = None


@dataclass(frozen=True)
class Limits:
    """How much a run may do at a time."""

    workers: int = 8  #: files on their way at a time
    attempts: int = 5  #: tries in a row without a new byte, after which a file counts as failed
    max_file_bytes: int = 4 * 1024**3  #: a larger file is refused


@dataclass(frozen=True)
class Failure:
    """A file that could not be downloaded, as a person reads of it."""

    task_id: int
    source: str
    url: str
    code: str
    reason: str


@dataclass
class SourceTally:
    """What came from one source: files done and failed, bytes of those that are done."""

    done: int = 0
    failed: int = 0
    bytes: int = 0


@dataclass
class DownloadReport(RunReport[Failure]):
    """What a run did. While it runs, the same object is handed to `progress`.

    Attributes:
        queued: tasks that were waiting when the run began, up to its limit; those of sources that
            cannot be loaded come on top.
        queued_bytes: the size of those whose size is known.
        succeeded: files that came whole and are recorded.
        failed: files that did not; they are tried again by the next run.
        bytes: of the files that are recorded.
        received: bytes that came over the network, those included that came in vain.
        retries: tries that had to be repeated.
        resumed: tries that went on where an earlier one had ended.
        sources: by name.
    """

    workers: int
    queued: int = 0
    queued_bytes: int = 0
    succeeded: int = 0
    bytes: int = 0
    received: int = 0
    retries: int = 0
    resumed: int = 0
    sources: dict[str, SourceTally] = field(default_factory=dict)
