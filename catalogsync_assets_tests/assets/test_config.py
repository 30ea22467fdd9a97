"""What may be set for a single run, and what that run then leaves and says."""

import dagster as dg
import pytest

from catalogsync_assets_tests.support.database import bytes_of, change

MIB = 1024 * 1024


@pytest.fixture
def playlists(catalog):
    """After a scan of five files: `Evening` has the songs 1 and 2; the artist `Nina` song 2; the
    pool `Day` holds `Evening`."""
    for statement in (
        "INSERT INTO playlists (id, name) VALUES (11, 'Evening')",
        "INSERT INTO playlist_songs (playlist_id, song_id) VALUES (11, 1), (11, 2)",
        "INSERT INTO artists (id, name) VALUES (21, 'Nina')",
        "INSERT INTO artist_songs (artist_id, song_id) VALUES (21, 2)",
        "INSERT INTO playlist_pools (id, name) VALUES (31, 'Day')",
        "INSERT INTO pool_playlists (pool_id, playlist_id) VALUES (31, 11)",
    ):
        change(catalog, statement)


@pytest.fixture
def five(pipeline, library, cloud, playlists):
    """A scanned library of five files, each a song."""
    pipeline.fill(5, size=200_000)
    return pipeline


# --- dry runs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("asset", ["pending_uploads", "remote_locations"])
def test_a_dry_run_shows_what_would_go_and_changes_nothing(
    pipeline, backend, proxy, catalog, asset
):
    cloud = backend("cloud", endpoint=proxy.endpoint)
    first, *_ = pipeline.fill(3, size=500_000)
    catalog.close()
    before = bytes_of(catalog.path)

    plan = asset == "pending_uploads"
    run = pipeline.plan(dry_run=True) if plan else pipeline.upload(config={"dry_run": True})

    seen = run.observation
    assert (seen["would upload"], seen["would upload (MiB)"]) == (3, round(1_500_000 / MIB, 3))
    assert seen["first files"][0] == {
        "file": str(first),
        "key": f"{cloud.key_prefix}album/0000.mp3",
        "MiB": round(500_000 / MIB, 3),
    }
    assert seen["not materialized"].startswith("a dry run")
    assert proxy.requests == []
    assert bytes_of(catalog.path) == before
    assert pipeline.instance.get_materialized_partitions(dg.AssetKey(asset)) == set()


def test_a_dry_run_counts_only_what_the_filter_and_the_limit_leave(five):
    assert five.upload(config={"dry_run": True, "limit": 4}).observation["would upload"] == 4
    seen = five.upload(config={"dry_run": True, "playlists": ["evening"]}).observation
    assert seen["would upload"] == 2
    assert seen["restricted to"] == "playlists: evening"


def test_a_dry_run_of_a_cell_that_is_whole_materializes_nothing_either(five):
    five.upload()
    before = len(five.instance.fetch_materializations(dg.AssetKey("remote_locations"), 9).records)

    assert five.upload(config={"dry_run": True}).observation["would upload"] == 0

    after = len(five.instance.fetch_materializations(dg.AssetKey("remote_locations"), 9).records)
    assert (before, after) == (1, 1)


# --- limits and filters -------------------------------------------------------------------------


@pytest.mark.parametrize("chunk_max_files", [5_000, 2])
def test_a_limited_run_uploads_so_many_files_and_does_not_count_as_the_cell(
    five, cloud, remote, chunk_max_files
):
    seen = five.upload(config={"limit": 3, "chunk_max_files": chunk_max_files}).observation

    assert (seen["uploaded"], seen["files missing"], seen["dagster/row_count"]) == (3, 2, 3)
    assert "limit: 3" in seen["not materialized"]
    assert remote(cloud).keys() == [f"album/000{i}.mp3" for i in range(3)]
    assert five.cells() == set()

    # Whole by chance: the rest was not more than the limit.
    assert five.upload(config={"limit": 2}).metadata["uploaded"] == 2
    assert len(five.cells()) == 1


@pytest.mark.parametrize(
    ("selected", "files"),
    [
        ({"songs": [3, 5]}, [2, 4]),
        ({"playlists": ["evening"]}, [0, 1]),
        ({"playlists": ["11"], "songs": [4]}, [0, 1, 3]),
        ({"artists": ["Nina"]}, [1]),
        ({"pools": ["Day"]}, [0, 1]),
    ],
    ids=["songs", "playlist", "both", "artist", "pool"],
)
def test_a_run_for_some_songs_leaves_the_others_alone(
    five, cloud, remote, statuses, selected, files
):
    seen = five.upload(config=selected).observation

    assert remote(cloud).keys() == [f"album/{i:04d}.mp3" for i in files]
    assert statuses() == {"succeeded": len(files)}
    assert seen["files missing"] == 5 - len(files)
    assert five.cells() == set()


def test_a_plan_for_some_songs_queues_only_those(five, statuses):
    seen = five.plan(playlists=["Evening"]).observation

    assert (seen["newly queued"], seen["left out"]) == (2, 3)
    assert statuses() == {"pending": 2}

    assert five.plan().metadata["dagster/row_count"] == 5


def test_a_plan_for_some_songs_that_leaves_out_none_counts(five):
    five.upload(config={"songs": [3, 4, 5]})

    assert five.plan(playlists=["Evening"]).metadata["newly queued"] == 2


@pytest.mark.parametrize(
    ("of_run", "of_resource"), [({"workers": 1}, 4), ({}, 1)], ids=["run", "resource"]
)
def test_the_store_sees_no_more_requests_than_workers_of_the_run_else_of_the_resource(
    pipeline, backend, proxy, of_run, of_resource
):
    backend("cloud", endpoint=proxy.endpoint)
    pipeline.fill(8)

    assert pipeline.upload(config=of_run, workers=of_resource).success

    assert proxy.most_at_once == 1


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "said", "hint"),
    [
        ({"playlists": ["Evenings"]}, "there is no playlist 'Evenings'", "there are: Evening"),
        ({"artists": ["Bill"]}, "there is no artist 'Bill'", "there are: Nina"),
        ({"songs": [1, 98, 99]}, "there is no song 98 or 99", "`catalogsync whereis TITLE"),
    ],
    ids=["playlist", "artist", "song"],
)
@pytest.mark.parametrize("asset", ["pending_uploads", "remote_locations"])
def test_what_the_catalog_does_not_know_is_named_before_anything_is_done(
    five, statuses, asset, config, said, hint
):
    run = five.plan(**config) if asset == "pending_uploads" else five.upload(config=config)

    description, metadata = run.failure
    assert description.startswith(said)
    assert metadata["hint"].startswith(hint)
    assert run.retries == 0
    assert statuses() == {}


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"workers": 0}, "workers: Input should be greater than or equal to 1"),
        ({"workers": 257}, "workers: Input should be less than or equal to 256"),
        ({"limit": 0}, "limit: Input should be greater than or equal to 1"),
        ({"chunk_max_files": 0}, "chunk_max_files: Input should be greater"),
        ({"workers": "many"}, "path root:ops:remote_locations:config:workers"),
        ({"playlist": ["Evening"]}, 'unexpected config entry "playlist"'),
    ],
    ids=["none", "too-many", "limit", "chunk", "no-number", "unknown"],
)
def test_a_setting_that_makes_no_sense_is_refused_before_the_run_starts(five, config, said):
    runs = five.instance.get_runs_count()

    with pytest.raises(dg.DagsterInvalidConfigError, match=said):
        five.upload(config=config)

    assert five.instance.get_runs_count() == runs


def test_a_setting_may_come_from_the_environment(five, cloud, remote, monkeypatch):
    monkeypatch.setenv("HOW_MANY", "2")

    assert five.upload(config={"limit": {"env": "HOW_MANY"}}).success

    assert len(remote(cloud).keys()) == 2
