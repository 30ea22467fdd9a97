"""A signal ends a command with its exit code, whatever the command is at."""

from __future__ import annotations

import pytest

# Sends a signal to this very process when a module is about to be imported.
STOPPED_AT = """
import builtins, os, signal, sys
number, where = int(sys.argv[1]), sys.argv[2]
original = builtins.__import__
def importing(name, *more):
    if name == where:
        builtins.__import__ = original
        os.kill(os.getpid(), number)
    return original(name, *more)
builtins.__import__ = importing
sys.argv[1:] = sys.argv[3:]
from catalogsync_assets.__main__ import main
main()
"""


@pytest.mark.parametrize("number", [1, 2, 15])
@pytest.mark.parametrize(
    "where",
    [
        "catalogsync_assets.cli",
        "catalogsync_assets.core.errors",  # when arguments are read
        "catalogsync_assets.core.catalog.database",
        "alembic",
    ],
)
def test_a_signal_during_an_import_has_the_exit_code(run_python, tmp_path, number, where):
    outcome = run_python(STOPPED_AT, number, where, "init", "--db", tmp_path / "catalog.db")

    assert outcome.code == 130
    assert "Traceback" not in outcome.err
    assert list(tmp_path.iterdir()) == []


# Sends a signal when the catalog is made, and another while the first is dealt with.
TWICE = """
import os, signal
from catalogsync_assets.cli import output
from catalogsync_assets.core.catalog import database
def stopped(*given, **named):
    os.kill(os.getpid(), signal.SIGTERM)
output.message = database.Catalog.initialise = stopped
from catalogsync_assets.__main__ import main
main()
"""


def test_a_second_signal_does_not_spoil_the_exit_code(run_python):
    outcome = run_python(TWICE, "init")

    assert (outcome.code, outcome.err) == (130, "")


# Sends a signal that `nohup` has set to be ignored.
IGNORED = """
import os, signal
signal.signal(signal.SIGHUP, signal.SIG_IGN)
from catalogsync_assets.core.catalog import database
original = database.Catalog.initialise
def hung_up(*given, **named):
    os.kill(os.getpid(), signal.SIGHUP)
    return original(*given, **named)
database.Catalog.initialise = hung_up
from catalogsync_assets.__main__ import main
main()
"""


def test_what_the_callers_shell_ignores_stays_ignored(run_python, tmp_path):
    outcome = run_python(IGNORED, "init", "--db", tmp_path / "catalog.db")

    assert outcome.code == 0, outcome.err
