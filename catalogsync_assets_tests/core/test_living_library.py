"""A library lives through years in one night: renamed, swapped, moved, copied, retagged, deleted.

One scan and one upload later everything is as a person would want it, and nothing was sent but what
is new.
"""

import itertools
import os
import shutil
import signal
from dataclasses import replace

import mutagen
import pytest

from catalogsync_assets.core.catalog.scope import EVERYTHING
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.library.forget import Request, forget, plan
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets_tests.support.audio_files import tagged
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.files import sha256
from catalogsync_assets_tests.support.proxy import refusal

WAYS = ["flac vorbis", "mp3 id3", "ogg vorbis", "m4a mp4"]
#: Where a FLAC file keeps the digest of its sound (https://www.rfc-editor.org/rfc/rfc9639#section-8.2).
_FLAC_MD5 = 26
ENTRIES = "SELECT playlist_id, position, song_id FROM playlist_entries ORDER BY 1, 2"
PLACES = """
SELECT l.absolute_path, f.id, f.song_id FROM file_locations l
JOIN storage_backends b ON b.id = l.backend_id AND b.backend_type = 'local'
JOIN file_assets f ON f.id = l.file_asset_id WHERE l.status = 'active'
"""


class Living:
    """A library of real audio files, ten to an album, and what becomes of it."""

    def __init__(self, root, other, count):
        self.root, self.other = root, other
        for i in range(count):
            album, track = divmod(i, 10)
            way = WAYS[i % len(WAYS)]
            name = f"Artist {album // 5}/Album {album}/{track + 1:02d} Song.{way.split()[0]}"
            tagged(
                root / name,
                way,
                title=[f"Song {i}"],
                artist=[f"Artist {album // 5}"],
                album=[f"Album {album}"],
                tracknumber=[str(track + 1)],
            )
            with (root / name).open("r+b") as file:  # no two have the same sound
                if way == "flac vorbis":
                    file.seek(_FLAC_MD5)
                else:
                    file.seek(0, os.SEEK_END)
                file.write((i + 1).to_bytes(16, "big"))
            os.utime(root / name, ns=(10**18 + i * 10**9, 10**18 + i * 10**9))
        self.files = sorted(p for p in root.rglob("*.*"))
        #: Where each file is now, by where it was.
        self.now = {p: p for p in self.files}
        self.retagged = []

    def live(self):
        part = len(self.files) // 50
        pick = iter(self.files[1::2] + self.files[0::2])
        some = lambda count: list(itertools.islice(pick, count))  # noqa: E731
        for folder in sorted(p for p in self.root.glob("*/*") if p.is_dir()):
            self._follow(folder, folder.rename(folder.with_name(f"(1999) {folder.name}")))
        swaps = some(2 * max(1, part // 5))
        for one, two in zip(swaps[::2], swaps[1::2], strict=True):
            self._swap(one, two)
        for file in some(part):
            target = self.other / self.now[file].relative_to(self.root)
            target.parent.mkdir(parents=True, exist_ok=True)
            self.now[file] = self.now[file].rename(target)
        copies = some(max(1, part // 2))
        for file in copies:
            shutil.copy(self.now[file], self.now[file].with_stem(f"{self.now[file].stem} copy"))
        for file in some(3 * part):
            self._retag(file)
        for file in some(3 * part):
            self._retag(file)
            place = self.now[file]
            self.now[file] = place.rename(place.with_stem(f"{place.stem} (new)"))
        for file in some(max(1, part // 5)):
            before = self.now[file].stat()
            self._retag(file)
            os.utime(self.now[file], ns=(before.st_atime_ns, before.st_mtime_ns))
        self.deleted = some(max(1, part // 3))
        for file in self.deleted:
            self.now.pop(file).unlink()
        return len(copies)

    def _follow(self, old, new):
        for file, place in self.now.items():
            if place.is_relative_to(old):
                self.now[file] = new / place.relative_to(old)

    def _swap(self, one, two):
        a, b = self.now[one], self.now[two]
        aside = a.rename(a.with_name("aside"))
        b.rename(a)
        aside.rename(b)
        self.now[one], self.now[two] = b, a

    def _retag(self, file):
        audio = mutagen.File(self.now[file], easy=True)
        audio["genre"] = ["Jazz"]
        audio.save()
        self.retagged.append(file)

    def contents(self):
        return {
            str(p.relative_to(root)): p.read_bytes()
            for root in (self.root, self.other)
            for p in root.rglob("*")
            if p.is_file()
        }


@pytest.mark.parametrize("count", [250, pytest.param(5_000, marks=pytest.mark.thorough)])
def test_a_library_lives_and_nothing_is_lost_or_sent_again(
    tmp_path, scanned, uploaded, catalog, backend, remote, count
):
    cloud = backend(layout="path")
    other = tmp_path / "other"
    other.mkdir()
    living = Living(tmp_path / "music", other, count)
    tagged(other / "Here before.mp3", "mp3 id3", title=["Here before"])
    roots = (living.root, living.other)
    scanned(*roots)
    _make_playlists(catalog)
    assert uploaded(cloud).failed == 0
    before = {place: (asset, song) for place, asset, song in rows(catalog, PLACES)}
    entries = rows(catalog, ENTRIES)
    songs = rows(catalog, "SELECT COUNT(*) FROM songs")

    copies = living.live()
    report = scanned(*roots)
    sent = uploaded(cloud)

    assert (report.missing, report.suspected) == (len(living.deleted), 0)
    assert (report.new, report.changed) == (copies, len(living.retagged))
    now = {place: (asset, song) for place, asset, song in rows(catalog, PLACES)}
    retagged = set(living.retagged)
    for old, new in living.now.items():
        asset, song = before[str(old)]
        assert now[str(new)][1] == song, new
        assert (now[str(new)][0] == asset) == (old not in retagged), new
    assert sent.failed == 0
    assert sent.bytes == sum(living.now[file].stat().st_size for file in living.retagged)
    assert rows(catalog, ENTRIES) == entries
    assert rows(catalog, "SELECT COUNT(*) FROM songs") == songs

    contents = living.contents()
    held = remote(cloud).contents()
    assert {path: held.get(path) for path in contents} == contents
    local, store = backend_status(catalog)
    assert (store.songs, store.songs_partial, store.songs_absent) == (store.songs_total, 0, 0)
    assert (local.missing, store.pending) == (len(living.deleted), 0)

    request = Request(gone=False, days=None, paths=tuple(map(str, living.deleted)))
    assert forget(catalog, plan(catalog, request)).files == len(living.deleted)
    target = tmp_path / "restored"
    restore(catalog, target, scope=EVERYTHING, backend=cloud)
    restored = {str(p.relative_to(target)): p for p in target.rglob("*") if p.is_file()}
    assert {path: p.read_bytes() for path, p in restored.items()} == contents


def _make_playlists(catalog):
    change(catalog, "INSERT INTO playlists (id, name) VALUES (1, 'every third'), (2, 'backwards')")
    for playlist, order in ((1, "id"), (2, "-id")):
        which = "WHERE id % 3 = 0" if playlist == 1 else ""
        change(
            catalog,
            "INSERT INTO playlist_entries (playlist_id, position, song_id)"
            f" SELECT {playlist}, ROW_NUMBER() OVER (ORDER BY {order}), id FROM songs {which}",
        )
        change(
            catalog,
            "INSERT INTO playlist_songs (playlist_id, song_id, position)"
            f" SELECT {playlist}, song_id, position FROM playlist_entries"
            f" WHERE playlist_id = {playlist}",
        )
def test_killed_at_any_moment_it_comes_to_the_same_end_and_no_row_is_false(
    tmp_path, s3, scanned, uploaded, catalog, backend, remote, proxy, run_python, start_python
):
    """The scan before one of its transactions; the upload before one, or at a request, which the
    store still gets, or not."""
    through = backend(layout="path", endpoint=proxy.endpoint)
    other = tmp_path / "other"
    other.mkdir()
    living = Living(tmp_path / "music", other, 60)
    tagged(other / "Here before.mp3", "mp3 id3", title=["Here before"])
    roots = (living.root, living.other)
    scanned(*roots)
    _make_playlists(catalog)
    assert uploaded(through).failed == 0
    life = _Life(s3, remote(through), catalog, living)
    living.live()
    scan_it = ["scan", "--db", catalog.path]
    scan_it += [word for root in roots for word in ("--library-root", root)]
    upload_it = ["upload", "--backend", "cloud", "--workers", 4, "--db", catalog.path]

    proxy.start_anew()
    counts = []
    for command in (scan_it, upload_it):
        done = run_python(_DYING, 0, *command)
        assert done.code == 0, done.err
        counts.append(int(done.out.split()[-1]))
    requests = len(proxy.requests)
    print(counts, requests)
    life.require_truth()
    expected = life.end()
    assert expected[0][1].songs == expected[0][1].songs_total

    moments = [("scan", n) for n in _spread(counts[0], 7)]
    moments += [("commit", n) for n in _spread(counts[1], 3)]
    moments += [("request", n) for n in _spread(requests, 10)]
    for i, (what, number) in enumerate(moments):
        life.begin_anew()
        if what == "scan":
            assert run_python(_DYING, number, *scan_it).code == -signal.SIGKILL
            life.require_truth()
            scanned(*roots)
        else:
            scanned(*roots)
            commits = number if what == "commit" else 0
            process = start_python(_DYING, commits, *upload_it)
            if what == "request":
                proxy.before.append(_killer(process, number, arrives=i % 2))
            _, errors = process.communicate()
            assert process.returncode == -signal.SIGKILL, errors
            proxy.start_anew()
            life.require_truth()
        assert uploaded(through).failed == 0
        assert uploaded(through).queued == 0
        life.require_truth()
        assert life.end() == expected, (what, number)


def _spread(count, moments):
    """So many different numbers between 1 and a count, the first and nearly the last among them."""
    return sorted({1 + i * (count - 1) // moments for i in range(moments)})


def _killer(process, number, *, arrives):
    came = itertools.count(1)

    def kill(_):
        at = next(came)
        if at == number:
            process.kill()
            process.wait()
        return None if at < number or at == number and arrives else refusal(0)

    return kill


# --- killed on the way ----------------------------------------------------------------------------

# A command that dies in the moment before it commits so many transactions, of few files each. It
# says in the end how many there were.
_DYING = """
import os, signal, sys
import sqlalchemy as sa
from catalogsync_assets.cli import main
from catalogsync_assets.core.library import follow, scan
scan._CHUNK = 5
follow._Follow._keep.__defaults__ = (5,)
left = last = int(sys.argv[1])
def die(_):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
sa.event.listen(sa.Engine, "commit", die)
try:
    main(sys.argv[2:], prog_name="catalogsync")
finally:
    print("commits", last - left)
"""
_OBJECTS = """
SELECT l.locator, l.status, f.sha256 FROM file_locations l
JOIN storage_backends b ON b.id = l.backend_id AND b.backend_type = 'object_storage'
JOIN file_assets f ON f.id = l.file_asset_id ORDER BY 1, 2, 3
"""
_FILES = """
SELECT l.absolute_path, l.status, f.sha256, f.object_key, f.song_id, f.superseded_by_id IS NULL
FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
JOIN storage_backends b ON b.id = l.backend_id AND b.backend_type = 'local' ORDER BY 1, 2, 3
"""
_PRESENCE = """
SELECT song_id, backend_id, files_total, files_present, bytes_present FROM song_backend_presence
ORDER BY 1, 2
"""


class _Life:
    """What was before a library lived, to be lived through again and again."""

    def __init__(self, s3, store, catalog, living):
        self._s3, self._store, self._catalog, self._living = s3, store, catalog, living
        self._aside = f"aside/{store.prefix}"
        catalog.close()
        self._rows = catalog.path.read_bytes()
        self._copy(store.prefix, self._aside, store.keys())
        self._before = self._tags()
        self.safe = set(map(sha256, store.contents().values()))

    def begin_anew(self):
        """The disk is as it is after all; catalog and store are as they were before."""
        self._catalog.close()
        for path in self._catalog.path.parent.glob(f"{self._catalog.path.name}-*"):
            path.unlink()
        self._catalog.path.write_bytes(self._rows)
        now = self._tags()
        for key in now.keys() - self._before:
            self._store.delete(key)
        other = [key for key, tag in self._before.items() if now.get(key) != tag]
        self._copy(self._aside, self._store.prefix, other)
        assert self._tags() == self._before

    def _tags(self):
        keys = [*self._store.keys(), *self._store.keys(kept=True)]
        return {key: self._store.head(key)["ETag"] for key in keys}

    def _copy(self, old, new, keys):
        bucket = self._store.bucket
        for key in keys:
            source = {"Bucket": bucket, "Key": old + key}
            self._s3.copy_object(Bucket=bucket, Key=new + key, CopySource=source)

    def require_truth(self):
        """No active row is false, no key two files', and nothing is lost that was safe."""
        held = self._held()
        active = [row for row in rows(self._catalog, _OBJECTS) if row[1] == "active"]
        for locator, _, digest in active:
            assert held.get(locator) == digest, locator
        assert len({locator for locator, *_ in active}) == len(active)
        assert self.safe <= set(held.values())

    def _held(self):
        keys = [*self._store.keys(), *self._store.keys(kept=True)]
        return {self._store.prefix + key: sha256(self._store.get(key)) for key in keys}

    def end(self):
        """All that matters of how it ends."""
        status = [replace(s, last_success=None) for s in backend_status(self._catalog)]
        told = [rows(self._catalog, sql) for sql in (_FILES, _PRESENCE, ENTRIES)]
        active = [row for row in rows(self._catalog, _OBJECTS) if row[1] == "active"]
        return [status, *told, active, self._held()]


