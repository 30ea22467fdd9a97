"""The state machine of `file_locations`: no status changes but as the table says, nor elsewhere."""

from __future__ import annotations

import ast
import itertools
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import catalogsync_assets
from catalogsync_assets.core.catalog import locations, root_extent, roots
from catalogsync_assets.core.catalog.locations import TRANSITIONS, Event, Status
from catalogsync_assets.core.catalog.schema import metadata
from catalogsync_assets.core.files.opening import FileStat
from catalogsync_assets_tests.core.world import BEGINNING, EVENTS, PRESENCE, World, truth
from catalogsync_assets_tests.support.database import change, rows

STATUSES = get_args(Status)
#: What may be applied to rows that are there, by id.
BY_ID = sorted(
    TRANSITIONS.keys() - {"scanned", "restored", "stored", "kept aside", "copied", "claimed"}
)
#: Which steps of the table each event of a world may take.
STEPS: dict[str, set[Event]] = {
    "write": {"scanned", "changed"},
    "lose": {"gone"},
    "find": {"seen"},
    "download": {"seen"},
    "leave_out": {"excluded"},
    "suspect": {"suspected"},
    "move": {"seen"},
    "forget": {"forgotten"},
    "offload": {"offload", "kept", "offloaded"},
    "restore": {"restored", "displaced"},
    "claim": set(),
    "finish": {"stored", "moved", "replaced"},
    "adopt": {"stored", "moved", "replaced"},
    "say": {"claimed", "moved", "replaced"},
    # Of what comes of a lost catalog: see the tests of `rebuild`.
    "begin": {"copied", "settled"},
    "withdraw": {"withdrawn", "kept aside"},
    "object_is": {"verified", "lost", "damaged"},
    "look": {"verified", "lost", "damaged"},
    "retire": {"retired"},
    "prune": {"prune", "pruned", "overwritten", "spared", "stayed"},
}


def allowed(events: set[Event]) -> set[tuple[str, str]]:
    return {
        (before, TRANSITIONS[event].after)
        for event in events
        for before in TRANSITIONS[event].before or ("new", *STATUSES)
        if before not in TRANSITIONS[event].but
    }


def test_every_event_of_the_table_is_known_by_name():
    assert set(TRANSITIONS) == set(get_args(Event)) == set().union(*STEPS.values())
    assert {step.after for step in TRANSITIONS.values()} == set(STATUSES)


@pytest.mark.parametrize("examples", [25, pytest.param(500, marks=pytest.mark.thorough)])
def test_no_status_changes_but_as_the_table_says(catalog, examples):
    """Every single change is told by the database itself, and presence is true after each."""

    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(events=st.lists(EVENTS, min_size=4, max_size=12))
    def check(events):
        with catalog.transaction() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(table.delete())
        change(catalog, "CREATE TABLE IF NOT EXISTS steps (before, after)")
        for when, before in (("INSERT", "'new'"), ("UPDATE", "old.status")):
            change(
                catalog,
                f"CREATE TRIGGER IF NOT EXISTS on_{when} AFTER {when} ON file_locations"
                f" WHEN {before} <> new.status BEGIN INSERT INTO steps"
                f" VALUES ({before}, new.status); END",
            )
        world = World(catalog)

        for event, what in [*BEGINNING, *events]:
            change(catalog, "DELETE FROM steps")
            getattr(world, event)(what)
            assert set(rows(catalog, "SELECT before, after FROM steps")) <= allowed(STEPS[event])
            assert rows(catalog, PRESENCE) == truth(catalog, rows)

    check()


@pytest.mark.parametrize("event", BY_ID)
def test_a_step_is_taken_from_the_statuses_of_the_table_and_no_other(catalog, event):
    world = World(catalog)
    world.write(0)
    step = TRANSITIONS[event]
    everything = {*STATUSES, "of another program"}
    allowed = everything - {step.after} if step.before is None else set(step.before)
    allowed -= set(step.but)
    for status in everything:
        change(catalog, "UPDATE file_locations SET status = ?", status)

        if event == "seen":
            with catalog.transaction() as connection:
                locations.record_seen(connection, [(1, 1, FileStat(1, 1), None)])
        elif event == "suspected":
            locations.mark_suspected(catalog, [(1, FileStat(1, 1))])
        else:
            assert locations.mark(catalog, [1], event, how="read") == (status in allowed)

        expected = step.after if status in allowed else status
        assert rows(catalog, "SELECT status FROM file_locations") == [expected]


def test_a_step_may_be_limited_to_one_status(catalog):
    world = World(catalog)
    world.write(0)

    assert locations.mark(catalog, [1], "gone", only="excluded") == 0
    assert locations.mark(catalog, [1], "gone", only="active") == 1
    assert locations.mark(catalog, [1], "gone") == 0
    assert rows(catalog, "SELECT status FROM file_locations") == ["missing"]


def test_who_loses_a_path_to_a_restored_file_loses_it_in_presence_too(catalog):
    world = World(catalog)
    for file in (0, 2):  # of two songs
        world.write(file)

    world.restore((0, 2))

    assert rows(catalog, PRESENCE) == truth(catalog, rows)
    assert {song for song, *_ in rows(catalog, PRESENCE)} == {1}


# --- nobody else ----------------------------------------------------------------------------------

PRODUCT = Path(catalogsync_assets.__file__).parent
HOME = PRODUCT / "core" / "catalog" / "locations.py"
#: Fills columns of ours in rows that another program has written; no status.
FILLS_IN = "meet_rows_of_other_programs"
WRITES = re.compile(r"\b(UPDATE|INSERT INTO|REPLACE INTO|DELETE FROM)\s+file_locations\b", re.I)
SETS_STATUS = re.compile(r"\bSET\b(?:(?!\bWHERE\b).)*\bstatus\s*=", re.I | re.S)
WRITERS = {"insert_sql", "insert_row", "update_row", "assignments", "insert", "update", "delete"}


def texts(tree: ast.AST) -> list[str]:
    """The literal texts of some code, as far as they are known."""
    inside = {id(v) for n in ast.walk(tree) if isinstance(n, ast.JoinedStr) for v in n.values}
    joined = [
        "".join(str(v.value) if isinstance(v, ast.Constant) else "{}" for v in n.values)
        for n in ast.walk(tree)
        if isinstance(n, ast.JoinedStr)
    ]
    plain = [
        n.value
        for n in ast.walk(tree)
        if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in inside
    ]
    return joined + plain


def calls_a_writer(tree: ast.AST) -> bool:
    for call in (n for n in ast.walk(tree) if isinstance(n, ast.Call)):
        name = call.func.attr if isinstance(call.func, ast.Attribute) else ast.unparse(call.func)
        about = [*call.args, *([call.func.value] if isinstance(call.func, ast.Attribute) else [])]
        names = {ast.unparse(each).strip("'\"").rpartition(".")[2] for each in about}
        if name in WRITERS and "file_locations" in names:
            return True
    return False


def writers(source: str) -> list[str]:
    """The pieces of a module that write locations: its functions, or its top level."""
    return [
        getattr(node, "name", ast.unparse(node)[:60])
        for node in ast.parse(source).body
        if any(WRITES.search(text) for text in texts(node)) or calls_a_writer(node)
    ]


def test_no_other_module_writes_locations():
    found = {
        path.name: names
        for path in PRODUCT.rglob("*.py")
        if path != HOME and "migrations" not in path.parts
        if (names := writers(path.read_text()))
    }

    # Paths, of a whole root at once.
    assert len(found.pop("roots.py")) == 1
    assert len(found.pop("root_extent.py")) == 2
    for statement in (roots._MOVE_FILES, root_extent._LET_GO_OF_HISTORY, root_extent._SET_PATHS):
        assert not SETS_STATUS.search(statement)
    assert found == {"files.py": [FILLS_IN]}
    tree = ast.parse((PRODUCT / "core" / "catalog" / "files.py").read_text())
    (function,) = (n for n in tree.body if getattr(n, "name", "") == FILLS_IN)
    assert not any(SETS_STATUS.search(text) for text in texts(function))


@pytest.mark.parametrize(
    "code",
    [
        "def f():\n  run('UPDATE file_locations SET status = 1')",
        "def f(x):\n  run(f'update  file_locations SET {x}')",
        "f = 'INSERT INTO file_locations (status) VALUES (1)'",
        "f = 'DELETE ' 'FROM file_locations'",
        "f = sa.update(file_locations).values(status='active')",
        "f = schema.file_locations.insert()",
        "f = insert_sql(connection, 'file_locations', columns)",
        "class f:\n  def g(self):\n    update_row(connection, 'file_locations', 1, {})",
    ],
)
def test_a_writer_is_found_however_it_writes(code):
    assert len(writers(code)) == 1
    assert writers(code.replace("file_locations", "file_assets")) == []


def test_which_columns_a_statement_sets_is_seen():
    for before, set_, after in itertools.product(("", "x = 1, "), ("status", "x"), ("", ", y = 2")):
        text = f"UPDATE file_locations SET {before}{set_} = 1{after} WHERE status = 2"
        assert (SETS_STATUS.search(text) is not None) == (set_ == "status")
