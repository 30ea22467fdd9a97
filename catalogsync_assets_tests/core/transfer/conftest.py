"""What all tests of transfers share."""

import pytest

from catalogsync_assets.core.transfer import retries


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch):
    """Retries are counted, not waited for."""
    monkeypatch.setattr(retries, "MAX_BACKOFF", 0.02)


@pytest.fixture
def through_proxy(proxy, backend):
    """A backend whose requests the proxy sees."""
    return backend(endpoint=proxy.endpoint)
