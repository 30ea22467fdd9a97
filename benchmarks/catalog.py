"""What the core does with a large catalog, past the command line: one measurement, in a process.

python -m benchmarks.catalog MEASUREMENT DATABASE
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.backends import object_backends, register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import EVERYTHING
from catalogsync_assets.core.catalog.search import whereis
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.upload_queue import UploadLease
from catalogsync_assets.core.stores.backend import ObjectBackend


def register_three(path: Path) -> None:
    """Give a catalog the backends that the measurements are about."""
    catalog = Catalog.open(path)
    for name in ("one", "two", "three"):
        register(catalog, ObjectBackend(name=name, bucket="bucket"))
    catalog.close()


def _plan(catalog: Catalog) -> None:
    enqueue(catalog, object_backends(catalog)[0])


def _plan_three(catalog: Catalog) -> None:
    for backend in object_backends(catalog):
        enqueue(catalog, backend)


def _claim(catalog: Catalog) -> None:
    lease = UploadLease(catalog, object_backends(catalog)[0])
    while lease.claim(EVERYTHING, 512):
        pass


def _empty_presence(catalog: Catalog) -> None:
    with catalog.transaction() as connection:
        connection.exec_driver_sql("DELETE FROM song_backend_presence")


def _presence(catalog: Catalog) -> None:
    with catalog.transaction() as connection:
        presence.refresh(connection)


def _nothing(_: Catalog) -> None:
    pass


#: By the work's name: what brings a catalog into the state that it is about, not measured; and it.
MEASUREMENTS: dict[str, tuple[Callable[[Catalog], None], Callable[[Catalog], object]]] = {
    "plan, 1 backend": (_nothing, _plan),
    "plan, nothing to do": (_plan, _plan),
    "plan, 3 backends": (_nothing, _plan_three),
    "claim, by 512": (_plan, _claim),
    "presence, anew": (_empty_presence, _presence),
    "presence, unchanged": (_presence, _presence),
    "status": (_nothing, backend_status),
    "whereis": (_nothing, lambda catalog: whereis(catalog, "title 1")),
}


def main() -> None:
    name, database = sys.argv[1:]
    prepare, measure = MEASUREMENTS[name]
    for what in (prepare, measure):
        catalog = Catalog.open(Path(database))
        wall, cpu = time.perf_counter(), time.process_time()
        what(catalog)
        took = {
            "seconds": time.perf_counter() - wall,
            "cpu_seconds": time.process_time() - cpu,
        }
        catalog.close()
    print(json.dumps(took))


if __name__ == "__main__":
    main()
