"""Commands start fast: they import only what they need."""

from __future__ import annotations

import importlib
import pkgutil

import click
import pytest

from catalogsync_assets import cli

LOADED = """
import sys
from catalogsync_assets.cli import main
try:
    main(sys.argv[1:], prog_name="catalogsync")
finally:
    heavy = {"dagster", "boto3", "botocore", "obstore", "sqlalchemy", "alembic", "mutagen", "rich",
             "psutil", "tenacity", "asyncio", "subprocess", "pydantic", "importlib.metadata"}
    print(*sorted(heavy & set(sys.modules)), file=sys.stderr)
"""


@pytest.fixture
def loaded(run_python):
    """`loaded("status")`: which of the heavy packages the command has imported."""

    def run(*arguments, code=0):
        outcome = run_python(LOADED, *arguments)
        assert outcome.code == code, outcome.err
        return set(outcome.err.splitlines()[-1].split())

    return run


@pytest.mark.parametrize(
    "arguments", [("--help",), ("upload", "--help"), ("run", "--help"), ("demo", "--help")]
)
def test_help_needs_nothing(loaded, arguments):
    assert loaded(*arguments) == set()


def test_a_command_that_only_asks_loads_next_to_nothing(loaded, library, catalog, stored):
    stored(2)

    for arguments in (
        ("status",),
        ("status", "--json", "--verified", "--under-replicated"),
        ("whereis", "0000.mp3"),
        ("upload", "--backend", "cloud"),
    ):
        assert loaded(*arguments, "--db", catalog.path) == set()
    assert loaded("whereis", "nothing of the kind", "--db", catalog.path, code=1) == set()


def test_every_module_with_commands_is_known_by_their_names():
    for module in pkgutil.iter_modules(cli.__path__):
        importlib.import_module(f"{cli.__name__}.{module.name}")

    assert set(cli.main.commands) == set(cli.main.list_commands(click.Context(cli.main)))
    for name, command in cli.main.commands.items():
        module = f"{cli.__name__}.{cli.main.modules[name]}"
        parts = [command, *getattr(command, "commands", {}).values()]
        assert module in {part.callback.__module__ for part in parts}


def test_commands_on_the_catalog_need_neither_the_orchestrator_nor_a_store(
    loaded, library, catalog, cloud
):
    library.fill(1)
    forbidden = {"dagster", "boto3", "botocore", "obstore", "alembic"}
    for arguments in (
        ("status",),
        ("backends",),
        ("plan",),
        ("scan", "--library-root", library.root),
    ):
        assert not loaded(*arguments, "--db", catalog.path) & forbidden


def test_a_scan_that_finds_nothing_new_does_not_load_the_tag_reader(
    loaded, library, catalog, scanned
):
    library.fill(1)
    scanned()

    assert "mutagen" not in loaded("scan", "--library-root", library.root, "--db", catalog.path)


def test_an_upload_does_not_load_the_orchestrator(loaded, library, catalog, scanned, cloud):
    library.fill(1)
    scanned()

    used = loaded("upload", "--backend", cloud.name, "--db", catalog.path)

    assert "obstore" in used
    assert "dagster" not in used


def test_an_upload_of_nothing_loads_neither_a_client_nor_the_orchestrator(
    loaded, catalog, cloud, dagster_home, monkeypatch
):
    monkeypatch.setenv("DAGSTER_HOME", str(dagster_home))

    used = loaded("upload", "--backend", cloud.name, "--db", catalog.path)

    assert not used & {"boto3", "botocore", "dagster"}
