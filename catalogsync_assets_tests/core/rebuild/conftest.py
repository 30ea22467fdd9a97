"""A catalog with copies on a backend, the loss of all but that, and what is made of it."""

import hashlib
import itertools
import shutil
import sqlite3
from contextlib import closing
from datetime import datetime, timedelta, timezone

import pytest

from catalogsync_assets.core.backup.sealing import seal
from catalogsync_assets.core.backup.snapshots import PLAIN_SHA256, SCHEMA, snapshot_name
from catalogsync_assets.core.catalog.backends import catalog_id, register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.version import SCHEMA_VERSION
from catalogsync_assets.core.rebuild.rebuild import Request, rebuild


@pytest.fixture
def snapshot(catalog, tmp_path, remote):
    """`snapshot(backend)` puts one of the catalog there; each is a day younger than the last."""
    numbers = itertools.count(1)

    def make(backend, *, change=lambda db: None, of=None, spoil=lambda sealed: sealed):
        number = next(numbers)
        plain, sealed = tmp_path / f"plain-{number}", tmp_path / f"sealed-{number}"
        with closing(sqlite3.connect(catalog.path)) as old, closing(sqlite3.connect(plain)) as new:
            old.backup(new)
            change(new)
            new.commit()
            new.execute("PRAGMA journal_mode=DELETE")
        seal(plain, sealed, None)
        made = datetime(2026, 1, 1, tzinfo=timezone.utc) + timedelta(days=number)
        key = snapshot_name(of or catalog_id(catalog), made, encrypted=False)
        digest = hashlib.sha256(plain.read_bytes()).hexdigest()
        remote(backend).put(
            key,
            spoil(sealed.read_bytes()),
            Metadata={SCHEMA: SCHEMA_VERSION, PLAIN_SHA256: digest},
        )
        return backend.key_prefix + key

    return make


@pytest.fixture
def lost(catalog, library):
    """`lost()`: the catalog and the library are gone; what the library held is returned."""

    def lose():
        before = library.contents()
        catalog.close()
        catalog.path.unlink()
        for path in catalog.path.parent.glob(f"{catalog.path.name}-*"):
            path.unlink()
        shutil.rmtree(library.root)
        return before

    return lose


@pytest.fixture
def bare_machine(catalog, blank, tmp_path):
    """`bare_machine(backend)`: a new catalog that knows nothing but this backend."""
    opened = []

    def make(backend):
        path = tmp_path / f"new-{len(opened)}" / "catalog.db"
        path.parent.mkdir()
        shutil.copy(blank, path)
        opened.append(Catalog.open(path))
        return opened[-1], register(opened[-1], backend)[0]

    yield make
    for catalog_ in opened:
        catalog_.close()


@pytest.fixture
def rebuilt(bare_machine):
    """`rebuilt(backend)` rebuilds on a bare machine: the new catalog, the backend, the report."""

    def run(backend, **options):
        terms = {n: options.pop(n) for n in list(options) if n in Request.__annotations__}
        new, there = bare_machine(backend)
        report = rebuild(new, there, Request(**terms), attempts=2, **options)
        return new, there, report

    return run
