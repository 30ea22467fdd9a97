"""The sensors: new keys become partitions, and each condition is looked at by one sensor."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from catalogsync_assets.definitions import defs
from catalogsync_assets.resources import CatalogResource


@pytest.fixture
def instance(catalog, monkeypatch):
    monkeypatch.setenv("CATALOGSYNC_DB", str(catalog.path))
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def tick(instance: dg.DagsterInstance) -> dict[str, list[str]] | str:
    """The keys that a tick asks Dagster to add, and adds, as the daemon does; or why none."""
    resources = {"catalog": CatalogResource()}
    with dg.build_sensor_context(instance, resources=resources) as context:
        answer = defs.resolve_sensor_def("catalog_partitions").evaluate_tick(context)
    assert answer.run_requests == []
    requests = {r.partitions_def_name: list(r.partition_keys) for r in requested(answer)}
    for name, keys in requests.items():
        instance.add_dynamic_partitions(name, keys)
    return requests or answer.skip_message or ""


def requested(answer: Any) -> list[dg.AddDynamicPartitionsRequest]:
    found = list(answer.dynamic_partitions_requests or [])
    assert all(isinstance(r, dg.AddDynamicPartitionsRequest) for r in found)
    return found


def test_backends_and_batches_of_the_command_line_become_partitions(
    instance, backend, library, scanned
):
    backend("one")
    assert tick(instance) == {"backend": ["one"]}

    backend("two")
    library.fill(1)
    (batch,) = scanned().batches
    assert tick(instance) == {"backend": ["two"], "batch": [batch]}

    library.add("later.mp3")
    (batch,) = scanned().batches
    assert tick(instance) == {"batch": [batch]}


def test_nothing_new_is_a_reason_to_skip(instance, cloud):
    tick(instance)

    assert tick(instance) == "every cell that was compared is as the catalog says"


def test_a_missing_catalog_is_a_reason_to_skip_that_says_what_to_do(
    instance, tmp_path, monkeypatch
):
    monkeypatch.setenv("CATALOGSYNC_DB", str(tmp_path / "absent.db"))

    reason = tick(instance)

    assert f"there is no catalog at {tmp_path / 'absent.db'}" in reason
    assert "catalogsync init" in reason
    assert not (tmp_path / "absent.db").exists()


def test_a_catalog_that_was_made_meanwhile_is_found_by_the_next_tick(
    instance, catalog, cloud, tmp_path, monkeypatch
):
    monkeypatch.setenv("CATALOGSYNC_DB", str(tmp_path / "absent.db"))
    tick(instance)
    monkeypatch.setenv("CATALOGSYNC_DB", str(catalog.path))

    assert tick(instance) == {"backend": ["cloud"]}


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
