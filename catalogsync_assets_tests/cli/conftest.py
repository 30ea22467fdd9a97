"""Runs commands in this process, with the exit code and both streams."""

from __future__ import annotations

import signal

import pytest
from click.testing import CliRunner

from catalogsync_assets.cli import main
from catalogsync_assets_tests.support.processes import Outcome, Terminal


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
        return Outcome(done.exit_code, done.stdout, done.stderr)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def register(cli, unregistered):
    """`register(name, **settings)` registers a backend by the command."""

    def run(name="cloud", **settings):
        made = unregistered(name, **settings)
        arguments = ["--name", made.name, "--bucket", made.bucket, "--endpoint", made.endpoint]
        arguments += ["--base-prefix", made.base_prefix]
        arguments += ["--credential-env-prefix", made.credential_env_prefix]
        arguments += ["--provider", made.provider] if made.provider else []
        done = cli("register-object-backend", *arguments)
        assert done.code == 0, done.err
        return made

    return run


@pytest.fixture
def through_proxy(proxy, backend):
    """A backend `cloud` behind the proxy."""
    return backend(endpoint=proxy.endpoint)


@pytest.fixture
def stored(library, scanned, uploaded, cloud):
    """`stored(files)`: so many files in the library, which are on `cloud`, too.

    Of the catalog of the other fixtures, which is that of `cli`.
    """

    def fill(files):
        library.fill(files)
        scanned()
        uploaded(cloud)
        return library

    return fill


@pytest.fixture
def terminal():
    """`terminal("run", …)`: a command at a terminal, with somebody at it."""
    made = []

    def start(*arguments):
        made.append(Terminal(*arguments))
        return made[-1]

    yield start
    for each in made:
        each.close()
