"""The end of a process: simulated at a step of an offload or a prune, so that nothing after it is
done; and of a command that dies before it commits.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalogsync_assets.core.library import removal
from catalogsync_assets.core.prune import prune


class Killed(BaseException):
    """Stands for the end of the process."""


#: A command that dies in the moment before it commits so many transactions; 0 for none. Of the jobs
#: that go by pages, with small ones.
DYING = """
import os, signal, sys
import sqlalchemy as sa
from catalogsync_assets.cli import main
from catalogsync_assets.core.prune import prune
from catalogsync_assets.core.rebuild import rebuild
prune._PAGE = rebuild._PAGE = 3
left = int(sys.argv[1])
def die(_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
sa.event.listen(sa.Engine, "commit", die)
main(sys.argv[2:], prog_name="catalogsync")
"""
STEPS = ["marked", "linked", "renamed", "deleted", "on disk"]


def die_at(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the run end at a step as if killed: nothing after it is done, not even cleaning up."""
    dead = False

    def dying(function: Callable[..., Any], *, after: bool) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            nonlocal dead
            if dead:
                raise Killed
            if not after:
                dead = True
                raise Killed
            function(*arguments, **more)
            dead = True
            raise Killed

        return wrapped

    def lifeless(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **more: Any) -> Any:
            if dead:
                raise Killed
            return function(*arguments, **more)

        return wrapped

    seams: dict[str, tuple[Any, str, bool]] = {
        "marked": (removal, "remove", False),
        "linked": (Path, "unlink", False),
        "renamed": (removal, "move_to_free_name", True),
        "deleted": (removal, "sync_folder", False),
        "on disk": (removal.locations, "mark", False),
    }
    for name, (owner, attribute, after) in seams.items():
        function = getattr(owner, attribute)
        patched = dying(function, after=after) if name == step else lifeless(function)
        monkeypatch.setattr(owner, attribute, patched)
    monkeypatch.setattr(removal, "recover", lifeless(removal.recover))
    monkeypatch.setattr(removal, "_put_back", lifeless(removal._put_back))


def die_in_prune(patch: pytest.MonkeyPatch, *, after: bool) -> None:
    """Let a prune end at its first delete as if killed: nothing is recorded after it."""
    remove = prune.remove

    def dying(*arguments: Any) -> Any:
        if after:
            remove(*arguments)
        raise Killed

    patch.setattr(prune, "remove", dying)
    patch.setattr(prune._Run, "_record", lambda *_: None)
    patch.setattr(prune._Run, "_give_back", lambda _: None)
