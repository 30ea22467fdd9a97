"""Backends as rows of `storage_backends`."""

from __future__ import annotations

import json
import os
import re
import time
from dataclasses import replace
from typing import Any, NamedTuple

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lazy import sa, sa_text, schema
from catalogsync_assets.core.catalog.legacy import insert_row
from catalogsync_assets.core.errors import CatalogError, ConfigurationError, UnknownBackendError
from catalogsync_assets.core.runner.owners import is_dead, new_owner
from catalogsync_assets.core.stores.backend import (
    LAYOUTS,
    LOCAL,
    OBJECT_STORAGE,
    SETTINGS,
    ObjectBackend,
    validated,
)
from catalogsync_assets.core.stores.profile import PRESETS, StoreProfile

#: What to do where there is no backend.
REGISTER_HINT = "register one with `catalogsync register-object-backend`"
_CATALOG_ID = "catalog_id"
_FOLLOW_LINKS = "follow_links"
#: In a backend's config: the tests that are going on, or were killed.
_TESTS = "tests"
#: No test takes so long.
_TEST_SECONDS = 3600
#: The settings that are numbers; the others are text.
_NUMBERS = ("workers", "max_in_flight_bytes", "bandwidth_limit")
#: Of backends, what `BackendRow` takes. Their config as text: another program may have left
#: something there that is not JSON, such as nothing.
SELECT = "SELECT id, name, container_name, CAST(config AS TEXT) AS config FROM storage_backends"
#: Of the object stores; may be followed by further conditions.
OF_STORES = f"{SELECT} WHERE backend_type = '{OBJECT_STORAGE}'"
OBJECT_STORES = f"{OF_STORES} ORDER BY name"
_LOCAL = f"{SELECT} WHERE backend_type = '{LOCAL}' ORDER BY id LIMIT 1"
_BY_ID = f"{SELECT} WHERE id = :id"
_BY_NAME = f"{SELECT} WHERE name = :name"


def register(catalog: Catalog, backend: ObjectBackend) -> tuple[ObjectBackend, bool]:
    """Register a backend, or update the one of the same name.

    Returns:
        The backend as stored, and whether it is new.

    Raises:
        ConfigurationError: a setting is malformed; or another bucket is named for a backend that
            already has files, which would make their rows untrue.
    """
    backend = validated(backend)
    values = {
        "backend_type": OBJECT_STORAGE,
        "container_name": backend.bucket,
        "config": backend.config(),
    }
    with catalog.transaction() as connection:
        row = connection.execute(sa_text(_BY_NAME), {"name": backend.name}).first()
        if row is None:
            new = {"name": backend.name, **values, "config": json.dumps(backend.config())}
            backend_id = insert_row(connection, "storage_backends", new)
            presence.refresh(connection, backend_id=backend_id)
            return replace(backend, id=backend_id), True
        _require_same_bucket(connection, row, backend)
        before = from_row(row)
        if not backend.tested.known() and _store_of(before) == _store_of(backend):
            backend = replace(backend, tested=before.tested)
        # Settings of other programs in the same config are kept.
        values["config"] = {**settings_of(row.config), **backend.config()}
        connection.execute(
            sa.update(schema.storage_backends)
            .where(schema.storage_backends.c.id == row.id)
            .values(**values, updated_at=sa.func.current_timestamp())
        )
        return replace(backend, id=row.id), False


def keep_profile(catalog: Catalog, backend: ObjectBackend, found: StoreProfile) -> None:
    """Remember what a test found out about a backend's store, in place of what was known."""
    keep_answers(catalog, backend, found.known(), anew=True)


def keep_answers(
    catalog: Catalog, backend: ObjectBackend, answers: dict[str, Any], *, anew: bool = False
) -> None:
    """Remember what an upload found out about a backend's store, beside what was known.

    Args:
        answers: fields of `StoreProfile`.
        anew: what was known no longer holds, and goes.
    """
    with catalog.transaction() as connection:
        config = read_config(connection, backend.id)
        known = {} if anew else _tested(config).known()
        write_config(connection, backend.id, {**config, "tested": {**known, **answers}})


def with_kept_answers(catalog: Catalog, backend: ObjectBackend) -> ObjectBackend:
    """The backend with what is known of its store by now: another run may have found out more."""
    ((*_, config),) = catalog.rows(_BY_ID, id=backend.id)
    return replace(backend, tested=_tested(settings_of(config)))


def begin_test(catalog: Catalog, backend: ObjectBackend, prefix: str) -> list[str]:
    """Note that test objects are about to be written below a prefix, so that a kill leaves a trace.

    Returns:
        Prefixes of tests that were killed: what lies there is ours, and of no use.
    """
    now = time.time()
    with catalog.transaction() as connection:
        config = read_config(connection, backend.id)
        noted = _tests(config)
        killed = [p for p, note in noted.items() if _is_over(note, now)]
        noted = {**noted, prefix: {"owner": new_owner(), "at": int(now)}}
        write_config(connection, backend.id, {**config, _TESTS: noted})
    return killed


def end_test(catalog: Catalog, backend: ObjectBackend, prefixes: list[str]) -> None:
    """Forget tests that have left nothing behind."""
    with catalog.transaction() as connection:
        config = read_config(connection, backend.id)
        left = {p: note for p, note in _tests(config).items() if p not in prefixes}
        config.pop(_TESTS, None)
        write_config(connection, backend.id, {**config, _TESTS: left} if left else config)


def _tests(config: dict[str, Any]) -> dict[str, Any]:
    found = config.get(_TESTS)
    return found if isinstance(found, dict) else {}


def _is_over(note: Any, now: float) -> bool:
    """Whether a test is not going on any more: its process is gone, or on another host for long."""
    if not isinstance(note, dict):
        return True
    return is_dead(str(note.get("owner"))) or now - float(note.get("at") or 0) > _TEST_SECONDS


def read_config(connection: sa.Connection, backend_id: int) -> dict[str, Any]:
    """What a row's `config` holds; see `settings_of`."""
    row = connection.execute(sa_text(_BY_ID), {"id": backend_id}).one()
    return settings_of(row.config)


def write_config(connection: sa.Connection, backend_id: int, config: dict[str, Any]) -> None:
    """Put it in place of what a row's `config` held."""
    table = schema.storage_backends
    row = sa.update(table).where(table.c.id == backend_id)
    connection.execute(row.values(config=config))


def _store_of(backend: ObjectBackend) -> tuple[str | None, ...]:
    """Of two backends the same, if what a test said of the one holds for the other."""
    return backend.endpoint, backend.bucket, backend.provider


def _require_same_bucket(connection: sa.Connection, row: Any, backend: ObjectBackend) -> None:
    if row.container_name == backend.bucket:
        return
    count = "SELECT COUNT(*) FROM file_locations WHERE backend_id = :backend AND status = 'active'"
    used = connection.scalar(sa.text(count), {"backend": row.id})
    if used:
        raise ConfigurationError(
            f"backend {backend.name!r} has {used} files in bucket {row.container_name!r};"
            f" it cannot be pointed at bucket {backend.bucket!r}",
            hint="register the other bucket under a name of its own",
        )


def object_backends(catalog: Catalog) -> list[ObjectBackend]:
    """Every registered object store, by name."""
    return [from_row(BackendRow(*row)) for row in catalog.rows(OBJECT_STORES)]


def backend_by_name(catalog: Catalog, name: str) -> ObjectBackend:
    """The object store of this name.

    Raises:
        UnknownBackendError: there is none; the hint lists those that there are.
    """
    found = object_backends(catalog)
    for backend in found:
        if backend.name == name:
            return backend
    names = ", ".join(b.name for b in found)
    hint = f"registered are: {names}" if names else REGISTER_HINT
    raise UnknownBackendError(f"no backend is called {name!r}", hint=hint)


def require_in_use(connection: sa.Connection, backend: ObjectBackend) -> None:
    """See to it that a backend was not removed since it was read.

    Raises:
        CatalogError: it was.
    """
    removed = "SELECT 1 FROM storage_backends WHERE id = :id AND removed_at IS NOT NULL"
    if connection.scalar(sa_text(removed), {"id": backend.id}) is not None:
        raise CatalogError(
            f"backend {backend.name!r} was removed meanwhile",
            hint="what has come to its bucket stays there; register that again to find it",
        )


def local_backend_id(connection: sa.Connection) -> int:
    """The backend that stands for the local library; made when it is first asked for.

    Its files carry their library root in `file_locations.container_name`.
    """
    found = connection.scalar(sa_text(_LOCAL))
    if found is None:
        new = {"name": LOCAL, "backend_type": LOCAL, "config": "{}"}
        return insert_row(connection, "storage_backends", new)
    return int(found)


def follows_links(catalog: Catalog) -> bool:
    """Whether links of the library are followed that lead out of every root; see `scan`."""
    local = [BackendRow(*row) for row in catalog.rows(_LOCAL)]
    return bool(local) and settings_of(local[0].config).get(_FOLLOW_LINKS) is True


def set_follows_links(catalog: Catalog, follow: bool) -> None:
    """Remember it, for every scan and upload from now on. Idempotent."""
    if follow == follows_links(catalog):
        return
    with catalog.transaction() as connection:
        local = local_backend_id(connection)
        config = read_config(connection, local)
        write_config(connection, local, {**config, _FOLLOW_LINKS: follow})


def catalog_id(catalog: Catalog) -> str:
    """What tells this catalog from others, for marking the objects that it has put.

    Made when first asked for, and kept in the config of the local backend.
    """
    with catalog.transaction() as connection:
        local = local_backend_id(connection)
        config = read_config(connection, local)
        if not config.get(_CATALOG_ID):
            config[_CATALOG_ID] = os.urandom(8).hex()
            write_config(connection, local, config)
    return str(config[_CATALOG_ID])


def catalog_id_in(config: str | None) -> str | None:
    """The catalog's id in the config of a local backend; None where there is none of our form."""
    found = settings_of(config).get(_CATALOG_ID)
    return found if isinstance(found, str) and re.fullmatch(r"[0-9a-f]{8,64}", found) else None


def take_over_id(connection: sa.Connection, taken: str) -> None:
    """Be the catalog of this id from now on: what it has put is ours.

    To be called once a person has said that the other one is no more.
    """
    local = local_backend_id(connection)
    write_config(connection, local, {**read_config(connection, local), _CATALOG_ID: taken})


def settings_of(config: str | None) -> dict[str, Any]:
    """What a row's `config` holds; nothing where another program left something else there."""
    try:
        found = json.loads(config or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


class BackendRow(NamedTuple):
    """A row of `SELECT`."""

    id: int
    name: str
    container_name: str
    config: str | None


def from_row(row: Any) -> ObjectBackend:
    """The backend of a row of `SELECT`.

    Raises:
        ValueError: its settings are no JSON: without them it would pass for a bucket of AWS.
        CatalogError: they are JSON, but none of a backend.
    """
    if row.config and not isinstance(json.loads(row.config), dict | None):
        raise _impossible(row, "is not a JSON object")
    config = settings_of(row.config)
    known = {k: config[k] for k in SETTINGS if config.get(k)}
    # Another program may mean something else by these.
    for name, choices in (("provider", tuple(PRESETS)), ("layout", LAYOUTS)):
        if known.get(name) not in choices:
            known.pop(name, None)
    for name in _NUMBERS:
        if not isinstance(known.get(name), int):
            known.pop(name, None)
    for name in known.keys() - set(_NUMBERS):
        if not isinstance(known[name], str):
            raise _impossible(row, f"has {known[name]!r} as {name}, which is not text")
    return ObjectBackend(
        id=row.id, name=row.name, bucket=row.container_name, **known, tested=_tested(config)
    )


def _impossible(row: Any, why: str) -> CatalogError:
    return CatalogError(
        f"the catalog: table storage_backends, row with id {row.id}: config {why}",
        hint="correct that value with `sqlite3`, or restore a backup of the catalog",
    )


def _tested(config: dict[str, Any]) -> StoreProfile:
    answers = config.get("tested")
    return StoreProfile().with_answers(answers if isinstance(answers, dict) else {})
