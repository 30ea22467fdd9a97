"""A small file of every kind that mutagen reads, of half a second, without tags or with them.

Written by hand from the specifications, as far as a reader of tags looks, or by libsndfile.
"""

from __future__ import annotations

import functools
import io
import struct
from pathlib import Path

from mutagen.aiff import AIFF
from mutagen.apev2 import APEv2
from mutagen.asf import ASF
from mutagen.dsdiff import DSDIFF
from mutagen.dsf import DSF
from mutagen.flac import FLAC
from mutagen.id3 import ID3, TALB, TIT2, TPE1, TPE2, TPOS, TRCK
from mutagen.mp4 import MP4
from mutagen.ogg import OggPage
from mutagen.oggflac import OggFLAC
from mutagen.oggopus import OggOpus
from mutagen.oggspeex import OggSpeex
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

FRAMES = {"title": TIT2, "artist": TPE1, "album": TALB, "albumartist": TPE2}
FRAMES |= {"tracknumber": TRCK, "discnumber": TPOS}
APE = {"title": "Title", "artist": "Artist", "album": "Album", "albumartist": "Album Artist"}
APE |= {"tracknumber": "Track", "discnumber": "Disc"}
ATOMS = {"title": "\xa9nam", "artist": "\xa9ART", "album": "\xa9alb", "albumartist": "aART"}
ATOMS |= {"tracknumber": "trkn", "discnumber": "disk"}
ATTRIBUTES = {"title": "Title", "artist": "Author", "album": "WM/AlbumTitle"}
ATTRIBUTES |= {"albumartist": "WM/AlbumArtist"}
ATTRIBUTES |= {"tracknumber": "WM/TrackNumber", "discnumber": "WM/PartOfSet"}


def id3(version=4, **tags):
    """An ID3v2 tag."""
    made, file = ID3(), io.BytesIO()
    for name, values in tags.items():
        made.add(FRAMES[name](encoding=1, text=values))
    made.save(file, v2_version=version, v23_sep=None)
    return file.getvalue()


def with_id3_in_front(path, version=4, **tags):
    path.write_bytes(id3(version, **tags) + path.read_bytes())


def with_ape_in_front(path, **tags):
    content = path.read_bytes()
    path.write_bytes(b"")
    with_ape(path, **tags)
    path.write_bytes(path.read_bytes() + content)


def with_ape_before_lyrics(path, **tags):
    """And before a tag of ID3v1, which tells readers that there are lyrics."""
    with_ape(path, **tags)
    lyrics = b"LYRICSBEGIN" + b"INF00001" + b"x"
    old = b"TAG" + bytes(125)
    path.write_bytes(path.read_bytes() + lyrics + b"%06dLYRICS200" % len(lyrics) + old)


def with_skeleton(reader, path, **tags):
    """Behind the page that says which streams an Ogg file has."""
    with_comments(reader, path, **tags)
    page = OggPage()
    page.packets, page.serial, page.first = [b"fishead\0\3\0\0\0".ljust(80, b"\0")], 8, True
    path.write_bytes(page.write() + path.read_bytes())


def with_frames(reader, path, **tags):
    audio = reader(path)
    audio.add_tags()
    for name, values in tags.items():
        audio.tags.add(FRAMES[name](encoding=3, text=values))
    audio.save()


def with_ape(path, **tags):
    made = APEv2()
    for name, values in tags.items():
        made[APE[name]] = values
    made.save(path)


def with_comments(reader, path, **tags):
    audio = reader(path)
    audio.update(tags)
    audio.save()


def with_atoms(path, **tags):
    audio = MP4(path)
    for name, values in tags.items():
        number = name.endswith("number")
        audio[ATOMS[name]] = (
            [tuple(map(int, f"{v}/0".split("/")[:2])) for v in values] if number else values
        )
    audio.save()


def with_attributes(path, **tags):
    audio = ASF(path)
    for name, values in tags.items():
        audio[ATTRIBUTES[name]] = values
    audio.save()


@functools.cache
def recorded(kind, subtype, samples=24_000):
    """Noise, as libsndfile encodes it."""
    import numpy
    import soundfile

    file = io.BytesIO()
    noise = numpy.random.default_rng(0).normal(0, 0.1, samples)
    soundfile.write(file, noise, 48_000, format=kind, subtype=subtype)
    return file.getvalue()


def _atom(name, *parts):
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + name + body


def _mp4():
    zeros, sound = bytes, b"sowt"
    described = struct.pack(">6xH8xHHIHH", 1, 2, 16, 0, 44100, 0)
    entry = _atom(sound, described, _atom(b"chan", zeros(12)))
    stsd = _atom(b"stsd", zeros(4), b"\0\0\0\1", entry)
    mdhd = _atom(b"mdhd", zeros(12), struct.pack(">II", 44100, 22050), zeros(4))
    hdlr = _atom(b"hdlr", zeros(8), b"soun", zeros(13))
    media = _atom(b"mdia", mdhd, hdlr, _atom(b"minf", _atom(b"stbl", stsd)))
    moov = _atom(b"moov", _atom(b"mvhd", zeros(100)), _atom(b"trak", media))
    return _atom(b"ftyp", b"M4A \0\0\0\0M4A ") + moov + _atom(b"mdat", zeros(4000))


def _asf():
    def part(guid, body):
        a, b, c = struct.unpack(">IHH", bytes.fromhex(guid[:16]))
        return (
            struct.pack("<IHH", a, b, c)
            + bytes.fromhex(guid[16:])
            + struct.pack("<Q", len(body) + 24)
            + body
        )

    length = struct.pack("<40xQQQIIII", 5_000_000, 5_000_000, 0, 2, 4000, 4000, 64_000)
    inner = part("8CABDCA1A94711CF8EE400C00C205365", length)
    inner += part(
        "5FBF03B5A92E11CF8EE300C00C205365",
        bytes.fromhex("11D2D3ABBAA9CF118EE600C00C2053650600") + bytes(4),
    )
    header = part("75B22630668E11CFA6D900AA0062CE6C", struct.pack("<IBB", 2, 1, 2) + inner)
    return header + part("75B22636668E11CFA6D900AA0062CE6C", bytes(4000))


def _ogg(*packets):
    pages = []
    for number, packet in enumerate(packets):
        page = OggPage()
        page.packets, page.sequence, page.serial = [packet], number, 7
        page.first, page.last = number == 0, number == len(packets) - 1
        page.position = 22_050 if page.last else 0
        pages.append(page.write())
    return b"".join(pages)


_COMMENT = struct.pack("<I", 4) + b"none" + struct.pack("<I", 0)
_STREAM = (
    struct.pack(">HH6x", 4096, 4096)
    + ((44100 << 44) | (1 << 41) | (15 << 36) | 22_050).to_bytes(8, "big")
    + bytes(16)
)


def _ogg_flac():
    first = b"\x7fFLAC\1\0\0\1fLaC\0\0\0\x22" + _STREAM
    comment = b"\x84" + struct.pack(">I", len(_COMMENT))[1:] + _COMMENT
    return _ogg(first, comment, bytes(4000))


def _speex():
    header = b"Speex   1.2".ljust(28, b"\0") + struct.pack("<iiiiiii", 1, 80, 44100, 1, 4, 1, 8000)
    return _ogg(header.ljust(80, b"\0"), _COMMENT, bytes(4000))


def _tak():
    bits, at = 0, 0
    for value, size in (
        (2, 6),
        (0, 4),
        (0, 4),
        (22_050, 35),
        (0, 3),
        (44100 - 6000, 18),
        (8, 5),
        (1, 4),
    ):
        bits |= value << at
        at += size
    info = (bits.to_bytes(11, "little")).ljust(13, b"\0")
    return b"tBaK" + b"\1" + len(info).to_bytes(3, "little") + info + bytes(4) + bytes(4000)


def _dsdiff():
    def chunk(name, body):
        return name + struct.pack(">Q", len(body)) + body

    sound = chunk(b"FS  ", struct.pack(">I", 2_822_400)) + chunk(b"CHNL", b"\0\1C   ")
    sound += chunk(b"CMPR", b"DSD \x0enot compressed\0")
    body = chunk(b"FVER", b"\1\5\0\0") + chunk(b"PROP", b"SND " + sound)
    return chunk(b"FRM8", b"DSD " + body + chunk(b"DSD ", bytes(176_400)))


def _dsf():
    data = bytes(4096 * 44)
    form = struct.pack("<4sQIIIIIIQII", b"fmt ", 52, 1, 0, 1, 1, 2_822_400, 1, 1_411_200, 4096, 0)
    body = form + struct.pack("<4sQ", b"data", len(data) + 12) + data
    return struct.pack("<4sQQQ", b"DSD ", 28, 28 + len(body), 0) + body


#: Each kind of file by its extension.
CONTENTS = {
    "aac": lambda: (b"\xff\xf1\x50\x80\x20\x1f\xfc" + bytes(249)) * 22,
    "ac3": lambda: (b"\x0b\x77\0\0\x14\x40\x43" + bytes(505)) * 14,
    "aiff": lambda: recorded("AIFF", "PCM_16"),
    "ape": lambda: (
        b"MAC " + struct.pack("<H50xIIIHHI", 3990, 73728, 22_050, 1, 16, 2, 44100) + bytes(4000)
    ),
    "dff": _dsdiff,
    "dsf": _dsf,
    "flac": lambda: recorded("FLAC", "PCM_16"),
    "m4a": _mp4,
    "mp3": lambda: (b"\xff\xfb\x90\x00" + bytes(413)) * 20,
    "mpc": lambda: b"MP+\x07" + struct.pack("<II20x", 20, 0) + bytes(4000),
    "oga": _ogg_flac,
    "ofr": lambda: b"OFR " + struct.pack("<IIHBBI", 12, 44100, 0, 2, 1, 44100) + bytes(4000),
    "ogg": lambda: recorded("OGG", "VORBIS"),
    "opus": lambda: recorded("OGG", "OPUS"),
    "spx": _speex,
    "tak": _tak,
    "tta": lambda: b"TTA1" + struct.pack("<HHHIII", 1, 2, 16, 44100, 22_050, 0) + bytes(4000),
    "wav": lambda: recorded("WAV", "PCM_16"),
    "wma": _asf,
    "wv": lambda: (
        b"wvpk"
        + struct.pack("<IHBBIIIII", 124, 0x410, 0, 0, 22_050, 0, 22_050, (9 << 23) | 0x180D, 0)
        + bytes(4100)
    ),
}
#: How each kind is tagged; those with several by (kind, way).
WAYS = {
    "aac id3": with_id3_in_front,
    "aac ape": with_ape,
    "ac3 id3": with_id3_in_front,
    "ac3 ape": with_ape,
    "aiff id3": functools.partial(with_frames, AIFF),
    "ape ape": with_ape,
    "ape ape in front": with_ape_in_front,
    "ape id3": with_id3_in_front,
    "dff id3": functools.partial(with_frames, DSDIFF),
    "dsf id3": functools.partial(with_frames, DSF),
    "flac vorbis": functools.partial(with_comments, FLAC),
    "flac id3": with_id3_in_front,
    "m4a mp4": with_atoms,
    "m4a id3": with_id3_in_front,
    "mp3 id3": with_id3_in_front,
    "mp3 id3v2.3": functools.partial(with_id3_in_front, version=3),
    "mp3 ape": with_ape,
    "mp3 ape in front": with_ape_in_front,
    "mp3 ape before lyrics": with_ape_before_lyrics,
    "mpc ape": with_ape,
    "mpc id3": with_id3_in_front,
    "oga vorbis": functools.partial(with_comments, OggFLAC),
    "oga skeleton": functools.partial(with_skeleton, OggFLAC),
    "ofr ape": with_ape,
    "ogg vorbis": functools.partial(with_comments, OggVorbis),
    "ogg skeleton": functools.partial(with_skeleton, OggVorbis),
    "ogg id3": with_id3_in_front,
    "opus vorbis": functools.partial(with_comments, OggOpus),
    "opus skeleton": functools.partial(with_skeleton, OggOpus),
    "spx vorbis": functools.partial(with_comments, OggSpeex),
    "spx skeleton": functools.partial(with_skeleton, OggSpeex),
    "tak ape": with_ape,
    "tta id3": with_id3_in_front,
    "tta ape": with_ape,
    "wav id3": functools.partial(with_frames, WAVE),
    "wav id3 in front": with_id3_in_front,
    "wma asf": with_attributes,
    "wv ape": with_ape,
    "wv id3": with_id3_in_front,
}


def untagged(path: Path) -> Path:
    """A file of the kind that its extension names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENTS[path.suffix[1:].lower()]())
    return path


def tagged(path: Path, way: str, **tags: list[str]) -> Path:
    """One with these tags: title, artist, album, albumartist, tracknumber, discnumber.

    Args:
        way: of `WAYS`; its first word is the kind, whatever the path's extension.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(CONTENTS[way.split(maxsplit=1)[0]]())
    WAYS[way](path, **tags)
    return path
