"""What all measurements share: a folder, a store, how programs are run, rounds that alternate."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import boto3
import psutil
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from benchmarks import peers
from benchmarks.datasets import DataSet
from benchmarks.processes import ProgramFailed, Usage, run
from catalogsync_assets.core.errors import CatalogSyncError
from catalogsync_assets.local_s3.store import LocalStore, local_store

T = TypeVar("T")
#: SeaweedFS takes no more writes once less than 1 % of the disk is free.
_KEPT_FREE = 0.015
#: How a run may fail without ending the others.
FAILURES = (ProgramFailed, CatalogSyncError, BotoCoreError, ClientError)


class Bench:
    """A run of the benchmarks.

    Attributes:
        scratch: a folder that is deleted in the end.
        kept: where data sets are made; they may be there from before.
        programs: those that are installed, by name, with what each says of its version.
        errors: what failed, in the order of time.
    """

    def __init__(
        self, scratch: Path, kept: Path, programs: Mapping[str, str], *, rounds: int, scale: float
    ) -> None:
        self.scratch = scratch
        self.kept = kept
        self.programs = programs
        self.errors: list[str] = []
        self._rounds = rounds
        self._scale = scale

    def number(self, files: int) -> int:
        """So many files, scaled."""
        return max(2, round(files * self._scale))

    @property
    def load(self) -> float:
        """The load average of the last minute."""
        return os.getloadavg()[0]

    def run(
        self,
        command: list[str],
        env: dict[str, str],
        *,
        store: LocalStore | None = None,
        cwd: Path | None = None,
    ) -> Usage:
        """Run a program to its end, and measure it; with the store, also what its server takes.

        Raises:
            ProgramFailed: its exit code was not 0.
        """
        if store is None:
            return run(command, env, log=self.log, cwd=cwd)
        server = psutil.Process(store.pid)
        before = sum(server.cpu_times()[:2])
        usage = run(command, env, log=self.log, cwd=cwd)
        return usage + Usage(0, 0, 0, sum(server.cpu_times()[:2]) - before)

    @property
    def log(self) -> Path:
        """What the last program said."""
        return self.scratch / "run.log"

    @contextmanager
    def store(self, size_bytes: int) -> Iterator[LocalStore]:
        """A server with an empty store, deleted afterwards: SeaweedFS gives the space of deleted
        objects back only when it compacts a volume. One object has opened the first volumes.

        Args:
            size_bytes: what will be stored.

        Raises:
            ProgramFailed: the disk has no room for it.
        """
        disk = shutil.disk_usage(self.scratch)
        needed = int(size_bytes * 1.1 + disk.total * _KEPT_FREE)
        if disk.free < needed:
            raise ProgramFailed(
                f"{needed / 1e9:.1f} GB must be free, and {disk.free / 1e9:.1f} are"
            )
        directory = self.scratch / "store"
        try:
            with local_store(directory) as store:
                client(store).put_object(Bucket=store.bucket, Key="warm-up", Body=b"warm-up")
                yield store
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def rounds(
        self,
        what: str,
        programs: Mapping[str, Callable[[T], Usage]],
        around: Callable[[], AbstractContextManager[T]] = nullcontext,  # type: ignore[assignment]
    ) -> dict[str, list[Usage | None]]:
        """Run the programs in turn; each round begins with another one.

        Args:
            around: what the programs of a round share, such as a server; they are given it.

        Returns:
            What each took in each round; None where it failed, which `errors` tells.
        """
        done: dict[str, list[Usage | None]] = {name: [] for name in programs}
        names = list(programs)
        for number in range(self._rounds):
            first = number % len(names)
            with around() as shared:
                for name in names[first:] + names[:first]:
                    self.settle()
                    try:
                        usage = programs[name](shared)
                    except FAILURES as error:
                        self.errors.append(f"{what}, {name}, round {number + 1}: {error}")
                        done[name].append(None)
                    else:
                        done[name].append(usage)
                    last = done[name][-1]
                    said = f"{last.seconds:.2f} s" if last else self.errors[-1]
                    self.say(f"{what} {number + 1}/{self._rounds} {name}: {said}")
        return done

    def settle(self) -> None:
        """What was written before is on the disk when a run begins."""
        os.sync()

    @staticmethod
    def say(text: str) -> None:
        """Progress, for whom it may interest."""
        print(text, file=sys.stderr, flush=True)

    # --- catalogs ---------------------------------------------------------------------------------

    def scanned(self, data: DataSet) -> Path:
        """A catalog that knows the files, made by `catalogsync scan`."""
        database = self.scratch / f"{data.name}.db"
        command = peers.catalogsync("scan", "--db", str(database), "--library-root", str(data.root))
        self.run(command, peers.outer_environment())
        return database

    def copy(self, database: Path, name: str) -> Path:
        """A copy of a catalog, in place of the last one of that name."""
        copy = self.scratch / f"{name}.db"
        for leftover in self.scratch.glob(f"{name}.db*"):
            leftover.unlink()
        shutil.copyfile(database, copy)
        return copy

    def answer(self, database: Path, *arguments: str) -> Any:
        """What a command says with `--json`."""
        command = peers.catalogsync(*arguments, "--json", "--db", str(database))
        self.run(command, peers.outer_environment())
        return json.loads(self.log.read_text("utf-8"))

    # --- whether a run did what it should ---------------------------------------------------------

    def check_objects(self, store: LocalStore, prefix: str, files: int, size_bytes: int) -> None:
        """Count what is stored, by listing it; what a catalog keeps of itself is not counted.

        Raises:
            ProgramFailed: it is not as many objects, or bytes, as the files are.
        """
        pages = client(store).get_paginator("list_objects_v2")
        listed = pages.paginate(Bucket=store.bucket, Prefix=f"{prefix}/")
        sizes = [
            found["Size"]
            for page in listed
            for found in page.get("Contents", [])
            if not found["Key"].startswith(f"{prefix}/.catalogsync")
        ]
        if (len(sizes), sum(sizes)) != (files, size_bytes):
            raise ProgramFailed(
                f"{len(sizes):,} objects of {sum(sizes):,} bytes are stored,"
                f" not {files:,} of {size_bytes:,}"
            )

    def check_rows(self, database: Path, files: int) -> None:
        """Ask catalogsync how many files it has recorded as stored.

        Raises:
            ProgramFailed: not all.
        """
        backends = self.answer(database, "status")["backends"]
        recorded = next(b["files"] for b in backends if b["name"] == "bench")
        if recorded != files:
            raise ProgramFailed(f"{recorded:,} files are recorded, not {files:,}")


def client(store: LocalStore) -> Any:
    """A client of boto3, past catalogsync."""
    return boto3.client(
        "s3",
        endpoint_url=store.endpoint,
        region_name="us-east-1",
        aws_access_key_id=store.access_key_id,
        aws_secret_access_key=store.secret_access_key,
        config=Config(s3={"addressing_style": "path"}),
    )
