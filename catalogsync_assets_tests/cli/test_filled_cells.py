"""Where DAGSTER_HOME is set, what the command line uploads is seen in Dagster."""

from __future__ import annotations

import os
import signal

import dagster as dg
import pytest

from catalogsync_assets.assets.partitions import cells as cells_partitions
from catalogsync_assets.assets.teller import tell
from catalogsync_assets.cli import filled_cells
from catalogsync_assets.core.catalog.untold import untold
from catalogsync_assets_tests.support.proxy import refusal
from catalogsync_assets_tests.support.waiting import until

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


class TellerHere:
    """In place of the process that tells Dagster: tells in this one, which has it loaded."""

    def __init__(self, catalog, by):
        self._catalog, self._by = catalog, by

    def finish(self, _patience):
        return tell(str(self._catalog), by=self._by)


@pytest.fixture
def here(monkeypatch):
    """Dagster is told in this process."""
    monkeypatch.setattr(filled_cells, "Teller", TellerHere)


@pytest.fixture
def home(dagster_home, here, monkeypatch):
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
    home, upload, catalog, cloud, library, scanned, uploaded
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
    assert [noted for _, noted, _ in untold(catalog)] == [batches[1:]]  # somebody may be at it

    upload()
    assert untold(catalog) == []
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


# --- the process that tells ---------------------------------------------------------------------


class Teller:
    """A `catalogsync` whose teller finds another program in place of Dagster."""

    def __init__(self, command, catalog, home, folder):
        self._command, self._catalog, self._home, self._folder = command, catalog, home, folder
        self._noted = folder / "pid"

    def instead_of_dagster(self, code):
        (self._folder / "dagster.py").write_text(
            "import os, pathlib, signal\n"
            f"pathlib.Path({str(self._noted)!r}).write_text(str(os.getpid()))\n{code}\n"
        )

    def dagster_is_back(self):
        (self._folder / "dagster.py").unlink()

    @property
    def pid(self):
        """Of the process that tells."""
        until(lambda: self._noted.exists() and self._noted.read_text())
        return int(self._noted.read_text())

    def upload(self):
        return self._command(
            *("upload", "--backend", "cloud", "--db", self._catalog.path, "--json"),
            DAGSTER_HOME=str(self._home),
            PYTHONPATH=str(self._folder),
            PYTHONWARNINGS="default",
        )

    @property
    def untold(self):
        return [batches for _, batches, _ in untold(self._catalog)]


@pytest.fixture
def teller(command, catalog, dagster_home, tmp_path):
    (tmp_path / "modules").mkdir()
    return Teller(command, catalog, dagster_home, tmp_path / "modules")


def test_dagster_that_hangs_holds_no_command_and_the_next_one_tells(
    dagster_home, teller, cloud, library, scanned
):
    """Without a `dagster.yaml`, of which Dagster warns: nothing that it has to say is printed."""
    (dagster_home / "dagster.yaml").unlink()
    library.fill(1)
    (batch,) = scanned().batches
    teller.instead_of_dagster("signal.pause()")

    done = teller.upload()

    try:
        assert (done.code, done.err) == (0, "")
        os.kill(teller.pid, 0)  # it hangs still
    finally:
        os.kill(teller.pid, signal.SIGKILL)
    assert teller.untold == [[batch]]
    teller.dagster_is_back()
    done = teller.upload()  # nothing to do but to tell
    assert (done.json["queued"], done.err) == (0, "")
    until(lambda: not teller.untold)
    assert Home(dagster_home).cells() == {f"cloud|{batch}"}


def test_a_teller_that_is_killed_loses_nothing(home, teller, cloud, library, scanned, catalog):
    library.fill(1)
    (batch,) = scanned().batches
    teller.instead_of_dagster("os.kill(os.getpid(), signal.SIGKILL)")

    assert teller.upload().code == 0

    assert teller.untold == [[batch]]
    assert tell(str(catalog.path), by="a test") == ""
    assert (home.cells(), teller.untold) == ({f"cloud|{batch}"}, [])


def test_why_dagster_could_not_be_told_is_said_by_the_next_command(
    teller, cloud, library, scanned, catalog
):
    library.fill(1)
    (batch,) = scanned().batches
    teller.instead_of_dagster("raise ImportError('it is broken: postgresql://me:secret@db/runs')")
    teller.upload()
    why = "it is broken: postgresql://db/runs"  # nothing of a password is kept, or shown
    until(lambda: any(why for *_, why in untold(catalog)))
    assert [why for *_, why in untold(catalog)] == [why]

    done = teller.upload()

    assert done.code == 0
    assert why in done.err
    assert teller.untold == [[batch]]


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
    upload, cloud, library, scanned, tmp_path, monkeypatch, here, home, file, content
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
