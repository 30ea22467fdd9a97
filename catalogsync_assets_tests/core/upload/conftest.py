"""What tests of uploads in parts share."""

import pytest

MIB = 1024 * 1024
SIZE = 12 * MIB + 345


@pytest.fixture
def large(library, scanned):
    """The content of `large.flac`, which is in the library and scanned."""
    content = library.add("large.flac", size=SIZE).read_bytes()
    scanned()
    return content
