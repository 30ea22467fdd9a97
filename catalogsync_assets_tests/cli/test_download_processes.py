"""Downloads as processes: killed, stopped, two at once, and before a person at a terminal."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.catalog.database import Catalog

#: What httpx reads at a time, at most.
READ_BUFFER = 64 * 1024
KIB = 1024


@pytest.fixture
def states(catalog, rows):
    """`states()`: how many download tasks there are of each status."""
    sql = "SELECT status, COUNT(*) FROM download_tasks GROUP BY status"
    return lambda: Counter(dict(rows(catalog, sql)))


class Pace:
    """Sends a piece only when the one before has reached the client's disk.

    What the system's buffers hold of a killed process was sent and never read by it; so there is
    nothing in them to speak of. `cut` ends what is under way, as its client is gone.
    """

    def __init__(self, web: Any, root: Path, catalog: Catalog) -> None:
        self._web = web
        self._folder = root / ".catalogsync"
        self._prefix = catalog_id(catalog)
        self.gone = threading.Event()
        web.pace = self

    def __call__(self, request: Any) -> None:
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

    def cut(self) -> None:
        self.gone.set()
        self._web.wait_until(lambda: self._web._at_once == 0)
        self.gone = threading.Event()


def test_runs_that_are_killed_at_any_moment_fetch_next_to_nothing_twice(
    web, wish, music, library, remains, catalog, start_command, command, rows, states
):
    workers, kills = 4, 6
    contents = {f"{i}.flac": music(i, (100 + i * 37 % 400) * KIB) for i in range(1, 25)}
    wish(*(web.add(f"/{name}", content) for name, content in contents.items()))
    total = sum(map(len, contents.values()))
    pace = Pace(web, library.root, catalog)
    arguments = ("run", "--db", catalog.path, "--library-root", library.root, "--workers", workers)
    for number in range(kills):
        process = start_command(*arguments)
        enough = total * (number + 1) // (kills + 2) + number * 7_777
        web.wait_until(lambda least=enough: sum(r.sent for r in web.requests) >= least)
        process.kill()
        process.wait()
        pace.cut()

    outcome = command(*arguments, "--json")

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
from catalogsync_assets.core.files import partial as parts
from catalogsync_assets.cli import main

module, name = {"link": (os, "link"), "folder": (parts, "sync_folder"),
                "unlink": (parts.Path, "unlink"), "record": (download_queue, "record"),
                "remove": (parts, "remove")}[sys.argv.pop(1)]
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
    web, wish, library, remains, catalog, start_python, command, rows, moment, when
):
    wish(web.add("/x.flac"), title="Wanted", playlist="Mine")
    arguments = ("run", "--db", catalog.path, "--library-root", library.root)
    process = start_python(MOMENTS, moment, when, *arguments)
    process.wait(60)
    assert process.returncode == -signal.SIGKILL, process.stderr.read()

    outcome = command(*arguments, "--json")

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
    web, wish, music, library, catalog, start_command, states
):
    """More files than one process claims at a time, held until both have begun."""
    contents = {f"{i}.flac": music(i, 1_000) for i in range(200)}
    wish(*(web.add(f"/{name}", content) for name, content in contents.items()))
    web.pace = lambda _: web.wait_until(lambda: web.most_at_once >= 6)
    arguments = ("run", "--db", catalog.path, "--library-root", library.root, "--workers", 3)

    processes = [start_command(*arguments, "--json") for _ in range(2)]
    ended = [process.communicate(timeout=60) for process in processes]

    assert [process.returncode for process in processes] == [0, 0], ended
    assert Counter(request.path for request in web.requests) == Counter(list(web.files))
    assert library.contents() == contents
    assert states() == {"succeeded": 200}
    assert web.most_at_once == 6


def test_a_run_that_is_stopped_keeps_what_it_has_and_can_be_gone_on_with(
    web, wish, music, library, catalog, start_command, command, states
):
    contents = {f"{i}.flac": music(i, 200 * KIB) for i in range(1, 9)}
    wish(*(web.add(f"/{name}", content) for name, content in contents.items()))
    pace = Pace(web, library.root, catalog)
    arguments = ("run", "--db", catalog.path, "--library-root", library.root, "--workers", 2)
    process = start_command(*arguments)
    web.wait_until(lambda: sum(r.sent for r in web.requests) >= 500 * KIB)

    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    pace.cut()

    assert process.returncode == 130, err
    assert "go on" in err
    assert set(states()) == {"pending", "succeeded"}
    assert command(*arguments).code == 0
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


class Terminal:
    """A command before a terminal of its own."""

    def __init__(self, arguments: list[str]) -> None:
        ours, theirs = pty.openpty()
        self._fd = ours
        code = "from catalogsync_assets.cli import main; main(prog_name='catalogsync')"
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, *arguments],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            start_new_session=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
        os.close(theirs)
        self.seen = ""

    def read_until(self, text: str) -> None:
        while text not in self.plain:
            try:
                piece = os.read(self._fd, 4096)
            except OSError:
                piece = b""
            assert piece, f"it ended without {text!r}: {self.plain}"
            self.seen += piece.decode(errors="replace")

    def read_all(self) -> None:
        try:
            while piece := os.read(self._fd, 4096):
                self.seen += piece.decode(errors="replace")
        except OSError:
            return

    @property
    def plain(self) -> str:
        """Without colours and movements of the cursor."""
        return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.seen)

    def say(self, text: str) -> None:
        os.write(self._fd, text.encode() + b"\n")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        os.close(self._fd)


@pytest.fixture
def terminal():
    """`terminal("run", …)`."""
    made: list[Terminal] = []

    def start(*arguments):
        made.append(Terminal([*map(str, arguments)]))
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_a_person_at_a_terminal_is_asked_once_for_another_folder(
    web, wish, music, full, tmp_path, catalog, terminal, states
):
    wish(*(web.add(f"/{i}.flac", music(i, 200 * KIB)) for i in range(8)))
    base = ("run", "--db", catalog.path, "--library-root", full, "--keep-free-mib", 0)

    session = terminal(*base)
    session.read_until("Folder to go on in")
    session.say(str(tmp_path / "more"))
    session.read_all()

    assert session.process.wait(60) == 0, session.plain
    assert session.plain.count("Folder to go on in") == 1
    assert f"full: {full}" in session.plain
    assert states() == {"succeeded": 8}
    assert len(list((tmp_path / "more").glob("*.flac"))) == 7
    wish(web.add("/later.flac", music("later", 200 * KIB)))
    again = terminal(*base)
    again.read_all()
    assert again.process.wait(60) == 0, again.plain
    assert "Folder" not in again.plain


@pytest.mark.parametrize("answer", ["", None], ids=["empty", "ctrl-c"])
def test_a_person_who_names_none_stops_the_run(
    web, wish, music, full, catalog, terminal, states, answer
):
    wish(*(web.add(f"/{i}.flac", music(i, 200 * KIB)) for i in range(4)))
    session = terminal("run", "--db", catalog.path, "--library-root", full, "--keep-free-mib", 0)
    session.read_until("Folder to go on in")
    if answer is None:
        session.process.send_signal(signal.SIGINT)
    else:
        session.say(answer)
    session.read_all()

    assert session.process.wait(60) == (130 if answer is None else 1), session.plain
    left = states()
    assert left["succeeded"] + left["pending"] == 4
    # A signal also ends what is on its way; without one, the file that has room may finish.
    assert left["succeeded"] == 1 or answer is None


def test_without_a_terminal_the_run_stops_and_says_what_is_needed(
    web, wish, music, full, catalog, command, states
):
    wish(*(web.add(f"/{i}.flac", music(i, 200 * KIB)) for i in range(4)))

    outcome = command(
        "run", "--db", catalog.path, "--library-root", full, "--keep-free-mib", 0, "--json"
    )

    assert outcome.code == 1
    assert outcome.json["download"]["succeeded"] == outcome.json["scan"]["files"] == 1
    assert str(full) in outcome.json["error"]
    assert "error: no room" in outcome.err
    assert "hint: free some space" in outcome.err
    assert states() == {"succeeded": 1, "pending": 3}
    assert [p.suffix for p in full.rglob("*") if p.is_file()] == [".flac"]
