"""What is asked of an audit, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, get_args

from catalogsync_assets.core.catalog.scope import EVERYTHING, Scope
from catalogsync_assets.core.errors import UsageError
from catalogsync_assets.core.upload.upload import UploadReport

AuditLevel = Literal["listing", "head", "full"]
LEVELS = get_args(AuditLevel)


@dataclass(frozen=True)
class AuditRequest:
    """Which objects of the catalog to compare with a backend's store, and how closely."""

    #: `listing` (what the store lists, by key and size), or as in `stores.verify`.
    level: AuditLevel = "listing"
    #: Only these files; untracked objects are looked for only without a limit.
    scope: Scope = EVERYTHING
    #: Of `head` and `full`, only so many of the objects, picked at random.
    sample_percent: float | None = None
    #: Only objects that have not been verified since that moment (UTC, without a zone).
    since: datetime | None = None
    repair: bool = False  #: upload again what is found missing or damaged, from a good copy
    anew: bool = False  #: begin a new audit, also where one of the same terms was interrupted
    #: Believe a store that has none of at least a hundred files that it should have.
    allow_empty: bool = False

    def __post_init__(self) -> None:
        """
        Raises:
            UsageError: a level that does not exist, or a sample of a listing, or of nothing.
        """
        if self.level not in LEVELS:
            raise UsageError(f"there is no level {self.level!r}", hint=f"use {', '.join(LEVELS)}")
        if self.sample_percent is None:
            return
        if self.level == "listing":
            raise UsageError(
                "a listing cannot be sampled: the store lists everything or nothing",
                hint="sample with --level head or --level full",
            )
        if not 0 < self.sample_percent <= 100:  # noqa: PLR2004
            raise UsageError(
                f"a sample of {self.sample_percent:g}% is none", hint="use more than 0, at most 100"
            )


@dataclass(frozen=True)
class Finding:
    """Something that an audit found."""

    kind: str  #: `missing`, `size`, `content`, `unreadable`, or `foreign` of an untracked object
    key: str
    file_asset_id: int | None
    detail: str | None
    #: What was done about it: `repaired`, `queued`, why nothing could be; None if nothing was
    #: tried.
    repair: str | None


@dataclass
class AuditReport:
    """What an audit found. While it runs, the same object is handed to `progress`.

    All figures are those of the audit from its beginning, also where it was resumed; `retries` and
    `seconds` are those of this run.
    """

    audit_id: int
    backend: str
    level: str
    workers: int
    status: str = "running"  #: `running`, `complete` or `interrupted`
    resumed: bool = False  #: it went on with one that was interrupted
    total: int = 0  #: objects to be compared; of a sample about so many
    checked: int = 0  #: objects that have been compared
    ok: int = 0  #: of them, the ones that are true, as far as the level tells
    unproven: int = 0  #: of those, the ones of which only the size is known to be right
    recovered: int = 0  #: of those, the ones that were missing or damaged before
    #: Findings about files of ours: no object, one of another size, one of that size with other
    #: bytes, one that the store would not show.
    missing: int = 0
    size: int = 0
    content: int = 0
    unreadable: int = 0
    #: Objects whose rows another program has written meanwhile; nothing is said of them.
    changed: int = 0
    listed: int = 0  #: objects that the store listed
    foreign: int = 0  #: untracked objects: below the prefix, and not known to the catalog
    repaired: int = 0  #: files that were found missing or damaged, and are whole again
    retries: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)  #: at most 1,000, files of ours first
    upload: UploadReport | None = None  #: what the repair did; None without one

    @property
    def lost(self) -> int:
        """Files that were found missing or damaged."""
        return self.missing + self.size + self.content

    @property
    def open(self) -> int:
        """Findings about files of ours that are not repaired."""
        return self.lost + self.unreadable - self.repaired

    def take(self, counts: Mapping[str, int]) -> None:
        """Take the figures of an audit's record."""
        for name in (*_COMPARED, "unproven", "recovered", "listed", "foreign"):
            setattr(self, name, counts.get(name, 0))
        self.checked = sum(counts.get(name, 0) for name in _COMPARED)


_COMPARED = ("ok", "missing", "size", "content", "unreadable", "changed")
Progress = Callable[[AuditReport], None]
