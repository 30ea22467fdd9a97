"""How results look in the web UI: tables, figures, and failures that say what to do."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dagster as dg

from catalogsync_assets.core.catalog.status import FormatTotal
from catalogsync_assets.core.errors import CatalogSyncError, StoreError
from catalogsync_assets.core.visible import visible

#: What Dagster takes: its own values, or a figure or a text as it is.
Metadata = dict[str, Any]

#: Rows of a table in the UI; the command line lists more.
MAX_ROWS = 50
#: Characters of a cell of a table.
_MAX_TEXT = 500


def table(
    columns: Sequence[str], rows: Sequence[Sequence[str | int | float]]
) -> dg.TableMetadataValue:
    """A table for the UI, at most `MAX_ROWS` of the rows; columns of numbers are numbers."""
    shown = [[_limited(value) for value in row] for row in rows[:MAX_ROWS]]
    types = [_type([row[i] for row in shown]) for i in range(len(columns))]
    schema = dg.TableSchema(
        columns=[dg.TableColumn(name=c, type=t) for c, t in zip(columns, types, strict=True)]
    )
    records = [dg.TableRecord(dict(zip(columns, row, strict=True))) for row in shown]
    return dg.MetadataValue.table(records, schema=schema)


def _limited(value: str | int | float) -> str | int | float:
    """Text that a table can show; of some length, as an event is kept in a database for years."""
    if not isinstance(value, str):
        return value
    text = visible(value)
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def _type(values: Sequence[str | int | float]) -> str:
    if values and all(isinstance(value, int) for value in values):
        return "int"
    return "float" if values and all(isinstance(v, int | float) for v in values) else "string"


def formats_table(formats: Iterable[FormatTotal]) -> dg.TableMetadataValue:
    """How many files of each format there are, and their size."""
    return table(
        ("format", "files", "MiB"), [(f.format, f.files, mebibytes(f.bytes)) for f in formats]
    )


def count_of(files: int) -> str:
    """`1 file`, `2,000 files`."""
    return f"{files:,} file{'' if files == 1 else 's'}"


def mebibytes(count: int) -> float:
    """Bytes as MiB, for figures that Dagster plots."""
    return round(count / 1024**2, 3)


def percent(part: int, whole: int) -> float:
    """The share of a part; nothing of nothing is 0, as Dagster plots the figure.

    Rounded down: 100 means all.
    """
    return math.floor(100_000 * part / whole) / 1000 if whole else 0.0


@contextmanager
def clear_failures(
    details: Callable[[CatalogSyncError], Metadata] = lambda _: {},
) -> Iterator[None]:
    """Turn an error of ours into a Dagster failure that says what to do, without a traceback of
    the core; retried only where trying again can help.

    Args:
        details: more that is to be shown of it.
    """
    try:
        yield
    except CatalogSyncError as error:
        cause = getattr(error, "cause", error)
        hint = {"hint": visible(error.hint)} if error.hint else {}
        raise dg.Failure(
            description=visible(error),  # which Dagster prints on its terminal, too
            metadata={**hint, **details(error)},
            allow_retries=isinstance(cause, StoreError) and cause.retryable,
        ) from None
