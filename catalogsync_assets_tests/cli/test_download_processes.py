"""Downloads as processes: killed, stopped, two at once, and before a person at a terminal."""

from __future__ import annotations

import signal
import subprocess
import threading
from collections import Counter
from pathlib import Path

import pytest

from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.files import remains
from catalogsync_assets_tests.support.web import flac_like

#: What httpx reads at a time, at most.
READ_BUFFER = 64 * 1024
KIB = 1024


@pytest.fixture
def states(catalog):
    """`states()`: how many download tasks there are of each status."""
    sql = "SELECT status, COUNT(*) FROM download_tasks GROUP BY status"
    return lambda: Counter(dict(rows(catalog, sql)))


@pytest.fixture
def queued(web, queue_downloads):
    """`queued(files, kib)`: queues so many files, each of so many KiB or as `kib` says of each."""

    def queue(files, kib):
        sizes = [kib(i) if callable(kib) else kib for i in range(1, files + 1)]
        contents = {f"{i}.flac": flac_like(i, int(n * KIB)) for i, n in enumerate(sizes, 1)}
        queue_downloads(*(web.add(f"/{name}", content) for name, content in contents.items()))
        return contents

    return queue


@pytest.fixture
def downloading(catalog, library):
    """The command."""
    return ("run", "--db", catalog.path, "--library-root", library.root)


class Pace:
    """Sends a piece only when the one before has reached the client's disk.

    What the system's buffers hold of a killed process was sent and never read by it; so there is
    nothing in them to speak of. `cut` ends what is under way, as its client is gone.
    """

    def __init__(self, web, root, catalog):
        self._web = web
        self._folder = root / ".catalogsync"
        self._prefix = catalog_id(catalog)
        self.gone = threading.Event()
        web.pace = self

    def __call__(self, request):
        gone = self.gone
        number = int(Path(request.path).stem)
        part = self._folder / f"{self._prefix}-{number}.part"
        while request.sent:
            if gone.is_set():
                raise ConnectionAbortedError
            try:
                if part.stat().st_size >= request.start + request.sent:
                    return
            except FileNotFoundError:
                pass
            gone.wait(0.001)

    def cut(self):
        self.gone.set()
        self._web.wait_until(lambda: self._web._at_once == 0)
        self.gone = threading.Event()


def test_runs_that_are_killed_at_any_moment_fetch_next_to_nothing_twice(
    web, queued, downloading, library, catalog, start_command, cli, states
):
    workers, kills = 4, 6
    contents = queued(24, lambda i: 100 + i * 37 % 400)
    total = sum(map(len, contents.values()))
    pace = Pace(web, library.root, catalog)
    arguments = (*downloading, "--workers", workers)
    for number in range(kills):
        process = start_command(*arguments)
        enough = total * (number + 1) // (kills + 2) + number * 7_777
        web.wait_until(lambda least=enough: sum(r.sent for r in web.requests) >= least)
        process.kill()
        process.wait()
        pace.cut()

    outcome = cli(*arguments, "--json")

    assert outcome.code == 0, outcome.err
    assert library.contents() == contents
    assert remains(library.root) == []
    assert states() == {"succeeded": 24}
    assert rows(
        catalog,
        "SELECT COUNT(*), COUNT(DISTINCT song_id), COUNT(DISTINCT sha256) FROM file_assets",
    ) == [(24, 24, 24)]
    sent = sum(request.sent for request in web.requests)
    assert total <= sent <= total + kills * workers * READ_BUFFER
    assert any(request.start for request in web.requests)
    assert outcome.json["download"]["resumed"] >= 1
    assert web.most_at_once <= workers


MOMENTS = """
import os, signal, sys
from catalogsync_assets.core.catalog import download_queue
from catalogsync_assets.core.files import partial
from catalogsync_assets.cli import main

module, name = {"link": (os, "link"), "folder": (partial, "sync_folder"),
                "unlink": (partial.Path, "unlink"), "record": (download_queue, "record"),
                "remove": (partial, "remove")}[sys.argv.pop(1)]
call = getattr(module, name)

def then_die(*arguments, **more):
    if sys.argv[0] == "after":
        call(*arguments, **more)
    os.kill(os.getpid(), signal.SIGKILL)

sys.argv[0] = sys.argv.pop(1)
setattr(module, name, then_die)
main(sys.argv[1:], prog_name="catalogsync")
"""


@pytest.mark.parametrize("moment", ["link", "folder", "unlink", "record", "remove"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_kill_around_the_moment_of_placing_costs_no_byte_and_leaves_no_second_file(
    web, queue_downloads, downloading, library, catalog, run_python, cli, moment, when
):
    queue_downloads(web.add("/x.flac"), title="Wanted", playlist="Mine")
    died = run_python(MOMENTS, moment, when, *downloading)
    assert died.code == -signal.SIGKILL, died.err

    outcome = cli(*downloading, "--json")

    assert outcome.code == 0, outcome.err
    content = web.files["/x.flac"].content
    assert library.contents() == {"x.flac": content}
    assert remains(library.root) == []
    assert sum(request.sent for request in web.requests) == len(content)
    assert rows(catalog, "SELECT title FROM songs") == ["Wanted"]
    assert rows(
        catalog,
        "SELECT COUNT(*) FROM file_assets f JOIN playlist_songs p ON p.song_id = f.song_id"
        " JOIN download_tasks t ON t.song_id = f.song_id AND t.status = 'succeeded'",
    ) == [1]


def test_two_runs_at_once_fetch_no_file_twice(
    web, queued, downloading, library, start_command, states
):
    """More files than one process claims at a time, held until both have begun."""
    contents = queued(200, 1)
    web.pace = lambda _: web.wait_until(lambda: web.most_at_once >= 6)
    arguments = (*downloading, "--workers", 3)

    processes = [start_command(*arguments, "--json") for _ in range(2)]
    ended = [process.communicate() for process in processes]

    assert [process.returncode for process in processes] == [0, 0], ended
    assert Counter(request.path for request in web.requests) == Counter(list(web.files))
    assert library.contents() == contents
    assert states() == {"succeeded": 200}
    assert web.most_at_once == 6


def test_a_run_that_is_stopped_keeps_what_it_has_and_can_be_gone_on_with(
    web, queued, downloading, library, catalog, start_command, cli, states
):
    contents = queued(8, 200)
    pace = Pace(web, library.root, catalog)
    arguments = (*downloading, "--workers", 2)
    process = start_command(*arguments)
    web.wait_until(lambda: sum(r.sent for r in web.requests) >= 500 * KIB)

    process.send_signal(signal.SIGTERM)
    _, err = process.communicate()
    pace.cut()

    assert process.returncode == 130, err
    assert "to continue" in err
    assert set(states()) == {"pending", "succeeded"}
    assert cli(*arguments).code == 0
    assert library.contents() == contents


# --- a terminal ---------------------------------------------------------------------------------


@pytest.fixture
def full(tmp_path):
    """A disk with 256 KiB of room."""
    place = tmp_path / "full"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def downloading_there(catalog, full):
    """The command that downloads to that disk."""
    return ("run", "--db", catalog.path, "--library-root", full, "--keep-free-mib", 0)


def test_a_person_at_a_terminal_is_asked_once_for_another_folder(
    web, queue_downloads, queued, downloading_there, full, tmp_path, terminal, states
):
    queued(8, 200)

    session = terminal(*downloading_there)
    session.read_until("Folder to continue in")
    session.say(str(tmp_path / "more"))
    session.read_all()

    assert session.process.wait() == 0, session.plain
    assert session.plain.count("Folder to continue in") == 1
    assert f"full: {full}" in session.plain
    assert states() == {"succeeded": 8}
    assert len(list((tmp_path / "more").glob("*.flac"))) == 7
    queue_downloads(web.add("/later.flac", flac_like("later", 200 * KIB)))
    again = terminal(*downloading_there)
    again.read_all()
    assert again.process.wait() == 0, again.plain
    assert "Folder" not in again.plain


@pytest.mark.parametrize("answer", ["", None], ids=["empty", "ctrl-c"])
def test_a_person_who_names_none_stops_the_run(queued, downloading_there, terminal, states, answer):
    queued(4, 200)
    session = terminal(*downloading_there)
    session.read_until("Folder to continue in")
    if answer is None:
        session.process.send_signal(signal.SIGINT)
    else:
        session.say(answer)
    session.read_all()

    assert session.process.wait() == (130 if answer is None else 1), session.plain
    left = states()
    assert left["succeeded"] + left["pending"] == 4
    # A signal also ends what is on its way; without one, the file that has room may finish.
    assert left["succeeded"] == 1 or answer is None


def test_without_a_terminal_the_run_stops_and_says_what_is_needed(
    queued, downloading_there, full, command, states
):
    queued(4, 200)

    outcome = command(*downloading_there, "--json")

    assert outcome.code == 1
    assert outcome.json["download"]["succeeded"] == outcome.json["scan"]["files"] == 1
    assert str(full) in outcome.json["error"]
    assert "error: no room" in outcome.err
    assert "hint: free some space" in outcome.err
    assert states() == {"succeeded": 1, "pending": 3}
    assert [p.suffix for p in full.rglob("*") if p.is_file()] == [".flac"]
