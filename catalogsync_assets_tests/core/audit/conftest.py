"""What all tests of audits share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from catalogsync_assets.core.audit.audit import AuditReport, AuditRequest, audit
from catalogsync_assets.core.backends import ObjectBackend
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.transfer.engine import Limits
from catalogsync_assets_tests.core.transfer.conftest import short_backoff, through_proxy

__all__ = ["short_backoff", "through_proxy"]


@pytest.fixture
def verified(catalog: Catalog) -> Callable[..., AuditReport]:
    """`verified(backend, "full", repair=True)`: an audit with two tries of a request."""

    def run(
        backend: ObjectBackend, level: Any = "listing", *, workers: int = 4, **options: Any
    ) -> AuditReport:
        request = AuditRequest(level, **options)
        return audit(catalog, backend, request, limits=Limits(workers=workers, attempts=2))

    return run
