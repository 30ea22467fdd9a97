"""The tables of the catalog that the assets stand for, as the web UI shows them."""

from __future__ import annotations

import dagster as dg
import sqlalchemy as sa

from catalogsync_assets.core.catalog import schema


def definition_metadata(table_name: str) -> dict[str, dg.MetadataValue]:
    """What the UI shows of an asset before anything was materialized: name and columns of its
    table, from the schema that the code works with."""
    columns = schema.metadata.tables[table_name].columns
    return {
        "dagster/table_name": dg.MetadataValue.text(table_name),
        "dagster/column_schema": dg.MetadataValue.table_schema(
            dg.TableSchema(columns=[_column(column) for column in columns])
        ),
    }


def _column(column: sa.Column[object]) -> dg.TableColumn:
    targets = sorted(key.target_fullname for key in column.foreign_keys)
    return dg.TableColumn(
        name=column.name,
        type=str(column.type).lower(),
        description=f"refers to {', '.join(targets)}" if targets else None,
        constraints=dg.TableColumnConstraints(
            nullable=bool(column.nullable),
            # A part of a compound key is not unique by itself.
            unique=bool(column.unique or (column.primary_key and column.name == "id")),
        ),
    )
