"""What the tests share: one real S3 server, backends on it, catalogs, libraries, a faulty network.

No test mocks S3 or SQLite. Faults come from `Proxy`, a real HTTP server that stands between the
code under test and the store.
"""

import dataclasses
import functools
import gc
import hashlib
import inspect
import itertools
import json
import os
import shutil
import socket
import tempfile
from collections import Counter
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import sqlalchemy as sa
import trustme
from alembic.script import ScriptDirectory
from botocore import endpoint_provider, hooks
from botocore.compat import accepts_kwargs
from botocore.exceptions import ClientError

from catalogsync_assets.core.backends import separation
from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.download.disks import Disks
from catalogsync_assets.core.download.download import download
from catalogsync_assets.core.download.importing import import_manifest
from catalogsync_assets.core.download.report import Limits as DownloadLimits
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.probe.session import TEST_PREFIX
from catalogsync_assets.core.upload.upload import Limits, upload
from catalogsync_assets.demo.sample_library import make_sample_library
from catalogsync_assets.local_s3.store import local_store
from catalogsync_assets_tests.servers.fixtures import (
    ceph_server,
    juicefs_server,
    not_tried,
    rclone_server,
    swift_server,
)
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.processes import Outcome, heed_signals, started
from catalogsync_assets_tests.support.proxy import Proxy, refusal
from catalogsync_assets_tests.support.stores import s3_client
from catalogsync_assets_tests.support.web import Web

__all__ = ["ceph_server", "juicefs_server", "rclone_server", "swift_server"]

SECRET = "a-secret-that-nobody-may-see"
_MIB = 1024 * 1024
#: What a backend holds of the catalog, and not of its files.
_OWN = (".catalogsync/catalog/", ".catalogsync/generation.json")


# --- the store ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def seaweedfs(tmp_path_factory):
    """SeaweedFS; the other servers are in `servers.fixtures`."""
    with local_store(tmp_path_factory.mktemp("store"), secret_access_key=SECRET) as running:
        yield running


@pytest.fixture(scope="session")
def store(seaweedfs):
    """The server that all tests share; each test has a prefix or a bucket of its own."""
    return seaweedfs


def pytest_configure() -> None:
    """Before any process is started."""
    heed_signals()


#: What takes longest at a stretch. Begun last, it would keep one process busy for minutes while
#: the others have nothing left to do.
LONGEST = (
    "test_web_servers.py",
    "conformance/test_seaweedfs.py",
    "core/audit/test_model.py",
    "test_command_lines.py",
    "core/test_living_killed.py",
    "automation/test_runs.py",
    "cli/test_download_processes.py",
    "core/upload/test_resume.py",
    "demo/test_run.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first; `--no-loadscope-reorder` lets them be begun so."""
    first = [Path(__file__).parent / name for name in LONGEST]
    items.sort(key=lambda item: first.index(item.path) if item.path in first else len(first))


def pytest_collection_finish() -> None:
    """What is there by now stays: looking through it for garbage again and again takes long."""
    gc.collect()
    gc.freeze()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """What a run has left out is said by it, in one line."""
    skipped = terminalreporter.getreports("skipped")
    if line := not_tried(r.longrepr[2] for r in skipped if isinstance(r.longrepr, tuple)):
        terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session")
def s3(store):
    """A boto3 client that sees what the store really holds."""
    client = s3_client(store)
    yield client
    client.close()


@pytest.fixture(scope="session")
def buckets(store, s3):
    """Buckets of the store: what two of them hold are two copies."""
    further = ["second-bucket", "third-bucket"]
    for name in further:
        # SeaweedFS makes a bucket that is missing at the first put.
        with suppress(s3.exceptions.BucketAlreadyOwnedByYou):
            s3.create_bucket(Bucket=name)
    return [store.bucket, *further]


@pytest.fixture(autouse=True)
def a_second_look_follows_at_once(monkeypatch):
    """The store of the tests knows at once what was put."""
    monkeypatch.setattr(separation, "SECOND_LOOK_SECONDS", 0.0)


@pytest.fixture(scope="session", autouse=True)
def what_every_client_finds_out_is_found_out_once():
    """botocore parses its description of S3 and its rules of endpoints, translates the names of
    some 150 events and looks at the signatures of their handlers for each client anew: a tenth of
    a second a test.
    """
    original = hooks.EventAliaser._alias_event_name
    names = {}

    def alias(self, name):
        if name not in names:
            names[name] = original(self, name)
        return names[name]

    parse = endpoint_provider.RuleSet
    parsed = {}

    def rule_set(*, rules, **more):
        if id(rules) not in parsed:
            # Kept beside what is made of them, so that no others come to their identity.
            parsed[id(rules)] = rules, parse(rules=rules, **more)
        return parsed[id(rules)][1]

    def accepts_keywords(handler):
        code = getattr(handler, "__code__", None)
        return bool(code.co_flags & inspect.CO_VARKEYWORDS) if code else accepts_kwargs(handler)

    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(botocore.session.create_loader)
        patch.setattr(botocore.session, "create_loader", once)
        patch.setattr(hooks.EventAliaser, "_alias_event_name", alias)
        patch.setattr(hooks, "accepts_kwargs", accepts_keywords)
        patch.setattr(endpoint_provider, "RuleSet", rule_set)
        yield


@pytest.fixture(scope="session", autouse=True)
def migrations_are_loaded_once():
    """Alembic runs the file of each migration for each database: 178 for a Dagster instance."""
    original = ScriptDirectory._load_revisions
    loaded = {}

    def load(self):
        if self.dir not in loaded:
            loaded[self.dir] = list(original(self))
        return iter(loaded[self.dir])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "_load_revisions", load)
        yield


@pytest.fixture(scope="session", autouse=True)
def one_authority_is_trusted(tmp_path_factory):
    """Every obstore client reads all certificates of the machine anew: 9 ms, and a test makes many.

    No test asks for a certificate that the machine trusts; of none at all obstore makes no client.
    """
    folder = tmp_path_factory.mktemp("certificates")
    trustme.CA().cert_pem.write_to_path(str(folder / "authority.pem"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(folder / "authority.pem"))
        patch.setenv("SSL_CERT_DIR", str(folder / "no-such-folder"))
        yield


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path_factory):
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

    def keys(self, *, kept: bool = False) -> list[str]:
        """All keys but those of the catalog itself, without the prefix.

        Args:
            kept: those of contents that were replaced, instead of all others.
        """
        pages = self._s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix
        )
        found = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
        keys = [key.removeprefix(self.prefix) for key in found]
        keys = [key for key in keys if not key.startswith(_OWN)]
        return [key for key in keys if key.startswith(".catalogsync/old/") == kept]

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
def remote(s3):
    """`remote(backend)` shows what is stored."""
    return lambda backend: Remote(s3, backend)


_prefixes = itertools.count()


@pytest.fixture
def unregistered(store):
    """`unregistered(name)`: settings of a backend with a prefix that nothing else uses."""

    def make(name="cloud", **settings):
        defaults = {
            "bucket": store.bucket,
            "endpoint": store.endpoint,
            "base_prefix": f"t{next(_prefixes)}",
            "credential_env_prefix": "CLOUD",
            "provider": "seaweedfs",
        }
        return ObjectBackend(name=name, **(defaults | settings))

    return make


@pytest.fixture
def backend(catalog, unregistered):
    """`backend(name, **settings)`: the same, registered in `catalog`."""

    def make(name="cloud", **settings):
        return register(catalog, unregistered(name, **settings))[0]

    return make


@pytest.fixture
def cloud(backend):
    """A registered backend for tests that need just one."""
    return backend()


# --- the catalog --------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def blank(tmp_path_factory):
    """An empty catalog to copy: faster than making each anew."""
    path = tmp_path_factory.mktemp("blank") / "catalog.db"
    Catalog.initialise(path)[0].close()
    return path


@pytest.fixture
def catalog(tmp_path, blank):
    """A fresh catalog."""
    shutil.copy(blank, tmp_path)
    opened = Catalog.open(tmp_path / blank.name)
    # No test pulls the plug: waiting for the disk would only cost time.
    sa.event.listen(opened.engine, "connect", lambda raw, _: raw.execute("PRAGMA synchronous=OFF"))
    opened.close()
    yield opened
    opened.close()


@pytest.fixture
def public_folder(tmp_path_factory):
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
def blank_dagster_home(tmp_path_factory):
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
def dagster_home(tmp_path, blank_dagster_home):
    """The folder of an instance that knows nothing. The variable is not set."""
    return Path(shutil.copytree(blank_dagster_home, tmp_path / "dagster_home"))


# --- the library --------------------------------------------------------------------------------


class Library:
    """A library root that a test fills."""

    def __init__(self, root: Path) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self._names = (f"{root.name} {number}" for number in itertools.count())
        self._clock = itertools.count(1)

    def add(self, path: str, content: bytes | None = None, *, size: int = 300) -> Path:
        """Write a file, with random content unless told; its mtime differs at each call."""
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            content = hashlib.shake_128(next(self._names).encode("utf-8", "replace")).digest(size)
        file.write_bytes(content)
        moment = 1_700_000_000_000_000_000 + next(self._clock) * 1_000_000_000
        os.utime(file, ns=(moment, moment))
        return file

    def rewrite(self, path: str, content: bytes) -> None:
        """Give a file other content under the mtime that it has, as a disk that rots does."""
        file = self.root / path
        stat = file.stat()
        file.write_bytes(content)
        os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))

    def fill(self, count: int, *, size: int = 300, folder: str = "album") -> list[Path]:
        return [self.add(f"{folder}/{i:04d}.mp3", size=size) for i in range(count)]

    def contents(self) -> dict[str, bytes]:
        return {
            path.relative_to(self.root).as_posix(): path.read_bytes()
            for path in self.root.rglob("*")
            if path.is_file()
        }


@pytest.fixture
def library(tmp_path):
    """An empty library root."""
    return Library(tmp_path / "music")


@pytest.fixture
def another_library(tmp_path):
    """`another_library(name)`: a further root."""
    return lambda name: Library(tmp_path / name)


@pytest.fixture(scope="session")
def sample(tmp_path_factory):
    """A library of real audio files with tags. Not to be changed."""
    root = tmp_path_factory.mktemp("sample")
    make_sample_library(root, songs=24, seconds=0.2)
    return root


@pytest.fixture
def scanned(catalog, library):
    """`scanned()` scans `library` into `catalog`."""
    return lambda *roots, **options: scan(catalog, list(roots) or [library.root], **options)


# --- uploads ------------------------------------------------------------------------------------


@pytest.fixture
def upload_limits():
    """What `uploaded` and `verified` may do, unless told otherwise; for a test to add to.

    Two tries of a request: enough to see a retry, and soon over.
    """
    return {"workers": 4, "attempts": 2}


@pytest.fixture
def small_parts(upload_limits):
    """What is large elsewhere begins at 1 MiB here, in the smallest parts that S3 takes."""
    upload_limits.update(single_put_bytes=_MIB, part_bytes=5 * _MIB)


@pytest.fixture
def uploaded(catalog, upload_limits):
    """`uploaded(backend)` plans and uploads what the backend lacks."""

    def run(backend, **options):
        names = [field.name for field in dataclasses.fields(Limits)]
        given = {name: options.pop(name) for name in names if name in options}
        enqueue(catalog, backend)
        return upload(catalog, backend, limits=Limits(**upload_limits | given), **options)

    return run


@pytest.fixture
def synced(scanned, uploaded):
    """`synced(backend)` scans `library` first."""

    def run(backend, **options):
        scanned()
        return uploaded(backend, **options)

    return run


@pytest.fixture
def statuses(catalog):
    """`statuses()`: how many upload tasks there are of each status."""
    sql = "SELECT status, COUNT(*) FROM upload_tasks GROUP BY status"
    return lambda: Counter(dict(rows(catalog, sql)))


# --- a network with faults ----------------------------------------------------------------------


@pytest.fixture
def proxy_to():
    """`proxy_to(endpoint)`: a proxy in front of another server than the shared one."""
    proxies = []

    def make(target):
        proxies.append(Proxy(target))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


@pytest.fixture
def proxy(store, proxy_to):
    """A proxy in front of the store."""
    return proxy_to(store.endpoint)


@pytest.fixture
def untestable(proxy):
    """The store lets nobody write test objects: what it does stays unknown."""
    proxy.answer(refusal(403, "AccessDenied"), lambda r: TEST_PREFIX in r.key)


@pytest.fixture
def unused_endpoint():
    """An endpoint at which nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return f"http://127.0.0.1:{server.getsockname()[1]}"


# --- a web server with faults -------------------------------------------------------------------


@pytest.fixture
def web():
    """An empty web server."""
    server = Web()
    yield server
    server.close()


@pytest.fixture
def queue_downloads(catalog, tmp_path):
    """`queue_downloads(url, title="A")`, or `queue_downloads({"url": …}, …)`: by a manifest."""

    def queue(*entries, **more):
        manifest = tmp_path / "requests.jsonl"
        lines = [{"url": e, **more} if isinstance(e, str) else e for e in entries]
        manifest.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")
        return import_manifest(catalog, manifest)

    return queue


@pytest.fixture
def downloaded(catalog, library):
    """`downloaded()` drains the queue into `library`; three tries of a file, unless told."""

    def run(
        *roots, ask=None, workers=4, attempts=3, reserve=0, max_file_bytes=1024 * _MIB, **options
    ):
        disks = Disks(catalog, list(roots) or [library.root], ask=ask, reserve_bytes=reserve)
        limits = DownloadLimits(workers, attempts, max_file_bytes)
        return download(catalog, disks, limits=limits, **options)

    return run


# --- the command line ---------------------------------------------------------------------------


@pytest.fixture
def start_python(tmp_path):
    """`start_python(code, *arguments)` starts a process that the test talks to or kills."""
    processes = []

    def start(code, *arguments, **environment):
        processes.append(started(code, *arguments, folder=tmp_path, **environment))
        return processes[-1]

    yield start
    for process in processes:
        process.end()


@pytest.fixture
def run_python(start_python):
    """`run_python(code, *arguments)` runs code in a process of its own."""

    def run(code, *arguments, **environment):
        process = start_python(code, *arguments, **environment)
        out, err = process.communicate()
        return Outcome(process.returncode, out, err)

    return run


_MAIN = "from catalogsync_assets.cli import main; main(prog_name='catalogsync')"


@pytest.fixture
def command(run_python):
    """`command("status", "--json")` runs `catalogsync` in a process of its own."""
    return lambda *arguments, **environment: run_python(_MAIN, *arguments, **environment)


@pytest.fixture
def start_command(start_python):
    """The same, without waiting for its end."""
    return lambda *arguments, **environment: start_python(_MAIN, *arguments, **environment)


@pytest.fixture
def start_impatient(start_python):
    """The same, of a command that is stopped: it gives up after half a second what hangs."""
    hurry = "from catalogsync_assets.core.runner import run; run._GRACE_SECONDS = 0.5; "
    return lambda *arguments: start_python(hurry + _MAIN, *arguments)


@pytest.fixture
def uploading(start_command, catalog):
    """`uploading("--workers", 4)`: `catalogsync upload` to `cloud` in a process of its own."""
    upload_it = ("upload", "--backend", "cloud", "--db", catalog.path)
    return lambda *options: start_command(*upload_it, *options)


@pytest.fixture
def bucket_is_missing(s3):
    """`bucket_is_missing(name)`."""

    def ask(bucket):
        try:
            s3.head_bucket(Bucket=bucket)
        except ClientError as error:
            return error.response["Error"]["Code"] == "404"
        return False

    return ask
