"""What an offload answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from catalogsync_assets.core.runner.report import Failure, RunReport


@dataclass(frozen=True)
class Unproven:
    """Two backends that count as one, as it is not proven that they are two stores."""

    one: str
    other: str
    why: str | None = None  #: it could not be found out; None where the stores were not asked


@dataclass
class Disk:
    """The file system of a library root."""

    root: str  #: the first root that lies on it
    free_before: int  #: bytes that were free
    free: int  #: with what was removed, or would be


@dataclass
class OffloadReport(RunReport[Failure]):
    """What went, or would go. `failed` are files that stay, as something is wrong."""

    dry_run: bool  #: nothing was changed
    checked: bool  #: whether stores and contents were looked at, as they are before a file goes
    keep_copies: int | None  #: of each file; None for what the policy of its library asks for
    backends: list[str]  #: names of those whose copies count
    #: Those that are proven to be one store, together; they count as one.
    same: list[list[str]] = field(default_factory=list)
    #: Those that count as one for want of proof.
    unproven: list[Unproven] = field(default_factory=list)
    #: Files that enough of them hold, as the catalog says.
    candidates: int = 0
    candidate_bytes: int = 0
    looked_at: int = 0  #: of those, how many it is known of by now what becomes of them
    #: Files that went; in a dry run, that would go.
    removed: int = 0
    removed_bytes: int = 0
    #: Files that stay, as the catalog knows too few copies of them.
    too_few: int = 0
    too_few_bytes: int = 0
    younger: int = 0  #: files that stay, as they are not old enough
    #: Files that stay by rule, by code: `Link`, `HardLink`.
    left: dict[str, int] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)  #: at most 1,000 of those that went
    #: Objects that were found gone, or other than the catalog says; marked so.
    missing: int = 0
    damaged: int = 0
    #: Backends that could not be asked (any more), and why.
    out: dict[str, str] = field(default_factory=dict)
    #: Files that a stopped run had begun to remove: back under their names, or found removed.
    settled: int = 0
    rooms: list[Disk] = field(default_factory=list)  #: the file systems concerned
    goal: int | None = None  #: bytes that should become free on each; None where none was given

    @property
    def goal_reached(self) -> bool:
        """Whether each file system has as much room as was asked for."""
        return self.goal is None or all(disk.free >= self.goal for disk in self.rooms)


Progress = Callable[[OffloadReport], object]
