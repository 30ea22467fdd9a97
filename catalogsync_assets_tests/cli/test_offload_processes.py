"""Offloading as processes: killed for real, stopped, and two at once."""

from __future__ import annotations

import signal

from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.proxy import Gate

PLACES = (
    "SELECT library_path, status FROM file_locations WHERE library_root IS NOT NULL"
    " ORDER BY library_path"
)
# The process kills itself: no code of ours can run after that.
_KILLED = """
import os, pathlib, signal, sys
from catalogsync_assets.cli import main
calls = 0
unlink = pathlib.Path.unlink
def dying(self, *arguments, **more):
    global calls
    calls += 1
    if calls == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    unlink(self, *arguments, **more)
pathlib.Path.unlink = dying
main(["offload", "--keep-copies", "1", "--delete", "--db", sys.argv[2]])
"""
_IMPATIENT = """
import sys
from catalogsync_assets.cli import main
from catalogsync_assets.core.library import removal
removal.PATIENCE = 0
main(["offload", "--keep-copies", "1", "--delete", "--db", sys.argv[1]])
"""


def test_a_killed_offload_loses_nothing_and_the_next_completes_it(
    library, catalog, cloud, scanned, uploaded, run_python, command, remote
):
    """In the instant in which the second file has lost its name and is not deleted yet."""
    library.fill(4)
    before = library.contents()
    scanned()
    uploaded(cloud)

    assert run_python(_KILLED, 4, catalog.path).code == -signal.SIGKILL

    assert {status for _, status in rows(catalog, PLACES)} == {"offloading"}
    there = library.contents()
    assert set(there.values()) == set(list(before.values())[1:])

    done = command("offload", "--keep-copies", 1, "--delete", "--json", "--db", catalog.path)

    assert (done.code, done.json["settled"], done.json["removed"]) == (0, 4, 3)
    assert library.contents() == {}
    assert {status for _, status in rows(catalog, PLACES)} == {"offloaded"}
    assert remote(cloud).contents() == before


def test_a_signal_while_stores_are_asked_ends_it_with_all_rows_true(
    library, catalog, scanned, uploaded, proxy, through_proxy, start_command, run_python
):
    """More files than are gone through at a time: the first are gone, the others are asked for.
    Meanwhile another process is sent away."""
    library.fill(100, size=20)
    scanned()
    uploaded(through_proxy)
    gate = Gate(proxy, lambda r: r.method == "HEAD", passing=64)
    process = start_command("offload", "--keep-copies", 1, "--delete", "--db", catalog.path)
    gate.wait_for()

    other = run_python(_IMPATIENT, catalog.path)
    assert (other.code, "another process removes files" in other.err) == (1, True)

    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    gate.open()

    assert process.returncode == 130, errors
    there = library.contents()
    assert len(there) == 36
    assert dict(rows(catalog, PLACES)) == {
        path: "active" if path in there else "offloaded"
        for path in (f"album/{i:04d}.mp3" for i in range(100))
    }
