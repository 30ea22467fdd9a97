"""Processes that tests start, none of which is waited for without end."""

from __future__ import annotations

import dataclasses
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import threading
import time
from typing import Any

#: Seconds in which a process is over, also on a machine that does much else.
LONGEST = 120.0
#: Of a terminal: colours, and movements of the cursor.
_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def heed_signals() -> None:
    """Undo what a shell does to what it starts in the background of a script: that SIGINT is
    ignored; and what `nohup` does to SIGHUP. Every process would inherit it, and a test that sends
    the signal wait in vain."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # The tests themselves go on: what a process handles, its children meet by default.
        signal.signal(signal.SIGHUP, lambda *_: None)


def child_environment(**more: str) -> dict[str, str]:
    """This process's environment and more, for Python to import what the tests do."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p), **more}


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

    @property
    def errors(self) -> list[str]:
        """The lines on stderr; there may be no traceback among them."""
        assert "Traceback" not in self.err
        return self.err.splitlines()


class Process(subprocess.Popen):
    """A process; who waits for its end waits for `LONGEST` seconds at most."""

    def wait(self, timeout=LONGEST):
        return super().wait(timeout)

    def communicate(self, input=None, timeout=LONGEST):
        return super().communicate(input, timeout)

    def line(self):
        """What it says next. One that stays silent is killed, and has said nothing."""
        patience = threading.Timer(LONGEST, self.kill)
        patience.start()
        try:
            return self.stdout.readline()
        finally:
            patience.cancel()

    def go_on(self):
        """Give it a line to read."""
        self.stdin.write("go\n")
        self.stdin.flush()

    def end(self):
        """For after a test, whatever became of it."""
        if self.poll() is None:
            self.kill()
        self.communicate()


def started(code: str, *arguments: object, folder: Any, **environment: str) -> Process:
    """Python code in a process of its own, in a folder; all its streams are pipes."""
    return Process(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        env=child_environment(**environment),
    )


class Terminal:
    """A `catalogsync` command before a terminal of its own."""

    def __init__(self, *arguments, cwd=None, **environment):
        self._fd, theirs = pty.openpty()
        self.process = Process(
            [sys.executable, "-m", "catalogsync_assets", *map(str, arguments)],
            **dict.fromkeys(("stdin", "stdout", "stderr"), theirs),
            start_new_session=True,
            cwd=cwd,
            env=child_environment(**environment),
        )
        os.close(theirs)
        self._deadline = time.monotonic() + LONGEST
        self._seen = b""

    @property
    def seen(self) -> str:
        """What came to the terminal, as it is."""
        return self._seen.decode(errors="replace")

    @property
    def plain(self) -> str:
        return _CONTROLS.sub("", self.seen)

    def read_until(self, text: str) -> None:
        while text not in self.plain:
            assert self._read(), f"it ended without {text!r}: {self.plain}"

    def read_all(self) -> str:
        while self._read():
            pass
        return self.seen

    def _read(self) -> bytes:
        ready, _, _ = select.select([self._fd], [], [], self._deadline - time.monotonic())
        assert ready, f"nothing more comes: {self.plain}"
        try:
            piece = os.read(self._fd, 65536)
        except OSError:  # how Linux tells that the other side is closed
            piece = b""
        self._seen += piece
        return piece

    def say(self, text: str) -> None:
        os.write(self._fd, text.encode() + b"\n")

    def close(self) -> None:
        self.process.end()
        os.close(self._fd)
