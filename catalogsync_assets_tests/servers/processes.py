"""Processes of servers that tests start: waited for, and ended with the tests, however those die.

Belongs here: what every server needs. Does not: how one of them is set up (the modules beside
this one), what is stored in it (`stores`).
"""

from __future__ import annotations

import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from catalogsync_assets_tests.support.programs import find_program

HOST = "127.0.0.1"
# Below the ports that systems hand out for outgoing connections, and apart from SeaweedFS's.
_PORTS = range(21_000, 32_000)
#: How long a server may take to end once its standard input is closed.
_END_SECONDS = 60
_POLL_SECONDS = 0.05
_ATTEMPTS = 3

# The reader's input ends when the process at the other end is gone, however it died. It is ended
# with the server, whose process id may be another's by then.
_WITH_ITS_PARENT = """
"$@" &
server=$!
exec 3<&0
{ read -r _ <&3; kill -KILL "$server" 2>/dev/null; } &
wait "$server"
status=$?
kill "$!" 2>/dev/null
exit "$status"
"""


class S3Server(NamedTuple):
    """A server on this machine with one bucket."""

    endpoint: str
    bucket: str
    access_key_id: str
    secret_access_key: str


@dataclass(frozen=True)
class Requirement:
    """What must be installed for a server.

    Attributes:
        programs: all that it takes.
        install: the command that installs them.
    """

    programs: tuple[str, ...]
    install: str

    def missing(self) -> list[str]:
        return [name for name in self.programs if not find_program(name)]


def free_ports(count: int) -> list[int]:
    """Ports on which nothing listens, unlikely to be picked by another process at this time."""

    def is_free(port: int) -> bool:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((HOST, port))
                return True
        return False

    shuffled = secrets.SystemRandom().sample(_PORTS, len(_PORTS))
    return [port for _, port in zip(range(count), filter(is_free, shuffled), strict=False)]


def ini(sections: Mapping[str, Mapping[str, object]]) -> str:
    """The text of a configuration file."""
    lines = []
    for name, options in sections.items():
        lines += [f"[{name}]", *(f"{option} = {value}" for option, value in options.items()), ""]
    return "\n".join(lines)


class ServerFailed(Exception):  # noqa: N818
    """A server did not start; the message ends with what it logged last."""


class ServerEnded(ServerFailed):
    """It ended by itself."""


@dataclass
class Servers:
    """The processes of one server, ended in the reverse order of their start.

    Attributes:
        folder: where they write what they print.
        seconds: within how many all must be up, on a machine that does other things besides.
    """

    folder: Path
    seconds: float = 300
    _running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    _deadline: float = 0

    def __enter__(self) -> Servers:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._deadline = time.monotonic() + self.seconds
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for process in reversed(self._running.values()):
            assert process.stdin is not None
            process.stdin.close()
            process.wait(_END_SECONDS)

    def start(self, name: str, *command: object, **environment: str) -> None:
        """Start a server, which runs until the end of the `with` block or of this process."""
        with (self.folder / f"{name}.out").open("wb") as log:
            self._running[name] = subprocess.Popen(
                ["/bin/sh", "-c", _WITH_ITS_PARENT, "sh", *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment or None,
                # Ctrl-C does not reach it: the tests that it interrupts may still need it.
                start_new_session=True,
            )

    def run(self, *command: object) -> str:
        """Run a program to its end, and return what it printed."""
        left = max(1.0, self._deadline - time.monotonic())
        try:
            return subprocess.run(
                [str(word) for word in command],
                capture_output=True,
                text=True,
                timeout=left,
                check=True,
            ).stdout
        except subprocess.CalledProcessError as error:
            raise ServerFailed(f"{command[0]} failed:\n{error.stderr}") from error
        except subprocess.TimeoutExpired as error:
            raise ServerFailed(f"{command[0]} took longer than {left:.0f} s") from error

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until the servers have come so far.

        Raises:
            ServerFailed: one of them has ended, or it takes too long.
        """
        while not condition():
            ended = [name for name, process in self._running.items() if process.poll() is not None]
            if ended:
                raise ServerEnded(f"{ended[0]} ended by itself:\n{self._tail(ended[0])}")
            if time.monotonic() > self._deadline:
                last = list(self._running)[-1]
                raise ServerFailed(
                    f"{what} did not happen within {self.seconds:.0f} s:\n{self._tail(last)}"
                )
            time.sleep(_POLL_SECONDS)

    def _tail(self, name: str) -> str:
        text = (self.folder / f"{name}.out").read_text("utf-8", errors="replace")
        return "\n".join(text.splitlines()[-15:])


@contextmanager
def started(folder: Path, start: Callable[[Servers, Path], S3Server]) -> Iterator[S3Server]:
    """A server for the duration of a `with` block.

    Args:
        folder: an empty one, for all that the server keeps.
        start: sets up and starts the processes in a folder that is given. It is called once more
            in another folder where a server ends by itself: another program may have taken a port
            in between.

    Raises:
        ServerFailed: it did not start.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        place = folder / f"try-{attempt}"
        with Servers(place / "out") as servers:
            try:
                server = start(servers, place)
            except ServerEnded:
                if attempt == _ATTEMPTS:
                    raise
                continue
            yield server
            return
