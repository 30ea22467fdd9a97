"""Commands that run things on this machine: demo, dev. The only ones that need Dagster."""

from __future__ import annotations

from pathlib import Path

import click

from catalogsync_assets.cli import options, output

_DIRECTORY = click.option(
    "--directory",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path(".demo"),
    show_default=True,
    help="Where the demo keeps its store, catalog and Dagster instance.",
)


@options.command(
    "catalogsync demo",
    "catalogsync demo --library ~/Music",
    "catalogsync demo --stop",
    db=False,
    json=False,
)
@_DIRECTORY
@click.option(
    "--library",
    type=click.Path(path_type=Path, file_okay=False),
    help="A folder of music. [default: a generated sample]",
)
@options.flag("--stop", "Stop the demo's store.")
def demo(directory: Path, library: Path | None, stop: bool) -> None:
    """The whole job on this machine: a local S3 store, a library, Dagster, and what is where.

    Needs `pip install catalogsync[demo]`. Your files are only read. Run it again: nothing is
    uploaded twice.
    """
    from catalogsync_assets.demo.run import run_demo, stop_demo

    if stop:
        stop_demo(directory, say=output.note)
        return
    run_demo(directory, library, say=output.note)


@options.command("catalogsync dev --port 3000", db=False, json=False)
@_DIRECTORY
@options.number("--port", None, most=65535, default=3000)
def dev(directory: Path, port: int) -> None:
    """Open Dagster's web UI on the demo's state, or on your own catalog where there is no demo."""
    from catalogsync_assets.demo.run import run_dev

    run_dev(directory, port, say=output.note)
