"""What the catalog alone says of a cell."""

from dataclasses import replace
from datetime import datetime, timezone

import pytest

from catalogsync_assets.assets.ui.cells import cell_metadata
from catalogsync_assets.assets.ui.links import bucket_link, object_link
from catalogsync_assets.core.catalog.files import batch_keys
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets_tests.assets.conftest import plain_metadata
from catalogsync_assets_tests.support.database import change

MIB = 1024 * 1024


@pytest.fixture
def metadata(catalog):
    """`metadata(backend)` of the first batch."""
    return lambda backend: plain_metadata(cell_metadata(catalog, backend, batch_keys(catalog)[0]))


def test_a_cell_that_the_command_line_has_filled_says_what_one_of_the_pipeline_does(
    pipeline, backend, uploaded, metadata
):
    one, two = backend("one"), backend("two")
    pipeline.fill(3)
    uploaded(one)

    of_pipeline = pipeline.upload("two").metadata

    mine = metadata(one)
    assert set(mine) <= set(of_pipeline)
    times = {"verified, oldest", "verified, newest"}
    links = {"bucket link", "sample object"}
    for name in set(mine) - times - links:
        assert mine[name] == of_pipeline[name], name
    assert mine["files missing"] == 0
    assert mine["dagster/row_count"] == 3
    assert two.bucket in mine["bucket link"]


def test_a_cell_and_its_backend_say_when_they_were_verified_and_by_what(
    pipeline, cloud, catalog, metadata
):
    pipeline.fill(3)
    assert pipeline.upload().success
    first = f"(SELECT MIN(id) FROM file_locations WHERE backend_id = {cloud.id})"
    change(
        catalog,
        "UPDATE file_locations SET verified_at = '2025-01-02 03:04:05', verified_by = 'head'"
        f" WHERE id = {first}",
    )

    oldest = datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone.utc).timestamp()
    for found in metadata(cloud), pipeline.presence().metadata:
        assert found["verified, oldest"] == oldest < found["verified, newest"]
        assert found["verified by"] == [
            {"by": "server-digest", "files": 2},
            {"by": "head", "files": 1},
        ]


def test_a_cell_that_is_not_there_yet_says_how_much_is_missing(cloud, library, scanned, metadata):
    library.fill(3)
    scanned()

    found = metadata(cloud)

    assert (found["files missing"], found["dagster/row_count"]) == (3, 0)
    assert "sample object" not in found
    assert "verified, oldest" not in found


@pytest.mark.parametrize(
    ("settings", "link"),
    [
        (
            {"endpoint": None, "region": "eu-central-1"},
            "https://eu-central-1.console.aws.amazon.com/s3/buckets/music?region=eu-central-1"
            "&prefix=my%20songs/",
        ),
        (
            {"endpoint": None, "region": "cn-north-1"},
            "https://console.amazonaws.cn/s3/buckets/music?region=cn-north-1&prefix=my%20songs/",
        ),
        (
            {"endpoint": "https://abc123.r2.cloudflarestorage.com"},
            "https://dash.cloudflare.com/abc123/r2/default/buckets/music",
        ),
        (
            {"endpoint": "https://abc123.eu.r2.cloudflarestorage.com"},
            "https://dash.cloudflare.com/abc123/r2/eu/buckets/music",
        ),
        (
            {"endpoint": "https://s3.us-west-004.backblazeb2.com"},
            "https://secure.backblaze.com/b2_buckets.htm",
        ),
        (
            {"endpoint": "https://storage.googleapis.com"},
            "https://console.cloud.google.com/storage/browser/music/my%20songs/",
        ),
        ({"endpoint": "http://127.0.0.1:8333"}, "http://127.0.0.1:8333/music/"),
        (
            {"endpoint": "http://127.0.0.1:8333", "public_base_url": "https://cdn.example/"},
            "https://cdn.example/",
        ),
    ],
    ids=["aws", "aws-china", "r2", "r2-eu", "b2", "gcs", "own", "own-public"],
)
def test_a_bucket_is_linked_to_where_its_service_shows_it(settings, link):
    backend = ObjectBackend("cloud", "music", base_prefix="my songs", **settings)

    assert bucket_link(backend) == link


def test_an_object_is_linked_to_where_it_is_served_or_else_shown():
    aws = ObjectBackend("cloud", "music", region="eu-central-1")
    own = replace(aws, endpoint="http://127.0.0.1:8333")

    assert object_link(own, "a b.mp3", "https://cdn.example/a%20b.mp3").startswith("https://cdn")
    assert object_link(own, "a b.mp3", None) is None
    assert object_link(aws, "a b.mp3", None) == (
        "https://eu-central-1.console.aws.amazon.com/s3/object/music"
        "?region=eu-central-1&prefix=a%20b.mp3"
    )
