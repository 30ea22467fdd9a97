"""Faults in a real bucket."""

from __future__ import annotations

import random
from typing import Any

from catalogsync_assets.core.audit.audit import AuditReport
from catalogsync_assets_tests.support.files import flipped


def found(report: AuditReport, kind: str) -> set[str]:
    """The keys of findings, without the backend's prefix."""
    return {f.key.partition("/")[2] for f in report.findings if f.kind == kind}


class Faults:
    """So many objects each deleted, cut short and changed, and as many foreign ones."""

    def __init__(self, remote: Any, each: int) -> None:
        self.before = set(remote.keys())
        picked = random.Random(7).sample(sorted(self.before), 3 * each)  # noqa: S311
        self.deleted = set(picked[:each])
        self.cut = set(picked[each : 2 * each])
        self.changed = set(picked[2 * each :])
        self.foreign = {f"album/{i:04d}.mp3.bak" for i in range(each)}
        for key in self.deleted:
            remote.delete(key)
        for key in self.cut:
            remote.put(key, remote.get(key)[:-1])
        for key in self.changed:
            remote.put(key, flipped(remote.get(key)))
        for key in self.foreign:
            remote.put(key, b"of somebody else")
