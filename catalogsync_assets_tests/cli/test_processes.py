"""Uploads as processes: killed, stopped, and two at once."""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.stores.backend import ObjectBackend

Rows = Callable[..., list[Any]]


@pytest.fixture
def through_proxy(proxy, backend):
    found: ObjectBackend = backend(endpoint=proxy.endpoint)
    return found


def active(catalog: Catalog, backend: ObjectBackend, rows: Rows) -> tuple[int, int]:
    """How many rows say that a file is there, and of how many files they speak."""
    (found,) = rows(
        catalog,
        "SELECT COUNT(*), COUNT(DISTINCT file_asset_id) FROM file_locations"
        " WHERE backend_id = ? AND status = 'active'",
        backend.id,
    )
    return tuple(found)  # type: ignore[return-value]


class Gate:
    """Lets so many puts pass and holds the others, until it is opened."""

    def __init__(self, proxy: Any, passing: int) -> None:
        self._proxy = proxy
        self._passing = passing
        self.held = 0
        self._open = False
        proxy.before.append(self._rule)

    def _rule(self, request: Any) -> None:
        if request.method != "PUT":
            return
        with self._proxy.lock:
            if self._passing:
                self._passing -= 1
                return
            self.held += 1
            self._proxy.lock.notify_all()
        self._proxy.wait_until(lambda: self._open)

    def open(self) -> None:
        with self._proxy.lock:
            self._open = True
            self._proxy.lock.notify_all()


def test_an_upload_that_was_killed_is_completed_by_the_next(
    library,
    catalog,
    scanned,
    proxy,
    through_proxy,
    start_command,
    command,
    remote,
    rows,
    statuses,
    until,
):
    """Killed when some files are recorded, some are on their way, and some have not been begun."""
    library.fill(60)
    scanned()
    gate = Gate(proxy, passing=20)
    arguments = ("upload", "--backend", "cloud", "--workers", 4, "--db", catalog.path)
    process = start_command(*arguments)
    until(lambda: statuses()["succeeded"] == 20)
    proxy.wait_until(lambda: gate.held == 4)
    process.kill()
    process.wait()
    assert statuses()["running"] == 40
    gate.open()

    outcome = command(*arguments, "--json")

    assert outcome.code == 0, outcome.err
    told = outcome.json
    assert told["succeeded"] + told["adopted"] == 40
    assert statuses() == {"succeeded": 60}
    assert active(catalog, through_proxy, rows) == (60, 60)
    assert remote(through_proxy).contents() == library.contents()


def test_two_uploads_at_once_send_no_file_twice(
    library, catalog, scanned, proxy, through_proxy, start_command, remote, rows, statuses
):
    """More files than one process claims at a time, so that both have some."""
    library.fill(600, size=20)
    scanned()
    gate = Gate(proxy, passing=0)
    processes = [
        start_command("upload", "--backend", "cloud", "--workers", 4, "--db", catalog.path)
        for _ in range(2)
    ]
    proxy.wait_until(lambda: gate.held == 8)  # four of each
    gate.open()
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors

    puts = Counter(request.key for request in proxy.of("PUT"))
    assert len(puts) == 600
    assert set(puts.values()) == {1}
    assert statuses() == {"succeeded": 600}
    assert active(catalog, through_proxy, rows) == (600, 600)
    assert len(remote(through_proxy).keys()) == 600


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_upload_soon_and_leaves_nothing_running(
    library, catalog, scanned, proxy, through_proxy, start_command, remote, rows, statuses, number
):
    library.fill(60)
    scanned()
    gate = Gate(proxy, passing=10)
    process = start_command("upload", "--backend", "cloud", "--workers", 4, "--db", catalog.path)
    proxy.wait_until(lambda: gate.held == 4)
    process.send_signal(number)
    sent = time.monotonic()
    gate.open()
    out, errors = process.communicate()

    assert time.monotonic() - sent < 5
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "run the same command again" in errors
    assert out == ""
    left = statuses()
    assert left["running"] == left["failed"] == 0
    assert 14 <= left["succeeded"] < 60
    assert active(catalog, through_proxy, rows) == (left["succeeded"], left["succeeded"])
    assert len(remote(through_proxy).keys()) == left["succeeded"]


def test_a_signal_ends_an_upload_whose_store_does_not_answer(
    library, catalog, scanned, proxy, through_proxy, start_command, statuses, until
):
    """A network that hangs is when people press Ctrl-C."""
    library.fill(8)
    scanned()
    gate = Gate(proxy, passing=0)
    process = start_command("upload", "--backend", "cloud", "--workers", 4, "--db", catalog.path)
    proxy.wait_until(lambda: gate.held == 4)
    process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + 8
    try:
        until(lambda: process.poll() is not None or time.monotonic() > deadline)

        assert process.poll() == 130
        assert statuses()["running"] == 0
    finally:
        gate.open()


def test_a_signal_ends_a_scan(library, catalog, start_python, scanned):
    library.fill(20)
    process = start_python(
        "import os, signal, sys\n"
        "from catalogsync_assets.cli import main\n"
        "from catalogsync_assets.core.library import scan\n"
        "read = scan.read_tags\n"
        "def interrupted(path):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return read(path)\n"
        "scan.read_tags = interrupted\n"
        "main(sys.argv[1:], prog_name='catalogsync')",
        *("scan", "--library-root", library.root, "--db", catalog.path),
    )
    _, errors = process.communicate()

    assert process.returncode == 130
    assert "Traceback" not in errors
    assert scanned().files == 20


def test_output_that_nobody_reads_is_no_crash(library, catalog, start_command):
    """As in `catalogsync status | head -0`."""
    process = start_command("status", "--db", catalog.path)
    process.stdout.close()
    process.wait()

    assert "Traceback" not in process.stderr.read()
