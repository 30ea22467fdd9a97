"""rclone's server, which checks nothing and gives back whatever it was told."""

import pytest

from catalogsync_assets_tests.conformance.suite import Suite

pytestmark = pytest.mark.other_store
STORE = "rclone"


class TestRclone(Suite):
    """The suite, on this store."""
