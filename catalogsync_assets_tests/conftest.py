"""What the tests share: one real S3 server, backends on it, catalogs, libraries, a faulty network.

No test mocks S3 or SQLite. Faults come from `Proxy`, a real HTTP server that stands between the
code under test and the store.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import os
import random
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from importlib import resources
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import sqlalchemy as sa
from botocore.exceptions import ClientError

from catalogsync_assets.core.backends import ObjectBackend
from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.uploads import enqueue
from catalogsync_assets.core.download.engine import download
from catalogsync_assets.core.download.importing import ImportReport, import_manifest
from catalogsync_assets.core.download.report import DownloadReport
from catalogsync_assets.core.download.report import Limits as DownloadLimits
from catalogsync_assets.core.download.rooms import Rooms
from catalogsync_assets.core.library.scan import ScanReport, scan
from catalogsync_assets.core.transfer import separation
from catalogsync_assets.core.transfer.engine import Limits, UploadReport, upload
from catalogsync_assets.core.transfer.probe_session import TEST_PREFIX
from catalogsync_assets.demo.local_store import LocalStore, local_store
from catalogsync_assets.demo.sample_library import make_sample_library
from catalogsync_assets_tests.programs import Outcome, Process, child_environment, heed_ctrl_c
from catalogsync_assets_tests.proxy import PATIENCE, Answer, Proxy, refusal
from catalogsync_assets_tests.servers.fixtures import (
    ceph_server,
    juicefs_server,
    not_tried,
    rclone_server,
    swift_server,
)
from catalogsync_assets_tests.stores import Store, s3_client
from catalogsync_assets_tests.web import Fault, Web, flac_like

__all__ = ["ceph_server", "juicefs_server", "rclone_server", "swift_server"]

SECRET = "a-secret-that-nobody-may-see"
_MIB = 1024 * 1024


# --- the store ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStore]:
    """SeaweedFS; the other servers are in `servers.fixtures`."""
    with local_store(tmp_path_factory.mktemp("store"), secret_access_key=SECRET) as running:
        yield running


@pytest.fixture(scope="session")
def store(seaweedfs: LocalStore) -> LocalStore:
    """The server that all tests share; each test has a prefix or a bucket of its own."""
    return seaweedfs


def pytest_configure() -> None:
    """Before any process is started."""
    heed_ctrl_c()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What a run has left out is said by it, in one line."""
    skipped = terminalreporter.getreports("skipped")
    if line := not_tried(r.longrepr[2] for r in skipped if isinstance(r.longrepr, tuple)):
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session")
def s3(store: Store) -> Iterator[Any]:
    """A boto3 client that sees what the store really holds."""
    client = s3_client(store)
    yield client
    client.close()


@pytest.fixture(scope="session")
def buckets(store: LocalStore, s3: Any) -> list[str]:
    """Buckets of the store: what two of them hold are two copies."""
    further = ["second-bucket", "third-bucket"]
    for name in further:
        # SeaweedFS makes a bucket that is missing at the first put.
        with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
            s3.create_bucket(Bucket=name)
    return [store.bucket, *further]


@pytest.fixture(autouse=True)
def a_second_look_follows_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The store of the tests knows at once what was put."""
    monkeypatch.setattr(separation, "SECOND_LOOK_SECONDS", 0.0)


@pytest.fixture(scope="session", autouse=True)
def service_descriptions_are_read_once() -> Iterator[None]:
    """botocore parses its description of S3 for each session anew: a tenth of a second a test."""
    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(botocore.session.create_loader)
        patch.setattr(botocore.session, "create_loader", once)
        yield


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Only what the test says: no settings or credentials of the machine it runs on."""
    for name in list(os.environ):
        if name.startswith(("AWS_", "CATALOGSYNC_", "DAGSTER_")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    nowhere = tmp_path_factory.getbasetemp() / "no-such-folder"
    monkeypatch.setenv("AWS_CONFIG_FILE", str(nowhere / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere / "credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("CLOUD_ACCESS_KEY_ID", "demo")
    monkeypatch.setenv("CLOUD_SECRET_ACCESS_KEY", SECRET)


class Remote:
    """What the store holds below one backend's prefix, seen past the code under test."""

    def __init__(self, s3: Any, backend: ObjectBackend) -> None:
        self._s3 = s3
        self.bucket = backend.bucket
        self.prefix = backend.key_prefix

    def keys(self) -> list[str]:
        """All keys, without the prefix."""
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix
        )
        found = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        return [key.removeprefix(self.prefix) for key in found]

    def get(self, key: str) -> bytes:
        body = self._s3.get_object(Bucket=self.bucket, Key=self.prefix + key)["Body"]
        with body:
            return bytes(body.read())

    def head(self, key: str) -> dict[str, Any]:
        return dict(
            self._s3.head_object(Bucket=self.bucket, Key=self.prefix + key, ChecksumMode="ENABLED")
        )

    def put(self, key: str, content: bytes, **more: Any) -> None:
        self._s3.put_object(Bucket=self.bucket, Key=self.prefix + key, Body=content, **more)

    def delete(self, key: str) -> None:
        self._s3.delete_object(Bucket=self.bucket, Key=self.prefix + key)

    def contents(self) -> dict[str, bytes]:
        return {key: self.get(key) for key in self.keys()}

    def unfinished(self) -> list[str]:
        """Keys of multipart uploads that were begun and neither completed nor aborted."""
        found = self._s3.list_multipart_uploads(Bucket=self.bucket, Prefix=self.prefix)
        return [entry["Key"] for entry in found.get("Uploads", [])]

    def parts(self, key: str, upload_id: str) -> list[int]:
        """The numbers of the parts that a multipart upload has."""
        found = self._s3.list_parts(Bucket=self.bucket, Key=self.prefix + key, UploadId=upload_id)
        return [part["PartNumber"] for part in found.get("Parts", [])]


@pytest.fixture
def remote(s3: Any) -> Callable[[ObjectBackend], Remote]:
    """`remote(backend)` shows what is stored."""
    return lambda backend: Remote(s3, backend)


_prefixes = itertools.count()


@pytest.fixture
def unregistered(store: Store) -> Callable[..., ObjectBackend]:
    """`unregistered(name)`: settings of a backend with a prefix that nothing else uses."""

    def make(name: str = "cloud", **settings: Any) -> ObjectBackend:
        defaults: dict[str, Any] = {
            "bucket": store.bucket,
            "endpoint": store.endpoint,
            "base_prefix": f"t{next(_prefixes)}",
            "credential_env_prefix": "CLOUD",
            "provider": "seaweedfs",
        }
        return ObjectBackend(name=name, **(defaults | settings))

    return make


@pytest.fixture
def backend(
    catalog: Catalog, unregistered: Callable[..., ObjectBackend]
) -> Callable[..., ObjectBackend]:
    """`backend(name, **settings)`: the same, registered in `catalog`."""

    def make(name: str = "cloud", **settings: Any) -> ObjectBackend:
        return register(catalog, unregistered(name, **settings))[0]

    return make


@pytest.fixture
def cloud(backend: Callable[..., ObjectBackend]) -> ObjectBackend:
    """A registered backend for tests that need just one."""
    return backend()


# --- the catalog --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def blank(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty catalog to copy: faster than making each anew."""
    path = tmp_path_factory.mktemp("blank") / "catalog.db"
    Catalog.initialise(path)[0].close()
    return path


@pytest.fixture
def catalog(tmp_path: Path, blank: Path) -> Iterator[Catalog]:
    """A fresh catalog."""
    shutil.copy(blank, tmp_path)
    opened = Catalog.open(tmp_path / blank.name)
    # No test pulls the plug: waiting for the disk would only cost time.
    sa.event.listen(opened.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
    opened.close()
    yield opened
    opened.close()


def query(database: Catalog | Path, sql: str, *values: Any) -> list[Any]:
    """Rows as tuples, or bare values of one column; read past the code under test."""
    path = database.path if isinstance(database, Catalog) else database
    with closing(sqlite3.connect(path, timeout=PATIENCE)) as raw:
        rows = raw.execute(sql, values).fetchall()
    return [row[0] if len(row) == 1 else row for row in rows]


@pytest.fixture
def rows() -> Callable[..., list[Any]]:
    """`rows(catalog, sql, *values)`."""
    return query


@pytest.fixture
def change() -> Callable[..., None]:
    """`change(catalog, sql, *values)` writes past the code under test."""

    def execute(database: Catalog | Path, sql: str, *values: Any) -> None:
        path = database.path if isinstance(database, Catalog) else database
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as raw, raw:
            raw.execute(sql, values)

    return execute


def database_bytes(path: Path) -> bytes:
    """All bytes of a catalog's files: the database, its log, its backups. Not the log's index."""
    files = sorted(path.parent.glob(path.name + "*"))
    return b"".join(file.read_bytes() for file in files if not file.name.endswith("-shm"))


@pytest.fixture
def bytes_of() -> Callable[[Path], bytes]:
    """`bytes_of(path)`: the database, its log and its backups, as they are on disk."""
    return database_bytes


@pytest.fixture
def unprivileged() -> Iterator[Callable[[], Any]]:
    """`with unprivileged():` permissions of files count, as they do not for root."""

    @contextmanager
    def block() -> Iterator[None]:
        if os.geteuid() != 0:
            yield
            return
        os.setegid(65534)
        os.seteuid(65534)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)

    yield block


@pytest.fixture
def public_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder that every user of the machine can reach; pytest's own are private."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir():
            path.chmod(0o777)
    shutil.rmtree(folder)


# --- Dagster ------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def blank_dagster_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DAGSTER_HOME to copy, with the settings that are shipped: its databases take a second."""
    import dagster as dg

    folder = tmp_path_factory.mktemp("blank_dagster_home")
    shipped = resources.files("catalogsync_assets.automation") / "dagster.yaml"
    (folder / "dagster.yaml").write_text(shipped.read_text())
    with dg.DagsterInstance.from_config(str(folder)) as instance:
        instance.get_runs(limit=1)
        instance.all_instigator_state()
    return folder


@pytest.fixture
def dagster_home(tmp_path: Path, blank_dagster_home: Path) -> Path:
    """The folder of an instance that knows nothing. The variable is not set."""
    return Path(shutil.copytree(blank_dagster_home, tmp_path / "dagster_home"))


# --- the library --------------------------------------------------------------------------------


class Library:
    """A library root that a test fills."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self._random = random.Random(str(root.name))  # noqa: S311
        self._clock = itertools.count(1)

    def add(self, path: str, content: bytes | None = None, *, size: int = 300) -> Path:
        """Write a file, with random content unless told; its mtime differs at each call."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self._random.randbytes(size) if content is None else content)
        moment = 1_700_000_000_000_000_000 + next(self._clock) * 1_000_000_000
        os.utime(file, ns=(moment, moment))
        return file

    def fill(self, count: int, *, size: int = 300, folder: str = "album") -> list[Path]:
        return [self.add(f"{folder}/{i:04d}.mp3", size=size) for i in range(count)]

    def contents(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def library(tmp_path: Path) -> Library:
    """An empty library root."""
    return Library(tmp_path / "music")


@pytest.fixture
def another_library(tmp_path: Path) -> Callable[[str], Library]:
    """`another_library(name)`: a further root."""
    return lambda name: Library(tmp_path / name)


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library of real audio files with tags. Not to be changed."""
    root = tmp_path_factory.mktemp("sample")
    make_sample_library(root, songs=24, seconds=0.2)
    return root


@pytest.fixture
def scanned(catalog: Catalog, library: Library) -> Callable[..., ScanReport]:
    """`scanned()` scans `library` into `catalog`."""
    return lambda *roots, **options: scan(catalog, list(roots) or [library.root], **options)


# --- uploads ------------------------------------------------------------------------------------


@pytest.fixture
def uploaded(catalog: Catalog) -> Callable[..., UploadReport]:
    """`uploaded(backend)` plans and uploads what the backend lacks.

    Two tries of a request, unless told otherwise: enough to see a retry, and soon over.
    """

    def run(backend: ObjectBackend, *, workers: int = 4, **options: Any) -> UploadReport:
        names = ("attempts", "max_in_flight_bytes", "bytes_per_second")
        given = {name: options.pop(name) for name in names if name in options}
        limits = {"workers": workers, "attempts": 2, **given}
        enqueue(catalog, backend)
        return upload(catalog, backend, limits=Limits(**limits), **options)

    return run


@pytest.fixture
def statuses(catalog: Catalog) -> Callable[[], Counter[str]]:
    """`statuses()`: how many upload tasks there are of each status."""
    sql = "SELECT status, COUNT(*) FROM upload_tasks GROUP BY status"
    return lambda: Counter(dict(query(catalog, sql)))


# --- a network with faults ----------------------------------------------------------------------


@pytest.fixture
def proxy_to() -> Iterator[Callable[[str], Proxy]]:
    """`proxy_to(endpoint)`: a proxy in front of another server than the shared one."""
    proxies: list[Proxy] = []

    def make(target: str) -> Proxy:
        proxies.append(Proxy(target))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def proxy(store: Store, proxy_to: Callable[[str], Proxy]) -> Proxy:
    """A proxy in front of the store."""
    return proxy_to(store.endpoint)


@pytest.fixture
def refused() -> Callable[..., Answer]:
    """`refused(status, code, message)`: an S3 error as a proxy's answer; status 0 hangs up."""
    return refusal


@pytest.fixture
def untestable(proxy: Proxy, refused: Callable[..., Answer]) -> None:
    """The store lets nobody write test objects: what it does stays unknown."""
    proxy.before.append(lambda r: refused(403, "AccessDenied") if TEST_PREFIX in r.key else None)


@pytest.fixture
def unused_endpoint() -> str:
    """An endpoint at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


# --- a web server with faults -------------------------------------------------------------------


@pytest.fixture
def web() -> Iterator[Web]:
    """An empty web server."""
    server = Web()
    yield server
    server.close()


@pytest.fixture
def fault() -> type[Fault]:
    """`fault(status=503)`, `fault(cut=100)`: what a rule of `web.faults` gives."""
    return Fault


@pytest.fixture
def music() -> Callable[..., bytes]:
    """`music(seed, size)`: content that passes for audio."""
    return flac_like


@pytest.fixture
def wish(catalog: Catalog, tmp_path: Path) -> Callable[..., ImportReport]:
    """`wish(url, title="A")` or `wish({"url": …}, …)`: queue downloads by a manifest."""

    def queue(*entries: str | dict[str, Any], **more: Any) -> ImportReport:
        manifest = tmp_path / "wishes.jsonl"
        lines = [{"url": e, **more} if isinstance(e, str) else e for e in entries]
        manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        return import_manifest(catalog, manifest)

    return queue


@pytest.fixture
def downloaded(catalog: Catalog, library: Library) -> Callable[..., DownloadReport]:
    """`downloaded()` drains the queue into `library`; three tries of a file, unless told."""

    def run(
        *roots: Path,
        ask: Any = None,
        workers: int = 4,
        attempts: int = 3,
        reserve: int = 0,
        max_file_bytes: int = 1024 * _MIB,
        **options: Any,
    ) -> DownloadReport:
        rooms = Rooms(catalog, list(roots) or [library.root], ask=ask, reserve_bytes=reserve)
        limits = DownloadLimits(workers, attempts, max_file_bytes)
        return download(catalog, rooms, limits=limits, **options)

    return run


@pytest.fixture
def remains() -> Callable[[Path], list[str]]:
    """`remains(root)`: what downloads have left of themselves below a root."""
    return lambda root: [p.name for p in root.rglob("*") if ".catalogsync" in p.parts]


# --- the command line ---------------------------------------------------------------------------


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., Outcome]:
    """`run_python(code, *arguments)` runs code in a process of its own."""

    def run(code: str, *arguments: object, **environment: str) -> Outcome:
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            cwd=tmp_path,
            env=child_environment(**environment),
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def start_python(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """`start_python(code, *arguments)` starts a process that the test talks to or kills."""
    processes: list[Process] = []

    def start(code: str, *arguments: object, **environment: str) -> Process:
        process = Process(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            env=child_environment(**environment),
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.end()


_MAIN = "from catalogsync_assets.cli import main; main(prog_name='catalogsync')"


@pytest.fixture
def command(run_python: Callable[..., Outcome]) -> Callable[..., Outcome]:
    """`command("status", "--json")` runs `catalogsync` in a process of its own."""
    return lambda *arguments, **environment: run_python(_MAIN, *arguments, **environment)


@pytest.fixture
def start_command(
    start_python: Callable[..., Process],
) -> Callable[..., Process]:
    """The same, without waiting for its end."""
    return lambda *arguments, **environment: start_python(_MAIN, *arguments, **environment)


@pytest.fixture
def until() -> Callable[[Callable[[], object]], None]:
    """`until(condition)` asks again and again, for what another process brings about."""

    def wait(condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not condition():
            assert time.monotonic() < deadline, "it never came to that"
            time.sleep(0.01)

    return wait


# --- digests ------------------------------------------------------------------------------------


@pytest.fixture
def sha256() -> Callable[[bytes], str]:
    """The digest in hex, as the catalog has it."""
    return lambda content: hashlib.sha256(content).hexdigest()


@pytest.fixture
def s3_sha256() -> Callable[[bytes], str]:
    """The digest as S3 writes it."""
    return lambda content: base64.b64encode(hashlib.sha256(content).digest()).decode()


def is_missing(s3: Any, bucket: str) -> bool:
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        return bool(error.response["Error"]["Code"] == "404")
    return False


@pytest.fixture
def bucket_is_missing(s3: Any) -> Callable[[str], bool]:
    """`bucket_is_missing(name)`."""
    return lambda bucket: is_missing(s3, bucket)
