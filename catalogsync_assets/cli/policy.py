"""The command that says how many copies there must be: policy."""

from __future__ import annotations

from typing import Any

import click

from catalogsync_assets.cli import output

_ALL, _DEFAULT = "all", "default"


class Copies(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A number of copies, `all` or `default`."""

    name = "copies"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str | None:
        text = str(value).strip().lower()
        if text in (_ALL, _DEFAULT):
            return text
        if text.isascii() and text.isdecimal() and len(text) <= 4:  # noqa: PLR2004
            return int(text)
        self.fail(f"{value!r} is neither a number of copies nor all nor default", param, ctx)


@click.command(
    epilog="""\b
Examples:
  catalogsync policy
  catalogsync policy --required-copies 2
  catalogsync policy --library-root ~/Music --required-copies all
  catalogsync policy --library-root ~/Music --required-copies default"""
)
@output.db_option
@click.option(
    "--library-root", "root", metavar="FOLDER", help="Only files of this one. [default: all others]"
)
@click.option(
    "--required-copies",
    "copies",
    type=Copies(),
    metavar="N|all|default",
    help="On so many backends, on every one, or what holds without this setting.",
)
@output.json_option
def policy(db: str | None, root: str | None, copies: int | str | None) -> None:
    """Set or show how many backends must hold each file.

    Without a policy every registered backend must. The local library is not counted, and backends
    that are one store count as one. Nothing is uploaded or removed by it: `status` tells which
    songs have too few copies, and `offload` leaves what would have too few.
    """
    from catalogsync_assets.core.catalog.replication import (
        ALL_OTHERS,
        EVERY_BACKEND,
        policies,
        set_policy,
    )
    from catalogsync_assets.core.catalog.separation import separation
    from catalogsync_assets.core.errors import UsageError

    catalog = output.open_catalog(db)
    if copies is not None:
        number = (
            {_ALL: EVERY_BACKEND, _DEFAULT: None}[copies] if isinstance(copies, str) else copies
        )
        set_policy(catalog, root or ALL_OTHERS, number)
    elif root is not None:
        raise UsageError("--library-root needs to know what to set", hint="add --required-copies")
    found, known = policies(catalog), separation(catalog)
    backends, stores = len(known.names), known.stores
    there = f"{backends} backends are registered"
    if stores < backends:
        there += f", which are {stores} store{'' if stores == 1 else 's'}"
    for p in found:
        if p.own and p.copies > stores:
            output.message(
                "warning",
                f"{p.library_root or 'all others'}: {p.copies} copies are required, but {there}:"
                " every song has too few",
            )
    if output.wants_json():
        told = [
            {
                "library_root": p.library_root,
                "required_copies": _ALL if p.required_copies == EVERY_BACKEND else p.copies,
                "copies": p.copies,
                "own": p.own,
            }
            for p in found
        ]
        output.print_json({"backends": backends, "policies": told})
        return
    output.print_table(
        "policies",
        ("library root", "required copies", "as set for"),
        [
            (
                p.library_root or "(all others)",
                f"all ({stores})" if p.required_copies == EVERY_BACKEND else p.copies,
                "itself" if p.own else "-",
            )
            for p in found
        ],
    )
