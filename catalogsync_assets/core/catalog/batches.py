"""Groups files into batches, the unit of partitioning."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

#: A Dagster run costs about 3 s of orchestration whatever it holds, so batches are large.
DEFAULT_MAX_FILES = 5_000
DEFAULT_MAX_BYTES = 8 * 1024**3
#: A chunk is one step of a run. A retry does only what is left of it whatever its size, and a step
#: costs most of a second of CPU: so there are few, and two of them for a cell of many bytes.
CHUNK_MAX_FILES = 5_000
CHUNK_MAX_BYTES = 4 * 1024**3


@dataclass(frozen=True)
class Group:
    """Files with ids from `first_id` to `last_id`, both included."""

    first_id: int
    last_id: int
    files: int
    size_bytes: int


def group(files: Iterable[tuple[int, int]], *, max_files: int, max_bytes: int) -> Iterator[Group]:
    """Cut a stream of files into groups, whichever limit comes first.

    Args:
        files: (file asset id, size in bytes), in order of id.
        max_files: at least 1.
        max_bytes: a single larger file makes a group of its own.
    """
    first = last = count = size = 0
    for file_id, file_size in files:
        if count and (count >= max_files or size + file_size > max_bytes):
            yield Group(first, last, count, size)
            count = size = 0
        if not count:
            first = file_id
        last = file_id
        count += 1
        size += file_size
    if count:
        yield Group(first, last, count, size)
