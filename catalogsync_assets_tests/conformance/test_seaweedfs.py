"""SeaweedFS, which checks digests and conditions and keeps SHA-256."""

from catalogsync_assets_tests.conformance.suite import Suite

STORE = "seaweedfs"


class TestSeaweedFS(Suite):
    """The suite, on this store."""
