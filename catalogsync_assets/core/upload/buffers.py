"""Memory for the content of files, used again and again.

Fresh memory for each file costs page faults, a third of a client's time at 8 MiB; and what `malloc`
keeps of freed blocks, in an arena for each thread, makes a process grow to several times of what is
in use. These are mappings of their own: what is dropped goes back to the system at once.
"""

from __future__ import annotations

import mmap
import threading

#: Below this the ordinary allocator is as good.
POOLED_BYTES = 1024 * 1024
#: A buffer may be this much larger than what is asked for.
_WASTE = 1.25


class Buffers:
    """A pool of buffers. Thread-safe."""

    def __init__(self, keep_bytes: int) -> None:
        """
        Args:
            keep_bytes: unused buffers are dropped while all buffers together are larger than this.
        """
        self._keep_bytes = keep_bytes
        self._free: list[mmap.mmap] = []
        self.held_bytes = 0  #: the size of all buffers, in use or not
        self._lock = threading.Lock()

    def take(self, size: int) -> mmap.mmap:
        """A buffer of at least `size` bytes, which must be more than none. Holds anything."""
        with self._lock:
            fitting = [b for b in self._free if size <= len(b) <= max(size * _WASTE, POOLED_BYTES)]
            if fitting:
                buffer = min(fitting, key=len)
                self._free.remove(buffer)
                return buffer
            rounded = -(-size // POOLED_BYTES) * POOLED_BYTES
            self.held_bytes += rounded
            while self._free and self.held_bytes > self._keep_bytes:
                self.held_bytes -= len(self._free.pop(0))
        return mmap.mmap(-1, rounded)

    def give_back(self, buffer: mmap.mmap) -> None:
        """Let a buffer be used again. Nobody may read it any more."""
        with self._lock:
            self._free.append(buffer)

    def forget(self, buffer: mmap.mmap) -> None:
        """Do not use a buffer again: somebody may still read it."""
        with self._lock:
            self.held_bytes -= len(buffer)
