"""What is left out of a library: well-known folders of other programs, and what the user names.

The user's patterns are those of `.gitignore`: in files `.catalogsyncignore` of any folder, which
hold below it, and in the environment variable `CATALOGSYNC_IGNORE`, which hold below every root.
Of all that fit a path the last one decides, and an inner folder's come after an outer one's; the
built-in list comes first of all, so that `!` brings back what it leaves out. As with git, nothing
below a folder that is left out can be brought back.
"""

from __future__ import annotations

import codecs
import os
import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.files.opening import open_regular
from catalogsync_assets.core.settings import IGNORE_VARIABLE, ignore_patterns

if TYPE_CHECKING:
    from pathspec import Pattern

#: The file of patterns.
IGNORE_FILE = ".catalogsyncignore"
#: What all begins with that this program puts below a root; never part of a library.
OURS = ".catalogsync"
_MAX_BYTES = 1024 * 1024

# Only names that no album has, in lower case: these programs live on file systems that do not tell
# `@eaDir` from `@EADIR`. With trailing digits and dates: `_FOLDER_PATTERN`.
_FOLDERS = frozenset(
    name.casefold()
    for name in (
        # Recycle bins: Synology and TerraMaster, QNAP, Samba (its default; OpenMediaVault,
        # TrueNAS), Unraid, Windows, macOS, freedesktop.org, MEGA, Filen, Insync, Nextcloud,
        # GlusterFS, calibre.
        *("#recycle", "@Recycle", ".recycle", ".Recycle.Bin", "$RECYCLE.BIN", "RECYCLER"),
        *("RECYCLED", ".Trash", ".Trashes", ".debris", ".filen.trash.local", ".insync-trash"),
        *("Network Trash Folder", "files_trashbin", ".trashcan", ".caltrash"),
        # Snapshots: Synology, QNAP, NetApp, snapper, ZFS, CephFS and FreeBSD, GPFS, macOS, EMC,
        # Nextcloud.
        *("#snapshot", "@sharesnap", "@Recently-Snapshot", ".snapshot", "~snapshot", ".snapshots"),
        *(".zfs", ".snap", ".MobileBackups", "Backups.backupdb", ".ckpt", "files_versions"),
        # What NAS systems note beside files: thumbnails, transcodes, indexes, uploads under way.
        *("@eaDir", "@tmp", "@sharebin", "@S2S", "@SynoDrive", "@synologydrive"),
        *("@SynologyCloudSync", ".SynologyWorkingDirectory", ".SynologyDrive"),
        *("@__thumb", ".streams", ".@analytic", ".qsync", ".glusterfs"),
        *(".@__thumb", ".@__qini", ".@__desc", ".@__comments", ".@upload_cache", "@Transcode"),
        *(".wdmc", ".twonkymedia", "Plex Versions"),
        # Netatalk, macOS, Windows, Linux.
        *(".AppleDouble", ".AppleDB", ".AppleDesktop", "__MACOSX", ".Spotlight-V100"),
        *(".fseventsd", ".DocumentRevisions-V100", ".TemporaryItems", "Temporary Items"),
        *("TheVolumeSettingsFolder", "System Volume Information", "lost+found"),
        # Version control, git-annex's objects among it.
        *(".git", ".hg", ".svn", ".bzr", ".jj", ".dvc"),
        # Sync programs: Syncthing, Resilio, Dropbox, Google Drive, rsync, Unison, GoodSync, Allway
        # Sync, Tresorit; what qBittorrent was not to fetch.
        *(".stfolder", ".stversions", ".sync", ".dropbox.cache", ".tmp.drivedownload"),
        *(".tmp.driveupload", ".~tmp~", ".rsync-partial", ".rsync-tmp", ".unison"),
        *("_gsdata_", "_SYNCAPP", ".tresorit", ".unwanted"),
    )
)
# `.Trash-1000` of a user, CHKDSK's `FOUND.000`, Samba's `@GMT-2026.01.31-12.00.00`, what
# Syncthing makes of a marker that was in the way, what Mutagen and FreeFileSync work on.
_FOLDER_PATTERN = re.compile(
    r"\.trash-\d+|found\.\d{3}|@gmt-\d{4}\.\d\d\.\d\d-\d\d\.\d\d\.\d\d|\.stfolder[ .-].*"
    r"|\.mutagen-.*|.*\.ffs_tmp",
    re.IGNORECASE,
)
# Resource forks of macOS; Android's bin, and its files that are not there yet; locks of Emacs.
_FILE_STARTS = ("._", ".trashed-", ".pending-", ".#")
# Keys of git-annex, in a bare repository or what it calls a directory special remote; a key has a
# folder of the same name.
_ANNEX_KEY = re.compile(r"(?:BLAKE|MD5|SHA|SKEIN|WORM)\w*-s\d+(?:-\w+)*--.+")


def is_of_other_programs(name: str, *, folder: bool) -> bool:
    """Whether a file or folder of this name is left out unless the user brings it back.

    A walk does not ask of files whose name neither begins with a dot nor holds `-s`.
    """
    if "-s" in name and _ANNEX_KEY.fullmatch(name):
        return True
    if folder:
        return name.casefold() in _FOLDERS or _FOLDER_PATTERN.fullmatch(name) is not None
    return name.startswith(_FILE_STARTS)


class _Layer(NamedTuple):
    """The patterns of one place, which are about the paths below a folder."""

    start: int  #: how long the folder's own path is, with its slash
    patterns: tuple[Pattern, ...]  #: the last one first


class Rules:
    """What is left out at some place of a library. Immutable."""

    def __init__(self, layers: tuple[_Layer, ...] = ()) -> None:
        self._layers = layers  # the innermost first

    @property
    def has_patterns(self) -> bool:
        """Whether there is more than the built-in list."""
        return bool(self._layers)

    @classmethod
    def of_settings(cls) -> Rules:
        """Those that hold below every root.

        Raises:
            ConfigurationError: `CATALOGSYNC_IGNORE` holds something that is not a pattern.
        """
        if not (patterns := ignore_patterns()):
            return cls()
        rules, bad = cls().with_patterns("", patterns)
        if bad:
            raise ConfigurationError(
                f"{IGNORE_VARIABLE}: {bad[0][1]!r} is not a pattern",
                hint="write it as in .gitignore; several are separated as in PATH, or by line ends",
            )
        return rules

    def with_patterns(
        self, folder: str, lines: Iterable[str]
    ) -> tuple[Rules, list[tuple[int, str]]]:
        """Those that hold below a folder whose ignore file has these lines, and the bad lines, each
        with its number, from 1.

        Args:
            folder: its path below the root, with a slash at the end; empty for the root.
        """
        from pathspec import GitIgnoreSpec  # not for those who have no patterns

        patterns: list[Pattern] = []
        bad: list[tuple[int, str]] = []
        for number, line in enumerate(lines, 1):
            try:
                compiled = GitIgnoreSpec.from_lines([unicodedata.normalize("NFC", line)]).patterns
            except (ValueError, re.error):
                bad.append((number, line))
            else:
                patterns += (p for p in compiled if p.include is not None)
        if not patterns:
            return self, bad
        layer = _Layer(len(folder), tuple(reversed(patterns)))
        return Rules((layer, *self._layers)), bad

    def leave_out(self, folder: str, name: str, *, is_folder: bool) -> bool:
        """Whether a file or folder is left out.

        Args:
            folder: the path below the root of the folder that it is in; see `with_patterns`.
        """
        if self._layers:
            path = unicodedata.normalize("NFC", folder + name) + ("/" if is_folder else "")
            for layer in self._layers:
                # Composed or not, the folder's own part of the path is of the same length.
                start = len(unicodedata.normalize("NFC", folder[: layer.start]))
                for pattern in layer.patterns:
                    if _fits(pattern, path[start:]):
                        return bool(pattern.include)
        return is_of_other_programs(name, folder=is_folder)


def _fits(pattern: Pattern, path: str) -> bool:
    """Whether a pattern is about this very path, not only about a folder that it lies in.

    `pathspec` matches what lies in a folder together with the folder, for it looks at files alone;
    by that a list of what to keep (`*`, `!*/`, `!*.flac`) would keep everything. A walk asks about
    each folder before it enters it, and wants to know no more.
    """
    regex: re.Pattern[str] = pattern.regex  # type: ignore[attr-defined]
    if "ps_d" not in regex.groupindex:  # `**`, `folder/**`: all that lies in a folder
        return regex.search(path.removesuffix("/")) is not None
    for match in regex.finditer(path):
        end = match.end("ps_d") if match["ps_d"] is not None else match.end()
        if end == len(path):
            return True
    return False


def leaves_out(root: Path, rules: Rules) -> Callable[[str], bool]:
    """What tells of a path below a root, of something that need not be there, if it is left out.

    Args:
        rules: those that hold below the root; ignore files are read as they are needed.
    """

    @lru_cache(maxsize=10_000)
    def rules_in(folder: str) -> Rules | None:  # None: it is itself left out
        holding = rules
        if folder:
            parent, slash, name = folder[:-1].rpartition("/")
            above = rules_in(parent + slash)
            if above is None or above.leave_out(parent + slash, name, is_folder=True):
                return None
            holding = above
        try:
            return holding.with_patterns(folder, read_ignore_file(root / folder / IGNORE_FILE))[0]
        except (OSError, ValueError):
            return holding

    def is_left_out(path: str) -> bool:
        folder, slash, name = path.rpartition("/")
        inside = rules_in(folder + slash)
        return inside is None or inside.leave_out(folder + slash, name, is_folder=False)

    return is_left_out


def read_ignore_file(path: str | os.PathLike[str]) -> list[str]:
    """The lines of an ignore file.

    Raises:
        OSError: it cannot be read, is a link or no regular file.
        ValueError: it holds something else than text, or far too much.
    """
    with open_regular(path, follow=False) as file:
        content = b""
        while len(content) <= _MAX_BYTES and (piece := file.read(_MAX_BYTES + 1)):
            content += piece
    if len(content) > _MAX_BYTES:
        raise ValueError(f"is larger than {_MAX_BYTES // 1024**2} MiB")
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):  # PowerShell's `>`
        text = content.decode("utf-16", "replace")
    else:
        # Names that are no UTF-8 stand in patterns as in names: as the bytes that they are.
        text = content.removeprefix(codecs.BOM_UTF8).decode("utf-8", "surrogateescape")
    if "\0" in text:
        raise ValueError("is not text in UTF-8")
    return re.split("\r\n|\r|\n", text)
