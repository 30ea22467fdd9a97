"""States to look at: a demo with two backends that are in trouble, and 3 backends × 1,000 batches.

Belongs here: what is on the disk before the web UI is opened. Does not: the web UI's processes
(`server`), and what is seen (`pages`, the tests).
"""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import sqlalchemy as sa

from catalogsync_assets.assets.partitions import register_keys
from catalogsync_assets.core.catalog.backends import backend_by_name, register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.definitions import defs
from catalogsync_assets.demo.run import prepare_dagster_home
from catalogsync_assets.demo.sample_library import make_sample_library
from catalogsync_assets.local_s3.store import LocalStore, start_local_store, stop_local_store
from catalogsync_assets_tests.support.stores import s3_client

# As an installed `catalogsync` is called, but of the code beside this file.
MAIN = """
from catalogsync_assets.cli import main
main(prog_name="catalogsync")
"""


def environment(**more: str) -> dict[str, str]:
    """What a new terminal has: no settings or credentials of whoever runs this."""
    ours = ("AWS_", "CATALOGSYNC_", "DAGSTER_")
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ours) and not name.lower().endswith("_proxy")
    }
    path = os.pathsep.join(p for p in sys.path if p)
    return {**kept, "PYTHONPATH": path, "AWS_EC2_METADATA_DISABLED": "true", **more}


# --- the demo -----------------------------------------------------------------------------------

#: The demo's backend, and two at which a stranger's object is in the way of one of our files.
HEALTHY = "demo"
IN_TROUBLE = ("offsite", "vault")
#: Songs that the demo uploads, and those that came since.
SONGS, NEW_SONGS = 12, 8


@dataclasses.dataclass(frozen=True)
class Demo:
    """What `catalogsync demo` has left, and what happened since.

    Attributes:
        directory: of the demo.
        store: its S3 server, which runs.
        first, second: batches. The first is on the healthy backend, the second is nowhere yet.
        refused: the file of the first batch that the backends in trouble cannot take.
    """

    directory: Path
    store: LocalStore
    first: str
    second: str
    refused: str

    def remove_the_stranger(self, backend: str) -> None:
        """Mend a backend."""
        self._client().delete_object(Bucket=self.store.bucket, Key=f"{backend}/{self.refused}")

    def put_the_stranger(self, backend: str) -> None:
        """Put another object where the file should go: nothing of ours may overwrite it."""
        key = f"{backend}/{self.refused}"
        self._client().put_object(Bucket=self.store.bucket, Key=key, Body=b"a stranger's")

    def _client(self) -> Any:
        return s3_client(self.store)


@contextmanager
def demo(folder: Path, *, seconds: float = 0.2) -> Iterator[Demo]:
    """A demo made by `catalogsync demo` itself, two more backends, and a batch of new songs.

    Args:
        folder: an empty one.
        seconds: how long the songs play.
    """
    directory, library = folder / "demo", folder / "music"
    files = make_sample_library(library, songs=SONGS, seconds=seconds)
    command = [sys.executable, "-c", MAIN, "demo", "--directory", str(directory)]
    done = subprocess.run(
        [*command, "--library", str(library)],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        if done.returncode:
            raise RuntimeError(f"catalogsync demo failed:\n{done.stdout}{done.stderr}")
        store = start_local_store(directory / "store", detach=True)
        make_sample_library(library, songs=SONGS + NEW_SONGS, seconds=seconds)
        catalog = Catalog.open(directory / "catalog.db")
        (second,) = scan(catalog, [library]).batches
        healthy = backend_by_name(catalog, HEALTHY)
        healthy, _ = register(
            catalog, dataclasses.replace(healthy, public_base_url=store.public_base_url)
        )
        for name in IN_TROUBLE:
            _register(catalog, healthy, name)
        with instance_in(directory / "dagster_home") as instance:
            (first,) = instance.get_dynamic_partitions("batch")
            register_keys(catalog, instance)
        catalog.close()
        refused = files[4].relative_to(library).as_posix()
        made = Demo(directory, store, first, second, refused)
        for name in IN_TROUBLE:
            made.put_the_stranger(name)
        yield made
    finally:
        stop_local_store(directory / "store")


def _register(catalog: Catalog, like: ObjectBackend, name: str) -> None:
    register(
        catalog,
        ObjectBackend(
            name=name,
            bucket=like.bucket,
            base_prefix=name,
            endpoint=like.endpoint,
            public_base_url=like.public_base_url,
            credential_env_prefix=like.credential_env_prefix,
            provider=like.provider,
        ),
    )


# --- the partition matrix -----------------------------------------------------------------------

BATCHES = 1000
Cells = dict[str, tuple[range, range]]
#: By backend, the numbers of the batches that are there, and of those that have failed.
MATRIX: Cells = {
    "archive": (range(300), range(0)),
    "cloud": (range(200), range(200, 206)),
    "offsite": (range(60), range(0)),
}
#: The same, further on: for pictures.
LARGE_MATRIX: Cells = {
    "archive": (range(1000), range(0)),
    "cloud": (range(620), range(620, 626)),
    "offsite": (range(180), range(0)),
}


@dataclasses.dataclass(frozen=True)
class Matrix:
    """A DAGSTER_HOME with many partitions.

    Attributes:
        folder: to call `catalogsync dev` in.
        variables: its environment.
        batches: the keys.
    """

    folder: Path
    variables: dict[str, str]
    batches: list[str]


def matrix(folder: Path, cells: Cells = MATRIX) -> Matrix:
    """Three backends × 1,000 batches, as years of nightly runs leave them.

    The events are recorded, the files that they tell of do not exist. Takes about 7 ms a cell.

    Args:
        folder: an empty one.
        cells: which are there, and which have failed.
    """
    home = folder / "dagster_home"
    catalog, _ = Catalog.initialise(folder / "catalog.db")
    catalog.close()
    days = (date(2024, 1, 1) + timedelta(days=i) for i in range(BATCHES))
    keys = [f"{day}-b{number:05d}" for number, day in enumerate(days, start=1)]
    upload = defs.resolve_job_def("upload_batch")
    with _unsafe_but_fast(), instance_in(home, make=True) as instance:
        instance.add_dynamic_partitions("backend", list(cells))
        instance.add_dynamic_partitions("batch", keys)
        for backend, (there, failed) in cells.items():
            for number in there:
                _report(instance, backend, keys[number])
            for number in failed:
                cell = dg.MultiPartitionKey({"backend": backend, "batch": keys[number]})
                run = instance.create_run_for_job(
                    upload,
                    asset_selection=frozenset([dg.AssetKey("remote_locations")]),
                    tags=_partition_tags(cell),
                )
                instance.report_run_failed(run, "3 of 5,000 files could not be uploaded")
    variables = {"CATALOGSYNC_DB": str(folder / "catalog.db"), "DAGSTER_HOME": str(home)}
    return Matrix(folder, variables, keys)


def _report(instance: dg.DagsterInstance, backend: str, batch: str) -> None:
    """That all files of a batch are on a backend, as it would be reported."""
    instance.report_runless_asset_event(
        dg.AssetMaterialization(
            "remote_locations",
            partition=dg.MultiPartitionKey({"backend": backend, "batch": batch}),
            metadata={"dagster/row_count": 5000},
        )
    )


def _partition_tags(cell: dg.MultiPartitionKey) -> dict[str, str]:
    """The tags of a run of a cell."""
    by_dimension = {f"dagster/partition/{d}": key for d, key in cell.keys_by_dimension.items()}
    return {"dagster/partition": str(cell), **by_dimension}


# --- Dagster ------------------------------------------------------------------------------------


@contextmanager
def instance_in(home: Path, *, make: bool = False) -> Iterator[dg.DagsterInstance]:
    """The Dagster instance of a DAGSTER_HOME, made as `catalogsync dev` does if it is to be."""
    before = os.environ.get("DAGSTER_HOME")
    os.environ["DAGSTER_HOME"] = str(home)
    try:
        if make:
            prepare_dagster_home(home)
        with dg.DagsterInstance.get() as instance:
            yield instance
    finally:
        del os.environ["DAGSTER_HOME"]
        if before is not None:
            os.environ["DAGSTER_HOME"] = before


@contextmanager
def _unsafe_but_fast() -> Iterator[None]:
    """No database waits for the disk: 7 instead of 11 ms an event."""

    def relax(connection: Any, _: Any) -> None:
        connection.execute("PRAGMA synchronous=OFF")

    sa.event.listen(sa.Engine, "connect", relax)
    try:
        yield
    finally:
        sa.event.remove(sa.Engine, "connect", relax)
