"""Who holds a claim: a string that names host, process and its start.

By it another run on the same host sees at once when the process is gone, and need not wait for the
lease to expire.
"""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from pathlib import Path


def new_owner() -> str:
    """A name for the claims of one run of this process."""
    import psutil  # not for a command that only asks

    process = psutil.Process()
    started = f"{process.create_time():.2f}"
    return f"{socket.gethostname()}|{process.pid}|{started}|{os.urandom(4).hex()}"


_PART = ".part"


def new_part(beside: Path, prefix: str) -> Path:
    """A name for a file that this process is about to write, in the same folder as another.

    What processes of this host have left there under such names, and died, is removed.

    Args:
        prefix: what such names begin with.
    """
    try:
        names = [entry.name for entry in os.scandir(beside.parent)]
    except OSError:
        names = []  # writing there says it better
    for name in names:
        if name.startswith(prefix) and name.endswith(_PART):
            owner = name[len(prefix) : -len(_PART)].replace("~", "|")
            if is_dead(owner):
                with suppress(OSError):
                    beside.with_name(name).unlink()
    return beside.with_name(prefix + new_owner().replace("|", "~") + _PART)


def is_dead(owner: str | None) -> bool:
    """Whether the owner was a process of this host that no longer runs."""
    host, _, rest = (owner or "").partition("|")
    pid, _, rest = rest.partition("|")
    started = rest.partition("|")[0]
    import psutil

    if host != socket.gethostname() or not pid.isdigit():
        return False  # another host's, or not one of ours: only its expiry tells
    if int(pid) == os.getpid():
        return started != f"{psutil.Process().create_time():.2f}"
    try:
        process = psutil.Process(int(pid))
        alive = process.status() != psutil.STATUS_ZOMBIE
        return not alive or f"{process.create_time():.2f}" != started
    except psutil.NoSuchProcess:
        return True
    except psutil.Error:
        return False
