"""Processes that tests start."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import threading
from typing import Any

from catalogsync_assets_tests.support.waiting import PATIENCE


class Process(subprocess.Popen[str]):
    """One that nobody waits for without end."""

    def wait(self, timeout: float | None = 2 * PATIENCE) -> int:
        return super().wait(timeout)

    def communicate(
        self, input: str | None = None, timeout: float | None = 2 * PATIENCE
    ) -> tuple[str, str]:
        return super().communicate(input, timeout)

    def line(self) -> str:
        """What it says next. One that stays silent is killed, and has said nothing."""
        assert self.stdout is not None
        patience = threading.Timer(2 * PATIENCE, self.kill)
        patience.start()
        try:
            return self.stdout.readline()
        finally:
            patience.cancel()

    def go_on(self) -> None:
        """Give it a line to read."""
        assert self.stdin is not None
        self.stdin.write("go\n")
        self.stdin.flush()

    def end(self) -> None:
        """Kill it, and wait until it is gone."""
        self.kill()
        self.wait()


@dataclasses.dataclass
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        assert len(self.out.splitlines()) == 1, self.out
        return json.loads(self.out)


def started(code: str, *arguments: object, folder: Any, **environment: str) -> Process:
    """Python code in a process of its own, in a folder; all its streams are pipes."""
    path = os.pathsep.join(p for p in sys.path if p)
    return Process(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path, **environment},
    )
