"""Runs the measurements and writes `RESULTS.md`; see README.md."""

from __future__ import annotations

import argparse
import compileall
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import cells, libraries, peers, uploads
from benchmarks.bench import FAILURES, Bench
from benchmarks.processes import clean_up_on_sigterm
from benchmarks.report import Work, results

_HERE = Path(__file__).resolve().parent
#: In the order that they run in; those that take longest at the end.
MEASUREMENTS: dict[str, Callable[[Bench], Iterator[Work]]] = {
    "small": uploads.small,
    "large": uploads.large,
    "line-small": uploads.line_small,
    "line-large": uploads.line_large,
    "reporting": uploads.reporting,
    "first-scan": libraries.first_scan,
    "nothing": libraries.nothing,
    "cells": cells.cells,
    "huge": uploads.huge,
    "million": libraries.million,
}
_QUICK_SCALE = 0.02


def measure(bench: Bench, names: list[str]) -> Iterator[Work]:
    """Run measurements one after the other; one that fails is told of in `bench.errors`."""
    for name in names:
        try:
            yield from MEASUREMENTS[name](bench)
        except FAILURES as error:
            bench.errors.append(f"{name}: {error}")
            bench.say(bench.errors[-1])


def _names(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(MEASUREMENTS):
        raise argparse.ArgumentTypeError(
            f"{', '.join(sorted(unknown))} is none of {', '.join(MEASUREMENTS)}"
        )
    return names


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--only", type=_names, help=f"of {', '.join(MEASUREMENTS)}; separated by commas"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies the numbers of files")
    parser.add_argument("--quick", action="store_true", help="one round of small sizes")
    parser.add_argument("--directory", type=Path, help="keeps the files there for the next time")
    parser.add_argument(
        "--out",
        type=Path,
        help="where the results go; by default benchmarks/RESULTS.md for a run of everything, and"
        " to stdout for any other",
    )
    return parser.parse_args()


def main() -> None:
    options = _options()
    clean_up_on_sigterm()
    rounds, scale = (1, _QUICK_SCALE) if options.quick else (options.rounds, options.scale)
    whole = not options.only and scale == 1
    out = options.out or (_HERE / "RESULTS.md" if whole else None)
    # No start of a program is to compile anything.
    compileall.compile_dir(_HERE.parent / "catalogsync_assets", quiet=1)
    programs = peers.found()
    for name, package in peers.PACKAGES.items():
        if name not in programs:
            Bench.say(f"{name} is not installed, left out: pip install {package}")
    names = options.only or list(MEASUREMENTS)
    left_out = [name for name in MEASUREMENTS if name not in names]
    works: list[Work] = []
    if options.directory:
        options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        scratch = Path(folder).resolve()
        kept = options.directory.resolve() if options.directory else scratch
        bench = Bench(scratch, kept, programs, rounds=rounds, scale=scale)

        def said() -> str:
            return results(
                works,
                programs,
                rounds=rounds,
                small=scale < 1,
                left_out=left_out,
                errors=bench.errors,
            )

        for work in measure(bench, names):
            works.append(work)
            if out:  # as soon as there is something: a run that is stopped has told what it found
                out.write_text(said(), "utf-8")
    if out:
        out.write_text(said(), "utf-8")
    else:
        print(said())
    sys.exit(1 if bench.errors else 0)


if __name__ == "__main__":
    main()
