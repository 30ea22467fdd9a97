"""Backends as rows of `storage_backends`."""

from __future__ import annotations

import json
import re
import secrets
import time
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from catalogsync_assets.core.catalog import presence
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.legacy import insert_row
from catalogsync_assets.core.catalog.schema import storage_backends
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
_COLUMNS = storage_backends.c
#: Of backends, what `from_row` takes. Their config as text: another program may have left something
#: there that is not JSON, such as nothing.
SELECT = sa.select(
    _COLUMNS.id,
    _COLUMNS.name,
    _COLUMNS.container_name,
    sa.type_coerce(_COLUMNS.config, sa.String).label("config"),
)
OBJECT_STORES = SELECT.where(_COLUMNS.backend_type == OBJECT_STORAGE).order_by(_COLUMNS.name)
_LOCAL = SELECT.where(_COLUMNS.backend_type == LOCAL).order_by(_COLUMNS.id).limit(1)


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
        row = connection.execute(SELECT.where(_COLUMNS.name == backend.name)).first()
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
            sa.update(storage_backends)
            .where(storage_backends.c.id == row.id)
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
    with catalog.read() as connection:
        config = read_config(connection, backend.id)
    return replace(backend, tested=_tested(config))


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
    return settings_of(connection.execute(SELECT.where(_COLUMNS.id == backend_id)).one().config)


def write_config(connection: sa.Connection, backend_id: int, config: dict[str, Any]) -> None:
    """Put it in place of what a row's `config` held."""
    row = sa.update(storage_backends).where(_COLUMNS.id == backend_id)
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
    with catalog.read() as connection:
        return [from_row(row) for row in connection.execute(OBJECT_STORES)]


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
    removed = sa.select(_COLUMNS.name).where(
        _COLUMNS.id == backend.id, _COLUMNS.removed_at.is_not(None)
    )
    if connection.execute(removed).first() is not None:
        raise CatalogError(
            f"backend {backend.name!r} was removed meanwhile",
            hint="what has come to its bucket stays there; register that again to find it",
        )


def local_backend_id(connection: sa.Connection) -> int:
    """The backend that stands for the local library; made when it is first asked for.

    Its files carry their library root in `file_locations.container_name`.
    """
    found = connection.scalar(_LOCAL)
    if found is None:
        new = {"name": LOCAL, "backend_type": LOCAL, "config": "{}"}
        return insert_row(connection, "storage_backends", new)
    return int(found)


def follows_links(catalog: Catalog) -> bool:
    """Whether links of the library are followed that lead out of every root; see `scan`."""
    with catalog.read() as connection:
        local = connection.execute(_LOCAL).first()
    return local is not None and settings_of(local.config).get(_FOLLOW_LINKS) is True


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
            config[_CATALOG_ID] = secrets.token_hex(8)
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


def from_row(row: Any) -> ObjectBackend:
    """The backend of a row with `id`, `name`, `container_name` and `config`.

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
