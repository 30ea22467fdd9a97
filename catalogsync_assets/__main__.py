"""Where the `catalogsync` command begins, also as `python -m catalogsync_assets`.

Here and not in `cli`, which takes a moment to import: a signal in that moment has its exit code.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
from types import FrameType

from catalogsync_assets.signals import STOPPED, stop_by


def main() -> None:
    """Run the command line, and leave with its exit code."""
    ending = STOPPED

    def leave(_number: int, _frame: FrameType | None) -> None:
        """At once: nothing has begun yet, or all is over."""
        os._exit(ending)

    # Registered first, so it comes last: then Python takes handlers away, and a signal would kill.
    atexit.register(stop_by, signal.SIG_IGN)
    stop_by(leave)
    try:
        from catalogsync_assets.cli import main as commands

        commands(prog_name="catalogsync")
    except SystemExit as done:
        ending = done.code if isinstance(done.code, int) else 0
    except KeyboardInterrupt:  # a second one, while the first was dealt with
        pass
    stop_by(leave)
    sys.exit(ending)


if __name__ == "__main__":
    main()
