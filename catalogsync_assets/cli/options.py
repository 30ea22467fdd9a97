"""What the commands share before they run: how they are made, and their common options.

--db, --json and the options that say which songs a command is about give no argument: they are
remembered in click's context, and asked for by `running.open_catalog`, `output.wants_json` and
`running.selected_scope`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Option(Protocol):
    """What `click.option` returns, or several of it as one."""

    def __call__(self, function: _Function, /) -> _Function: ...


_GIVEN = "catalogsync.given."


def given(name: str) -> Any:
    """What --db, --json or an option of `selecting` has given; None where there is no such."""
    return click.get_current_context().meta.get(_GIVEN + name)


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    context.meta[f"{_GIVEN}{parameter.name}"] = value


def _examples(lines: tuple[str, ...]) -> str:
    return "\n".join(("\b", "Examples:" if lines[1:] else "Example:", *(f"  {x}" for x in lines)))


def command(
    *examples: str,
    name: str | None = None,
    of: click.Group | None = None,
    db: bool = True,
    json: bool = True,
) -> Callable[[Callable[..., None]], click.Command]:
    """Makes a command, with --db as its first option and --json as its last.

    Args:
        examples: lines for the end of its help.
        name: where it is not the function's.
        of: the group that it belongs to, if not to the program's.
        db, json: False for a command without the option.
    """

    def make(function: Callable[..., None]) -> click.Command:
        made = click.command(name, epilog=_examples(examples))(function)
        if db:
            made.params.insert(0, _option("--db", metavar="PATH", help=_DB))
        if json:
            made.params.append(_option("--json", is_flag=True, is_eager=True, help=_JSON))
        if of is not None:
            of.add_command(made)
        return made

    return make


def group(*examples: str) -> Callable[[Callable[..., None]], click.Group]:
    """Makes a group of commands, with examples at the end of its help."""
    return click.group(epilog=_examples(examples))


_DB = "The catalog, a path or sqlite:/// URL. [default: $CATALOGSYNC_DB, else catalogsync.db]"
_JSON = "Print one JSON object on stdout."


def _option(name: str, **settings: Any) -> click.Option:
    return click.Option([name], expose_value=False, callback=_remember, **settings)


def together(*several: Option) -> Option:
    """Several options as one decorator, in this order."""

    def add(function: _Function) -> _Function:
        for option in reversed(several):
            function = option(function)
        return function

    return add


def _selecting(name: str, target: str, text: str, kind: Any = str) -> Option:
    metavar = "ID" if kind is int else "NAME"
    settings: dict[str, Any] = {"expose_value": False, "callback": _remember, "multiple": True}
    return click.option(name, target, type=kind, metavar=metavar, help=text, **settings)


#: The options that say which songs a command is about.
selecting = together(
    _selecting("--song", "songs", "... or this song.", int),
    _selecting(
        "--playlist",
        "playlists",
        "Only songs of this playlist, or its id; may be repeated, as may the next two.",
    ),
    _selecting("--artist", "artists", "... of this artist, or id."),
    _selecting("--pool", "pools", "... of this pool, or its id."),
)


def workers(of_what: str, *, most: int = 256, default: int | None = None) -> Option:
    """--workers."""
    return click.option(
        "--workers",
        type=click.IntRange(1, most),
        default=default,
        show_default=default is not None,
        help=f"{of_what} at a time." + ("" if default else " [default: the backend's, else 16]"),
    )


def limit(text: str, *, default: int | None = None, metavar: str | None = None) -> Option:
    """--limit."""
    return click.option(
        "--limit",
        type=click.IntRange(min=1),
        default=default,
        show_default=default is not None,
        metavar=metavar,
        help=text,
    )


def library_roots(text: str) -> Option:
    """--library-root, as `roots`."""
    folder = click.Path(path_type=Path)
    return click.option(
        "--library-root", "roots", multiple=True, metavar="FOLDER", type=folder, help=text
    )
