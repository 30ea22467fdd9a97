"""What the tests of jobs and stores share."""

import pytest

from catalogsync_assets.core.audit.audit import AuditRequest, audit
from catalogsync_assets.core.stores import retry
from catalogsync_assets.core.upload.upload import Limits


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch):
    """Retries are counted, not waited for."""
    monkeypatch.setattr(retry, "MAX_BACKOFF", 0.02)


@pytest.fixture
def through_proxy(proxy, backend):
    """A backend whose requests the proxy sees."""
    return backend(endpoint=proxy.endpoint)


@pytest.fixture
def verified(catalog, upload_limits):
    """`verified(backend, "full", repair=True)`: an audit with two tries of a request."""

    def run(backend, level="listing", *, workers=4, **options):
        request = AuditRequest(level, **options)
        limits = Limits(**upload_limits | {"workers": workers})
        return audit(catalog, backend, request, limits=limits)

    return run
