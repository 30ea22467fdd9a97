"""What the catalog says of one object that holds a file, for whoever reads it or compares it."""

from __future__ import annotations

from typing import NamedTuple


class RemoteCopy(NamedTuple):
    """An object of a backend that holds a file's content, as its row said when it was read.

    Attributes:
        location_id: its row in `file_locations`.
        bucket: None in a row of another program that names none.
        key: the whole key.
        size_bytes: of the content; None where the catalog does not know it.
        sha256: of the content, in hex; None likewise.
        etag: of the object when it was last verified; of a damaged one, the damaged object's.
        status: of the location; one that is `damaged` is of use where there is no other.
        updated_at: changes whenever the row's status does, or another program writes it.
    """

    location_id: int
    file_asset_id: int
    backend_id: int
    bucket: str | None
    key: str
    size_bytes: int | None = None
    sha256: str | None = None
    etag: str | None = None
    status: str = "active"
    updated_at: str | None = None
