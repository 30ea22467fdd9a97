"""OpenStack Swift's S3 interface: no conditions on a put, no digests in a completion."""

import pytest

from catalogsync_assets_tests.conformance.suite import Suite

pytestmark = pytest.mark.other_store
STORE = "swift"


class TestSwift(Suite):
    """The suite, on this store."""
