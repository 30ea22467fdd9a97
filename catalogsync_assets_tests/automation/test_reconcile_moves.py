"""The sensor `catalog_partitions` has the objects of a cell follow files that were moved."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import dagster as dg
import pytest

from catalogsync_assets.automation import reconcile
from catalogsync_assets.automation.reconcile import Cursor, stamp
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets_tests.support.database import change
from catalogsync_assets_tests.support.proxy import refusal

from .conftest import CELLS as KEY
from .conftest import cell_key

# Dagster's own tags of a cell's partition, in its own hands: `dagster/partition/backend`.
pytestmark = pytest.mark.filterwarnings("ignore:Non-compliant tag keys:DeprecationWarning")

NOW = datetime(2026, 1, 5, 12, 0, tzinfo=timezone.utc)
DAY = timedelta(days=1)


@pytest.fixture
def following(backend):
    return backend(layout="path")


@pytest.fixture
def in_place(library, remote):
    """`in_place(backend)`: each file is under the key of its path; earlier objects may be there."""
    return lambda backend: library.contents().items() <= remote(backend).contents().items()


@pytest.fixture
def green(watch, following, library, scanned, uploaded):
    """A cell of three files, whole and green, of a backend whose objects follow their files."""
    library.fill(3)
    (batch,) = scanned().batches
    uploaded(following)
    watch.settle()
    return watch, f"cloud|{batch}"


@pytest.fixture
def move(library, scanned):
    """`move(("a", "b"), ...)`: files change their paths below the root, all at once."""

    def run(*moves):
        for old, _ in moves:
            (library.root / old).rename(library.root / f"{old}.moving")
        for old, new in moves:
            (library.root / new).parent.mkdir(parents=True, exist_ok=True)
            (library.root / f"{old}.moving").rename(library.root / new)
        assert scanned().moved == len(moves)

    return run


def test_a_green_cell_whose_files_have_moved_gets_one_run_that_has_their_objects_follow(
    green, following, move, in_place
):
    watch, cell = green
    move(*((f"album/{i:04d}.mp3", f"(2026) album/{i:04d}.mp3") for i in range(2)))

    (request,) = watch.tick().requested

    assert request.partition_key == cell
    assert request.tags["catalogsync/reason"] == "2 files have moved"
    assert watch.carry_out(request)
    assert in_place(following)
    shown = watch.instance.get_latest_materialization_event(KEY).asset_materialization.metadata
    assert shown["requested because"].value == "2 files have moved"
    assert (shown["copied"].value, shown["uploaded"].value) == (2, 0)
    watch.rests()

    move(("album/0002.mp3", "(2026) album/0002.mp3"))
    (again,) = watch.tick().requested
    assert again.tags["catalogsync/reason"] == "1 file has moved"
    assert again.run_key != request.run_key
    assert watch.carry_out(again)
    assert in_place(following)
    watch.rests()


def test_two_files_that_change_places_need_one_run(green, following, move, in_place):
    watch, _ = green
    move(("album/0000.mp3", "album/0002.mp3"), ("album/0002.mp3", "album/0000.mp3"))

    (request,) = watch.tick().requested

    assert watch.carry_out(request)
    assert in_place(following)
    watch.rests()


@pytest.mark.parametrize("planned", [True, False], ids=["planned", "not-planned"])
def test_files_of_two_cells_that_change_places_are_there_after_some_runs(
    green, following, move, in_place, library, scanned, uploaded, catalog, planned
):
    """Which of the cells comes first, and whether before or after the plan, is not known."""
    watch, _ = green
    library.add("later.mp3")
    scanned()
    uploaded(following)
    watch.settle()
    move(("album/0000.mp3", "later.mp3"), ("later.mp3", "album/0000.mp3"))
    keys = set[str]()

    def carry_out_until_nothing_is_new():
        for _ in range(20):
            # Dagster starts no second run for a key.
            new = [r for r in watch.tick().requested if r.run_key not in keys]
            keys.update(str(request.run_key) for request in new)
            assert all(watch.carry_out(request) for request in new)
            if not new:
                return

    if not planned:
        carry_out_until_nothing_is_new()
    enqueue(catalog, following)  # as `pending_uploads` does
    carry_out_until_nothing_is_new()

    assert in_place(following)
    assert len(keys) <= 6
    watch.rests()


def test_files_that_moved_and_files_that_are_gone_are_both_the_reason(
    green, following, lose, move, in_place
):
    watch, _ = green
    lose(following)
    move(("album/0002.mp3", "other/0002.mp3"))

    (request,) = watch.tick().requested

    assert request.tags["catalogsync/reason"] == "1 of 3 files gone; 1 file has moved"
    assert watch.carry_out(request)
    assert in_place(following)
    watch.rests()


def test_no_run_is_requested_where_objects_keep_their_keys(filled, move):
    watch, _ = filled
    move(("album/0000.mp3", "other/0000.mp3"))

    watch.rests()


def test_no_run_is_requested_where_a_moved_file_s_key_is_another_s(green, following, move, catalog):
    """An object that another program's row names, of a file that stays."""
    watch, _ = green
    move(("album/0000.mp3", "other/0000.mp3"))
    change(
        catalog,
        "INSERT INTO file_locations (file_asset_id, backend_id, container_name, locator, status)"
        " VALUES (2, ?, ?, ?, 'missing')",
        *(following.id, following.bucket, f"{following.key_prefix}other/0000.mp3"),
    )

    watch.rests()


def test_a_store_that_turns_out_not_to_copy_is_asked_for_one_run(
    watch, backend, proxy, library, scanned, uploaded, move
):
    cloud = backend(endpoint=proxy.endpoint, layout="path", provider="other")
    library.fill(2)
    scanned()
    uploaded(cloud)
    watch.settle()
    proxy.answer(refusal(501, "NotImplemented"), lambda r: r.header("x-amz-copy-source"))
    move(("album/0000.mp3", "other/0000.mp3"))

    (request,) = watch.tick().requested

    assert watch.carry_out(request)
    watch.rests()


def test_moves_about_which_nothing_could_be_done_are_requested_once_a_day(green, move, catalog):
    """The run says that the cell is whole, and materializes it."""
    watch, cell = green
    move(("album/0000.mp3", "other/0000.mp3"))

    def request(now):
        found = reconcile.reconcile(
            catalog, watch.instance, Cursor(), now_stamp=stamp(catalog.path), now=now
        )
        (request,) = found.run_requests or []
        return request

    first = request(NOW)
    watch.instance.report_runless_asset_event(
        dg.AssetMaterialization(KEY, partition=cell_key(cell))
    )

    assert request(NOW + timedelta(hours=11)).run_key == first.run_key
    assert request(NOW + DAY).run_key != first.run_key


def test_a_red_cell_whose_objects_could_not_follow_stays_red(green, following, move, remote):
    """Something else is at the key: a person has to see it."""
    watch, cell = green
    remote(following).put("other/0000.mp3", b"foreign")
    move(("album/0000.mp3", "other/0000.mp3"))
    (request,) = watch.tick().requested

    assert not watch.carry_out(request)

    assert watch.status(cell) == "FAILED"
    watch.rests()
    assert watch.status(cell) == "FAILED"
    assert remote(following).get("other/0000.mp3") == b"foreign"
