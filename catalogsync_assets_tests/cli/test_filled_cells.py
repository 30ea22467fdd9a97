"""Where DAGSTER_HOME is set, what the command line uploads is seen in Dagster."""

from __future__ import annotations

import dagster as dg
import pytest

from catalogsync_assets.assets.partitions import cells as cells_partitions
from catalogsync_assets_tests.support.proxy import refusal

KEY = dg.AssetKey("remote_locations")


class Home:
    """A DAGSTER_HOME, and what its instance knows."""

    def __init__(self, path):
        self.path = path

    def cells(self):
        with dg.DagsterInstance.from_config(str(self.path)) as instance:
            return instance.get_materialized_partitions(KEY)

    def event(self, cell):
        with dg.DagsterInstance.from_config(str(self.path)) as instance:
            (record,) = instance.fetch_materializations(
                dg.AssetRecordsFilter(asset_key=KEY, asset_partitions=[cell]), limit=10
            ).records
        assert record.asset_materialization is not None
        return record.asset_materialization


@pytest.fixture
def home(dagster_home, monkeypatch):
    """DAGSTER_HOME is set, to an instance that knows nothing."""
    monkeypatch.setenv("DAGSTER_HOME", str(dagster_home))
    return Home(dagster_home)


@pytest.fixture
def upload(cli, catalog):
    """`upload(…)` to `cloud`."""
    return lambda *arguments: cli("upload", "--backend", "cloud", *arguments)


# --- what is reported ---------------------------------------------------------------------------


def test_an_upload_materializes_its_cells_without_a_run(
    home, upload, cloud, backend, library, scanned
):
    backend("other")
    batches = []
    for folder in ("a", "b"):
        library.fill(2, folder=folder, size=1000)
        batches += scanned().batches

    done = upload("--json")

    assert (done.code, done.err) == (0, "")
    assert done.json["succeeded"] == 4
    assert home.cells() == {f"cloud|{batch}" for batch in batches}
    with dg.DagsterInstance.from_config(str(home.path)) as instance:
        assert instance.get_runs() == []
        assert set(instance.get_dynamic_partitions("batch")) == set(batches)
        assert set(instance.get_dynamic_partitions("backend")) == {"cloud", "other"}
    event = home.event(f"cloud|{batches[0]}")
    assert event.metadata["reported by"].value == "catalogsync upload"
    assert event.metadata["dagster/row_count"].value == 2
    assert event.metadata["files missing"].value == 0


def test_what_is_found_in_place_is_reported_too(home, upload, cloud, library, scanned, remote):
    (file,) = library.fill(1)
    (batch,) = scanned().batches
    remote(cloud).put("album/0000.mp3", file.read_bytes())

    assert upload("--json").json["adopted"] == 1

    assert home.cells() == {f"cloud|{batch}"}


def test_only_cells_that_this_upload_made_whole_are_reported(
    home, upload, cloud, library, scanned, uploaded
):
    library.fill(1, folder="before")
    scanned()
    uploaded(cloud)
    batches = []
    for folder in ("now", "half"):
        library.fill(2, folder=folder)
        batches += scanned().batches

    upload("--limit", 3)
    assert home.cells() == {f"cloud|{batches[0]}"}

    upload()
    assert home.cells() == {f"cloud|{batch}" for batch in batches}
    home.event(f"cloud|{batches[0]}")  # one and no more


def test_a_cell_that_failed_in_dagster_is_green_once_the_command_line_has_filled_it(
    home, upload, cloud, library, scanned
):
    from catalogsync_assets.definitions import defs

    library.fill(1)
    (batch,) = scanned().batches
    cell = f"cloud|{batch}"
    with dg.DagsterInstance.from_config(str(home.path)) as instance:
        instance.add_dynamic_partitions("backend", ["cloud"])
        instance.add_dynamic_partitions("batch", [batch])
        run = instance.create_run_for_job(
            defs.resolve_job_def("upload_batch"),
            status=dg.DagsterRunStatus.STARTED,
            tags={
                "dagster/partition": cell,
                "dagster/partition/backend": "cloud",
                "dagster/partition/batch": batch,
            },
            asset_selection=frozenset([KEY]),
        )
        instance.report_run_failed(run)
        assert status_of(instance, cell) == dg.AssetPartitionStatus.FAILED

    upload()

    with dg.DagsterInstance.from_config(str(home.path)) as instance:
        assert status_of(instance, cell) == dg.AssetPartitionStatus.MATERIALIZED


def status_of(instance, cell):
    return (instance.get_status_by_partition(KEY, [cell], cells_partitions) or {}).get(cell)


def test_an_upload_that_fails_for_a_file_reports_the_cells_that_are_whole(
    home, upload, cloud, library, scanned, remote
):
    library.fill(1, folder="good")
    (good,) = scanned().batches
    library.fill(1, folder="bad")
    scanned()
    remote(cloud).put("bad/0000.mp3", b"foreign")

    assert upload().code == 1

    assert home.cells() == {f"cloud|{good}"}


def test_an_upload_that_breaks_off_reports_what_it_had_done(
    home, upload, backend, proxy, library, scanned
):
    backend("cloud", endpoint=proxy.endpoint)
    library.fill(2, folder="a")
    (first,) = scanned().batches
    library.fill(2, folder="b")
    scanned()
    proxy.before.append(
        lambda r: (
            refusal(403, "InvalidAccessKeyId") if r.method == "PUT" and "/b/" in r.path else None
        )
    )

    done = upload("--workers", 1, "--json")

    assert done.code == 1
    assert "error" in done.json
    assert home.cells() == {f"cloud|{first}"}


def test_a_run_with_upload_reports_its_cells(
    home, cli, catalog, cloud, library, queue_downloads, web
):
    queue_downloads(web.add("/one.flac"))

    done = cli("run", "--library-root", library.root, "--upload", "cloud", "--json")

    assert done.code == 0, done.err
    (cell,) = home.cells()
    assert home.event(cell).metadata["reported by"].value == "catalogsync run"


# --- what is not --------------------------------------------------------------------------------


def test_nothing_that_dagster_has_to_say_is_printed(
    dagster_home, command, catalog, cloud, library, scanned
):
    """In a process of its own. Without a `dagster.yaml`, of which Dagster warns."""
    library.fill(1)
    (batch,) = scanned().batches
    (dagster_home / "dagster.yaml").unlink()

    done = command(
        *("upload", "--backend", "cloud", "--db", catalog.path, "--json"),
        DAGSTER_HOME=str(dagster_home),
        PYTHONWARNINGS="default",
    )

    assert (done.code, done.err) == (0, "")
    assert done.json["succeeded"] == 1
    assert Home(dagster_home).cells() == {f"cloud|{batch}"}


# --- an instance that is no use -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("home", "file", "content"),
    [
        ("{}/absent", None, ""),
        ("{}/file", "file", ""),
        ("relative", None, ""),
        ("{}/bad", "bad/dagster.yaml", "storage: [no"),
        ("{}/unknown", "unknown/dagster.yaml", "no_such_setting: 1\n"),
        ("{}/blocked", "blocked/history", "a file where Dagster wants a folder"),
        ("/proc", None, ""),  # where root may not write either
    ],
)
def test_an_instance_that_is_no_use_is_one_warning_and_no_failure(
    upload, cloud, library, scanned, tmp_path, monkeypatch, home, file, content
):
    library.fill(1)
    scanned()
    home = home.format(tmp_path)
    if file:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_text(content)
    monkeypatch.setenv("DAGSTER_HOME", home)

    done = upload("--json")

    assert done.code == 0
    assert done.json["succeeded"] == 1
    (line,) = done.err.splitlines()
    assert line.startswith(f"warning: Dagster was not told: DAGSTER_HOME {home}: ")
    assert len(line) < 400
