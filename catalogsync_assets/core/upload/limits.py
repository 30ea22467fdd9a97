"""How much an upload may do at a time, and what goes in parts."""

from __future__ import annotations

from dataclasses import dataclass

from catalogsync_assets.core.settings import MAX_WORKERS, most_at_once
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.sdk import DEFAULT_WORKERS, SMALL_BYTES
from catalogsync_assets.core.upload.multipart import PART_BYTES, PARTS_IN_FLIGHT, parts_in_memory

#: Requests of more than `SMALL_BYTES` at a time, at most.
MOST_LARGE = 32


@dataclass(frozen=True)
class Limits:
    """How much a run may do at a time."""

    #: Requests at a time, at most: how many there are is found out; see `runner.level`.
    workers: int = MAX_WORKERS
    #: Bytes of files held in memory at a time; a single file of more than this still goes, alone.
    max_in_flight_bytes: int = 128 * 1024 * 1024
    attempts: int = 5  #: tries of one request before its file counts as failed
    #: The most to send, all workers together; None for no limit.
    bytes_per_second: int | None = None
    single_put_bytes: int = 64 * 1024 * 1024  #: files above this go in parts
    #: The size of parts, at least 5 MiB; larger ones where a file would need more than 10,000.
    part_bytes: int = PART_BYTES

    @classmethod
    def of(cls, backend: ObjectBackend, **given: int | None) -> Limits:
        """The limits of a backend, with others in their place as far as they are given."""
        own = {
            "workers": backend.workers or most_at_once(),
            "max_in_flight_bytes": backend.max_in_flight_bytes,
            "bytes_per_second": backend.bandwidth_limit,
        }
        chosen = {n: v for values in (own, given) for n, v in values.items() if v is not None}
        return cls(**chosen)

    @property
    def silences(self) -> int:
        """After so many requests in a row without an answer, the store counts as gone."""
        return min(self.workers, DEFAULT_WORKERS)

    def in_parts(self, size_bytes: int) -> bool:
        """Whether a file of this size is too large for one request."""
        return size_bytes > self.single_put_bytes

    def memory_needed(self, size_bytes: int) -> int:
        """Bytes of memory that sending a file of this size holds, as they are counted: so that no
        more than `MOST_LARGE` large requests are under way."""
        if self.in_parts(size_bytes):
            held = parts_in_memory(size_bytes, self.part_bytes)
            return max(held, PARTS_IN_FLIGHT * self._of_large)
        return self.of_request(size_bytes)

    def of_request(self, size_bytes: int) -> int:
        """The same of one request."""
        return size_bytes if size_bytes <= SMALL_BYTES else max(size_bytes, self._of_large)

    @property
    def _of_large(self) -> int:
        return self.max_in_flight_bytes // MOST_LARGE
