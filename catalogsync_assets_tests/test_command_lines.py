"""Dagster's own commands, from the project's folder and without flags.

They are slow to start, so each is run once, when a test first asks how it ended. Where `dagster`
and `dg` do the same by the same code, one of them is for `make test-thorough`.
"""

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import dagster as dg
import pytest

from catalogsync_assets.assets.partitions import register_keys
from catalogsync_assets.assets.remote_locations import UPLOAD_POOL
from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.stores.backend import ObjectBackend
from catalogsync_assets_tests.support.database import rows

PROJECT = Path(__file__).parents[1]
MODULE = ("-m", "catalogsync_assets.definitions")
ASSETS = {
    "downloaded_files",
    "pending_uploads",
    "remote_locations",
    "backend_presence",
    "backend_audit",
    "catalog_backup",
}
#: Of Python's `file:line: Category: message`, those whose file or message is ours.
OUR_WARNING = re.compile(r"^.*(?:catalogsync\S*:\d+: \w*Warning|Warning: .*catalogsync).*$", re.M)


@dataclass
class Outcome:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        return self.out + self.err


@dataclass
class Project:
    """A catalog with two batches, backends, and a DAGSTER_HOME that knows them.

    Attributes:
        first, second: the batches, of three and of two files.
    """

    home: Path
    catalog: Path
    library: Path
    first: str
    second: str
    cloud: ObjectBackend
    environment: dict[str, str]
    outcomes: dict[str, Outcome] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Outcome:
        """How a command ended."""
        if name not in self.outcomes:
            self.outcomes[name] = self._run(name, *self.commands()[name])
        return self.outcomes[name]

    def commands(self) -> dict[str, tuple[str, ...]]:
        """The commands by name. None of them is in the way of another, in whatever order."""
        materialize = ("dagster", "asset", "materialize", *MODULE, "--select")
        return {
            "upload": (*materialize, "remote_locations", "--partition", f"cloud|{self.first}"),
            "launch-upload": (
                *("dg", "launch", "--assets", "remote_locations"),
                *("--partition", f"cloud|{self.second}"),
            ),
            "failing": (*materialize, "remote_locations", "--partition", f"locked|{self.first}"),
            "launch-scan": ("dg", "launch", "--assets", "downloaded_files"),
            "validate": ("dagster", "definitions", "validate"),
            "check": ("dg", "check", "defs"),
            "list": ("dg", "list", "defs", "--json"),
            "asset-list": ("dagster", "asset", "list", *MODULE),
            "set-limit": ("dagster", "instance", "concurrency", "set", UPLOAD_POOL, "8"),
            "homeless": (*materialize, "pending_uploads", "--partition", "cloud"),
        }

    def _run(self, name: str, *command: str) -> Outcome:
        bin_folder = Path(sys.executable).parent
        environment = {
            **self.environment,
            "PATH": os.pathsep.join([str(bin_folder), os.environ.get("PATH", "")]),
            "VIRTUAL_ENV": sys.prefix,  # as if it had been activated
            "HOME": str(self.home.parent),
            "PYTHONWARNINGS": "default",
            "CATALOGSYNC_DB": str(self.catalog),
            "CATALOGSYNC_LIBRARY_ROOTS": str(self.library),
            "DAGSTER_HOME": str(self.home),
        }
        if name == "homeless":
            del environment["DAGSTER_HOME"]
        done = subprocess.run(
            [str(bin_folder / command[0]), *command[1:]],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=PROJECT,
            env=environment,
            check=False,
        )
        return Outcome(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def project(tmp_path_factory, store):
    """Asking for a command runs it."""
    folder = tmp_path_factory.mktemp("project")
    library = folder / "music"
    library.mkdir()
    catalog, _ = Catalog.initialise(folder / "catalog.db")
    common = {"bucket": store.bucket, "endpoint": store.endpoint}
    backends = {
        name: register(
            catalog,
            ObjectBackend(
                name=name,
                base_prefix=f"command-lines/{name}",
                credential_env_prefix="NOBODY" if name == "locked" else "CLOUD",
                **common,
            ),
        )[0]
        for name in ("cloud", "locked")
    }
    batches = []
    for count in (3, 2):
        for number in range(count):
            (library / f"{count}{number}.mp3").write_bytes(bytes([count, number]) * 1000)
        batches += scan(catalog, [library]).batches

    home = folder / "home"
    home.mkdir()
    shipped = resources.files("catalogsync_assets.automation") / "dagster.yaml"
    (home / "dagster.yaml").write_text(shipped.read_text())
    with dg.DagsterInstance.from_config(str(home)) as instance:
        register_keys(catalog, instance)
        instance.get_runs(limit=1)
        instance.all_instigator_state()
    (library / "new.mp3").write_bytes(b"new" * 1000)
    catalog.close()
    foreign = ("AWS_", "CATALOGSYNC_", "DAGSTER_")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(foreign)} | {
        "AWS_EC2_METADATA_DISABLED": "true",
        "CLOUD_ACCESS_KEY_ID": store.access_key_id,
        "CLOUD_SECRET_ACCESS_KEY": store.secret_access_key,
    }
    return Project(home, catalog.path, library, *batches, backends["cloud"], environment)


@pytest.fixture
def instance(project):
    with dg.DagsterInstance.from_config(str(project.home)) as instance:
        yield instance


def runs_of(instance: dg.DagsterInstance, cell: str) -> list[dg.DagsterRun]:
    return instance.get_runs(dg.RunsFilter(tags={"dagster/partition": cell}))


# --- looking ------------------------------------------------------------------------------------


def test_the_definitions_validate(project):
    """Of `workspace.yaml`, `automation/test_runs.py` has a web server run them."""
    assert project["validate"].code == 0, project["validate"].text
    assert "All code locations passed validation" in project["validate"].text
    assert "code location catalogsync." in project["validate"].text


@pytest.mark.thorough
def test_dg_check_finds_nothing_wrong(project):
    assert project["check"].code == 0, project["check"].text
    assert "All definitions loaded successfully" in project["check"].text


def test_dg_lists_every_asset_job_schedule_and_sensor(project):
    assert project["list"].code == 0, project["list"].text

    listed = json.loads(project["list"].out)

    assert {asset["asset_key"] for asset in listed["assets"]} == ASSETS
    assert {"scan_library", "upload_batch"} <= {job["name"] for job in listed["jobs"]}
    assert [schedule["name"] for schedule in listed["schedules"]] == [
        "monthly_prune",
        "nightly_backup",
        "nightly_scan",
        "weekly_audit",
    ]
    assert {"catalog_partitions", "automate_remote_locations"} <= {
        sensor["name"] for sensor in listed["sensors"]
    }


@pytest.mark.thorough
def test_dagster_lists_the_assets(project):
    assert project["asset-list"].code == 0, project["asset-list"].text
    assert set(project["asset-list"].out.split()) == ASSETS


def test_the_limit_of_the_pool_can_be_set(project, instance):
    assert project["set-limit"].code == 0, project["set-limit"].text

    limits = {pool.name: pool.limit for pool in instance.event_log_storage.get_pool_limits()}
    assert limits[UPLOAD_POOL] == 8


# --- materializing ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["upload", pytest.param("launch-upload", marks=pytest.mark.thorough)]
)
def test_a_cell_is_uploaded_by_steps_in_processes_of_their_own(project, instance, remote, name):
    assert project[name].code == 0, project[name].text
    batch, count = (project.first, 3) if name == "upload" else (project.second, 2)
    files = [f"{count}{number}.mp3" for number in range(count)]

    for table, place in (
        ("file_locations", "backend_id = {} AND locator"),
        ("upload_tasks", "target_backend_id = {} AND target_locator"),
    ):
        found = rows(
            project.catalog,
            f"SELECT status FROM {table} WHERE {place.format(project.cloud.id)} LIKE ?",
            f"{project.cloud.key_prefix}{count}%",
        )
        assert found == [{"file_locations": "active", "upload_tasks": "succeeded"}[table]] * count
    for file in files:
        assert remote(project.cloud).get(file) == (project.library / file).read_bytes()
    cell = f"cloud|{batch}"
    assert cell in instance.get_materialized_partitions(dg.AssetKey("remote_locations"))
    (run,) = runs_of(instance, cell)
    started = instance.all_logs(run.run_id, dg.DagsterEventType.STEP_WORKER_STARTED)
    assert len(started) == 3  # the plan, a chunk, the finish


def test_a_cell_that_fails_ends_its_command_with_an_error_and_the_reason(project, instance):
    failing = project["failing"]

    assert failing.code == 1
    assert "backend 'locked' has no credentials" in failing.text
    assert "set NOBODY_ACCESS_KEY_ID and NOBODY_SECRET_ACCESS_KEY" in failing.text
    cell = f"locked|{project.first}"
    assert [run.status for run in runs_of(instance, cell)] == [dg.DagsterRunStatus.FAILURE]
    assert cell not in instance.get_materialized_partitions(dg.AssetKey("remote_locations"))


def test_a_scan_adds_a_batch_for_the_commands_that_follow(project, instance):
    assert project["launch-scan"].code == 0, project["launch-scan"].text

    keys = rows(project.catalog, "SELECT key FROM batches ORDER BY key")
    assert len(keys) == 3
    assert sorted(instance.get_dynamic_partitions("batch")) == keys


def test_without_a_dagster_home_one_is_told_to_set_it(project):
    """Dagster keeps no partitions then, and would say no more than that it does not know this."""
    assert project["homeless"].code == 2

    said = project["homeless"].text.strip().splitlines()[-1]
    assert said.startswith("Error: partition 'cloud' is unknown: DAGSTER_HOME is not set")
    assert "export DAGSTER_HOME=" in project["homeless"].text
    assert "Traceback" not in project["homeless"].text


# --- all of them --------------------------------------------------------------------------------


@pytest.fixture
def ended(project):
    """How they ended: all but those that no test of an ordinary run asks for."""
    thorough = {"check", "asset-list", "launch-upload"}
    for name in project.commands().keys() - thorough:
        assert project[name]
    return project.outcomes


def test_no_command_warns_of_our_code(ended):
    warnings = {name: OUR_WARNING.findall(outcome.text) for name, outcome in ended.items()}

    assert {name: found for name, found in warnings.items() if found} == {}


def test_no_command_prints_or_stores_a_secret(project, ended, store):
    secret = store.secret_access_key
    kept = [path for path in project.home.parent.rglob("*") if path.is_file()]

    assert not [name for name, outcome in ended.items() if secret in outcome.text]
    assert not [path for path in kept if secret.encode() in path.read_bytes()]
