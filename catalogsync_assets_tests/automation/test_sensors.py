"""The sensors: new keys become partitions, and each condition is looked at by one sensor."""

import dataclasses

import dagster as dg
import pytest

from catalogsync_assets.assets.partitions import register_keys
from catalogsync_assets.core.catalog.backend_changes import remove, rename
from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.definitions import defs

# Dagster's own tags of a cell's partition, in its own hands: `dagster/partition/backend`.
pytestmark = pytest.mark.filterwarnings("ignore:Non-compliant tag keys:DeprecationWarning")


def test_backends_and_batches_of_the_command_line_become_partitions(
    watch, backend, library, scanned
):
    backend("one")
    assert watch.tick().added == {"backend": ["one"]}

    backend("two")
    library.fill(1)
    (batch,) = scanned().batches
    assert watch.tick().added == {"backend": ["two"], "batch": [batch]}

    library.add("later.mp3")
    (batch,) = scanned().batches
    assert watch.tick().added == {"batch": [batch]}


def test_the_cells_of_a_renamed_backend_are_filled_anew_without_a_run(
    watch, catalog, cloud, library, scanned, uploaded
):
    library.fill(1)
    (batch,) = scanned().batches
    uploaded(cloud)
    watch.settle()

    rename(catalog, "cloud", "sky")
    done = watch.tick()
    assert (done.taken_out, done.added) == ({"backend": ["cloud"]}, {"backend": ["sky"]})

    done = watch.tick()
    assert (done.reported, done.requested) == ([f"sky|{batch}"], [])
    assert watch.status(f"sky|{batch}") == "MATERIALIZED"
    watch.settle()


def test_the_cells_of_a_removed_backend_go_and_come_back_with_its_name(
    watch, catalog, cloud, library, scanned, uploaded
):
    library.fill(1)
    scanned()
    uploaded(cloud)
    watch.settle()

    remove(catalog, cloud)
    assert watch.tick().taken_out == {"backend": ["cloud"]}
    assert watch.instance.get_dynamic_partitions("backend") == []
    watch.settle()

    again, _ = register(catalog, dataclasses.replace(cloud, id=0))
    assert watch.tick().added == {"backend": ["cloud"]}
    (request,) = watch.tick().requested  # its cell was green once
    assert request.tags["catalogsync/reason"] == "1 of 1 files gone"
    uploaded(again)
    watch.settle()


def test_partitions_of_which_the_catalog_never_knew_are_left_alone(watch, cloud):
    watch.instance.add_dynamic_partitions("backend", ["of-another-catalog"])

    watch.settle()

    assert "of-another-catalog" in watch.instance.get_dynamic_partitions("backend")


def test_the_scan_takes_out_partitions_as_well(watch, catalog, cloud):
    register_keys(catalog, watch.instance)
    rename(catalog, "cloud", "sky")

    register_keys(catalog, watch.instance)

    assert watch.instance.get_dynamic_partitions("backend") == ["sky"]


def test_nothing_new_is_a_reason_to_skip(watch, cloud):
    watch.tick()

    assert watch.tick().skipped == "every cell that was compared matches the catalog"


def test_a_missing_catalog_is_a_reason_to_skip_that_says_what_to_do(watch, tmp_path, monkeypatch):
    monkeypatch.setenv("CATALOGSYNC_DB", str(tmp_path / "absent.db"))

    reason = watch.tick().skipped or ""

    assert f"there is no catalog at {tmp_path / 'absent.db'}" in reason
    assert "catalogsync init" in reason
    assert not (tmp_path / "absent.db").exists()


def test_a_catalog_that_was_made_meanwhile_is_found_by_the_next_tick(
    watch, catalog, cloud, tmp_path, monkeypatch
):
    monkeypatch.setenv("CATALOGSYNC_DB", str(tmp_path / "absent.db"))
    watch.tick()
    monkeypatch.setenv("CATALOGSYNC_DB", str(catalog.path))

    assert watch.tick().added == {"backend": ["cloud"]}


def test_every_automated_asset_has_one_sensor_of_its_own():
    graph = defs.resolve_asset_graph()
    automated = {k for k in graph.get_all_asset_keys() if graph.get(k).automation_condition}

    targets = [
        sensor.asset_selection.resolve(graph)
        for sensor in defs.sensors or []
        if isinstance(sensor, dg.AutomationConditionSensorDefinition)
    ]

    assert all(len(keys) == 1 for keys in targets)
    assert sorted(key for keys in targets for key in keys) == sorted(automated)
    assert {key.to_user_string() for key in automated} == {
        "pending_uploads",
        "remote_locations",
        "backend_presence",
    }


def test_the_sensors_run_without_anyone_starting_them():
    assert {sensor.default_status for sensor in defs.sensors or []} == {
        dg.DefaultSensorStatus.RUNNING
    }
