"""Runs commands in this process, with the exit code and both streams."""

from __future__ import annotations

import dataclasses
import json
import signal
from typing import Any

import pytest
from click.testing import CliRunner

from catalogsync_assets.cli import main


@dataclasses.dataclass
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object on stdout."""
        assert len(self.out.splitlines()) == 1, self.out
        return json.loads(self.out)


@pytest.fixture
def cli(tmp_path, monkeypatch):
    """`cli("status", "--json")`, in an empty folder, with `catalog.db` there as the catalog."""
    monkeypatch.setenv("CATALOGSYNC_DB", str(tmp_path / "catalog.db"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    handlers = {n: signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}

    def run(*arguments):
        done = CliRunner().invoke(main, [*map(str, arguments)], prog_name="catalogsync")
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return Result(done.exit_code, done.stdout, done.stderr)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)
