"""The code location as a whole."""

import json
import re
from pathlib import Path

import dagster as dg
import pytest

from catalogsync_assets.automation.schedules import JOBS
from catalogsync_assets.definitions import build_defs, defs
from catalogsync_assets.resources import CatalogResource
from catalogsync_assets_tests.support.database import rows

PROJECT = Path(__file__).parents[1]
# Imports the definitions with every warning an error, and tells what that did: databases opened,
# connections made, clients built, threads started. Then does such things, to show that they are
# seen.
IMPORT = """
import gc, json, sys, threading, warnings

events = []

def hook(event, arguments):
    if event in ("sqlite3.connect", "socket.connect", "socket.getaddrinfo"):
        events.append(event)
    # A boto3 client is built from the description of its service.
    if event == "open" and "botocore" in str(arguments[0]) and "service-2" in str(arguments[0]):
        events.append("service-2")

def seen():
    objects = gc.get_objects()
    objects += [one for some in objects for one in gc.get_referents(some)]
    clients = {type(one).__name__ for one in objects if isinstance(one, (BaseClient, S3Store))}
    return sorted({*events, *clients, *(thread.name for thread in threading.enumerate()[1:])})

sys.addaudithook(hook)
warnings.simplefilter("error")
from catalogsync_assets.definitions import defs

from botocore.client import BaseClient
from obstore.store import S3Store
print(json.dumps(seen()))

import boto3, sqlite3
kept = [
    sqlite3.connect(":memory:"),
    boto3.client("s3", region_name="us-east-1"),
    S3Store("music", region="us-east-1"),
    threading.Thread(target=threading.Event().wait, name="a thread", daemon=True),
]
kept[-1].start()
print(json.dumps(seen()))
"""


def test_every_definition_can_be_loaded():
    dg.Definitions.validate_loadable(defs)


def test_importing_it_warns_of_nothing_builds_no_client_and_opens_no_database(run_python, tmp_path):
    done = run_python(IMPORT, CATALOGSYNC_DB=str(tmp_path / "catalog.db"))

    assert (done.code, done.err) == (0, "")
    at_import, afterwards = (json.loads(line) for line in done.out.splitlines())
    assert at_import == []
    assert {"sqlite3.connect", "service-2", "S3", "S3Store", "a thread"} <= set(afterwards)
    assert list(tmp_path.iterdir()) == []


def test_every_asset_says_what_it_is_whose_it_is_and_of_which_version():
    for spec in defs.resolve_all_asset_specs():
        name = spec.key.to_user_string()
        assert spec.description, name
        assert spec.group_name in ("library", "uploads", "presence"), name
        assert spec.owners == ["team:library"], name
        assert spec.kinds, name
        assert spec.code_version, name


@pytest.mark.parametrize(
    ("asset", "table", "column"),
    [
        ("downloaded_files", "file_assets", "sha256"),
        ("pending_uploads", "upload_tasks", "last_error"),
        ("remote_locations", "file_locations", "verified_at"),
        ("backend_presence", "song_backend_presence", "files_present"),
        ("backend_audit", "audits", "position"),
        ("catalog_backup", "storage_backends", "snapshot_at"),
    ],
)
def test_every_asset_shows_the_columns_of_its_table_and_what_to_read(asset, table, column, catalog):
    (spec,) = (s for s in defs.resolve_all_asset_specs() if s.key == dg.AssetKey(asset))

    assert spec.metadata["dagster/table_name"].value == table
    columns = [c.name for c in spec.metadata["dagster/column_schema"].value.columns]
    assert column in columns
    assert columns == rows(catalog, f"SELECT name FROM pragma_table_info('{table}')")
    document, _, chapters = (spec.description or "").rpartition("More: ")[2].partition(", ")
    text = (PROJECT / document.strip("`")).read_text("utf-8")
    named = re.findall(r"\*(.+?)\*", chapters)
    assert named
    assert [name for name in named if f"\n## {name}\n" not in text] == []


def test_every_job_schedule_and_sensor_says_what_it_is_for():
    repository = defs.get_repository_def()

    jobs = [defs.resolve_job_def(name) for name in JOBS]
    for definition in (*jobs, *repository.schedule_defs, *repository.sensor_defs):
        assert definition.description, definition.name


def test_files_become_plans_become_locations_become_presence_on_each_backend():
    graph = defs.resolve_asset_graph()
    backends = dg.DynamicPartitionsDefinition(name="backend")
    batches = dg.DynamicPartitionsDefinition(name="batch")
    cells = dg.MultiPartitionsDefinition({"backend": backends, "batch": batches})

    found = {}
    for key in graph.get_all_asset_keys():
        parents = {parent.to_user_string() for parent in graph.get(key).parent_keys}
        found[key.to_user_string()] = (parents, graph.get(key).partitions_def)

    assert found == {
        "downloaded_files": (set(), None),
        "pending_uploads": ({"downloaded_files"}, backends),
        "remote_locations": ({"pending_uploads"}, cells),
        "backend_presence": ({"pending_uploads", "remote_locations"}, backends),
        "backend_audit": ({"remote_locations"}, backends),
        "catalog_backup": ({"remote_locations"}, backends),
    }


def test_a_code_location_may_be_built_with_resources_of_one_s_own(
    catalog, tmp_path, monkeypatch, library
):
    monkeypatch.setenv("CATALOGSYNC_DB", str(tmp_path / "absent.db"))
    library.fill(1)
    ours = build_defs({"catalog": CatalogResource(location=str(catalog.path))})

    with dg.DagsterInstance.ephemeral() as instance:
        result = ours.resolve_job_def("scan_library").execute_in_process(
            instance=instance,
            run_config={
                "ops": {"downloaded_files": {"config": {"library_roots": [str(library.root)]}}}
            },
        )

    assert result.success
    assert not (tmp_path / "absent.db").exists()
