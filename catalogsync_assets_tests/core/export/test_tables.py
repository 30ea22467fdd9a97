"""The catalog as tables for other programs."""

import csv
import io
import json
import stat
import sys
import urllib.error
import urllib.request
from datetime import datetime, timezone
from typing import Any

import pytest

from catalogsync_assets.core.catalog.scope import Scope, Selection
from catalogsync_assets.core.errors import CatalogSyncError, ConfigurationError, UsageError
from catalogsync_assets.core.export import contents, parquet
from catalogsync_assets.core.export.export import export_catalog, export_playlist
from catalogsync_assets.core.export.places import everywhere, local, presigned, public
from catalogsync_assets.core.export.rows import COLUMNS
from catalogsync_assets_tests.support.database import bytes_of

TITLE = 'A "quoted", title\nof two lines; =1+1'


@pytest.fixture
def filled(shelf, backend):
    """Two songs; one of them on a store that serves it."""
    cloud = backend("cloud", public_base_url="https://cdn.example")
    one = shelf.song(
        TITLE, artist="雨", album="B", track_number=1, disc_number=2, duration_seconds=1.5
    )
    two = shelf.song("Alone")
    shelf.file(one, "a b.mp3", sha256="ab" * 32, on={cloud.id: "p/a b.mp3"})
    shelf.file(two, "c.flac", format="flac", status="missing")
    return cloud


EXPECTED: list[dict[str, Any]] = [
    {
        "song_id": 1,
        "artist": "雨",
        "album": "B",
        "title": TITLE,
        "track": 1,
        "disc": 2,
        "duration_seconds": 1.5,
        "format": "mp3",
        "size_bytes": 100,
        "sha256": "ab" * 32,
        "backend": "local",
        "locator": "a b.mp3",
        "url": "/music/a b.mp3",
        "status": "active",
        "verified_at": None,
    }
]
EXPECTED += [
    EXPECTED[0]
    | {
        "backend": "cloud",
        "locator": "p/a b.mp3",
        "url": "https://cdn.example/p/a%20b.mp3",
        "verified_at": "2026-01-02T03:04:05Z",
    },
    dict.fromkeys(COLUMNS)
    | {
        "song_id": 2,
        "title": "Alone",
        "format": "flac",
        "size_bytes": 100,
        "backend": "local",
        "locator": "c.flac",
        "url": "/music/c.flac",
        "status": "missing",
    },
]


def test_json_is_one_array_of_all_places(filled, exported, catalog):
    written = exported(export_catalog, kind="json", places=everywhere(catalog))

    assert json.loads(written) == EXPECTED
    assert list(json.loads(written)[0]) == list(COLUMNS)
    assert "雨" in written.decode()


def test_json_lines_are_an_object_each(filled, exported, catalog):
    written = exported(export_catalog, kind="jsonl", places=everywhere(catalog))

    assert [json.loads(line) for line in written.decode().split("\n")[:-1]] == EXPECTED


def test_csv_is_as_rfc_4180_has_it(filled, exported, catalog):
    written = exported(export_catalog, kind="csv", places=everywhere(catalog)).decode()

    found = list(csv.DictReader(io.StringIO(written, newline=""), strict=True))
    assert found == [
        {name: "" if value is None else str(value) for name, value in row.items()}
        for row in EXPECTED
    ]
    assert written.startswith("song_id,artist,album,title,")
    assert written.count("\r\n") == 4


def test_parquet_keeps_types_and_goes_by_row_groups(filled, catalog, tmp_path, monkeypatch):
    from pyarrow import parquet as pq

    monkeypatch.setattr(parquet, "_GROUP", 2)
    target = tmp_path / "c.parquet"

    report = export_catalog(catalog, target, kind="parquet", places=everywhere(catalog))

    time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    rows = pq.read_table(target).to_pylist()
    assert rows == [row | {"verified_at": time if row["verified_at"] else None} for row in EXPECTED]
    assert pq.ParquetFile(target).num_row_groups == 2
    assert (report.songs, report.rows, report.left_out) == (2, 3, 0)


def test_an_empty_catalog_gives_empty_tables(catalog, exported, tmp_path):
    from pyarrow import parquet as pq

    places = everywhere(catalog)
    assert exported(export_catalog, kind="json", places=places) == b"[]\n"
    assert exported(export_catalog, kind="jsonl", places=places) == b""
    assert exported(export_catalog, kind="m3u8", places=places) == b"#EXTM3U\n"
    assert exported(export_catalog, kind="csv", places=places).decode() == (
        ",".join(COLUMNS) + "\r\n"
    )
    export_catalog(catalog, tmp_path / "c.parquet", kind="parquet", places=places)
    assert pq.read_table(tmp_path / "c.parquet").num_rows == 0


def test_a_playlist_as_a_table_has_name_and_position(filled, shelf, exported):
    shelf.playlist("P", 2, 1)

    (row,) = json.loads(exported(export_playlist, "P", kind="json", places=local()))

    assert row == {"playlist": "P", "position": 2} | EXPECTED[0]


def test_without_pyarrow_nothing_is_written(filled, catalog, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    target = tmp_path / "out" / "c.parquet"
    target.parent.mkdir()

    with pytest.raises(ConfigurationError, match="pyarrow") as raised:
        export_catalog(catalog, target, kind="parquet", places=everywhere(catalog))

    assert "catalogsync[parquet]" in str(raised.value.hint)
    assert list(target.parent.iterdir()) == []


def test_pages_join_without_a_gap(shelf, exported, monkeypatch):
    monkeypatch.setattr(contents, "_PAGE", 3)
    songs = [shelf.song(f"S{n}") for n in range(9)]
    for song in songs[1:]:
        shelf.file(song, f"{song}.mp3")
        shelf.file(song, f"{song}.flac")
    shelf.playlist("P", *reversed(songs))

    def ids(written):
        return [json.loads(line)["song_id"] for line in written.splitlines()]

    everything = ids(exported(export_catalog, kind="jsonl", places=local()))
    assert everything == [song for song in songs[1:] for _ in range(2)]
    assert ids(exported(export_playlist, "P", kind="jsonl", places=local())) == songs[:0:-1]


def test_only_selected_songs_and_one_backend(filled, exported, catalog, shelf):
    scope = Scope(selections=(Selection("song", (2,)),))

    written = exported(export_catalog, kind="json", places=everywhere(catalog), scope=scope)
    assert [row["song_id"] for row in json.loads(written)] == [2]
    places = everywhere(catalog, backend="cloud")
    written = exported(export_catalog, kind="json", places=places)
    assert [(row["song_id"], row["backend"]) for row in json.loads(written)] == [(1, "cloud")]


# --- where the files are ------------------------------------------------------------------------


def test_public_urls_are_those_of_the_backend_as_it_is_now(filled, exported, catalog):
    rows = json.loads(exported(export_catalog, kind="json", places=public(catalog)))

    assert [row["url"] for row in rows] == ["https://cdn.example/p/a%20b.mp3"]


def test_a_backend_that_serves_nothing_publicly_is_refused(catalog, backend):
    backend("private")
    with pytest.raises(ConfigurationError, match="no backend has public"):
        public(catalog)

    backend("shop", public_base_url="https://cdn.example")
    with pytest.raises(ConfigurationError, match="'private' has no public base URL") as raised:
        public(catalog, backend="private")
    assert "--public-base-url" in str(raised.value.hint)


def test_which_of_several_backends_must_be_said(catalog, backend):
    with pytest.raises(UsageError, match="no backend is registered"):
        presigned(catalog)
    backend("one")
    backend("two")

    with pytest.raises(UsageError, match="several") as raised:
        presigned(catalog)
    assert "one, two" in str(raised.value.hint)


def test_a_presigned_url_gives_the_very_bytes_for_a_while_and_is_kept_nowhere(
    catalog, cloud, library, synced, tmp_path, caplog
):
    library.add("ä b/#1 + 2?.mp3", b"the music")
    synced(cloud)
    target = tmp_path / "c.json"

    export_catalog(catalog, target, kind="json", places=presigned(catalog, expires=77))

    (row,) = json.loads(target.read_bytes())
    assert "X-Amz-Expires=77&" in row["url"]
    with urllib.request.urlopen(row["url"]) as answer:
        assert answer.read() == b"the music"
    unsigned = row["url"].partition("?")[0]
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(unsigned)
    refused.value.close()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    catalog.close()
    assert b"X-Amz-Signature" not in bytes_of(catalog.path)
    assert "X-Amz-Signature" not in caplog.text


def test_presigning_without_credentials_is_one_clear_error(filled, catalog, monkeypatch):
    monkeypatch.delenv("CLOUD_ACCESS_KEY_ID")
    monkeypatch.delenv("CLOUD_SECRET_ACCESS_KEY")

    with pytest.raises(CatalogSyncError, match="no credentials"):
        presigned(catalog)


# --- where the export goes ----------------------------------------------------------------------


def test_a_file_that_cannot_be_completed_leaves_the_one_before(filled, catalog, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    target = folder / "c.csv"
    target.write_text("before")

    def stopped(_):
        assert len(list(folder.iterdir())) == 2
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export_catalog(catalog, target, kind="csv", places=everywhere(catalog), progress=stopped)

    assert [p.name for p in folder.iterdir()] == ["c.csv"]
    assert target.read_text() == "before"


def test_a_link_stays_one_and_a_new_file_is_as_the_umask_says(filled, catalog, tmp_path):
    link = tmp_path / "link.csv"
    link.symlink_to("real.csv")

    export_catalog(catalog, link, kind="csv", places=everywhere(catalog))

    assert link.is_symlink()
    real = tmp_path / "real.csv"
    fresh = tmp_path / "fresh"
    fresh.touch()
    assert real.stat().st_mode == fresh.stat().st_mode


@pytest.mark.parametrize("target", ["no-such-folder/c.csv", ".", "/dev/null"])
def test_a_place_where_no_file_can_be_is_refused(catalog, tmp_path, target):
    with pytest.raises(UsageError):
        export_catalog(catalog, tmp_path / target, kind="csv", places=local())
