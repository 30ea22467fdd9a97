"""OpenStack Swift's S3 interface: no conditions on a put, no digests in a completion."""

from catalogsync_assets_tests.conformance.suite import Suite

STORE = "swift"


class TestSwift(Suite):
    """The suite, on this store."""
