"""Several backends that one run asks, each until it refuses everything or has fallen silent."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeVar

from catalogsync_assets.core.errors import CatalogSyncError, NotRemoved, StoreError
from catalogsync_assets.core.runner.limiter import ConcurrencyLimiter
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.retry import Retries
from catalogsync_assets.core.stores.sdk import DEFAULT_WORKERS

_Answer = TypeVar("_Answer")


class Connection(NamedTuple):
    """How a backend is asked."""

    client: StoreClient
    limiter: ConcurrencyLimiter
    retry: Retries


@dataclass(eq=False)
class Connections:
    """Connections to backends, made as they are needed. Thread-safe."""

    #: Makes the client of a backend; called once for each that is needed.
    connect: Callable[[ObjectBackend], StoreClient]
    workers: int  #: requests to one backend at a time at most
    attempts: int  #: tries of one request in a row that bring nothing
    stop: threading.Event  #: once set, no wait between tries goes on
    #: After so many requests in a row without an answer, a backend is not asked again; as many as
    #: there are workers by default, and at most 16.
    silences: int | None = None

    def __post_init__(self) -> None:
        #: The backends that are not asked any more, by id, and why.
        self.out: dict[int, CatalogSyncError] = {}
        self._made: dict[int, Connection] = {}
        self._silent: Counter[int] = Counter()
        self._lock = threading.Lock()

    @property
    def retries(self) -> int:
        """Tries that had to be repeated so far."""
        return sum(made.retry.count for made in list(self._made.values()))

    def to(self, backend: ObjectBackend) -> Connection:
        """The connection to a backend.

        Raises:
            ConfigurationError: it has no credentials.
        """
        with self._lock:
            if backend.id not in self._made:
                most = min(self.workers, backend.workers or self.workers)
                client = self.connect(replace(backend, workers=self.workers))
                limiter = ConcurrencyLimiter(most, backend.bandwidth_limit)
                retry = Retries(attempts=self.attempts, pace=limiter, stop=self.stop)
                self._made[backend.id] = Connection(client, limiter, retry)
            return self._made[backend.id]

    def ask(self, backend: ObjectBackend, question: Callable[[Connection], _Answer]) -> _Answer:
        """What a backend answers.

        Raises:
            CatalogSyncError: as the question raised it; or as one did after which the backend is
                not asked any more.
        """
        if (refusal := self.out.get(backend.id)) is not None:
            raise refusal
        try:
            answer = question(self.to(backend))
        except CatalogSyncError as error:
            self._note(backend.id, error)
            raise
        self._silent[backend.id] = 0
        return answer

    def _note(self, backend_id: int, error: CatalogSyncError) -> None:
        # An object that stays says nothing of the others.
        is_silent, refuses = False, not isinstance(error, NotRemoved)
        if isinstance(error, StoreError):
            is_silent, refuses = error.retryable, error.fatal
        with self._lock:
            self._silent[backend_id] = self._silent[backend_id] + 1 if is_silent else 0
            most = self.silences or min(self.workers, DEFAULT_WORKERS)
            is_gone = self._silent[backend_id] >= most
            if refuses or (is_gone and not self.stop.is_set()):
                self.out.setdefault(backend_id, error)
