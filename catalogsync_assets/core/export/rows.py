"""What a row of an export is: a file at a place, as values of named columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from catalogsync_assets.core.export.contents import FileAt

Value = str | int | float | None
#: Name -> kind: `integer`, `number`, `text` or `time`. In this order in every format.
COLUMNS = {
    "song_id": "integer",
    "artist": "text",
    "album": "text",
    "title": "text",
    "track": "integer",
    "disc": "integer",
    "duration_seconds": "number",
    "format": "text",
    "size_bytes": "integer",
    "sha256": "text",
    "backend": "text",
    "locator": "text",
    "url": "text",
    "status": "text",
    "verified_at": "time",
}
#: What stands before these in the export of a playlist.
PLAYLIST_COLUMNS = {"playlist": "text", "position": "integer"}


@dataclass(frozen=True)
class Shape:
    """What all rows of an export have in common."""

    playlist: str | None = None  #: its name, if it is one

    @property
    def kinds(self) -> dict[str, str]:
        return COLUMNS if self.playlist is None else {**PLAYLIST_COLUMNS, **COLUMNS}

    @property
    def columns(self) -> list[str]:
        return list(self.kinds)

    def row(self, file: FileAt, address: str | None, position: int) -> Row:
        """Args: position: of the song in the playlist, from 1; not used where there is none."""
        time = file.verified_at
        values: tuple[Value, ...] = (
            file.song_id,
            *file[2:11],
            *(file.backend, file.locator, address, file.status),
            time and f"{time.replace(' ', 'T')}Z",
        )
        if self.playlist is not None:
            values = (self.playlist, position, *values)
        return Row(file, address, values)


class Row(NamedTuple):
    """A file, how it is addressed, and the values of the columns."""

    file: FileAt
    address: str | None
    values: tuple[Value, ...]
