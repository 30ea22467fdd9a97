"""Downloads to names that the catalog remembers, though no file has them just now."""

import pytest

from catalogsync_assets.core.offload.offload import offload
from catalogsync_assets_tests.support.database import rows

PLACES = (
    "SELECT library_path, status FROM file_locations WHERE library_root IS NOT NULL ORDER BY id"
)


@pytest.fixture(params=["missing", "offloaded"])
def remembered(
    request, queue_downloads, downloaded, web, library, catalog, cloud, uploaded, scanned
):
    """A file that was downloaded and uploaded, and is no longer here; its status."""
    queue_downloads(web.add("/1/x.flac"), title="X", artist="Y")
    downloaded()
    uploaded(cloud)
    if request.param == "offloaded":
        assert offload(catalog, 1, dry_run=False).removed == 1
    else:
        next(library.root.rglob("*.flac")).unlink()
        scanned(allow_empty=True)
    return str(request.param)


def test_another_content_takes_another_name_and_replaces_no_copy(
    remembered, queue_downloads, downloaded, web, catalog, cloud, uploaded, remote
):
    queue_downloads(web.add("/2/x.flac"), title="X", artist="Y")

    assert downloaded().succeeded == 1

    assert [status for _, status in rows(catalog, PLACES)] == [remembered, "active"]
    uploaded(cloud)
    contents = {file.content for file in web.files.values()}
    assert set(remote(cloud).contents().values()) == contents


def test_the_same_content_is_there_again(remembered, queue_downloads, downloaded, web, catalog):
    queue_downloads(web.add("/2/x.flac", web.files["/1/x.flac"].content), title="X", artist="Y")

    assert downloaded().succeeded == 1

    assert [status for _, status in rows(catalog, PLACES)] == ["active"]
    assert rows(catalog, "SELECT COUNT(*) FROM file_assets") == [1]
