"""The process that tells Dagster which cells the command line has filled; see `cli.filled_cells`.

It loads Dagster at once, and tells when its stdin ends: the command is about to end, or was killed.
What it is to tell is in the catalog (`core.catalog.untold`), and stays there until it is told, so
it may die at any moment. It outlives the command, but not for long: Dagster may hang.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import warnings
from contextlib import closing, suppress

from catalogsync_assets.core.catalog import untold
from catalogsync_assets.core.catalog.cells import waiting_batches
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.errors import CatalogSyncError
from catalogsync_assets.core.redaction import redact

#: Seconds after which a teller whose command has ended gives up.
_PATIENCE = 600
#: Characters of a reason; Dagster's may be pages.
_LONGEST = 200
#: Cells that are told at a time; a kill costs these.
_AT_A_TIME = 100


def main(catalog: str, by: str) -> None:
    """Wait for the end of stdin, and tell; why that could not be done goes to stdout.

    Args:
        catalog: its path.
        by: who says so, for a person.
    """
    with suppress(OSError):
        os.setsid()  # Ctrl-C and the end of the terminal are for the command
    os.chdir("/")
    os.nice(5)  # the upload goes first
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.buffer.read()
        signal.alarm(_PATIENCE)
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    why = tell(catalog, by=by, when=ended)
    with suppress(OSError):  # the command has not waited
        os.write(1, why.encode(errors="replace"))


def tell(catalog: str, *, by: str, when: threading.Event | None = None) -> str:
    """Tell Dagster of all cells that it was not told of, and that are whole.

    Args:
        catalog: its path.
        by: who says so, for a person.
        when: not before this is set.

    Returns:
        Why it could not be done, in a few words, which are noted in the catalog, too; else
        nothing.
    """
    # Without what Dagster has to say of its own affairs: a missing `dagster.yaml`, beta APIs.
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _tell(catalog, by=by, when=when)
    finally:
        logging.disable(before)


def _tell(location: str, *, by: str, when: threading.Event | None) -> str:
    why = ""
    try:
        import dagster as dg

        from catalogsync_assets.assets.filled_cells import report_whole_cells
        from catalogsync_assets.assets.partitions import register_keys

        with dg.DagsterInstance.get() as instance:
            instance.get_dynamic_partitions("backend")  # what is broken is seen by that
            if when is not None:
                when.wait()
            with closing(Catalog.open(location)) as catalog:
                register_keys(catalog, instance)
                for backend, batches, _ in untold.untold(catalog):
                    # What another process may be filling is told by that.
                    waiting = set(waiting_batches(catalog, backend))
                    for start in range(0, len(batches), _AT_A_TIME):
                        some = batches[start : start + _AT_A_TIME]
                        whole = report_whole_cells(catalog, instance, backend, some, by=by)
                        untold.told(catalog, backend, {*some} - waiting | {*whole})
    except Exception as error:  # whatever is wrong, the upload has not failed
        said = str(error).strip().partition("\n")[0] or type(error).__name__
        why = redact(said)[:_LONGEST]  # the address of Dagster's own database may be in it
        if when is not None:
            when.wait()
        with suppress(CatalogSyncError), closing(Catalog.open(location)) as catalog:
            for backend, batches, _ in untold.untold(catalog):
                untold.told(catalog, backend, batches, why_not=why)
    return why
