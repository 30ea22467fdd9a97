"""The command that brings files back: its words, its exit codes, killed and stopped."""

from __future__ import annotations

import os
import signal
import subprocess
from types import SimpleNamespace

import pytest

from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.files import remains
from catalogsync_assets_tests.support.proxy import Gate
from catalogsync_assets_tests.support.waiting import until

MIB = 1024 * 1024
FILES = 24


def reading(ending):
    """Requests that read objects with such a name."""
    return lambda request: request.method == "GET" and ending in request.path


@pytest.fixture
def original(library, scanned, through_proxy, uploaded, tmp_path):
    """A copy of the library, which is uploaded and gone from its place."""
    library.fill(FILES)
    library.add("a large one.flac", size=5 * MIB)
    scanned()
    assert uploaded(through_proxy).failures == []
    aside = tmp_path / "aside"
    library.root.rename(aside)
    return aside


@pytest.fixture
def recorded(catalog, library):
    """`recorded()`: how many files are known to be there, as they were read."""
    sql = "SELECT COUNT(*) FROM file_locations WHERE library_root = ? AND verified_by = 'read'"
    return lambda: rows(catalog, sql, str(library.root))[0]


@pytest.fixture
def restoring(library, catalog):
    """The command's arguments."""
    arguments = ("--all", "--to", library.root, "--db", catalog.path)
    return ["restore", *arguments, "--allow-empty", "--workers", 4]


def identical(one, other):
    return subprocess.run(["diff", "-r", one, other], check=False).returncode == 0


def half_here(root):
    """Bytes of files that are on their way."""
    return sum(part.stat().st_size for part in root.glob(".catalogsync/*.part"))


def test_a_library_comes_back_identical_and_a_scan_finds_nothing_to_do(
    cli, catalog, library, original, restoring
):
    refused = cli(*[a for a in restoring if a != "--allow-empty"])
    rehearsal = cli(*restoring, "--dry-run")
    assert library.contents() == {}
    outcome = cli(*restoring)

    assert refused.code == 1
    assert "--allow-empty" in refused.err
    assert "25 to restore (25 from cloud)" in rehearsal.out
    assert outcome.code == 0, outcome.err
    assert "25 files, 25 restored (25 from cloud), 0 already there, 0 failed" in outcome.out
    assert identical(original, library.root)
    scan = cli("scan", "--library-root", library.root, "--db", catalog.path, "--json").json
    assert scan["unchanged"] == 25
    assert scan["new"] == scan["changed"] == scan["missing"] == 0
    again = cli(*restoring, "--json").json
    assert (again["present"], again["restored"], again["received"]) == (25, 0, 0)


def test_a_conflict_is_listed_and_ends_with_1(cli, library, original, restoring):
    theirs = library.add("album/0003.mp3", b"another")

    outcome = cli(*restoring)
    told = cli(*restoring, "--json")

    assert outcome.code == told.code == 1
    assert "failed: 1 file: Conflict" in outcome.err
    assert str(theirs) in outcome.err
    assert told.json["reasons"] == {"Conflict": 1}
    assert theirs.read_bytes() == b"another"


def test_a_damaged_copy_is_named(cli, original, restoring, remote, through_proxy):
    remote(through_proxy).put("album/0001.mp3", b"x" * 300)

    outcome = cli(*restoring)

    assert outcome.code == 1
    assert "SourceDamaged" in outcome.err
    assert "album/0001.mp3" in outcome.err


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ((), "no files named"),
        (("--all", "--missing"), "--all takes no selection"),
        (("--all", "--from", "nowhere"), "no backend is called 'nowhere'"),
        (("--playlist", "unknown"), "there is no playlist 'unknown'"),
    ],
)
def test_wrong_use_ends_with_2(cli, catalog, tmp_path, arguments, expected):
    outcome = cli("restore", "--to", tmp_path / "to", "--db", catalog.path, *arguments)

    assert outcome.code == 2
    assert expected in outcome.err
    assert not (tmp_path / "to").exists()


def test_only_the_songs_of_a_playlist_come(cli, catalog, library, original):
    change(catalog, "INSERT INTO playlists (id, name) VALUES (1, 'Favourites')")
    change(
        catalog,
        "INSERT INTO playlist_songs (playlist_id, song_id) SELECT 1, song_id FROM file_assets"
        " WHERE object_key LIKE '%000_.mp3' LIMIT 3",
    )

    outcome = cli(
        *("restore", "--playlist", "favourites", "--to", library.root, "--allow-empty"),
        *("--db", catalog.path, "--json"),
    )

    assert (outcome.code, outcome.json["restored"]) == (0, 3)
    assert len(library.contents()) == 3


def test_a_restore_that_was_killed_fetches_only_what_is_missing(
    library, original, proxy, restoring, start_command, command, recorded
):
    """Killed with a large file half here, others recorded, others not begun."""
    cuts = [1]

    def cut(request, answer):
        if request.method == "GET" and len(answer.body) > MIB and cuts[0]:
            cuts[0] -= 1
            answer.body = answer.body[: 3 * MIB]
            answer.headers["Connection"] = "close"

    proxy.after.append(cut)
    small = Gate(proxy, reading(".mp3"), passing=10)
    large = Gate(proxy, reading(".flac"), passing=1)
    process = start_command(*restoring)
    until(lambda: recorded() == 10)
    small.wait_for()
    # How many more it asks for by then depends: after an error it asks for less at a time.
    until(lambda: half_here(library.root) >= 2 * MIB)
    process.kill()
    process.wait()
    before = len(proxy.requests)
    small.open()
    large.open()

    outcome = command(*restoring, "--json")

    assert outcome.code == 0, outcome.err
    assert outcome.json["present"] == 10
    assert outcome.json["restored"] == FILES + 1 - 10
    reads = [r for r in proxy.requests[before:] if r.method == "GET" and ".mp3" in r.path]
    assert len(reads) == FILES - 10
    (rest,) = [r for r in proxy.requests[before:] if r.method == "GET" and ".flac" in r.path]
    ranges = {name.lower(): value for name, value in rest.headers.items()}
    assert ranges["range"].startswith("bytes=") and ranges["range"] != "bytes=0-"
    assert identical(original, library.root)
    assert remains(library.root) == []


def test_a_restore_that_is_stopped_records_what_is_there(
    library, original, proxy, restoring, start_impatient, cli, recorded
):
    gate = Gate(proxy, reading(".mp3"), passing=10)
    process = start_impatient(*restoring)
    until(lambda: recorded() >= 10)
    gate.wait_for(4)
    process.send_signal(signal.SIGINT)
    process.wait()
    gate.open()
    _, err = process.communicate()

    assert process.returncode == 130
    assert "run the same command again" in err
    assert "Traceback" not in err
    assert cli(*restoring).code == 0
    assert identical(original, library.root)


def test_a_full_disk_is_one_clear_error(cli, restoring, original, monkeypatch):
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=0, f_frsize=4096))

    outcome = cli(*restoring)
    told = cli(*restoring, "--json")

    assert outcome.code == told.code == 1
    assert told.json["error"].startswith("no room for the next file")
    assert "error: no room for the next file" in outcome.err
    assert "hint: free some space" in outcome.err
