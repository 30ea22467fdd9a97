"""What a prune deletes from every store: the old weight, in whatever form, and nothing else."""

import pytest
from botocore.exceptions import ClientError

from catalogsync_assets.core.errors import UsageError
from catalogsync_assets.core.library import forget
from catalogsync_assets.core.prune.prune import prune
from catalogsync_assets_tests.support.database import rows

MIB = 1024 * 1024
REMOVED = (
    "SELECT locator FROM file_locations WHERE backend_id = ? AND status = 'removed'"
    " AND locator NOT LIKE '%/old/%' ORDER BY locator"
)


class OldWeight:
    """What goes, and what stays."""

    @pytest.fixture
    def following(self, proxy, backend):
        """A backend whose objects follow their files, and which is learned on the way."""
        return backend(endpoint=proxy.endpoint, provider="other", layout="path")

    @pytest.fixture
    def pruned(self, catalog):
        """`pruned(backend)` deletes all old weight, however young, wherever it may."""

        def run(backend, **options):
            terms = {"dry_run": False, "older_than_seconds": 0, "attempts": 2}
            return prune(catalog, backend, **terms, unconditional=True, **options)

        return run

    @pytest.fixture
    def forgotten(self, catalog):
        """`forgotten(path, …)`: nobody wants these any more, which are gone."""

        def run(*paths):
            plan = forget.plan(catalog, forget.Request(paths=tuple(map(str, paths))))
            assert forget.forget(catalog, plan, count=len(paths)).files == len(paths)

        return run

    @pytest.fixture
    def moved(self, library, following, synced):
        """A file that has moved there from `a.mp3` to `b.mp3`, and its object with it."""
        library.add("a.mp3")
        synced(following)
        (library.root / "a.mp3").rename(library.root / "b.mp3")
        assert synced(following).copied == 1

    @pytest.mark.usefixtures("small_parts")
    def test_all_old_weight_goes_and_nothing_else(
        self, catalog, library, following, synced, forgotten, pruned, found_out, remote
    ):
        """Moved, changed, forgotten, in parts; and one that another program has written over."""
        for name in ("moved", "changed", "forgotten", "theirs", "stays"):
            library.add(f"{name} é.mp3")
        library.add("large.flac", size=6 * MIB)
        assert synced(following).failures == []
        for name in ("moved", "theirs"):
            (library.root / f"{name} é.mp3").rename(library.root / f"{name} now.mp3")
        library.add("changed é.mp3")
        gone = [library.root / "forgotten é.mp3", library.root / "large.flac"]
        for path in gone:
            path.unlink()
        report = synced(following)
        assert (report.copied, report.failures) == (2, [])
        forgotten(*gone)
        there = remote(following)
        there.put("theirs é.mp3", b"theirs")
        assert len(there.keys(kept=True)) == 1

        if not found_out.conditional_delete:
            with pytest.raises(UsageError, match="not known to delete only the version"):
                prune(catalog, following, older_than_seconds=0, dry_run=False)
        report = pruned(following)

        assert (report.candidates, report.removed, report.reasons) == (5, 4, {"Changed": 1})
        assert there.contents() == {**library.contents(), "theirs é.mp3": b"theirs"}
        assert there.keys(kept=True) == []
        removed = rows(catalog, REMOVED, following.id)
        names = [key.removeprefix(following.key_prefix) for key in removed]
        assert names == ["forgotten é.mp3", "large.flac", "moved é.mp3", "theirs é.mp3"]
        assert synced(following).queued == 0

    def test_what_comes_between_the_look_and_the_delete_stays(
        self, following, proxy, moved, pruned, found_out, remote
    ):
        if not found_out.conditional_delete:
            pytest.skip("the store keeps no conditions of a delete: the look is all there is")

        def come_first(request):
            if request.method == "DELETE" and request.key.endswith("/a.mp3"):
                remote(following).put("a.mp3", b"theirs")

        proxy.before.append(come_first)

        assert pruned(following).reasons == {"Changed": 1}
        assert remote(following).get("a.mp3") == b"theirs"

    def test_a_delete_whose_answer_was_lost_is_no_failure(
        self, library, following, proxy, moved, pruned, remote
    ):
        lost = proxy.lose_answer(lambda r: r.method == "DELETE" and r.key.endswith("/a.mp3"))

        report = pruned(following)

        assert len(lost) == 1
        assert (report.removed + report.gone, report.failures) == (1, [])
        assert remote(following).contents() == library.contents()

    @pytest.mark.parametrize("locked", [False, True], ids=["versions", "object lock"])
    def test_versions_that_a_bucket_keeps_stay(
        self, library, backend, synced, forgotten, pruned, s3, remote, locked
    ):
        bucket = f"weight-{'locked' if locked else 'versions'}"
        try:
            s3.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=locked)
            if locked:
                rule = {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}
                lock = {"ObjectLockEnabled": "Enabled", "Rule": rule}
                s3.put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=lock)
            else:
                on = {"Status": "Enabled"}
                s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration=on)
        except ClientError as error:
            pytest.skip(f"the store has no such buckets ({error.response['Error']['Code']})")
        kept = backend(bucket=bucket, provider="other", layout="path")
        content = library.add("a.mp3").read_bytes()
        library.add("b.mp3")
        assert synced(kept).failures == []
        (library.root / "a.mp3").unlink()
        synced(kept)
        forgotten(library.root / "a.mp3")

        report = pruned(kept)

        assert (report.removed, report.failures) == (1, [])
        assert (report.versioned, report.locked) == (True, locked)
        assert remote(kept).contents() == library.contents()
        where = {"Bucket": bucket, "Prefix": kept.key_prefix + "a.mp3"}
        (version,) = s3.list_object_versions(**where)["Versions"]
        old = s3.get_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
        with old["Body"] as body:
            assert body.read() == content
