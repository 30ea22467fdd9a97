"""What all tests of audits share."""

import pytest

from catalogsync_assets.core.audit.audit import AuditRequest, audit
from catalogsync_assets.core.transfer.engine import Limits
from catalogsync_assets_tests.core.transfer.conftest import short_backoff, through_proxy

__all__ = ["short_backoff", "through_proxy"]


@pytest.fixture
def verified(catalog):
    """`verified(backend, "full", repair=True)`: an audit with two tries of a request."""

    def run(backend, level="listing", *, workers=4, **options):
        request = AuditRequest(level, **options)
        return audit(catalog, backend, request, limits=Limits(workers=workers, attempts=2))

    return run
