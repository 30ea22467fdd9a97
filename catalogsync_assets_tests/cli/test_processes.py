"""Uploads as processes: killed, stopped, and two at once."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

from catalogsync_assets.core.stores.backend import OWN_FOLDER
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.proxy import Gate
from catalogsync_assets_tests.support.waiting import until


@pytest.fixture
def active(catalog, through_proxy):
    """`active()`: how many rows say that a file is there, and of how many files they speak."""
    sql = (
        "SELECT COUNT(*), COUNT(DISTINCT file_asset_id) FROM file_locations"
        " WHERE backend_id = ? AND status = 'active'"
    )
    return lambda: rows(catalog, sql, through_proxy.id)[0]


@pytest.fixture
def uploading(catalog, library, scanned, through_proxy):
    """`uploading(files)`: a command that has so many to upload, four at a time."""

    def prepare(files, size=300):
        library.fill(files, size=size)
        scanned()
        return ("upload", "--backend", "cloud", "--workers", 4, "--db", catalog.path)

    return prepare


def test_an_upload_that_was_killed_is_completed_by_the_next(
    library, uploading, proxy, through_proxy, start_command, cli, remote, active, statuses
):
    """Killed when some files are recorded, some are on their way, and some have not been begun."""
    arguments = uploading(60)
    gate = Gate(proxy, passing=20)
    process = start_command(*arguments)
    until(lambda: statuses()["succeeded"] == 20)
    gate.wait_for(4)
    process.kill()
    process.wait()
    assert statuses()["running"] == 40
    gate.open()

    outcome = cli(*arguments, "--json")

    assert outcome.code == 0, outcome.err
    told = outcome.json
    assert told["succeeded"] + told["adopted"] == 40
    assert statuses() == {"succeeded": 60}
    assert active() == (60, 60)
    assert remote(through_proxy).contents() == library.contents()


def test_two_uploads_at_once_send_no_file_twice(
    uploading, proxy, through_proxy, start_command, remote, active, statuses
):
    """More files than one process claims at a time, so that both have some."""
    arguments = uploading(600, size=20)
    gate = Gate(proxy)
    processes = [start_command(*arguments) for _ in range(2)]
    gate.wait_for(8)  # four of each
    gate.open()
    for process in processes:
        _, errors = process.communicate()
        assert process.returncode == 0, errors

    puts = Counter(r.key for r in proxy.of("PUT") if OWN_FOLDER not in r.key)
    assert len(puts) == 600
    assert set(puts.values()) == {1}
    assert statuses() == {"succeeded": 600}
    assert active() == (600, 600)
    assert len(remote(through_proxy).keys()) == 600


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_an_upload_soon_and_leaves_nothing_running(
    uploading, proxy, through_proxy, start_command, remote, active, statuses, number
):
    arguments = uploading(60)
    gate = Gate(proxy, passing=10)
    process = start_command(*arguments)
    gate.wait_for(4)
    process.send_signal(number)
    gate.open()
    out, errors = process.communicate()

    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "run the same command again" in errors
    assert out == ""
    left = statuses()
    assert left["running"] == left["failed"] == 0
    assert 14 <= left["succeeded"] < 60
    assert active() == (left["succeeded"], left["succeeded"])
    assert len(remote(through_proxy).keys()) == left["succeeded"]


def test_a_signal_ends_an_upload_whose_store_does_not_answer(
    uploading, proxy, start_impatient, statuses
):
    """A network that hangs is when people press Ctrl-C."""
    arguments = uploading(8)
    gate = Gate(proxy)
    process = start_impatient(*arguments)
    gate.wait_for(4)
    process.send_signal(signal.SIGINT)
    try:
        assert process.wait() == 130
        assert statuses()["running"] == 0
    finally:
        gate.open()


def test_a_signal_ends_a_scan(library, catalog, start_python, scanned):
    library.fill(20)
    process = start_python(
        "import os, signal, sys\n"
        "from catalogsync_assets.cli import main\n"
        "from catalogsync_assets.core.library import root_scan\n"
        "read = root_scan.read_facts\n"
        "def interrupted(*found, **more):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return read(*found, **more)\n"
        "root_scan.read_facts = interrupted\n"
        "main(sys.argv[1:], prog_name='catalogsync')",
        *("scan", "--library-root", library.root, "--db", catalog.path),
    )
    _, errors = process.communicate()

    assert process.returncode == 130
    assert "Traceback" not in errors
    assert scanned().files == 20


def test_output_that_nobody_reads_is_no_crash(catalog, start_command):
    """As in `catalogsync status | head -0`."""
    process = start_command("status", "--db", catalog.path)
    process.stdout.close()
    process.wait()

    assert "Traceback" not in process.stderr.read()
