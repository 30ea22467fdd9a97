"""What all tests of transfers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from catalogsync_assets.core.backends import ObjectBackend
from catalogsync_assets.core.transfer import retries


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries are counted, not waited for."""
    monkeypatch.setattr(retries, "MAX_BACKOFF", 0.02)


@pytest.fixture
def through_proxy(proxy: Any, backend: Callable[..., ObjectBackend]) -> ObjectBackend:
    """A backend whose requests the proxy sees."""
    return backend(endpoint=proxy.endpoint)
