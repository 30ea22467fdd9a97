"""Every benchmark still runs, on a handful of files; nothing here says how fast anything is.

The other programs are run as always. Our own commands run in this process, to save their starts,
and what Dagster is asked for is done by the command that does the same.
"""

from __future__ import annotations

import dataclasses
import shutil
import socket
import sys
import time
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import mutagen
import pytest
from click.testing import CliRunner

from benchmarks import catalog, cells, peers, uploads
from benchmarks.__main__ import MEASUREMENTS, measure
from benchmarks.bench import Bench
from benchmarks.datasets import tagged
from benchmarks.line import line
from benchmarks.processes import ProgramFailed, Usage
from benchmarks.report import results
from catalogsync_assets.cli import main

INSTEAD = {
    "downloaded_files": ["scan"],
    "pending_uploads": ["plan"],
    "remote_locations": ["upload", "--backend", "bench"],
    "backend_presence": ["status"],
    "nothing": ["--version"],
}
#: Where all other programs that are installed are run; elsewhere none, to save their starts.
WITH_ALL = ("small", "nothing")


class Tiny(Bench):
    """Two files of each set, and one round."""

    def __init__(self, folder, store, s3, programs):
        super().__init__(folder, folder, programs, rounds=1, scale=0)
        self._store = dataclasses.replace(store, bucket="benchmarks")
        self._s3 = s3

    @contextmanager
    def store(self, size_bytes):
        bucket = self._store.bucket
        self._s3.create_bucket(Bucket=bucket)
        yield self._store
        for found in self._s3.list_objects_v2(Bucket=bucket).get("Contents", []):
            self._s3.delete_object(Bucket=bucket, Key=found["Key"])
        self._s3.delete_bucket(Bucket=bucket)

    def settle(self):
        pass

    def run(self, command, env, *, store=None, cwd=None):
        program, *arguments = command
        if Path(program).name == "dagster":
            selected = arguments[arguments.index("--select") + 1]
            arguments = INSTEAD[selected]
        elif arguments[:2] == ["-m", "benchmarks.catalog"]:
            return self._of_core(*arguments[2:])
        elif Path(program).name != "catalogsync":
            return super().run(command, env, store=store, cwd=cwd)
        elif arguments[:2] == ["backend", "test"]:
            arguments = ["--help"]  # takes long, and is tested elsewhere
        env = {name: value for name, value in env.items() if name != "DAGSTER_HOME"}
        done = CliRunner().invoke(main, arguments, prog_name="catalogsync", env=env)
        self.log.write_text(done.stdout)
        if done.exit_code:
            raise ProgramFailed(f"{arguments}: {done.stderr or done.exception}")
        return Usage(0.5, 0.5, 50, 0.1)

    def _of_core(self, *arguments):
        with self.log.open("w") as log, redirect_stdout(log), pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "argv", ["catalog", *arguments])
            catalog.main()
        return Usage(0.5, 0.5, 50)


@pytest.fixture(autouse=True)
def little_is_made(blank_dagster_home, monkeypatch):
    def copy(home):
        shutil.copytree(blank_dagster_home, home, dirs_exist_ok=True)

    monkeypatch.setattr(cells, "prepare_dagster_home", copy)
    monkeypatch.setattr(uploads, "MIB", 1024)


@pytest.mark.parametrize("name", MEASUREMENTS)
def test_a_benchmark_measures_all_that_it_promises(name, store, s3, tmp_path):
    programs = peers.found() if name in WITH_ALL else {"catalogsync": ""}
    bench = Tiny(tmp_path, store, s3, programs)

    works = list(measure(bench, [name]))

    assert bench.errors == []
    assert all(all(usages) for work in works for usages in work.runs.values())
    if set(peers.PACKAGES) <= set(programs):
        assert all(t.reached is not None for work in works for t in work.targets)
    text = results(works, programs, rounds=1, small=True, errors=bench.errors)
    assert all(work.what in text for work in works)


def test_a_line_delays_both_ways_and_loses_nothing():
    content = bytes(range(256)) * 20_000

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        echo = Thread(target=_echo, args=(server,), daemon=True)
        echo.start()
        with line(f"http://127.0.0.1:{port}", 40) as near:
            started = time.perf_counter()
            with socket.create_connection(("127.0.0.1", urlsplit(near).port)) as connection:
                Thread(target=_send, args=(connection, content), daemon=True).start()
                received = b"".join(iter(lambda: connection.recv(1 << 16), b""))
            seconds = time.perf_counter() - started

    assert received == content
    assert seconds >= 0.08  # a round trip for the connection, one for the content


def _echo(server):
    with server.accept()[0] as connection:
        while content := connection.recv(1 << 16):
            connection.sendall(content)


def _send(connection, content):
    connection.sendall(content)
    connection.shutdown(socket.SHUT_WR)


def test_songs_have_tags_of_their_own_and_long_paths(tmp_path):
    data = tagged("songs", tmp_path, 30)

    paths = sorted(path for path in data.root.rglob("*.*"))

    assert {len(str(path.relative_to(data.root))) for path in paths} == {60}
    assert {path.suffix for path in paths} == {".mp3", ".flac"}
    assert sorted(mutagen.File(path, easy=True)["title"][0] for path in paths) == sorted(
        f"Title {i}" for i in range(30)
    )
