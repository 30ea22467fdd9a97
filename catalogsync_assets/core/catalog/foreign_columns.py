"""Columns that an adopted database wants filled and our statements do not fill.

A database that is adopted keeps its columns and their constraints. Where a column is NOT NULL and
has no default, each insert must give it a value: for a column of ours the default that our own
schema has, for another program's one that means nothing: an empty text, zero, or the present time.
SQLite cannot give an existing column a default without writing the whole table anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import sqlalchemy as sa

from catalogsync_assets.core.catalog.schema import metadata

#: The execution option of a writing connection under which `find`'s answer travels.
OPTION = "catalogsync_foreign_columns"

#: Per table, the columns to fill and an SQL expression for each.
ForeignColumns = Mapping[str, Mapping[str, str]]


def find(connection: sa.Connection) -> ForeignColumns:
    """The columns that must be filled, of those of our tables that exist."""
    found: dict[str, dict[str, str]] = {}
    for table in metadata.tables.values():
        for _, name, kind, not_null, default, key in connection.exec_driver_sql(
            f"PRAGMA table_info({table.name})"
        ):
            if not_null and default is None and not key:
                ours = table.c[name].server_default if name in table.c else None
                value = str(ours.arg) if isinstance(ours, sa.DefaultClause) else None
                found.setdefault(table.name, {})[name] = value or _neutral(name, kind)
    return found


def _neutral(name: str, kind: str) -> str:
    """A value that means nothing for a column, as an SQL expression."""
    kind = kind.upper()
    if re.search("DATE|TIME", kind) or name.endswith("_at"):
        return "CURRENT_TIMESTAMP"
    if "JSON" in kind:
        return "'{}'"
    # SQLite's affinities, https://www.sqlite.org/datatype3.html#determination_of_column_affinity
    return "0" if re.search("INT|REAL|FLOA|DOUB|NUM|DEC|BOOL", kind) else "''"


def insert_sql(
    connection: sa.Connection, table: str, columns: Sequence[str], rest: str | None = None
) -> str:
    """An INSERT INTO of these columns, and of those that must be filled besides.

    Args:
        connection: one of `Catalog.transaction`.
        rest: what follows the column list, with `{more}` where the values of the further columns
            belong; None for VALUES with a named parameter for each column.
    """
    all_tables: ForeignColumns = connection.get_execution_options()[OPTION]
    more = {k: v for k, v in all_tables.get(table, {}).items() if k not in columns}
    names = ", ".join([*columns, *(f'"{name}"' for name in more)])
    values = "".join(f", {value}" for value in more.values())
    if rest is None:
        rest = f"VALUES ({', '.join(f':{c}' for c in columns)}{{more}})"
    return f"INSERT INTO {table} ({names}) {rest.replace('{more}', values)}"


def insert_row(connection: sa.Connection, table: str, values: Mapping[str, object]) -> int:
    """Insert a row and return its id."""
    statement = insert_sql(connection, table, list(values)) + " RETURNING id"
    return int(connection.execute(sa.text(statement), dict(values)).scalar_one())
