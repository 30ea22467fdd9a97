"""import and run: what they print, how they end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalogsync_assets.core.download import file as fetcher
from catalogsync_assets_tests.support.database import rows


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch):
    monkeypatch.setattr(fetcher, "_MAX_BACKOFF", 0.02)


@pytest.fixture
def manifest(tmp_path):
    path = tmp_path / "m.csv"
    path.write_text("url,title,playlist\nhttp://a.example/1,A,Mine\nnonsense,B\n")
    return path


def test_an_import_says_what_it_did_and_which_lines_are_bad(cli, manifest):
    """It makes the catalog, too."""
    done = cli("import", manifest)

    assert done.code == 1
    assert done.out == (
        "1 entries: 1 file queued, 0 known before, 1 new songs, 1 new playlists, 1 bad lines\n"
    )
    assert f"{manifest}, line 3: the url does not begin with http:// or https://" in done.err


def test_an_import_warns_of_a_value_that_it_did_without(cli, manifest):
    manifest.write_text("url,track\nhttp://a.example/1,A1\n")

    done = cli("import", manifest)

    assert done.code == 0
    assert f"warning: {manifest}, line 2: track cannot be read, imported without it" in done.err


def test_an_import_as_json(cli, manifest):
    done = cli("import", manifest, "--json")

    assert done.json == {
        "entries": 1,
        "tasks": 1,
        "songs": 1,
        "playlists": 1,
        "playlist_songs": 1,
        "removed": 0,
        "local": 0,
        "known": 0,
        "updated": 0,
        "bad": 1,
        "problems": [
            {"line": 3, "reason": "the url does not begin with http:// or https://"},
        ],
        "odd": 0,
        "warnings": [],
        "guessed_encoding": None,
    }


def test_an_import_says_which_encoding_it_guessed_and_what_left_a_playlist(cli, tmp_path):
    path = tmp_path / "m.m3u"
    path.write_bytes(b"#EXTINF:1,Bj\xf6rk - A\rhttp://a.example/1\rhttp://a.example/2\r")

    done = cli("import", path)
    path.write_text("http://a.example/2")
    again = cli("import", path)

    assert done.code == 0
    assert "is not all UTF-8; the rest was read as windows-1252" in done.err
    assert "--encoding" in done.err
    assert "1 songs removed from playlists" in again.out
    assert again.err == ""
    assert cli("import", path, "--encoding", "klingon").code == 2


def test_a_path_of_a_file_is_said_to_be_one(cli, tmp_path):
    path = tmp_path / "m.m3u"
    path.write_text("A/1.flac\nC:\\x\\2.mp3\nfile:///x/3.mp3\n4.ogg\nftp://a.example/5.mp3\n")

    lines = [line for line in cli("import", path).err.splitlines() if "line" in line]

    assert ["looks like a path" in line for line in lines] == [True] * 4 + [False]


def test_an_import_without_bad_lines_ends_well(cli, tmp_path):
    path = tmp_path / "m.jsonl"
    path.write_text('{"url": "http://a.example/1"}')

    assert cli("import", path).code == 0
    assert cli("import", path, "--playlist", "P", "--source", "http").code == 0


@pytest.mark.parametrize(
    "arguments", [("none.csv",), ("x.txt",), ("x.csv", "--format", "pdf"), ()], ids=str
)
def test_wrong_use_of_import_is_told_apart(cli, arguments):
    assert cli("import", *arguments).code == 2


def test_a_run_downloads_scans_and_uploads(
    cli, web, queue_downloads, library, cloud, remote, catalog
):
    queue_downloads(web.add("/1.flac"), web.add("/2.flac"))

    done = cli("run", "--library-root", library.root, "--upload", "cloud", "--workers", 2)

    assert done.code == 0, done.err
    assert done.out.startswith("2 files queued, 2 downloaded, 0 failed; 6.0 kB in ")
    assert "cloud: 2 files queued, 2 uploaded, 0 adopted, 0 failed; 6.0 kB" in done.out
    assert remote(cloud).contents() == library.contents()
    assert rows(catalog, "SELECT file_count FROM batches") == [2]


def test_a_run_as_json_is_one_object(cli, web, queue_downloads, library, cloud):
    queue_downloads(web.add("/1.flac"), web.url + "/404")

    done = cli("run", "--library-root", library.root, "--upload", "cloud", "--json")

    assert done.code == 1
    told = done.json
    assert set(told) == {"download", "scan", "upload"}
    assert told["download"]["sources"] == {"http": {"done": 1, "failed": 1, "bytes": 3000}}
    (failure,) = told["download"]["failures"]
    assert (failure["code"], failure["source"]) == ("NotFound", "http")
    assert told["scan"]["files"] == told["upload"]["succeeded"] == 1


def test_a_run_whose_upload_breaks_off_tells_what_it_did(
    cli, web, queue_downloads, library, backend
):
    queue_downloads(web.add("/1.flac"))
    backend(bucket="no-such-bucket")

    done = cli("run", "--library-root", library.root, "--upload", "cloud", "--json")

    assert done.code == 1
    assert set(done.json) == {"download", "scan", "upload", "error", "hint"}
    assert (done.json["download"]["succeeded"], done.json["upload"]["succeeded"]) == (1, 0)
    assert "'no-such-bucket'" in done.json["error"]


def test_failures_are_listed_and_tried_again(cli, web, queue_downloads, library):
    queue_downloads(web.url + "/x.flac?sig=hunter2")
    root = ("--library-root", library.root)

    done = cli("run", *root)

    assert done.code == 1
    assert "1 failed" in done.out
    assert f"failed: {web.url}/x.flac?…: not found (HTTP 404)" in done.err
    assert "hunter2" not in done.out + done.err
    web.add("/x.flac")
    assert cli("run", *root).code == 0
    assert cli("run", *root).out == "nothing to download\n"


def test_a_run_is_limited_as_told(cli, web, queue_downloads, library):
    queue_downloads(*({"url": web.add(f"/{i}.flac"), "playlist": f"P{i % 2}"} for i in range(6)))
    base = ("run", "--library-root", library.root, "--json")

    def downloaded(*arguments):
        return int(cli(*base, *arguments).json["download"]["succeeded"])

    assert downloaded("--source", "tape") == 0
    assert downloaded("--playlist", "p1", "--limit", 2) == 2
    assert downloaded("--playlist", "P1") == 1
    assert downloaded("--source", "http") == 3


def test_a_file_that_is_too_large_is_refused(cli, web, queue_downloads, library):
    queue_downloads(web.add("/x.flac", b"fLaC" + bytes(2 * 1024 * 1024)))

    done = cli("run", "--library-root", library.root, "--max-file-mib", 1)

    assert done.code == 1
    assert "larger than 1,048,576 bytes" in done.err
    assert "--max-file-mib" in done.err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--library-root", "/no/such/folder"),
        ("--playlist", "none", "--library-root", "."),
        ("--upload", "none", "--library-root", "."),
        ("--workers", "0"),
        (),
    ],
    ids=str,
)
def test_wrong_use_of_run_is_told_apart(cli, catalog, arguments):
    """A folder that is not there may be a disk that is not mounted: it is not made."""
    done = cli("run", *arguments)

    assert done.code == (1 if "/no/such/folder" in arguments else 2)
    assert done.err
    assert not Path("/no/such/folder").exists()


def test_a_run_without_a_catalog_says_so(cli):
    done = cli("run", "--json")

    assert done.code == 1
    assert "there is no catalog" in json.loads(done.out)["error"]
