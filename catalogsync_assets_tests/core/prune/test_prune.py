"""Prune: an object goes only when it is old weight, ours, and what stands in for it is proven."""

import dataclasses
from datetime import timedelta

import pytest

from catalogsync_assets.core.adopt.adopt import adopt
from catalogsync_assets.core.audit.audit import audit
from catalogsync_assets.core.audit.report import AuditRequest
from catalogsync_assets.core.catalog import locations, remote_copies
from catalogsync_assets.core.catalog.backends import catalog_id, keep_answers
from catalogsync_assets.core.catalog.separation import keep_verdicts
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.errors import (
    CatalogError,
    ConflictError,
    RunAborted,
    UsageError,
)
from catalogsync_assets.core.library import forget
from catalogsync_assets.core.prune.plan import old_weight
from catalogsync_assets.core.prune.prune import _Run, prune
from catalogsync_assets.core.stores import removing
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.objects import OWNER_TAG
from catalogsync_assets.core.upload.upload import upload
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.proxy import refusal

DAY = 86_400
REMOTE = (
    "SELECT locator, status FROM file_locations WHERE library_path IS NULL AND backend_id = ?"
    " ORDER BY locator, status"
)


@pytest.fixture
def following(backend):
    """A backend whose objects follow their files."""
    return backend(layout="path")


@pytest.fixture
def pruned(catalog):
    """`pruned(backend)` deletes all old weight, however young."""

    def run(backend, **options):
        given = {"dry_run": False, "older_than_seconds": 0, "workers": 4, "attempts": 2}
        return prune(catalog, backend, **given | options)

    return run


@pytest.fixture
def forgotten(catalog, library, scanned):
    """`forgotten("a.mp3")`: the file is deleted, found gone, and forgotten."""

    def run(path):
        (library.root / path).unlink()
        scanned(allow_empty=True)
        request = forget.Request(paths=(str(library.root / path),))
        assert forget.forget(catalog, forget.plan(catalog, request), count=1).files == 1

    return run


@pytest.fixture
def move(library, synced):
    """`move(backend, "a.mp3", "b.mp3")`: renamed, and followed by its object."""

    def run(backend, old, new):
        (library.root / new).parent.mkdir(exist_ok=True)
        (library.root / old).rename(library.root / new)
        assert synced(backend).copied == 1

    return run


@pytest.fixture
def renamed(library, following, synced, move):
    """A file that was `a.mp3` when it was stored, and whose object has followed it to `b.mp3`."""
    library.add("a.mp3")
    synced(following)
    move(following, "a.mp3", "b.mp3")


@pytest.fixture
def statuses(catalog):
    """`statuses(backend)`: of its locations, by key below the prefix."""

    def ask(backend):
        found = rows(catalog, REMOTE, backend.id)
        return [(key.removeprefix(backend.key_prefix), status) for key, status in found]

    return ask


def made_older(catalog, days):
    """All that has happened did so many days earlier."""
    change(
        catalog,
        "UPDATE file_locations SET status_since = datetime(status_since, ?)",
        f"-{days} days",
    )


# --- what goes ----------------------------------------------------------------------------------


def test_what_a_file_has_moved_away_from_goes(library, following, renamed, pruned, remote):
    assert remote(following).keys() == ["a.mp3", "b.mp3"]

    report = pruned(following)

    assert (report.removed, report.removed_bytes, report.failures) == (1, 300, [])
    assert remote(following).contents() == library.contents()
    assert pruned(following).candidates == 0


def test_a_dry_run_is_the_plan_and_changes_nothing(catalog, following, renamed, remote, statuses):
    before = remote(following).contents(), statuses(following)

    report = prune(catalog, following, older_than_seconds=0, connect=None)

    assert (report.dry_run, report.candidates, report.candidate_bytes) == (True, 1, 300)
    assert report.reasons_to_go["moved"].files == 1
    (old,) = report.listed
    assert (old.key, old.reason) == (f"{following.key_prefix}a.mp3", "moved")
    assert (report.removed, report.looked_at) == (0, 0)
    assert (remote(following).contents(), statuses(following)) == before


def test_what_nobody_wants_goes(library, cloud, synced, forgotten, pruned, remote, statuses):
    library.fill(2, folder=".")
    synced(cloud)
    forgotten("0000.mp3")

    report = pruned(cloud)

    assert (report.removed, report.reasons_to_go["forgotten"].files) == (1, 1)
    assert remote(cloud).keys() == ["0001.mp3"]
    assert statuses(cloud) == [("0000.mp3", "removed"), ("0001.mp3", "active")]


def test_what_a_forgotten_file_has_moved_away_from_needs_nothing_in_its_place(
    following, renamed, move, forgotten, pruned, remote
):
    """What could stand in for it goes in the same run, and here before it."""
    move(following, "b.mp3", "a.mp3")
    forgotten("a.mp3")

    report = pruned(following, workers=1)

    assert (report.removed, report.failures) == (2, [])
    assert remote(following).keys() == []


def test_a_forgotten_file_that_comes_back_after_that_is_sent_again(
    library, cloud, synced, forgotten, pruned, remote
):
    content = library.add("a.mp3").read_bytes()
    library.add("b.mp3")
    synced(cloud)
    forgotten("a.mp3")
    pruned(cloud)

    library.add("a.mp3", content)

    assert synced(cloud).succeeded == 1
    assert remote(cloud).contents() == library.contents()


def test_a_copy_of_what_an_edit_has_replaced_expires(
    catalog, library, cloud, synced, pruned, remote
):
    library.add("a.mp3")
    synced(cloud)
    library.add("a.mp3")
    synced(cloud)
    assert remote(cloud).keys(kept=True) == [".catalogsync/old/1/a.mp3"]
    nothing = {"superseded": False, "forgotten": False, "older_than_seconds": None}

    assert pruned(cloud, **nothing).removed == 0
    made_older(catalog, 31)
    report = pruned(cloud, **nothing)

    assert (report.removed, list(report.reasons_to_go)) == (1, ["expired"])
    assert remote(cloud).keys(kept=True) == []
    assert remote(cloud).contents() == library.contents()


def test_how_long_that_is_kept_is_a_setting(library, cloud, synced, pruned, remote, monkeypatch):
    library.add("a.mp3")
    synced(cloud)
    library.add("a.mp3")
    synced(cloud)
    monkeypatch.setenv("CATALOGSYNC_KEEP_REPLACED_DAYS", "0")

    assert pruned(cloud, superseded=False, older_than_seconds=None).removed == 1
    assert remote(cloud).keys(kept=True) == []


def test_what_was_kept_goes_again_and_is_kept_again(
    catalog, library, cloud, synced, pruned, remote
):
    """The same content, replaced twice."""
    first = library.add("a.mp3").read_bytes()
    synced(cloud)
    library.add("a.mp3")
    synced(cloud)
    pruned(cloud)
    assert remote(cloud).keys(kept=True) == []
    library.add("a.mp3", first)
    synced(cloud)
    library.add("a.mp3")
    synced(cloud)

    kept = remote(cloud).keys(kept=True)
    assert first in [remote(cloud).get(key) for key in kept]
    assert pruned(cloud).removed == len(kept)


def test_what_went_by_a_detour_leaves_nothing(library, following, synced, pruned, remote):
    for name in ("a.mp3", "b.mp3"):
        library.add(name)
    synced(following)
    for old, new in (("a.mp3", "c"), ("b.mp3", "a.mp3"), ("c", "b.mp3")):
        (library.root / old).rename(library.root / new)
    synced(following)
    synced(following)
    assert [k for k in remote(following).keys() if k.startswith(".catalogsync/moves/")]  # noqa: SIM118

    report = pruned(following, forgotten=False)

    assert (report.failures, report.reasons_to_go["detour"].files) == ([], 1)
    assert remote(following).contents() == library.contents()


def test_earlier_content_under_a_key_of_its_own_goes_once_the_new_one_is_there(
    catalog, library, cloud, synced, scanned, uploaded, pruned, remote
):
    library.add("a.mp3")
    library.add("b.mp3")
    synced(cloud)
    change(catalog, "UPDATE file_assets SET superseded_by_id = 2 WHERE id = 1")
    local = "UPDATE file_locations SET status = 'superseded' WHERE id = 1"
    change(catalog, local)

    report = pruned(cloud)

    assert (report.removed, list(report.reasons_to_go)) == (1, ["changed"])
    assert remote(cloud).keys() == ["b.mp3"]


# --- what stays ---------------------------------------------------------------------------------


def test_nothing_goes_before_its_time(
    catalog, library, following, synced, move, forgotten, pruned, remote
):
    library.fill(2, folder=".")
    synced(following)
    move(following, "0000.mp3", "b.mp3")
    forgotten("0001.mp3")

    report = pruned(following, older_than_seconds=10 * DAY)
    assert (report.candidates, report.younger.files, report.younger.bytes) == (0, 2, 600)
    made_older(catalog, 11)
    assert pruned(following, older_than_seconds=10 * DAY, forgotten=False).removed == 1
    assert pruned(following, older_than_seconds=10 * DAY, superseded=False).removed == 1
    assert remote(following).keys() == ["b.mp3"]


def test_an_audit_in_between_makes_nothing_younger(catalog, following, renamed, pruned):
    made_older(catalog, 31)
    change(catalog, "UPDATE file_locations SET updated_at = CURRENT_TIMESTAMP")

    assert pruned(following, older_than_seconds=30 * DAY).removed == 1


@pytest.mark.parametrize("harm", ["delete", "damage"])
def test_nothing_goes_whose_successor_is_not_proven_now(following, renamed, pruned, remote, harm):
    if harm == "delete":
        remote(following).delete("b.mp3")
    else:
        remote(following).put("b.mp3", b"#" * 300)

    report = pruned(following)

    assert report.reasons == {"NotProven": 1}
    assert "a.mp3" in remote(following).keys()  # noqa: SIM118
    assert pruned(following).reasons == {"NotProven": 1}


def test_earlier_content_stays_until_the_newer_is_there(
    library, cloud, synced, scanned, pruned, remote
):
    old = library.add("a.mp3").read_bytes()
    synced(cloud)
    library.add("a.mp3")
    scanned()

    report = pruned(cloud)

    assert (report.candidates, report.left) == (0, {"Needed": 1})
    assert remote(cloud).contents() == {"a.mp3": old}


def test_the_last_copy_of_what_another_file_has_lost_stays(
    catalog, library, cloud, synced, scanned, forgotten, pruned, remote
):
    content = library.add("a.mp3").read_bytes()
    library.add("b.mp3", content)
    synced(cloud)
    library.add("b.mp3")
    synced(cloud)
    remote(cloud).delete("a.mp3")
    audit(catalog, cloud, AuditRequest(level="head", anew=True))
    (library.root / "a.mp3").rename(library.root.parent / "away.mp3")
    scanned()

    report = pruned(cloud)

    assert (report.candidates, report.left) == (0, {"Needed": 1})
    assert content in [remote(cloud).get(key) for key in remote(cloud).keys(kept=True)]

    (library.root.parent / "away.mp3").rename(library.root / "a.mp3")
    synced(cloud)
    assert pruned(cloud).removed == 1


def test_a_file_that_is_wanted_again_stays(library, cloud, synced, forgotten, scanned, pruned):
    content = library.add("a.mp3").read_bytes()
    library.add("b.mp3")
    synced(cloud)
    forgotten("a.mp3")
    library.add("a.mp3", content)
    scanned()

    assert pruned(cloud).candidates == 0


def test_an_object_of_a_current_file_is_no_old_weight_however_it_looks(
    catalog, library, cloud, synced, pruned, remote
):
    """Its row says that it was withdrawn, and nothing has come in its stead."""
    library.add("a.mp3")
    synced(cloud)
    change(catalog, "UPDATE file_locations SET status = 'superseded' WHERE library_path IS NULL")

    report = pruned(cloud)

    assert (report.candidates, report.left) == (0, {"Needed": 1})
    assert remote(cloud).contents() == library.contents()


def test_a_key_that_another_backend_on_the_bucket_names_stays(
    catalog, library, backend, synced, uploaded, move, pruned, remote
):
    following = backend(layout="path")
    library.add("a.mp3")
    synced(following)
    twin = backend("twin", base_prefix=following.base_prefix)
    assert uploaded(twin).adopted == 1
    move(following, "a.mp3", "b.mp3")

    assert pruned(following).candidates == 0
    assert remote(following).keys() == ["a.mp3", "b.mp3"]


@pytest.mark.parametrize("status", ["pending", "running", "failed"])
def test_a_key_that_an_upload_is_to_go_to_stays(catalog, following, renamed, pruned, status):
    task = "UPDATE upload_tasks SET status = ? WHERE target_locator LIKE '%/a.mp3'"
    change(catalog, task, status)

    assert pruned(following).candidates == 0


def test_copies_are_kept_where_so_many_are_asked_for(
    catalog, library, backend, buckets, synced, forgotten, pruned, remote
):
    library.fill(2, folder=".")
    cloud, vault = (
        backend(name, bucket=bucket)
        for name, bucket in zip(("cloud", "vault"), buckets, strict=False)
    )
    for each in (cloud, vault):
        synced(each)
    forgotten("0000.mp3")

    assert pruned(cloud, keep_copies=2).left == {"FewCopies": 1}
    assert pruned(cloud, keep_copies=1).removed == 1
    assert pruned(vault, keep_copies=1).left == {"FewCopies": 1}
    assert remote(vault).keys() == ["0000.mp3", "0001.mp3"]


def test_what_another_program_has_written_over_an_old_key_is_not_touched_and_told_once(
    catalog, following, renamed, pruned, remote, statuses
):
    """From then on it is an untracked object, as an audit says."""
    remote(following).put("a.mp3", b"theirs")

    report = pruned(following)

    assert report.reasons == {"Changed": 1}
    assert "a.mp3" in report.failures[0].reason
    assert remote(following).get("a.mp3") == b"theirs"
    assert statuses(following) == [("a.mp3", "removed"), ("b.mp3", "active")]
    again = pruned(following)
    assert (again.candidates, again.failed) == (0, 0)
    assert audit(catalog, following, AuditRequest("listing")).foreign == 1


@pytest.mark.parametrize("key", ["a.mp3", "moved/a.mp3"], ids=["Changed", "NotProven"])
def test_an_object_that_stays_keeps_no_other_one(
    library, following, synced, pruned, remote, key, request
):
    for name in "abcd":
        library.add(f"{name}.mp3")
    synced(following)
    (library.root / "moved").mkdir()
    for name in "abcd":
        (library.root / f"{name}.mp3").rename(library.root / "moved" / f"{name}.mp3")
    synced(following)
    remote(following).put(key, b"theirs")

    report = pruned(following, workers=1)

    assert report.reasons == {request.node.callspec.id: 1}
    assert report.failures[0].file == f"{following.key_prefix}a.mp3"
    assert report.removed == 3


def test_what_comes_between_the_look_and_the_delete_is_not_touched(
    library, proxy, backend, synced, move, pruned, remote
):
    through = backend(layout="path", endpoint=proxy.endpoint)
    library.add("a.mp3")
    synced(through)
    move(through, "a.mp3", "b.mp3")
    proxy.before.append(
        lambda r: remote(through).put("a.mp3", b"theirs") if r.method == "DELETE" else None
    )

    report = pruned(through)

    assert report.reasons == {"Changed": 1}
    assert remote(through).get("a.mp3") == b"theirs"


@pytest.mark.parametrize(
    ("tag", "code"), [("another/1", "NotOurs"), ("{}/99", "Adopted"), (None, "Adopted")]
)
def test_what_is_not_tagged_as_ours_stays(
    catalog, library, following, synced, move, pruned, remote, tag, code
):
    content = library.add("a.mp3").read_bytes()
    synced(following)
    move(following, "a.mp3", "b.mp3")
    tagged = {} if tag is None else {OWNER_TAG: tag.format(catalog_id(catalog))}
    remote(following).put("a.mp3", content, Metadata=tagged)

    report = pruned(following)

    assert {**report.left, **report.reasons} == {code: 1}
    assert remote(following).get("a.mp3") == content
    assert pruned(following, adopted=True).removed == (code == "Adopted")


def test_adopted_objects_go_by_an_option_only(
    catalog, library, cloud, scanned, forgotten, pruned, remote
):
    content = library.add("a.mp3").read_bytes()
    library.add("b.mp3")
    remote(cloud).put("a.mp3", content)
    scanned()
    assert adopt(catalog, cloud).adopted == 1
    forgotten("a.mp3")

    assert pruned(cloud).left == {"Adopted": 1}
    assert pruned(cloud, adopted=True).removed == 1
    assert remote(cloud).keys() == []


def test_what_was_written_again_since_it_was_known_stays(
    catalog, following, renamed, pruned, remote
):
    """The same bytes, under our tag, by whomever."""
    earlier = "datetime(CURRENT_TIMESTAMP, '-1 hour')"
    times = ", ".join(f"{c} = {earlier}" for c in ("verified_at", "updated_at", "created_at"))
    change(catalog, f"UPDATE file_locations SET {times}")

    for _ in range(2):
        report = pruned(following)
        assert (report.left, report.failed) == ({"Newer": 1}, 0)
    assert remote(following).keys() == ["a.mp3", "b.mp3"]
    assert pruned(following, adopted=True).removed == 1


def test_what_has_our_tag_and_another_etag_stays(following, renamed, pruned, remote):
    """As where a bucket was brought elsewhere, in other parts."""
    tag = remote(following).head("a.mp3")["Metadata"]
    remote(following).put("a.mp3", b"#" * 300, Metadata=tag)

    for options in ({}, {"adopted": True}):
        report = pruned(following, **options)
        assert (report.left, report.failed) == ({"Newer": 1}, 0)
    assert remote(following).keys() == ["a.mp3", "b.mp3"]


def test_what_was_adopted_and_written_again_stays_whatever_is_asked(
    catalog, library, cloud, scanned, forgotten, pruned, remote
):
    """Its owner still writes there."""
    content = library.add("a.mp3").read_bytes()
    library.add("b.mp3")
    remote(cloud).put("a.mp3", content)
    scanned()
    adopt(catalog, cloud)
    forgotten("a.mp3")
    times = ", ".join(
        f"{c} = datetime(CURRENT_TIMESTAMP, '-1 hour')"
        for c in ("verified_at", "updated_at", "created_at")
    )
    change(catalog, f"UPDATE file_locations SET {times}")

    assert pruned(cloud, adopted=True).left == {"Newer": 1}
    assert remote(cloud).keys() == ["a.mp3"]


class _OneCase(StoreClient):
    """A store that stands on a file system to which `A.mp3` and `a.mp3` are one."""

    def head(self, key):
        return super().head(key.replace("A.mp3", "a.mp3"))

    def call(self, verb, key, operation, **arguments):
        folded = key and key.replace("A.mp3", "a.mp3")
        return super().call(verb, folded, operation, **arguments)


def test_a_key_that_its_store_takes_for_the_files_new_one_stays(
    library, following, synced, move, pruned, remote
):
    content = library.add("a.mp3").read_bytes()
    synced(following)
    move(following, "a.mp3", "A.mp3")
    remote(following).delete("A.mp3")

    report = pruned(following, connect=_OneCase)

    assert (report.left, report.failed, report.removed) == ({"OneObject": 1}, 0, 0)
    assert remote(following).get("a.mp3") == content


def test_a_key_that_differs_in_case_alone_goes_where_it_is_another_object(
    library, following, synced, move, pruned, remote
):
    library.add("a.mp3")
    synced(following)
    move(following, "a.mp3", "A.mp3")

    class Later(StoreClient):
        """The second one was made some time after the first."""

        def head(self, key):
            found = super().head(key)
            if found is None or not key.endswith("A.mp3"):
                return found
            return dataclasses.replace(found, modified_at=found.modified_at + timedelta(seconds=5))

    assert pruned(following, connect=Later).removed == 1
    assert remote(following).contents() == library.contents()


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_clock_that_goes_wrong_at_the_store_is_none_of_that(following, renamed, pruned, hours):

    class ElseWhen(StoreClient):
        def head(self, key):
            found = super().head(key)
            if found is None:
                return None
            off = timedelta(hours=hours)
            return dataclasses.replace(
                found, modified_at=found.modified_at + off, answered_at=found.answered_at + off
            )

    assert pruned(following, connect=ElseWhen).removed == 1


def test_an_answer_that_took_long_makes_no_object_newer(following, renamed, pruned, monkeypatch):
    now, waited = removing._now, timedelta(0)

    class Slow(StoreClient):
        def head(self, key):
            nonlocal waited
            found = super().head(key)
            if found is not None:  # its clock goes as ours does
                found = dataclasses.replace(found, answered_at=found.answered_at + waited)
            waited += timedelta(seconds=20)
            return found

    monkeypatch.setattr(removing, "_now", lambda: now() + waited)

    report = pruned(following, connect=Slow)

    assert (report.removed, report.left) == (1, {})


def test_an_object_whose_etag_is_not_known_stays(catalog, following, renamed, pruned, remote):
    change(catalog, "UPDATE file_locations SET etag = NULL WHERE status = 'superseded'")

    assert pruned(following).left == {"NoETag": 1}
    assert "a.mp3" in remote(following).keys()  # noqa: SIM118


# --- conditions, versions, locks ----------------------------------------------------------------


def test_without_conditions_nothing_is_deleted_unasked(
    catalog, library, following, renamed, pruned, remote
):
    keep_answers(catalog, following, {"conditional_delete": False})

    with pytest.raises(UsageError, match="not known to delete only the version") as caught:
        pruned(following)
    assert "--unconditional" in caught.value.hint
    assert "a.mp3" in remote(following).keys()  # noqa: SIM118

    assert pruned(following, unconditional=True).removed == 1
    assert remote(following).contents() == library.contents()


def test_where_a_store_denies_the_very_version_it_goes_by_an_option_only(
    library, proxy, backend, synced, move, pruned, remote
):
    """Swift does so of objects in parts."""
    through = backend(layout="path", endpoint=proxy.endpoint)
    library.add("a.mp3")
    synced(through)
    move(through, "a.mp3", "b.mp3")
    denied = refusal(412, "PreconditionFailed")
    proxy.answer(denied, lambda r: r.method == "DELETE" and r.header("if-match"))

    report = pruned(through)
    assert report.reasons == {"NoCondition": 1}
    assert "--unconditional" in report.failures[0].reason
    assert "a.mp3" in remote(through).keys()  # noqa: SIM118

    assert pruned(through, unconditional=True).removed == 1
    assert remote(through).contents() == library.contents()


def test_a_store_that_is_not_known_is_asked(catalog, library, backend, synced, move, pruned):
    unknown = backend(layout="path", provider="other")
    library.add("a.mp3")
    synced(unknown)
    move(unknown, "a.mp3", "b.mp3")

    assert pruned(unknown).removed == 1

    tested = "SELECT json_extract(config, '$.tested.conditional_delete') FROM storage_backends"
    assert 1 in rows(catalog, tested)


def test_a_bucket_that_keeps_versions_keeps_them(
    library, s3, backend, synced, move, pruned, remote
):
    s3.create_bucket(Bucket="kept-versions")
    s3.put_bucket_versioning(Bucket="kept-versions", VersioningConfiguration={"Status": "Enabled"})
    versioned = backend(layout="path", bucket="kept-versions")
    library.add("a.mp3")
    synced(versioned)
    move(versioned, "a.mp3", "b.mp3")

    report = pruned(versioned)

    assert (report.removed, report.versioned, report.failures) == (1, True, [])
    assert remote(versioned).contents() == library.contents()
    found = s3.list_object_versions(Bucket="kept-versions", Prefix=f"{versioned.key_prefix}a.mp3")
    assert len(found["Versions"]) == len(found["DeleteMarkers"]) == 1


def test_in_a_bucket_with_object_lock_what_is_locked_stays_as_it_is(
    library, s3, backend, synced, move, pruned, remote
):
    s3.create_bucket(Bucket="locked-weight", ObjectLockEnabledForBucket=True)
    retention = {"Mode": "GOVERNANCE", "Days": 1}
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": retention}}
    s3.put_object_lock_configuration(Bucket="locked-weight", ObjectLockConfiguration=rule)
    locked = backend(layout="path", bucket="locked-weight")
    library.add("a.mp3")
    synced(locked)
    move(locked, "a.mp3", "b.mp3")

    report = pruned(locked)

    assert (report.removed, report.locked, report.failures) == (1, True, [])
    found = s3.list_object_versions(Bucket="locked-weight", Prefix=f"{locked.key_prefix}a.mp3")
    assert len(found["Versions"]) == 1


# --- others at the same time --------------------------------------------------------------------


def test_nobody_puts_anything_where_something_is_about_to_be_deleted(
    catalog, library, following, renamed, synced, scanned, pruned, remote, monkeypatch
):
    """A file comes to the key in the moment before the delete."""
    newcomer = library.add("a.mp3").read_bytes()
    scanned()
    told = []
    remove = removing.remove

    def meanwhile(client, known):
        enqueue(catalog, following)
        done = upload(catalog, following)
        told.append((done.queued, done.succeeded, done.failed))
        told.append(adopt(catalog, following, dry_run=True).adopted)
        return remove(client, known)

    monkeypatch.setattr("catalogsync_assets.core.prune.prune.remove", meanwhile)
    assert pruned(following).removed == 1
    assert told == [(0, 0, 0), 0]

    assert synced(following).succeeded == 1
    assert remote(following).get("a.mp3") == newcomer
    assert remote(following).contents() == library.contents()


def test_nobody_adopts_while_objects_are_deleted(catalog, following, renamed, pruned, monkeypatch):
    monkeypatch.setattr("catalogsync_assets.core.backends.pruning.PATIENCE", 0.0)
    remove = removing.remove

    def meanwhile(client, known):
        for other in (adopt, prune):
            with pytest.raises(CatalogError, match="another process"):
                other(catalog, following, dry_run=False)
        return remove(client, known)

    monkeypatch.setattr("catalogsync_assets.core.prune.prune.remove", meanwhile)

    assert pruned(following).removed == 1


def test_what_is_recorded_between_the_plan_and_the_deed_counts(
    catalog, following, renamed, forgotten, pruned, remote, monkeypatch
):
    planned = _Run._plan

    def then_withdrawn(*arguments):
        found = planned(*arguments)
        change(catalog, "UPDATE file_locations SET status = 'missing' WHERE locator LIKE '%/b.mp3'")
        return found

    monkeypatch.setattr(_Run, "_plan", then_withdrawn)

    report = pruned(following)

    assert (report.candidates, report.left) == (1, {"Taken": 1})
    assert "a.mp3" in remote(following).keys()  # noqa: SIM118


def test_where_the_backend_is_in_doubt_nothing_goes(catalog, following, renamed, pruned):
    change(catalog, "UPDATE storage_backends SET generation = 0")  # as in a copy put back

    with pytest.raises(RunAborted, match="changed by another copy of this catalog"):
        pruned(following)
    assert prune(catalog, following, older_than_seconds=0).candidates == 1


# --- stops --------------------------------------------------------------------------------------


def test_a_delete_that_is_refused_leaves_everything_as_it_was(
    library, proxy, backend, synced, move, pruned, statuses
):
    through = backend(layout="path", endpoint=proxy.endpoint)
    library.add("a.mp3")
    synced(through)
    move(through, "a.mp3", "b.mp3")
    proxy.answer(refusal(503), lambda r: r.method == "DELETE")

    report = pruned(through)

    assert (report.removed, report.failed) == (0, 1)
    assert statuses(through) == [("a.mp3", "superseded"), ("b.mp3", "active")]


def test_what_stays_of_a_forgotten_file_can_still_be_had(
    library, proxy, backend, synced, forgotten, pruned, statuses
):
    through = backend(endpoint=proxy.endpoint)
    library.add("a.mp3")
    library.add("b.mp3")
    synced(through)
    forgotten("a.mp3")
    proxy.answer(refusal(403, "AccessDenied"), lambda r: r.method == "DELETE")

    with pytest.raises(RunAborted):
        pruned(through)

    assert statuses(through) == [("a.mp3", "active"), ("b.mp3", "active")]


@pytest.mark.parametrize(("is_gone", "status"), [(True, "removed"), (False, "superseded")])
def test_what_a_killed_run_has_left_an_upload_sets_right(
    catalog, following, renamed, uploaded, remote, statuses, is_gone, status
):
    ids = rows(catalog, "SELECT id FROM file_locations WHERE locator LIKE '%/a.mp3'")
    since = "SELECT status_since, updated_at FROM file_locations WHERE locator LIKE '%/a.mp3'"
    made_older(catalog, 5)
    before = rows(catalog, since)
    assert locations.mark(catalog, ids, "prune") == 1
    if is_gone:
        remote(following).delete("a.mp3")

    uploaded(following)

    assert statuses(following) == [("a.mp3", status), ("b.mp3", "active")]
    assert (rows(catalog, since) == before) == (not is_gone)


def test_nothing_is_kept_aside_where_a_kept_copy_is_about_to_be_deleted(
    catalog, library, cloud, synced, uploaded, remote
):
    first = library.add("a.mp3").read_bytes()
    synced(cloud)
    library.add("a.mp3")
    synced(cloud)
    (kept,) = rows(catalog, "SELECT id FROM file_locations WHERE locator LIKE '%/old/%'")
    assert locations.mark(catalog, [kept], "prune") == 1
    with catalog.read() as connection:
        old = remote_copies.copies_by_id(connection, [kept])[kept]
    aside = locations.KeptAside(old, old.key, old.etag, "read")

    with pytest.raises(ConflictError):
        locations.withdraw_at(catalog, cloud, f"{cloud.key_prefix}a.mp3", 2, kept=[aside])
    assert remote(cloud).get(old.key.removeprefix(cloud.key_prefix)) == first


def test_one_bucket_under_two_names_is_one(
    catalog, library, backend, buckets, synced, uploaded, move, pruned, remote
):
    """As an access point has it: another name, and the stores have been seen to be the same."""
    following = backend(layout="path")
    alias = backend("alias", base_prefix=following.base_prefix, bucket=buckets[1])
    library.add("a.mp3")
    synced(following)
    assert uploaded(alias).succeeded == 1
    move(following, "a.mp3", "b.mp3")
    keep_verdicts(catalog, [(following, alias, "same")])

    assert pruned(following).candidates == 0
    keep_verdicts(catalog, [(following, alias, "apart")])
    assert pruned(following).removed == 1


def test_a_kept_copy_of_what_is_current_again_stays(catalog, library, cloud, synced, pruned):
    """The next edit may keep it once more, in this very moment."""
    library.add("a.mp3")
    synced(cloud)
    library.add("a.mp3")
    synced(cloud)
    newer = "DELETE FROM file_locations WHERE file_asset_id = 2"
    older = "UPDATE file_locations SET status = 'active' WHERE locator NOT LIKE '%/old/%'"
    for statement in (newer, older, "UPDATE file_assets SET superseded_by_id = NULL"):
        change(catalog, statement)

    assert pruned(cloud).candidates == 0


def test_what_would_be_freed_is_told(catalog, following, renamed):
    assert old_weight(catalog, following).files == 0

    made_older(catalog, 31)

    assert (old_weight(catalog, following).files, old_weight(catalog, following).bytes) == (1, 300)
