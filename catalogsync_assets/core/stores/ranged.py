"""An object as a file that is read here and there: only what is asked for is brought."""

from __future__ import annotations

import errno
import io
from collections.abc import Iterator

from catalogsync_assets.core.errors import StoreError
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.retry import Retry, once

#: Bytes that come at a time at least. Most tags stand in the first such piece.
BLOCK = 128 * 1024
#: Bytes of one object at most: tags with all their pictures are smaller.
MOST = 24 * 1024 * 1024


class RangedObject(io.RawIOBase):
    """An object, open for reading at any place. What has come is kept until it is closed.

    Attributes:
        failure: why something could not be brought; None as long as all could. To be asked for by
            whoever hands the object to a parser that takes every error for one of the content.
    """

    def __init__(
        self, client: StoreClient, key: str, size_bytes: int, *, retry: Retry = once
    ) -> None:
        """
        Args:
            size_bytes: of the object.
            retry: calls each request.
        """
        super().__init__()
        self.name = key
        self.failure: StoreError | None = None
        self._client = client
        self._retry = retry
        self._size = size_bytes
        self._at = 0
        self._blocks: dict[int, bytes] = {}
        self._come = 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def tell(self) -> int:
        """The next byte that is read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place, which may be behind the end."""
        offset += {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if offset < 0:
            raise OSError(errno.EINVAL, "seek to before the beginning")
        self._at = offset
        return offset

    def read(self, size: int | None = -1, /) -> bytes:
        """Read on.

        Raises:
            OSError: more of the object is asked for than `MOST`, or it cannot be had (`failure`).
        """
        end = self._size if size is None or size < 0 else min(self._at + size, self._size)
        if end <= self._at:
            return b""
        first, last = self._at // BLOCK, (end - 1) // BLOCK
        for start, stop in self._lacking(first, last):
            self._bring(start, stop)
        joined = b"".join(self._blocks[block] for block in range(first, last + 1))
        found = joined[self._at - first * BLOCK : end - first * BLOCK]
        self._at = end
        return found

    def _lacking(self, first: int, last: int) -> Iterator[tuple[int, int]]:
        """The blocks that have not come, as ranges: one request each."""
        start: int | None = None
        for block in range(first, last + 2):
            if block <= last and block not in self._blocks:
                start = block if start is None else start
            elif start is not None:
                yield start, block
                start = None

    def _bring(self, start: int, stop: int) -> None:
        begin, end = start * BLOCK, min(stop * BLOCK, self._size)
        self._come += end - begin
        if self._come > MOST:
            raise OSError(errno.EFBIG, f"more than {MOST:,} bytes of it are asked for")
        try:
            found = self._retry(lambda: self._client.read_range(self.name, begin, end - begin))
        except StoreError as error:
            self.failure = error
            raise OSError(errno.EIO, error.message) from error
        if len(found) != end - begin:
            self._size = begin + len(found)  # it is shorter than was said: another by now
        for block in range(start, stop):
            at = (block - start) * BLOCK
            self._blocks[block] = found[at : at + BLOCK]
