"""What all commands share: how results, errors and progress are shown.

On a terminal there are tables and a progress bar; elsewhere plain text that a program can cut;
with `--json` one object on stdout, also when the command fails. Nothing is printed but by this
module (the linter sees to it), as text from outside must not act on a terminal; see
`core.visible`.
"""

from __future__ import annotations

import codecs
import dataclasses
import io
import json
import os
import re
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO, TextIO, cast

import click

from catalogsync_assets.core.errors import CatalogSyncError, UsageError
from catalogsync_assets.core.visible import UNSAFE, visible, visible_lines
from catalogsync_assets.signals import STOPPED, stop_by

#: Where click's context holds the open catalog.
CATALOG = "catalogsync.catalog"
#: Seconds between lines of progress where there is no terminal.
_LINE_INTERVAL = 10.0
_UNITS = ("kB", "MB", "GB", "TB", "PB", "EB")


class ClearErrors(click.Group):
    """A group whose commands end with one clear error, with no traceback for a user's mistake."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **more: Any,
    ) -> Any:
        """Run a command and leave with its exit code; after a signal with 130, whenever it came."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, False, **more)
        # A service manager's stop, or the end of the terminal, is handled like Ctrl-C: what is on
        # its way is recorded.
        stop_by(signal.default_int_handler)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # what rich draws, on a terminal of ASCII
                stream.reconfigure(errors="backslashreplace")
        try:
            given = sys.argv[1:] if args is None else list(args)
            code = self._run(given, prog_name, complete_var, **more)
        except (KeyboardInterrupt, click.Abort):
            message("stopped", "what was done is recorded; run the same command again to continue")
            code = STOPPED
        sys.exit(code)

    def _run(
        self, args: list[str], prog_name: str | None, complete_var: str | None, **more: Any
    ) -> int:
        wanted_json = "--json" in args
        try:
            _refuse_empty(args)
            code = super().main(args, prog_name, complete_var, False, **more)
            with _writing_results():
                sys.stdout.flush()
        except click.ClickException as error:
            return _wrong_use(error, wanted_json=wanted_json)
        except CatalogSyncError as error:
            printed = getattr(error, "printed", False)
            _print_error(error.message, error.hint, wanted_json=wanted_json and not printed)
            return error.exit_code
        except BrokenPipeError:  # the reader has seen enough, as in `catalogsync status | head`
            _drop_what_is_left(sys.stdout)
            return 1
        return code if isinstance(code, int) else 0

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; an error of an impossible row of the catalog names the row."""
        _show_what_libraries_say()
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            raise click.Abort from error
        except click.exceptions.Exit:
            raise
        except Exception as error:
            if (catalog := ctx.meta.get(CATALOG)) is not None:
                from catalogsync_assets.core.catalog.invalid_rows import explain

                if (explained := explain(error, catalog)) is not None:
                    if getattr(error, "printed", False):
                        explained.printed = True  # type: ignore[attr-defined]
                    raise explained from error
            raise


def _refuse_empty(args: list[str]) -> None:
    """An empty argument comes from a variable that a script has not set. To some options it would
    mean everything, or the working directory.

    Raises:
        UsageError: there is one; only a prefix of keys may be empty.
    """
    for before, value in zip(["", *args], args, strict=False):
        option = before if not value else value[:-1] if re.fullmatch(r"--[\w-]+=", value) else None
        if option is not None and option != "--base-prefix":
            what = f"{option} is" if option.startswith("--") else "an argument is"
            raise UsageError(f"{what} empty", hint="is a variable of your script not set?")


def _wrong_use(error: click.ClickException, *, wanted_json: bool) -> int:
    """What click has found to be wrong with the arguments, which its sentences repeat."""
    if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):  # since click 8.2
        for line in error.format_message().splitlines():
            note(line)
        return error.exit_code
    context, text = getattr(error, "ctx", None), error.format_message()
    hint = f"Try '{context.command_path} --help' for help." if context else None
    if wanted_json:
        print_json({"error": text, "hint": hint})
    if context:
        for line in (*context.get_usage().splitlines(), hint, ""):
            note(line)
    note(f"Error: {text}")
    return error.exit_code


def _print_error(text: str, hint: str | None, *, wanted_json: bool) -> None:
    if wanted_json:
        with suppress(OSError, CatalogSyncError):  # that stdout cannot be written may be the error
            print_json({"error": text, "hint": hint})
    message("error", text)
    if hint:
        message("hint", hint)


def _show_what_libraries_say() -> None:
    """Warnings of Python and of libraries, which may quote a server, in our way."""
    import logging
    import warnings

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            message(record.levelname.lower(), record.getMessage())

    def show(text: Warning | str, category: type[Warning], *_: object, **__: object) -> None:
        message("warning", f"{category.__name__}: {text}")

    logging.lastResort = Lines(logging.WARNING)
    warnings.showwarning = show  # type: ignore[assignment]  # it need not name the rest


# --- the one place where text is printed, made visible or as JSON -------------------------------


def echo(text: object) -> None:
    """A line of results on stdout."""
    _print_results(visible(text))


def message(kind: str, text: object) -> None:
    """A line on stderr: `kind: text`, the kind in colour on a terminal."""
    colour = {"error": "red", "stopped": "yellow", "warning": "yellow", "hint": "cyan"}.get(kind)
    _print_message(f"{click.style(visible(kind), fg=colour, bold=True)}: {visible(text)}\n")


def note(text: object) -> None:
    """A line on stderr for a person."""
    _print_message(f"{visible(text)}\n")


def ask(question: object) -> str:
    """The line that a person types in answer to a question on stderr; empty at the end of input.

    Past Python's own buffer: a thread that waits in it makes the interpreter crash at exit, and
    Ctrl-C at a question is an answer.
    """
    _print_message(f"{visible(question)} ")
    line = b""
    while not line.endswith(b"\n") and (piece := os.read(sys.stdin.fileno(), 4096)):
        line += piece
    return os.fsdecode(line).strip()


def print_json(value: object) -> None:
    """One JSON object on stdout. Dataclasses become objects, paths strings.

    Every value stays what it is: what `visible` writes out is written in JSON's own way.
    """
    text = json.dumps(value, default=_plain, ensure_ascii=False)
    try:
        text.encode(sys.stdout.encoding or "utf-8", "surrogatepass")
        unsafe = f"[{UNSAFE}]"
    except (LookupError, UnicodeEncodeError):  # a stream of ASCII, or another that lacks letters
        unsafe = "[^\x20-\x7e]"
    _print_results(re.sub(unsafe, lambda match: json.dumps(match[0])[1:-1], text))


def results_file() -> BinaryIO:
    """Where an export to stdout is written: as it is, but on a terminal what would act there is
    written out, but for the ends of lines."""
    if sys.stdout.isatty():
        return cast("BinaryIO", _Terminal())
    return sys.stdout.buffer


class _Terminal:
    """Takes bytes in UTF-8 and shows them."""

    def __init__(self) -> None:
        self._decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def write(self, content: bytes) -> int:
        text = self._decode(content)
        row = text.removesuffix("\r\n")  # of CSV: only there a value has lines
        shown = visible_lines(text) if row == text else visible(row) + "\n"
        with _writing_results():
            sys.stdout.write(shown)
        return len(content)

    def flush(self) -> None:
        with _writing_results():
            sys.stdout.flush()


def is_interactive() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def _print_results(line: str) -> None:
    with _writing_results():
        click.echo(line, file=sys.stdout)


def _print_message(text: str) -> None:
    """If nobody can read messages any more, work continues."""
    try:
        click.echo(text, file=sys.stderr, nl=False)
    except OSError:
        _drop_what_is_left(sys.stderr)


@contextmanager
def _writing_results() -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        _drop_what_is_left(sys.stdout)
        raise CatalogSyncError(
            f"stdout cannot be written: {error.strerror}",
            hint="what was done is recorded; run the command again for its results",
        ) from error


def _drop_what_is_left(stream: TextIO) -> None:
    """What is still in a buffer would fail once more when Python ends, and be the exit code."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"not JSON: {value!r}")


def print_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[object]],
    *,
    empty: str | None = None,
) -> None:
    """A table on stdout: drawn on a terminal, tab-separated elsewhere. Numbers go to the right.

    Args:
        empty: what is printed instead where there are no rows.
    """
    if empty and not rows:
        echo(empty)
        return
    if not sys.stdout.isatty():
        for row in (columns, *rows):
            _print_results("\t".join(visible(cell) for cell in row))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Narrow gaps: the widest of the tables still fits 80 columns.
    table = Table(
        title=Text(visible(title), "table.title"),  # a plain string would be read as mark-up
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for index, column in enumerate(columns):
        right = bool(rows) and all(_is_figure(row[index]) for row in rows)
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))
    with _writing_results():
        Console().print(table)


def _is_figure(cell: object) -> bool:
    return isinstance(cell, int | float) or str(cell)[:1].isdigit()


def size(count: int) -> str:
    """Bytes for a person: 1.2 GB."""
    power = min((len(str(count)) - 1) // 3, len(_UNITS))
    if not power:
        return counted(count, "byte")
    return f"{count / 1000**power:,.1f} {_UNITS[power - 1]}"


def speed(count: int, seconds: float) -> str:
    """Bytes, and how fast they went: 1.2 GB in 3.4 s (352.9 MB/s)."""
    rate = int(count / seconds) if seconds else 0
    return size(count) + (f" in {seconds:.1f} s ({size(rate)}/s)" if rate else "")


def counted(count: int, word: str) -> str:
    """`1 song`, `2 songs`."""
    return f"{count:,} {word}" + ("" if count == 1 else "s")


def files(count: int) -> str:
    """`1 file`, `2 files`."""
    return counted(count, "file")


def with_counts(text: str, *counts: tuple[int, str]) -> str:
    """The text, and of the counts those that are not 0: `cloud: 3 of 9 files, 1 failed`."""
    return text + "".join(f", {count:,} {word}" for count, word in counts if count)


def so_far(what: str, done: int, of: int, report: Any, *counts: tuple[int, str]) -> str:
    """How far a run is: `cloud: 3 of 9 files, 1 failed, 2 retries`.

    Args:
        counts: more of them, which come first.
    """
    counts += (report.failed, "failed"), (report.retries, "retries")
    return with_counts(f"{what}: {done:,} of {files(of)}", *counts)


def listed(
    texts: Sequence[str],
    count: int,
    *,
    kind: str | None = None,
    most: int = 5,
    more: str = "more; --json lists them",
) -> None:
    """The first of many texts, each on a line on stderr: there can be thousands.

    Args:
        count: how many there are in all, the missing ones included.
        kind: of messages; without one, the lines are indented, below a message of their own.
        most: lines.
        more: what is said of those that are left out, after their number.
    """
    indent = "" if kind else "  "
    shown = texts[:most]
    for text in shown:
        message(kind, text) if kind else note(f"{indent}{text}")
    if count > len(shown):
        note(f"{indent}and {count - len(shown):,} {more}")


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
            self._bar.update(self._task, completed=done, total=total, description=visible(text))
        elif time.monotonic() >= self._next_line:
            self._next_line = time.monotonic() + _LINE_INTERVAL
            note(f"{text}; {self._how_far(done, total)}" if done or total else text)

    def _how_far(self, done: int, total: int | None) -> str:
        """Amount, rate and time left, as the bar shows them; the latter where `total` is known."""
        rate = done / max(time.monotonic() - self._started, 0.001)
        shown = size if self._of_bytes else "{:,}".format
        amount, left = shown(done), ""
        if total is not None:
            amount += f" of {shown(total)}"
            left = f", {timedelta(seconds=round((total - done) / rate))} left" if rate else ""
        return f"{amount}, {shown(round(rate))}/s{left}"

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


def _files_a_second() -> Any:
    """What shows the rate of files in a bar, as rich does that of bytes."""
    from rich.progress import ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            speed = task.finished_speed or task.speed
            return Text(f"{speed:,.0f}/s" if speed else "", "progress.data.speed")

    return Rate()


@contextmanager
def progress(unit: str) -> Iterator[ProgressLine]:
    """A progress display on stderr for the length of the block.

    Args:
        unit: `files`, or `bytes` for sizes; both with rate and time left.
    """
    of_bytes = unit == "bytes"
    if not sys.stderr.isatty():
        yield ProgressLine(None, None, of_bytes=of_bytes)
        return
    from rich import progress as rich_progress
    from rich.console import Console

    columns: list[rich_progress.ProgressColumn] = [
        rich_progress.SpinnerColumn(),
        rich_progress.TextColumn("{task.description}", markup=False),
        rich_progress.BarColumn(),
        rich_progress.DownloadColumn() if of_bytes else rich_progress.MofNCompleteColumn(),
        rich_progress.TransferSpeedColumn() if of_bytes else _files_a_second(),
        rich_progress.TimeRemainingColumn(),
    ]
    with rich_progress.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield ProgressLine(bar, bar.add_task("", total=None), of_bytes=of_bytes)
