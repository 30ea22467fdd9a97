"""Who works on which task of a queue: claims that expire.

A claim is a short transaction. Its owner renews it while it lives; the claims of one that died are
taken over, at once on the same machine, after `LEASE_SECONDS` elsewhere. A task is pending, running
(leased), succeeded or failed. Which one is next is the affair of `upload_queue` and
`download_queue`.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.catalog.legacy import assignments
from catalogsync_assets.core.runner.owners import is_dead, new_owner

#: Seconds after which a claim that nobody renewed may be taken over.
LEASE_SECONDS = 300.0

Queue = Literal["upload_tasks", "download_tasks"]
_NO_LEASE: dict[str, object] = {"lease_owner": None, "lease_expires_at": None}


class Lease:
    """The claims of one run of one process on the tasks of a queue.

    Attributes:
        owner: names host, process and start, so that another run on the same host sees at once when
            the process is gone, and need not wait for the lease to expire.
    """

    def __init__(self, catalog: Catalog, queue: Queue, of_queue: str, **values: object) -> None:
        """
        Args:
            of_queue: an SQL condition on the tasks that are meant, running ones.
            values: its parameters.
        """
        self._catalog = catalog
        self._queue = queue
        self._running = f"status = 'running' AND {of_queue}"
        self._values = values
        self.owner = new_owner()
        self._renewed = time.monotonic()

    def take_over_abandoned(self) -> int:
        """Make tasks pending again whose owner has died or let the lease expire; how many."""
        owners = self._catalog.rows(
            "SELECT lease_owner, MIN(COALESCE(lease_expires_at, 0))"
            f" FROM {self._queue} WHERE {self._running} GROUP BY lease_owner",
            **self._values,
        )
        now = time.time()
        gone = [
            {"holder": owner, "now": now, "dead": is_dead(owner), **self._values, **_NO_LEASE}
            for owner, expiry in owners
            if expiry < now or is_dead(owner)
        ]
        if not gone:
            return 0
        with self._catalog.transaction() as connection:
            free = assignments(connection, self._queue, _NO_LEASE)
            # An owner that is alive may have renewed by now.
            statement = (
                f"UPDATE {self._queue} SET status = 'pending', {free}"
                f" WHERE {self._running} AND lease_owner IS :holder"
                " AND (:dead OR COALESCE(lease_expires_at, 0) < :now)"
            )
            return connection.execute(sa.text(statement), gone).rowcount

    def _take(self, connection: sa.Connection, task_ids: Iterable[int]) -> None:
        """Claim pending tasks, in the transaction that has found them."""
        expiry = time.time() + LEASE_SECONDS
        rows = [{"id": id_, "owner": self.owner, "expiry": expiry} for id_ in task_ids]
        if rows:
            connection.exec_driver_sql(
                f"UPDATE {self._queue} SET status = 'running', lease_owner = :owner,"
                " lease_expires_at = :expiry, attempts = COALESCE(attempts, 0) + 1,"
                " updated_at = CURRENT_TIMESTAMP WHERE id = :id",
                rows,
            )

    def renew(self) -> None:
        """Put off the expiry of all that is held; does something once a fifth of the lease."""
        if time.monotonic() - self._renewed < LEASE_SECONDS / 5:
            return
        expiry = {"lease_expires_at": time.time() + LEASE_SECONDS}
        with self._catalog.transaction() as connection:
            self._update(connection, "lease_expires_at = :lease_expires_at", expiry)
        self._renewed = time.monotonic()

    def release(self) -> None:
        """Make all that is still held pending again. Idempotent."""
        with self._catalog.transaction() as connection:
            free = assignments(connection, self._queue, _NO_LEASE)
            # A claim that came to nothing is no try.
            self._update(
                connection, f"status = 'pending', attempts = attempts - 1, {free}", _NO_LEASE
            )

    def _update(self, connection: sa.Connection, parts: str, values: Mapping[str, object]) -> None:
        connection.execute(
            sa.text(
                f"UPDATE {self._queue} SET {parts} WHERE {self._running} AND lease_owner = :owner"
            ),
            {**self._values, **values, "owner": self.owner},
        )


def requeue(catalog: Catalog, queue: Queue, which: str, **values: object) -> int:
    """Make tasks pending again; how many. Does not write where there are none.

    Args:
        which: an SQL condition on the tasks that are meant.
        values: its parameters.
    """
    if catalog.scalar(f"SELECT 1 FROM {queue} WHERE {which} LIMIT 1", **values) is None:
        return 0
    with catalog.transaction() as connection:
        update = f"UPDATE {queue} SET status = 'pending', updated_at = CURRENT_TIMESTAMP"
        return connection.execute(sa.text(f"{update} WHERE {which}"), values).rowcount


def end(
    connection: sa.Connection,
    queue: Queue,
    tasks: Sequence[Mapping[str, object]],
    *,
    owner: str | None = None,
) -> None:
    """Record what became of tasks, which nobody holds any more.

    Args:
        tasks: the `id` of each, and its columns, the same for all.
        owner: only of those that it still holds; None for whoever holds them.
    """
    if not tasks:
        return
    rows = [{"owner": owner, **_NO_LEASE, **task} for task in tasks]
    parts = assignments(connection, queue, [c for c in rows[0] if c not in ("id", "owner")])
    held = "" if owner is None else " AND lease_owner = :owner"
    # Straight to the driver: SQLAlchemy's parameters would cost more than SQLite.
    connection.exec_driver_sql(
        f"UPDATE {queue} SET {parts}, updated_at = CURRENT_TIMESTAMP WHERE id = :id{held}", rows
    )
