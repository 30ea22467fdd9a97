"""What the commands print, where, and how they end."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest

from catalogsync_assets.cli import main
from catalogsync_assets_tests.support.database import bytes_of

SECRET = "a-secret-that-nobody-may-see"
COMMANDS = main.list_commands(click.Context(main))


# --- help ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_has_an_example(cli, command):
    result = cli(command, "--help")

    assert result.code == 0
    assert "Example" in result.out
    assert f"  catalogsync {command}" in result.out or f" catalogsync {command}" in result.out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command):
    for option in main.get_command(click.Context(main), command).params:
        if isinstance(option, click.Option) and option.name not in ("region", "port"):
            assert option.help, option.name


def test_the_help_shows_a_first_session_and_the_exit_codes(cli):
    result = cli("--help")

    assert result.code == 0
    for command in ("init", "scan", "register-object-backend", "upload", "status"):
        assert f"  catalogsync {command}" in result.out
    assert "Exit codes" in result.out


def test_the_version_is_told(cli):
    assert cli("--version").out.startswith("catalogsync, version ")


# --- a whole session ----------------------------------------------------------------------------


def test_a_first_session(cli, library, register, remote):
    library.fill(3)

    made = cli("init")
    scanned = cli("scan", "--library-root", library.root)
    backend = register()
    planned = cli("plan")
    uploaded = cli("upload", "--backend", "cloud")
    status = cli("status")

    assert [r.code for r in (made, scanned, planned, uploaded, status)] == [0] * 5
    assert made.out.startswith("created ")
    assert "3 files" in scanned.out
    assert "3 new" in scanned.out
    assert planned.out.splitlines()[1].split("\t")[:3] == ["cloud", "3", "3"]
    assert "3 uploaded, 0 adopted, 0 failed" in uploaded.out
    lines = [line.split("\t") for line in status.out.splitlines()]
    assert [line[0] for line in lines] == ["backend", "local", "cloud"]
    assert lines[2][1:5] == ["3", "0", "0", "3"]
    assert "all 3 songs have as many as required (1)" in status.err
    assert remote(backend).contents() == library.contents()
    assert cli("upload", "--backend", "cloud").out == "cloud: nothing to upload\n"


def test_scan_and_register_make_the_catalog(cli, library, tmp_path):
    library.fill(1)
    for number, arguments in enumerate(
        (
            ("scan", "--library-root", library.root),
            ("register-object-backend", "--name", "cloud", "--bucket", "my-music"),
        )
    ):
        path = tmp_path / f"{number}.db"
        assert cli(*arguments, "--db", path).code == 0
        assert path.is_file()


def test_the_default_catalog_is_in_the_current_folder(cli, monkeypatch):
    monkeypatch.delenv("CATALOGSYNC_DB")

    cli("init")

    assert Path("catalogsync.db").is_file()


def test_roots_come_from_the_environment(cli, library, monkeypatch):
    library.fill(2)
    monkeypatch.setenv("CATALOGSYNC_LIBRARY_ROOTS", str(library.root))

    assert cli("scan", "--json").json["files"] == 2


# --- json ---------------------------------------------------------------------------------------


def test_init_as_json(cli, tmp_path):
    path = str(tmp_path / "catalog.db")

    assert cli("init", "--json").json == {"path": path, "action": "created", "backup": None}
    assert cli("init", "--json").json["action"] == "unchanged"


def test_scan_as_json(cli, library):
    gone, _ = library.fill(2, size=10)
    library.add("b\n.mp3")

    first = cli("scan", "--library-root", library.root, "--json", "--batch-files", 1)
    gone.unlink()
    second = cli("scan", "--library-root", library.root, "--json")

    expected = {"files": 2, "bytes": 20, "new": 2, "changed": 0, "missing": 0, "problem_count": 3}
    assert expected.items() <= first.json.items()
    assert len(first.json["batches"]) == 2
    assert {p["path"] for p in first.json["problems"]} >= {r"b\n.mp3"}
    assert second.json["missing_paths"] == [str(gone)]
    assert f"warning: {gone} is gone" in second.err


def test_register_and_backends_as_json(cli, unregistered):
    given = unregistered()
    arguments = ["--name", "cloud", "--bucket", given.bucket, "--endpoint", given.endpoint]

    first = cli("register-object-backend", *arguments, "--json").json
    again = cli("register-object-backend", *arguments, "--json").json
    listed = cli("backends", "--json").json

    assert (first["new"], again["new"]) == (True, False)
    assert (first["name"], first["bucket"]) == ("cloud", given.bucket)
    assert [backend["name"] for backend in listed["backends"]] == ["cloud"]


def test_plan_as_json(cli, library, register):
    library.fill(3, size=10)
    cli("scan", "--library-root", library.root)
    register("cloud")
    register("attic")

    only_two = cli("plan", "--backend", "cloud", "--song", 1, "--song", 2, "--json").json
    all_of_both = cli("plan", "--json").json

    assert only_two == {"backends": [{"backend": "cloud", "queued": 2, "pending": 2, "bytes": 20}]}
    assert all_of_both == {
        "backends": [
            {"backend": "attic", "queued": 3, "pending": 3, "bytes": 30},
            {"backend": "cloud", "queued": 1, "pending": 3, "bytes": 30},
        ]
    }


def test_upload_as_json(cli, library, register, remote):
    library.fill(3, size=10)
    library.add("album/zz.mp3", b"ours")
    cli("scan", "--library-root", library.root)
    backend = register()
    remote(backend).put("album/zz.mp3", b"theirs")
    remote(backend).put("album/0000.mp3", library.contents()["album/0000.mp3"])

    result = cli("upload", "--backend", "cloud", "--workers", 2, "--json")

    assert result.code == 1
    told = result.json
    expected = {
        "queued": 4,
        "succeeded": 2,
        "adopted": 1,
        "failed": 1,
        "bytes": 20,
        "workers": 2,
        "backend": "cloud",
    }
    assert expected.items() <= told.items()
    assert told["seconds"] > 0
    (failure,) = told["failures"]
    assert failure["file"].endswith("zz.mp3")
    assert failure["code"] == "Conflict"
    assert "nothing was overwritten" in failure["reason"]


def test_files_beside_the_music_are_told_apart(cli, library, register):
    library.fill(2)
    library.add("album/cover.jpg")
    library.add("mine.m3u8", b"album/0001.mp3\nalbum/none.mp3\n")
    scanned = cli("scan", "--library-root", library.root)
    register()
    cli("upload", "--backend", "cloud")
    library.add("album/back.jpg")
    cli("scan")

    status = cli("status")
    found = cli("whereis", "cover.jpg", "--json").json["places"]

    assert "4 files (2 beside the music)" in scanned.out
    assert "1 new, 0 removed; 1 entries name no file of it" in scanned.out
    assert "files beside the music: 3 of 3" in status.err
    assert "files beside the music: 2 of 3" in status.err
    assert "2 songs have as many as required" in status.err
    assert {place["backend"] for place in found} == {"local", "cloud"}
    assert [place["song_id"] for place in found] == [None, None]


def test_status_as_json(cli, library, register, tmp_path):
    library.fill(2, size=10)
    cli("scan", "--library-root", library.root)
    register()
    cli("upload", "--backend", "cloud", "--limit", 1)

    told = cli("status", "--json").json

    assert told["catalog"] == str(tmp_path / "catalog.db")
    by_name = {backend.pop("name"): backend for backend in told["backends"]}
    expected = {"songs": 1, "files": 1, "bytes": 10, "pending": 1, "failed": 0}
    assert expected.items() <= by_name["cloud"].items()
    expected = {"songs": 2, "files": 2, "bytes": 20, "pending": 0, "failed": 0}
    assert expected.items() <= by_name["local"].items()


def test_json_keeps_every_script_as_it_is(cli, library):
    path = library.add("雨.mp3")
    cli("scan", "--library-root", library.root)
    library.add("b.mp3")
    path.unlink()

    result = cli("scan", "--library-root", library.root, "--json")

    assert "雨.mp3" in result.out


def test_thousands_of_warnings_are_not_all_listed(cli, library):
    library.fill(30)
    cli("scan", "--library-root", library.root)
    for path in sorted(library.root.rglob("*.mp3"))[:25]:
        path.unlink()

    lines = cli("scan", "--library-root", library.root).errors

    assert sum("is gone; its copies" in line for line in lines) == 20
    assert "and 5 more; --json lists them" in lines


# --- uploading ----------------------------------------------------------------------------------


def test_enqueue_only_sends_nothing(cli, library, register, proxy):
    library.fill(3)
    cli("scan", "--library-root", library.root)
    register(endpoint=proxy.endpoint)

    result = cli("upload", "--backend", "cloud", "--enqueue-only", "--json")

    assert (result.code, result.json["queued"], result.json["succeeded"]) == (0, 3, 0)
    assert proxy.requests == []


def test_failures_are_listed_by_reason(cli, library, register, remote):
    library.fill(30)
    cli("scan", "--library-root", library.root)
    for path in sorted(library.root.rglob("*.mp3"))[2:]:
        path.unlink()
    for path in sorted(library.root.rglob("*.mp3")):
        path.write_bytes(b"another content")
    register()

    result = cli("upload", "--backend", "cloud")

    assert result.code == 1
    assert "0 uploaded, 0 adopted, 30 failed" in result.out
    lines = result.errors
    assert [line for line in lines if line.startswith("failed: ")] == [
        "failed: 28 files: SourceMissing",
        "failed: 2 files: SourceChanged",
    ]
    assert lines[6] == "  and 23 more; --json lists them"
    assert "mp3 has changed since the last scan" in lines[8]


def test_files_without_readable_tags_are_told_of_and_listed(cli, library):
    path = library.add("a.mp3", b"no audio")
    cli("scan", "--library-root", library.root)

    scanned = cli("scan")

    warning, hint = scanned.errors
    assert warning.startswith("warning: tags that cannot be read, or a missing end, in 1 file of")
    assert str(path) in warning
    assert hint == "hint: `catalogsync failures --tags` lists them"
    told = cli("scan", "--json").json
    assert [file["path"] for file in told["unread_tags"]] == [str(path)]
    assert told["unread_tag_count"] == 1
    listed = cli("failures", "--tags")
    assert listed.code == 0
    assert str(path) in listed.out
    told = cli("failures", "--tags", "--json").json
    (file,) = told["unread_tags"]
    assert (told["unread_tag_count"], file["path"]) == (1, str(path))
    assert "tags cannot be read" in file["reason"]
    assert cli("status", "--json").json["unread_tag_count"] == 1
    assert cli("failures", "--tags", "--retry").code == 2


def test_plan_without_a_backend_says_what_to_do(cli):
    cli("init")

    result = cli("plan", "--json")

    assert result.json == {"backends": []}
    assert "register-object-backend" in result.err


def test_a_backend_registered_again_says_so(cli):
    arguments = ("register-object-backend", "--name", "cloud", "--bucket", "my-music")

    assert cli(*arguments).out.startswith("registered cloud")
    assert cli(*arguments).out.startswith("updated cloud")
    listed = cli("backends").out.splitlines()
    assert listed[1].split("\t")[:3] == ["cloud", "my-music", "AWS"]


def test_no_command_prints_a_secret(cli, library, register, tmp_path):
    library.fill(1)
    cli("scan", "--library-root", library.root)
    register()
    commands = "upload --backend cloud", "backends", "backend test cloud", "status", "plan"
    said = [cli(*line.split(), *more) for line in commands for more in ((), ("--json",))]

    assert all(result.code == 0 for result in said)
    assert SECRET not in "".join(result.out + result.err for result in said)
    assert SECRET.encode() not in bytes_of(tmp_path / "catalog.db")


def test_every_json_result_is_one_line(cli, library, register):
    library.fill(1)
    outputs = [
        cli(*arguments, "--json")
        for arguments in (
            ("init",),
            ("scan", "--library-root", library.root),
            ("backends",),
            ("plan",),
            ("status",),
        )
    ]

    assert register() is not None
    outputs.append(cli("upload", "--backend", "cloud", "--json"))
    for result in outputs:
        assert result.code == 0
        assert result.out.count("\n") == 1
        assert isinstance(json.loads(result.out), dict)


def test_a_scan_without_roots_takes_those_of_the_last_one(cli, library):
    library.fill(2)
    cli("scan", "--library-root", library.root)
    library.add("later.mp3")

    again = cli("scan")

    assert (again.code, "1 new" in again.out) == (0, True)
