"""Which songs a command is about, where they are, and what failed."""

from __future__ import annotations

import pytest

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets_tests.support.database import change, rows

# Four files 1 to 4 of songs 1 to 4.
GROUPINGS = (
    "INSERT INTO playlists (id, name) VALUES (11, 'Evening')",
    "INSERT INTO playlist_songs (playlist_id, song_id) VALUES (11, 3)",
    "INSERT INTO artists (id, name) VALUES (21, 'Nina')",
    "INSERT INTO artist_songs (artist_id, song_id) VALUES (21, 4)",
    "INSERT INTO playlist_pools (id, name) VALUES (31, 'Day')",
    "INSERT INTO pool_playlists (pool_id, playlist_id) VALUES (31, 11)",
    "INSERT INTO artist_pools (id, name) VALUES (41, 'Friends')",
    "INSERT INTO pool_artists (pool_id, artist_id) VALUES (41, 21)",
)


@pytest.fixture
def music(catalog, library, scanned):
    library.fill(4)
    scanned()
    for statement in GROUPINGS:
        change(catalog, statement)
    return catalog


@pytest.fixture
def failing(music, cloud, remote, cli):
    """Two of four uploads have failed: something else is stored under their keys."""
    for number in (0, 1):
        remote(cloud).put(f"album/000{number}.mp3", b"somebody else's")
    done = cli("upload", "--backend", "cloud", "--json")
    assert (done.code, done.json["succeeded"], done.json["failed"]) == (1, 2, 2)
    return cloud


SELECTIONS = [
    (("--playlist", "evening"), [3]),
    (("--playlist", "11"), [3]),
    (("--artist", "NINA"), [4]),
    (("--pool", "day"), [3]),
    (("--pool", "Friends"), [4]),
    (("--song", "1"), [1]),
    (("--song", "1", "--song", "2"), [1, 2]),
    (("--artist", "Nina", "--pool", "Day", "--song", "1"), [1, 3, 4]),
]


@pytest.mark.parametrize(("options", "files"), SELECTIONS)
def test_a_plan_queues_the_songs_asked_for_alone(music, cloud, cli, options, files):
    result = cli("plan", *options, "--json")

    assert result.code == 0
    assert result.json["backends"][0]["queued"] == len(files)
    assert rows(music, "SELECT file_asset_id FROM upload_tasks ORDER BY 1") == files


def test_an_upload_sends_the_songs_asked_for_alone(music, cloud, cli, remote):
    result = cli("upload", "--backend", "cloud", "--playlist", "Evening", "--json")

    assert (result.code, result.json["queued"], result.json["succeeded"]) == (0, 1, 1)
    assert remote(cloud).keys() == ["album/0002.mp3"]


def test_an_upload_of_some_leaves_what_else_was_queued(music, cloud, cli, remote, statuses):
    cli("plan")

    cli("upload", "--backend", "cloud", "--song", "1", "--artist", "Nina")

    assert sorted(remote(cloud).keys()) == ["album/0000.mp3", "album/0003.mp3"]
    assert statuses() == {"succeeded": 2, "pending": 2}


@pytest.mark.parametrize("queued_before", [False, True])
def test_with_prioritize_all_is_planned_and_those_songs_go_first(
    music, cloud, cli, remote, statuses, queued_before
):
    if queued_before:
        cli("plan")

    options = ("--artist", "Nina", "--prioritize", "--limit", 1)
    result = cli("upload", "--backend", "cloud", *options)

    assert result.code == 0
    assert remote(cloud).keys() == ["album/0003.mp3"]
    assert statuses() == {"succeeded": 1, "pending": 3}


def test_a_prioritized_plan_is_kept_by_a_later_upload(music, cloud, cli, remote):
    planned = cli("plan", "--playlist", "Evening", "--prioritize", "--json")
    cli("upload", "--backend", "cloud", "--limit", 1)

    assert planned.json["backends"][0]["queued"] == 4
    assert remote(cloud).keys() == ["album/0002.mp3"]


@pytest.mark.parametrize("command", [("plan",), ("upload", "--backend", "cloud")])
def test_prioritize_alone_is_wrong_use(music, cloud, cli, statuses, command):
    result = cli(*command, "--prioritize")

    assert (result.code, result.out) == (2, "")
    assert "--playlist" in result.err
    assert statuses() == {}


@pytest.mark.parametrize("option", ["--playlist", "--artist", "--pool"])
def test_a_name_that_does_not_exist_is_wrong_use_and_nothing_is_queued(
    music, cloud, cli, statuses, option
):
    result = cli("plan", option, "nobody", "--json")

    assert result.code == 2
    assert "'nobody'" in result.json["error"]
    assert "there are: " in result.json["hint"]
    assert statuses() == {}


def test_enqueue_only_counts_what_was_asked_for(music, cloud, cli):
    cli("plan")

    result = cli("upload", "--backend", "cloud", "--enqueue-only", "--song", "2", "--json")

    assert (result.json["queued"], result.json["queued_bytes"]) == (1, 300)


# --- whereis ------------------------------------------------------------------------------------


def test_whereis_prints_a_line_for_each_file_and_backend(music, cloud, cli, library):
    cli("upload", "--backend", "cloud", "--song", "1")

    lines = [line.split("\t") for line in cli("whereis", "album/000").out.splitlines()]

    assert lines[0][0] == "song"
    assert len(lines) == 1 + 8
    assert [(line[0], line[5], line[6]) for line in lines[1:5]] == [
        ("1", "local", "active"),
        ("1", "cloud", "active"),
        ("2", "local", "active"),
        ("2", "cloud", "absent"),
    ]
    assert lines[1][7] == str(library.root / "album/0000.mp3")


def test_whereis_as_json(music, cloud, cli):
    result = cli("whereis", "3", "--json")

    assert result.code == 0
    assert [(p["song_id"], p["backend"], p["status"]) for p in result.json["places"]] == [
        (3, "local", "active"),
        (3, "cloud", "absent"),
    ]


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_whereis_of_nothing_ends_with_1(music, cli, options):
    result = cli("whereis", "no such thing", *options)

    assert result.code == 1
    assert "no such thing" in result.err
    assert result.json == {"places": []} if options else result.out == ""


# --- failures -----------------------------------------------------------------------------------


def test_failures_are_listed_with_reasons(failing, cli):
    table = [line.split("\t") for line in cli("failures").out.splitlines()]
    result = cli("failures", "--json", "--limit", 1)

    assert [line[:4] for line in table[1:]] == [
        ["cloud", f"{failing.key_prefix}album/000{n}.mp3", "Conflict", "1"] for n in (0, 1)
    ]
    assert result.code == 0
    assert len(result.json["failures"]) == 1
    assert set(result.json["failures"][0]) == {"backend", "locator", "code", "reason", "attempts"}
    assert result.json["requeued"] == 0


def test_retry_queues_failures_again(failing, cli, statuses, remote, library):
    result = cli("failures", "--retry", "--json")

    assert (len(result.json["failures"]), result.json["requeued"]) == (2, 2)
    assert statuses() == {"succeeded": 2, "pending": 2}
    assert cli("failures").out == "no upload has failed\n"
    for number in (0, 1):
        remote(failing).delete(f"album/000{number}.mp3")
    assert cli("upload", "--backend", "cloud").code == 0
    assert remote(failing).contents() == library.contents()


def test_failures_of_another_backend_are_left_alone(failing, backend, cli, statuses):
    backend("other")

    result = cli("failures", "--backend", "other", "--retry", "--json")

    assert result.json == {"failures": [], "requeued": 0}
    assert statuses()["failed"] == 2
    assert cli("failures", "--backend", "nowhere").code == 2


# --- scan and status ----------------------------------------------------------------------------


def test_a_scan_with_plan_says_what_it_queued_for_each_backend(
    music, backend, cli, library, statuses
):
    backend("one")
    backend("two")
    library.fill(1, folder="new")

    first = cli("scan", "--library-root", library.root, "--plan", "--json")
    second = cli("scan", "--library-root", library.root, "--plan", "--json")
    plain = cli("scan", "--library-root", library.root, "--json")

    assert first.json["planned"] == {"one": 5, "two": 5}
    assert second.json["planned"] == {"one": 0, "two": 0}
    assert "planned" not in plain.json
    assert statuses() == {"pending": 10}


def test_status_tells_whole_partial_and_absent_songs_reasons_and_the_last_success(
    failing, backend, cli, music
):
    backend("other")
    # Files 2 and 3 are of one song now: one failed, the other is there.
    change(music, "UPDATE file_assets SET song_id = 3 WHERE id = 2")
    with music.transaction() as connection:
        from catalogsync_assets.core.catalog import presence

        presence.refresh(connection)

    found = {b["name"]: b for b in cli("status", "--json").json["backends"]}

    def songs(name):
        return [
            found[name][key] for key in ("songs", "songs_partial", "songs_absent", "songs_total")
        ]

    assert songs("local") == [3, 0, 0, 3]
    assert songs("cloud") == [1, 1, 1, 3]
    assert songs("other") == [0, 0, 3, 3]
    (reason,) = found["cloud"]["reasons"]
    assert (reason["code"], reason["count"]) == ("Conflict", 2)
    assert reason["example"]
    assert found["other"]["reasons"] == []
    assert len(found["cloud"]["last_success"]) == len("2026-01-02 03:04:05")
    assert found["other"]["last_success"] is None


@pytest.mark.parametrize(
    "command",
    [
        ("plan",),
        ("upload", "--backend", "cloud"),
        ("verify", "--backend", "cloud"),
        ("restore", "--to", "there"),
        ("offload", "--keep-copies", "1"),
        ("export", "catalog"),
    ],
)
@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--song", "4711"), "there is no song 4711"),
        (
            ("--song", "1", "--song", "-5", "--song", "99999999999999999999999"),
            "no song -5 or 9999",
        ),
        (("--playlist", "Evning"), "there is no playlist 'Evning'"),
        (("--artist", "4711"), "there is no artist '4711'"),
        (("--pool", "x"), "there is no playlist pool or artist pool 'x'"),
    ],
)
def test_a_selection_of_what_is_not_there_is_wrong_use(
    music, cloud, cli, statuses, command, option, said
):
    result = cli(*command, *option)

    assert result.code == 2
    assert said in result.err
    assert statuses() == {}


def test_upload_scans_the_roots_that_it_is_given_first(
    library, another_library, cloud, cli, remote
):
    other = another_library("other")
    library.add("a.mp3")
    other.add("b.mp3")
    roots = ("--library-root", library.root, "--library-root", other.root)

    told = cli("upload", "--backend", "cloud", *roots, "--json")

    assert told.code == 0
    assert (told.json["scan"]["new"], told.json["succeeded"]) == (2, 2)
    assert sorted(remote(cloud).keys()) == ["a.mp3", "b.mp3"]
    assert "scan" not in cli("upload", "--backend", "cloud", "--json").json
    nowhere = cli("upload", "--backend", "cloud", "--library-root", library.root.parent / "nowhere")
    assert nowhere.code == 1
    assert "nowhere" in nowhere.err


def test_a_song_that_the_first_scan_finds_can_be_named(library, cloud, cli, remote):
    library.add("a.mp3")
    library.add("b.mp3")
    upload = ("upload", "--backend", "cloud", "--library-root", library.root, "--song")

    assert (cli(*upload, 1).code, len(list(remote(cloud).keys()))) == (0, 1)
    assert cli(*upload, 4711).code == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ("upload", "--backend", "cloud", "--enqueue-only"),
        ("upload", "--backend", "nobody"),
        ("verify", "--history"),
        ("verify",),
        ("plan", "--song", "4711"),
        ("status",),
        ("policy", "--library-root", "x"),
        ("run", "--upload", "nobody"),
    ],
)
def test_the_catalog_is_closed_however_a_command_ends(music, cloud, cli, monkeypatch, arguments):
    """The last connection that is closed takes the write-ahead log away."""
    opened = []
    original = Catalog.open

    def remembering(*given):
        opened.append(original(*given))
        return opened[-1]

    monkeypatch.setattr(Catalog, "open", remembering)
    music.close()

    cli(*arguments)

    assert opened
    assert not music.path.with_name(music.path.name + "-wal").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("plan", "--backend", ""),
        ("upload", "--backend", "cloud", "--library-root="),
        ("whereis", ""),
        ("restore", "--all", "--to", ""),
        ("status", "--db", ""),
        ("scan", "--library-root", ""),
        ("failures", "--limit", "0"),
        ("failures", "--limit", "-1"),
        ("failures", "--limit", "9" * 30),
        ("register-object-backend", "--name", "x", "--bucket", "music", "--base-prefix", "\udcff"),
        ("plan", "--backend", "a\nb"),
        ("verify", "--backend", "cloud", "--sample", "nan"),
        ("register-object-backend", "--name", "x", "--bucket", "music", "--region", "a\nb"),
        ("export", "catalog", "--output", "x" * 5000),
        ("status", "--db", "x" * 5000),
        ("import", "x" * 5000),
    ],
)
def test_odd_arguments_are_one_error(music, cloud, cli, arguments):
    result = cli(*arguments)

    assert result.code in (1, 2)
    assert len([line for line in result.err.splitlines() if line.lower().startswith("error:")]) == 1
