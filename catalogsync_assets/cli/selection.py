"""The options that say which songs a command is about: --song, --playlist, --artist, --pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.catalog.scope import Scope

_Function = TypeVar("_Function", bound=Callable[..., Any])


def selecting(function: _Function) -> _Function:
    """Adds the options; `selected_scope` takes what they give."""
    for option in (
        click.option(
            "--pool", "pools", multiple=True, metavar="NAME", help="... of this pool, or its id."
        ),
        click.option(
            "--artist", "artists", multiple=True, metavar="NAME", help="... of this artist, or id."
        ),
        click.option(
            "--playlist",
            "playlists",
            multiple=True,
            metavar="NAME",
            help="Only songs of this playlist, or its id; may be repeated, as may the next two.",
        ),
        click.option(
            "--song", "songs", type=int, multiple=True, metavar="ID", help="... or this song."
        ),
    ):
        function = option(function)
    return function


def selected_scope(
    catalog: Catalog,
    *,
    songs: tuple[int, ...],
    playlists: tuple[str, ...],
    artists: tuple[str, ...],
    pools: tuple[str, ...],
) -> Scope:
    """The songs in any of these; everything where none is given.

    Raises:
        UsageError: there is no such song, playlist, artist or pool.
    """
    from catalogsync_assets.core.catalog.scope import Scope, select

    return Scope(
        selections=select(catalog, songs=songs, playlists=playlists, artists=artists, pools=pools)
    )
