"""`backend_presence`: the picture of what is where."""

import pytest

from catalogsync_assets.assets.ui.metadata import percent
from catalogsync_assets_tests.support.database import change, rows

PRESENCE = (
    "SELECT s.title, b.name, p.files_total, p.files_present FROM song_backend_presence p"
    " JOIN songs s ON s.id = p.song_id JOIN storage_backends b ON b.id = p.backend_id"
    " ORDER BY 1, 2"
)


def test_presence_counts_songs_files_bytes_and_what_is_still_to_do(
    pipeline, backend, remote, library
):
    cloud = backend("cloud")
    backend("empty")
    pipeline.fill(4, size=400_000)
    remote(cloud).put("album/0002.mp3", b"foreign")
    pipeline.upload()
    library.add("later.mp3")
    pipeline.scan()
    pipeline.plan()
    remote(cloud).put("album/0002.mp3", b"foreign")

    metadata = pipeline.presence().metadata

    figures = {
        "dagster/row_count": 5,
        "songs complete": 3,
        "songs partial": 0,
        "songs absent": 2,
        "complete (%)": 60.0,
        "files": 3,
        "files (%)": 60.0,
        "size (MiB)": 1.144,
        "size (%)": 74.985,
        "pending": 2,
        "failed": 0,
    }
    assert {name: metadata[name] for name in figures} == figures
    nothing = {"partial": 0, "absent": 0, "of": 5, "failed": 0}
    assert metadata["everywhere"] == [
        {**nothing, "backend": "local", "songs": 5, "files": 5, "MiB": 1.526},
        {**nothing, "backend": "cloud", "songs": 3, "files": 3, "MiB": 1.144, "absent": 2},
        {**nothing, "backend": "empty", "songs": 0, "files": 0, "MiB": 0.0, "absent": 5},
    ]


def test_almost_all_is_not_a_hundred_percent():
    assert percent(999_999_999, 1_000_000_000) == 99.999
    assert (percent(7, 7), percent(0, 0)) == (100.0, 0.0)


def test_presence_repairs_rows_that_are_not_as_the_locations_say(
    pipeline, cloud, catalog, sample, use_library
):
    use_library(sample)
    pipeline.scan()
    pipeline.upload()
    right = rows(catalog, PRESENCE)
    here = f"backend_id = {cloud.id}"
    change(catalog, f"UPDATE song_backend_presence SET files_present = 0 WHERE {here}")
    change(
        catalog,
        "DELETE FROM song_backend_presence WHERE song_id ="
        f" (SELECT MIN(song_id) FROM song_backend_presence WHERE {here}) AND {here}",
    )
    wrong = len([row for row in right if row[1] == "cloud"])

    assert pipeline.presence().metadata["rows corrected"] == wrong > 0

    assert rows(catalog, PRESENCE) == right
    assert pipeline.presence().metadata["rows corrected"] == 0


def test_presence_in_an_empty_catalog_is_nought_of_nought(pipeline, cloud):
    pipeline.scan(allow_empty=True)

    metadata = pipeline.presence().metadata

    assert (metadata["dagster/row_count"], metadata["complete (%)"]) == (0, 0.0)


@pytest.mark.parametrize("asset", ["pending_uploads", "remote_locations", "backend_presence"])
def test_a_backend_that_the_catalog_does_not_know_is_named_with_those_that_it_does(
    pipeline, cloud, asset
):
    pipeline.fill(1)
    pipeline.instance.add_dynamic_partitions("backend", ["clowd"])
    cell = asset == "remote_locations"

    run = pipeline.upload("clowd") if cell else pipeline.run(asset, "clowd")

    description, metadata = run.failure

    assert description.startswith("no backend is called 'clowd'")
    assert metadata["hint"] == "registered are: cloud"
