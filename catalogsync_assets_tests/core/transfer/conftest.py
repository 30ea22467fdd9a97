"""What all tests of transfers share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from catalogsync_assets.core.backends import ObjectBackend
from catalogsync_assets.core.transfer import retries
from catalogsync_assets.core.transfer.probe_session import TEST_PREFIX


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries are counted, not waited for."""
    monkeypatch.setattr(retries, "MAX_BACKOFF", 0.02)


@pytest.fixture
def through_proxy(proxy: Any, backend: Callable[..., ObjectBackend]) -> ObjectBackend:
    """A backend whose requests the proxy sees."""
    return backend(endpoint=proxy.endpoint)


def is_test_object(request: Any) -> bool:
    """Whether a request is about an object of a test of the store."""
    return TEST_PREFIX in request.key


@pytest.fixture
def untestable(proxy: Any, refused: Any) -> None:
    """The store lets nobody write test objects: what it does stays unknown."""
    proxy.before.append(lambda r: refused(403, "AccessDenied") if is_test_object(r) else None)
