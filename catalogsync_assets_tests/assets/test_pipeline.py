"""The whole graph leaves what the command line leaves."""

from collections import Counter

from catalogsync_assets_tests.support.database import rows

TABLES = ("file_locations", "upload_tasks", "song_backend_presence")
#: What stands for a row of another table, as its id depends on the order of things.
NAMES = {
    "song_id": "SELECT id, json_array(title, artist, album, track_number) FROM songs",
    "file_asset_id": "SELECT id, json_array(object_key, sha256, size_bytes) FROM file_assets",
    "backend_id": "SELECT id, name FROM storage_backends",
    "target_backend_id": "SELECT id, name FROM storage_backends",
    "source_location_id": "SELECT id, absolute_path FROM file_locations",
}


def contents(catalog, prefix):
    """The rows of the tables, all columns but ids and times; prefixes are made the same."""
    names = {column: dict(rows(catalog, query)) for column, query in NAMES.items()}
    found = {}
    for table in TABLES:
        columns = rows(catalog, f"SELECT name FROM pragma_table_info('{table}')")
        records = [
            {
                column: names[column][value] if column in names else value
                for column, value in zip(columns, row, strict=True)
                if column != "id" and not column.endswith(("_at", "_since"))
            }
            for row in rows(catalog, f"SELECT * FROM {table}")
        ]
        found[table] = Counter(str(record).replace(prefix, "PREFIX/") for record in records)
    return found


def test_the_pipeline_leaves_the_same_rows_as_the_command_line(
    pipeline, command, catalog, unregistered, backend, remote, sample, use_library, tmp_path
):
    use_library(sample)
    ours = backend("cloud", public_base_url="https://music.example")
    for run in (pipeline.scan, pipeline.plan, pipeline.upload, pipeline.presence):
        assert run().success

    theirs = unregistered("cloud")
    second = tmp_path / "second.db"
    settings = ("--endpoint", theirs.endpoint, "--base-prefix", theirs.base_prefix)
    settings += ("--bucket", theirs.bucket, "--credential-env-prefix", "CLOUD")
    settings += ("--public-base-url", "https://music.example", "--provider", "seaweedfs")
    for line in (
        ("scan", "--library-root", sample),
        ("register-object-backend", "--name", "cloud", *settings),
        ("upload", "--backend", "cloud"),
    ):
        assert command(*line, "--db", second).code == 0

    expected = contents(second, theirs.key_prefix)
    assert contents(catalog, ours.key_prefix) == expected
    files = [path for path in sample.rglob("*") if path.is_file()]
    assert expected["file_locations"].total() == 2 * len(files)
    assert remote(ours).contents() == remote(theirs).contents()
    assert sorted(remote(ours).contents().values()) == sorted(f.read_bytes() for f in files)


def test_a_second_round_uploads_nothing(pipeline, cloud, library, in_place):
    library.fill(3)
    for _ in range(2):
        figures = [
            run().metadata
            for run in (pipeline.scan, pipeline.plan, pipeline.upload, pipeline.presence)
        ]

    scan, plan, upload, presence = figures
    assert (scan["new"], plan["newly queued"], plan["dagster/row_count"]) == (0, 0, 0)
    assert (upload["uploaded"], upload["adopted"], upload["dagster/row_count"]) == (0, 0, 3)
    assert (presence["songs complete"], presence["rows corrected"]) == (3, 0)
    assert in_place(cloud)


def test_a_changed_song_goes_up_with_a_batch_of_its_own(pipeline, cloud, library, in_place):
    pipeline.fill(3)
    pipeline.upload()
    (first,) = pipeline.keys("batch")
    library.add("album/0001.mp3", b"another content")
    pipeline.scan()
    (second,) = set(pipeline.keys("batch")) - {first}

    metadata = pipeline.upload(batch=second).metadata

    assert (metadata["uploaded"], metadata["dagster/row_count"]) == (1, 1)
    assert in_place(cloud)
