"""The catalog at ten thousand, a hundred thousand and a million files.

Every measurement runs in a process of its own, on a synthetic catalog that was made once for each
size; it prints time, CPU time, rows per second and peak memory, and in the end the growth exponent
from the second largest size to the largest: log(t2/t1) / log(n2/n1), 1.0 for linear growth.

    python benchmarks/catalog.py [--sizes 10000,100000,1000000] [--rounds 3] [--only plan]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
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
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets_tests.support.audio_files import tagged

_SCAN = "scan, unchanged"
_FIRST = "scan, first"
_FOLDER = 12  # files in a folder, as on an album
#: Where the digest of its sound stands in a FLAC file, behind the mark, a header and the figures.
_FLAC_DIGEST = 26
_MTIME_NS = 1_700_000_000_000_000_000
#: The largest tree of files with tags, of some KB each: mp3, flac, ogg and m4a in equal parts.
_LARGEST_TAGGED = 10_000
_WAYS = ("mp3 id3", "flac vorbis", "ogg vorbis", "m4a mp4")
#: The largest tree that is really made on disk (4 GB of inodes); larger ones are not scanned.
_LARGEST_TREE = 1_000_000


def build(path: Path, tree: Path, files: int, *, on_disk: bool) -> None:
    """A catalog of so many files with one song each, and, if asked for, the tree itself."""
    catalog, _ = Catalog.initialise(path)
    if on_disk:
        for i in range(0, files, _FOLDER):
            folder = tree / _path(i).rpartition("/")[0]
            folder.mkdir(parents=True)
            for j in range(i, min(i + _FOLDER, files)):
                file = tree / _path(j)
                file.touch()
                os.utime(file, ns=(_MTIME_NS, _MTIME_NS))
    for name in ("one", "two", "three"):
        register(catalog, ObjectBackend(name=name, bucket="bucket"))
    with catalog.transaction() as connection:
        sql = connection.exec_driver_sql
        sql(
            "INSERT INTO storage_backends (name, backend_type, config)"
            " VALUES ('local', 'local', '{}')"
        )
        local = connection.exec_driver_sql("SELECT max(id) FROM storage_backends").scalar_one()
        for start in range(0, files, 10_000):
            span = range(start, min(start + 10_000, files))
            sql(
                "INSERT INTO songs (id, title, artist, album, track_number) VALUES (?, ?, ?, ?, ?)",
                [
                    (i + 1, f"Title {i}", f"Artist {i // 120}", f"Album {i // 12}", i % 12 + 1)
                    for i in span
                ],
            )
            sql(
                "INSERT INTO file_assets (id, song_id, size_bytes, sha256, format, object_key,"
                " object_key_fold) VALUES (?, ?, 0, ?, 'mp3', ?, ?)",
                [(i + 1, i + 1, f"{i:064x}", _path(i), _path(i).casefold()) for i in span],
            )
            sql(
                "INSERT INTO file_locations (file_asset_id, backend_id, container_name, locator,"
                " absolute_path, library_root, library_path, size_bytes, mtime_ns, is_primary)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, 0, ?, 1)",
                [
                    (i + 1, local, str(tree), p, f"{tree}/{p}", str(tree), p, _MTIME_NS)
                    for i, p in ((i, _path(i)) for i in span)
                ],
            )
        presence.refresh(connection)
    if on_disk:
        scan(catalog, [tree])
    catalog.close()


def build_tagged(tree: Path, files: int) -> None:
    """A tree of so many files with tags, no two of the same sound."""
    for i in range(files):
        way = _WAYS[i // _FOLDER % len(_WAYS)]
        path = (tree / _path(i)).with_suffix(f".{way.split()[0]}")
        artist = [f"Artist {i // 120}"]
        tags = {"artist": artist, "albumartist": artist, "album": [f"Album {i // _FOLDER}"]}
        tags |= {"tracknumber": [f"{i % _FOLDER + 1}/{_FOLDER}"], "discnumber": ["1/1"]}
        tagged(path, way, title=[f"Title of song {i}"], **tags)
        if path.suffix == ".flac":
            with path.open("r+b") as file:
                file.seek(_FLAC_DIGEST)
                file.write(i.to_bytes(16, "big"))


def _path(i: int) -> str:
    return f"Artist {i // 120:06d}/Album {i // _FOLDER:06d}/{i % _FOLDER:02d} Title.mp3"


def measure_scan(catalog: Catalog, tree: Path) -> int:
    report = scan(catalog, [tree])
    assert report.new == report.changed == report.missing == 0, report
    return report.files


def measure_first_scan(catalog: Catalog, tree: Path) -> int:
    empty, _ = Catalog.initialise(catalog.path.with_name(f"{catalog.path.name}.first"))
    report = scan(empty, [_tagged(tree)])
    assert report.new == report.files and not report.problem_count, report
    empty.close()
    return report.files


def _tagged(tree: Path) -> Path:
    return tree.with_name(f"{tree.name}-tagged")


def measure_plan_one(catalog: Catalog, _: Path) -> int:
    return enqueue(catalog, object_backends(catalog)[0])


def measure_plan_three(catalog: Catalog, _: Path) -> int:
    return sum(enqueue(catalog, backend) for backend in object_backends(catalog))


def measure_plan_nothing(catalog: Catalog, _: Path) -> int:
    assert enqueue(catalog, object_backends(catalog)[0]) == 0
    return len(catalog.path.name)


def measure_claim(catalog: Catalog, _: Path) -> int:
    lease = UploadLease(catalog, object_backends(catalog)[0])
    claimed = 0
    while tasks := lease.claim(EVERYTHING, 512):
        claimed += len(tasks)
    return claimed


def empty_presence(catalog: Catalog, _: Path) -> int:
    with catalog.transaction() as connection:
        return connection.exec_driver_sql("DELETE FROM song_backend_presence").rowcount


def measure_presence(catalog: Catalog, _: Path) -> int:
    with catalog.transaction() as connection:
        return presence.refresh(connection)


def measure_presence_unchanged(catalog: Catalog, _: Path) -> int:
    with catalog.transaction() as connection:
        assert presence.refresh(connection) == 0
    return 1


def measure_status(catalog: Catalog, _: Path) -> int:
    return backend_status(catalog)[0].files


def measure_whereis(catalog: Catalog, _: Path) -> int:
    return len(whereis(catalog, "title 77")) or 1


#: In the order of the table.
MEASUREMENTS: dict[str, Callable[[Catalog, Path], int]] = {
    _FIRST: measure_first_scan,
    _SCAN: measure_scan,
    "plan, 1 backend": measure_plan_one,
    "plan, nothing to do": measure_plan_nothing,
    "plan, 3 backends": measure_plan_three,
    "claim, by 512": measure_claim,
    "presence, anew": measure_presence,
    "presence, unchanged": measure_presence_unchanged,
    "status": measure_status,
    "whereis": measure_whereis,
}
#: What brings a copy of the catalog into the state that a measurement is about; not measured, and
#: in a process of its own.
PREPARATIONS: dict[str, Callable[[Catalog, Path], int]] = {
    "plan, nothing to do": measure_plan_one,
    "claim, by 512": measure_plan_one,
    "presence, anew": empty_presence,
}


def run_one(name: str, database: Path, tree: Path, *, prepare: bool) -> dict[str, float]:
    """One measurement, in this process: seconds, CPU seconds, rows, peak memory in MiB."""
    catalog = Catalog.open(database)
    wall, cpu = time.perf_counter(), time.process_time()
    rows = (PREPARATIONS if prepare else MEASUREMENTS)[name](catalog, tree)
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return {"seconds": wall, "cpu": cpu, "rows": rows, "peak_mib": peak_mib()}


def peak_mib() -> float:
    """Peak memory of this process. Not ru_maxrss where it can be helped: Linux counts in it what
    the process that started this one held at that moment."""
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM:"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2  # bytes on macOS


def in_own_process(
    name: str, database: Path, tree: Path, *, prepare: bool = False
) -> dict[str, float]:
    """`run_one` in a process of its own, as peak memory is a process's."""
    command = [sys.executable, __file__, "--one", name, str(database), str(tree)]
    command += ["--prepare"] if prepare else []
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    result: dict[str, float] = json.loads(answer.stdout)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="only measurements whose name has this")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--prepare", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, database, tree = options.one
        print(json.dumps(run_one(name, Path(database), Path(tree), prepare=options.prepare)))
        return
    sizes = [int(size) for size in options.sizes.split(",")]
    print(
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()};"
        f" median of {options.rounds}"
    )
    print(f"{'':22}{'files':>10}{'seconds':>10}{'CPU s':>9}{'rows/s':>12}{'peak MiB':>10}")
    medians: dict[str, dict[int, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for size in sizes:
            tree = Path(scratch) / f"tree{size}"
            tree.mkdir()
            original = Path(scratch) / f"{size}.db"
            on_disk = size <= _LARGEST_TREE and options.only in _SCAN
            build(original, tree, size, on_disk=on_disk)
            with_tags = size <= _LARGEST_TAGGED and options.only in _FIRST
            if with_tags:
                build_tagged(_tagged(tree), size)
            for name in MEASUREMENTS:
                if options.only not in name or (name == _SCAN and not on_disk):
                    continue
                if name == _FIRST and not with_tags:
                    continue
                runs = [_measured(name, original, tree) for _ in range(options.rounds)]
                row = {key: statistics.median(run[key] for run in runs) for key in runs[0]}
                medians.setdefault(name, {})[size] = row
                print(
                    f"{name:22}{size:10,}{row['seconds']:10.3f}{row['cpu']:9.3f}"
                    f"{row['rows'] / row['seconds']:12,.0f}{row['peak_mib']:10.0f}",
                    flush=True,
                )
            original.unlink()
    print("\ngrowth from the second largest size to the largest (exponent; memory ratio)")
    for name, by_size in medians.items():
        done = sorted(by_size)[-2:]
        if len(done) == 2:
            small, large = (by_size[size] for size in done)
            exponent = math.log(large["seconds"] / small["seconds"]) / math.log(done[1] / done[0])
            ratio = large["peak_mib"] / small["peak_mib"]
            print(f"{name:22}{done[0]:>10,} to {done[1]:>9,}{exponent:8.2f}{ratio:8.2f}")


def _measured(name: str, original: Path, tree: Path) -> dict[str, float]:
    """One run on a copy, brought into the state that the measurement is about."""
    copy = original.with_suffix(".run.db")
    shutil.copyfile(original, copy)
    try:
        if name in PREPARATIONS:
            in_own_process(name, copy, tree, prepare=True)
        return in_own_process(name, copy, tree)
    finally:
        for leftover in copy.parent.glob(copy.name + "*"):
            leftover.unlink()


if __name__ == "__main__":
    main()
