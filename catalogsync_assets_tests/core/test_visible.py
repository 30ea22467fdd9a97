"""Text from outside, made fit to be shown."""

import os
import unicodedata

import pytest

from catalogsync_assets.core.visible import visible, visible_lines


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J\x00\x7f\x9b", r"\x1b[2J\x00\x7f\x9b"),
        ("a\r\nb\tc\x85d\u2028e\u2029f", r"a\r\nb\tc\x85d\u2028e\u2029f"),
        ("\u202egpj.exe\u2066\u200f\u061c", r"\u202egpj.exe\u2066\u200f\u061c"),
        ("\U000e0061\U000e007f", r"\U000e0061\U000e007f"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("\ud83d", r"\ud83d"),
        (17, "17"),
    ],
)
def test_what_would_act_is_written_out(text, shown):
    assert visible(text) == shown


@pytest.mark.parametrize(
    "text", ["Größe ☃ 日本語", "👩‍👩‍👧 family", "می‌خواهم", "e\u0301", r"C:\x1b", "[bold]", "a\xa0b"]
)
def test_what_people_write_stays(text):
    assert visible(text) == text


def test_no_control_or_surrogate_passes_and_the_rest_can_be_encoded():
    shown = visible("".join(map(chr, range(0x110000))))

    assert not {c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")}
    assert not {c for c in shown if unicodedata.bidirectional(c) in ("RLO", "LRO", "RLI", "PDI")}
    shown.encode()


def test_lines_stay_lines_where_they_are_asked_for():
    assert visible_lines("a\r\nb\x1bc\n") == "a\nb\\x1bc\n"
