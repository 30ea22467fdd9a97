"""The command that says how many copies there must be: policy."""

from __future__ import annotations

import click

from catalogsync_assets.cli import options, output, running, types


@options.command(
    "catalogsync policy",
    "catalogsync policy --required-copies 2",
    "catalogsync policy --library-root ~/Music --required-copies all",
    "catalogsync policy --library-root ~/Music --required-copies default",
)
@click.option(
    "--library-root", "root", metavar="FOLDER", help="Files of this root. [default: all others]"
)
@click.option(
    "--required-copies",
    "copies",
    metavar="N|all|default",
    type=types.copies,
    help="On N backends, on every one, or what applies without this setting.",
)
def policy(root: str | None, copies: int | str | None) -> None:
    """Set or show how many backends must hold each file.

    Without a policy, every registered backend must. The local library does not count, and backends
    that are the same store count as one. This uploads and removes nothing: `status` lists songs
    with too few copies, and `offload` keeps files that would have too few.
    """
    from catalogsync_assets.core.catalog import replication as core
    from catalogsync_assets.core.catalog.separation import separation
    from catalogsync_assets.core.errors import UsageError

    catalog = running.open_catalog()
    if copies is not None:
        words = {types.ALL: core.EVERY_BACKEND, types.DEFAULT: None}
        number = words[copies] if isinstance(copies, str) else copies
        core.set_policy(catalog, root or core.ALL_OTHERS, number)
    elif root is not None:
        raise UsageError("--library-root needs --required-copies", hint="add --required-copies N")
    found, known = core.policies(catalog), separation(catalog)
    backends, stores = len(known.names), known.stores
    there = f"{backends} backends are registered"
    if stores < backends:
        there += f", on {output.counted(stores, 'store')}"
    for p in found:
        if p.own and p.copies > stores:
            output.message(
                "warning",
                f"{p.library_root or 'all others'}: {p.copies} copies are required, but {there}:"
                " every song has too few",
            )
    told = [
        {
            "library_root": p.library_root,
            "required_copies": types.ALL if p.required_copies == core.EVERY_BACKEND else p.copies,
            "copies": p.copies,
            "own": p.own,
        }
        for p in found
    ]
    rows = [
        (
            p.library_root or "(all others)",
            f"all ({stores})" if p.required_copies == core.EVERY_BACKEND else p.copies,
            "itself" if p.own else "-",
        )
        for p in found
    ]
    columns = ("library root", "required copies", "as set for")
    running.end(
        {"backends": backends, "policies": told},
        lambda: output.print_table("policies", columns, rows),
    )
