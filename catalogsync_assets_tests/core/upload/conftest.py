"""What tests of uploads in parts share."""

import pytest

from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.uploads import SIZE


@pytest.fixture
def large(library, scanned):
    """The content of `large.flac`, which is in the library and scanned."""
    content = library.add("large.flac", size=SIZE).read_bytes()
    scanned()
    return content


@pytest.fixture
def nothing_is_left(catalog, remote):
    """`nothing_is_left(backend)`: neither parts in the store nor rows in the journal."""

    def check(backend):
        assert remote(backend).unfinished() == []
        for table in ("multipart_uploads", "multipart_parts"):
            assert rows(catalog, f"SELECT * FROM {table}") == []

    return check


@pytest.fixture
def arrived(library, remote, nothing_is_left):
    """`arrived(backend)`: the store holds what the library does, and of parts nothing is left."""

    def check(backend):
        assert remote(backend).contents() == library.contents()
        nothing_is_left(backend)

    return check
