"""The commands `offload` and `adopt`: what a person or a program sees of them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def three(stored):
    """A library of three files that are on one backend, too."""
    return stored(3)


# --- offload ------------------------------------------------------------------------------------


def test_without_delete_it_says_what_would_go(cli, three):
    done = cli("offload", "--keep-copies", 1)

    assert done.code == 0
    lines = done.out.splitlines()
    assert lines[0] == "3 files, 900 bytes would be removed"
    assert lines[1] == f"  {three.root}/album/0000.mp3"
    assert "nothing was removed; --delete removes them once the stores have proven" in done.err
    assert len(three.contents()) == 3


def test_with_delete_it_removes(cli, three):
    done = cli("offload", "--keep-copies", 1, "--delete")

    assert (done.code, done.out) == (0, "3 files, 900 bytes removed\n")
    assert three.contents() == {}
    assert "\t3\t" in cli("status").out.splitlines()[1]
    assert cli("scan").out.startswith(
        "0 files, 0 bytes: 0 new, 0 changed, 0 moved, 0 unchanged, 0 gone"
    )


def test_files_that_may_not_go_are_listed_with_reasons(cli, three, remote, cloud):
    three.add("album/0000.mp3", b"changed")
    remote(cloud).delete("album/0001.mp3")

    done = cli("offload", "--keep-copies", 1, "--delete")

    assert (done.code, done.out) == (1, "1 file, 300 bytes removed\n")
    assert "failed: 1 file: Changed" in done.err
    assert "0000.mp3 has changed since the last scan" in done.err
    assert "failed: 1 file: NotProven" in done.err
    assert "0001.mp3 stays: 0 of 1 copies proven (cloud: missing)" in done.err
    assert "Traceback" not in done.err


def test_json_tells_the_same(cli, three):
    found = cli("offload", "--keep-copies", 1, "--check", "--json").json

    assert (found["dry_run"], found["checked"], found["removed"]) == (True, True, 3)
    assert found["files"] == [f"{three.root}/album/{i:04d}.mp3" for i in range(3)]
    assert (found["failed"], found["too_few"], found["goal_reached"]) == (0, 0, True)


def test_a_goal_that_cannot_be_reached_is_said(cli, three, monkeypatch):
    usage = type("Usage", (), {"free": 10_000_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)

    assert cli("offload", "--keep-copies", 1, "--until-free", "20MB").code == 0
    done = cli("offload", "--keep-copies", 1, "--until-free", "20MB", "--delete")

    assert done.code == 1
    assert f"only 10.0 MB free at {three.root}, not 20.0 MB" in done.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--below-policy"], "add --keep-copies"),
        (["--keep-copies", 0], "--keep-copies"),
        (["--keep-copies", 2], "2 copies cannot be kept by 1 backends"),
        (["--keep-copies", 1, "--older-than", "soon"], "write it like 90d, 8w or 12h"),
        (["--keep-copies", 1, "--older-than", "3m"], "write it like 90d, 8w or 12h"),
        (["--keep-copies", 1, "--until-free", "much"], "is not a size"),
        (["--keep-copies", 1, "--backend", "nowhere"], "no backend is called 'nowhere'"),
        (["--keep-copies", 1, "--playlist", "none"], "there is no playlist"),
    ],
)
def test_wrong_use_is_said_and_nothing_goes(cli, three, arguments, said):
    done = cli("offload", *arguments, "--delete")

    assert done.code == 2
    assert said in done.err
    assert len(three.contents()) == 3


def test_the_policy_is_the_number_that_is_not_given(cli, three, backend, buckets, uploaded):
    cli("policy", "--required-copies", 2)

    done = cli("offload", "--delete")
    assert (done.code, done.out) == (0, "0 files, 0 bytes removed\n")
    assert "3 files stay: with fewer copies on different stores than their policy" in done.err
    refused = cli("offload", "--keep-copies", 1, "--delete")
    assert (refused.code, len(three.contents())) == (2, 3)
    assert "the policy asks for 2 copies of each file below" in refused.err
    assert "add --below-policy" in refused.err

    uploaded(backend("vault", bucket=buckets[1]), limit=1)
    assert cli("offload", "--delete", "--json").json["keep_copies"] is None
    assert len(three.contents()) == 2
    done = cli("offload", "--keep-copies", 1, "--below-policy", "--delete")
    assert (done.code, done.out) == (0, "2 files, 600 bytes removed\n")


def test_one_bucket_under_two_names_is_said_wherever_copies_are_counted(
    cli, three, cloud, backend, uploaded, unregistered
):
    alias = {"endpoint": cloud.endpoint.replace("127.0.0.1", "localhost")}
    uploaded(backend("again", **alias))
    cli("policy", "--required-copies", 2)

    done = cli("offload", "--keep-copies", 2, "--delete")
    assert (done.code, len(three.contents())) == (1, 3)
    assert "2 copies: again, cloud are the same store" in done.err
    dry = cli("offload")
    assert dry.out == "0 files, 0 bytes would be removed\n"
    assert "again, cloud are the same store, and count as one" in dry.err
    status = cli("status", "--json").json["policy"]
    assert (status["songs_under_policy"], status["same"]) == (3, [["again", "cloud"]])
    assert "copies: again, cloud are the same store, and count as one copy" in cli("status").err
    assert "2 backends are registered, on 1 store:" in cli("policy").err

    cli(
        *("register-object-backend", "--name", "again", "--bucket", cloud.bucket),
        *("--endpoint", cloud.endpoint, "--credential-env-prefix", "CLOUD"),
    )
    status = cli("status")
    assert "cloud and again are not proven to be two stores" in status.err
    assert "run `catalogsync backend test again` to find out" in status.err
    warned = cli("offload").err
    assert "warning: cloud and again count as one, as they are not proven" in warned
    assert "hint: run `catalogsync backend test again`" in warned

    tested = cli("backend", "test", "cloud")
    assert "again: the same store; what both hold counts as one copy" in tested.err
    others = cli("backend", "test", "cloud", "--json").json["others"]
    assert others == [{"backend": "again", "verdict": "same", "why": ""}]
    assert "again, cloud are the same store" in cli("status").err


def test_ages_are_lengths_of_time(cli, three):
    (three.root / "album/0000.mp3").touch()
    cli("scan")

    for age in ("1h", "1d", "2w"):
        found = cli("offload", "--keep-copies", 1, "--older-than", age, "--json").json
        assert (found["removed"], found["younger"]) == (2, 1)


# --- adopt --------------------------------------------------------------------------------------


@pytest.fixture
def filled(library, scanned, cloud, remote, catalog):
    """A bucket with two of three files, and something else."""
    for path in library.fill(3)[:2]:
        remote(cloud).put(f"album/{Path(path).name}", path.read_bytes())
    remote(cloud).put("cover.jpg", b"a picture")
    scanned()
    return library


def test_adopt_says_what_it_found(cli, filled, cloud):
    done = cli("adopt", "--backend", "cloud")

    assert done.code == 0
    assert done.out == (
        "cloud: 3 objects listed, 0 known, 2 adopted (600 bytes), 0 differ, 0 undecided, 0 failed\n"
    )
    assert f"untracked: 1 (no file has this key)\n  {cloud.key_prefix}cover.jpg" in done.err
    assert "lacking: 1 (`upload` sends it)" in done.err
    assert "1 file queued" in cli("upload", "--backend", "cloud").out


def test_what_differs_is_an_exit_code_of_1(cli, filled, cloud, remote):
    remote(cloud).put("album/0002.mp3", b"x")

    done = cli("adopt", "--backend", "cloud", "--dry-run", "--json")

    assert done.code == 1
    assert (done.json["adopted"], done.json["differ"], done.json["dry_run"]) == (2, 1, True)
    assert done.json["mismatches"] == [
        {"key": f"{cloud.key_prefix}album/0002.mp3", "code": "size", "reason": "1 bytes, not 300"}
    ]


def test_a_store_that_is_not_there_is_one_clear_error(
    cli, scanned, library, backend, unused_endpoint, monkeypatch
):
    from catalogsync_assets.core.adopt import adopt as adopt_module

    library.fill(1)
    scanned()
    backend("gone", endpoint=unused_endpoint)
    monkeypatch.setattr(
        adopt_module.adopt,
        "__kwdefaults__",
        {**(adopt_module.adopt.__kwdefaults__ or {}), "attempts": 1},
    )

    done = cli("adopt", "--backend", "gone", "--json")

    assert done.code == 1
    assert done.json["error"]
    assert done.err.startswith("error: ")
    assert "Traceback" not in done.err
