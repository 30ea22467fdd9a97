"""What a rebuild has found, and what it has made of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from catalogsync_assets.core.runner.report import MOST_LISTED, Failure, RunReport


@dataclass
class RebuildReport(RunReport[Failure]):
    """What a rebuild did. While it runs, the same object is handed to `progress`.

    `failed` are objects that could not be looked at, and may be at the next call.
    """

    backend: str
    dry_run: bool  #: nothing was written: what there is to look at was counted
    resumed: bool = False  #: an earlier call had begun
    step: str = "snapshot"  #: `snapshot`, `objects`, `files`, `check`, `done`
    #: The snapshot that was copied: its key, when it was made; and of which catalog it is.
    snapshot: str | None = None
    snapshot_at: str | None = None  #: in UTC, `YYYY-MM-DD HH:MM:SS`
    catalog_id: str | None = None
    taken_over: bool = False  #: whether the catalog is that one from now on
    #: Newer snapshots that could not be used, with why.
    broken_snapshots: list[str] = field(default_factory=list)
    #: Copied from it.
    songs: int = 0
    copied_files: int = 0
    playlists: int = 0
    refused_rows: int = 0  #: of it, that cannot be what they should be
    #: Other backends that it names, and that are registered now; name -> where.
    other_backends: dict[str, str] = field(default_factory=dict)
    listed: int = 0  #: objects below the backend's prefix
    known: int = 0  #: of those, what the catalog had by then
    to_look_at: int = 0  #: of those, what it had not, and may be files
    to_look_at_bytes: int = 0
    looked_at: int = 0  #: in this call
    new: int = 0  #: files that the objects alone have told of
    joined: int = 0  #: objects that were found to be of files that the snapshot knows
    bytes: int = 0  #: of `new` and `joined`
    left: int = 0  #: objects whose key is another file's
    kept: int = 0  #: earlier contents, kept aside when they were replaced: left as they are
    foreign: int = 0  #: objects of others, no files of a library: left as they are
    #: Objects whose keys lead out of any folder, or could not be a file's: left as they are.
    unsafe: int = 0
    unsafe_keys: list[str] = field(default_factory=list)
    doubtful: int = 0  #: objects that are others than the snapshot says; each was compared
    missing: int = 0  #: files of the snapshot whose object is gone
    damaged: int = 0  #: of which it is not what it should be
    nowhere: int = 0  #: files of the snapshot that are on no backend, as far as is known
    batches: list[str] = field(default_factory=list)

    def note_unsafe(self, key: str) -> None:
        """Count a key that leads nowhere, and list it if there is room."""
        self.unsafe += 1
        if len(self.unsafe_keys) < MOST_LISTED:
            self.unsafe_keys.append(key)


Progress = Callable[[RebuildReport], None]
