"""The asset graph on a Dagster instance, run in this process by its own jobs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from catalogsync_assets.definitions import build_defs
from catalogsync_assets.resources import ObjectStoreResource

from ..conftest import Library

JOBS = {
    "downloaded_files": "scan_library",
    "pending_uploads": "plan_uploads",
    "remote_locations": "upload_batch",
    "backend_presence": "refresh_presence",
    "backend_audit": "audit_backend",
    "catalog_backup": "back_up_catalog",
}


def plain(value: dg.MetadataValue) -> Any:
    """A figure or a text as it is, a table as the list of its rows."""
    if isinstance(value, dg.TableMetadataValue):
        return [record.data for record in value.records]
    return getattr(value, "value", value)


def plain_metadata(metadata: Mapping[str, dg.MetadataValue]) -> dict[str, Any]:
    return {name: plain(value) for name, value in metadata.items()}


class Run:
    """How a run ended.

    Attributes:
        success: whether it did what it should.
        metadata: of the one asset that it materialized.
        text: every event of it, as Dagster keeps them.
        retries: steps that were tried again.
        done: keys of the steps that succeeded.
    """

    def __init__(self, result: dg.ExecuteInProcessResult, instance: dg.DagsterInstance) -> None:
        self.id = result.run_id
        self.success = result.success
        self.tags = result.dagster_run.tags
        self.events = instance.all_logs(result.run_id)
        self.text = "\n".join(event.to_json() for event in self.events)
        self.retries = len(instance.all_logs(result.run_id, dg.DagsterEventType.STEP_UP_FOR_RETRY))
        self.done = [event.step_key for event in result.get_step_success_events()]
        self._result = result

    @property
    def metadata(self) -> dict[str, Any]:
        (event,) = self._result.get_asset_materialization_events()
        return plain_metadata(event.materialization.metadata)

    @property
    def observation(self) -> dict[str, Any]:
        """The metadata of the one observation, of a run that materialized nothing."""
        assert self.success
        assert self._result.get_asset_materialization_events() == []
        (event,) = self._result.get_asset_observation_events()
        observed = event.asset_observation_data.asset_observation
        assert observed.partition == self.tags["dagster/partition"]
        return plain_metadata(observed.metadata)

    @property
    def checks(self) -> dict[str, dg.AssetCheckEvaluation]:
        """The verdicts of the asset checks, by name."""
        return {c.check_name: c for c in self._result.get_asset_check_evaluations()}

    @property
    def failure(self) -> tuple[str, dict[str, Any]]:
        """What the one step that failed says of it: its description, and its metadata."""
        assert not self.success
        (event,) = self._result.get_step_failure_events()
        said = event.step_failure_data.user_failure_data
        assert said is not None, event.step_failure_data.error
        assert said.description is not None
        return said.description, plain_metadata(said.metadata)


class Pipeline:
    """Materializes assets, one a run, as the UI would."""

    def __init__(self, instance: dg.DagsterInstance, library: Library) -> None:
        self.instance = instance
        self._library = library

    def fill(self, count: int, **how: Any) -> list[Path]:
        """So many files come to the library, and it is scanned."""
        files = self._library.fill(count, **how)
        assert self.scan().success
        return files

    def run(
        self,
        asset: str,
        partition: str | None = None,
        *,
        config: dict[str, Any] | None = None,
        **limits: int,
    ) -> Run:
        stores = ObjectStoreResource(**({"workers": 4, "attempts": 1} | limits))
        job = build_defs({"object_stores": stores}).resolve_job_def(JOBS[asset])
        result = job.execute_in_process(
            instance=self.instance,
            partition_key=partition,
            run_config={"ops": config or {}},
            raise_on_error=False,
        )
        return Run(result, self.instance)

    def scan(self, **config: Any) -> Run:
        return self.run("downloaded_files", config={"downloaded_files": {"config": config}})

    def plan(self, backend: str = "cloud", **config: Any) -> Run:
        return self.run("pending_uploads", backend, config={"pending_uploads": {"config": config}})

    def upload(
        self,
        backend: str = "cloud",
        batch: str | None = None,
        *,
        config: dict[str, Any] | None = None,
        **limits: int,
    ) -> Run:
        """Bring a batch, by default the only one, to a backend."""
        if batch is None:
            (batch,) = self.keys("batch")
        return self.run(
            "remote_locations",
            f"{backend}|{batch}",
            config={"remote_locations": {"config": config or {}}},
            **limits,
        )

    def presence(self, backend: str = "cloud") -> Run:
        return self.run("backend_presence", backend)

    def audit(self, backend: str = "cloud", **config: Any) -> Run:
        return self.run("backend_audit", backend, config={"backend_audit": {"config": config}})

    def backup(self, backend: str = "cloud") -> Run:
        return self.run("catalog_backup", backend)

    def check(self, asset: str, name: str, partition: str | None = None) -> Any:
        """Run a check by itself, as the UI's button does; its verdict."""
        key = dg.AssetCheckKey(dg.AssetKey(asset), name)
        job = build_defs().resolve_implicit_global_asset_job_def()
        subset = job.get_subset(asset_selection=set(), asset_check_selection={key})
        # As a tag: Dagster takes the partitions of a run from its assets, and here are none.
        tags = {"dagster/partition": partition} if partition else {}
        result = subset.execute_in_process(instance=self.instance, tags=tags)
        (verdict,) = result.get_asset_check_evaluations()
        return verdict

    def keys(self, dimension: str) -> list[str]:
        """The partitions that Dagster knows."""
        return sorted(self.instance.get_dynamic_partitions(dimension))

    def cells(self) -> set[str]:
        """The cells that count as materialized."""
        return self.instance.get_materialized_partitions(dg.AssetKey("remote_locations"))


@pytest.fixture
def pipeline(catalog, library, monkeypatch):
    """The asset graph for `catalog` and `library`; its steps are retried without a wait."""
    monkeypatch.setattr(dg.RetryPolicy, "calculate_delay", lambda *_: 0.0)
    monkeypatch.setenv("CATALOGSYNC_DB", str(catalog.path))
    monkeypatch.setenv("CATALOGSYNC_LIBRARY_ROOTS", str(library.root))
    with dg.DagsterInstance.ephemeral() as instance:
        yield Pipeline(instance, library)


@pytest.fixture
def in_place(library, remote):
    """`in_place(backend)`: the store holds the library's files, byte for byte, nothing else."""
    return lambda backend: remote(backend).contents() == library.contents()


@pytest.fixture
def use_library(monkeypatch):
    """`use_library(root)`: the environment names this root instead."""
    return lambda root: monkeypatch.setenv("CATALOGSYNC_LIBRARY_ROOTS", str(root))
