"""JuiceFS's gateway, MinIO's front of some years ago: no conditions, and `a//b` is `a/b`."""

import pytest

from catalogsync_assets_tests.conformance.suite import Suite

pytestmark = pytest.mark.other_store
STORE = "juicefs"


class TestJuiceFS(Suite):
    """The suite, on this store."""
