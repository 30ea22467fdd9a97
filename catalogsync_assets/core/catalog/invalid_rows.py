"""Finds the row that made a command fail: a value that cannot stand in its column.

SQLite keeps whatever it is given, whatever the column's type, and other programs write into the
catalog. Sizes and digests, by which objects are judged, are checked when they are read. Other
values are not, which would slow down every command for the sake of few; when an error comes of
one, it is looked for here.
"""

from __future__ import annotations

import math
import re
import sqlite3
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lazy import sa, schema
from catalogsync_assets.core.errors import CatalogError, CatalogSyncError

#: What code raises that was given another type than it expects. Others have causes of their own.
_KINDS = (
    ValueError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
)
#: Characters of a value that are shown.
_LONGEST = 60
_NUMBERS = {"INTEGER": (int,), "BIGINT": (int,), "BOOLEAN": (int,), "FLOAT": (int, float)}
_WORDS = {
    "INTEGER": "a whole number",
    "BIGINT": "a whole number",
    "BOOLEAN": "0 or 1",
    "FLOAT": "a number",
    "DATETIME": "a time such as 2026-11-01 12:00:00",
    "JSON": "JSON",
    "BLOB": "binary data",
    "size_bytes": "a whole number from 0 on",
    "sha256": "64 hexadecimal digits",
}


#: Columns to put last in what `checked` is to read, of a file asset `f` and its location.
GUARDS = ", f.id, f.size_bytes, f.sha256, {location}.id, {location}.size_bytes"
_DIGEST = re.compile(r"[0-9A-Fa-f]{64}")


def checked(catalog: Catalog, rows: Iterable[Sequence[Any]]) -> Iterator[Sequence[Any]]:
    """The rows without their last columns, which are `GUARDS`, and digests in small letters.

    Raises:
        CatalogError: a size or a digest cannot be one.
    """
    for row in rows:
        _, size, sha256, _, here = guards = row[-5:]
        if not (_is_size(size) and _is_size(here) and _is_digest(sha256)):
            _refuse(catalog, guards)
        if sha256 and sha256 != (lower := sha256.lower()):
            yield tuple(lower if value == sha256 else value for value in row[:-5])
        else:
            yield row[:-5]


def _is_size(value: Any) -> bool:
    return value is None or (type(value) is int and value >= 0)


def _is_digest(value: Any) -> bool:
    return not value or (isinstance(value, str) and _DIGEST.fullmatch(value) is not None)


def _refuse(catalog: Catalog, guards: Sequence[Any]) -> None:
    asset, location = schema.file_assets.c, schema.file_locations.c
    guarded = asset.id, asset.size_bytes, asset.sha256, location.id, location.size_bytes
    for column, value in zip(guarded, guards, strict=True):
        row_id = guards[0] if column.table is schema.file_assets else guards[3]
        raw = _Text(value.encode()) if isinstance(value, str) else value
        if value is not None and (why := _fault(column, raw, None)) is not None:
            raise _error(
                catalog, f"table {column.table.name}, row with id {row_id}: {column.name} is {why}"
            )


class _Text(bytes):
    """Text as it lies in the database, which tells it from binary data."""


@contextmanager
def explained(catalog: Catalog) -> Iterator[None]:
    """Raise what `explain` says in place of an error of the block."""
    try:
        yield
    except Exception as error:
        if (found := explain(error, catalog)) is not None:
            raise found from error
        raise


def explain(error: Exception, catalog: Catalog) -> CatalogError | None:
    """What a person is told of an error that an impossible value in the catalog has caused.

    Looks through the whole catalog, which may take a minute for millions of songs.

    Returns:
        None if the error is none of that kind, or every row is as it should be.
    """
    undecodable = isinstance(error, CatalogSyncError) and "Could not decode" in error.message
    if isinstance(error, CatalogSyncError) and not undecodable:
        return None
    of_sqlalchemy = "sqlalchemy" in sys.modules and isinstance(error, sa.exc.StatementError)
    if not (undecodable or of_sqlalchemy or isinstance(error, _KINDS)):
        return None
    if (found := _first_invalid(catalog)) is None:
        return None
    return _error(catalog, found)


def _error(catalog: Catalog, found: str) -> CatalogError:
    return CatalogError(
        f"the catalog {catalog.path}: {found}",
        hint="correct that value with `sqlite3`, or restore a backup of the catalog",
    )


def _first_invalid(catalog: Catalog) -> str | None:
    try:
        with catalog.read() as connection:
            present = sa.inspect(connection)
            tables = {
                table.name: [c for c in table.columns if c.name in existing]
                for table in schema.metadata.tables.values()
                if (existing := {c["name"] for c in present.get_columns(table.name)})
            }
        # A connection of its own: text comes as bytes, since it may be none.
        with closing(sqlite3.connect(catalog.path)) as raw:
            raw.text_factory = _Text
            for name, columns in tables.items():
                if (found := _first_invalid_of(raw, name, columns)) is not None:
                    return found
    except (CatalogError, sa.exc.SQLAlchemyError, sqlite3.Error):
        return None  # then the first error is the one to tell
    return None


def _first_invalid_of(
    raw: sqlite3.Connection, table: str, columns: list[sa.Column[Any]]
) -> str | None:
    quoted = ", ".join(f'"{column.name}"' for column in columns)
    dialect = sa.dialects.registry.load("sqlite")()
    readers = [
        column.type.dialect_impl(dialect).result_processor(dialect, None) for column in columns
    ]
    for row in raw.execute(f'SELECT {quoted} FROM "{table}"'):
        for column, value, read in zip(columns, row, readers, strict=True):
            if (why := _fault(column, value, read)) is not None:
                keys = [
                    f"{c.name} {v.decode(errors='replace') if isinstance(v, bytes) else v}"
                    for c, v in zip(columns, row, strict=True)
                    if c.primary_key
                ]
                return f"table {table}, row with {', '.join(keys)}: {column.name} is {why}"
    return None


def _fault(column: sa.Column[Any], value: Any, read: Any) -> str | None:
    """What is wrong with a value, given as it lies in the database; None if nothing is."""
    kind = str(column.type).partition("(")[0]
    word = column.name if column.name in _WORDS else kind
    if value is None:
        return None if column.nullable else f"empty (NULL), not {_WORDS.get(kind, 'text')}"
    if kind == "BLOB":
        return None  # text serves as well
    if kind in _NUMBERS:
        fits = isinstance(value, _NUMBERS[kind]) and math.isfinite(value)
        fits = fits and (column.name != "size_bytes" or value >= 0)
        return None if fits else _not_a(word, value)
    if not isinstance(value, _Text):  # a number serves as text
        return None if isinstance(value, int) and word not in _WORDS else _not_a(word, value)
    try:
        text = value.decode()
        if text and read is not None:
            read(text)
        fits = column.name != "sha256" or _is_digest(text)
    except (ValueError, TypeError):
        fits = False
    return None if fits else _not_a(word, value)


def _not_a(word: str, value: Any) -> str:
    shown = repr(value.decode(errors="backslashreplace") if isinstance(value, _Text) else value)
    shown = shown if len(shown) <= _LONGEST else shown[: _LONGEST - 1] + "…"
    return f"{shown}, which is not {_WORDS.get(word, 'text in UTF-8')}"
