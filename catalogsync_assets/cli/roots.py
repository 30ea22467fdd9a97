"""Commands about the folders that are scanned: roots, and root move, forget, name."""

from __future__ import annotations

import socket
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from catalogsync_assets.cli import options, output, running
from catalogsync_assets.core.errors import LibraryError, UsageError

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.roots import LibraryRoot, Recognised

#: What people call kinds of file systems, where it is not the kind's own name.
_KINDS = {
    **{"nfs": "NFS", "nfs4": "NFS", "cifs": "SMB", "smb3": "SMB", "ntfs": "NTFS", "apfs": "APFS"},
    **{"vfat": "FAT", "msdos": "FAT", "exfat": "exFAT", "fuse.sshfs": "SSHFS", "hfsplus": "HFS+"},
    **{"xfs": "XFS", "btrfs": "Btrfs", "zfs": "ZFS", "f2fs": "F2FS", "9p": "9P"},
}
_STATES = {
    "here": "here",
    "gone": "not mounted",
    "empty": "empty",
    "exchanged": "another file system",
    "unreadable": "cannot be listed",
}


@options.command("catalogsync roots", "catalogsync roots --json")
def roots() -> None:
    """List the library roots: what is in them, and whether they are there."""
    from catalogsync_assets.core.catalog.roots import Contents, contents, library_roots, state_of
    from catalogsync_assets.core.files.file_systems import lasts

    catalog = running.open_catalog()
    there = contents(catalog)
    told: list[dict[str, object]] = []
    rows: list[tuple[object, ...]] = []
    for root in library_roots(catalog):
        holds, state = there.get(root.path, Contents(0, 0, 0)), state_of(root)
        inodes_last = lasts(root.file_system)
        told.append({**asdict(root), **asdict(holds), "inodes_last": inodes_last, "state": state})
        rows.append(
            (
                *(root.path, root.name or "-", holds.files, output.size(holds.bytes)),
                *(_in_words(root.file_system), root.last_complete_scan_at or "never"),
                _state_in_words(root, state),
            )
        )
    columns = ("library root", "name", "files", "size", "file system", "last complete scan (UTC)")
    running.end(
        {"roots": told},
        lambda: output.print_table(
            "library roots",
            (*columns, "state"),
            rows,
            empty="there are no library roots; make one with `catalogsync scan --library-root`",
        ),
    )


def _in_words(file_system: str | None) -> str:
    from catalogsync_assets.core.files.file_systems import kind_of

    kind = kind_of(file_system) or "-"
    return _KINDS.get(kind, kind)


def _state_in_words(root: LibraryRoot, state: str) -> str:
    if state != "here" and root.host not in (None, socket.gethostname()):
        return f"on {root.host}"
    return _STATES[state]


@options.group(
    "catalogsync root move /media/me/Music /run/media/me/Music",
    "catalogsync root name ~/Music disk1",
    "catalogsync root forget /mnt/old",
)
def root() -> None:
    """Move a library root, name it, or let it go; `roots` lists them."""


@options.command("catalogsync root move /media/me/Music /run/media/me/Music", of=root)
@click.argument("old")
@click.argument("new")
@options.flag("--yes", "Do not ask.")
@options.flag("--force", "Also where nothing at NEW looks like the files of OLD.")
def move(old: str, new: str, yes: bool, force: bool) -> None:
    """Tell the catalog that a library root lies elsewhere now. Moves nothing on disk.

    OLD is the path or the name of a root. Some of its files are looked for at NEW first. Songs,
    playlists and copies on backends stay what they are; nothing is sent again. A scan does this
    by itself where the file system proves that it is the same folder.

    Where NEW is a folder above OLD, or one below it that holds all of the root's files, and these
    are where they were, the root begins at NEW from then on.
    """
    from catalogsync_assets.core.catalog.root_extent import is_other_extent, set_extent
    from catalogsync_assets.core.catalog.roots import compare, is_there, move_root, root_called
    from catalogsync_assets.core.files.file_systems import file_system_of
    from catalogsync_assets.core.settings import library_roots

    catalog = running.open_catalog()
    known = root_called(catalog, old)
    (place,) = library_roots((new,))
    if str(place) == known.path:
        raise UsageError(f"library root {known.path} is there already")
    found = compare(catalog, known, place, file_system_of(place))
    as_before, stay = found, False
    if is_other_extent(known.path, str(place)):
        as_before = compare(catalog, known, Path(known.path), file_system_of(known.path))
        stay = as_before.by_size_and_time > found.by_size_and_time
    found = as_before if stay else found
    _require_alike(found, place, force=force)
    _print_compared(found, Path(known.path) if stay else place)
    if is_there(known) and not stay:
        output.message(
            "warning",
            f"{known.path} is still there; what is in it is no longer the library's then",
        )
    told = {"old": known.path, "new": str(place)}
    compared = {name: value for name, value in asdict(found).items() if name != "root"}
    question = f"Move library root {known.path} to {place}?"
    if stay:
        question = f"Let library root {known.path} begin at {place}, with its files where they are?"
    if not (yes or _agreed(question)):
        output.message("stopped", "nothing was changed")
        running.end({**told, "files": 0, **compared}, lambda: None, failed=1)
        return
    files = (set_extent if stay else move_root)(catalog, known.path, str(place))
    running.end(
        {**told, "files": files, **compared},
        lambda: output.echo(f"{known.path} is {place} now: {output.files(files)}"),
    )
    _warn_of_variable(known.path)
    output.message("hint", f"run `catalogsync scan --library-root {place}`")


def _require_alike(found: Recognised, new: Path, *, force: bool) -> None:
    if found.compared and not found.by_size_and_time and not force:
        what = f"none of {output.files(found.compared)} of {found.root.path} that were looked for"
        raise LibraryError(
            f"{what} is at {new} with its size and time",
            hint="is its disk mounted, and is it the same folder? --force moves the root anyway",
        )


def _print_compared(found: Recognised, new: Path) -> None:
    looked = f"{output.files(found.compared)} of {found.root.path} looked for at {new}"
    counts = (
        *((found.there, "there"), (found.by_size_and_time, "with their size and time")),
        (found.by_inode, "the very files, by inode and file system"),
    )
    output.note(output.with_counts(looked, *counts) + ("" if found.there else ", none there"))


def _agreed(question: str) -> bool:
    """Whether a person says yes; True where nobody can be asked."""
    if not output.is_interactive():
        return True
    return output.ask(f"{question} [y/N]").lower() in ("y", "yes")


def _warn_of_variable(path: str) -> None:
    """Where the environment still names a root that is none any more."""
    from catalogsync_assets.core.settings import ROOTS_VARIABLE, roots_of_environment

    if Path(path) in (Path(p).expanduser().absolute() for p in roots_of_environment()):
        output.message("warning", f"{ROOTS_VARIABLE} still names {path}")


@options.command(
    "catalogsync root forget /mnt/old", "catalogsync root forget /mnt/old --yes", of=root
)
@click.argument("path")
@click.option("--dry-run/--yes", default=True, show_default=True, help="Only show, or do it.")
def forget(path: str, dry_run: bool) -> None:
    """Let a library root go; without --yes, only show what that means.

    PATH is its path or its name. Its files are forgotten: they are no longer counted, uploaded or
    restored. Their objects stay on the backends, and what is on disk stays there. A scan of the
    folder takes it up again, with all that was known.
    """
    from catalogsync_assets.core.catalog.roots import Contents, contents, root_called
    from catalogsync_assets.core.library.letting_go import let_root_go

    catalog = running.open_catalog()
    known = root_called(catalog, path)
    holds = contents(catalog, known.path).get(known.path, Contents(0, 0, 0))
    forgotten = 0 if dry_run else let_root_go(catalog, known.path)
    told = {"root": known.path, "dry_run": dry_run, "name": known.name, **asdict(holds)}
    would = "would be" if dry_run else "was"
    running.end(
        {**told, "forgotten": forgotten},
        lambda: output.echo(
            f"{known.path} {would} let go: {output.files(holds.files)},"
            f" {output.size(holds.bytes)}, and {holds.others:,} that are not there"
        ),
    )
    if dry_run:
        output.note("nothing was changed; --yes lets it go. Objects and files on disk stay")
    else:
        _warn_of_variable(known.path)


@options.command(
    "catalogsync root name /mnt/disk1 attic", "catalogsync root name attic --none", of=root
)
@click.argument("path")
@click.argument("name", required=False)
@options.flag("--none", "Take its name away.")
def name(path: str, name: str | None, none: bool) -> None:
    """Give a library root a name, by which these commands know it too.

    PATH is its path, or the name that it has. No two roots have the same NAME.
    """
    from catalogsync_assets.core.catalog.roots import name_root, root_called

    if (name is None) != none:
        raise click.UsageError("give a NAME, or --none to take it away")
    catalog = running.open_catalog()
    known = root_called(catalog, path)
    name_root(catalog, known.path, name)
    words = "has no name" if none else f"is called {name}"
    running.end({"root": known.path, "name": name}, lambda: output.echo(f"{known.path} {words}"))
