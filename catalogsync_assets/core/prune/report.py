"""What a run of prune did, or would do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from catalogsync_assets.core.runner.report import Failure, RunReport

#: Why an object may go: the file is under another key there; newer content of the file is there;
#: nobody wants the file any more; a copy of a replaced content has expired; a copy has served its
#: purpose in a move.
Reason = Literal["moved", "changed", "forgotten", "expired", "detour"]


#: The same for a person.
REASONS: dict[Reason, str] = {
    "moved": "the file is under another key there",
    "changed": "the file has newer content, which is there",
    "forgotten": "the file is forgotten",
    "expired": "kept after an edit, for as long as the settings say",
    "detour": "a copy that has served its purpose in a move",
}
#: Why objects stay by rule, by code, for a person.
LEFT = {
    "Needed": "nothing stands in for it there",
    "NoETag": "the catalog does not know which version is meant",
    "Taken": "something else was recorded of it meanwhile",
    "Adopted": "adopted, not put by this catalog; --adopted takes such objects, too",
    "Newer": "written again since it was last known; --adopted takes such objects, too, if they"
    " have the tag and the ETag that are known",
    "AnotherFile": "the object of another file of this catalog by now, and not looked at again",
    "OneObject": "its store may take its key and the file's new one for the same",
    "FewCopies": "too few other copies of it are proven",
}


@dataclass
class Weight:
    """How many objects, and their bytes."""

    files: int = 0
    bytes: int = 0

    def add(self, size_bytes: int) -> None:
        """Count one more."""
        self.files += 1
        self.bytes += size_bytes


@dataclass
class Estimate(Weight):
    """What could be freed."""

    whole: bool = True  #: False: there may be more, as not all of the past was looked through


@dataclass(frozen=True)
class OldObject:
    """An object that goes, or would go."""

    key: str  #: the whole key
    size_bytes: int
    reason: Reason
    since: str  #: when it became old weight; UTC, `YYYY-MM-DD HH:MM:SS`


@dataclass
class PruneReport(RunReport[Failure]):
    """What was deleted, or would be. `failed` are objects that stay, as they are not what the
    catalog says, or as what must stand in for them is not proven."""

    backend: str
    dry_run: bool  #: nothing was changed
    keep_copies: int
    #: Objects that are old weight, as the catalog says, and their bytes; those by reason.
    candidates: int = 0
    candidate_bytes: int = 0
    reasons_to_go: dict[Reason, Weight] = field(default_factory=dict)
    looked_at: int = 0  #: of those, how many it is known of by now what becomes of them
    #: Objects that were deleted.
    removed: int = 0
    removed_bytes: int = 0
    gone: int = 0  #: objects that were not there any more
    listed: list[OldObject] = field(default_factory=list)  #: at most 1,000 of the candidates
    younger: Weight = field(default_factory=Weight)  #: objects that will be old weight later
    #: Objects that stay by rule, by code: `Needed` (nothing stands in for them), `NoETag` (it is
    #: not known which version is meant); and, as they were looked at, `Adopted`, `Newer`,
    #: `AnotherFile`, `OneObject`, `Taken` (something else was recorded meanwhile), `FewCopies`.
    left: dict[str, int] = field(default_factory=dict)
    settled: int = 0  #: objects that a stopped run had begun to delete: gone, or they stay
    versioned: bool = False  #: the bucket keeps versions of what is deleted
    locked: bool = False  #: nothing in the bucket can be deleted for good for a time (object lock)
    #: Whether the store deletes only the version that is named; None where that is not known.
    conditional: bool | None = None

    def leave(self, code: str) -> None:
        """Count an object that stays by rule."""
        self.left[code] = self.left.get(code, 0) + 1


Progress = Callable[[PruneReport], object]
