"""The tables that the assets stand for, as Dagster's catalog shows them, and what to read on."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

import dagster as dg
import sqlalchemy as sa

from catalogsync_assets.core.catalog import schema

_DOCUMENT = Path("docs") / "pipeline.md"
#: The documentation lies beside the package where the project was checked out.
_FILE = Path(__file__).parents[2] / _DOCUMENT
_HEADING = re.compile(r"^#{1,2} (.+)$", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:)[^)]*\)")


def definition_metadata(table_name: str, *chapters: str) -> dict[str, dg.MetadataValue]:
    """What the UI shows of an asset before anything was materialized.

    Args:
        table_name: the table of the catalog that the asset stands for.
        chapters: headings in `docs/pipeline.md` of what one should know of it.
    """
    return {
        "dagster/table_name": dg.MetadataValue.text(table_name),
        "dagster/column_schema": dg.MetadataValue.table_schema(column_schema(table_name)),
        **_reading(chapters),
    }


def column_schema(table_name: str) -> dg.TableSchema:
    """The columns of a table of the catalog, from the schema that the code works with."""
    columns = schema.metadata.tables[table_name].columns
    return dg.TableSchema(columns=[_column(column) for column in columns])


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


def _reading(chapters: tuple[str, ...]) -> dict[str, dg.MetadataValue]:
    """The chapters themselves, where they lie on this machine, as the UI's Markdown cannot link to
    a file; else their names; and the address of the documentation if the package has one."""
    try:
        text = _FILE.read_text("utf-8")
    except OSError:
        names = ", ".join(f'"{chapter}"' for chapter in chapters)
        docs: dg.MetadataValue = dg.MetadataValue.text(f"{_DOCUMENT.as_posix()}: {names}")
    else:
        parts = [chapter_of(text, chapter) for chapter in chapters]
        docs = dg.MetadataValue.md("\n\n".join(parts))
    address = _address()
    return {"docs": docs, **({"docs link": dg.MetadataValue.url(address)} if address else {})}


def chapter_of(text: str, heading: str) -> str:
    """A chapter of a Markdown text with its heading, without the links to other files.

    Raises:
        LookupError: there is no such chapter.
    """
    headings = list(_HEADING.finditer(text))
    for number, found in enumerate(headings):
        if found[1] == heading:
            end = headings[number + 1].start() if number + 1 < len(headings) else len(text)
            return _LINK.sub(r"\1", text[found.start() : end]).strip()
    raise LookupError(f"{_DOCUMENT} has no chapter {heading!r}")


def _address() -> str | None:
    """Where the installed package says that its documentation is on the web."""
    try:
        urls = metadata("catalogsync").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    named = dict(url.partition(", ")[::2] for url in urls)
    return named.get("Documentation")
