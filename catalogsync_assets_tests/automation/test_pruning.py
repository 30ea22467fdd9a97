"""The job that deletes old weight, and its schedule."""

import dagster as dg
import pytest

from catalogsync_assets.automation.pruning import monthly_prune, prune_backends
from catalogsync_assets.core.catalog.backends import keep_answers
from catalogsync_assets.resources import CatalogResource, ObjectStoreResource
from catalogsync_assets_tests.support.database import change


@pytest.fixture
def run(catalog):
    """`run(**config)`: the job, in this process."""
    resources = {
        "catalog": CatalogResource(location=str(catalog.path)),
        "object_stores": ObjectStoreResource(),
    }

    def execute(**config):
        ops = {"delete_old_weight": {"config": config}} if config else {}
        return prune_backends.execute_in_process(
            run_config={"ops": ops}, resources=resources, raise_on_error=False
        )

    return execute


@pytest.fixture
def clouds(library, backend, synced):
    """Two backends with old weight: a file has moved since it was stored there."""
    made = [backend(name, layout="path") for name in ("cloud", "vault")]
    library.add("a.mp3")
    for cloud in made:
        synced(cloud)
    (library.root / "a.mp3").rename(library.root / "b.mp3")
    for cloud in made:
        synced(cloud)
    return made


def test_nothing_is_deleted_until_a_person_turns_it_on():
    assert monthly_prune.default_status == dg.DefaultScheduleStatus.STOPPED


def test_the_job_deletes_old_weight_of_every_backend(catalog, clouds, run, remote):

    assert run().success
    assert [remote(cloud).keys() for cloud in clouds] == [["a.mp3", "b.mp3"]] * 2
    change(catalog, "UPDATE file_locations SET status_since = datetime(status_since, '-31 days')")
    assert run(delete=False).success
    assert [remote(cloud).keys() for cloud in clouds] == [["a.mp3", "b.mp3"]] * 2
    assert run().success
    assert [remote(cloud).keys() for cloud in clouds] == [["b.mp3"]] * 2


def told(result, kind=dg.DagsterEventType.STEP_OUTPUT):
    """The metadata of the one step."""
    (event,) = [e for e in result.all_node_events if e.event_type == kind]
    if kind == dg.DagsterEventType.STEP_FAILURE:
        return event.step_failure_data.user_failure_data.metadata
    return event.step_output_data.metadata


def rows_of(table):
    return [tuple(record.data.values()) for record in table.records]


def test_a_backend_that_keeps_no_conditions_is_told_and_fails_nothing(catalog, clouds, run, remote):
    """It would each month."""
    keep_answers(catalog, clouds[0], {"conditional_delete": False})

    result = run(older_than_days=0)

    assert result.success
    assert [remote(cloud).keys() for cloud in clouds] == [["a.mp3", "b.mp3"], ["b.mp3"]]
    ((name, why, _),) = rows_of(told(result)["stay"])
    assert (name, "--unconditional" in why) == ("cloud", True)
    assert run(older_than_days=0, unconditional=True).success
    assert remote(clouds[0]).keys() == ["b.mp3"]


def test_a_backend_that_fails_does_not_keep_the_others_from_it(catalog, clouds, run, remote):
    remote(clouds[0]).put("a.mp3", b"theirs")

    result = run(older_than_days=0)

    assert not result.success
    assert remote(clouds[1]).keys() == ["b.mp3"]
    assert told(result, dg.DagsterEventType.STEP_FAILURE)["objects deleted"].value == 1
    assert run(older_than_days=0).success


def test_a_dry_run_says_what_would_go_and_why(clouds, run):
    found = told(run(older_than_days=0, delete=False))

    assert (found["dry run"].value, found["objects deleted"].value) == (True, 0)
    why = "the file is under another key there"
    assert rows_of(found["old weight"]) == [
        (cloud.name, why, 1, pytest.approx(300 / 2**20, abs=0.001)) for cloud in clouds
    ]
