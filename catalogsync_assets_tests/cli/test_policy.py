"""How many copies there must be, and what `status` says of it."""

from __future__ import annotations

import pytest

from catalogsync_assets_tests.support.database import change


@pytest.fixture
def music(catalog, library, scanned, backend):
    """Three songs, two backends, nothing uploaded."""
    library.fill(3)
    scanned()
    backend("cloud")
    backend("attic")
    return library


def test_without_a_policy_every_backend_is_required(cli, music):
    result = cli("policy")

    lines = [line.split("\t") for line in result.out.splitlines()[1:]]
    assert lines == [["(all others)", "all (2)", "-"], [str(music.root), "all (2)", "-"]]
    assert cli("policy", "--json").json == {
        "backends": 2,
        "policies": [
            {"library_root": "", "required_copies": "all", "copies": 2, "own": False},
            {"library_root": str(music.root), "required_copies": "all", "copies": 2, "own": False},
        ],
    }


def test_a_policy_is_set_shown_and_taken_back(cli, music):
    assert cli("policy", "--required-copies", 1).code == 0
    told = cli("policy", "--library-root", music.root, "--required-copies", "all", "--json").json
    assert [(p["required_copies"], p["own"]) for p in told["policies"]] == [
        (1, True),
        ("all", True),
    ]

    told = cli(
        "policy", "--library-root", music.root, "--required-copies", "default", "--json"
    ).json
    assert [(p["required_copies"], p["own"]) for p in told["policies"]] == [(1, True), (1, False)]


def test_more_copies_than_backends_are_warned_about(cli, music):
    result = cli("policy", "--required-copies", 3)

    assert result.code == 0
    assert "warning: all others: 3 copies are required, but 2 backends" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--required-copies", "some"), "is not a number of copies, all or default"),
        (("--required-copies", "-1"), "is not a number of copies"),
        (("--library-root", "."), "add --required-copies"),
        (("--library-root", "elsewhere", "--required-copies", "2"), "knows no library root"),
    ],
)
def test_a_wrong_policy_is_one_clear_error(cli, music, arguments, said):
    result = cli("policy", *arguments)

    assert (result.code, result.out) == (2, "")
    assert said in result.err


def test_status_tells_whether_there_are_enough_copies(cli, music):
    assert "copies: 3 of 3 songs have fewer than required (2);" in cli("status").err

    cli("upload", "--backend", "cloud")
    told = cli("status", "--under-replicated", "--limit", 2, "--json").json
    assert told["policy"] == {
        "songs": 3,
        "songs_under_policy": 3,
        "companions_under_policy": 0,
        "backends": 2,
        "required_copies": [2, 2],
        "same": [],
        "unproven": [],
    }
    assert [(s["song_id"], s["copies"], s["required"]) for s in told["under_replicated"]] == [
        (1, 1, 2),
        (2, 1, 2),
    ]
    assert cli("status", "--under-policy", "--limit", 2, "--json").json == told

    cli("policy", "--required-copies", 1)
    assert "copies: all 3 songs have as many as required (1)" in cli("status").err
    result = cli("status", "--under-replicated")
    assert (result.code, result.out) == (0, "")


def test_status_tells_when_what_is_there_was_verified(cli, music, catalog):
    cli("upload", "--backend", "cloud")
    plain, asked = cli("status"), cli("status", "--verified")
    assert "last audit never" in plain.err
    assert "verified from" not in plain.err
    assert "verified from 20" in asked.err
    change(
        catalog,
        "INSERT INTO audits (backend_id, level, sample_percent, repair, status, finished_at)"
        " SELECT id, 'full', 5, 0, status, '2026-01-02 03:04:05' FROM storage_backends"
        " JOIN (SELECT 'complete' AS status UNION ALL SELECT 'interrupted') WHERE name = 'cloud'",
    )

    assert "last audit 2026-01-02 03:04:05 (full, 5%)" in cli("status").err
    told = cli("status", "--verified", "--json").json
    by_name = {b["name"]: b for b in told["backends"]}
    assert by_name["cloud"]["last_audit"] == {
        "level": "full",
        "finished_at": "2026-01-02 03:04:05",
        "sample_percent": 5.0,
        "limited": False,
    }
    assert by_name["attic"]["last_audit"] is None
    assert list(told["verified"]) == ["cloud"]


def test_status_tells_damaged_objects(cli, music, catalog):
    cli("upload", "--backend", "cloud")
    change(
        catalog,
        "UPDATE file_locations SET status = 'damaged' WHERE id = (SELECT MIN(l.id)"
        " FROM file_locations l JOIN storage_backends b ON b.id = l.backend_id"
        " WHERE b.name = 'cloud')",
    )

    result = cli("status")

    assert "damaged: cloud: the content of 1 file is wrong" in result.err
    assert {b["name"]: b["damaged"] for b in cli("status", "--json").json["backends"]} == {
        "local": 0,
        "attic": 0,
        "cloud": 1,
    }


def test_a_catalog_with_nothing_to_copy_says_so(cli, catalog, library):
    assert "copies: no songs yet" in cli("status").err
    library.fill(1)
    cli("scan", "--library-root", library.root)
    assert "no backend is registered, so there are none" in cli("status").err
