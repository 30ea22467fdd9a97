"""What an offload answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from catalogsync_assets.core.runner.report import Failure, RunReport


@dataclass(frozen=True)
class Unproven:
    """Two backends that count as one, as it is not proven that they are two stores.

    Attributes:
        why: it could not be found out; None where the stores were not asked.
    """

    one: str
    other: str
    why: str | None = None


@dataclass
class Disk:
    """The file system of a library root.

    Attributes:
        root: the first root that lies on it.
        free_before: bytes that were free.
        free: with what was removed, or would be.
    """

    root: str
    free_before: int
    free: int


@dataclass
class OffloadReport(RunReport[Failure]):
    """What went, or would go. While it runs, the same object is handed to `progress`.

    Attributes:
        dry_run: nothing was changed.
        checked: whether stores and contents were looked at, as they are before a file goes.
        keep_copies: of each file; None for what the policy of its library asks for.
        backends: names of those whose copies count.
        same: those that are proven to be one store, together; they count as one.
        unproven: those that count as one for want of proof.
        candidates, candidate_bytes: files that enough of them hold, as the catalog says.
        looked_at: of those, how many it is known of by now what becomes of them.
        removed, removed_bytes: files that went; in a dry run, that would go.
        too_few, too_few_bytes: files that stay, as the catalog knows too few copies of them.
        younger: files that stay, as they are not old enough.
        left: files that stay by rule, by code: `Link`, `HardLink`.
        failed: files that stay, as something is wrong.
        files: at most 1,000 of those that went.
        missing, damaged: objects that were found gone, or other than the catalog says; marked so.
        out: backends that could not be asked (any more), and why.
        settled: files that a stopped run had begun to remove: back under their names, or found
            removed.
        rooms: the file systems concerned.
        goal: bytes that should become free on each; None where none was given.
    """

    dry_run: bool
    checked: bool
    keep_copies: int | None
    backends: list[str]
    same: list[list[str]] = field(default_factory=list)
    unproven: list[Unproven] = field(default_factory=list)
    candidates: int = 0
    candidate_bytes: int = 0
    looked_at: int = 0
    removed: int = 0
    removed_bytes: int = 0
    too_few: int = 0
    too_few_bytes: int = 0
    younger: int = 0
    left: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    missing: int = 0
    damaged: int = 0
    out: dict[str, str] = field(default_factory=dict)
    settled: int = 0
    rooms: list[Disk] = field(default_factory=list)
    goal: int | None = None

    @property
    def goal_reached(self) -> bool:
        """Whether each file system has as much room as was asked for."""
        return self.goal is None or all(disk.free >= self.goal for disk in self.rooms)


Progress = Callable[[OffloadReport], object]
