"""Writes rows as Parquet, with pyarrow: the reference implementation, and an extra of this package.

One row group after the other, so that memory does not grow with the rows.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.export.rows import Row, Shape

if TYPE_CHECKING:
    import pyarrow as pa

#: Rows of a row group; some 20 MiB in memory while it is made.
_GROUP = 20_000


def require_parquet() -> None:
    """Raise a ConfigurationError unless Parquet can be written here."""
    if importlib.util.find_spec("pyarrow") is None:
        raise ConfigurationError(
            "Parquet needs the package pyarrow, which is not installed",
            hint="pip install 'catalogsync[parquet]'",
        )


def write_parquet(file: BinaryIO, shape: Shape, rows: Iterable[Row]) -> None:
    """Times are timestamps in UTC; everything but a song's id and a file's place may be null."""
    import pyarrow as pa
    from pyarrow import parquet

    schema = _schema(shape)
    rows = iter(rows)
    with parquet.ParquetWriter(file, schema, compression="zstd") as writer:
        while group := [row.values for row in islice(rows, _GROUP)]:
            columns = [
                _column(list(values), field)
                for values, field in zip(zip(*group, strict=True), schema, strict=True)
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _schema(shape: Shape) -> pa.Schema:
    import pyarrow as pa

    types = {
        "integer": pa.int64(),
        "number": pa.float64(),
        "text": pa.string(),
        "time": pa.timestamp("s", tz="UTC"),
    }
    return pa.schema([(name, types[kind]) for name, kind in shape.kinds.items()])


def _column(values: list[object], field: pa.Field) -> pa.Array:
    import pyarrow as pa

    if pa.types.is_timestamp(field.type):
        return pa.array(values, pa.string()).cast(field.type)
    return pa.array(values, field.type)
