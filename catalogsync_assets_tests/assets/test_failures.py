"""What a run says and leaves when something is wrong."""

import os
from collections import Counter
from dataclasses import replace

import dagster as dg
import pytest

from catalogsync_assets.assets.pending_uploads import pending_uploads
from catalogsync_assets.assets.remote_locations import remote_locations
from catalogsync_assets.automation.schedules import JOBS
from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.scope import EVERYTHING
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.catalog.upload_queue import UploadLease
from catalogsync_assets.resources import CatalogResource, ObjectStoreResource
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.proxy import refusal

WRONG_SECRET = "another-secret-that-nobody-may-see"


def upload_job_in_this_process() -> dg.JobDefinition:
    """The job of the code location, with an executor that needs no further process."""
    return dg.Definitions(
        assets=[pending_uploads, remote_locations],
        jobs=[JOBS["upload_batch"]],
        executor=dg.in_process_executor,
        resources={
            "catalog": CatalogResource(),
            "object_stores": ObjectStoreResource(workers=4, attempts=1),
        },
    ).resolve_job_def("upload_batch")


# --- nothing can be done at all -----------------------------------------------------------------


def test_a_missing_library_root_is_named(pipeline, tmp_path, use_library):
    use_library(tmp_path / "absent")

    run = pipeline.scan()

    description, metadata = run.failure
    assert description.startswith(f"library root {tmp_path / 'absent'} cannot be read")
    assert metadata["hint"] == "check the path, its permissions, and that its disk is mounted"
    assert metadata["hint"] in description
    assert "\n" not in description
    assert run.retries == 0


def test_no_library_root_at_all_is_a_setting_to_make(pipeline, monkeypatch):
    monkeypatch.delenv("CATALOGSYNC_LIBRARY_ROOTS")

    description, metadata = pipeline.scan().failure

    assert description.startswith("no library root is given")
    assert "CATALOGSYNC_LIBRARY_ROOTS" in metadata["hint"]


@pytest.mark.parametrize("asset", ["downloaded_files", "pending_uploads", "backend_presence"])
def test_a_missing_catalog_is_named_and_not_made(pipeline, tmp_path, monkeypatch, asset):
    monkeypatch.setenv("CATALOGSYNC_DB", str(tmp_path / "absent.db"))
    pipeline.instance.add_dynamic_partitions("backend", ["cloud"])

    run = pipeline.run(asset, None if asset == "downloaded_files" else "cloud")

    description, metadata = run.failure
    assert description.startswith(f"there is no catalog at {tmp_path / 'absent.db'}")
    assert "catalogsync init" in metadata["hint"]
    assert not (tmp_path / "absent.db").exists()
    assert run.retries == 0


def test_a_catalog_that_is_no_database_is_named_and_left_as_it_is(pipeline, tmp_path, monkeypatch):
    other = tmp_path / "notes.txt"
    other.write_text("not a database")
    monkeypatch.setenv("CATALOGSYNC_DB", str(other))

    description, _ = pipeline.scan().failure

    assert description.startswith(f"{other} is not an SQLite database")
    assert other.read_text() == "not a database"


def _wrong_secret(**_):
    os.environ["CLOUD_SECRET_ACCESS_KEY"] = WRONG_SECRET


def _no_credentials(**_):
    del os.environ["CLOUD_SECRET_ACCESS_KEY"], os.environ["CLOUD_ACCESS_KEY_ID"]


def _missing_bucket(*, catalog, cloud, **_):
    register(catalog, replace(cloud, bucket="absent"))


def _server_down(*, catalog, cloud, endpoint):
    register(catalog, replace(cloud, endpoint=endpoint))


#: Ways in which a store refuses everything; what is said of it, the hint, and how many retries.
CASES = {
    "wrong-secret": (
        _wrong_secret,
        "backend 'cloud': the secret does not fit the access key (SignatureDoesNotMatch)",
        "check CLOUD_ACCESS_KEY_ID and CLOUD_SECRET_ACCESS_KEY",
        0,
    ),
    "no-credentials": (
        _no_credentials,
        "backend 'cloud' has no credentials",
        "set CLOUD_ACCESS_KEY_ID and CLOUD_SECRET_ACCESS_KEY in the environment",
        0,
    ),
    "missing-bucket": (
        _missing_bucket,
        "backend 'cloud': there is no bucket 'absent' at",
        "make the bucket",
        0,
    ),
    "server-down": (_server_down, "backend 'cloud': no answer from", "is the server running", 3),
}


@pytest.mark.parametrize("name", CASES)
def test_a_store_that_refuses_everything_fails_the_cell_and_keeps_the_queue(
    pipeline,
    catalog,
    cloud,
    statuses,
    store,
    unused_endpoint,
    remote,
    in_place,
    bucket_is_missing,
    monkeypatch,
    capfd,
    name,
):
    cause, said, hint, retries = CASES[name]
    pipeline.fill(3)
    with monkeypatch.context() as patch:
        for variable in ("CLOUD_SECRET_ACCESS_KEY", "CLOUD_ACCESS_KEY_ID"):
            patch.setenv(variable, os.environ[variable])  # put back in the end
        cause(catalog=catalog, cloud=cloud, endpoint=unused_endpoint)

        run = pipeline.upload()

    description, metadata = run.failure
    assert description.startswith(said)
    assert metadata["hint"].startswith(hint)
    assert metadata["hint"] in description
    assert "\n" not in description
    assert run.retries == retries
    printed = "".join(capfd.readouterr())
    for secret in (store.secret_access_key, WRONG_SECRET):
        assert secret not in run.text
        assert secret not in printed
    assert pipeline.cells() == set()
    assert statuses() == {"pending": 3}
    assert remote(cloud).keys() == []
    assert bucket_is_missing("absent")

    # Once that is put right, the same cell goes through.
    register(catalog, cloud)
    assert pipeline.upload().metadata["uploaded"] == 3
    assert in_place(cloud)


def test_a_step_whose_store_comes_back_goes_on_where_it_stopped(pipeline, backend, proxy, in_place):
    cloud = backend("cloud", endpoint=proxy.endpoint)
    pipeline.fill(5)
    stored = Counter()

    def break_down_after_two(request):
        if request.method != "PUT":
            return None
        if stored.total() == 2 and not broken:
            broken.append(request.key)
            return refusal(503)
        stored[request.key] += 1
        return None

    broken = []
    proxy.before.append(break_down_after_two)

    run = pipeline.upload(workers=1)

    assert run.success
    assert (run.retries, len(broken)) == (1, 1)
    assert set(stored.values()) == {1}
    assert in_place(cloud)


# --- single files fail --------------------------------------------------------------------------


def test_a_cell_with_a_failed_file_is_not_materialized_but_all_others_are_uploaded(
    pipeline, cloud, library, remote, catalog, statuses
):
    pipeline.fill(5)
    remote(cloud).put("album/0002.mp3", b"foreign")

    run = pipeline.upload()

    description, metadata = run.failure
    assert run.retries == 0  # a conflict is for a person
    assert description.startswith("1 of 5 files could not be uploaded")
    assert "another object is stored under" in description
    assert (metadata["failed"], metadata["uploaded"]) == (1, 4)
    (failure,) = metadata["failures"]
    assert failure["file"] == str(library.root / "album" / "0002.mp3")
    assert failure["code"] == "Conflict"
    assert "nothing was overwritten" in failure["reason"]
    assert pipeline.cells() == set()
    assert statuses() == {"succeeded": 4, "failed": 1}
    here = f"SELECT COUNT(*) FROM file_locations WHERE backend_id = {cloud.id}"
    assert rows(catalog, here + " AND status = 'active'") == [4]
    assert remote(cloud).contents() == {**library.contents(), "album/0002.mp3": b"foreign"}


def test_the_failure_of_a_cell_groups_its_reasons_the_most_frequent_first(pipeline, cloud, remote):
    _, gone, *_ = pipeline.fill(5)
    for name in ("0002", "0003"):
        remote(cloud).put(f"album/{name}.mp3", b"foreign")
    gone.unlink()

    description, metadata = pipeline.upload().failure

    conflict, source = metadata["reasons"]
    assert (conflict["code"], conflict["files"]) == ("Conflict", 2)
    assert "another object is stored under" in conflict["for example"]
    assert source["files"] == 1
    assert str(gone) in source["for example"]
    assert f"(2 Conflict, 1 {source['code']})" in description


def test_a_file_that_failed_for_a_passing_reason_is_tried_again_by_the_step(
    pipeline, backend, proxy, in_place
):
    cloud = backend("cloud", endpoint=proxy.endpoint)
    pipeline.fill(5)
    proxy.refuse(1, refusal(503))

    run = pipeline.upload(workers=4)

    assert run.success
    assert run.retries == 1
    assert in_place(cloud)


def test_the_table_of_failures_is_short_however_many_there_are(pipeline, backend, proxy):
    backend("cloud", endpoint=proxy.endpoint)
    pipeline.fill(55)
    proxy.refuse(1000, refusal(400, "InvalidArgument", "no"))

    description, metadata = pipeline.upload().failure

    assert description.startswith("55 of 55 files could not be uploaded")
    assert metadata["failed"] == 55
    assert len(metadata["failures"]) == 50


def test_a_source_that_is_gone_fails_its_cell_and_no_other_file(pipeline, cloud, remote):
    gone, *_ = pipeline.fill(3)
    gone.unlink()

    _, metadata = pipeline.upload().failure

    assert [row["file"] for row in metadata["failures"]] == [str(gone)]
    assert remote(cloud).keys() == ["album/0001.mp3", "album/0002.mp3"]
    assert pipeline.cells() == set()


def test_a_run_executed_again_from_its_failure_uploads_just_the_rest(
    pipeline, backend, proxy, remote, in_place
):
    cloud = backend("cloud", endpoint=proxy.endpoint)
    pipeline.fill(6)
    remote(cloud).put("album/0003.mp3", b"foreign")
    first = pipeline.upload(config={"chunk_max_files": 2})
    assert not first.success
    assert len(first.done) == 3  # the plan, and two chunks of three
    remote(cloud).delete("album/0003.mp3")
    proxy.requests.clear()

    again = dg.execute_job(
        dg.reconstructable(upload_job_in_this_process),
        instance=pipeline.instance,
        tags=first.tags,
        reexecution_options=dg.ReexecutionOptions.from_failure(first.id, pipeline.instance),
    )

    assert again.success
    assert [request.key for request in proxy.of("PUT")] == [f"{cloud.key_prefix}album/0003.mp3"]
    assert len([e for e in again.all_events if e.is_step_success]) == 2  # a chunk, the finish
    assert pipeline.cells() == {f"cloud|{pipeline.keys('batch')[0]}"}
    assert in_place(cloud)


# --- materialized means whole -------------------------------------------------------------------


def test_a_cell_is_not_materialized_while_another_program_holds_one_of_its_files(
    pipeline, cloud, catalog, remote
):
    pipeline.fill(3)
    enqueue(catalog, cloud)
    lease = UploadLease(catalog, cloud)
    assert len(lease.claim(EVERYTHING, 1)) == 1

    run = pipeline.upload()

    assert remote(cloud).keys() == ["album/0001.mp3", "album/0002.mp3"]
    assert not run.success
    assert pipeline.cells() == set()

    lease.release()
    assert pipeline.upload().success
    assert len(pipeline.cells()) == 1


def test_a_cell_is_not_materialized_while_one_of_its_files_is_lost(
    pipeline, backend, remote, library
):
    """It was on a backend, and is nowhere any more."""
    one = backend("one")
    pipeline.fill(3)
    assert pipeline.upload("one").success
    (library.root / "album" / "0001.mp3").unlink()
    remote(one).delete("album/0001.mp3")
    backend("two")
    pipeline.scan()
    assert pipeline.audit("one").success

    description, metadata = pipeline.upload("two").failure

    (batch,) = pipeline.keys("batch")
    assert description.startswith(f"batch {batch} is not complete on two: 1 file missing")
    assert "neither the library nor another backend has it" in description
    assert metadata["files missing"] == metadata["of these nowhere"] == 1
    assert pipeline.cells() == {f"one|{batch}"}


def test_what_the_library_has_no_more_comes_from_another_backend(
    pipeline, backend, remote, library
):
    backend("one")
    library.fill(3)
    content = library.contents()["album/0001.mp3"]
    pipeline.scan()
    assert pipeline.upload("one").success
    (library.root / "album" / "0001.mp3").unlink()
    two = backend("two")
    pipeline.scan()

    assert pipeline.upload("two").metadata["uploaded"] == 3
    assert remote(two).get("album/0001.mp3") == content


def test_a_file_that_is_nowhere_any_more_keeps_no_cell_from_being_whole(pipeline, cloud):
    gone, *_ = pipeline.fill(3)
    gone.unlink()
    pipeline.scan()

    metadata = pipeline.upload().metadata

    assert (metadata["uploaded"], metadata["files missing"]) == (2, 0)


def test_a_batch_that_the_catalog_does_not_know_is_not_materialized(pipeline, cloud):
    """As when the catalog was made anew, and Dagster's history was not."""
    pipeline.fill(1)
    pipeline.instance.add_dynamic_partitions("batch", ["former"])

    run = pipeline.upload(batch="former")

    assert not run.success
    assert pipeline.cells() == set()
