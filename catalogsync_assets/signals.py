"""The signals that stop a command. Imports next to nothing, so they are heeded at once."""

from __future__ import annotations

import signal
from typing import Any

#: The exit code after Ctrl-C, SIGTERM, or the end of the terminal.
STOPPED = 130


def stop_by(handler: Any) -> None:
    """What signals do that stop a command; those that the caller has set to be ignored (`nohup`, a
    job in the background) stay so."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)
