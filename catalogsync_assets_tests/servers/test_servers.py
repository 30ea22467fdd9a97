"""Servers of tests: they end with the tests, say why they did not start, and none goes unsaid."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from catalogsync_assets_tests.servers.processes import ServerFailed, Servers, started
from catalogsync_assets_tests.support.waiting import PATIENCE, until

_START = """
import sys
from pathlib import Path
from catalogsync_assets_tests.servers.rclone import rclone
with rclone(Path(sys.argv[1])):
    print("up", flush=True)
    sys.stdin.read()
"""


def test_a_store_that_is_not_installed_is_left_out_and_said_so(tmp_path):
    suite = Path(__file__).parent.parent / "conformance" / "test_ceph.py"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", str(suite)),
            *("-m", "other_store and not thorough", "-k", "sends_nothing"),
            *("-p", "no:cacheprovider", "--basetemp", str(tmp_path / "base")),
        ],
        capture_output=True,
        text=True,
        env={"PATH": "/nowhere"},
        cwd=suite.parents[2],
        timeout=PATIENCE,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = (line for line in done.stdout.splitlines() if line.startswith("stores not tried"))
    assert line.startswith("stores not tried: ceph (not installed: apt-get install ")
    assert "radosgw" in line


def test_a_server_ends_with_the_process_that_started_it(tmp_path, start_python):
    def servers():
        return [p for p in psutil.process_iter(["cmdline"]) if str(tmp_path) in command_of(p)]

    def command_of(process):
        words = process.info["cmdline"] or []
        return " ".join(words) if words and words[0].endswith("rclone") else ""

    starter = start_python(_START, tmp_path / "server")
    assert starter.line() == "up\n"
    assert len(servers()) == 1

    starter.kill()

    until(lambda: servers() == [])


def test_a_server_that_ends_by_itself_is_tried_anew_and_its_last_words_are_told(tmp_path):
    tries = []

    def start(servers, folder):
        tries.append(folder)
        servers.start("broken", "/bin/sh", "-c", "echo out of luck; exit 3")
        servers.until(lambda: False, "anything")
        raise AssertionError("not reached")

    with pytest.raises(ServerFailed, match="broken ended by itself:\nout of luck"):
        started(tmp_path, start).__enter__()
    assert len(set(tries)) == 3


def test_a_server_that_never_answers_is_given_up(tmp_path):
    with Servers(tmp_path, seconds=0) as servers:
        servers.start("silent", "/bin/sh", "-c", "sleep 1000")
        with pytest.raises(ServerFailed, match="an answer did not happen within 0 s"):
            servers.until(lambda: False, "an answer")
