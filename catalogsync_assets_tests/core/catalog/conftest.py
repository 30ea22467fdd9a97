"""What the tests of the upload queue share."""

import pytest

from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.upload_queue import UploadLease


@pytest.fixture
def lease(catalog, cloud):
    return UploadLease(catalog, cloud)


@pytest.fixture
def planned(catalog, library, scanned, cloud):
    """`planned(3)`: so many files that wait to be uploaded."""

    def make(count):
        files = library.fill(count)
        scanned()
        enqueue(catalog, cloud)
        return files

    return make
