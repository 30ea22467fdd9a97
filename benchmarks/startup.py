"""How long the commands take that a person types most, on a catalog where there is nothing to do.

Whole processes, warm, in turn; beside them Python that does nothing, and one that only loads
SQLAlchemy, as a measure of the machine. Prints the median CPU and wall time of each. No store is
asked.

    python benchmarks/startup.py [--files 50000] [--rounds 9]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from catalog import build
from peers import catalogsync

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.database import Catalog


def fill(path: Path) -> None:
    """As if every file had been uploaded to each backend."""
    catalog = Catalog.open(path)
    with catalog.transaction() as connection:
        connection.exec_driver_sql(
            "INSERT INTO file_locations (file_asset_id, backend_id, container_name, locator,"
            " size_bytes, status, is_primary)"
            " SELECT f.id, b.id, b.container_name, f.object_key, 0, 'active', 0"
            " FROM file_assets f CROSS JOIN storage_backends b WHERE b.backend_type <> 'local'"
        )
        presence.refresh(connection)
    catalog.close()


def run(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """CPU seconds and wall seconds of a process."""
    begun = time.perf_counter()
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)
    _, status, used = os.wait4(process.pid, 0)
    wall = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)} ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, wall


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python -c 'import sqlalchemy'": [sys.executable, "-c", "import sqlalchemy"],
        "catalogsync --help": catalogsync("--help"),
        "catalogsync status": catalogsync("status"),
        "catalogsync whereis 17": catalogsync("whereis", "17"),
        "catalogsync whereis 'title 4711'": catalogsync("whereis", "title 4711"),
        "catalogsync upload, nothing to do": catalogsync("upload", "--backend", "one"),
    }
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "catalog.db"
        build(path, Path(scratch) / "tree", options.files, on_disk=False)
        fill(path)
        environment = {**os.environ, "CATALOGSYNC_DB": str(path)}
        for name in ("DAGSTER_HOME", "PYTHONDONTWRITEBYTECODE"):  # else our own are compiled anew
            environment.pop(name, None)
        environment["PYTHONPYCACHEPREFIX"] = str(Path(scratch) / "bytecode")
        for command in commands.values():
            run(command, environment)
        rounds = [
            {name: run(command, environment) for name, command in commands.items()}
            for _ in range(options.rounds)
        ]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, {options.files:,} files, load"
        f" {os.getloadavg()[0]:.1f}"
    )
    print(f"{'':36}{'CPU s':>8}{'wall s':>8}")
    for name in commands:
        cpu, wall = (statistics.median(each[name][i] for each in rounds) for i in (0, 1))
        print(f"{name:36}{cpu:8.3f}{wall:8.3f}")


if __name__ == "__main__":
    main()
