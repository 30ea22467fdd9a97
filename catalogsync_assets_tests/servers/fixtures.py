"""The servers as fixtures: started when a test asks for one, skipped where it is not installed.

Run as a program, it says what is not installed, and how to install it.
"""

import re
import shutil
import sys
from collections.abc import Iterable
from typing import Any

import pytest

from catalogsync_assets_tests.servers import ceph, juicefs, rclone, swift
from catalogsync_assets_tests.servers.processes import Requirement

SERVERS = {module.__name__.rpartition(".")[2]: module for module in (ceph, swift, juicefs, rclone)}
_SKIPPED = re.compile(r"store not tried: (\w+) \(not installed: (.+)\)$")


def _requirement(name: str) -> Requirement:
    return SERVERS[name].REQUIREMENT


def _fixture(name: str) -> Any:
    @pytest.fixture(scope="session", name=name)
    def server(tmp_path_factory):
        requirement = _requirement(name)
        if requirement.missing():
            pytest.skip(f"store not tried: {name} (not installed: {requirement.install})")
        folder = tmp_path_factory.mktemp(name)
        start = getattr(SERVERS[name], name)
        with start(folder) as running:
            yield running
        shutil.rmtree(folder, ignore_errors=True)

    server.__doc__ = SERVERS[name].__doc__
    return server


ceph_server, swift_server, juicefs_server, rclone_server = map(_fixture, SERVERS)


def not_tried(reasons: Iterable[str]) -> str | None:
    """One line that says which stores a run has left out; None if it has left out none.

    Args:
        reasons: why tests were skipped.
    """
    found = dict(match.groups() for reason in reasons if (match := _SKIPPED.search(reason)))
    if not found:
        return None
    return f"stores not tried: {', '.join(sorted(found))} (not installed: {_install(found)})"


def _install(names: Iterable[str]) -> str:
    return "; ".join(sorted({_requirement(name).install for name in names}))


def main() -> None:
    """Say what is not installed; exit code 1 if something is not."""
    missing = [name for name in SERVERS if _requirement(name).missing()]
    if missing:
        sys.exit(f"error: {', '.join(missing)}: not installed\nhint: {_install(missing)}")


if __name__ == "__main__":
    main()
