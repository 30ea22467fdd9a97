"""A music library that belongs to nobody: short tagged songs, synthesised.

Belongs here: the invented artists and titles, what the songs sound like, and how they are written.
Does not: reading a library, which is `core.library`.

Names and tags are as awkward as real ones: several scripts, right-to-left text, emoji, combining
marks, and every character that means something in a URL.
"""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
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
_SUBTYPES = {"flac": "PCM_16", "ogg": "VORBIS", "wav": "PCM_16"}
# By extension, not by looking: a file that is being written has another name.
_READERS: dict[str, Any] = {"flac": FLAC, "ogg": OggVorbis, "wav": WAVE}
# Semitones above the root: what the arpeggios are made of.
_CHORDS = ((0, 4, 7, 11), (0, 3, 7, 10), (0, 5, 7, 12), (0, 4, 9, 14), (0, 3, 8, 12))


@dataclass(frozen=True)
class _Album:
    artist: str
    title: str
    year: int
    genre: str
    extension: str
    songs: tuple[str, ...]


@dataclass(frozen=True)
class _Song:
    """One file: `index` decides what it sounds like."""

    index: int
    artist: str
    album: str
    title: str
    number: int
    of: int
    year: int
    genre: str
    extension: str

    @property
    def path(self) -> Path:
        return Path(self.artist, self.album, f"{self.number:02d} {self.title}.{self.extension}")


# Composed (NFC) throughout; letters such as J̌ and ɔ̃ have no composed form and keep their marks.
# The first song is there once more as the second file, in another format.
_ALBUMS = (
    _Album(
        "Þoka & Ægir",
        "Hvít Nótt",
        2011,
        "Ambient",
        "flac",
        ("Ljósið í Firðinum", "Öldur", "Síðasta Ýlustráið", "Hægt, Hægt"),
    ),
    _Album(
        "月影オーケストラ",
        "硝子の庭",
        2019,
        "Electronic",
        "flac",
        ("雨のち星", "ガラスのくじら", "午前3時のパレード", "ひみつの地図"),
    ),
    _Album(
        "Тихая Ёлка",
        "Письма из Снега",
        2004,
        "Folk",
        "ogg",
        ("Подъём", "Чай с Луной", "Ещё Один Трамвай", "Южный Ветер"),
    ),
    _Album(
        "نجوم الرمل",
        "بحر من نور",
        2016,
        "World",
        "flac",
        ("صباح الياسمين", "طريق القمر", "همس الكثبان", "مطرٌ خفيف"),
    ),
    _Album(
        "The Teacup Cartographers",
        'Songs in "Quotes"',
        1998,
        "Indie",
        "wav",
        ("Are We There Yet?", "50% Rain + 50% Light", "Track #1", "Salt 'n' Pepper & Echo"),
    ),
    _Album(
        "🦊 Foxglove Frequency",
        "Night Drive 🌙✨",
        2022,
        "Synthwave",
        "ogg",
        ("🚗💨", "Neon + Fog", "Signal Lost 📡", "👩🏽‍🚀 Calling Home"),
    ),
    _Album(
        "J̌ari M̈olto",
        "Ɔ̃dɛ̃ Suite",
        2008,
        "Classical",
        "flac",
        ("Ạ̈ndante", "Sch̄erzo", "Ẽ̀ntr’acte", "Z̈ Finale"),
    ),
    _Album(
        "ענן סגול",
        "שיר לדרך",
        2013,
        "Jazz",
        "ogg",
        ("בוקר בחוף", "חלון פתוח", "רכבת לילה", "שתי כוסות תה"),
    ),
    _Album(
        "Łąka Żółwi",
        "Zażółć Gęślą",
        2001,
        "Folk Rock",
        "flac",
        ("Świt", "Źródło", "Ćma i Lampa", "Pod Wiśnią"),
    ),
    _Album(
        "Trăng Giấy",
        "Phố Mưa",
        2020,
        "Acoustic",
        "ogg",
        ("Cà Phê Sữa Đá", "Những Ô Cửa", "Đường Về", "Ngủ Ngoan"),
    ),
    _Album(
        "Grüße aus Übersee",
        "Straße, Fluß & Meer",
        1989,
        "Krautrock",
        "wav",
        ("Großer Bär", "Äquator = 0°", "Key=Value; a,b", "100 % (Live @ Home)"),
    ),
    _Album(
        "하늘고래",
        "파도 편지",
        2017,
        "Dream Pop",
        "flac",
        ("첫눈", "느린 우체통", "달의 뒷면", "다시, 봄"),
    ),
)


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
    for song in _songs(songs):
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


def _songs(count: int) -> list[_Song]:
    """The first `count` files. Albums come again as further volumes when there are not enough."""
    songs: list[_Song] = []
    index = 0
    while len(songs) < count:
        volume = index // sum(len(album.songs) for album in _ALBUMS) + 1
        for album in _ALBUMS:
            name = album.title if volume == 1 else f"{album.title} (Vol. {volume})"
            for number, title in enumerate(album.songs, start=1):
                extensions = [album.extension, "ogg"] if index == 0 else [album.extension]
                songs += [
                    _Song(
                        index=index,
                        artist=album.artist,
                        album=name,
                        title=title,
                        number=number,
                        of=len(album.songs),
                        year=album.year,
                        genre=album.genre,
                        extension=extension,
                    )
                    for extension in extensions
                ]
                index += 1
    return songs[:count]


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
        subtype=_SUBTYPES[song.extension],
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
        for frame, text in (
            (id3.TIT2, song.title),
            (id3.TPE1, song.artist),
            (id3.TPE2, song.artist),
            (id3.TALB, song.album),
            (id3.TRCK, f"{song.number}/{song.of}"),
            (id3.TDRC, str(song.year)),
            (id3.TCON, song.genre),
        ):
            audio.tags.add(frame(encoding=id3.Encoding.UTF8, text=[text]))
        comment: Any = id3.COMM
        audio.tags.add(comment(encoding=id3.Encoding.UTF8, lang="eng", desc="", text=[recipe]))
    else:
        audio["title"] = song.title
        audio["artist"] = song.artist
        audio["albumartist"] = song.artist
        audio["album"] = song.album
        audio["tracknumber"] = str(song.number)
        audio["tracktotal"] = str(song.of)
        audio["date"] = str(song.year)
        audio["genre"] = song.genre
        audio["comment"] = recipe
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
