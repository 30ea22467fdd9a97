"""What Dagster costs: the same files uploaded by the command line and as a cell of the pipeline."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.datasets import KIB, DataSet, make, uniform
from benchmarks.processes import ProgramFailed, Usage
from benchmarks.report import Work, cpu_seconds, target
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import batch_keys
from catalogsync_assets.demo.run import prepare_dagster_home
from catalogsync_assets.local_s3.store import LocalStore

_UPLOAD = "catalogsync upload"
_SCAN = "materialize downloaded_files"
_PLAN = "materialize pending_uploads"
_CELL = "materialize remote_locations"
_SAME = "materialize remote_locations, nothing to do"
_PRESENCE = "materialize backend_presence"
_BARE = "materialize a no-op asset"
#: A project of one asset, under the same executor.
_NOTHING = """\
import dagster as dg

from catalogsync_assets.automation.executor import executor


@dg.asset
def nothing() -> None:
    return None


defs = dg.Definitions(assets=[nothing], executor=executor)
"""


#: In the order of the pipeline; the cell once more, when it is whole.
_STEPS = {
    _SCAN: "downloaded_files",
    _PLAN: "pending_uploads",
    _CELL: "remote_locations",
    _SAME: "remote_locations",
    _PRESENCE: "backend_presence",
}


def cells(bench: Bench) -> Iterator[Work]:
    """5,000 × 64 KiB through `dagster asset materialize`, step by step, against `upload`."""
    data = make("small", bench.kept, uniform(bench.number(5_000), 64 * KIB))
    scanned = bench.scanned(data)
    steps: dict[str, list[Usage | None]] = {name: [] for name in _STEPS}

    @contextmanager
    def around() -> Iterator[LocalStore]:
        data.read()
        with bench.store(data.size_bytes * 2) as store:
            yield store

    what = f"{data.files:,} × 64 KiB through Dagster"
    load = bench.load
    programs = {
        "pipeline": partial(_pipeline, bench, data, steps),
        _UPLOAD: partial(_upload, bench, data, scanned),
        _BARE: partial(_bare, bench),
    }
    done = bench.rounds(what, programs, around)
    runs = {_CELL: steps.pop(_CELL), **steps, _UPLOAD: done[_UPLOAD], _BARE: done[_BARE]}
    work = Work(what, data.files, load, runs)
    for step, others, bound in (
        (_CELL, (_UPLOAD, _BARE), 2),
        (_PLAN, (_BARE,), 0.5),
        (_PRESENCE, (_BARE,), 0.5),
    ):
        more = f"{data.files:,} files: {step}, more than {' and '.join(others)}"
        work.targets.append(target(more, work.difference(step, *others), "≤", bound, " s"))
    extra = work.difference(_SAME, _BARE, figure=cpu_seconds)
    if extra is not None:
        work.notes.append(
            f"a cell with nothing to do: {extra:.2f} s of CPU more than a no-op asset"
        )
    yield work


def new_home(scratch: Path, database: Path | None) -> Path:
    """A DAGSTER_HOME as `catalogsync dev` makes it, which knows the catalog's partitions."""
    import dagster as dg

    from catalogsync_assets.assets.partitions import register_keys

    home = Path(tempfile.mkdtemp(prefix="dagster_home", dir=scratch))
    prepare_dagster_home(home)
    if database:
        catalog = Catalog.open(database)
        with dg.DagsterInstance.from_config(str(home)) as instance:
            register_keys(catalog, instance)
        catalog.close()
    return home


def _upload(bench: Bench, data: DataSet, scanned: Path, store: LocalStore) -> Usage:
    env = peers.environment(store)
    database = bench.copy(scanned, "run")
    _register(bench, store, "command-line", database, env)
    command = peers.catalogsync("upload", "--db", str(database), "--backend", "bench")
    usage = bench.run(command, env, store=store)
    bench.check_objects(store, "command-line", data.files, data.size_bytes)
    return usage


def _pipeline(
    bench: Bench, data: DataSet, steps: dict[str, list[Usage | None]], store: LocalStore
) -> Usage:
    """All steps, from a new catalog on; each is written down in `steps`."""
    for leftover in bench.scratch.glob("pipeline.db*"):
        leftover.unlink()
    database = bench.scratch / "pipeline.db"
    env = peers.environment(store)
    _register(bench, store, "pipeline", database, env)
    env |= {
        "CATALOGSYNC_DB": str(database),
        "CATALOGSYNC_LIBRARY_ROOTS": str(data.root),
        "DAGSTER_HOME": str(new_home(bench.scratch, database)),
    }
    took: dict[str, Usage] = {}
    try:
        for step, asset in _STEPS.items():
            command = ["asset", "materialize", "-m", "catalogsync_assets.definitions"]
            command += ["--select", asset]
            if asset == "remote_locations":
                command += ["--partition", f"bench|{_only_batch(database)}"]
            elif asset != "downloaded_files":
                command += ["--partition", "bench"]
            took[step] = bench.run(peers.dagster(*command), env, store=store, cwd=peers.PROJECT)
    finally:
        for step, usages in steps.items():
            usages.append(took.get(step))
    bench.check_objects(store, "pipeline", data.files, data.size_bytes)
    bench.check_rows(database, data.files)
    return sum(took.values(), Usage(0, 0, 0))


def _bare(bench: Bench, _: LocalStore) -> Usage:
    module = bench.scratch / "nothing.py"
    module.write_text(_NOTHING)
    home = str(new_home(bench.scratch, None))
    env = peers.outer_environment() | {"DAGSTER_HOME": home, "PYTHONPATH": str(peers.PROJECT)}
    command = peers.dagster("asset", "materialize", "-f", str(module), "--select", "nothing")
    return bench.run(command, env, cwd=bench.scratch)


def _register(
    bench: Bench, store: LocalStore, prefix: str, database: Path, env: dict[str, str]
) -> None:
    bench.run(peers.register(store.endpoint, store.bucket, prefix, database), env)
    bench.run(peers.catalogsync("backend", "test", "bench", "--db", str(database)), env)


def _only_batch(database: Path) -> str:
    """The key of the batch that holds all files of a catalog."""
    catalog = Catalog.open(database)
    keys = batch_keys(catalog)
    catalog.close()
    if len(keys) != 1:
        raise ProgramFailed(f"the files make {len(keys)} batches, not one")
    return keys[0]
