"""`catalogsync dev` - what `make dev` runs - as a process of its own, on a state made before."""

from __future__ import annotations

import collections
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from catalogsync_assets.local_s3 import weed
from catalogsync_assets_tests.ui.states import MAIN, environment

#: What the web server says once it can be asked.
_READY = "Serving dagster-webserver on "
#: Seconds until it must have started, or ended.
_PATIENCE = 300.0


class _Output(threading.Thread):
    """Reads what a process says until it ends, and keeps the last lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        super().__init__(daemon=True)
        self.settled = threading.Event()
        self.ready = False
        self.last: collections.deque[str] = collections.deque(maxlen=40)
        self._process = process
        self.start()

    def run(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self.last.append(line)
            if _READY in line:
                self.ready = True
                self.settled.set()
        self.settled.set()


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextmanager
def web_ui(*arguments: object, folder: Path, **variables: str) -> Iterator[str]:
    """The web UI's address, while it runs.

    Args:
        arguments: of `catalogsync dev`, besides the port.
        folder: to call it in.
        variables: of its environment.

    Raises:
        RuntimeError: it did not start; the message ends with what it said last.
    """
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "dev", *map(str, arguments), "--port", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env=environment(**variables),
        start_new_session=True,  # what is left of it in the end can be ended as a whole
    )
    output = _Output(process)
    try:
        # It says so a moment before it listens.
        deadline = time.monotonic() + _PATIENCE
        output.settled.wait(_PATIENCE)
        if not output.ready or not weed.poll(lambda: _listens(port), deadline):
            raise RuntimeError(f"the web UI did not start:\n{''.join(output.last)}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_PATIENCE)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        output.join()
        assert process.stdout
        process.stdout.close()
