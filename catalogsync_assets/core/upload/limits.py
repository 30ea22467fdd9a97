"""How much an upload may do at a time, and what goes in parts."""

from __future__ import annotations

from dataclasses import dataclass

from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.sdk import DEFAULT_WORKERS
from catalogsync_assets.core.upload.multipart import PART_BYTES, parts_in_memory


@dataclass(frozen=True)
class Limits:
    """How much a run may do at a time."""

    workers: int = DEFAULT_WORKERS  #: files on their way at a time
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
            "workers": backend.workers,
            "max_in_flight_bytes": backend.max_in_flight_bytes,
            "bytes_per_second": backend.bandwidth_limit,
        }
        chosen = {n: v for values in (own, given) for n, v in values.items() if v is not None}
        return cls(**chosen)

    def in_parts(self, size_bytes: int) -> bool:
        """Whether a file of this size is too large for one request."""
        return size_bytes > self.single_put_bytes

    def memory_needed(self, size_bytes: int) -> int:
        """Bytes of memory that sending a file of this size holds."""
        if self.in_parts(size_bytes):
            return parts_in_memory(size_bytes, self.part_bytes)
        return size_bytes
