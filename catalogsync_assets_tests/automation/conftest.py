"""A Dagster instance, and what its daemon would do with the sensor `catalog_partitions`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import dagster as dg
import pytest

from catalogsync_assets.assets import partitions
from catalogsync_assets.core.catalog.locations import mark
from catalogsync_assets.definitions import build_defs
from catalogsync_assets.resources import CatalogResource, ObjectStoreResource
from catalogsync_assets_tests.support.database import rows

CELLS = dg.AssetKey("remote_locations")
DEFS = build_defs({"object_stores": ObjectStoreResource(workers=2, attempts=1)})


def cell_key(cell: str) -> dg.MultiPartitionKey:
    backend, _, batch = cell.partition("|")
    return dg.MultiPartitionKey({"backend": backend, "batch": batch})


def started_run(
    instance: dg.DagsterInstance, job: str, asset: str, partition: str
) -> dg.DagsterRun:
    """A run that has been launched and is on its way."""
    tags = {"dagster/partition": partition}
    if "|" in partition:
        parts = cell_key(partition).keys_by_dimension
        tags |= {f"dagster/partition/{name}": key for name, key in parts.items()}
    return instance.create_run_for_job(
        DEFS.resolve_job_def(job),
        status=dg.DagsterRunStatus.STARTED,
        tags=tags,
        asset_selection=frozenset([dg.AssetKey(asset)]),
    )


@dataclass
class Tick:
    """What a tick of the sensor did."""

    reported: list[str] = field(default_factory=list)
    requested: list[dg.RunRequest] = field(default_factory=list)
    added: dict[str, list[str]] = field(default_factory=dict)
    taken_out: dict[str, list[str]] = field(default_factory=dict)
    skipped: str | None = None

    @property
    def runs_for(self) -> list[str | None]:
        return [request.partition_key for request in self.requested]


class Watch:
    """A Dagster instance, and the sensor as its daemon would tick it, with its cursor.

    Events and new keys are written as the daemon does it; runs are for the test to carry out.
    """

    def __init__(self, instance: dg.DagsterInstance, ref: Any) -> None:
        self.instance = instance
        self._ref = ref
        self.cursor: str | None = None

    def tick(self) -> Tick:
        sensor = DEFS.resolve_sensor_def("catalog_partitions")
        with dg.build_sensor_context(
            self.instance,
            instance_ref=self._ref,
            definitions=DEFS,
            resources={"catalog": CatalogResource()},
            cursor=self.cursor,
        ) as context:
            answer = sensor.evaluate_tick(context)
        done = Tick(requested=list(answer.run_requests or []), skipped=answer.skip_message)
        for event in answer.asset_events:
            self.instance.report_runless_asset_event(event)
            done.reported.append(str(event.partition))
        for keys in answer.dynamic_partitions_requests or []:
            name = keys.partitions_def_name
            if isinstance(keys, dg.AddDynamicPartitionsRequest):
                self.instance.add_dynamic_partitions(name, list(keys.partition_keys))
                done.added[name] = list(keys.partition_keys)
            else:
                for key in keys.partition_keys:
                    self.instance.delete_dynamic_partition(name, key)
                done.taken_out[name] = list(keys.partition_keys)
        self.cursor = answer.cursor
        return done

    def rests(self) -> None:
        """Three ticks find nothing to do."""
        for _ in range(3):
            done = self.tick()
            assert (done.reported, done.requested) == ([], [])

    def settle(self) -> None:
        """Tick until the sensor rests."""
        for _ in range(10):
            if "nothing has changed" in (self.tick().skipped or ""):
                return
        raise AssertionError("it never rests")

    def carry_out(self, request: dg.RunRequest) -> bool:
        result = DEFS.resolve_job_def("upload_batch").execute_in_process(
            instance=self.instance,
            partition_key=request.partition_key,
            tags=request.tags,
            raise_on_error=False,
        )
        return result.success

    def started(self, cell: str) -> dg.DagsterRun:
        """A run of the cell that is on its way."""
        return started_run(self.instance, "upload_batch", "remote_locations", cell)

    def status(self, cell: str) -> str | None:
        found = self.instance.get_status_by_partition(CELLS, [cell], partitions.cells) or {}
        status = found.get(cell)
        return status and status.value


@pytest.fixture(scope="module")
def ref(blank_dagster_home):
    """Without the name of a lasting instance, Dagster does not ask any for partitions."""
    with dg.DagsterInstance.from_config(str(blank_dagster_home)) as instance:
        return instance.get_ref()


@pytest.fixture
def watch(catalog, ref, monkeypatch):
    monkeypatch.setenv("CATALOGSYNC_DB", str(catalog.path))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watch(instance, ref)


@pytest.fixture
def filled(watch, cloud, library, scanned, uploaded):
    """A cell of three files that is whole and green, and a sensor that rests."""
    library.fill(3)
    (batch,) = scanned().batches
    uploaded(cloud)
    watch.settle()
    assert watch.status(f"cloud|{batch}") == "MATERIALIZED"
    return watch, f"cloud|{batch}"


@pytest.fixture
def lose(catalog, remote):
    """`lose(backend, count)`: so many objects go, and a verification finds it."""

    def run(backend, count=1):
        gone = rows(
            catalog,
            "SELECT id, locator FROM file_locations WHERE backend_id = ? AND status = 'active'"
            " ORDER BY locator LIMIT ?",
            backend.id,
            count,
        )
        for _, locator in gone:
            remote(backend).delete(locator.removeprefix(backend.key_prefix))
        assert mark(catalog, [location for location, _ in gone], "lost") == count

    return run
