"""What all tests of downloads share."""

import pytest

from catalogsync_assets.core.download import file as fetcher


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch):
    """Retries are counted, not waited for."""
    monkeypatch.setattr(fetcher, "_MAX_BACKOFF", 0.02)
