"""Where the `catalogsync` command begins, also as `python -m catalogsync_assets`.

Here and not in `cli`, which takes a moment to import: a signal in that moment has its exit code.
"""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

#: As documented; `cli.output` has the same.
_STOPPED = 130


def main() -> None:
    """Run the command line, and leave with its exit code."""
    ending = _STOPPED

    def leave(_number: int, _frame: FrameType | None) -> None:
        """At once: nothing has begun yet, or all is over."""
        os._exit(ending)

    signal.signal(signal.SIGTERM, leave)
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, leave)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, leave)
    try:
        from catalogsync_assets.cli import main as commands

        commands(prog_name="catalogsync")
    except SystemExit as done:
        ending = done.code if isinstance(done.code, int) else 0
    except KeyboardInterrupt:  # a second one, while the first was dealt with
        pass
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, leave)
    sys.exit(ending)


if __name__ == "__main__":
    main()
