"""The end of a process, simulated at each step of an offload: nothing after it is done."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from catalogsync_assets.core.library import removal


class Killed(BaseException):
    """Stands for the end of the process."""


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
