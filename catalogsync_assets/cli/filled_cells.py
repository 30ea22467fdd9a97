"""Tells Dagster of an upload, where DAGSTER_HOME is set.

Dagster takes seconds to load, and may be broken, or hang: so a process of its own tells it
(`assets.teller`), which loads while the upload goes on, and for which no command waits long. What
there is to tell is noted in the catalog (`core.catalog.untold`) before the upload begins: if that
process dies, the next command starts another one. An upload never fails for this; the sensor
`catalog_partitions` sees what nobody has told.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from catalogsync_assets.cli import output

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.catalog.scope import Scope
    from catalogsync_assets.core.stores.backend import ObjectBackend

#: Seconds that a command waits at its end for what the teller has to say.
PATIENCE = 0.3
#: With what this process has loaded modules from, and nothing of the folder that it runs in.
_TELLER = """
import sys
sys.path[:] = sys.argv[3:]
from catalogsync_assets.assets.teller import main
main(*sys.argv[1:3])
"""


def before_upload(
    catalog: Catalog, backend: ObjectBackend, scope: Scope, *, by: str
) -> Callable[[], None]:
    """Begin to tell Dagster of an upload, and of what it was not told before.

    Made before the upload, as only then it can be seen which batches it is about.

    Args:
        scope: of the upload.
        by: the command, as it is called in the report.

    Returns:
        What is to be called after the upload. It says in one line on stderr why Dagster could not
        be told, if that is known by then.
    """
    from catalogsync_assets.core.catalog.cells import waiting_batches
    from catalogsync_assets.core.catalog.untold import note

    if not os.environ.get("DAGSTER_HOME"):
        return lambda: None
    note(catalog, backend, waiting_batches(catalog, backend, scope))
    return tell(catalog, by=by)


def tell(catalog: Catalog, *, by: str) -> Callable[[], None]:
    """Begin to tell Dagster what it was not told before; see `before_upload`."""
    from catalogsync_assets.core.catalog.untold import untold

    home = os.environ.get("DAGSTER_HOME")
    left = untold(catalog) if home else []
    if not home or not left:
        return lambda: None
    if not Path(home).is_absolute() or not Path(home).is_dir():
        return lambda: _warn(home, "it must be the absolute path of a folder")
    before = next((why for _, _, why in left if why), "")
    teller = _start(catalog.path, by)

    def finish() -> None:
        said = teller.finish(PATIENCE)
        if said:
            _warn(home, said)
        elif said is None and before:  # it goes on
            _warn(home, f"{before}; it is being tried again")

    return finish


def _warn(home: str, why: str) -> None:
    output.message("warning", f"Dagster was not told: DAGSTER_HOME {home}: {why}")


def _start(catalog: Path, by: str) -> Teller | _None:
    try:
        return Teller(catalog, by)
    except OSError as error:
        return _None(f"no process could be started: {error.strerror}")


class _None:
    """In place of a teller that could not be started."""

    def __init__(self, why: str) -> None:
        self._why = why

    def finish(self, _patience: float) -> str:
        """Why."""
        return self._why


class Teller:
    """A process that tells Dagster, once its stdin is closed, or this process has died."""

    def __init__(self, catalog: Path, by: str) -> None:
        """
        Raises:
            OSError: no process can be started.
        """
        given, self._stdin = os.pipe()
        self._stdout, taken = os.pipe()
        try:
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-c", _TELLER, str(catalog), by, *map(os.path.abspath, sys.path)],
                os.environ,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, given, 0),
                    (os.POSIX_SPAWN_DUP2, taken, 1),
                    (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
                ],
            )
        finally:
            os.close(given)
            os.close(taken)

    def finish(self, patience: float) -> str | None:
        """Let it tell.

        Args:
            patience: seconds to wait for it.

        Returns:
            Why it could not, or nothing; None while that is not known: it goes on by itself.
        """
        os.close(self._stdin)
        said, until = b"", time.monotonic() + patience
        try:
            while select.select([self._stdout], [], [], max(until - time.monotonic(), 0))[0]:
                if not (piece := os.read(self._stdout, 4096)):
                    with suppress(ChildProcessError):
                        os.waitpid(self._pid, 0)
                    return said.decode(errors="replace").strip()
                said += piece
            return None
        finally:
            os.close(self._stdout)
