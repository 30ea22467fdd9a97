"""Large libraries: scanned for the first time, unchanged, with nothing to do, and looked into."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import catalog, peers
from benchmarks.bench import Bench
from benchmarks.datasets import DataSet, tagged
from benchmarks.processes import Usage
from benchmarks.report import Target, Work, cpu_seconds, target

_PLAN = "catalogsync scan --plan"
_TWO = "catalogsync scan, upload"
_RCLONE = "rclone sync"
_SCAN = "catalogsync scan"
_FIND = "find"


#: Nothing but the tags, each file by the class of its container.
_TAGS_ALONE = """\
import sys
from pathlib import Path

from mutagen.flac import FLAC
from mutagen.mp3 import MP3

for path in Path(sys.argv[1]).rglob("*.*"):
    (MP3 if path.suffix == ".mp3" else FLAC)(path)
"""


def first_scan(bench: Bench) -> Iterator[Work]:
    """The first scan of 10,000 tagged files; beside it the reading of their tags, and the scan of
    one, for what the start of it takes."""
    data = tagged("first", bench.kept, bench.number(10_000))
    one = tagged("one", bench.kept, 1)
    database = bench.scratch / "first.db"

    def scan(which: DataSet, _: None) -> Usage:
        for leftover in bench.scratch.glob("first.db*"):
            leftover.unlink()
        return _first_scan(bench, which, database)

    data.read()
    what = f"first scan, {data.files:,} songs"
    load = bench.load
    alone = [sys.executable, "-c", _TAGS_ALONE, str(data.root)]
    runs: dict[str, Callable[[None], Usage]] = {
        _SCAN: partial(scan, data),
        f"{_SCAN}, 1 song": partial(scan, one),
        "mutagen alone": lambda _: bench.run(alone, peers.outer_environment()),
    }
    work = Work(what, data.files, load, bench.rounds(what, runs))
    work.targets.append(_first_scan_target(work))
    yield work


def _first_scan(bench: Bench, data: DataSet, database: Path) -> Usage:
    command = peers.catalogsync("scan", "--db", str(database), "--library-root", str(data.root))
    return bench.run(command, peers.outer_environment())


def _first_scan_target(work: Work) -> Target:
    return target(f"{work.what}: CPU a file", work.cpu_ms(_SCAN), "≤", 0.2, " ms")


def nothing(bench: Bench) -> Iterator[Work]:
    """Nothing to do: 50,000 files that are all in place, against `rclone sync`; and a look."""
    data = tagged("nothing", bench.kept, bench.number(50_000))
    database = bench.scratch / "nothing.db"
    with bench.store(data.size_bytes * 8) as store:  # as much as its own notes take
        env = peers.environment(store) | {"CATALOGSYNC_DB": str(database)}
        upload = peers.catalogsync("upload", "--backend", "bench")
        sync = [peers.find("rclone") or "", "sync", "--size-only", "--fast-list", str(data.root)]
        sync += [f"bench:{store.bucket}/rclone"]
        known = "rclone" in bench.programs
        for command in (
            peers.register(store.endpoint, store.bucket, "ours", database),
            peers.catalogsync("scan", "--library-root", str(data.root)),
            upload,
            *([[*sync, "--transfers", "32"]] if known else []),
        ):
            bench.run(command, env)
        bench.check_objects(store, "ours", data.files, data.size_bytes)
        stored = sum(path.stat().st_size for path in bench.scratch.glob("nothing.db*"))

        def timed(*commands: list[str]) -> Callable[[None], Usage]:
            return lambda _: sum(
                (bench.run(command, env, store=store) for command in commands), Usage(0, 0, 0)
            )

        scan = peers.catalogsync("scan")
        runs = {_TWO: timed(scan, upload), _PLAN: timed(peers.catalogsync("scan", "--plan"))}
        if known:
            runs[_RCLONE] = timed(sync)
        what = f"nothing to do, {data.files:,} files"
        load = bench.load
        work = Work(what, data.files, load, bench.rounds(what, runs))
        work.targets += [
            target(
                f"{what}: `scan` and `upload`, speed over rclone's",
                work.ratio(_RCLONE, _TWO),
                "≥",
                3.0,
            ),
            target(
                f"{what}: `scan --plan`, speed over rclone's", work.ratio(_RCLONE, _PLAN), "≥", 4.0
            ),
            target(
                "catalog, bytes a file (paths of 60 characters below the root, one backend)",
                *(stored / data.files, "≤", 700),
            ),
        ]
        yield work
        looks = {
            "upload, nothing to do": upload,
            "status": peers.catalogsync("status"),
            "whereis": peers.catalogsync("whereis", "title 1"),
        }
        for name, command in looks.items():
            what = f"{name}, {data.files:,} files"
            load = bench.load
            look = Work(what, data.files, load, bench.rounds(what, {"catalogsync": timed(command)}))
            look.targets.append(target(what, look.median("catalogsync"), "≤", 0.2, " s"))
            yield look
        listing = {"catalogsync verify": timed(peers.catalogsync("verify", "--backend", "bench"))}
        if known:
            path = f"bench:{store.bucket}/rclone"
            command = [sync[0], "lsf", "-R", "--fast-list", "--files-only", path]
            listing["rclone lsf"] = timed(command)
        what = f"verify by listing, {data.files:,} files"
        load = bench.load
        yield Work(what, data.files, load, bench.rounds(what, listing))
        what = f"verify by digests, {data.files:,} files"
        head = peers.catalogsync("verify", "--backend", "bench", "--level", "head", "--restart")
        load = bench.load
        yield Work(what, data.files, load, bench.rounds(what, {"catalogsync verify": timed(head)}))


def million(bench: Bench) -> Iterator[Work]:
    """A million songs: the first scan, once; unchanged scans against `find`; what the core does."""
    data = tagged("million", bench.kept, bench.number(1_000_000))
    database = bench.scratch / "million.db"
    load = bench.load
    first = Work(
        f"first scan, {data.files:,} songs",
        data.files,
        load,
        {_SCAN: [_first_scan(bench, data, database)]},
        notes=["once only"],
    )
    first.targets.append(_first_scan_target(first))
    yield first
    env = peers.outer_environment()
    runs: dict[str, Callable[[None], Usage]] = {
        _SCAN: lambda _: _first_scan(bench, data, database),
        # A size is asked for, so that it looks at each file as a scan must.
        _FIND: lambda _: bench.run([_FIND, str(data.root), "-type", "f", "-size", "+1G"], env),
    }
    what = f"unchanged scan, {data.files:,} files"
    load = bench.load
    work = Work(what, data.files, load, bench.rounds(what, runs))
    peak = [usage.peak_mib for usage in work.runs[_SCAN] if usage]
    work.targets += [
        target(f"{what}: CPU", work.median(_SCAN, cpu_seconds), "≤", 7, " s"),
        target(f"{what}: memory", max(peak) if peak else None, "≤", 100, " MiB"),
    ]
    yield work
    catalog.register_three(database)
    for name in catalog.MEASUREMENTS:
        what = f"{name}, {data.files:,} files"
        load = bench.load
        run = partial(_of_core, bench, name, database)
        yield Work(what, data.files, load, bench.rounds(what, {"core": run}))


def _of_core(bench: Bench, name: str, database: Path, _: None) -> Usage:
    """One measurement of `catalog.py`, on a copy; start-up and preparation are not counted."""
    copy = bench.copy(database, "run")
    command = [sys.executable, "-m", "benchmarks.catalog", name, str(copy)]
    usage = bench.run(command, peers.outer_environment() | {"PYTHONPATH": str(peers.PROJECT)})
    took = json.loads(bench.log.read_text())
    copy.unlink()
    return Usage(took["seconds"], took["cpu_seconds"], usage.peak_mib)
