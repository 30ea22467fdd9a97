"""The listing audit against the bare listing, on a local SeaweedFS.

Fills a store with tiny objects, below one prefix a quarter of them, and makes a catalog that knows
them all; then lists, and verifies by listing, in turn, each in a process of its own.

    python benchmarks/verify.py [--objects 200000] [--rounds 3] [--directory ~/bench]

Prints seconds, objects/s, CPU time and peak memory of the client, and the ratio of each round's
times. Memory is flat if it is the same at a quarter and at the whole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
from catalog import peak_mib
from report import machine, spread
from stores import new_store

from catalogsync_assets.core.audit.audit import AuditRequest, audit
from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.backends import backend_by_name, register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.sdk import obstore_store
from catalogsync_assets.local_s3.store import LocalStore

_PAGE = 10_000
#: Bytes that an object takes on the disk, with what the store keeps about it.
_ON_DISK = 1_000


def key(prefix: str, i: int) -> str:
    return f"{prefix}/Artist {i // 120:06d}/Album {i // 12:06d}/{i % 12:02d} Title.mp3"


def content(i: int) -> bytes:
    return f"object {i}".encode()


def fill(backend: ObjectBackend, objects: int) -> None:
    """Put the objects, past catalogsync."""
    store = obstore_store(backend)
    started = time.perf_counter()

    def put(i: int) -> None:
        obstore.put(store, key(backend.base_prefix, i), content(i), use_multipart=False)

    with ThreadPoolExecutor(16) as pool:
        for start in range(0, objects, _PAGE):
            list(pool.map(put, range(start, min(start + _PAGE, objects))))
    seconds = time.perf_counter() - started
    print(f"put {objects:,} objects in {seconds:.0f} s, {objects / seconds:,.0f}/s", flush=True)


def record(catalog: Catalog, backend: ObjectBackend, objects: int) -> None:
    """Rows as uploads would have left them."""
    with catalog.transaction() as connection:
        sql = connection.exec_driver_sql
        first = connection.exec_driver_sql("SELECT COALESCE(MAX(id), 0) FROM songs").scalar_one()
        for start in range(0, objects, _PAGE):
            span = range(start, min(start + _PAGE, objects))
            ids = [(i, first + 1 + i) for i in span]
            sql("INSERT INTO songs (id, title) VALUES (?, ?)", [(n, f"Title {i}") for i, n in ids])
            sql(
                "INSERT INTO file_assets (id, song_id, size_bytes, sha256, format)"
                " VALUES (?, ?, ?, ?, 'mp3')",
                [(n, n, len(content(i)), hashlib.sha256(content(i)).hexdigest()) for i, n in ids],
            )
            sql(
                "INSERT INTO file_locations (file_asset_id, backend_id, container_name, locator,"
                " size_bytes, verified_by) VALUES (?, ?, ?, ?, ?, 'server-digest')",
                [
                    (n, backend.id, backend.bucket, key(backend.base_prefix, i), len(content(i)))
                    for i, n in ids
                ],
            )
        presence.refresh(connection)


def run_one(what: str, database: Path, name: str) -> dict[str, float]:
    """One measurement, in this process."""
    catalog = Catalog.open(database)
    backend = backend_by_name(catalog, name)
    wall, cpu = time.perf_counter(), time.process_time()
    if what == "listing":
        objects = sum(len(page) for page in StoreClient(backend).list_pages())
    else:
        report = audit(catalog, backend, AuditRequest(anew=True))
        assert (report.lost, report.foreign) == (0, 0), report
        objects = report.ok
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"seconds": wall, "cpu": cpu, "objects": objects, "peak_mib": peak_mib()}


def in_own_process(what: str, database: Path, name: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--one", what, str(database), name]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(answer.stdout)
    return result


def prepared(store: LocalStore, database: Path, objects: int) -> Iterator[tuple[str, int]]:
    """The backends with their number of objects."""
    os.environ |= {
        "BENCH_ACCESS_KEY_ID": store.access_key_id,
        "BENCH_SECRET_ACCESS_KEY": store.secret_access_key,
    }
    catalog, _ = Catalog.initialise(database)
    for name, count in (("quarter", objects // 4), ("whole", objects)):
        settings = {"endpoint": store.endpoint, "provider": "seaweedfs", "base_prefix": name}
        backend, _ = register(
            catalog,
            ObjectBackend(name, store.bucket, credential_env_prefix="BENCH", **settings),
        )
        fill(backend, count)
        record(catalog, backend, count)
        yield name, count
    catalog.close()


def measure(database: Path, name: str, objects: int, rounds: int) -> None:
    runs: dict[str, list[dict[str, float]]] = {"listing": [], "verify": []}
    for number in range(rounds):
        for what in sorted(runs, reverse=bool(number % 2)):
            runs[what].append(in_own_process(what, database, name))
            assert runs[what][-1]["objects"] == objects
    for what, results in runs.items():
        seconds = [run["seconds"] for run in results]
        print(
            f"{what:8}{objects:>10,}{spread(seconds)}"
            f"{objects / statistics.median(seconds):>12,.0f}"
            f"{statistics.median(run['cpu'] for run in results):>9.2f}"
            f"{max(run['peak_mib'] for run in results):>10.0f}"
        )
    ratios = [b["seconds"] / a["seconds"] for a, b in zip(*runs.values(), strict=True)]
    print(f"{'ratio':18}{spread(ratios)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="where the store's data goes for the while")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        what, database, name = options.one
        print(json.dumps(run_one(what, Path(database), name)))
        return
    print(f"{machine()}; SeaweedFS on the same machine; median (lowest-highest)")
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        scratch = Path(folder)
        with new_store(scratch, options.objects * _ON_DISK) as store:
            sizes = list(prepared(store, scratch / "catalog.db", options.objects))
            head = f"{'seconds':>24}{'objects/s':>12}{'CPU s':>9}{'peak MiB':>10}"
            print(f"{'':8}{'objects':>10}{head}")
            for name, count in sizes:
                measure(scratch / "catalog.db", name, count, options.rounds)


if __name__ == "__main__":
    main()
