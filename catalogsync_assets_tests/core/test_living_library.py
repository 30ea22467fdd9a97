"""A library lives through years in one night: renamed, swapped, moved, copied, retagged, deleted.

One scan and one upload later everything is as a person would want it, and nothing was sent but what
is new.
"""

import itertools
import os
import shutil

import mutagen
import pytest

from catalogsync_assets.core.catalog.scope import EVERYTHING
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.library.forget import Request, forget, plan
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets_tests.support.audio_files import tagged
from catalogsync_assets_tests.support.database import change, rows

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
