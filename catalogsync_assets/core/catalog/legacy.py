"""Columns that an adopted database wants filled and our statements may not fill.

A database that is adopted keeps its columns and their constraints. Where a column is NOT NULL, each
insert must give it a value: for a column of ours the default that our own schema has, for another
program's one that means nothing: an empty text, zero, or the present time. SQLite cannot give an
existing column a default without writing the whole table anew.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from catalogsync_assets.core.catalog.lazy import sa, sa_text, schema

#: Rows in one statement of `insert_each`: SQLite takes 32,766 values since version 3.32.
_ROWS = 250
#: The execution option of a writing connection under which `find`'s answer travels.
OPTION = "catalogsync_legacy_columns"


class Required(NamedTuple):
    """A NOT NULL column: an SQL expression to fill it with, and whether it fills itself."""

    value: str
    has_default: bool


#: Per table, its NOT NULL columns by name.
LegacyColumns = Mapping[str, Mapping[str, Required]]


def find(connection: sa.Connection) -> LegacyColumns:
    """The NOT NULL columns of those of our tables that exist."""
    found: dict[str, dict[str, Required]] = {}
    for table in schema.metadata.tables.values():
        for _, name, kind, not_null, default, _ in connection.exec_driver_sql(
            f"PRAGMA table_info({table.name})"
        ):
            if name.lower() in table.c:
                name = name.lower()  # noqa: PLW2901  (SQLite knows no case in names)
            if not_null and name != "id":
                ours = table.c[name].server_default if name in table.c else None
                value = str(ours.arg) if isinstance(ours, sa.DefaultClause) else None
                required = Required(value or _neutral(name, kind), default is not None)
                found.setdefault(table.name, {})[name] = required
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
    required = _required(connection, table)
    more = {
        name: column.value
        for name, column in required.items()
        if name not in columns and not column.has_default
    }
    names = ", ".join([*columns, *(f'"{name}"' for name in more)])
    values = "".join(f", {value}" for value in more.values())
    if rest is None:
        rest = f"VALUES ({', '.join(_parameter(c, required) for c in columns)}{{more}})"
    return f"INSERT INTO {table} ({names}) {rest.replace('{more}', values)}"


def assignments(connection: sa.Connection, table: str, columns: Iterable[str]) -> str:
    """The SET part of an UPDATE, by parameters of the columns' names; None where it is allowed."""
    required = _required(connection, table)
    return ", ".join(f"{c} = {_parameter(c, required)}" for c in columns)


def update_row(
    connection: sa.Connection, table: str, row_id: int, values: Mapping[str, object]
) -> None:
    """Set columns of one row; None where the column allows it."""
    parts = assignments(connection, table, values)
    statement = f"UPDATE {table} SET {parts}, updated_at = CURRENT_TIMESTAMP WHERE id = :row_id"
    connection.execute(sa.text(statement), {**values, "row_id": row_id})


def _required(connection: sa.Connection, table: str) -> Mapping[str, Required]:
    all_tables: LegacyColumns = connection.get_execution_options()[OPTION]
    return all_tables.get(table, {})


def _parameter(column: str, required: Mapping[str, Required]) -> str:
    return f"COALESCE(:{column}, {required[column].value})" if column in required else f":{column}"


def insert_row(connection: sa.Connection, table: str, values: Mapping[str, object]) -> int:
    """Insert a row and return its id."""
    statement = insert_sql(connection, table, list(values)) + " RETURNING id"
    return int(connection.execute(sa_text(statement), dict(values)).scalar_one())


def insert_each(
    connection: sa.Connection, table: str, rows: Sequence[Mapping[str, object]]
) -> list[int]:
    """Insert rows, all of the same columns, and return the id of each.

    A statement for many rows: one for each costs several times as much as the row itself.
    """
    ids: list[int] = []
    for start in range(0, len(rows), _ROWS):
        some = rows[start : start + _ROWS]
        required = _required(connection, table)
        names = list(some[0])
        # By place, not by name: straight to the driver, and with hundreds of names it is slower.
        marks = (f"COALESCE(?, {required[c].value})" if c in required else "?" for c in names)
        row = f"({', '.join(marks)}{{more}})"
        rest = f"VALUES {', '.join([row] * len(some))} RETURNING id"
        statement = insert_sql(connection, table, names, rest)
        values = tuple(row[name] for row in some for name in names)
        found = connection.exec_driver_sql(statement, values)
        # They are given in the order of the rows, but come back in any.
        ids += sorted(int(id_) for (id_,) in found)
    return ids


def insert_rows(
    connection: sa.Connection, table: str, rows: Sequence[Mapping[str, object]]
) -> None:
    """Insert rows, all of the same columns."""
    if rows:
        connection.execute(sa.text(insert_sql(connection, table, list(rows[0]))), rows)
