"""The disk is dead: what is made of what a backend holds."""

import dataclasses
import hashlib
import shutil

import pytest

from catalogsync_assets.core.backends.generation import is_doubted
from catalogsync_assets.core.backup.backup import back_up
from catalogsync_assets.core.catalog.backends import backend_by_name, catalog_id, keep_profile
from catalogsync_assets.core.catalog.playlists import song_ids
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.errors import ConfigurationError, RunAborted, UsageError
from catalogsync_assets.core.library.scan import scan
from catalogsync_assets.core.rebuild.names import path_of
from catalogsync_assets.core.rebuild.rebuild import Request, rebuild
from catalogsync_assets.core.rebuild.staging import Item, Staging
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.stores.profile import StoreProfile
from catalogsync_assets.core.upload.upload import Limits, upload
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.proxy import refusal


def _contents(root):
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in root.rglob("*")
        if p.is_file() and ".catalogsync" not in p.parts
    }


def _uploads(catalog, backend):
    enqueue(catalog, backend)
    report = upload(catalog, backend, limits=Limits(workers=4, attempts=2))
    return report.queued, report.bytes


@pytest.fixture
def sampled(library, sample):
    """The library holds real audio files with tags."""
    shutil.copytree(sample, library.root, dirs_exist_ok=True)
    return library


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_after_the_loss_of_all_but_a_bucket_every_file_comes_back(
    sampled, cloud, synced, snapshot, lost, rebuilt, with_snapshot
):
    for number in range(40):
        sampled.add(f"Ä folder/{number} sóng.mp3")
    synced(cloud)
    if with_snapshot:
        snapshot(cloud)
    before = lost()
    new, there, report = rebuilt(cloud, take_over=True)
    assert (report.snapshot is not None) == with_snapshot
    assert report.new == (0 if with_snapshot else len(before))
    assert report.failed == report.missing == report.damaged == report.left == 0
    done = restore(new, sampled.root)
    assert (done.restored, done.failed) == (len(before), 0)
    assert _contents(sampled.root) == before
    again = scan(new, [sampled.root])
    assert (again.unchanged, again.new, again.moved, again.missing) == (len(before), 0, 0, 0)
    assert _uploads(new, there) == (0, 0)


def _playlists(catalog):
    """Of each playlist, the paths of its songs in their order."""
    paths = dict(
        rows(
            catalog,
            "SELECT f.song_id, l.library_path FROM file_assets f JOIN file_locations l"
            " ON l.file_asset_id = f.id WHERE l.library_path IS NOT NULL AND f.companion IS NULL",
        )
    )
    with catalog.read() as connection:
        return {
            name: [paths[song] for song in song_ids(connection, id_)]
            for id_, name in rows(catalog, "SELECT id, name FROM playlists")
        }


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_what_lies_beside_the_music_comes_back_and_its_playlists_too(
    library, catalog, cloud, synced, snapshot, lost, rebuilt, with_snapshot
):
    library.fill(3)
    library.add("album/cover.jpg")
    library.add(".catalogsyncignore", b"Scratch/\n")
    library.add("album/all.cue", b'FILE "0002.mp3" MP3\nFILE "0000.mp3" MP3\n')
    library.add("mine.m3u8", b"album/0001.mp3\nalbum/0000.mp3\nalbum/0001.mp3\nnone.mp3\n")
    synced(cloud)
    lists = _playlists(catalog)
    assert lists["mine"] == ["album/0001.mp3", "album/0000.mp3", "album/0001.mp3"]
    if with_snapshot:
        snapshot(cloud)
    before = lost()

    new, there, report = rebuilt(cloud, take_over=True)
    assert report.foreign == 0
    restore(new, library.root)
    assert _contents(library.root) == before
    again = scan(new, [library.root])

    assert (again.unchanged, again.new) == (7, 0)
    assert _playlists(new) == lists
    assert rows(new, "SELECT COUNT(*) FROM file_assets WHERE companion IS NOT NULL") == [4]
    assert len(rows(new, "SELECT DISTINCT song_id FROM song_backend_presence")) == 3
    assert _uploads(new, there) == (0, 0)


@pytest.mark.parametrize("with_snapshot", [True, False])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_a_library_that_is_still_there_is_joined_by_content(
    sampled, cloud, synced, snapshot, catalog, rebuilt, tmp_path, with_snapshot, elsewhere
):
    synced(cloud)
    if with_snapshot:
        snapshot(cloud)
    new, there, _ = rebuilt(cloud)
    root = sampled.root
    if elsewhere:
        root = tmp_path / "another disk"
        shutil.copytree(sampled.root, root)
        some = min(root.rglob("*.flac"))
        some.rename(some.with_name("called otherwise.flac"))
    files = len(sampled.contents())
    found = scan(new, [root])
    assert (found.new, found.changed, found.suspected) == (0, 0, 0)
    assert found.moved + found.returned == files
    assert _uploads(new, there) == (0, 0)
    assert restore(new, root).present == files
    verified = (
        "SELECT COUNT(*) FROM file_locations WHERE verified_by = 'read' AND status = 'active'"
    )
    assert rows(new, verified) == [files]


def test_what_tags_and_names_tell_is_as_a_scan_has_it(sampled, cloud, synced, catalog, rebuilt):
    synced(cloud)
    new, _, _ = rebuilt(cloud, take_over=True)
    for what in (
        "SELECT title, artist, album, track_number, duration_seconds, match_key FROM songs"
        " ORDER BY match_key, title",
        "SELECT id, size_bytes, sha256, format, object_key, tags_digest, audio_digest, tags_error"
        " FROM file_assets ORDER BY object_key",
        "SELECT name FROM artists ORDER BY name",
    ):
        assert rows(new, what) == rows(catalog, what)


@pytest.mark.parametrize(("provider", "how"), [("seaweedfs", "head"), ("other", None)])
def test_a_digest_counts_as_verified_only_where_the_store_has_checked_it(
    library, cloud, synced, rebuilt, provider, how
):
    library.fill(2)
    synced(cloud)
    new, _, _ = rebuilt(dataclasses.replace(cloud, provider=provider))
    said = "SELECT DISTINCT verified_by, verified_at IS NULL FROM file_locations WHERE etag <> ''"
    assert rows(new, said) == [(how, how is None)]


def _paths(catalog):
    sql = (
        "SELECT l.library_path FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id"
        " WHERE l.library_path IS NOT NULL AND l.status <> 'superseded'"
        " AND f.superseded_by_id IS NULL ORDER BY 1"
    )
    return rows(catalog, sql)


def test_what_came_after_the_snapshot_is_found_in_the_bucket(
    library, backend, synced, snapshot, lost, rebuilt, remote, catalog
):
    cloud = backend(layout="path")
    library.add("stays.mp3", size=400)
    library.add("edited.mp3", size=500)
    library.add("moved.mp3", size=600)
    library.add("removed.mp3", size=700)
    keep_profile(catalog, cloud, StoreProfile(copies=True, copy_checksum=True))
    synced(cloud)
    library.add("sent later.mp3", size=800)
    scan(catalog, [library.root])
    snapshot(cloud)
    library.add("edited.mp3", size=550)
    library.add("new.mp3", size=900)
    (library.root / "album").mkdir()
    (library.root / "moved.mp3").rename(library.root / "album" / "renamed.mp3")
    synced(cloud)
    (library.root / "removed.mp3").unlink()
    remote(cloud).delete("removed.mp3")
    before = lost()
    new, there, report = rebuilt(cloud, take_over=True)
    assert (report.new, report.joined, report.missing) == (2, 2, 1)
    assert _paths(new) == sorted([*before, "removed.mp3"])
    done = restore(new, library.root)
    assert (done.restored, done.failed) == (len(before), 1)
    assert _contents(library.root) == before
    assert _uploads(new, there) == (0, 0)


def test_a_rebuild_that_is_stopped_goes_on_where_it_was(library, cloud, synced, bare_machine):
    files = library.fill(30)
    synced(cloud)
    new, there = bare_machine(cloud)
    looked_at = 0

    class Stopped(Exception):  # noqa: N818
        pass

    while True:
        seen = 0

        def stop_soon(report):
            nonlocal seen
            seen = report.looked_at
            if report.looked_at >= 8:
                raise Stopped

        try:
            report = rebuild(new, there, Request(take_over=True), workers=1, progress=stop_soon)
        except Stopped:
            looked_at += seen
        else:
            looked_at += report.looked_at
            break
    assert report.resumed
    assert looked_at < 2 * len(files)
    assert rows(new, "SELECT COUNT(*) FROM file_assets") == [len(files)]
    assert not list(new.path.parent.glob("*.rebuild*"))


def test_a_catalog_with_files_is_not_filled(library, cloud, synced, catalog):
    library.fill(1)
    synced(cloud)
    with pytest.raises(UsageError, match="holds files already"):
        rebuild(catalog, cloud, Request())


@pytest.mark.parametrize("taken_over", [True, False])
def test_the_old_id_is_taken_over_only_if_a_person_says_so(
    library, cloud, synced, snapshot, catalog, rebuilt, taken_over
):
    library.fill(2)
    synced(cloud)
    snapshot(cloud)
    new, there, report = rebuilt(cloud, take_over=taken_over)
    assert (catalog_id(new) == catalog_id(catalog)) == taken_over == report.taken_over
    assert is_doubted(new, there) == (not taken_over)


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_keys_that_lead_out_of_the_library_are_left_alone(
    library, cloud, synced, snapshot, lost, rebuilt, remote, with_snapshot
):
    library.add("good.mp3")
    synced(cloud)
    if with_snapshot:
        snapshot(cloud)
    remote(cloud).put("a/.catalogsync/evil.mp3", b"evil")
    remote(cloud).put(".catalogsync/evil.mp3", b"evil")
    lost()
    new, _, report = rebuilt(cloud, take_over=True)
    assert report.unsafe_keys == [f"{cloud.key_prefix}a/.catalogsync/evil.mp3"]
    assert _paths(new) == ["good.mp3"]


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("a/b.mp3", "a/b.mp3"),
        ("a/../b.mp3", None),
        ("../b.mp3", None),
        ("/etc/b.mp3", None),
        ("a//b.mp3", None),
        ("./b.mp3", None),
        ("a/b\x1b[2J.mp3", None),
        ("x" * 256, None),
        ("/".join(["x" * 250] * 13), None),
        (".catalogsync/moves/17", "recovered/17"),
        (".catalogsync/moves/../17", None),
        (".catalogsync/generation.json", None),
        ("a/.catalogsync-test/b.mp3", None),
        ("a/.CatalogSync/b.mp3", None),
    ],
)
def test_a_key_stands_for_a_path_below_the_root_or_for_none(name, path):
    assert path_of(name) == path


def test_another_program_s_objects_are_left_alone_unless_they_are_music(
    library, cloud, synced, rebuilt, remote
):
    library.add("ours.mp3")
    synced(cloud)
    remote(cloud).put("theirs.mp3", b"music of another tool")
    remote(cloud).put("notes.docx", b"not music")
    remote(cloud).put("folder/", b"")
    remote(cloud).put(".catalogsync/old/1/earlier.mp3", b"replaced")
    new, _, report = rebuilt(cloud)
    assert _paths(new) == ["ours.mp3", "theirs.mp3"]
    assert (report.foreign, report.kept) == (1, 1)
    digest = hashlib.sha256(b"music of another tool").hexdigest()
    read = "SELECT l.verified_by FROM file_locations l JOIN file_assets f ON f.id = file_asset_id"
    assert rows(new, f"{read} WHERE sha256 = '{digest}' AND etag <> ''") == ["read"]


def test_an_object_that_cannot_be_looked_at_is_tried_again(
    library, backend, synced, bare_machine, proxy
):
    library.fill(5)
    cloud = backend(endpoint=proxy.endpoint)
    synced(cloud)
    new, there = bare_machine(cloud)
    refused = ["0003.mp3"]
    proxy.answer(refusal(403, "AccessDenied"), lambda r: r.key.endswith(tuple(refused)))
    with pytest.raises(RunAborted):
        rebuild(new, there, Request(), attempts=1)
    refused.clear()
    assert rebuild(new, there, Request()).failed == 0
    assert len(_paths(new)) == 5


def test_a_dry_run_says_what_would_come(library, cloud, synced, snapshot, rebuilt):
    library.fill(3)
    synced(cloud)
    snapshot(cloud)
    library.add("after.mp3", size=1000)
    synced(cloud)
    _, _, report = rebuilt(cloud, dry_run=True)
    assert (report.copied_files, report.known, report.to_look_at) == (3, 3, 1)
    assert report.to_look_at_bytes == 1000
    assert report.looked_at == 0


def _copied(remote, cloud, key, new_key):
    """What the store copies has all that is said of it."""
    said = remote(cloud).head(key)["Metadata"]
    remote(cloud).put(new_key, remote(cloud).get(key), Metadata=said)


def test_of_two_objects_of_one_file_the_younger_is_where_it_is(
    library, cloud, synced, rebuilt, remote
):
    """As a move leaves them: the old object stays until it is pruned."""
    library.add("z/old place.mp3")
    synced(cloud)
    head = remote(cloud).head("z/old place.mp3")
    while True:  # the store tells whole seconds
        _copied(remote, cloud, "z/old place.mp3", "a/new place.mp3")
        if remote(cloud).head("a/new place.mp3")["LastModified"] > head["LastModified"]:
            break
    new, _, report = rebuilt(cloud, take_over=True)
    assert (report.new, report.joined) == (1, 1)
    assert _paths(new) == ["a/new place.mp3"]
    places = "SELECT locator, status FROM file_locations WHERE etag <> '' ORDER BY locator"
    prefix = cloud.key_prefix
    assert rows(new, places) == [
        (f"{prefix}a/new place.mp3", "active"),
        (f"{prefix}z/old place.mp3", "superseded"),
    ]


def test_a_file_that_a_kill_has_left_half_way_to_another_key_comes_back(
    sampled, cloud, synced, lost, rebuilt, remote
):
    synced(cloud)
    key = next(key for key in sorted(remote(cloud).contents()) if key.endswith(".flac"))
    content = remote(cloud).get(key)
    _copied(remote, cloud, key, ".catalogsync/moves/5")
    remote(cloud).delete(key)
    lost()
    new, _, _ = rebuilt(cloud, take_over=True)
    restore(new, sampled.root)
    assert _contents(sampled.root)["recovered/5.flac"] == content


def test_what_is_half_way_to_another_key_is_what_it_was(library, cloud, synced, rebuilt, remote):
    library.add("cover.jpg", b"\xff\xd8\xff\xe0" + bytes(400))
    library.add("song.mp3")
    library.add("rip.log", b"a log")
    synced(cloud)
    for number, name in enumerate(("cover.jpg", "song.mp3", "rip.log")):
        said = remote(cloud).head(name)
        remote(cloud).put(
            f".catalogsync/moves/{number}",
            remote(cloud).get(name),
            Metadata=said["Metadata"],
            ContentType=said["ContentType"],
        )
        remote(cloud).delete(name)
    new, _, _ = rebuilt(cloud, take_over=True)
    assert _paths(new) == ["recovered/0.jpg", "recovered/1.mp3", "recovered/2.txt"]
    kinds = "SELECT companion, format FROM file_assets ORDER BY object_key"
    assert rows(new, kinds) == [("image", "jpg"), (None, "mp3"), ("text", "txt")]


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_what_was_learned_for_a_catalog_that_was_thrown_away_is_not_believed(
    library, cloud, backend, synced, snapshot, rebuilt, bare_machine, with_snapshot
):
    library.fill(2)
    synced(cloud)
    if with_snapshot:
        snapshot(cloud)
    new, there = bare_machine(cloud)
    staging = Staging(new.path.with_name(f"{new.path.name}.rebuild"))
    key = f"{cloud.key_prefix}not there.mp3"
    staging.add([Item(key, "not there.mp3", 3, '"e"', "0" * 64, None, None, 1.0, _SONG)])
    staging.close()
    rebuild(new, there, Request(), attempts=2)
    assert _paths(new) == ["album/0000.mp3", "album/0001.mp3"]


_SONG = {"song": {"title": "x", "match_key": None}, "artists": (), "format": "mp3"}


def stopped_in_the_midst(new, there, **options):
    """A rebuild that ends, as by a signal, while files are recorded."""

    class Stopped(Exception):  # noqa: N818
        pass

    def stop(report):
        if report.step == "files":
            raise Stopped

    with pytest.raises(Stopped):
        rebuild(new, there, Request(), progress=stop, **options)


def test_what_has_gone_since_a_rebuild_was_stopped_is_not_shown_as_there(
    library, cloud, synced, bare_machine, remote
):
    library.fill(12)
    synced(cloud)
    new, there = bare_machine(cloud)

    stopped_in_the_midst(new, there, workers=1)
    remote(cloud).delete("album/0007.mp3")
    report = rebuild(new, there, Request(), attempts=2)
    assert report.resumed
    status = "SELECT status FROM file_locations WHERE etag <> '' AND locator LIKE '%0007.mp3'"
    assert rows(new, status) == ["missing"]
    assert report.missing == 1


@pytest.mark.parametrize("with_snapshot", [True, False])
def test_a_person_may_say_later_that_the_old_catalog_is_no_more(
    library, cloud, synced, snapshot, bare_machine, catalog, with_snapshot
):
    library.fill(2)
    synced(cloud)
    if with_snapshot:
        snapshot(cloud)
    new, there = bare_machine(cloud)

    stopped_in_the_midst(new, there)
    report = rebuild(new, there, Request(take_over=True), attempts=2)
    assert (report.resumed, report.taken_over) == (True, True)
    assert (report.snapshot is not None) == with_snapshot
    assert catalog_id(new) == catalog_id(catalog)
    assert not is_doubted(new, there)


def test_a_file_whose_object_is_gone_is_found_where_it_was_before(
    library, backend, synced, snapshot, rebuilt, remote, catalog, lost
):
    cloud = backend(layout="path")
    keep_profile(catalog, cloud, StoreProfile(copies=True, copy_checksum=True))
    content = library.add("old.mp3").read_bytes()
    synced(cloud)
    (library.root / "old.mp3").rename(library.root / "new.mp3")
    synced(cloud)
    snapshot(cloud)
    assert set(remote(cloud).keys()) == {"old.mp3", "new.mp3"}
    remote(cloud).delete("new.mp3")
    lost()
    new, _, report = rebuilt(cloud, take_over=True)
    assert report.missing == 0
    places = "SELECT locator, status, verified_by FROM file_locations WHERE etag <> ''"
    assert sorted(rows(new, places)) == [
        (f"{cloud.key_prefix}new.mp3", "superseded", None),
        (f"{cloud.key_prefix}old.mp3", "active", "read"),
    ]
    assert restore(new, library.root).restored == 1
    assert list(_contents(library.root).values()) == [content]


def test_what_has_come_again_to_a_key_that_was_given_up_is_found(
    library, cloud, synced, snapshot, lost, rebuilt, catalog
):
    content = library.add("song.mp3", size=400).read_bytes()
    synced(cloud)
    library.add("song.mp3", size=500)
    synced(cloud)
    snapshot(cloud)
    library.add("song.mp3", content)
    synced(cloud)
    lost()
    new, there, report = rebuilt(cloud, take_over=True)
    assert report.damaged == 0
    assert restore(new, library.root).restored == 1
    assert _contents(library.root) == {"song.mp3": content}
    scan(new, [library.root])
    assert _uploads(new, there) == (0, 0)


def test_an_object_in_an_archive_stops_no_other(
    library, backend, synced, snapshot, rebuilt, proxy, remote
):
    """Its HEAD is answered, and it is another one than the snapshot says."""
    cloud = backend(endpoint=proxy.endpoint)
    library.fill(4)
    synced(cloud)
    snapshot(cloud)
    for number in (1, 2):
        remote(cloud).put(f"album/{number:04d}.mp3", b"another %d" % number)
    reads = 0

    def is_second_read(request):
        nonlocal reads
        here = request.method == "GET" and request.key.endswith("0001.mp3")
        reads += here
        return here and reads > 2

    proxy.answer(refusal(403, "InvalidObjectState"), is_second_read)
    _, _, report = rebuilt(cloud)
    assert report.failed == 1
    assert [f.code for f in report.failures] == ["InvalidObjectState"]
    assert (report.doubtful, report.left) == (1, 0)


def test_an_object_that_is_replaced_while_it_is_looked_at_passes_for_no_other(
    library, cloud, synced, bare_machine, remote
):
    remote(cloud).put("theirs.mp3", b"as it was")

    class Late(StoreClient):
        def read(self, key, **options):
            remote(cloud).put("theirs.mp3", b"as it is")
            return super().read(key, **options)

    new, there = bare_machine(cloud)
    rebuild(new, there, Request(), attempts=2, connect=Late)
    said = "SELECT etag FROM file_locations WHERE etag <> ''"
    assert rows(new, said) == [remote(cloud).head("theirs.mp3")["ETag"]]


def test_objects_of_two_catalogs_are_one_s_own_only_if_a_person_says_whose(
    library, cloud, synced, rebuilt, remote, catalog
):
    library.fill(2)
    synced(cloud)
    for number in range(2):
        tag = {"catalogsync-file": f"0123456789abcdef/{number + 1}"}
        remote(cloud).put(f"theirs/{number}.mp3", b"x%d" % number, Metadata=tag)
    with pytest.raises(UsageError, match="0123456789abcdef"):
        rebuilt(cloud, take_over=True)
    new, _, report = rebuilt(cloud, take_over=True, catalog_id=catalog_id(catalog))
    assert report.new == 4
    assert catalog_id(new) == catalog_id(catalog)
    assert rows(new, "SELECT object_key FROM file_assets WHERE id IN (1, 2) ORDER BY id") == [
        "album/0000.mp3",
        "album/0001.mp3",
    ]


@pytest.mark.parametrize("known", ["the same", "another", None])
def test_an_encrypted_snapshot_asks_for_its_passphrase(
    library, cloud, synced, catalog, rebuilt, monkeypatch, known
):
    library.fill(2)
    synced(cloud)
    monkeypatch.setenv("CATALOGSYNC_PASSPHRASE", "the same")
    assert [r.status for r in back_up(catalog, [cloud])] == ["made"]
    if known is None:
        monkeypatch.delenv("CATALOGSYNC_PASSPHRASE")
    else:
        monkeypatch.setenv("CATALOGSYNC_PASSPHRASE", known)
    if known == "the same":
        assert rebuilt(cloud)[2].copied_files == 2
        return
    with pytest.raises(ConfigurationError, match="passphrase") as caught:
        rebuilt(cloud)
    assert "the same" not in str(caught.value)


def test_what_was_restored_to_another_root_is_not_looked_for_at_the_lost_one(
    library, another_library, cloud, synced, snapshot, lost, rebuilt
):
    library.fill(2)
    synced(cloud)
    snapshot(cloud)
    lost()
    new, _, _ = rebuilt(cloud)
    root = another_library("elsewhere").root
    assert restore(new, root).restored == 2
    places = "SELECT library_root, status FROM file_locations WHERE library_path IS NOT NULL"
    assert sorted(set(rows(new, places))) == [
        (str(root), "active"),
        (str(library.root), "superseded"),
    ]
    shutil.copy(root / "album/0000.mp3", root / "a copy.mp3")
    assert scan(new, [root]).new == 1


def test_a_backend_has_the_layout_that_it_had(library, backend, synced, snapshot, bare_machine):
    cloud = backend(layout="path")
    library.fill(1)
    synced(cloud)
    snapshot(cloud)
    for keeps, layout in ((True, "path"), (False, "keep")):
        new, there = bare_machine(dataclasses.replace(cloud, layout="keep"))
        rebuild(new, there, Request(keep_layout=keeps))
        assert backend_by_name(new, "cloud").layout == layout


def test_files_of_two_lost_roots_that_have_one_path_both_come_back(
    library, another_library, cloud, scanned, uploaded, snapshot, lost, rebuilt, tmp_path
):
    second = another_library("second")
    contents = {library.add("a/same.mp3").read_bytes(), second.add("a/same.mp3").read_bytes()}
    scanned(library.root, second.root)
    uploaded(cloud)
    snapshot(cloud)
    lost()
    shutil.rmtree(second.root)
    new, _, _ = rebuilt(cloud)
    done = restore(new, tmp_path / "third")
    assert (done.restored, done.failed) == (2, 0)
    assert set(_contents(tmp_path / "third").values()) == contents


def test_a_full_disk_is_called_so(library, cloud, synced, bare_machine, monkeypatch):
    library.fill(50)
    synced(cloud)
    new, there = bare_machine(cloud)
    begin = Staging.__init__

    def on_a_full_disk(self, path):
        begin(self, path)
        self._db.execute("PRAGMA max_page_count = 3")

    with monkeypatch.context() as patch:
        patch.setattr(Staging, "__init__", on_a_full_disk)
        with pytest.raises(RunAborted, match="is full") as caught:
            rebuild(new, there, Request())
    assert "remove" not in str(caught.value)
    assert rebuild(new, there, Request()).new == 50
