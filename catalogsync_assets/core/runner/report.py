"""What a run answers: how long it took, and what failed, why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

#: So many failures are listed, and as many of whatever else a report lists; more are counted only.
MOST_LISTED = 1_000


@dataclass(frozen=True)
class Failure:
    """A file that could not be done, as a person reads of it."""

    file: str  #: path or key
    code: str  #: short name of the reason
    reason: str  #: one sentence with what to do


class _HasCode(Protocol):
    @property
    def code(self) -> str: ...


_Failure = TypeVar("_Failure", bound=_HasCode)


@dataclass(kw_only=True)
class RunReport(Generic[_Failure]):
    """What a run did; each kind adds its own figures. `progress` is shown the same object."""

    failed: int = 0  #: tasks that failed
    reasons: dict[str, int] = field(default_factory=dict)  #: how many failed, by code
    #: At most 1,000 of the failed, with reasons.
    failures: list[_Failure] = field(default_factory=list)
    seconds: float = 0.0  #: wall time

    def note_failure(self, failure: _Failure) -> None:
        """Count a failure, and list it if there is room."""
        self.failed += 1
        self.reasons[failure.code] = self.reasons.get(failure.code, 0) + 1
        if len(self.failures) < MOST_LISTED:
            self.failures.append(failure)
