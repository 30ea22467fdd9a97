"""What the tests of snapshots share."""

import pytest

from catalogsync_assets.core.backup import sealing

_SCRYPT = dict(sealing._SCRYPT)


@pytest.fixture(autouse=True)
def quick_scrypt(monkeypatch):
    """A key takes half a second of CPU to make."""
    monkeypatch.setitem(sealing._SCRYPT, "n", 2**4)


@pytest.fixture
def real_scrypt(monkeypatch, quick_scrypt):
    """It takes that after all."""
    monkeypatch.setitem(sealing._SCRYPT, "n", _SCRYPT["n"])
