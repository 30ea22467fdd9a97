"""Uploads of one set of files by several programs, at hand and over a line with latency."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks import peers
from benchmarks.bench import Bench
from benchmarks.cells import new_home
from benchmarks.datasets import KIB, MIB, DataSet, make, uniform
from benchmarks.line import capacity, line
from benchmarks.peers import Job
from benchmarks.processes import Usage
from benchmarks.report import Target, Work, cpu_seconds, target
from catalogsync_assets.local_s3.store import LocalStore

OURS = "catalogsync"
UNTESTED = "catalogsync, backend not tested"
REPORTING = "catalogsync, DAGSTER_HOME set"
ROUND_TRIP_MS = 50


@dataclass(frozen=True)
class _Reached:
    """A store, and where programs reach it."""

    store: LocalStore
    endpoint: str


def small(bench: Bench) -> Iterator[Work]:
    """5,000 × 64 KiB, at hand."""
    data = make("small", bench.kept, uniform(bench.number(5_000), 64 * KIB))
    what = f"{data.files:,} × 64 KiB"
    work = _uploaded(bench, what, data, [OURS, UNTESTED, "s5cmd", "rclone", "obstore"])
    work.targets += [
        target(
            f"{what}: client CPU over s5cmd's",
            *(work.ratio(OURS, "s5cmd", cpu_seconds), "≤", 0.65),
        ),
        target(f"{what}: speed over s5cmd's", work.ratio("s5cmd", OURS), "≥", 1.0),
        target(
            f"{what}: time without `backend test` over with", work.ratio(UNTESTED, OURS), "≤", 1.05
        ),
    ]
    yield work


def large(bench: Bench) -> Iterator[Work]:
    """100 × 8 MiB, at hand."""
    data = make("large", bench.kept, uniform(bench.number(100), 8 * MIB))
    work = _uploaded(bench, f"{data.files:,} × 8 MiB", data, [OURS, "s5cmd", "rclone", "obstore"])
    work.targets.append(
        target(f"{work.what}: speed over s5cmd's", work.ratio("s5cmd", OURS), "≥", 1.0)
    )
    yield work


def line_small(bench: Bench) -> Iterator[Work]:
    """1,500 × 64 KiB over a line of 50 ms round trip."""
    data = make("line-small", bench.kept, uniform(bench.number(1_500), 64 * KIB))
    what = f"{data.files:,} × 64 KiB over {ROUND_TRIP_MS} ms"
    programs = [OURS, "s5cmd", "rclone", "obstore"]
    work = _uploaded(bench, what, data, programs, ROUND_TRIP_MS)
    work.targets += [
        target(f"{what}: speed over s5cmd's", work.ratio("s5cmd", OURS), "≥", 1.0),
        target(f"{what}: speed over rclone's", work.ratio("rclone", OURS), "≥", 5.0),
        _line_is_wide(bench, work, 64 * KIB),
    ]
    yield work


def line_large(bench: Bench) -> Iterator[Work]:
    """100 × 8 MiB over a line of 50 ms round trip."""
    data = make("large", bench.kept, uniform(bench.number(100), 8 * MIB))
    what = f"{data.files:,} × 8 MiB over {ROUND_TRIP_MS} ms"
    work = _uploaded(bench, what, data, [OURS, "s5cmd", "rclone", "obstore"], ROUND_TRIP_MS)
    work.targets += [
        target(f"{what}: speed over s5cmd's", work.ratio("s5cmd", OURS), "≥", 1.0),
        _line_is_wide(bench, work, 8 * MIB),
    ]
    yield work


def reporting(bench: Bench) -> Iterator[Work]:
    """1,500 × 64 KiB with DAGSTER_HOME set, and without."""
    data = make("line-small", bench.kept, uniform(bench.number(1_500), 64 * KIB))
    work = _uploaded(bench, f"{data.files:,} × 64 KiB, reporting", data, [REPORTING, OURS])
    work.targets.append(
        target(
            "`upload` with `DAGSTER_HOME` set, more than without",
            *(work.difference(REPORTING, OURS), "≤", 0.3, " s"),
        )
    )
    yield work


def huge(bench: Bench) -> Iterator[Work]:
    """2 × 2 GiB, in parts."""
    data = make("huge", bench.kept, uniform(2, bench.number(2048) * MIB, "flac"))
    yield _uploaded(
        bench, f"2 × {data.size_bytes // 2 // MIB:,} MiB", data, [OURS, "s5cmd", "rclone"]
    )


def _uploaded(
    bench: Bench, what: str, data: DataSet, programs: list[str], round_trip_ms: float = 0
) -> Work:
    """The work of these programs, ours first, on one server in each round."""
    load = bench.load
    scanned = bench.scanned(data)
    known = [name for name in programs if name.split(",")[0] in bench.programs]

    @contextmanager
    def around() -> Iterator[_Reached]:
        data.read()
        with bench.store(data.size_bytes * len(known)) as store:
            if round_trip_ms:
                with line(store.endpoint, round_trip_ms) as endpoint:
                    yield _Reached(store, endpoint)
            else:
                yield _Reached(store, store.endpoint)

    runs: dict[str, Callable[[_Reached], Usage]] = {
        name: partial(_upload, bench, name, data, scanned) for name in known
    }
    return Work(what, data.files, load, bench.rounds(what, runs, around))


def _upload(bench: Bench, name: str, data: DataSet, scanned: Path, reached: _Reached) -> Usage:
    """One upload of everything, below a prefix of its own."""
    prefix = name.replace(" ", "-").replace(",", "").lower()
    program = name.split(",", maxsplit=1)[0]
    database = bench.copy(scanned, "run")
    store = reached.store
    job = Job(data.root, reached.endpoint, store.bucket, prefix, database)
    env = peers.environment(store, reached.endpoint)
    if program == OURS:
        bench.run(peers.register(job.endpoint, job.bucket, prefix, database), env)
        if name != UNTESTED:
            bench.run(peers.catalogsync("backend", "test", "bench", "--db", str(database)), env)
        if name == REPORTING:
            env["DAGSTER_HOME"] = str(new_home(bench.scratch, database))
    usage = bench.run(peers.command(program, job), env, store=store)
    bench.check_objects(store, prefix, data.files, data.size_bytes)
    if program == OURS:
        bench.check_rows(database, data.files)
    return usage


def _line_is_wide(bench: Bench, work: Work, size: int) -> Target:
    """The line must carry several times what the fastest program reaches over it."""
    fastest = min(seconds for name in work.runs if (seconds := work.median(name)) is not None)
    exchanges = bench.number(100 if size < MIB else 4)
    carried = capacity(size, connections=bench.number(16), exchanges=exchanges)
    return target(
        f"{work.what}: what the line carries without delay, over the fastest",
        *(carried / (work.files / fastest), "≥", 5.0),
    )
