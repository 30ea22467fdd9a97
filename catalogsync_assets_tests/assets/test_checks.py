"""Asset checks: what must be true of the catalog, and who offends."""

import pytest

from catalogsync_assets.core.catalog.replication import set_policy

from .conftest import plain


@pytest.fixture
def uploaded(pipeline, cloud, library):
    """Four files on `cloud`."""
    library.fill(4)
    pipeline.scan()
    assert pipeline.upload().success
    return pipeline


def test_all_checks_pass_where_all_is_well(uploaded):
    verdicts = {**uploaded.scan().checks, **uploaded.presence().checks}

    assert {name: found.passed for name, found in verdicts.items()} == {
        "local_files_are_there": True,
        "no_failed_uploads": True,
        "songs_have_the_copies_they_need": True,
    }


def test_songs_with_too_few_copies_are_a_warning_and_named(uploaded, backend, catalog):
    backend("attic")

    found = uploaded.presence().checks["songs_have_the_copies_they_need"]

    assert (found.passed, found.severity.value, found.partition) == (False, "WARN", None)
    assert found.metadata["under-replicated songs"].value == 4
    offenders = plain(found.metadata["offenders"])
    assert [(row["copies"], row["required"]) for row in offenders] == [(1, 2)] * 4

    set_policy(catalog, "", 1)

    assert uploaded.presence().checks["songs_have_the_copies_they_need"].passed


def test_backends_that_count_as_one_are_named(uploaded, backend, catalog, cloud):
    """Found out by the upload to the second: it is the bucket of the first."""
    alias = backend("alias")
    set_policy(catalog, "", 2)
    uploaded.scan()  # which makes it a partition
    assert uploaded.upload(backend=alias.name).success

    found = uploaded.presence().checks["songs_have_the_copies_they_need"]

    assert (found.passed, found.metadata["under-replicated songs"].value) == (False, 4)
    assert plain(found.metadata["backends that count as one"]) == [
        {"backends": "alias, cloud", "why": "they are the same store"}
    ]


def test_failed_uploads_are_grouped_and_named(pipeline, cloud, remote, library):
    library.fill(3)
    remote(cloud).put("album/0001.mp3", b"foreign")
    pipeline.scan()
    assert not pipeline.upload().success

    found = pipeline.presence().checks["no_failed_uploads"]

    assert (found.passed, found.severity.value, found.partition) == (False, "ERROR", "cloud")
    assert found.metadata["failed"].value == 1
    (reason,) = plain(found.metadata["reasons"])
    assert (reason["code"], reason["files"]) == ("Conflict", 1)
    (failure,) = plain(found.metadata["failures"])
    assert failure["key"].endswith("album/0001.mp3")


def test_a_backend_is_not_blamed_for_the_failures_of_another(pipeline, backend, remote, library):
    cloud = backend("cloud")
    backend("attic")
    library.fill(2)
    remote(cloud).put("album/0001.mp3", b"foreign")
    pipeline.scan()
    pipeline.upload("cloud")
    pipeline.upload("attic")

    assert not pipeline.presence("cloud").checks["no_failed_uploads"].passed
    assert pipeline.presence("attic").checks["no_failed_uploads"].passed


def test_local_files_that_are_gone_are_a_warning(uploaded, library):
    (library.root / "album" / "0002.mp3").unlink()

    found = uploaded.check("downloaded_files", "local_files_are_there")

    assert (found.passed, found.severity.value) == (False, "WARN")
    (offender,) = plain(found.metadata["offenders"])
    assert offender["file"].endswith("album/0002.mp3")
    assert offender["reason"] == "No such file or directory"
