"""The commands about which file is of which song: songs merge, songs split."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from catalogsync_assets.cli import options, output, running


@options.group("catalogsync songs merge 12 345", "catalogsync songs split 12 ~/Music/Live/07.mp3")
def songs() -> None:
    """Say which files are of one song; see `songs merge --help`."""


@options.command("catalogsync songs merge 12 345", of=songs)
@click.argument("song", nargs=-1, required=True, type=int)
def merge(song: tuple[int, ...]) -> None:
    """Make one song of several, given by their ids. The first stays, the others go.

    Their files, places in playlists, artists and downloads become the first one's, which keeps what
    it is called. Scans keep this, also when the files' tags change. `whereis TITLE --json` lists
    songs with their ids.
    """
    from catalogsync_assets.core.catalog.song_changes import merge as core

    done = core(running.open_catalog(), song)

    def show() -> None:
        output.echo(
            f"song {done.song} ({done.title}) has {output.files(done.files)} more,"
            f" {output.counted(len(done.playlists), 'playlist')} changed,"
            f" {output.counted(done.downloads, 'download')} moved"
        )
        output.echo(f"gone: {_songs(i for i in done.merged if i not in done.kept)}")
        if done.kept:
            names = _songs(done.kept)
            output.message("warning", f"{names}: empty, but another program's table refers to it")

    running.end(done, show)


@options.command(
    "catalogsync songs split 12 ~/Music/Live/07.mp3",
    'catalogsync songs split 12 "Live/07.mp3" "Live/07.flac"',
    of=songs,
)
@click.argument("song", type=int)
@click.argument("file", nargs=-1, required=True)
def split(song: int, file: tuple[str, ...]) -> None:
    """Make a new song of some files of a song, given by its id.

    A file is named by its path, its path below a library root, or its key. The new song is called
    what the tags of these files say, and is in no playlist. Scans keep this, also when the files'
    tags change.
    """
    from catalogsync_assets.core.catalog.song_changes import split as core

    done = core(running.open_catalog(), song, file, _tags_of)

    def show() -> None:
        output.echo(f"song {done.new_song} ({done.title}) has {output.files(len(done.files))}:")
        for name in done.files:
            output.echo(f"  {name}")

    running.end(done, show)


def _tags_of(path: Path) -> tuple[Mapping[str, Any], Sequence[str]] | None:
    from catalogsync_assets.core.library.tags import read_tags

    tags, trouble = read_tags(path)
    return None if trouble else (tags.song, tags.artists)


def _songs(ids: Any) -> str:
    return ", ".join(f"song {i}" for i in ids) or "none"
