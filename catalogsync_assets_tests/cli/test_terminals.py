"""What comes from outside does not act on a terminal, and passes through every stream."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from catalogsync_assets.cli import output
from catalogsync_assets_tests.support.database import change
from catalogsync_assets_tests.support.processes import Terminal

EVIL = "a\x1b]0;owned\x07b\x9b2Jc\u202ed\u2028e\ne: [bold]f[/bold] \U000e0041"
SHOWN = r"a\x1b]0;owned\x07b\x9b2Jc\u202ed\u2028e\ne: [bold]f[/bold] \U000e0041"
UNSAFE = ("\x1b]0;owned", "\x9b2J", "\u202e", "\u2028", "\ne: ", "\U000e0041")


@pytest.fixture
def on_terminal(tmp_path):
    """`on_terminal("status")`: what a wide terminal gets of a command."""

    def run(*arguments, **environment):
        environment = {"TERM": "xterm-256color", "COLUMNS": "400", **environment}
        terminal = Terminal(*arguments, cwd=tmp_path, **environment)
        came = terminal.read_all()
        terminal.close()
        return came

    return run


@pytest.fixture
def evil_song(library, scanned, catalog):
    """A song whose title, artist and format would act on a terminal."""
    library.add("one.mp3")
    scanned()
    change(catalog, "UPDATE songs SET title = ?, artist = ?, album = ?", "one", EVIL, EVIL)
    change(catalog, "UPDATE file_assets SET format = ?", EVIL)
    change(catalog, "INSERT INTO playlists (name) VALUES (?)", EVIL)
    change(catalog, "INSERT INTO playlist_songs (playlist_id, song_id) SELECT 1, id FROM songs")


def test_what_tags_say_is_shown_and_not_obeyed(on_terminal, catalog, evil_song):
    for arguments in (
        ("whereis", "one"),
        ("status", "--under-replicated"),
        ("export", "catalog"),
        ("export", "playlist", "1"),
        ("plan", "--playlist", "nobody"),
    ):
        came = on_terminal(*arguments, "--db", catalog.path)

        assert not [text for text in UNSAFE if text in came], (arguments, came)
    assert SHOWN in on_terminal("whereis", "one", "--db", catalog.path)


def test_arguments_are_repeated_and_not_obeyed(on_terminal, catalog):
    for arguments in (
        ("whereis", EVIL),
        ("status", f"--{EVIL}"),
        (EVIL,),
        ("status", EVIL),
        ("upload", "--backend", EVIL),
        ("status", "--db", EVIL),
        ("scan", "--library-root", EVIL),
    ):
        came = on_terminal(*arguments, CATALOGSYNC_DB=str(catalog.path))

        assert "\x1b]0;owned" not in came, arguments
        assert not [text for text in UNSAFE if text in came], (arguments, came)


def test_a_pipe_gets_one_line_for_each_row(cli, evil_song):
    result = cli("whereis", "one")

    assert len(result.out.splitlines()) == 2
    assert SHOWN in result.out


def test_in_json_and_in_files_values_stay_what_they_are(cli, command, catalog, evil_song, tmp_path):
    (place,) = cli("whereis", "one", "--json").json["places"]
    exported = command("export", "catalog", "--format", "jsonl", "--db", catalog.path)

    assert place["artist"] == EVIL
    assert not [text for text in UNSAFE if text in cli("whereis", "one", "--json").out]
    assert json.loads(exported.out)["artist"] == EVIL
    assert "\u202e" in exported.out


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_every_stream_takes_every_name(command, library, catalog, scanned, encoding):
    """Names that are not UTF-8 among them, which Python cannot encode."""
    library.add("Größe ☃.mp3")
    scanned()
    (library.root / os.fsdecode(b"caf\xe9.mp3")).write_bytes(b"x")
    environment = {"PYTHONIOENCODING": encoding, "CATALOGSYNC_DB": str(catalog.path)}

    for arguments in (
        ("scan", "--library-root", library.root),
        ("scan", "--library-root", library.root, "--json"),
        ("whereis", "Größe"),
        ("whereis", "Größe", "--json"),
        ("whereis", os.fsdecode(b"caf\xe9")),
        ("status", "--db", os.fsdecode(b"/caf\xe9")),
    ):
        outcome = command(*arguments, **environment)

        assert "Traceback" not in outcome.err, (arguments, outcome.err)
        if "--json" in arguments:
            assert "ö" in str(outcome.json) or "caf" in str(outcome.json)


def test_a_full_disk_behind_stdout_is_one_error(catalog, tmp_path):
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "catalogsync_assets", "status", "--db", str(catalog.path)],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert "error: stdout cannot be written: No space left on device" in done.stderr
    assert "Exception" not in done.stderr


def test_messages_that_nobody_reads_stop_nothing(start_command, library, tmp_path):
    library.add("a.mp3")
    library.add("line\nbreak.mp3")  # there is a warning
    process = start_command("scan", "--library-root", library.root, "--db", tmp_path / "new.db")
    process.stderr.close()

    assert process.wait() == 0


def test_lines_tell_the_rate_and_what_time_is_left(monkeypatch, capsys):
    """Where there is no terminal; time goes by itself."""
    clock = iter((0.0, 20.0, 20.0, 20.0, 40.0, 40.0, 40.0))
    monkeypatch.setattr(output.time, "monotonic", lambda: next(clock))
    with output.progress("files") as line:
        line.update(1_000, None, "scanning")
        line.update(2_000, 5_000, "scanning")

    assert capsys.readouterr().err.splitlines() == [
        "scanning; 1,000, 50/s",
        "scanning; 2,000 of 5,000, 50/s, 0:01:00 left",
    ]
