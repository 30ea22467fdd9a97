"""Files whose end is missing are told from whole ones, wherever their tags stand."""

import pytest
from mutagen.id3 import ID3, TIT2

from catalogsync_assets.core.library.tags import CUT_OFF, read_tags
from catalogsync_assets_tests.support.audio_files import CONTENTS, recorded, tagged, untagged

LONG = {"flac": "PCM_16", "mp3": "MPEG_LAYER_III"}
TELLING = ["aiff", "flac", "m4a", "mp3", "oga", "ogg", "opus", "spx", "wav"]


def content_of(kind):
    """Several frames of it, and for MP3 with the header that encoders write."""
    return recorded(kind.upper(), LONG[kind], 96_000) if kind in LONG else CONTENTS[kind]()


@pytest.mark.parametrize("kind", sorted(CONTENTS))
def test_a_whole_file_lacks_nothing(tmp_path, kind):
    assert read_tags(untagged(tmp_path / f"a.{kind}"))[1] is None


@pytest.mark.parametrize("part", [0.75, 0.5])
@pytest.mark.parametrize("kind", TELLING)
def test_a_file_that_ends_before_its_header_says_has_lost_its_end(tmp_path, kind, part):
    path, content = tmp_path / f"a.{kind}", content_of(kind)
    path.write_bytes(content)
    assert read_tags(path)[1] is None
    path.write_bytes(content[: int(len(content) * part)])

    assert read_tags(path)[1] == CUT_OFF


@pytest.mark.parametrize("kind", ["flac", "mp3", "ogg", "wav"])
@pytest.mark.parametrize("behind", [b"TAG" + bytes(125), b"\0" * 3000])
def test_what_stands_behind_the_sound_hides_nothing_and_lacks_nothing(tmp_path, kind, behind):
    path = tmp_path / f"a.{kind}"
    path.write_bytes(content_of(kind) + behind)

    assert read_tags(path)[1] is None


def test_tags_in_front_do_not_count_as_sound(tmp_path):
    path, content = tmp_path / "a.mp3", content_of("mp3")
    path.write_bytes(content[: len(content) // 2])
    tags = ID3()
    tags.add(TIT2(encoding=3, text=["x" * len(content)]))
    tags.save(path)

    assert read_tags(path)[1] == CUT_OFF


def test_an_mp4_of_which_nothing_but_its_tags_is_left_has_lost_its_sound(tmp_path):
    path = tmp_path / "a.m4a"
    tagged(path, "m4a mp4", title=["t"])
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"mdat") - 4])

    assert read_tags(path)[1] == CUT_OFF


def test_a_wav_that_was_written_into_a_pipe_does_not_say_how_long_it_is(tmp_path):
    path, content = tmp_path / "a.wav", CONTENTS["wav"]()
    at = content.index(b"data") + 4
    path.write_bytes(content[:at] + b"\xff" * 4 + content[at + 4 :])

    assert read_tags(path)[1] != CUT_OFF


def test_a_flac_of_frames_of_several_sizes_counts_samples(tmp_path):
    """The last frame of a variable stream says at which sample it begins."""
    from catalogsync_assets.core.library.endings import _crc8, _end_of_frame

    def frame(*, variable, number, code, more=b""):
        head = bytes([0xFF, 0xF9 if variable else 0xF8, code << 4 | 9, 0x18]) + number + more
        return head + bytes([_crc8(head)])

    coded = chr(70_000).encode()  # as UTF-8 does
    assert _end_of_frame(frame(variable=True, number=coded, code=8), 4096) == 70_256
    assert _end_of_frame(frame(variable=False, number=b"\x07", code=12), 4096) == 8 * 4096
    last = frame(variable=False, number=b"\x07", code=7, more=b"\x00\x63")
    assert _end_of_frame(last, 4096) == 7 * 4096 + 100
    assert _end_of_frame(last[:-1] + b"\0", 4096) == 0
