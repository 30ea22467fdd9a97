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
    """Which objects of the catalog to compare with a backend's store, and how closely.

    Attributes:
        level: `listing` (what the store lists, by key and size), or as in `stores.verify`.
        scope: only these files; untracked objects are looked for only without a limit.
        sample_percent: of `head` and `full`, only so many of the objects, picked at random.
        since: only objects that have not been verified since that moment (UTC, without a zone).
        repair: upload again what is found missing or damaged, from a good copy.
        anew: begin a new audit, also where one of the same terms was interrupted.
        allow_empty: believe a store that has none of at least a hundred files that it should have.
    """

    level: AuditLevel = "listing"
    scope: Scope = EVERYTHING
    sample_percent: float | None = None
    since: datetime | None = None
    repair: bool = False
    anew: bool = False
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
    """Something that an audit found.

    Attributes:
        kind: `missing`, `size`, `content`, `unreadable`, or `foreign` of an untracked object.
        repair: what was done about it: `repaired`, `queued`, why nothing could be; None if nothing
            was tried.
    """

    kind: str
    key: str
    file_asset_id: int | None
    detail: str | None
    repair: str | None


@dataclass
class AuditReport:
    """What an audit found. While it runs, the same object is handed to `progress`.

    All figures are those of the audit from its beginning, also where it was resumed; `retries` and
    `seconds` are those of this run.

    Attributes:
        status: `running`, `complete` or `interrupted`.
        resumed: it went on with one that was interrupted.
        total: objects to be compared; of a sample about so many.
        checked: objects that have been compared.
        ok: of them, the ones that are true, as far as the level tells.
        unproven: of those, the ones of which only the size is known to be right.
        recovered: of those, the ones that were missing or damaged before.
        missing, size, content, unreadable: findings about files of ours: no object, one of another
            size, one of that size with other bytes, one that the store would not show.
        changed: objects whose rows another program has written meanwhile; nothing is said of them.
        listed: objects that the store listed.
        foreign: untracked objects: below the prefix, and not known to the catalog.
        repaired: files that were found missing or damaged, and are whole again.
        findings: at most 1,000, files of ours first.
        upload: what the repair did; None without one.
    """

    audit_id: int
    backend: str
    level: str
    workers: int
    status: str = "running"
    resumed: bool = False
    total: int = 0
    checked: int = 0
    ok: int = 0
    unproven: int = 0
    recovered: int = 0
    missing: int = 0
    size: int = 0
    content: int = 0
    unreadable: int = 0
    changed: int = 0
    listed: int = 0
    foreign: int = 0
    repaired: int = 0
    retries: int = 0
    seconds: float = 0.0
    findings: list[Finding] = field(default_factory=list)
    upload: UploadReport | None = None

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
