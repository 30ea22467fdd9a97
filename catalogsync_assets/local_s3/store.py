"""A real S3 server on this machine, for demonstrations and tests: started, found again, stopped.

Belongs here: the public functions, the state file, the bucket. Does not: the server's process
(`weed`), what is stored in it, and how catalogsync is told about it (`core.stores.backend`);
nothing here is used to reach any other store.

A directory holds all there is of a store: `data/`, `server.log` and `local-store.json`, which says
how to find the server again.
"""

from __future__ import annotations

import fcntl
import http.client
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import quote, urlsplit

from catalogsync_assets.core.errors import ConfigurationError, StoreError
from catalogsync_assets.local_s3 import weed

ACCESS_KEY_ID = "demo"
_REGION = "us-east-1"
_ATTEMPTS = 3


@dataclass(frozen=True)
class LocalStore:
    """A running server with one bucket."""

    endpoint: str  #: the S3 endpoint; address buckets in the path (`path` style)
    #: `f"{public_base_url}/{key}"`, the key percent-encoded, serves an object without a signature.
    public_base_url: str
    bucket: str  #: the bucket, which exists
    access_key_id: str  #: what the server accepts
    secret_access_key: str  #: what the server accepts
    pid: int  #: the server's process
    directory: Path  #: where it keeps everything


def start_local_store(
    directory: Path,
    *,
    bucket: str = "music",
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
        secret_access_key: what the server is to accept with `ACCESS_KEY_ID`; not written down.
        detach: whether a server started by this call outlives this process. Otherwise it ends with
            it, even when the process is killed.
        timeout: how many seconds the server may take.

    Raises:
        ConfigurationError: SeaweedFS is not installed, or the directory's server runs with other
            credentials.
        StoreError: the server does not start; the message ends with what it logged last.
    """
    directory = directory.resolve()

    def store_of(server: weed.Server) -> LocalStore:
        return LocalStore(
            endpoint=f"http://{weed.HOST}:{server.ports['s3']}",
            public_base_url=f"http://{weed.HOST}:{server.ports['filer']}/buckets/{bucket}",
            bucket=bucket,
            access_key_id=ACCESS_KEY_ID,
            secret_access_key=secret_access_key,
            pid=server.pid,
            directory=directory,
        )

    directory.mkdir(parents=True, exist_ok=True)
    with _lock(directory):
        deadline = time.monotonic() + timeout
        last = _last_server(directory)
        if last:
            store = store_of(last)
            patience = min(deadline, time.monotonic() + weed.STOP_SECONDS)
            if last.is_running() and weed.poll(lambda: _answers(store), patience):
                _ensure_bucket(store)
                return store
            last.stop()
        for attempt in range(_ATTEMPTS):
            reuse = last and attempt == 0 and weed.are_free(last.ports)
            server = weed.launch(
                directory,
                last.ports if last and reuse else weed.pick_ports(),
                access_key_id=ACCESS_KEY_ID,
                secret_access_key=secret_access_key,
                detach=detach,
            )
            store = store_of(server)
            try:
                # Written first: should this process be killed here, the server can be found.
                state = json.dumps({"pid": server.pid, "ports": server.ports}, indent=2)
                _state_file(directory).write_text(state + "\n", encoding="utf-8")
                if _wait(server, store, deadline):
                    _ensure_bucket(store)
                    return store
            except BaseException:
                server.stop()
                raise
            # It ended by itself: perhaps another program took a port in between.
            server.stop()
        raise weed.start_failure(directory, f"ended by itself, {_ATTEMPTS} times")


def stop_local_store(store: LocalStore | Path) -> None:
    """Stops the server of a store or directory and returns once it is gone. Objects are kept.

    Does nothing if no server runs.
    """
    directory = (store.directory if isinstance(store, LocalStore) else store).resolve()
    if not _state_file(directory).exists():
        return
    with _lock(directory):
        if server := _last_server(directory):
            server.stop()


@contextmanager
def local_store(
    directory: Path,
    *,
    secret_access_key: str = "demo-secret",  # noqa: S107
) -> Iterator[LocalStore]:
    """A store for the duration of a `with` block; see `start_local_store`.

    A server that was already running is used, and left running.
    """
    before = _last_server(directory.resolve())
    store = start_local_store(directory, secret_access_key=secret_access_key)
    try:
        yield store
    finally:
        if not before or before.pid != store.pid:
            stop_local_store(store)


# --- the server and its bucket ------------------------------------------------------------------


def _wait(server: weed.Server, store: LocalStore, deadline: float) -> bool:
    """Waits until a new server can be used. False: it ended by itself."""

    def is_decided() -> bool:
        return not server.is_running() or (server.is_ready() and _answers(store))

    if not weed.poll(is_decided, deadline):
        raise weed.start_failure(server.directory, "did not answer in time")
    return server.is_running()


def _answers(store: LocalStore) -> bool:
    return _bucket_status(store, "HEAD") is not None


def _ensure_bucket(store: LocalStore) -> None:
    status = _bucket_status(store, "HEAD")
    if status == HTTPStatus.NOT_FOUND:
        status = _bucket_status(store, "PUT")
    if status == HTTPStatus.FORBIDDEN:
        raise ConfigurationError(
            f"the local store in {store.directory} runs with other credentials",
            hint="use those, or stop the store first",
        )
    if status != HTTPStatus.OK:
        raise StoreError(
            f"the local store in {store.directory} did not make the bucket {store.bucket!r} "
            f"(HTTP {status})",
            code="LocalStoreBucket",
        )


def _bucket_status(store: LocalStore, method: str) -> int | None:
    """The HTTP status of a signed request on the bucket; None if there is no answer.

    Only signed by botocore: its client obeys proxies, profiles and other settings of the caller's
    environment, and is slow to load.
    """
    from botocore.auth import S3SigV4Auth
    from botocore.awsrequest import AWSRequest
    from botocore.credentials import Credentials

    url = f"{store.endpoint}/{quote(store.bucket, safe='')}"
    request = AWSRequest(method, url)
    keys = Credentials(store.access_key_id, store.secret_access_key)
    S3SigV4Auth(keys, "s3", _REGION).add_auth(request)
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=2)) as connection:
        try:
            connection.request(method, urlsplit(url).path, headers=dict(request.headers.items()))
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return None


# --- finding again ------------------------------------------------------------------------------


def _state_file(directory: Path) -> Path:
    return directory / "local-store.json"


def _last_server(directory: Path) -> weed.Server | None:
    """The server that was started last in this directory; it may have ended."""
    try:
        state = json.loads(_state_file(directory).read_text(encoding="utf-8"))
        return weed.Server(directory, state["pid"], state["ports"])
    except (OSError, ValueError, KeyError):
        # Without it the server is started anew; one that still runs keeps its data locked.
        return None


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """Lets one process or thread at a time start or stop a directory's server."""
    with (directory / "lock").open("ab") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
