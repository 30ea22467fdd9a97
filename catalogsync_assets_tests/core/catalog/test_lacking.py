"""Whether an upload has anything to do: asked in one look, and never answered wrongly with no."""

from __future__ import annotations

import pytest

from catalogsync_assets.core.catalog.lacking import is_settled
from catalogsync_assets.core.catalog.scope import Scope
from catalogsync_assets_tests.support.database import bytes_of, change, rows


@pytest.mark.parametrize("layout", ["path", "keep"])
def test_a_backend_is_settled_until_something_is_missing_there(
    catalog, library, scanned, uploaded, backend, layout
):
    chosen = backend(layout=layout)
    assert is_settled(catalog, chosen)
    for folder in ("a", "b"):
        library.fill(2, folder=folder)
        scanned()
        assert not is_settled(catalog, chosen)
        uploaded(chosen)
        assert is_settled(catalog, chosen)
    before = bytes_of(catalog.path)
    assert is_settled(catalog, chosen, Scope(song_ids=[1]))
    assert bytes_of(catalog.path) == before


@pytest.mark.parametrize(("layout", "settled"), [("path", False), ("keep", True)])
def test_a_file_that_has_moved_is_something_to_do_where_keys_follow(
    catalog, library, scanned, uploaded, backend, layout, settled
):
    chosen = backend(layout=layout)
    library.fill(2)
    scanned()
    uploaded(chosen)

    (library.root / "album").rename(library.root / "elsewhere")
    scanned()

    assert is_settled(catalog, chosen) is settled
    uploaded(chosen)
    assert is_settled(catalog, chosen)


def test_a_file_that_lacks_nothing_needs_no_object_at_its_key(
    catalog, library, scanned, uploaded, backend
):
    """As one that is left out of the library."""
    following = backend(layout="path")
    library.fill(2)
    scanned()
    (library.root / ".catalogsyncignore").write_text("0000.mp3\n")
    scanned()
    uploaded(following)

    assert is_settled(catalog, following)
    library.add("new/fresh.mp3")
    scanned()
    assert not is_settled(catalog, following)
    song = rows(catalog, "SELECT MIN(song_id) FROM file_assets")[0]
    assert is_settled(catalog, following, Scope(song_ids=[song]))


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE upload_tasks SET status = 'failed'",
        "UPDATE upload_tasks SET status = 'running', lease_owner = 'somebody'",
        "UPDATE file_locations SET status = 'pruning' WHERE absolute_path IS NULL",
        "INSERT INTO multipart_uploads (backend_id, container_name, locator, upload_id,"
        " file_asset_id, size_bytes, mtime_ns, part_bytes, checksums)"
        " SELECT backend_id, container_name, locator, 'x', file_asset_id, 1, 1, 1, 0"
        " FROM file_locations WHERE absolute_path IS NULL",
    ],
)
def test_what_another_run_has_left_is_something_to_do(
    catalog, library, scanned, uploaded, cloud, statement
):
    library.fill(1)
    scanned()
    uploaded(cloud)
    assert is_settled(catalog, cloud)

    change(catalog, statement)

    assert not is_settled(catalog, cloud)
