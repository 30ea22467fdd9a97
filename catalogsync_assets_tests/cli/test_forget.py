"""The command `forget`: what a person or a program sees of it."""

from __future__ import annotations

import pytest

from catalogsync_assets_tests.support.database import change, rows

FORGOTTEN = "SELECT library_path FROM file_locations WHERE status = 'forgotten' ORDER BY 1"


@pytest.fixture
def gone(stored, scanned):
    """Of twelve files that are on `cloud`, three are gone since a while."""
    library = stored(12)
    for path in sorted(library.root.rglob("*.mp3"))[:3]:
        path.unlink()
    scanned()
    return library


@pytest.fixture
def long_gone(gone, catalog):
    """The same, and two scans say so that are far apart."""
    change(
        catalog, "UPDATE file_locations SET missing_since = '2026-01-01' WHERE status = 'missing'"
    )
    change(catalog, "DELETE FROM library_roots")
    sql = (
        "INSERT INTO library_roots (path, last_complete_scan_at) VALUES (?, '2026-03-01 00:00:00')"
    )
    change(catalog, sql, str(gone.root))
    return gone


def test_without_yes_it_lists_what_would_go_and_what_is_left_of_it(cli, catalog, long_gone, s3):
    change(catalog, "UPDATE file_locations SET status = 'missing' WHERE locator LIKE '%0002.mp3'")

    done = cli("forget", "--gone")

    assert done.code == 0
    album = f"{long_gone.root}/album"
    assert [line.split("\t") for line in done.out.splitlines()] == [
        ["file", "was", "copies", "on"],
        [f"{album}/0000.mp3", "gone", "1", "cloud"],
        [f"{album}/0001.mp3", "gone", "1", "cloud"],
        [f"{album}/0002.mp3", "gone", "0", "-"],
    ]
    assert "3 files, 900 bytes would be forgotten: 3 gone" in done.err
    assert "warning: 1 file of them with no copy anywhere\n" in done.err
    assert f"  {album}/0002.mp3\n" in done.err
    assert "nothing was forgotten; --yes does it" in done.err
    assert rows(catalog, FORGOTTEN) == []


def test_what_is_not_gone_for_long_is_said(cli, gone):
    done = cli("forget", "--gone")

    assert (done.code, done.out) == (0, "")
    assert "3 files are gone, but not found so by two complete scans 30 days apart" in done.err


def test_with_yes_it_forgets_what_is_named(cli, catalog, gone):
    done = cli("forget", "album/0000.mp3", gone.root / "album/0001.mp3", "--yes")

    assert done.code == 0
    assert "2 files, 600 bytes forgotten: 2 gone" in done.err
    assert rows(catalog, FORGOTTEN) == ["album/0000.mp3", "album/0001.mp3"]
    song = cli("whereis", "album/0002", "--json").json["places"][0]["song_id"]
    assert cli("forget", "--song", song, "--yes", "--json").json["files"] == 1
    status = cli("status")
    assert "local: 3 files forgotten" in status.err
    assert "all 9 songs have as many as required" in status.err
    again = cli("forget", "album/0000.mp3", "--yes")
    assert (again.code, again.out) == (0, "")
    assert "0 files, 0 bytes forgotten" in again.err


def test_much_of_a_root_is_forgotten_only_by_its_number(cli, catalog, long_gone):
    refused = cli("forget", "--gone", "--yes")
    wrong = cli("forget", "--gone", "--yes", "--count", 12)

    assert (refused.code, wrong.code) == (2, 2)
    assert f"3 would be forgotten; below {long_gone.root} 3 of 12 files" in refused.err
    assert "add --count 3" in refused.err
    assert "3 would be forgotten, not 12" in wrong.err
    assert rows(catalog, FORGOTTEN) == []
    assert cli("forget", "--gone", "--yes", "--count", 3).code == 0
    assert len(rows(catalog, FORGOTTEN)) == 3


@pytest.mark.parametrize(("answer", "code"), [("3", 0), ("12", 2), ("yes", 2), ("", 2)])
def test_a_person_types_the_number(catalog, long_gone, terminal, answer, code):
    session = terminal("forget", "--db", catalog.path, "--gone", "--yes")
    session.read_until("How many files are to be forgotten")
    session.say(answer)
    session.read_all()

    assert session.process.wait() == code, session.plain
    assert f"3 of 12 files below {long_gone.root} would be forgotten" in session.plain
    assert len(rows(catalog, FORGOTTEN)) == (0 if code else 3)


def test_a_file_that_is_there_is_refused_with_what_to_do(cli, catalog, gone):
    done = cli("forget", gone.root / "album/0005.mp3", "--yes", "--json")

    assert done.code == 2
    assert done.json["error"] == f"{gone.root}/album/0005.mp3 is there, and is not forgotten"
    assert "catalogsync offload" in done.json["hint"]
    many = cli("forget", "album", "--yes", "--count", 3)
    assert "9 files are there, and stay" in many.err
    assert rows(catalog, FORGOTTEN) == [f"album/{i:04d}.mp3" for i in range(3)]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "no files named"),
        (("--days", 3, "album"), "--days needs --gone"),
        (("--gone", "--days", 0), "--days"),
        (("album", "--song", 1), "by path and by song"),
        (("nowhere",), "knows no file or folder nowhere"),
        (("--artist", "nobody"), "there is no artist"),
    ],
)
def test_wrong_use_is_said_and_nothing_is_forgotten(cli, catalog, gone, arguments, said):
    done = cli("forget", *arguments, "--yes")

    assert done.code == 2
    assert said in done.err
    assert rows(catalog, FORGOTTEN) == []


def test_json_tells_all_of_it(cli, long_gone):
    told = cli("forget", "--gone", "--json").json

    assert (told["dry_run"], told["days"], told["files"], told["bytes"]) == (True, 30, 3, 900)
    assert told["before"] == {"missing": 3}
    assert told["roots"] == [{"root": str(long_gone.root), "files": 3, "of": 12}]
    assert told["needs_count"]
    assert (told["nowhere"], told["present"], told["too_soon"]) == (0, 0, 0)
    first = told["listed"][0]
    assert first["path"] == f"{long_gone.root}/album/0000.mp3"
    assert (first["copies"], first["backends"], first["status"]) == (1, ["cloud"], "missing")


# --- status -------------------------------------------------------------------------------------


def test_status_has_a_word_for_each_way_in_which_a_file_is_away(cli, catalog, stored):
    stored(15)
    away = ["missing", "damaged", "excluded", "forgotten", "offloaded"]
    for at, status in enumerate(away):
        sql = "UPDATE file_locations SET status = ? WHERE library_root IS NOT NULL AND id <= ?"
        change(catalog, f"{sql} AND status = 'active'", status, sum(range(at + 2)))

    done = cli("status")

    (local,) = [line.split("\t") for line in done.out.splitlines() if line.startswith("local")]
    assert local[-1] == "1"  # gone
    assert "local: 5 files offloaded, 3 files left out, 4 files forgotten\n" in done.err
    assert "damaged: local: 2 files look damaged, and count as no copy\n" in done.err
    (told,) = [b for b in cli("status", "--json").json["backends"] if b["name"] == "local"]
    assert [told[status] for status in away] == [1, 2, 3, 4, 5]
