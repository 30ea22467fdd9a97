"""What is taken of a snapshot, and what is not: whoever writes to the bucket may have made it."""

import dataclasses

import pytest

from catalogsync_assets.core.audit.audit import audit
from catalogsync_assets.core.audit.report import AuditRequest
from catalogsync_assets.core.catalog.backends import (
    backend_by_name,
    catalog_id,
    object_backends,
)
from catalogsync_assets.core.errors import CatalogError, UsageError
from catalogsync_assets.core.rebuild.rebuild import Request, rebuild
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets.core.upload.upload import Limits
from catalogsync_assets_tests.support.database import rows


@pytest.fixture
def held(library, cloud, synced, catalog):
    """Two files, on the backend; and a playlist of both, twice one of them."""
    library.add("a/one.mp3")
    library.add("b/two.mp3")
    synced(cloud)
    with catalog.transaction() as connection:
        for statement in (
            "INSERT INTO playlists (id, name) VALUES (7, 'Mix')",
            "INSERT INTO playlist_songs (playlist_id, song_id, position)"
            " SELECT 7, id, id FROM songs",
            "INSERT INTO playlist_entries (playlist_id, position, song_id)"
            " VALUES (7, 1, 2), (7, 2, 1), (7, 3, 2)",
            "INSERT INTO library_policies (library_root, required_copies) VALUES ('', 2)",
        ):
            connection.exec_driver_sql(statement)
    return cloud


def _changed(*statements):
    def change(db):
        db.execute("PRAGMA foreign_keys=OFF")
        for statement in statements:
            db.execute(statement)

    return change


def test_songs_playlists_and_policies_come_as_they_were(held, snapshot, catalog, rebuilt):
    snapshot(held)
    new, _, report = rebuilt(held)
    assert (report.songs, report.copied_files, report.playlists) == (2, 2, 1)
    for table in ("songs", "playlists", "playlist_songs", "playlist_entries", "batches"):
        everything = f"SELECT * FROM {table} ORDER BY 1, 2, 3"
        assert rows(new, everything) == rows(catalog, everything)
    assert rows(new, "SELECT required_copies FROM library_policies") == [2]
    places = "SELECT status, verified_at, verified_by FROM file_locations ORDER BY etag IS NULL"
    assert rows(new, places) == [("active", None, None)] * 2 + [("missing", None, None)] * 2


def test_a_snapshot_that_is_broken_makes_way_for_an_older_one(held, snapshot, rebuilt):
    good = snapshot(held)
    snapshot(held, spoil=lambda sealed: sealed[:-40])
    cut = snapshot(held, change=_changed("DROP TABLE songs"))
    _, _, report = rebuilt(held)
    assert report.snapshot == good
    assert len(report.broken_snapshots) == 2
    assert report.broken_snapshots[0].startswith(cut)


def test_where_no_snapshot_is_good_a_person_decides(held, snapshot, rebuilt):
    snapshot(held, spoil=lambda _: b"rubbish")
    with pytest.raises(CatalogError) as caught:
        rebuilt(held)
    assert "--without-snapshot" in (caught.value.hint or "")
    assert rebuilt(held, with_snapshot=False)[2].new == 2


def test_of_several_catalogs_a_person_names_the_one(held, snapshot, catalog, rebuilt):
    ours = snapshot(held)
    snapshot(held, of="0123456789abcdef")
    with pytest.raises(UsageError, match="0123456789abcdef") as caught:
        rebuilt(held)
    assert catalog_id(catalog) in caught.value.message
    assert rebuilt(held, catalog_id=catalog_id(catalog))[2].snapshot == ours


def test_a_snapshot_of_another_catalog_than_its_key_says_is_not_used(held, snapshot, rebuilt):
    snapshot(held, of="0123456789abcdef")
    with pytest.raises(CatalogError, match="of another catalog"):
        rebuilt(held)


def test_a_newer_snapshot_than_the_program_is_not_read(held, snapshot, rebuilt):
    snapshot(held, change=_changed("UPDATE catalogsync_schema_version SET version_num = '9999'"))
    with pytest.raises(CatalogError, match="newer catalogsync"):
        rebuilt(held)


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TRIGGER evil AFTER INSERT ON songs BEGIN DELETE FROM file_assets; END",
        "CREATE VIEW evil AS SELECT load_extension('evil')",
        "CREATE TABLE evil (x)",
        "CREATE INDEX evil ON songs (upper(title))",
    ],
)
def test_nothing_of_a_snapshot_s_schema_comes_along(held, snapshot, rebuilt, statement):
    snapshot(held, change=_changed(statement))
    new, _, report = rebuilt(held)
    assert report.copied_files == 2
    assert rows(new, "SELECT COUNT(*) FROM sqlite_master WHERE name = 'evil'") == [0]


def test_a_view_in_the_stead_of_a_table_is_not_read(held, snapshot, rebuilt):
    snapshot(
        held,
        change=_changed("ALTER TABLE songs RENAME TO s", "CREATE VIEW songs AS SELECT * FROM s"),
    )
    with pytest.raises(CatalogError, match="no catalog"):
        rebuilt(held)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE songs SET id = 'one' WHERE id = 1",
        "UPDATE file_assets SET song_id = 4711",
        "UPDATE batches SET key = 'evil|key,...'",
        "UPDATE playlist_songs SET song_id = 'one'",
    ],
)
def test_a_snapshot_with_impossible_rows_is_not_used(held, snapshot, rebuilt, statement):
    # A table that takes anything: what a column must be is not for the snapshot to say.
    good = snapshot(held)
    free = (
        "CREATE TABLE free AS SELECT * FROM songs",
        "DROP TABLE songs",
        "ALTER TABLE free RENAME TO songs",
    )
    snapshot(held, change=_changed(*free, statement))
    assert rebuilt(held)[2].snapshot == good


@pytest.mark.parametrize(
    "path", ["../../etc/cron.d/evil", "/etc/evil", "a/../../evil", "a\nb.mp3", ".catalogsync/evil"]
)
def test_a_path_that_leaves_the_root_is_not_taken(held, snapshot, lost, library, rebuilt, path):
    text = path.replace("\n", "' || char(10) || '")
    snapshot(
        held,
        change=_changed(
            f"UPDATE file_locations SET library_path = '{text}', locator = '{text}'"
            " WHERE library_path = 'a/one.mp3'",
            f"UPDATE file_assets SET object_key = '{text}' WHERE object_key = 'a/one.mp3'",
        ),
    )
    before = lost()
    new, _, report = rebuilt(held)
    assert report.refused_rows == 2
    assert restore(new, library.root).restored == 2
    assert set(library.contents()) <= {*before, f"{held.key_prefix}a/one.mp3"}
    assert len(library.contents()) == 2


def test_figures_of_a_wrong_type_are_not_taken(held, snapshot, rebuilt):
    snapshot(
        held,
        change=_changed(
            "UPDATE file_assets SET sha256 = '../x', size_bytes = -5, tags_digest = 'x'",
            "UPDATE file_locations SET mtime_ns = 'soon', etag = x'00'",
            "UPDATE songs SET duration_seconds = 'long', track_number = 1.5, artist = x'ff00'",
            "UPDATE songs SET title = hex(zeroblob(50000)), album = hex(zeroblob(50000))",
        ),
    )
    new, _, _ = rebuilt(held)
    assert rows(new, "SELECT DISTINCT sha256 = '../x', tags_digest FROM file_assets") == [(0, None)]
    assert rows(new, "SELECT COUNT(*) FROM file_locations WHERE typeof(mtime_ns) = 'text'") == [0]
    figures = "SELECT DISTINCT title, artist, album, duration_seconds, track_number FROM songs"
    assert rows(new, figures) == [("", None, None, None, None)]


def test_a_row_that_names_one_that_is_not_there_is_left_out(held, snapshot, rebuilt):
    """As in a database of another program, which does not look at that."""
    numbers = "WITH RECURSIVE n(i) AS (VALUES (100) UNION SELECT i + 1 FROM n WHERE i < 130)"
    snapshot(
        held,
        change=_changed(
            "INSERT INTO playlist_pools (id, name) VALUES (1, 'All')",
            f"{numbers} INSERT INTO playlists (id, name) SELECT i, 'x' FROM n",
            "INSERT INTO pool_playlists (pool_id, playlist_id) SELECT 1, id FROM playlists",
            "INSERT INTO pool_playlists (pool_id, playlist_id) VALUES (1, 4711)",
        ),
    )
    new, _, report = rebuilt(held)
    assert (report.refused_rows, report.playlists) == (1, 32)
    assert rows(new, "SELECT COUNT(*) FROM pool_playlists") == [32]


def test_another_backend_of_the_snapshot_is_told_of(held, backend, synced, snapshot, rebuilt):
    other = backend("second")
    synced(other)
    snapshot(held)
    new, _, report = rebuilt(held)
    assert list(report.other_backends) == ["second"]
    assert [b.name for b in object_backends(new)] == ["cloud", "second"]


_BY_BACKEND = (
    "SELECT b.name, l.status, COUNT(*) FROM file_locations l JOIN storage_backends b"
    " ON b.id = l.backend_id WHERE b.backend_type <> 'local' GROUP BY 1, 2 ORDER BY 1, 2"
)


def test_what_another_backend_is_said_to_hold_is_shown_once_somebody_has_looked(
    held, backend, synced, snapshot, rebuilt, remote
):
    second = backend("second")
    synced(second)
    snapshot(held)
    remote(second).delete("a/one.mp3")
    new, _, report = rebuilt(held, take_over=True)
    assert report.missing == 0
    assert rows(new, _BY_BACKEND) == [("cloud", "active", 2), ("second", "missing", 2)]
    present = "SELECT SUM(files_present) FROM song_backend_presence p JOIN storage_backends b"
    assert rows(new, f"{present} ON b.id = p.backend_id WHERE b.name = 'second'") == [0]
    audit(new, backend_by_name(new, "second"), AuditRequest("listing"), limits=Limits(attempts=2))
    assert rows(new, _BY_BACKEND)[1:] == [("second", "active", 1), ("second", "missing", 1)]


def test_objects_that_no_file_of_the_backend_can_have_are_not_taken(
    held, backend, synced, snapshot, rebuilt
):
    synced(backend("second"))
    add = (
        "INSERT INTO file_locations (file_asset_id, backend_id, container_name, locator, status)"
        " SELECT 1, id, '{}', '{}', 'active' FROM storage_backends WHERE name = '{}'"
    )
    own = ".catalogsync/catalog/0123456789abcdef/20260101T000000Z.db.zst"
    snapshot(
        held,
        change=_changed(
            add.format(held.bucket, f"{held.key_prefix}{own}", "cloud"),
            add.format(held.bucket, "somebody-else/x.mp3", "second"),
            add.format("another-bucket", f"{held.key_prefix}x.mp3", "cloud"),
        ),
    )
    new, _, report = rebuilt(held)
    assert report.refused_rows == 3
    assert rows(new, _BY_BACKEND) == [("cloud", "active", 2), ("second", "missing", 2)]


def test_a_location_of_a_file_that_is_not_there_costs_no_other(held, snapshot, rebuilt):
    snapshot(
        held,
        change=_changed(
            "INSERT INTO file_locations (file_asset_id, backend_id, locator, status)"
            " SELECT 4711, id, 'x', 'active' FROM storage_backends WHERE backend_type = 'local'"
        ),
    )
    new, _, report = rebuilt(held)
    assert (report.copied_files, report.refused_rows) == (2, 1)
    assert rows(new, _BY_BACKEND) == [("cloud", "active", 2)]


def test_no_time_of_grace_is_shortened_by_what_a_snapshot_says(held, snapshot, rebuilt):
    snapshot(
        held,
        change=_changed(
            "UPDATE file_locations SET status_since = '2001-01-01 00:00:00',"
            " status = CASE WHEN library_path IS NULL THEN status ELSE 'forgotten' END"
        ),
    )
    new, _, _ = rebuilt(held)
    old = "SELECT status, COUNT(*) FROM file_locations WHERE status_since > '2002-01-01' GROUP BY 1"
    assert rows(new, old) == [("active", 2), ("forgotten", 2)]


def test_a_time_that_is_none_is_not_taken(held, snapshot, rebuilt):
    snapshot(held, change=_changed("UPDATE file_assets SET created_at = '2026-13-45 99:99:99'"))
    new, _, _ = rebuilt(held)
    assert rows(new, "SELECT DISTINCT created_at FROM file_assets") == [None]


@pytest.mark.parametrize(
    ("links", "taken"),
    [((2, 1), [2, None]), ((1, 2), [None, None]), ((2, None), [2, None]), ((None, 1), [None, 1])],
)
def test_contents_that_have_come_in_each_other_s_stead_end_somewhere(
    held, snapshot, rebuilt, links, taken
):
    texts = ["NULL" if link is None else link for link in links]
    set_link = "UPDATE file_assets SET superseded_by_id = {} WHERE id = {}"
    snapshot(held, change=_changed(*(set_link.format(t, i + 1) for i, t in enumerate(texts))))
    new, _, _ = rebuilt(held)
    assert rows(new, "SELECT superseded_by_id FROM file_assets ORDER BY id") == taken


def test_a_policy_that_nobody_can_have_set_is_not_taken(held, snapshot, rebuilt):
    numbers = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 20)"
    add = "INSERT INTO library_policies (library_root, required_copies)"
    snapshot(
        held,
        change=_changed(f"{add} {numbers} SELECT '/' || i, 1 FROM n", f"{add} VALUES ('/x', -7)"),
    )
    new, _, report = rebuilt(held)
    assert report.refused_rows == 1
    assert rows(new, "SELECT MIN(required_copies) FROM library_policies") == [1]


def test_names_of_columns_may_be_in_any_case(held, snapshot, rebuilt):
    """As those of a database that another program has made."""
    snapshot(held, change=_changed("ALTER TABLE songs RENAME COLUMN title TO TITLE"))
    new, _, _ = rebuilt(held)
    assert sorted(rows(new, "SELECT title FROM songs")) == ["one", "two"]


@pytest.mark.parametrize(
    "what",
    [
        "INSERT INTO storage_backends (name, backend_type) SELECT 'b' || i, 'x' FROM n",
        "INSERT INTO library_roots (path) SELECT '/r' || i FROM n",
    ],
)
def test_more_than_anybody_has_of_what_is_held_in_memory_is_not_read(held, snapshot, rebuilt, what):
    good = snapshot(held)
    head, _, rest = what.partition(" SELECT")
    numbers = "WITH RECURSIVE n(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 10001)"
    snapshot(held, change=_changed(f"{head} {numbers} SELECT{rest}"))
    assert rebuilt(held)[2].snapshot == good


def test_a_backend_may_have_another_name_and_endpoint_than_before(
    held, snapshot, bare_machine, proxy
):
    snapshot(held)
    new, there = bare_machine(
        dataclasses.replace(held, name="found", endpoint=proxy.endpoint, id=0)
    )
    report = rebuild(new, there, Request())
    assert (report.known, report.new, report.other_backends) == (2, 0, {})
    assert [b.name for b in object_backends(new)] == ["found"]
