"""Exports as a person asks for them."""

from __future__ import annotations

import csv
import io
import json
import sys
from pathlib import Path

import pytest

from catalogsync_assets.cli import export as commands
from catalogsync_assets.core.export.export import FORMATS
from catalogsync_assets.core.export.places import LOCATIONS
from catalogsync_assets_tests.support.database import change


@pytest.fixture
def evening(catalog, library, scanned):
    """A playlist of two songs, of which one has a file."""
    library.add("Nina/01.mp3")
    scanned()
    change(catalog, "INSERT INTO songs (id, title, artist) VALUES (9, 'Wanted', 'X')")
    change(catalog, "INSERT INTO playlists (id, name) VALUES (1, 'Evening')")
    change(catalog, "INSERT INTO playlist_songs VALUES (1, 9, 1), (1, 1, 2)")
    return library


def test_the_choices_are_those_of_the_core():
    assert (commands._FORMATS, commands._LOCATIONS) == (FORMATS, LOCATIONS)


def test_a_playlist_goes_to_stdout_and_what_is_left_out_to_stderr(cli, evening):
    result = cli("export", "playlist", "evening")

    assert result.code == 0
    assert result.out.splitlines()[-1] == str(evening.root / "Nina/01.mp3")
    assert result.err == (
        "warning: 1 song left out: no active file at such a location\n  X - Wanted\n"
    )


def test_playlists_and_cue_sheets_of_the_library_have_addresses_that_work_elsewhere(
    cli, library, backend, synced
):
    cloud = backend(public_base_url="https://music.example.org")
    library.add("Nina/CD1/01.mp3")
    library.add("Nina/CD1/CD1.cue", b'FILE "01.mp3" MP3\n')
    library.add("lists/mix.m3u8", f"{library.root}/Nina/CD1/01.mp3\n".encode())
    synced(cloud)
    url = f"https://music.example.org/{cloud.key_prefix}Nina/CD1/01.mp3"
    for name in ("mix", "CD1"):
        result = cli("export", "playlist", name, "--locations", "public", "--backend", "cloud")
        assert (result.code, result.out.splitlines()[-1]) == (0, url)
        result = cli("export", "playlist", name, "--relative-to", library.root)
        assert (result.code, result.out.splitlines()[-1]) == (0, "Nina/CD1/01.mp3")


def test_strict_writes_no_file_and_ends_with_1(cli, evening):
    result = cli("export", "playlist", "Evening", "--output", "e.m3u8", "--strict")

    assert (result.code, result.out) == (1, "")
    assert "X - Wanted" in result.err
    assert not Path("e.m3u8").exists()


def test_the_name_of_the_file_tells_the_format(cli, evening):
    for name in ("e.m3u", "e.m3u8", "e.csv", "e.json", "e.jsonl", "e.ndjson", "e.parquet"):
        result = cli("export", "playlist", "Evening", "--output", name)
        assert (result.code, result.out) == (0, f"{name}: 1 song, 1 row\n")
    assert Path("e.m3u").read_bytes() == Path("e.m3u8").read_bytes()
    assert json.loads(Path("e.json").read_text()) == [json.loads(Path("e.ndjson").read_text())]
    assert Path("e.parquet").read_bytes()[:4] == b"PAR1"


def test_the_catalog_is_csv_by_default(cli, evening):
    result = cli("export", "catalog")

    (row,) = csv.DictReader(io.StringIO(result.out))
    assert (row["backend"], row["locator"], row["status"]) == ("local", "Nina/01.mp3", "active")
    assert result.err == ""


def test_the_catalog_can_be_limited_to_songs(cli, evening):
    assert cli("export", "catalog", "--format", "jsonl", "--song", 9).out == ""
    assert (
        cli("export", "catalog", "--format", "jsonl", "--playlist", "Evening").out.count("\n") == 1
    )


def test_a_summary_as_json_needs_a_file(cli, evening):
    told = cli("export", "playlist", "Evening", "--output", "e.csv", "--json").json
    assert told == {
        "output": "e.csv",
        "format": "csv",
        "songs": 1,
        "rows": 1,
        "left_out": 1,
        "left_out_names": ["X - Wanted"],
    }

    result = cli("export", "playlist", "Evening", "--json")
    assert result.code == 2
    assert "--output" in result.json["hint"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--format", "parquet"), "Parquet cannot go to stdout"),
        (("--expires", 60), "--expires needs --locations presigned"),
        (("--locations", "public", "--relative-to", "."), "--relative-to needs"),
        (("--locations", "local", "--backend", "cloud"), "local files are not on a backend"),
        (("--locations", "public"), "no backend has public URLs"),
        (("--locations", "presigned", "--expires", 604_801), "not in the range"),
        (("--locations", "presigned", "--expires", 0), "not in the range"),
        (("--locations", "presigned"), "no backend is registered"),
        (("--output", "no/such/folder.csv"), "no/such/folder.csv cannot be written"),
        (("--output", "."), ". is not a file"),
    ],
)
def test_what_makes_no_sense_is_one_clear_error(cli, evening, arguments, said):
    result = cli("export", "catalog", *arguments)

    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_a_playlist_that_is_none_is_one_clear_error(cli, evening):
    result = cli("export", "playlist", "Morning")

    assert (result.code, result.out) == (2, "")
    assert "Evening" in result.err


def test_without_pyarrow_the_extra_is_named(cli, evening, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    result = cli("export", "catalog", "--output", "c.parquet")

    assert result.code == 2
    assert "hint: pip install 'catalogsync[parquet]'" in result.err
    assert list(Path().iterdir()) == []


def test_utf_8_is_written_whatever_the_locale_and_a_closed_pipe_is_no_traceback(
    command, catalog, shelf_of, run_python
):
    shelf_of(2_000)
    result = command("export", "catalog", "--db", catalog.path, LC_ALL="C", PYTHONUTF8="0")
    assert result.code == 0, result.err
    assert result.out.count("雨") == 2_000

    script = (
        "import subprocess, sys\n"
        "code = 'from catalogsync_assets.cli import main; main()'\n"
        "command = [sys.executable, '-c', code, 'export', 'catalog', '--db', sys.argv[1]]\n"
        "started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
        "started.stdout.readline()\n"
        "started.stdout.close()\n"
        "sys.stderr.write(started.stderr.read().decode())\n"
        "started.stderr.close()\n"
        "started.wait()\n"
    )
    assert run_python(script, catalog.path).err == ""


@pytest.fixture
def shelf_of(catalog):
    def fill(songs):
        with catalog.transaction() as connection:
            sql = connection.exec_driver_sql
            sql("INSERT INTO storage_backends (id, name, backend_type) VALUES (1,'local','local')")
            for n in range(1, songs + 1):
                sql("INSERT INTO songs (id, title) VALUES (?, '雨')", (n,))
                sql("INSERT INTO file_assets (id, song_id) VALUES (?, ?)", (n, n))
                sql(
                    "INSERT INTO file_locations (file_asset_id, backend_id, locator)"
                    " VALUES (?, 1, ?)",
                    (n, f"{n:0200d}.mp3"),
                )

    return fill
