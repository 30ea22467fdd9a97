"""A library that lives through years in one night."""

from __future__ import annotations

import itertools
import os
import shutil

import mutagen

from catalogsync_assets_tests.support.audio_files import tagged

WAYS = ["flac vorbis", "mp3 id3", "ogg vorbis", "m4a mp4"]
#: Where a FLAC file keeps the digest of its sound
#: (https://www.rfc-editor.org/rfc/rfc9639#section-8.2).
_FLAC_MD5 = 26


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
