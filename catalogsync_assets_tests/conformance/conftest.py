"""What the suite of stores shares. A module of tests names its server as `STORE`.

Each store has a module of its own, so that tests in several processes start no server twice.
"""

import hashlib
from pathlib import Path

import pytest

from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.probe.probe import probe
from catalogsync_assets.core.upload import upload
from catalogsync_assets_tests.core.conftest import short_backoff, verified
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.stores import s3_client

__all__ = ["short_backoff", "verified"]

_MODULES = "audits copies disasters living_library old_weight uploads whole_way"
for _name in _MODULES.split():
    pytest.register_assert_rewrite(f"catalogsync_assets_tests.conformance.{_name}")
ACTIVE = (
    "SELECT l.locator, f.sha256 FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
    " WHERE l.backend_id = ? AND l.status = 'active'"
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What takes minutes on each store is for one of them, unless all of it is asked for."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "SeaweedFS" not in item.nodeid:
            settings = getattr(item, "callspec", None)
            careful = settings is not None and "careful" in settings.params.values()
            if careful or "whole_way" in item.name:
                item.add_marker("thorough")


@pytest.fixture(scope="module")
def store(request):
    """The server of the module's store; a test of one that is not installed is skipped."""
    return request.getfixturevalue(request.module.STORE)


@pytest.fixture(scope="module")
def s3(store):
    client = s3_client(store)
    yield client
    client.close()


@pytest.fixture(autouse=True)
def credentials(environment, monkeypatch, store):
    """Those of the store, in place of SeaweedFS's."""
    monkeypatch.setenv("CLOUD_ACCESS_KEY_ID", store.access_key_id)
    monkeypatch.setenv("CLOUD_SECRET_ACCESS_KEY", store.secret_access_key)


@pytest.fixture(scope="module")
def ask(store):
    """`ask(bucket)`: what `backend test` finds out."""

    def run(bucket):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TEST_ACCESS_KEY_ID", store.access_key_id)
            patch.setenv("TEST_SECRET_ACCESS_KEY", store.secret_access_key)
            endpoint = store.endpoint
            return probe(
                ObjectBackend("test", bucket, endpoint=endpoint, credential_env_prefix="TEST")
            )

    return run


@pytest.fixture(scope="module")
def found_out(ask, store):
    """What a test of the store says."""
    result = ask(store.bucket)
    assert result.failure is None
    return result.profile


@pytest.fixture(params=["unknown", "careful", "tested"])
def settings(request, monkeypatch):
    """Settings of a backend on the store: never tested, so that the first upload asks by itself;
    the same where it may not write a test object; tested before.
    """
    if request.param == "tested":
        return {"provider": "other", "tested": request.getfixturevalue("found_out")}
    if request.param == "careful":
        monkeypatch.setattr(upload, "make_sure", lambda *_: None)
    return {"provider": "other"}


@pytest.fixture
def cloud(backend, settings):
    return backend(**settings)


@pytest.fixture
def through_proxy(proxy, backend, settings):
    return backend(endpoint=proxy.endpoint, **settings)


@pytest.fixture
def held(catalog, remote):
    """`held(backend)`: the digests that active rows tell of, each checked against the store."""

    def check(backend):
        found = {key.removeprefix(backend.key_prefix): digest
                 for key, digest in rows(catalog, ACTIVE, backend.id)}  # fmt: skip
        for key, digest in found.items():
            assert hashlib.sha256(remote(backend).get(key)).hexdigest() == digest, key
        return found

    return check


@pytest.fixture
def claims(held):
    """`claims(backend)`: the keys of the same."""
    return lambda backend: set(held(backend))
