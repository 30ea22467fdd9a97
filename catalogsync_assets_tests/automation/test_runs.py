"""Runs as the web UI starts, cancels and retries them: in processes of their own.

One web server for all tests; its runs start at once, as there is no daemon that would queue them.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from catalogsync_assets.assets.partitions import register_keys
from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.stores.backend import OWN_FOLDER, ObjectBackend
from catalogsync_assets.core.stores.probe.session import TEST_PREFIX
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.proxy import Gate, Proxy, refusal
from catalogsync_assets_tests.support.waiting import PATIENCE

PROJECT = Path(__file__).parents[2]
JOB = {
    "repositoryLocationName": "catalogsync",
    "repositoryName": "__repository__",
    "jobName": "upload_batch",
}
#: More than a process claims at a time, so that each of three has some.
MANY = 1200


class Deployment:
    """A web server with its instance, a catalog of two batches, and a store behind a proxy.

    Attributes:
        few, many: the batches, of 5 and of `MANY` files.
    """

    def __init__(self, folder: Path, home: Path, proxy: Proxy, bucket: str) -> None:
        self.proxy = proxy
        self.bucket = bucket
        self.home = home
        self.library = folder / "music"
        self.catalog, _ = Catalog.initialise(folder / "catalog.db")
        self.instance = dg.DagsterInstance.from_config(str(home))
        self.few, self.many = (self._batch(name, count) for name, count in SIZES.items())
        with socket.create_server(("127.0.0.1", 0)) as server:
            self._port = server.getsockname()[1]
        self.environment = {
            **os.environ,
            "CATALOGSYNC_DB": str(self.catalog.path),
            "CLOUD_ACCESS_KEY_ID": "demo",
            "CLOUD_SECRET_ACCESS_KEY": "a-secret-that-nobody-may-see",
            "AWS_EC2_METADATA_DISABLED": "true",
            "DAGSTER_HOME": str(home),
        }
        self._log = (folder / "webserver.log").open("w")
        self._server = subprocess.Popen(
            [
                *(sys.executable, "-m", "dagster_webserver", "-w", "workspace.yaml"),
                *("-h", "127.0.0.1", "-p", str(self._port)),
            ],
            cwd=PROJECT,
            env=self.environment,
            stdout=self._log,
            stderr=self._log,
        )

    def _batch(self, name: str, count: int) -> str:
        (self.library / name).mkdir(parents=True)
        for number in range(count):
            (self.library / name / f"{number:04d}.mp3").write_bytes(f"{name} {number}".encode())
        (batch,) = scan(self.catalog, [self.library]).batches
        return batch

    def close(self) -> None:
        self._server.terminate()
        self._server.wait()
        self._log.close()
        self.instance.dispose()
        self.catalog.close()

    def backend(self, name: str) -> ObjectBackend:
        """A new backend behind the proxy, for four files at a time."""
        made, _ = register(
            self.catalog,
            ObjectBackend(
                name=name,
                bucket=self.bucket,
                endpoint=self.proxy.endpoint,
                base_prefix=f"runs/{name}",
                credential_env_prefix="CLOUD",
                provider="seaweedfs",
                workers=4,
            ),
        )
        register_keys(self.catalog, self.instance)
        return made

    def gate(self, backend: ObjectBackend) -> Gate:
        """Holds the puts of a backend, until it is opened."""
        prefix = backend.key_prefix
        return Gate(
            self.proxy,
            lambda r: r.method == "PUT" and r.key.startswith(prefix),
        )

    def puts(self, backend: ObjectBackend) -> Counter[str]:
        """How often each of its files was put."""
        prefix = backend.key_prefix
        keys = [r.key for r in self.proxy.of("PUT") if r.key.startswith(prefix)]
        own = (TEST_PREFIX, OWN_FOLDER)
        return Counter(k.removeprefix(prefix) for k in keys if not any(o in k for o in own))

    def ask(self, query: str, **variables: Any) -> Any:
        """The answer of the one mutation or query, as the UI gets it."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/graphql",
            json.dumps({"query": query, "variables": variables}).encode(),
            {"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            told = json.load(answer)
        assert "errors" not in told, told
        (found,) = told["data"].values()
        return found

    def wait_for_server(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                self.ask("{ version }")
            except OSError:
                assert self._server.poll() is None, Path(self._log.name).read_text()
                assert time.monotonic() < deadline
                time.sleep(0.1)
            else:
                return

    def launch(self, backend: ObjectBackend, batch: str) -> str:
        """Start a run of a cell; its id."""
        tags = {
            "dagster/partition": f"{backend.name}|{batch}",
            "dagster/partition/backend": backend.name,
            "dagster/partition/batch": batch,
        }
        return self._started(
            "mutation($p: ExecutionParams!) { launchRun(executionParams: $p)",
            selector=JOB,
            runConfigData={},
            executionMetadata={"tags": [{"key": k, "value": v} for k, v in tags.items()]},
        )

    def retry(self, run_id: str) -> str:
        """What the UI calls `Re-execute from failure`; the id of the new run."""
        return self._started(
            "mutation($p: ReexecutionParams!) { launchRunReexecution(reexecutionParams: $p)",
            parentRunId=run_id,
            strategy="FROM_FAILURE",
        )

    def _started(self, mutation: str, **parameters: Any) -> str:
        told = self.ask(
            mutation + " { __typename ... on LaunchRunSuccess { run { runId } }"
            " ... on PythonError { message } } }",
            p=parameters,
        )
        assert told["__typename"] == "LaunchRunSuccess", told
        return str(told["run"]["runId"])

    def terminate(self, run_id: str) -> None:
        told = self.ask(
            "mutation($id: String!) { terminateRun(runId: $id) { __typename } }", id=run_id
        )
        assert told["__typename"] == "TerminateRunSuccess", told

    def end_of(self, run_id: str) -> dg.DagsterRunStatus:
        """How a run ended; waits for it."""
        deadline = time.monotonic() + PATIENCE
        while True:
            run = self.instance.get_run_by_id(run_id)
            if run.is_finished:
                return run.status
            assert time.monotonic() < deadline, f"the run is still {run.status}"
            time.sleep(0.05)

    def text_of(self, run_id: str) -> str:
        return "\n".join(event.to_json() for event in self.instance.all_logs(run_id))

    def whole(self) -> set[str]:
        return self.instance.get_materialized_partitions(dg.AssetKey("remote_locations"))


SIZES = {"few": 5, "many": MANY}


@pytest.fixture(scope="module")
def deployment(tmp_path_factory, store, blank_dagster_home):
    folder = tmp_path_factory.mktemp("deployment")
    home = Path(shutil.copytree(blank_dagster_home, folder / "home"))
    settings = yaml.safe_load((home / "dagster.yaml").read_text())
    # There is no daemon to take runs from a queue.
    del settings["concurrency"]["runs"]
    settings["run_coordinator"] = {
        "module": "dagster._core.run_coordinator",
        "class": "DefaultRunCoordinator",
    }
    (home / "dagster.yaml").write_text(yaml.safe_dump(settings))
    with closing(Proxy(store.endpoint)) as proxy:
        made = Deployment(folder, home, proxy, store.bucket)
        with closing(made):
            made.wait_for_server()
            yield made


def statuses(deployment: Deployment, backend: ObjectBackend) -> Counter[str]:
    return Counter(
        rows(
            deployment.catalog,
            "SELECT status FROM upload_tasks WHERE target_backend_id = ?",
            backend.id,
        )
    )


def test_a_run_that_is_cancelled_ends_though_its_store_hangs_and_leaves_nothing_stuck(
    deployment, remote
):
    hanging = deployment.backend("hanging")
    gate = deployment.gate(hanging)
    run_id = deployment.launch(hanging, deployment.few)
    gate.wait_for(4)
    assert statuses(deployment, hanging) == {"running": 5}

    deployment.terminate(run_id)

    try:
        assert deployment.end_of(run_id) == dg.DagsterRunStatus.CANCELED
        assert statuses(deployment, hanging) == {"pending": 5}
    finally:
        gate.open()
    again = deployment.launch(hanging, deployment.few)
    assert deployment.end_of(again) == dg.DagsterRunStatus.SUCCESS
    assert statuses(deployment, hanging) == {"succeeded": 5}
    assert len(remote(hanging).keys()) == 5
    assert f"hanging|{deployment.few}" in deployment.whole()


def test_a_run_that_failed_sends_only_what_is_left_when_it_is_retried(deployment, remote):
    picky = deployment.backend("picky")
    refused = {f"{picky.key_prefix}few/{number:04d}.mp3" for number in (1, 3)}
    rule = lambda r: refusal(400, "InvalidArgument") if r.key in refused else None  # noqa: E731
    deployment.proxy.before.append(rule)
    run_id = deployment.launch(picky, deployment.few)
    assert deployment.end_of(run_id) == dg.DagsterRunStatus.FAILURE
    assert "2 of 5 files could not be uploaded" in deployment.text_of(run_id)
    assert statuses(deployment, picky) == {"succeeded": 3, "failed": 2}
    first = deployment.puts(picky)
    deployment.proxy.before.remove(rule)

    again = deployment.retry(run_id)

    assert deployment.end_of(again) == dg.DagsterRunStatus.SUCCESS
    assert deployment.puts(picky) - first == {"few/0001.mp3": 1, "few/0003.mp3": 1}
    assert len(remote(picky).keys()) == 5
    assert f"picky|{deployment.few}" in deployment.whole()


def test_two_runs_and_a_command_at_once_send_no_file_twice(deployment, remote, start_command):
    shared = deployment.backend("shared")
    gate = deployment.gate(shared)
    runs = [deployment.launch(shared, deployment.many) for _ in range(2)]
    command = start_command(
        *("upload", "--backend", "shared", "--json", "--db", deployment.catalog.path)
    )
    gate.wait_for(12)  # four of each
    gate.open()

    out, errors = command.communicate()
    ends = [deployment.end_of(run_id) for run_id in runs]

    assert command.returncode == 0, errors
    assert json.loads(out)["succeeded"] >= 4
    sent = deployment.puts(shared)
    assert len(sent) == MANY + SIZES["few"]  # the command sends the other batch, too
    assert set(sent.values()) == {1}
    assert set(statuses(deployment, shared)) == {"succeeded"}
    # One that is done while others still have files of the cell says so; the last finds it whole.
    for run_id, end in zip(runs, ends, strict=True):
        if end != dg.DagsterRunStatus.SUCCESS:
            assert "another program is uploading it" in deployment.text_of(run_id)
    assert len(remote(shared).keys()) == len(sent)
