"""A bucket with faults: what each level finds, what a repair mends, what is left alone."""

from collections import Counter
from datetime import datetime, timedelta, timezone

import pytest

from catalogsync_assets.core.audit.audit import AuditRequest, draw, findings, history
from catalogsync_assets.core.catalog.scope import Scope, Selection
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.errors import UsageError
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.faults import Faults, found
from catalogsync_assets_tests.support.files import flipped

STATUSES = "SELECT status, COUNT(*) FROM file_locations WHERE backend_id = ? GROUP BY status"


@pytest.mark.parametrize(
    "objects",
    [200, pytest.param(1_200, marks=pytest.mark.thorough)],  # more than a page of a listing
)
def test_every_fault_is_found_and_mended_and_nothing_else_is_touched(
    library, catalog, cloud, synced, verified, remote, objects
):
    library.fill(objects, size=20)
    assert synced(cloud, workers=16).succeeded == objects
    faults = Faults(remote(cloud), 20)

    listing = verified(cloud)

    assert (found(listing, "missing"), found(listing, "size")) == (faults.deleted, faults.cut)
    assert found(listing, "foreign") == faults.foreign
    assert (listing.checked, listing.ok, listing.content) == (objects, objects - 40, 0)
    assert dict(rows(catalog, STATUSES, cloud.id)) == {
        "active": objects - 40,
        "missing": 20,
        "damaged": 20,
    }

    full = verified(cloud, "full", workers=16, repair=True)

    assert (found(full, "missing"), found(full, "size")) == (faults.deleted, faults.cut)
    assert found(full, "content") == faults.changed
    assert (full.lost, full.repaired, full.open) == (60, 60, 0)
    assert set(remote(cloud).keys()) == faults.before | faults.foreign
    assert {remote(cloud).get(key) for key in faults.foreign} == {b"of somebody else"}
    local = library.contents()
    for key in faults.deleted | faults.cut | faults.changed:
        assert remote(cloud).get(key) == local[key]

    for level in ("listing", "full"):
        again = verified(cloud, level, workers=16)
        assert (again.checked, again.ok, again.lost) == (objects, objects, 0)
    assert dict(rows(catalog, STATUSES, cloud.id)) == {"active": objects}


@pytest.fixture
def ten(library, cloud, synced):
    """A backend with ten files."""
    library.fill(10)
    synced(cloud)
    return cloud


def test_presence_falls_with_what_is_lost_and_rises_with_what_is_mended(
    ten, catalog, verified, remote
):
    present = (
        "SELECT SUM(files_present), SUM(files_total) FROM song_backend_presence"
        " WHERE backend_id = ?"
    )
    remote(ten).delete("album/0003.mp3")
    remote(ten).put("album/0004.mp3", b"short")

    verified(ten)
    assert rows(catalog, present, ten.id) == [(8, 10)]

    verified(ten, repair=True)
    assert rows(catalog, present, ten.id) == [(10, 10)]


def test_without_repair_the_next_upload_mends(ten, uploaded, verified, remote, library):
    remote(ten).delete("album/0003.mp3")
    remote(ten).put("album/0004.mp3", b"x" * 300)

    assert verified(ten, "full").lost == 2

    assert uploaded(ten).succeeded == 2
    assert remote(ten).contents() == library.contents()


def test_a_head_tells_other_bytes_of_the_same_length_by_the_digest(ten, verified, remote):
    remote(ten).put("album/0004.mp3", flipped(remote(ten).get("album/0004.mp3")))

    assert verified(ten).lost == 0
    report = verified(ten, "head")

    assert found(report, "content") == {"album/0004.mp3"}
    assert (report.checked, report.ok, report.unproven) == (10, 9, 0)


def test_what_has_come_back_is_active_again(ten, catalog, verified, remote):
    content = remote(ten).get("album/0003.mp3")
    remote(ten).delete("album/0003.mp3")
    other = remote(ten).get("album/0004.mp3")
    remote(ten).put("album/0004.mp3", flipped(other))
    assert verified(ten, "full").lost == 2
    remote(ten).put("album/0003.mp3", content)
    remote(ten).put("album/0004.mp3", other)

    report = verified(ten)

    assert (report.ok, report.recovered, report.lost) == (10, 2, 0)
    assert dict(rows(catalog, STATUSES, ten.id)) == {"active": 10}


def test_what_was_lost_stays_lost_until_it_is_whole(ten, catalog, verified, remote):
    """Another object of the right size at the key of a missing one is no return."""
    remote(ten).delete("album/0003.mp3")
    verified(ten)
    remote(ten).put("album/0003.mp3", b"x" * 300)

    assert found(verified(ten), "content") == {"album/0003.mp3"}
    assert dict(rows(catalog, STATUSES, ten.id)) == {"active": 9, "damaged": 1}


def test_confirmed_locations_say_when_and_how(ten, catalog, verified):
    change(catalog, "UPDATE file_locations SET verified_at = '2020-01-01 00:00:00'")
    how = (
        "SELECT verified_by, verified_at > '2020-01-02', COUNT(*) FROM file_locations"
        " WHERE backend_id = ? GROUP BY 1, 2"
    )

    verified(ten)
    assert rows(catalog, how, ten.id) == [("server-digest", 0, 10)]  # a listing verifies nothing
    verified(ten, "head")
    assert rows(catalog, how, ten.id) == [("head", 1, 10)]
    verified(ten, "full")
    assert rows(catalog, how, ten.id) == [("read", 1, 10)]


def test_a_file_without_a_good_copy_is_named_with_the_reason(
    ten, library, scanned, verified, remote
):
    for name in ("0003.mp3", "0004.mp3"):
        remote(ten).delete(f"album/{name}")
    (library.root / "album" / "0003.mp3").unlink()
    scanned()

    report = verified(ten, repair=True)

    assert (report.lost, report.repaired, report.open) == (2, 1, 1)
    assert {f.key.partition("/")[2]: f.repair for f in report.findings} == {
        "album/0003.mp3": "there is no good copy, neither here nor on another backend",
        "album/0004.mp3": "repaired",
    }


def test_a_local_file_that_has_rotted_repairs_nothing(ten, library, verified, remote):
    remote(ten).delete("album/0003.mp3")
    library.rewrite("album/0003.mp3", flipped(library.contents()["album/0003.mp3"]))

    report = verified(ten, repair=True)

    assert (report.lost, report.repaired) == (1, 0)
    assert "SHA-256 mismatch" in (report.findings[0].repair or "")
    assert "album/0003.mp3" not in remote(ten).contents()


def test_a_repair_uploads_nothing_but_what_was_found(ten, library, scanned, verified, remote):
    library.add("album/new.mp3")
    scanned()
    remote(ten).delete("album/0003.mp3")

    report = verified(ten, repair=True)

    assert report.upload is not None
    assert report.upload.queued == 1
    assert "album/new.mp3" not in remote(ten).contents()


# --- foreign objects ----------------------------------------------------------------------------


def test_keys_of_tests_and_of_earlier_contents_are_not_foreign(
    ten, library, scanned, verified, remote
):
    remote(ten).put(".catalogsync-test-1/plain", b"left behind")
    library.add("album/0003.mp3", b"newer content")
    scanned()  # the older is still stored, and the newer not yet

    assert verified(ten).foreign == 0


def test_an_object_whose_row_was_lost_is_foreign_and_stays(ten, catalog, verified, remote):
    change(catalog, "DELETE FROM upload_tasks")
    change(catalog, "DELETE FROM file_locations WHERE locator LIKE '%/0003.mp3' AND backend_id = ?",
           ten.id)  # fmt: skip

    report = verified(ten)

    assert found(report, "foreign") == {"album/0003.mp3"}
    assert (report.checked, report.open) == (9, 0)
    assert "album/0003.mp3" in remote(ten).contents()


def test_what_is_uploaded_while_the_listing_goes_on_is_not_missed(
    library, scanned, proxy, through_proxy, uploaded, synced, verified
):
    """Its row is there, and the listing has passed its key."""
    library.fill(3)
    synced(through_proxy)
    library.add("album/late.mp3")
    scanned()
    done = []

    def upload_after(request, _):
        if "list-type" in request.parameters and not done:
            done.append(uploaded(through_proxy))

    proxy.after.append(upload_after)

    report = verified(through_proxy)

    assert [d.succeeded for d in done] == [1]
    assert (report.lost, report.foreign, report.findings) == (0, 0, [])


def test_what_is_recorded_after_it_was_listed_is_not_foreign(
    library, catalog, proxy, through_proxy, synced, verified, remote
):
    """An upload writes its row a moment after its object."""
    library.fill(4)
    synced(through_proxy)
    remote(through_proxy).delete("album/0001.mp3")
    late = (
        "UPDATE file_locations SET container_name = ?"
        " WHERE backend_id = ? AND locator LIKE '%/0002.mp3'"
    )
    change(catalog, late, "not yet", through_proxy.id)

    def record(request, _):
        if request.method == "HEAD" and request.key.endswith("0001.mp3"):
            change(catalog, late, through_proxy.bucket, through_proxy.id)

    proxy.after.append(record)

    report = verified(through_proxy)

    assert (report.missing, report.foreign) == (1, 0)
    assert [f.kind for f in report.findings] == ["missing"]


@pytest.mark.parametrize("key", ["a//b", "c/", "./x", "\x7f", "d\\e"])
def test_a_foreign_key_of_any_shape_does_not_end_the_listing(ten, backend, proxy, verified, key):
    """obstore refuses to name some; they come from other programs, and other stores than this."""
    seen = backend("cloud", endpoint=proxy.endpoint, base_prefix=ten.base_prefix)

    def rename(request, answer):
        if "list-type" in request.parameters:
            encoded = key.replace("\x7f", "%7F") if "encoding-type" in request.parameters else key
            answer.body = answer.body.replace(b"album/0003.mp3", encoded.encode())
            answer.headers["Content-Length"] = str(len(answer.body))

    proxy.after.append(rename)

    report = verified(seen)

    assert report.foreign == 1
    assert (report.ok, report.lost) == (10, 0)  # the renamed one is still there


# --- the order of a listing -----------------------------------------------------------------------

#: By bytes `-` and `!` come before `/`; SeaweedFS lists as a tree.
TANGLED = ["a/1.mp3", "a!/1.mp3", "a-b.mp3", "a.mp3", "a/b/2.mp3", "a0.mp3", "é.mp3", "雨.mp3",
           "🎵.mp3", "A/z.mp3", "a (live)/1.mp3", "it's \"q\" %41.mp3", "[a]{b}.mp3"]  # fmt: skip


@pytest.mark.parametrize("order", ["as the store has it", "by bytes", "backwards"])
def test_the_order_of_a_listing_does_not_matter(
    library, cloud, synced, verified, remote, order, monkeypatch
):
    for name in TANGLED:
        library.add(name)
    synced(cloud)
    remote(cloud).delete("a!/1.mp3")
    remote(cloud).put("a/b/2.mp3", b"short")
    remote(cloud).put("a!b/foreign", b"x")
    whole = [o for page in StoreClient(cloud).list_pages() for o in page]
    keys = [o.key for o in whole]
    assert keys != sorted(keys, key=str.encode), "the store's order has become another"
    if order != "as the store has it":
        ordered = sorted(whole, key=lambda o: o.key.encode(), reverse=order == "backwards")
        pages = [ordered[i : i + 3] for i in range(0, len(ordered), 3)]
        monkeypatch.setattr(StoreClient, "list_pages", lambda *_, **__: iter(pages))

    report = verified(cloud)

    assert Counter(f.kind for f in report.findings) == {"missing": 1, "size": 1, "foreign": 1}
    assert (report.checked, report.ok) == (len(TANGLED), len(TANGLED) - 2)


# --- which files ----------------------------------------------------------------------------------


@pytest.mark.parametrize("level", ["listing", "head", "full"])
def test_a_selection_limits_what_is_compared(ten, catalog, verified, remote, level):
    (song,) = rows(catalog, "SELECT song_id FROM file_assets WHERE object_key = 'album/0003.mp3'")
    for name in ("0003", "0004"):
        remote(ten).delete(f"album/{name}.mp3")
    remote(ten).put("foreign", b"x")

    report = verified(ten, level, scope=Scope(selections=(Selection("song", (song,)),)))

    assert (report.checked, report.total, report.foreign) == (1, 1, 0)
    assert found(report, "missing") == {"album/0003.mp3"}
    assert dict(rows(catalog, STATUSES, ten.id)) == {"active": 9, "missing": 1}


@pytest.mark.parametrize("level", ["listing", "head", "full"])
def test_a_batch_can_be_verified(ten, catalog, verified, level):
    (key,) = rows(catalog, "SELECT key FROM batches")

    assert verified(ten, level, scope=Scope(batch_key=key)).ok == 10
    assert verified(ten, level, scope=Scope(batch_key="another")).checked == 0


def test_since_leaves_out_what_was_verified_later(ten, catalog, verified):
    change(
        catalog,
        "UPDATE file_locations SET verified_at = '2020-01-01 00:00:00'"
        " WHERE backend_id = ? AND locator LIKE '%/0003.mp3'",
        ten.id,
    )
    change(
        catalog,
        "UPDATE file_locations SET verified_at = NULL"
        " WHERE backend_id = ? AND locator LIKE '%/0004.mp3'",
        ten.id,
    )
    lately = datetime.now(timezone.utc).replace(tzinfo=None) - timedelta(hours=1)

    assert verified(ten, "head", since=lately).checked == 2
    assert verified(ten, "head", since=lately).checked == 0


def test_a_sample_is_about_its_share_and_differs_from_one_to_the_next(
    library, catalog, cloud, synced, verified
):
    library.fill(200, size=10)
    synced(cloud)
    taken = []
    for _ in range(2):
        change(catalog, "UPDATE file_locations SET verified_by = NULL")
        report = verified(cloud, "head", sample_percent=25.0)
        taken.append(rows(catalog, "SELECT id FROM file_locations WHERE verified_by = 'head'"))
        assert report.checked == len(taken[-1])
        assert 20 <= report.checked <= 80
        assert report.total == 50

    assert taken[0] != taken[1]


@pytest.mark.parametrize(
    ("level", "percent"), [("listing", 5.0), ("head", 0.0), ("full", 101.0), ("deep", None)]
)
def test_a_request_that_makes_no_sense_is_refused(level, percent):
    with pytest.raises(UsageError):
        AuditRequest(level, sample_percent=percent)


# --- the record -----------------------------------------------------------------------------------


def test_audits_are_kept_with_what_they_found(ten, catalog, verified, remote):
    remote(ten).delete("album/0003.mp3")
    first = verified(ten)
    second = verified(ten, "full", repair=True)

    newest, older = history(catalog, ten)

    assert (older.id, older.level, older.status) == (first.audit_id, "listing", "complete")
    assert (older.counts["ok"], older.counts["missing"]) == (9, 1)
    assert (newest.id, newest.repair, newest.counts["repaired"]) == (second.audit_id, True, 1)
    assert [(f.kind, f.repair) for f in findings(catalog, first.audit_id)] == [("missing", None)]
    assert [f.repair for f in findings(catalog, second.audit_id)] == ["repaired"]


def test_a_row_that_was_written_after_the_look_stays_as_it_is(
    library, catalog, proxy, through_proxy, synced, verified, remote
):
    """Another run uploads the object anew, between the look that misses it and the mark."""
    library.fill(3)
    synced(through_proxy)
    remote(through_proxy).delete("album/0001.mp3")

    def uploaded_meanwhile(request, answer):
        if answer.status == 404 and request.key.endswith("0001.mp3"):
            change(
                catalog,
                "UPDATE file_locations SET etag = 'another', updated_at = '2030-01-01 00:00:00'"
                " WHERE backend_id = ? AND locator LIKE '%/0001.mp3'",
                through_proxy.id,
            )

    proxy.after.append(uploaded_meanwhile)

    report = verified(through_proxy, "head")

    assert (report.ok, report.missing, report.changed, report.findings) == (2, 0, 1, [])
    assert dict(rows(catalog, STATUSES, through_proxy.id)) == {"active": 3}


# --- bytes that rot below the store ---------------------------------------------------------------


def test_what_has_rotted_below_its_digest_is_found_by_reading_and_believed_by_nothing_else(
    library, catalog, proxy, through_proxy, synced, verified
):
    """The store goes on giving back the digest of what was sent once."""
    library.fill(5)
    synced(through_proxy)
    proxy.spoil_answers(lambda r: r.method == "GET" and r.key.endswith("0003.mp3"))

    assert verified(through_proxy, "head").ok == 5
    assert found(verified(through_proxy, "full"), "content") == {"album/0003.mp3"}
    for level in ("listing", "head"):
        assert found(verified(through_proxy, level), "content") == {"album/0003.mp3"}
    assert dict(rows(catalog, STATUSES, through_proxy.id)) == {"active": 4, "damaged": 1}


def test_one_bad_read_is_no_damage(library, proxy, through_proxy, synced, verified):
    """A bit that tips on the way is not the store's."""
    library.fill(5)
    synced(through_proxy)
    proxy.spoil_answers(lambda r: r.method == "GET" and r.key.endswith("0003.mp3"), times=1)

    assert verified(through_proxy, "full").ok == 5
    assert len([r for r in proxy.of("GET") if r.key.endswith("0003.mp3")]) == 2


# --- another backend as the good copy -------------------------------------------------------------


def test_what_is_no_longer_here_is_repaired_from_another_backend(
    ten, library, scanned, backend, uploaded, verified, remote
):
    other = backend("other")
    uploaded(other)
    content = library.contents()
    for name in ("0003", "0004", "0005"):
        (library.root / "album" / f"{name}.mp3").unlink()
    scanned()
    remote(ten).delete("album/0003.mp3")
    remote(ten).put("album/0004.mp3", flipped(content["album/0004.mp3"]))
    remote(ten).delete("album/0005.mp3")
    remote(other).put("album/0005.mp3", flipped(content["album/0005.mp3"]))  # no good copy

    report = verified(ten, "full", repair=True)

    assert (report.lost, report.repaired) == (3, 2)
    held = remote(ten).contents()
    assert [held.get(f"album/{n}.mp3") for n in ("0003", "0004", "0005")] == [
        content["album/0003.mp3"],
        content["album/0004.mp3"],
        None,
    ]
    (left,) = (f for f in report.findings if f.repair != "repaired")
    assert left.key.endswith("0005.mp3")
    assert verified(other, "full").content == 1


def test_samples_of_two_audits_are_independent():
    """Of a quarter each, a quarter is in common: over the years, every object has its turn."""
    keys = [f"music/Artist {i // 12}/Album/{i % 12:02d} Title.flac" for i in range(4000)]

    first, *others = ({k for k in keys if draw(audit_id, k) < 25} for audit_id in range(1, 9))

    for other in others:
        assert 0.2 < len(first & other) / len(first) < 0.3


def test_status_tells_an_audit_of_everything_from_one_of_some(
    verified, cloud, catalog, library, synced
):
    def limited():
        (here,) = (b for b in backend_status(catalog) if b.name == "cloud")
        assert here.last_audit is not None
        return here.last_audit.limited

    library.fill(2)
    synced(cloud)

    verified(cloud, "full")
    assert not limited()

    verified(cloud, "full", scope=Scope(song_ids=[1]))
    assert limited()
