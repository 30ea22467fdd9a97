"""What the tests of jobs and stores share."""

import pytest

from catalogsync_assets.core.audit.audit import AuditRequest, audit
from catalogsync_assets.core.stores import retry
from catalogsync_assets.core.upload import multipart, put
from catalogsync_assets.core.upload.upload import Limits


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch):
    """Retries are counted, not waited for."""
    monkeypatch.setattr(retry, "MAX_BACKOFF", 0.02)


@pytest.fixture
def small_parts(monkeypatch):
    """What is large elsewhere begins at 1 MiB here, in the smallest parts that S3 takes."""
    monkeypatch.setattr(put, "SINGLE_PUT_BYTES", 1024 * 1024)
    monkeypatch.setattr(multipart, "PART_BYTES", 5 * 1024 * 1024)


@pytest.fixture
def through_proxy(proxy, backend):
    """A backend whose requests the proxy sees."""
    return backend(endpoint=proxy.endpoint)


@pytest.fixture
def verified(catalog):
    """`verified(backend, "full", repair=True)`: an audit with two tries of a request."""

    def run(backend, level="listing", *, workers=4, **options):
        request = AuditRequest(level, **options)
        return audit(catalog, backend, request, limits=Limits(workers=workers, attempts=2))

    return run
