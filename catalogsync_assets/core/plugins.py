"""Plug-ins: what other packages provide by an entry point, beside what is built in."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any


class UnknownPluginError(LookupError):
    """No plug-in of the name is installed."""


def make(group: str, name: str, built_in: Mapping[str, str]) -> Any:
    """Load a plug-in and call it without arguments.

    Args:
        group: the entry point group.
        built_in: what there is also without this package's metadata, as in a checkout: names, and
            `module:class` of each. It is loaded only here, so it may import who asks for it.

    Raises:
        UnknownPluginError: no plug-in has this name.
        Exception, SystemExit: whatever the plug-in raises.
    """
    point = next(iter(entry_points(group=group, name=name)), None)
    if point is None and name in built_in:
        point = EntryPoint(name, built_in[name], group)
    if point is None:
        raise UnknownPluginError(name)
    return point.load()()


def installed(group: str, built_in: Mapping[str, str]) -> list[str]:
    """The names of all plug-ins of a group, sorted."""
    return sorted({point.name for point in entry_points(group=group)} | set(built_in))
