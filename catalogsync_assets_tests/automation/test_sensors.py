"""The sensors: new keys become partitions, and each condition is looked at by one sensor."""

import dagster as dg

from catalogsync_assets.definitions import defs


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
