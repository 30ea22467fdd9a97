"""Reading tags, of files that are what they say and of files that are not."""

import shutil
import struct
import unicodedata
from pathlib import Path
from types import SimpleNamespace

import mutagen
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from mutagen.flac import FLAC, Picture
from mutagen.id3 import APIC, ID3, TPE1, TXXX, UFID
from mutagen.mp4 import MP4, MP4Cover

from catalogsync_assets.core.files.formats import MEDIA_TYPES, extension, media_type
from catalogsync_assets.core.library.tags import Tags, read_tags
from catalogsync_assets_tests.support.audio_files import (
    CONTENTS,
    WAYS,
    id3,
    tagged,
    untagged,
    with_id3_in_front,
)


def retagged(source: Path, target: Path, **tags: str) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
    audio = mutagen.File(target)  # type: ignore[attr-defined, unused-ignore]
    audio.delete()
    audio.update(tags)
    audio.save()
    return target


@pytest.fixture(params=["flac", "ogg", "wav"])
def song(request, sample):
    return sorted(sample.rglob(f"*.{request.param}"))[0]


def test_the_tags_of_every_sample_are_those_its_path_tells(sample):
    files = [path for path in sample.rglob("*") if path.is_file()]

    assert len(files) == 24
    for path in files:
        tags, trouble = read_tags(path)
        assert trouble is None
        assert (tags.artist, tags.album) == path.relative_to(sample).parts[:2]
        assert path.stem == f"{tags.track_number:02d} {tags.title}"
        assert tags.format == path.suffix[1:]
        assert tags.duration_seconds == pytest.approx(0.2, abs=0.05)


def test_a_file_that_is_no_audio_gets_its_name_for_a_title(tmp_path):
    path = tmp_path / "03 - Große Fuge.ogg"
    path.write_bytes(b"this is not audio" * 50)

    tags, trouble = read_tags(path)

    assert (tags.title, tags.format, tags.artist, tags.match_key) == (
        "Große Fuge",
        "ogg",
        None,
        None,
    )
    assert trouble is not None


@pytest.mark.parametrize(
    ("name", "title"),
    [
        *(("03 Title.mp3", "Title"), ("03. Title.mp3", "Title"), ("1-03 - Title.mp3", "Title")),
        *(("99 Luftballons.mp3", "Luftballons"), ("1999.mp3", "1999"), ("7.mp3", "7")),
        ("Title.mp3", "Title"),
    ],
)
def test_a_name_for_a_title_goes_without_its_number(tmp_path, name, title):
    (tmp_path / name).write_bytes(b"")

    assert read_tags(tmp_path / name)[0].title == title


@pytest.mark.parametrize("kind", sorted(MEDIA_TYPES))
@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"\xff" * 4096], ids=["empty", "0", "ff"])
def test_no_content_under_any_audio_name_is_fatal(tmp_path, kind, content):
    path = tmp_path / f"name.{kind}"
    path.write_bytes(content)

    tags, _ = read_tags(path)

    assert (tags.title, tags.format) == ("name", kind)


def test_a_song_that_is_cut_short_is_not_fatal(song, tmp_path):
    whole = song.read_bytes()
    for length in (10, 60, len(whole) // 3):
        path = tmp_path / f"{length}{song.suffix}"
        path.write_bytes(whole[:length])
        tags, _ = read_tags(path)
        assert tags.title


def test_a_file_that_is_gone_says_so(tmp_path):
    tags, trouble = read_tags(tmp_path / "gone.mp3")

    assert tags.title == "gone"
    assert "No such file" in (trouble or "")


def test_tags_are_cleaned_of_what_a_line_cannot_hold(sample, tmp_path):
    source = next(sample.rglob("*.flac"))
    path = retagged(source, tmp_path / "x.flac", title="  two\nlines\0end ", artist="\n", album="a")

    tags, _ = read_tags(path)

    assert (tags.title, tags.artist, tags.album) == ("two lines end", None, "a")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("3", 3), ("03", 3), ("3/12", 3), ("A3", None), ("", None), ("٣", None)),
        *(("9" * 30, None), ("0", None), ("-3", None), ("1 of 12", 1), ("2-07", None)),
        ("2.07", None),
    ],
)
def test_track_numbers_come_in_many_spellings(sample, tmp_path, text, number):
    source = next(sample.rglob("*.flac"))
    path = retagged(source, tmp_path / "x.flac", title="t", tracknumber=text)

    assert read_tags(path)[0].track_number == number


def test_one_recording_in_two_formats_has_one_match_key(sample, tmp_path):
    """In whatever case its tags are written, composed or decomposed."""
    tags = {"title": "Öldur", "artist": "Ægir", "album": "Nótt", "tracknumber": "2"}
    louder = {name: value.upper() for name, value in tags.items()}
    decomposed = {name: unicodedata.normalize("NFD", value) for name, value in tags.items()}
    flac, ogg = (next(sample.rglob(f"*.{kind}")) for kind in ("flac", "ogg"))
    one, *others = (
        read_tags(retagged(source, tmp_path / f"{number}{source.suffix}", **values))[0].match_key
        for number, (source, values) in enumerate(((flac, tags), (ogg, louder), (flac, decomposed)))
    )

    assert one is not None
    assert others == [one, one]


@pytest.mark.parametrize("lacking", ["title", "artist", "album", "tracknumber"])
def test_tags_that_say_too_little_match_nothing(sample, tmp_path, lacking):
    tags = {"title": "t", "artist": "a", "album": "b", "tracknumber": "2"}
    del tags[lacking]
    path = retagged(next(sample.rglob("*.flac")), tmp_path / "x.flac", **tags)

    assert read_tags(path)[0].match_key is None


def test_another_disc_is_another_recording():
    def key(disc):
        return Tags("t", "mp3", "a", "b", 1, disc, _has_title=True).match_key

    assert key(None) == key(1)
    assert key(1) != key(2)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("a.flac", "audio/flac"), ("a.FLAC", "audio/flac"), ("a.m4a", "audio/mp4")),
        *(("a.opus", "audio/ogg"), ("a.mp3", "audio/mpeg"), ("a.b.ogg", "audio/ogg")),
        *(("a", "application/octet-stream"), ("a.xyz", "application/octet-stream")),
    ],
)
def test_media_types_do_not_depend_on_the_machine(name, kind):
    assert media_type(name) == kind


def test_an_extension_is_what_follows_the_last_dot():
    assert [extension(name) for name in ("a.MP3", "a.b.c", "a", ".mp3")] == ["mp3", "c", "", "mp3"]


# --- every container ----------------------------------------------------------------------------

FIELDS = {
    "title": (["Ærligt talt"], "title", "Ærligt talt"),
    "artist": (["First Singer", "Second Singer"], "artists", ("First Singer", "Second Singer")),
    "album": (["Nótt"], "album", "Nótt"),
    "albumartist": (["Various"], "artist", "Various"),
    "tracknumber": (["3/9"], "track_number", 3),
    "discnumber": (["2/2"], "disc_number", 2),
}


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("way", WAYS)
def test_every_field_arrives_from_every_container(tmp_path, way, field):
    values, attribute, expected = FIELDS[field]
    path = tagged(tmp_path / f"name.{way.split(maxsplit=1)[0]}", way, **{field: values})

    tags, trouble = read_tags(path)

    assert trouble is None
    assert getattr(tags, attribute) == expected
    others = {"title": "name", "artists": (), "album": None, "track_number": None}
    for other, default in others.items():
        assert other == attribute or field == "albumartist" or getattr(tags, other) == default


@pytest.mark.parametrize("kind", sorted(CONTENTS))
def test_a_length_is_read_from_every_container(tmp_path, kind):
    tags, trouble = read_tags(untagged(tmp_path / f"a.{kind}"))

    assert (tags.format, trouble) == (kind, None)
    assert tags.duration_seconds == pytest.approx(0.5, abs=0.25)


@pytest.mark.parametrize("way", WAYS)
def test_a_name_that_lies_about_the_kind_changes_nothing(tmp_path, way):
    kind = way.split(maxsplit=1)[0]
    path = tagged(tmp_path / f"a.{'flac' if kind == 'mp3' else 'MP3'}", way, title=["t"])

    tags, trouble = read_tags(path)

    assert (tags.title, trouble) == ("t", None)
    assert media_type(f"a.{tags.format}") == media_type(f"a.{kind}")


@pytest.mark.parametrize("way", ["mp3 id3", "mp3 id3v2.3", "flac vorbis", "m4a mp4", "wv ape"])
def test_a_slash_in_a_name_parts_no_artists(tmp_path, way):
    names = ["AC/DC", "Earth, Wind & Fire"]
    path = tagged(tmp_path / f"a.{way.split(maxsplit=1)[0]}", way, artist=names)

    tags, _ = read_tags(path)

    assert tags.artists == ("AC/DC", "Earth, Wind & Fire")
    assert tags.artist == "AC/DC; Earth, Wind & Fire"


def test_artists_that_are_named_singly_are_those_of_the_song(tmp_path):
    """Picard's ARTISTS beside an ARTIST as it is credited, as a freely named tag of each kind."""
    flac = tagged(tmp_path / "a.flac", "flac vorbis", artist=["One feat. Two"])
    audio = FLAC(flac)
    audio["ARTISTS"] = ["One", "Two"]
    audio.save()
    mp4 = MP4(tagged(tmp_path / "a.m4a", "m4a mp4", artist=["One feat. Two"]))
    mp4["----:com.apple.iTunes:ARTISTS"] = [b"One", b"Two"]
    mp4.save()
    mp3 = untagged(tmp_path / "a.mp3")
    frames = ID3()
    frames.add(TPE1(encoding=3, text=["One feat. Two"]))
    frames.add(TXXX(encoding=3, desc="Artists", text=["One", "Two"]))
    frames.save(mp3)

    for path in (flac, tmp_path / "a.m4a", mp3):
        tags, _ = read_tags(path)
        assert (tags.artist, tags.artists) == ("One feat. Two", ("One feat. Two", "One", "Two"))


@pytest.mark.parametrize("way", ["mp3 id3v2.3", "flac vorbis", "m4a mp4", "wv ape"])
def test_artists_in_one_text_as_it_is_shown_here_are_several(tmp_path, way):
    """As Picard and MusicBee write them where a tag has room for one."""
    path = tagged(tmp_path / f"a.{way.split(maxsplit=1)[0]}", way, artist=["First; Second"])

    tags, _ = read_tags(path)

    assert (tags.artist, tags.artists) == ("First; Second", ("First", "Second"))


def test_of_several_tags_of_a_file_the_first_that_says_something_counts(tmp_path):
    path = tagged(tmp_path / "a.mp3", "mp3 ape", title=["ape"], artist=["ape"], album=["ape"])
    with_id3_in_front(path, album=["second"], title=[" "], tracknumber=["2"])
    with_id3_in_front(path, title=["first"], tracknumber=["0"])
    old = b"TAG" + b"title".ljust(30) + b"artist".ljust(30) + b"album".ljust(30) + bytes(35)
    path.write_bytes(path.read_bytes() + old)

    tags, _ = read_tags(path)

    assert (tags.title, tags.artist, tags.album) == ("first", "ape", "second")


def test_a_tag_of_id3v1_is_read_where_there_is_no_other(tmp_path):
    old = b"TAG" + b"title".ljust(30) + b"artist".ljust(30) + b"album".ljust(60) + b"\0\7\0"
    for name in ("a.mp3", "a.aac", "a.mpc"):
        path = untagged(tmp_path / name)
        path.write_bytes(path.read_bytes() + old.ljust(128, b"\0"))

        tags, _ = read_tags(path)

        assert (tags.title, tags.artist, tags.album) == ("title", "artist", "album")


def test_the_info_list_of_a_wav_is_read_where_there_is_no_id3(tmp_path):
    path = tmp_path / "a.wav"
    with soundfile.SoundFile(path, "w", 48_000, 1) as file:
        file.title, file.artist, file.album, file.tracknumber = "Öldur", "A", "L", "7"
        file.write([0.0] * 4_800)
    tags, trouble = read_tags(path)
    assert (tags.title, tags.artist, tags.album, tags.track_number) == ("Öldur", "A", "L", 7)
    assert trouble is None

    path.write_bytes(path.read_bytes().replace("Öldur\0".encode(), "Öldur\0\0".encode("cp1252")))

    assert read_tags(path)[0].title == "Öldur"


# --- what cannot be true ------------------------------------------------------------------------


@pytest.mark.parametrize(
    "length",
    [float("nan"), float("inf"), -1.0, 0, 1e9, 10**400, None, "3"],
    ids=lambda v: str(v)[:9],
)
def test_a_length_that_cannot_be_true_is_none(tmp_path, monkeypatch, length):
    monkeypatch.setattr("mutagen.mp3.MP3._Info", lambda *_: SimpleNamespace(length=length))

    tags, trouble = read_tags(tagged(tmp_path / "a.mp3", "mp3 id3", title=["t"]))

    assert (tags.title, tags.duration_seconds, trouble) == ("t", None, None)


def test_a_header_that_claims_more_than_the_file_can_hold_gives_no_length(tmp_path):
    flac = untagged(tmp_path / "a.flac")
    content = bytearray(flac.read_bytes())
    content[21:26] = b"\xff" * 5  # 2 ** 36 - 1 samples
    flac.write_bytes(content)
    wav = untagged(tmp_path / "a.wav")  # as a program writes it that sends it through a pipe
    content = bytearray(wav.read_bytes())
    content[4:8] = content[40:44] = b"\xff" * 4
    wav.write_bytes(content)

    aiff = untagged(tmp_path / "a.aiff")
    content = bytearray(aiff.read_bytes())
    frames = content.index(b"COMM") + 10
    content[frames : frames + 4] = b"\x7f\xff\xff\xff"
    aiff.write_bytes(content)
    mp3 = tmp_path / "a.mp3"  # a stream whose header has counted what came later, or nothing
    xing = b"\xff\xfb\x90\0" + bytes(32) + b"Xing\0\0\0\1" + (2**20).to_bytes(4, "big")
    mp3.write_bytes(xing.ljust(417, b"\0") + CONTENTS["mp3"]() * 100)

    for path in (flac, wav, aiff, mp3):
        assert read_tags(path)[0].duration_seconds is None


def test_no_reader_gets_lost_in_a_spoilt_file(tmp_path, monkeypatch):
    """The first took as much memory as the file is large, the second minutes and memory, too."""
    large = tagged(tmp_path / "a.mp3", "mp3 id3", title=["t"])
    with large.open("r+b") as file:
        file.truncate(2**30)  # sparse
        file.seek(0, 2)
        file.write(b"APETAGEX" + struct.pack("<III12x", 2000, 2**30 - 2**20, 2**31 - 1))
    parts = tmp_path / "b.wav"
    parts.write_bytes(b"RIFF\xff\xff\xff\x7fWAVE" + b"abcd\0\0\0\0" * 5_000)
    monkeypatch.setattr("catalogsync_assets.core.library.containers._MAX_READS", 4_000)

    (tags, trouble), (_, other) = read_tags(large), read_tags(parts)

    assert tags.title == "t"
    assert "a part of it claims 1,07" in (trouble or "")
    assert "it has too many parts" in (other or "")


def test_text_has_an_end(tmp_path):
    path = tagged(
        tmp_path / "a.flac",
        "flac vorbis",
        title=["x" * 1_000_000],
        artist=[f"artist number {i}" for i in range(1_000)],
    )

    tags, trouble = read_tags(path)

    assert trouble is None
    assert tags.title == "x" * 1_000
    assert len(tags.artists) == 100
    assert tags.artist is not None
    assert len(tags.artist) <= 1_000


def test_byte_order_marks_and_blanks_are_no_text(tmp_path):
    path = tagged(
        tmp_path / "name.mp3",
        "mp3 id3",
        title=["\u3000\t \x01\u200b"],
        artist=["\ufeffOne", "\ufeff", "Two", "\x7f"],
    )

    tags, _ = read_tags(path)

    assert (tags.title, tags.artists) == ("name", ("One", "Two"))


@pytest.mark.parametrize(
    "error", [MemoryError(), RecursionError("deep"), ZeroDivisionError(), OSError(5, "broken")]
)
def test_whatever_the_reader_raises_leaves_the_rest(tmp_path, monkeypatch, error):
    def fail(*_, **__):
        raise error

    path = tagged(tmp_path / "a.flac", "flac id3", title=["t"])
    monkeypatch.setattr("mutagen.flac.FLAC.load", fail)

    tags, trouble = read_tags(path)

    assert tags.title == "t"
    assert trouble is not None
    assert trouble.startswith("some of its tags cannot be read (")


@settings(max_examples=200, deadline=None)
@given(
    way=st.sampled_from(sorted(WAYS)),
    spoilt=st.lists(st.tuples(st.integers(0, 600), st.sampled_from(b"\0\x7f\x80\xff"))),
    cut=st.none() | st.integers(0, 5_000),
)
def test_spoilt_bytes_leave_nothing_that_a_catalog_cannot_hold(tmp_path_factory, way, spoilt, cut):
    path = tmp_path_factory.getbasetemp() / f"spoilt.{way.split(maxsplit=1)[0]}"
    fields = {name: values for name, (values, _, _) in FIELDS.items()}
    content = bytearray(tagged(path, way, **fields).read_bytes())
    for offset, byte in spoilt:
        content[offset % len(content)] = byte
    path.write_bytes(content[:cut])

    tags, _ = read_tags(path)

    for text in (tags.title, tags.artist or "x", tags.album or "x", *tags.artists):
        assert 0 < len(text) <= 1_000
        assert "\0" not in text.encode().decode()
    assert tags.duration_seconds is None or 0 < tags.duration_seconds <= len(content)
    for number in (tags.track_number, tags.disc_number):
        assert number is None or 0 < number < 10_000


# --- what tells one file from another -----------------------------------------------------------

TAGS = {"title": ["t"], "artist": ["One", "Two"], "album": ["l"], "tracknumber": ["1"]}


def digest(path):
    return read_tags(path)[0].tags_digest


@pytest.mark.parametrize("way", sorted(WAYS))
def test_the_digest_of_tags_is_of_what_they_say_whatever_their_order(tmp_path, way):
    kind = way.split(maxsplit=1)[0]
    paths = [tmp_path / f"{n}.{kind}" for n in range(4)]
    tagged(paths[0], way, **TAGS)
    tagged(paths[1], way, **dict(reversed(TAGS.items())))
    tagged(paths[2], way, **{**TAGS, "album": ["k"]})
    tagged(paths[3], way, **{**TAGS, "artist": ["Two", "One"]})

    one, same, other, turned = map(digest, paths)

    assert len(one) == 32
    assert same == one
    assert len({one, other, turned}) == 3


@pytest.mark.parametrize(
    ("way", "expected"),
    [
        ("flac vorbis", "d04d22e1c81000b9ccfa27470fc0b256"),
        ("mp3 id3", "6756c3325896ff50a402222edb6df034"),
        ("m4a mp4", "ca6ad394f76aa19dabd10caf564ad44f"),
        ("wv ape", "ccd0ca5e88a3845a9d4c7d1cb031c0d0"),
        ("wma asf", "58573a69c5208ade4cf97e0f564482c3"),
    ],
)
def test_the_digest_of_tags_is_the_same_in_every_run(tmp_path, way, expected):
    """A catalog compares it with what it was years ago."""
    assert digest(tagged(tmp_path / f"a.{way.split()[0]}", way, **TAGS)) == expected


def test_a_picture_is_part_of_the_digest(tmp_path):
    flac, mp3 = tmp_path / "a.flac", tmp_path / "a.mp3"
    m4a = tmp_path / "a.m4a"
    found = []
    for data in (b"1", b"2"):
        tagged(flac, "flac vorbis", **TAGS)
        picture = Picture()
        picture.data, picture.mime = data, "image/png"
        audio = FLAC(flac)
        audio.add_picture(picture)
        audio.save()
        tagged(mp3, "mp3 id3", **TAGS)
        frames = ID3(mp3)
        frames.add(APIC(encoding=3, mime="image/png", type=3, desc="", data=data))
        frames.save()
        tagged(m4a, "m4a mp4", **TAGS)
        atoms = MP4(m4a)
        atoms["covr"] = [MP4Cover(data)]
        atoms.save()
        found.append([digest(path) for path in (flac, mp3, m4a)])

    assert all(one != other for one, other in zip(*found, strict=True))


def test_tags_that_say_nothing_have_a_digest_and_those_that_cannot_be_read_have_none(tmp_path):
    garbage = tmp_path / "b.mp3"
    garbage.write_bytes(b"no audio" * 50)
    half = tmp_path / "c.flac"
    half.write_bytes(id3(**TAGS) + b"fLaC\x80\0\0\x22cut")

    assert digest(untagged(tmp_path / "a.mp3")) is not None
    assert digest(garbage) is None
    assert read_tags(half)[0].title == "t"
    assert digest(half) is None


def test_the_digest_of_the_sound_is_the_one_that_flac_keeps(tmp_path):
    recorded = FLAC(untagged(tmp_path / "a.flac")).info.md5_signature
    tagged(tmp_path / "b.flac", "flac vorbis", **TAGS)

    found = {read_tags(tmp_path / name)[0].audio_digest for name in ("a.flac", "b.flac")}

    assert found == {f"{recorded:032x}"}
    # Zeros: of an encoder that could not go back to write it.
    for name in ("c.oga", "c.mp3", "c.ogg", "c.m4a"):
        assert read_tags(untagged(tmp_path / name))[0].audio_digest is None


RECORDING = "0E5CB5B3-2E1F-4D52-9E0B-2A1B6A1D7C11"
RELEASE_TRACK = "7d1cb8d6-0d8c-3f3a-8fb2-6f0f5f0ec0aa"


def with_ids(path, way, recording, release_track):
    """What MusicBrainz's tagger writes."""
    tagged(path, way, **TAGS)
    kind = way.split()[1]
    if kind == "id3":
        frames = ID3(path)
        frames.add(UFID(owner="http://musicbrainz.org", data=recording.encode()))
        frames.add(UFID(owner="http://other.example", data=b"x"))
        frames.add(TXXX(encoding=3, desc="MusicBrainz Release Track Id", text=[release_track]))
        frames.save()
        return path
    audio = mutagen.File(path)
    names = {
        "vorbis": ("musicbrainz_trackid", "musicbrainz_releasetrackid"),
        "ape": ("MUSICBRAINZ_TRACKID", "MUSICBRAINZ_RELEASETRACKID"),
        "mp4": (
            "----:com.apple.iTunes:MusicBrainz Track Id",
            "----:com.apple.iTunes:MusicBrainz Release Track Id",
        ),
        "asf": ("MusicBrainz/Track Id", "MusicBrainz/Release Track Id"),
    }[kind]
    for name, value in zip(names, (recording, release_track), strict=True):
        audio[name] = [value.encode()] if kind == "mp4" else [value]
    audio.save()
    return path


@pytest.mark.parametrize(
    "way", ["flac vorbis", "opus vorbis", "mp3 id3", "m4a mp4", "wv ape", "wma asf"]
)
def test_the_ids_of_musicbrainz_are_found_in_every_container(tmp_path, way):
    path = tmp_path / f"a.{way.split()[0]}"

    tags, _ = read_tags(with_ids(path, way, RECORDING, RELEASE_TRACK))
    assert (tags.recording_id, tags.release_track_id) == (RECORDING.lower(), RELEASE_TRACK)

    tags, _ = read_tags(with_ids(path, way, "", "7d1cb8d6"))
    assert (tags.recording_id, tags.release_track_id) == (None, None)
