"""The way of a file: how often its task goes from `upload` into each package of the core below."""

from __future__ import annotations

import sys
from collections import Counter
from itertools import groupby
from types import FrameType
from typing import Any

import pytest

from catalogsync_assets.core.upload.put import Sender

CORE = "catalogsync_assets.core."
UPLOAD = "upload"
ROOMS = {"files", "stores", "catalog", "backends", "runner", "library"}


def package_of(frame: FrameType | None) -> str:
    """The package of the core that a frame is in; else that of whoever called it from the core."""
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if name.startswith(CORE):
            return str(name.removeprefix(CORE).partition(".")[0])
        frame = frame.f_back
    return ""


class Way:
    """Notes where one task is: in the room that `upload` has called last, and has not left yet.

    What a room calls for its own ends is its own business; where it calls back into `upload`, and
    that goes elsewhere, the task leaves the room, and comes back to it.
    """

    def __init__(self) -> None:
        self._inside: list[tuple[FrameType, str]] = []
        self._stops: list[str] = []

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            room = package_of(frame)
            if room in ROOMS and package_of(frame.f_back) == UPLOAD:
                self._inside.append((frame, room))
                self._stops.append(room)
        elif event == "return" and self._inside and self._inside[-1][0] is frame:
            self._inside.pop()
            if self._inside:
                self._stops.append(self._inside[-1][1])

    @property
    def visits(self) -> list[str]:
        return [room for room, _ in groupby(self._stops)]


@pytest.fixture
def ways(monkeypatch):
    """One for each file that is sent."""
    found: list[Way] = []
    send = Sender.send

    def traced(sender, task):
        found.append(Way())
        sys.setprofile(found[-1])
        try:
            return send(sender, task)
        finally:
            sys.setprofile(None)

    monkeypatch.setattr(Sender, "send", traced)
    return found


def test_a_new_file_is_in_each_room_at_most_twice(library, scanned, cloud, uploaded, ways):
    library.add("a.mp3")
    scanned()

    assert uploaded(cloud).succeeded == 1

    (way,) = ways
    assert {"files", "stores"} <= set(way.visits) <= ROOMS
    assert max(Counter(way.visits).values()) <= 2, way.visits


def test_a_file_that_is_in_place_is_in_each_room_at_most_twice(
    library, scanned, cloud, uploaded, remote, ways
):
    content = library.add("a.mp3").read_bytes()
    scanned()
    remote(cloud).put("a.mp3", content)

    assert uploaded(cloud).adopted == 1

    (way,) = ways
    assert {"files", "stores"} <= set(way.visits) <= ROOMS
    assert max(Counter(way.visits).values()) <= 2, way.visits
