"""A music library that belongs to nobody: short tagged songs, synthesised.

Belongs here: the invented artists and titles, what the songs sound like, and how they are written.
Does not: reading a library, which is `core.library`.

Names and tags are as awkward as real ones: several scripts, right-to-left text, emoji, combining
marks, and every character that means something in a URL.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mutagen import MutagenError, id3
from mutagen.flac import FLAC
from mutagen.ogg import OggPage
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from catalogsync_assets.core.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_RATE = 44_100
# Larger blocks overflow the stack of the Vorbis encoder in some versions of libsndfile.
_BLOCK_FRAMES = 32_768
# By extension, not by looking: a file that is being written has another name.
_READERS: dict[str, Any] = {"flac": FLAC, "ogg": OggVorbis, "wav": WAVE}
# The frames of a WAV file, by the names of Vorbis comments.
_FRAMES: dict[str, Any] = {
    **{"title": id3.TIT2, "artist": id3.TPE1, "albumartist": id3.TPE2, "album": id3.TALB},
    **{"tracknumber": id3.TRCK, "date": id3.TDRC, "genre": id3.TCON},
}
# Semitones above the root: what the arpeggios are made of.
_CHORDS = ((0, 4, 7, 11), (0, 3, 7, 10), (0, 5, 7, 12), (0, 4, 9, 14), (0, 3, 8, 12))


@dataclass(frozen=True)
class _Song:
    """One file."""

    index: int  #: decides what it sounds like
    path: Path  #: below the library
    tags: dict[str, str]  #: under the names that they have in Vorbis comments

    @property
    def extension(self) -> str:
        return self.path.suffix[1:]


# Of each album the artist, title, year, genre and format; then its songs.
# Composed (NFC) throughout; letters such as J̌ and ɔ̃ have no composed form and keep their marks.
# The first song is there once more as the second file, in another format.
_ALBUMS = """\
Þoka & Ægir | Hvít Nótt | 2011 | Ambient | flac
Ljósið í Firðinum | Öldur | Síðasta Ýlustráið | Hægt, Hægt
月影オーケストラ | 硝子の庭 | 2019 | Electronic | flac
雨のち星 | ガラスのくじら | 午前3時のパレード | ひみつの地図
Тихая Ёлка | Письма из Снега | 2004 | Folk | ogg
Подъём | Чай с Луной | Ещё Один Трамвай | Южный Ветер
نجوم الرمل | بحر من نور | 2016 | World | flac
صباح الياسمين | طريق القمر | همس الكثبان | مطرٌ خفيف
The Teacup Cartographers | Songs in "Quotes" | 1998 | Indie | wav
Are We There Yet? | 50% Rain + 50% Light | Track #1 | Salt 'n' Pepper & Echo
🦊 Foxglove Frequency | Night Drive 🌙✨ | 2022 | Synthwave | ogg
🚗💨 | Neon + Fog | Signal Lost 📡 | 👩🏽‍🚀 Calling Home
J̌ari M̈olto | Ɔ̃dɛ̃ Suite | 2008 | Classical | flac
Ạ̈ndante | Sch̄erzo | Ẽ̀ntr’acte | Z̈ Finale
ענן סגול | שיר לדרך | 2013 | Jazz | ogg
בוקר בחוף | חלון פתוח | רכבת לילה | שתי כוסות תה
Łąka Żółwi | Zażółć Gęślą | 2001 | Folk Rock | flac
Świt | Źródło | Ćma i Lampa | Pod Wiśnią
Trăng Giấy | Phố Mưa | 2020 | Acoustic | ogg
Cà Phê Sữa Đá | Những Ô Cửa | Đường Về | Ngủ Ngoan
Grüße aus Übersee | Straße, Fluß & Meer | 1989 | Krautrock | wav
Großer Bär | Äquator = 0° | Key=Value; a,b | 100 % (Live @ Home)
하늘고래 | 파도 편지 | 2017 | Dream Pop | flac
첫눈 | 느린 우체통 | 달의 뒷면 | 다시, 봄
"""


def make_sample_library(
    root: Path, *, songs: int = 48, seconds: float = 2.0, seed: int = 0
) -> list[Path]:
    """Writes `Artist/Album/NN Title.ext` files (FLAC, Ogg Vorbis, WAV) with tags below a folder.

    The same arguments give the same files; those that are already there are left untouched. So is
    a file whose tags were edited since.

    Args:
        root: the folder; made if missing.
        songs: how many files. From two on, two of them are one song in two formats.
        seconds: how long each plays.
        seed: what the music is drawn from; names and tags are always the same.

    Returns:
        The files, in the order of the albums.

    Raises:
        ConfigurationError: what writes audio files is not installed.
    """
    _require_audio_packages()
    recipe = f"catalogsync sample: seed={seed} seconds={seconds:g}"
    paths = []
    for song in islice(_songs(), songs):
        path = root / song.path
        if _comment(path, song.extension) != recipe:
            _write(path, song, recipe, _synthesise(song.index, seconds, seed))
        paths.append(path)
    return paths


def _require_audio_packages() -> None:
    """Only the demo needs them, so they may be missing; nothing here imports them at its top."""
    try:
        import numpy  # noqa: F401
        import soundfile  # noqa: F401
    except (ImportError, OSError) as error:  # OSError: there is no libsndfile
        raise ConfigurationError(
            f"the sample library cannot write audio files: {error}",
            hint="install what it needs with: pip install numpy soundfile",
        ) from error


def _songs() -> Iterator[_Song]:
    """Without end: the albums come again as further volumes."""
    rows = [line.split(" | ") for line in _ALBUMS.splitlines()]
    index = 0
    for volume in count(1):
        for (artist, title, year, genre, extension), names in zip(
            rows[::2], rows[1::2], strict=True
        ):
            album = title if volume == 1 else f"{title} (Vol. {volume})"
            for number, name in enumerate(names, start=1):
                tags = {
                    **{"title": name, "artist": artist, "albumartist": artist, "album": album},
                    **{"tracknumber": str(number), "tracktotal": str(len(names))},
                    **{"date": year, "genre": genre},
                }
                for kind in (extension, "ogg") if index == 0 else (extension,):
                    path = Path(artist, album, f"{number:02d} {name}.{kind}")
                    yield _Song(index, path, tags)
                index += 1


def _synthesise(index: int, seconds: float, seed: int) -> NDArray[np.float64]:
    """An arpeggio over a soft chord, in stereo, faded in and out."""
    import numpy as np

    rng = np.random.default_rng([seed, index])
    frames = max(1, round(seconds * _RATE))
    time = np.arange(frames) / _RATE
    root = 110.0 * 2 ** (rng.integers(0, 24) / 12)
    chord = [root * 2 ** (step / 12) for step in _CHORDS[rng.integers(len(_CHORDS))]]
    sound = np.zeros((frames, 2))
    for pitch in chord:
        phase = rng.uniform(0, 2 * np.pi, size=2)
        sound += 0.04 * np.sin(2 * np.pi * pitch * time[:, None] + phase)
    step = float(rng.choice([0.125, 0.1667, 0.25]))
    for beat in range(int(seconds / step)):
        pitch = 2 * chord[rng.integers(len(chord))]
        start = round(beat * step * _RATE)
        ring = time[: frames - start]
        note = np.minimum(ring / 0.01, 1) * np.exp(-4 * ring)
        note *= np.sin(2 * np.pi * pitch * ring) + 0.3 * np.sin(4 * np.pi * pitch * ring)
        pan = rng.uniform(0.25, 0.75)
        sound[start:] += 0.15 * note[:, None] * np.array([1 - pan, pan])
    fade = min(seconds / 4, 0.25)
    envelope = np.minimum(np.minimum(time, time[::-1]) / fade, 1) if fade else np.ones(frames)
    quiet: NDArray[np.float64] = np.clip(sound * envelope[:, None], -0.95, 0.95)
    return quiet


def _write(path: Path, song: _Song, recipe: str, sound: NDArray[np.float64]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Hidden and with no music's extension: whoever scans the folder meanwhile does not see it.
    part = path.with_name(f".sample-{song.index:04d}-{song.extension}-{os.getpid()}.part")
    try:
        _encode(part, song, sound)
        _tag(part, song, recipe)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _encode(part: Path, song: _Song, sound: NDArray[np.float64]) -> None:
    import soundfile

    with soundfile.SoundFile(
        part,
        "w",
        samplerate=_RATE,
        channels=sound.shape[1],
        format=song.extension.upper(),
    ) as file:
        for start in range(0, len(sound), _BLOCK_FRAMES):
            file.write(sound[start : start + _BLOCK_FRAMES])
    if song.extension == "ogg":
        _renumber(part, song.index + 1)


def _renumber(part: Path, serial: int) -> None:
    """Gives an Ogg stream a fixed serial number. libsndfile's is a random one."""
    data = part.read_bytes()
    source, target = io.BytesIO(data), io.BytesIO()
    while source.tell() < len(data):
        page = OggPage(source)  # type: ignore[no-untyped-call]
        page.serial = serial
        target.write(page.write())  # type: ignore[no-untyped-call]
    part.write_bytes(target.getvalue())


def _tag(part: Path, song: _Song, recipe: str) -> None:
    audio = _READERS[song.extension](part)
    if song.extension == "wav":
        audio.add_tags()
        number = f"{song.tags['tracknumber']}/{song.tags['tracktotal']}"
        texts = {**song.tags, "tracknumber": number}
        for name, frame in _FRAMES.items():
            audio.tags.add(frame(encoding=id3.Encoding.UTF8, text=[texts[name]]))
        comment: Any = id3.COMM
        audio.tags.add(comment(encoding=id3.Encoding.UTF8, lang="eng", desc="", text=[recipe]))
    else:
        audio.update({**song.tags, "comment": recipe})
    audio.save()


def _comment(path: Path, extension: str) -> str | None:
    """The recipe that a file was made from; None if there is no such file."""
    try:
        audio = _READERS[extension](path)
    except MutagenError:
        return None
    tags = audio.tags or {}
    if extension == "wav":
        frame = tags.get("COMM::eng")
        return str(frame.text[0]) if frame else None
    return str(tags.get("comment", [""])[0])
