"""The demo, and the web UI on its state.

A demo's directory holds all that it makes: `store/` (the local S3 server's data), `library/` (the
sample), `catalog.db`, `dagster_home/`. Deleting the directory undoes it, once the store is stopped.
"""

import os
import signal
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from catalogsync_assets.core.catalog.backends import keep_profile, register
from catalogsync_assets.core.catalog.database import Catalog, catalog_path
from catalogsync_assets.core.catalog.files import batch_keys
from catalogsync_assets.core.catalog.status import BackendStatus, backend_status, sample_key
from catalogsync_assets.core.errors import CatalogSyncError, ConfigurationError
from catalogsync_assets.core.settings import CATALOG_VARIABLE, ROOTS_VARIABLE
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.local_s3.store import LocalStore, start_local_store, stop_local_store

BACKEND = "demo"
_BUCKET = "music"
_PREFIX = "CATALOGSYNC_DEMO"
_DAGSTER_HOME = "DAGSTER_HOME"
_LISTEN_SECONDS = 3_600

Say = Callable[[str], None]


def run_demo(directory: Path, library: Path | None, *, say: Say) -> list[BackendStatus]:
    """Bring a library to a local store through Dagster, and show what is where.

    May be called again: what is there is not uploaded again.

    Args:
        directory: where the demo keeps everything; made if need be.
        library: a folder of music, only ever read; None synthesises a sample.
        say: shows a line to a person.

    Returns:
        What is where in the end.

    Raises:
        CatalogSyncError: a step failed; the message says which and why.
    """
    directory = directory.absolute()
    root = (library or directory / "library").expanduser().absolute()
    if library is not None and not root.is_dir():
        raise ConfigurationError(f"{root} is not a folder", hint="name one with --library")
    directory.mkdir(parents=True, exist_ok=True)
    store = _start(directory, say)
    if library is None:
        from catalogsync_assets.demo.sample_companions import make_companions
        from catalogsync_assets.demo.sample_library import make_sample_library

        songs = make_sample_library(root)
        others = make_companions(root, songs)
        say(f"library   {len(songs)} sample songs and {len(others)} files beside them in {root}")
    else:
        say(f"library   {root}")
    _use(directory, store)
    os.environ[ROOTS_VARIABLE] = str(root)
    catalog, _ = Catalog.initialise()
    backend = ObjectBackend(
        name=BACKEND,
        bucket=store.bucket,
        endpoint=store.endpoint,
        # Not public: a public bucket gets no snapshot of the catalog unless it is encrypted.
        credential_env_prefix=_PREFIX,
        provider="seaweedfs",
        layout="path",
    )
    backend, _ = register(catalog, backend)
    say(f"catalog   {catalog.path}, backend {BACKEND!r} registered")
    _test(catalog, backend)
    uploaded = _materialize(catalog, say)
    found = backend_status(catalog)
    key = sample_key(catalog, BACKEND)
    url = key and StoreClient(backend).signed_url(key, expires=_LISTEN_SECONDS)
    catalog.close()
    say(f"uploaded  {uploaded} files" if uploaded else "nothing to upload: everything is in place")
    say("")
    for b in found:
        beside = f", {b.companions} beside the music" if b.companions else ""
        figures = f"{b.songs} of {b.songs_total} songs, {b.files} files, {b.bytes:,} bytes"
        say(f"  {b.name:<8} {figures}{beside}")
    say("")
    if url:
        say(f"listen    {url}  ({_served(url):,} bytes served; for an hour)")
    say(f"web UI    make dev   (or: catalogsync dev --directory {_short(directory)})")
    say(f"stop      catalogsync demo --stop --directory {_short(directory)}")
    return found


def stop_demo(directory: Path, *, say: Say) -> None:
    """Stop the demo's store; what it holds stays on disk. Idempotent."""
    stop_local_store(directory.absolute() / "store")
    say("the demo's store is stopped; `catalogsync demo` starts it again")


def run_dev(directory: Path, port: int, *, say: Say) -> None:
    """Replace this process by `dagster dev`, on the demo's state or on the user's own catalog.

    Args:
        directory: of a demo; where there is none, the environment's catalog and DAGSTER_HOME are
            used (by default `catalogsync.db` and `.dagster_home` in the working directory).
        port: of the web UI.
    """
    directory = directory.absolute()
    if (directory / "catalog.db").exists():
        _use(directory, _start(directory, say))
    else:
        os.environ[CATALOG_VARIABLE] = str(catalog_path())
        home = Path(os.environ.get(_DAGSTER_HOME) or ".dagster_home").absolute()
        prepare_dagster_home(home)
    say(f"catalog   {os.environ[CATALOG_VARIABLE]}")
    say(f"web UI    http://127.0.0.1:{port}")
    workspace = Path(os.environ[_DAGSTER_HOME]) / "workspace.yaml"
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(workspace)]
    # Started in the background by a script, it would ignore Ctrl-C's signal, and with it Dagster's
    # way of stopping its own processes.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.execv(sys.executable, [*command, "-h", "127.0.0.1", "-p", str(port)])  # noqa: S606


def prepare_dagster_home(home: Path) -> None:
    """Make a DAGSTER_HOME with our settings, and its databases. Keeps what is there.

    The databases are made here, by one process: several at once trip over each other.
    """
    # Its owner's alone: its runs and logs tell as much as the catalog. One that is there stays.
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name in ("dagster.yaml", "workspace.yaml"):
        if not (home / name).exists():
            ours = resources.files("catalogsync_assets.automation") / name
            (home / name).write_text(ours.read_text())
    import dagster as dg

    from catalogsync_assets.assets.remote_locations import UPLOAD_POOL
    from catalogsync_assets.automation.undocumented import make_databases, make_pool

    os.environ[_DAGSTER_HOME] = str(home)
    with dg.DagsterInstance.get() as instance:
        make_databases(instance)
        make_pool(instance, UPLOAD_POOL)


def _start(directory: Path, say: Say) -> LocalStore:
    store = start_local_store(directory / "store", bucket=_BUCKET, detach=True)
    say(f"store     {store.endpoint}, bucket {store.bucket!r} (SeaweedFS, pid {store.pid})")
    return store


def _test(catalog: Catalog, backend: ObjectBackend) -> None:
    """Find out what the store does, once."""
    from catalogsync_assets.core.stores.probe.probe import probe

    if backend.tested.tested_at is None:
        result = probe(backend)
        if result.failure is not None:
            raise result.failure
        keep_profile(catalog, backend, result.profile)


def _served(url: str) -> int:
    """How many bytes the URL gives, fetched to be sure.

    Raises:
        CatalogSyncError: it gives none.
    """
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310  (our own server's)
            return len(answer.read())
    except urllib.error.URLError as error:
        raise CatalogSyncError(f"{url} is not served: {error.reason}") from error


def _short(path: Path) -> Path:
    """The path as seen from here, if that is shorter."""
    here = Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


def _use(directory: Path, store: LocalStore) -> None:
    """Point this process, and what it starts, at the demo."""
    os.environ[f"{_PREFIX}_ACCESS_KEY_ID"] = store.access_key_id
    os.environ[f"{_PREFIX}_SECRET_ACCESS_KEY"] = store.secret_access_key
    os.environ[CATALOG_VARIABLE] = str(directory / "catalog.db")
    prepare_dagster_home(directory / "dagster_home")


def _materialize(catalog: Catalog, say: Say) -> int:
    """Materialize the whole asset graph in the demo's Dagster instance.

    Returns:
        How many files were uploaded by it.
    """
    import dagster as dg

    from catalogsync_assets.definitions import defs

    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    uploaded = 0
    with dg.DagsterInstance.get() as instance:

        def run(job: str, asset: str, partition: str | None = None) -> None:
            nonlocal uploaded
            say(f"dagster   {asset}" + (f" [{partition}]" if partition else ""))
            result = defs.resolve_job_def(job).execute_in_process(
                run_config=quiet,
                partition_key=partition,
                instance=instance,
                raise_on_error=False,
            )
            for step in result.get_step_failure_events():
                error = step.step_failure_data.error
                said = step.step_failure_data.user_failure_data
                text = (said and said.description) or (error and error.message) or "failed"
                raise CatalogSyncError(
                    f"{asset}: {text.strip()}", hint="`make dev` shows the run and its log"
                )
            for event in result.get_asset_materialization_events():
                count = event.materialization.metadata.get("uploaded")
                uploaded += count.value or 0 if isinstance(count, dg.IntMetadataValue) else 0

        run("scan_library", "downloaded_files")
        run("plan_uploads", "pending_uploads", BACKEND)
        for batch in batch_keys(catalog):
            cell = dg.MultiPartitionKey({"backend": BACKEND, "batch": batch})
            run("upload_batch", "remote_locations", str(cell))
        run("refresh_presence", "backend_presence", BACKEND)
        run("audit_backend", "backend_audit", BACKEND)
        run("back_up_catalog", "catalog_backup", BACKEND)
    return uploaded
