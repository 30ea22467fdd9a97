"""Uploading a library: catalogsync beside s5cmd, rclone, the aws command and plain boto3 threads.

The same files, the same SeaweedFS on this machine, the same concurrency, in turn: in each round
every tool runs once, and the order rotates. What is timed is the whole process of a tool, for
catalogsync `upload` with planning, sending, verification by the server and the rows of the catalog.
`catalogsync scan`, which it needs before, has a line of its own. How each is called: `peers.py`.

Every run has a new server with a new store, whose first volumes one object has already opened;
its start is not timed, and it is deleted afterwards. The files are read once before each round, so
they come from the page cache. After each run the objects are listed and must be as many, and of as
many bytes, as the files. Server and client share the machine: quote the ratios of one run.

    python benchmarks/upload.py [--set small,medium,large,mixed] [--tools catalogsync,s5cmd,...]
        [--workers 16] [--rounds 3] [--scale 1.0] [--directory FOLDER] [--json FILE]

small: 20,000 x 64 KiB, medium: 300 x 8 MiB, large: 2 x 2 GiB, mixed: 150 tracks of 3 to 40 MB with
files as small as covers and lyrics. Needs some 10 GB of disk for `large`, 16 GB for all sets kept.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil
from datasets import SETS, DataSet, make
from peers import PACKAGES, TOOLS, Job, Tool, environment, find_tool, outer_environment
from processes import clean_up_on_sigterm, run
from report import machine, spread
from stores import FAILURES, check_objects, check_rows, fresh_catalog, new_store, scan

from catalogsync_assets.local_s3.store import LocalStore

OURS = "catalogsync"
_PREFIX = "library"


@dataclass(frozen=True)
class Round:
    """One run of one tool.

    Attributes:
        number: of the round, from 1.
        position: in the order of that round, from 1.
        server_cpu_seconds: what the server process took meanwhile.
        error: why the run does not count; empty if it does.
    """

    data_set: str
    tool: str
    number: int
    position: int
    files: int
    size_bytes: int
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    server_cpu_seconds: float = 0.0
    peak_mib: float = 0.0
    error: str = ""


class Bench:
    """What all runs share: the folder to work in, and how many files go at a time."""

    def __init__(self, scratch: Path, workers: int) -> None:
        self._scratch = scratch
        self._workers = workers

    def run_one(self, tool: Tool, data: DataSet, scanned: Path, entry: Round) -> Round:
        """One run of one tool into a new store. One that fails is told of, and does not raise."""
        try:
            with new_store(self._scratch, data.size_bytes) as store:
                return self._measured(tool, data, scanned, store, entry)
        except FAILURES as error:
            return replace(entry, error=str(error))

    def _measured(
        self, tool: Tool, data: DataSet, scanned: Path, store: LocalStore, entry: Round
    ) -> Round:
        scratch = self._scratch
        env = environment(store, scratch, self._workers)
        database = fresh_catalog(scanned, scratch, store, _PREFIX, env)
        job = Job(data.root, store, _PREFIX, self._workers, database)
        server = psutil.Process(store.pid)
        before = sum(server.cpu_times()[:2])
        usage = run(tool.command(job), env, log=scratch / "run.log")
        server_cpu = sum(server.cpu_times()[:2]) - before
        check_objects(store, _PREFIX, data)
        if tool.name == OURS:
            check_rows(database, env, scratch, data)
        return replace(entry, **asdict(usage), server_cpu_seconds=server_cpu)


def measure(
    bench: Bench, tools: list[Tool], data: DataSet, scanned: Path, rounds: int
) -> list[Round]:
    """All rounds of a data set; the order of the tools rotates."""
    done: list[Round] = []
    for number in range(1, rounds + 1):
        data.read()
        first = (number - 1) % len(tools)
        for position, tool in enumerate(tools[first:] + tools[:first], start=1):
            entry = Round(data.name, tool.name, number, position, data.files, data.size_bytes)
            done.append(bench.run_one(tool, data, scanned, entry))
            last = done[-1]
            said = last.error or f"{last.seconds:.2f} s"
            print(f"{data.name} {number}/{rounds} {tool.name}: {said}", file=sys.stderr, flush=True)
    return done


# --- printing -----------------------------------------------------------------------------------

#: Head, format, value.
_COLUMNS: tuple[tuple[str, str, Callable[[Round], float]], ...] = (
    ("files/s", "10,.2f", lambda r: r.files / r.seconds),
    ("MB/s", "9,.1f", lambda r: r.size_bytes / r.seconds / 1e6),
    ("CPU ms/file", "13,.2f", lambda r: r.cpu_seconds / r.files * 1000),
    ("server ms/file", "16,.2f", lambda r: r.server_cpu_seconds / r.files * 1000),
    ("peak MiB", "10,.0f", lambda r: r.peak_mib),
)


def print_table(data: DataSet, scan_seconds: float, tools: list[Tool], done: list[Round]) -> None:
    """Medians of a data set; in brackets the lowest and the highest of a round."""
    print(
        f"\n{data.name}: {data.files:,} files, {data.size_bytes / 1e6:,.0f} MB ({data.what})\n"
        f"catalogsync scan before, once, not in the times: {scan_seconds:.2f} s"
    )
    heads = "".join(f"{head:>{form.partition(',')[0]}}" for head, form, _ in _COLUMNS)
    print(f"{'':13}{'seconds':>24}{heads}{'catalogsync / it':>24}")
    ours = {r.number: r for r in done if r.tool == OURS and not r.error}
    for tool in tools:
        rows = [r for r in done if r.tool == tool.name]
        good = [r for r in rows if not r.error]
        if good:
            values = "".join(
                f"{statistics.median(map(value, good)):{form}}" for _, form, value in _COLUMNS
            )
            ratios = [r.seconds / ours[r.number].seconds for r in good if r.number in ours]
            print(f"{tool.name:13}{spread([r.seconds for r in good])}{values}{spread(ratios)}")
        for r in rows:
            if r.error:
                print(f"{tool.name:13}round {r.number} does not count: {r.error}")
    sys.stdout.flush()


def found_tools(names: list[str]) -> list[Tool]:
    """Those of the tools that are installed; a line for each, also for one that is not."""
    tools = []
    for name in names:
        tool = find_tool(name)
        if tool:
            tools.append(tool)
            print(f"{name:13}{tool.version}")
        else:
            print(f"{name:13}is not installed, left out: pip install {PACKAGES.get(name, name)}")
    return tools


def _names(known: tuple[str, ...]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := set(names) - set(known):
            raise argparse.ArgumentTypeError(
                f"{', '.join(sorted(unknown))} is none of {', '.join(known)}"
            )
        return names

    return parse


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--set", type=_names(tuple(SETS)), default=list(SETS), dest="sets")
    parser.add_argument("--tools", type=_names(TOOLS), default=list(TOOLS))
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of files")
    parser.add_argument("--directory", type=Path, help="keeps the files there for the next time")
    parser.add_argument("--json", type=Path, help="writes every round there")
    return parser.parse_args()


def main() -> None:
    options = _options()
    clean_up_on_sigterm()
    print(f"{machine()}; {options.workers} workers, {options.rounds} rounds")
    tools = found_tools(options.tools)
    if options.directory:
        options.directory.mkdir(parents=True, exist_ok=True)
    raw: dict[str, Any] = {
        "machine": machine(),
        "workers": options.workers,
        "versions": {tool.name: tool.version for tool in tools},
        "scan_seconds": {},
        "rounds": [],
    }
    done: list[Round] = []
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        scratch = Path(folder).resolve()
        bench = Bench(scratch, options.workers)
        for name in options.sets:
            data = make(name, (options.directory or scratch).resolve(), options.scale)
            scanned, scan_seconds = scan(data, scratch, outer_environment())
            rounds = measure(bench, tools, data, scanned, options.rounds)
            print_table(data, scan_seconds, tools, rounds)
            done += rounds
            raw["scan_seconds"][name] = scan_seconds
            raw["rounds"] = [asdict(r) for r in done]
            if options.json:
                options.json.write_text(json.dumps(raw, indent=1) + "\n")
    if any(r.error for r in done):
        sys.exit(1)


if __name__ == "__main__":
    main()
