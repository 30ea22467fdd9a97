"""How much an upload may do at a time, and what goes in parts."""

from __future__ import annotations

from dataclasses import dataclass

from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.clients import DEFAULT_WORKERS
from catalogsync_assets.core.upload.multipart import PART_BYTES, parts_in_memory


@dataclass(frozen=True)
class Limits:
    """How much a run may do at a time.

    Attributes:
        workers: files on their way at a time.
        max_in_flight_bytes: bytes of files held in memory at a time; a single file of more than
            this still goes, alone.
        attempts: tries of one request before its file counts as failed.
        bytes_per_second: the most to send, all workers together; None for no limit.
        single_put_bytes: files above this go in parts.
        part_bytes: the size of parts, at least 5 MiB; larger ones where a file would need more
            than 10,000.
    """

    workers: int = DEFAULT_WORKERS
    max_in_flight_bytes: int = 128 * 1024 * 1024
    attempts: int = 5
    bytes_per_second: int | None = None
    single_put_bytes: int = 64 * 1024 * 1024
    part_bytes: int = PART_BYTES

    @classmethod
    def of(cls, backend: ObjectBackend, **given: int | None) -> Limits:
        """The limits of a backend, with others in their place as far as they are given."""
        own = {
            "workers": backend.workers,
            "max_in_flight_bytes": backend.max_in_flight_bytes,
            "bytes_per_second": backend.bandwidth_limit,
        }
        chosen = {**_known(own), **_known(given)}
        return cls(**chosen)

    def in_parts(self, size_bytes: int) -> bool:
        """Whether a file of this size is too large for one request."""
        return size_bytes > self.single_put_bytes

    def memory_needed(self, size_bytes: int) -> int:
        """Bytes of memory that sending a file of this size holds."""
        if self.in_parts(size_bytes):
            return parts_in_memory(size_bytes, self.part_bytes)
        return size_bytes


def _known(values: dict[str, int | None]) -> dict[str, int]:
    return {name: value for name, value in values.items() if value is not None}
