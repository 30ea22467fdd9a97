"""Ceph's RADOS gateway: conditions, though not every form of them; no SHA-256."""

from catalogsync_assets_tests.conformance.suite import Suite

STORE = "ceph"


class TestCeph(Suite):
    """The suite, on this store."""
