"""What the web UI shows of an asset before anything was materialized."""

from __future__ import annotations

from typing import TypedDict

import dagster as dg
import sqlalchemy as sa

from catalogsync_assets.core.catalog import schema


class Details(TypedDict):
    """Arguments of `dg.asset` and `dg.graph_asset`."""

    group_name: str
    kinds: set[str]
    owners: list[str]
    code_version: str
    tags: dict[str, str]
    metadata: dict[str, dg.MetadataValue]


def details(group: str, stage: str, table_name: str, *kinds: str) -> Details:
    """What each asset's decorator is told of whose the asset is, where it stands and what it holds.

    Args:
        stage: its place in the pipeline, as a tag that sorts.
        table_name: the table of the catalog that it stands for; its name and columns are shown,
            from the schema that the code works with.
        kinds: what it works with, as Dagster names such.
    """
    columns = schema.metadata.tables[table_name].columns
    return {
        "group_name": group,
        "kinds": set(kinds),
        "owners": ["team:library"],
        "code_version": "1",
        "tags": {"catalogsync/stage": stage},
        "metadata": {
            "dagster/table_name": dg.MetadataValue.text(table_name),
            "dagster/column_schema": dg.MetadataValue.table_schema(
                dg.TableSchema(columns=[_column(column) for column in columns])
            ),
        },
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
