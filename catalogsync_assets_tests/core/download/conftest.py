"""What all tests of downloads share."""

from __future__ import annotations

import pytest

from catalogsync_assets.core.download import fetcher


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries are counted, not waited for."""
    monkeypatch.setattr(fetcher, "_MAX_BACKOFF", 0.02)
