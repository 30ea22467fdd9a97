"""What the commands are made of: the program, how a command is made, and common options.

--db, --json and the options that say which songs a command is about give no argument: they are
remembered in click's context, and asked for by `running`.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import click

from catalogsync_assets import __version__
from catalogsync_assets.cli import types
from catalogsync_assets.cli.output import ClearErrors

_Function = TypeVar("_Function", bound=Callable[..., Any])


class Option(Protocol):
    """What `click.option` returns, or several of it as one."""

    def __call__(self, function: _Function, /) -> _Function: ...


_GIVEN = "catalogsync.given."


def given(name: str) -> Any:
    """The value of --db, --json or an option of `selecting`; None where there is none."""
    return click.get_current_context().meta.get(_GIVEN + name)


def wants_json() -> bool:
    """Whether --json was given."""
    return bool(given("json"))


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    context.meta[f"{_GIVEN}{parameter.name}"] = value


_REMEMBERED: dict[str, Any] = {"expose_value": False, "callback": _remember}
_DB = "The catalog, a path or sqlite:/// URL. [default: $CATALOGSYNC_DB, else catalogsync.db]"
_JSON = "Print one JSON object on stdout."


class Program(ClearErrors):
    """Loads the module of a command once the command is asked for.

    Attributes:
        modules: of each command, the module of this package that adds it.
    """

    modules: Mapping[str, str] = MappingProxyType({})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.modules:
            importlib.import_module(f"catalogsync_assets.cli.{self.modules[cmd_name]}")
        return super().get_command(ctx, cmd_name)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.modules)


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="""\b
A first session:
  catalogsync init
  catalogsync scan --library-root ~/Music
  catalogsync register-object-backend --name cloud --bucket my-music --credential-env-prefix CLOUD
  catalogsync backend test cloud
  catalogsync upload --backend cloud
  catalogsync status

Exit codes: 0 all done, 1 something failed and is listed, 2 wrong use.""",
)
@click.version_option(__version__, prog_name="catalogsync")
def main() -> None:
    """Keep a music library safe on S3-compatible object stores, and know which song is where."""


def _examples(lines: tuple[str, ...]) -> str:
    return "\n".join(("\b", "Examples:" if lines[1:] else "Example:", *(f"  {x}" for x in lines)))


def _option(name: str, **settings: Any) -> click.Option:
    return click.Option([name], **_REMEMBERED, **settings)


def command(
    *examples: str,
    name: str | None = None,
    of: click.Group = main,
    db: bool = True,
    json: bool = True,
) -> Callable[[Callable[..., None]], click.Command]:
    """Makes a command, with --db as its first option and --json as its last.

    Args:
        examples: lines for the end of its help.
        name: where it is not the function's.
        of: the group that it is added to.
        db, json: False for a command without the option.
    """

    def make(function: Callable[..., None]) -> click.Command:
        made = click.command(name, epilog=_examples(examples))(function)
        if db:
            made.params.insert(0, _option("--db", metavar="PATH", help=_DB))
        if json:
            made.params.append(_option("--json", is_flag=True, is_eager=True, help=_JSON))
        of.add_command(made)
        return made

    return make


def group(*examples: str) -> Callable[[Callable[..., None]], click.Group]:
    """Makes a group of commands, with examples at the end of its help."""
    return main.group(epilog=_examples(examples))


def together(*several: Option) -> Option:
    """Several options as one decorator, in this order."""

    def add(function: _Function) -> _Function:
        for option in reversed(several):
            function = option(function)
        return function

    return add


def flag(name: str, text: str, target: str | None = None) -> Option:
    """An option without a value.

    Args:
        text: of the help.
        target: the name of the argument, where it is another.
    """
    return click.option(name, *filter(None, [target]), is_flag=True, help=text)


def number(
    name: str,
    text: str | None,
    target: str | None = None,
    *,
    least: int = 1,
    most: int | None = None,
    **settings: Any,
) -> Option:
    """An option with a whole number from `least` to `most`; see `flag`.

    Args:
        settings: further ones of `click.option`; a default is shown.
    """
    settings = {"type": click.IntRange(least, most), "show_default": True, **settings}
    return click.option(name, *filter(None, [target]), help=text, **settings)


def _selecting(name: str, target: str, text: str, kind: Any = str) -> Option:
    settings = {"metavar": "ID" if kind is int else "NAME", **_REMEMBERED}
    return click.option(name, target, type=kind, multiple=True, help=text, **settings)


#: The options that say which songs a command is about.
selecting = together(
    _selecting(
        "--song", "songs", "Only this song, by id; may be repeated, as may the next three.", int
    ),
    _selecting("--playlist", "playlists", "Only songs of this playlist, by name or id."),
    _selecting("--artist", "artists", "Only songs of this artist, by name or id."),
    _selecting("--pool", "pools", "Only songs of this pool, by name or id."),
)


def at_most(of_what: str) -> Option:
    """--workers as the cap of a number that is found out; None for `auto`."""
    return click.option(
        "--workers",
        type=types.workers,
        metavar="N|auto",
        help=f"{of_what} at a time, at most; how many are of use is found out."
        " [default: the backend's, else auto]",
    )


def workers(of_what: str, **settings: Any) -> Option:
    """--workers; see `number`."""
    default = "" if "default" in settings else " [default: the backend's, else 16]"
    settings = {"most": 256, **settings}
    return number("--workers", f"{of_what} at a time.{default}", **settings)


def backend(text: str, name: str = "--backend", **settings: Any) -> Option:
    """The name of a backend, as `backend_name`; see `number`."""
    return click.option(name, "backend_name", metavar="NAME", help=text, **settings)


def library_roots(text: str) -> Option:
    """--library-root, as `roots`."""
    settings: dict[str, Any] = {"metavar": "FOLDER", "type": click.Path(path_type=Path)}
    return click.option("--library-root", "roots", multiple=True, help=text, **settings)
