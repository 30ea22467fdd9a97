"""`dagster dev` and `dg dev` from the project's folder: they serve, do what is queued, and go.

They are slow to start, so each is started once; what is waited for is a line of their output, an
answer, or their end. Of the two, which are one program under two names, `dg dev` is for
`make test-thorough`.
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import psutil
import pytest

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.demo.run import prepare_dagster_home
from catalogsync_assets_tests.test_command_lines import ASSETS, OUR_WARNING, PROJECT

#: Seconds until something that must come is given up on; the machine may be busy.
PATIENCE = 300
SERVED = re.compile(r"Serving dagster-webserver on (http://127\.0\.0\.1:\d+)")
# As a terminal would start it: a shell's `&` has children ignore Ctrl-C, and so may what runs this.
AS_IN_A_TERMINAL = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL);"
    " os.execv(sys.argv[1], sys.argv[1:])"
)


class Server:
    """A command that serves until it is told to stop.

    Attributes:
        name: of the command, without `dev`.
        home: its DAGSTER_HOME.
        lines: what it has said so far, on either stream.
        url: of the web UI.
    """

    def __init__(self, name: str, home: Path, environment: dict[str, str]) -> None:
        with closing(socket.socket()) as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.name, self.home = name, home
        self.lines: list[str] = []
        self._said = threading.Condition()
        program = str(Path(sys.executable).parent / name)
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-c", AS_IN_A_TERMINAL),
                *(program, "dev", "--host", "127.0.0.1", "--port", str(port)),
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=PROJECT,
            env=environment | {"DAGSTER_HOME": str(home)},
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        self._family: list[psutil.Process] = []
        self.url = ""

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._said:
                self.lines.append(line)
                self._said.notify_all()

    @property
    def text(self) -> str:
        with self._said:
            return "".join(self.lines)

    def wait_for(self, pattern: str | re.Pattern[str]) -> re.Match[str]:
        """Wait until it says something."""
        with self._said:
            found = self._said.wait_for(
                lambda: next((m for line in self.lines if (m := re.search(pattern, line))), None),
                PATIENCE,
            )
        assert found, f"it never said {pattern}:\n{self.text}"
        return found

    def serve(self) -> None:
        """Wait until it answers: it says that it serves just before it does."""
        self.url = self.wait_for(SERVED)[1]
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                self.get("/server_info")
            except urllib.error.URLError:
                with suppress(subprocess.TimeoutExpired):  # it may have ended instead
                    pytest.fail(f"it ended with {self._process.wait(0.1)}:\n{self.text}")
            else:
                return
        pytest.fail(f"{self.url} never answered:\n{self.text}")

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=PATIENCE) as answer:
            return json.load(answer)

    def ask(self, query: str) -> Any:
        """GraphQL, as the web UI does."""
        request = urllib.request.Request(
            f"{self.url}/graphql",
            json.dumps({"query": query}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)["data"]

    def stop(self, how: signal.Signals) -> list[psutil.Process]:
        """Send it a signal; what of it and its children is still there after a while."""
        main = psutil.Process(self._process.pid)
        self._family = [main, *main.children(recursive=True)]
        main.send_signal(how)
        return psutil.wait_procs(self._family, timeout=PATIENCE)[1]

    def close(self) -> None:
        """Leave nothing behind, whatever the test did."""
        try:
            main = psutil.Process(self._process.pid)
            self._family += [main, *main.children(recursive=True)]
        except psutil.NoSuchProcess:
            pass
        for process in self._family:
            if process.is_running():
                process.kill()
        self._process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Of the commands: a library of one file, and an empty catalog."""
    folder = tmp_path_factory.mktemp("state")
    (folder / "music").mkdir()
    (folder / "music" / "a.mp3").write_bytes(b"a" * 1000)
    catalog, _ = Catalog.initialise(folder / "catalog.db")
    catalog.close()
    bin_folder = Path(sys.executable).parent
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("AWS_", "CATALOGSYNC_", "DAGSTER_"))
    }
    yield kept | {
        "PATH": os.pathsep.join([str(bin_folder), os.environ.get("PATH", "")]),
        "VIRTUAL_ENV": sys.prefix,
        "HOME": str(folder),
        "PYTHONWARNINGS": "default",
        "CATALOGSYNC_DB": str(folder / "catalog.db"),
        "CATALOGSYNC_LIBRARY_ROOTS": str(folder / "music"),
    }


@dataclass
class Started:
    """A server, which has begun to serve, and how `dagster job launch` ended before that."""

    server: Server
    launch: subprocess.CompletedProcess[str]
    status_before: list[dg.DagsterRunStatus]


@pytest.fixture(scope="module", params=["dagster", pytest.param("dg", marks=pytest.mark.thorough)])
def started(request, environment, tmp_path_factory):
    home = tmp_path_factory.mktemp("homes") / request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DAGSTER_HOME", "")  # which is set by what follows
        prepare_dagster_home(home)
    launch = subprocess.run(
        [str(Path(sys.executable).parent / "dagster"), "job", "launch", "-j", "scan_library"],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        cwd=PROJECT,
        env=environment | {"DAGSTER_HOME": str(home)},
        check=False,
    )
    with dg.DagsterInstance.from_config(str(home)) as instance:
        status = [run.status for run in instance.get_runs()]
    with closing(Server(request.param, home, environment)) as server:
        server.serve()
        yield Started(server, launch, status)


# The order matters: what is stopped answers no more.


def test_the_web_ui_answers_and_knows_every_asset(started: Started) -> None:
    server = started.server
    assert server.get("/server_info")["dagster_version"] == dg.__version__

    answer = server.ask(
        "{ assetNodes { assetKey { path } } repositoriesOrError"
        " { ... on RepositoryConnection { nodes { location { name } } } } }"
    )

    assert {node["assetKey"]["path"][0] for node in answer["assetNodes"]} == ASSETS
    names = [node["location"]["name"] for node in answer["repositoriesOrError"]["nodes"]]
    assert names == ["catalogsync"]


def test_a_job_that_was_launched_waits_for_the_daemon_and_is_then_run(started):
    assert started.launch.returncode == 0, started.launch.stderr
    assert started.status_before == [dg.DagsterRunStatus.QUEUED]

    started.server.wait_for(r'RUN_SUCCESS - Finished execution of run for "scan_library"')

    with dg.DagsterInstance.from_config(str(started.server.home)) as instance:
        (run,) = instance.get_runs(dg.RunsFilter(job_name="scan_library"))
        assert run.status == dg.DagsterRunStatus.SUCCESS
        assert len(instance.get_dynamic_partitions("batch")) == 1


def test_it_ends_when_it_is_told_to_and_leaves_no_process(started):
    how = {"dagster": signal.SIGINT, "dg": signal.SIGTERM}[started.server.name]

    assert started.server.stop(how) == []


def test_neither_it_nor_the_launch_warns_of_our_code(started):
    said = [started.server.text, started.launch.stdout, started.launch.stderr]

    assert [found for text in said for found in OUR_WARNING.findall(text)] == []
