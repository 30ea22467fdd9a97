"""Ceph's RADOS gateway: conditions, though not every form of them; no SHA-256."""

import pytest

from catalogsync_assets_tests.conformance.suite import Suite

pytestmark = pytest.mark.other_store
STORE = "ceph"


class TestCeph(Suite):
    """The suite, on this store."""
