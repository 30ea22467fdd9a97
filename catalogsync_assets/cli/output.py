"""What all commands share: options, how results, errors and progress are shown.

On a terminal there are tables and a progress bar; elsewhere plain text that a program can cut;
with `--json` one object on stdout, also when the command fails.
"""

from __future__ import annotations

import dataclasses
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

_Function = TypeVar("_Function", bound=Callable[..., Any])
_JSON = "catalogsync.json"
_EXIT_INTERRUPTED = 130
#: Seconds between lines of progress where there is no terminal.
_LINE_INTERVAL = 10.0
_SIZE = re.compile(r"\d+(\.\d+)? ?[A-Za-z]*")


def db_option(function: _Function) -> _Function:
    """--db, the catalog."""
    return click.option(
        "--db",
        metavar="PATH",
        help="The catalog, a path or sqlite:/// URL."
        " [default: $CATALOGSYNC_DB, else catalogsync.db]",
    )(function)


def json_option(function: _Function) -> _Function:
    """--json; whoever prints asks `wants_json`."""

    def remember(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        context.meta[_JSON] = value

    return click.option(
        "--json",
        "_json",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=remember,
        help="Print one JSON object on stdout.",
    )(function)


def wants_json() -> bool:
    """Whether --json was given."""
    return bool(click.get_current_context().meta.get(_JSON))


class Size(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.4 only
    """A number of bytes, such as 256MiB, 10MB or 1048576; with `rate`, also 10MiB/s."""

    name = "size"

    def __init__(self, *, rate: bool = False) -> None:
        self._rate = rate

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | None:
        from pydantic import ByteSize, TypeAdapter, ValidationError

        if isinstance(value, int):
            return value
        text = str(value).strip()
        text = text.removesuffix("/s").rstrip() if self._rate else text
        try:
            if _SIZE.fullmatch(text):  # ByteSize would overlook what follows the unit
                return int(TypeAdapter(ByteSize).validate_python(text))
        except ValidationError:
            pass
        example = "10MiB/s" if self._rate else "256MiB"
        self.fail(f"{value!r} is not a size; write it like {example}", param, ctx)


class ClearErrors(click.Group):
    """A group whose commands end with one clear error, with no traceback for a user's mistake."""

    def invoke(self, ctx: click.Context) -> Any:
        from catalogsync_assets.core.errors import CatalogSyncError

        # A service manager's stop is handled like Ctrl-C: what is on its way is recorded.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return super().invoke(ctx)
        except CatalogSyncError as error:
            if ctx.meta.get(_JSON) and not getattr(error, "printed", False):
                print_json({"error": error.message, "hint": error.hint})
            message("error", error.message)
            if error.hint:
                message("hint", error.hint)
            ctx.exit(error.exit_code)
        except KeyboardInterrupt:
            message("stopped", "what was done is recorded; run the same command again to go on")
            ctx.exit(_EXIT_INTERRUPTED)


def message(kind: str, text: str) -> None:
    """A line on stderr: `kind: text`, the kind in colour on a terminal."""
    colour = {"error": "red", "stopped": "yellow", "warning": "yellow", "hint": "cyan"}.get(kind)
    click.echo(f"{click.style(kind, fg=colour, bold=True)}: {text}", err=True)


def note(text: str) -> None:
    """A line on stderr for a person."""
    click.echo(text, err=True)


def print_json(value: object) -> None:
    """One JSON object on stdout. Dataclasses become objects, paths strings."""
    click.echo(json.dumps(value, default=_plain, ensure_ascii=False))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"not JSON: {value!r}")


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on stdout: drawn on a terminal, tab-separated elsewhere. Numbers go to the right."""
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            click.echo("\t".join(str(cell) for cell in row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Narrow gaps: the widest of the tables still fits 80 columns.
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False
    )
    for index, column in enumerate(columns):
        right = bool(rows) and all(_is_figure(row[index]) for row in rows)
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    Console().print(table)


def _is_figure(cell: object) -> bool:
    return isinstance(cell, int | float) or str(cell)[:1].isdigit()


def size(count: int) -> str:
    """Bytes for a person: 1.2 GB."""
    from rich.filesize import decimal

    return decimal(count)


def files(count: int) -> str:
    """`1 file`, `2 files`."""
    return f"{count:,} file" + ("" if count == 1 else "s")


class ProgressLine:
    """Shows how far a long command is: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, bar: Any, task: Any, *, of_bytes: bool) -> None:
        self._bar = bar
        self._task = task
        self._of_bytes = of_bytes
        self._started = time.monotonic()
        self._next_line = self._started + _LINE_INTERVAL

    def update(self, done: int, total: int | None, text: str) -> None:
        """Say where things stand; `total` None while it is unknown."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=total, description=text)
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_INTERVAL
            note(text if total is None else f"{text}; {self._how_far(done, total)}")

    def _how_far(self, done: int, total: int) -> str:
        """Amount, rate and time left, as the bar shows them."""
        from rich.filesize import decimal

        rate = done / max(time.monotonic() - self._started, 0.001)
        left = f", {timedelta(seconds=round((total - done) / rate))} left" if rate else ""
        if self._of_bytes:
            return f"{decimal(done)} of {decimal(total)}, {decimal(int(rate))}/s{left}"
        return f"{done:,} of {total:,}, {rate:,.0f}/s{left}"

    @contextmanager
    def paused(self) -> Iterator[None]:
        """The terminal without the bar, for a question."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()


@contextmanager
def progress(unit: str) -> Iterator[ProgressLine]:
    """A progress display on stderr for the length of the block.

    Args:
        unit: `files`, or `bytes` for a bar with sizes, rate and time left.
    """
    if not sys.stderr.isatty():
        yield ProgressLine(None, None, of_bytes=unit == "bytes")
        return
    from rich import progress as rich_progress
    from rich.console import Console

    of_bytes = unit == "bytes"
    columns: list[rich_progress.ProgressColumn] = [
        rich_progress.SpinnerColumn(),
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn() if of_bytes else rich_progress.MofNCompleteColumn(),
    ]
    if of_bytes:
        columns += [rich_progress.TransferSpeedColumn(), rich_progress.TimeRemainingColumn()]
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield ProgressLine(bar, bar.add_task("", total=None), of_bytes=of_bytes)
