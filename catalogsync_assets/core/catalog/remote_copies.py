"""What the catalog says of one object that holds a file, for whoever reads it or compares it."""

from __future__ import annotations

from typing import NamedTuple


class RemoteCopy(NamedTuple):
    """An object of a backend that holds a file's content, as its row said when it was read."""

    location_id: int  #: its row in `file_locations`
    file_asset_id: int
    backend_id: int
    bucket: str | None  #: None in a row of another program that names none
    key: str  #: the whole key
    size_bytes: int | None = None  #: of the content; None where the catalog does not know it
    sha256: str | None = None  #: of the content, in hex; None likewise
    #: Of the object when it was last verified; of a damaged one, the damaged object's.
    etag: str | None = None
    #: Of the location; one that is `damaged` is of use where there is no other.
    status: str = "active"
    #: Changes whenever the row's status does, or another program writes it.
    updated_at: str | None = None
