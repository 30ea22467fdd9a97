"""`backend_audit`: what the catalog says of a backend, held against its store."""

from __future__ import annotations

from typing import Any

import pytest

from catalogsync_assets.core.audit.audit import AuditRequest, audit

from .conftest import plain

FIGURES = ("objects listed", "missing", "of another size", "of other content", "foreign")
LISTING, SAMPLE = "listing_agrees_with_catalog", "sampled_objects_are_whole"
EVERYTHING = {"level": "full", "sample_percent": 100.0}


@pytest.fixture
def uploaded(pipeline, cloud):
    """Five files on `cloud`."""
    pipeline.fill(5)
    assert pipeline.upload().success
    return pipeline


def figures(run: Any) -> list[int]:
    return [run.metadata[name] for name in FIGURES]


def verdict(run: Any, check: str) -> tuple[bool, str]:
    found = run.checks[check]
    assert found.partition == "cloud"
    return found.passed, found.severity.value


def offenders(run: Any, check: str) -> list[tuple[str, str]]:
    rows = plain(run.checks[check].metadata["offenders"])
    return sorted((row["found"], row["key"].rpartition("/")[2]) for row in rows)


def test_a_backend_that_holds_what_it_should_passes(uploaded):
    run = uploaded.audit(**EVERYTHING)

    assert run.success
    assert figures(run) == [5, 0, 0, 0, 0]
    assert run.metadata["objects looked at"] == 5
    assert verdict(run, LISTING) == verdict(run, SAMPLE) == (True, "ERROR")
    assert [(row["level"], row["ended as"], row["wrong"]) for row in run.metadata["history"]] == [
        ("listing", "complete", 0),
        ("full", "complete", 0),
    ]


def test_what_the_store_lost_fails_the_check_and_lowers_presence(uploaded, cloud, remote):
    remote(cloud).delete("album/0001.mp3")
    remote(cloud).put("album/0002.mp3", b"short")

    run = uploaded.audit()

    assert run.success
    assert figures(run) == [4, 1, 1, 0, 0]
    assert verdict(run, LISTING) == (False, "ERROR")
    assert offenders(run, LISTING) == [("missing", "0001.mp3"), ("size", "0002.mp3")]
    assert uploaded.presence().metadata["songs complete"] == 3


def test_foreign_objects_alone_are_a_warning_and_stay(uploaded, cloud, remote):
    remote(cloud).put("notes.txt", b"foreign")

    run = uploaded.audit(repair=True)

    assert figures(run) == [6, 0, 0, 0, 1]
    assert verdict(run, LISTING) == (False, "WARN")
    assert verdict(run, SAMPLE)[0]
    assert remote(cloud).get("notes.txt") == b"foreign"


def test_other_bytes_of_the_same_size_are_found_by_reading(uploaded, cloud, remote, library):
    size = len(library.contents()["album/0003.mp3"])
    remote(cloud).put("album/0003.mp3", bytes(size))

    run = uploaded.audit(**EVERYTHING)

    assert figures(run) == [5, 0, 0, 1, 0]
    for check in (SAMPLE, LISTING):
        assert verdict(run, check) == (False, "ERROR")
        assert offenders(run, check) == [("content", "0003.mp3")]


def test_a_repair_brings_back_what_was_lost(uploaded, cloud, remote, library, in_place):
    size = len(library.contents()["album/0003.mp3"])
    remote(cloud).delete("album/0001.mp3")
    remote(cloud).put("album/0003.mp3", bytes(size))

    run = uploaded.audit(repair=True, **EVERYTHING)

    assert (run.metadata["repaired"], run.metadata["not repaired"]) == (2, 0)
    assert verdict(run, LISTING)[0]
    assert verdict(run, SAMPLE)[0]
    assert in_place(cloud)


def test_audits_of_the_command_line_are_in_the_history(uploaded, catalog, cloud):
    audit(catalog, cloud, AuditRequest(level="head"))

    history = uploaded.audit().metadata["history"]

    assert [row["level"] for row in history] == ["listing", "head", "head"]
    assert [row["sample (%)"] for row in history] == ["all", "100", "all"]


def test_of_a_large_backend_a_sample_is_looked_at(pipeline, cloud):
    pipeline.fill(300, size=10)
    assert pipeline.upload().success

    looked_at = pipeline.audit().metadata["objects looked at"]

    assert 50 < looked_at < 150  # a hundred, as chance has it


def test_a_store_that_refuses_us_fails_the_run_and_marks_nothing(uploaded, monkeypatch):
    monkeypatch.setenv("CLOUD_SECRET_ACCESS_KEY", "wrong")

    run = uploaded.audit()

    assert not run.success
    assert "credentials" in run.failure[0] or "signature" in run.failure[0].lower()
    assert uploaded.presence().metadata["songs complete"] == 5


# --- with an upload -----------------------------------------------------------------------------


@pytest.mark.parametrize(("level", "found"), [("none", False), ("head", True), ("full", True)])
def test_a_cell_is_looked_at_once_more_if_asked_for(
    uploaded, cloud, remote, in_place, level, found
):
    remote(cloud).delete("album/0001.mp3")

    run = uploaded.upload(config={"audit_level": level})

    assert run.success is not found
    if found:
        reason, metadata = run.failure
        assert reason.startswith("1 of 5 objects of batch")
        assert [row["found"] for row in metadata["findings"]] == ["missing"]
        assert uploaded.upload(config={"audit_level": level}).success
        assert in_place(cloud)
