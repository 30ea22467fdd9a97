"""rclone's server, which checks nothing and gives back whatever it was told."""

from catalogsync_assets_tests.conformance.suite import Suite

STORE = "rclone"


class TestRclone(Suite):
    """The suite, on this store."""
