"""Tells of a file that has its tags whether its end is missing, by what its own header says.

Tags stand in front in most containers, so a file that was cut off still reads well. What is looked
at is the header, which is read for the tags anyhow, and of FLAC and Ogg the tail. No verdict is
made where a container does not say how long it is: AAC, WavPack, Monkey's Audio and others, or MP3
without the header of an encoder.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any, BinaryIO, Protocol


class _File(Protocol):
    def read(self, size: int = -1, /) -> bytes: ...
    def seek(self, offset: int, whence: int = 0, /) -> int: ...


# Encoders of MP3 count a frame too many, or the tag behind the sound.
_SLACK_OF_MP3 = 4096
_MP3_HEADER = 200
# An Ogg page's header, and its whole at most.
_PAGE_HEADER, _PAGE = 27, 65_307
# Bytes in which FLAC's last frame lies, where its header does not say; and what may stand behind.
_FRAME, _BEHIND_FRAMES = 64 * 1024, 4096
_LARGEST_FRAME = 1024 * 1024
# Chunks and atoms that are looked at; sizes that stand for "not known", as of what was recorded
# into a pipe.
_MOST, _UNKNOWN_SIZE = 1_000, 0x7FFF0000


def is_cut_off(file: BinaryIO | _File, kind: str | None, info: Any) -> bool:
    """Whether a file ends before the sound that its own header tells of.

    Args:
        file: from the mark of its format on.
        kind: its format, as in `files.formats`.
        info: what mutagen says of its sound.
    """
    verdict = _VERDICTS.get(kind or "")
    return verdict is not None and info is not None and verdict(file, info)


def _flac(file: _File, info: Any) -> bool:
    """By the number of the last frame, and the samples that there should be."""
    total, block = info.total_samples, info.max_blocksize
    size = file.seek(0, io.SEEK_END)
    if not total or not block:
        return False
    if -(-total // block) * info.min_framesize > size:
        return True
    wanted = min(info.max_framesize or _FRAME, _LARGEST_FRAME) + _BEHIND_FRAMES
    file.seek(max(size - wanted, 0))
    tail = file.read(wanted)
    ends = [_end_of_frame(tail[m.start() :][:16], block) for m in _FRAME_MARK.finditer(tail)]
    last = max((end for end in ends if 0 < end <= total), default=total)
    return bool(last < total)


_FRAME_MARK = re.compile(rb"\xff[\xf8\xf9]")
_SMALL_BLOCKS = {1: 192, 2: 576, 3: 1152, 4: 2304, 5: 4608}


def _end_of_frame(head: bytes, block: int) -> int:
    """The number of the sample behind a FLAC frame; 0 if this is the header of none.

    Args:
        block: samples of a frame, where all have as many.
    """
    head = head.ljust(16, b"\0")
    ones = 8 - (head[4] ^ 0xFF).bit_length()
    if ones in (1, 8) or head[3] & 1:
        return 0
    number, at = head[4] & (0x7F >> ones), 5
    for byte in head[at : at + ones - 1]:
        number, at = number << 6 | byte & 0x3F, at + 1
    code, rate = head[2] >> 4, head[2] & 0xF
    samples = _SMALL_BLOCKS.get(code, 256 << (code - 8) if code & 8 else 0)
    if code in (6, 7):
        samples = int.from_bytes(head[at : at + code - 5], "big") + 1
        at += code - 5
    at += {12: 1, 13: 2, 14: 2}.get(rate, 0)
    if _crc8(head[:at]) != head[at]:
        return 0
    return number * (1 if head[1] & 1 else block) + samples


def _crc8(content: bytes) -> int:
    crc = 0
    for byte in content:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ 0x07) & 0xFF if crc & 0x80 else crc << 1
    return crc


def _ogg(file: _File, _: Any) -> bool:
    """By the length of the last page."""
    size = file.seek(0, io.SEEK_END)
    file.seek(max(size - _PAGE, 0))
    tail = file.read(_PAGE)
    page = tail[at:] if (at := tail.rfind(b"OggS\0")) >= 0 else b""
    if not page:
        return False
    if len(page) < _PAGE_HEADER:
        return True
    parts = page[_PAGE_HEADER : _PAGE_HEADER + page[26]]
    return len(page) < _PAGE_HEADER + page[26] + sum(parts)


def _mp3(file: _File, info: Any) -> bool:
    """By the bytes that the header of Xing, LAME or Fraunhofer counts."""
    size = file.seek(0, io.SEEK_END)
    file.seek(info.frame_offset)
    head = file.read(_MP3_HEADER)
    counted = 0
    if (at := max(head.find(b"Xing"), head.find(b"Info"))) >= 0:
        flags, at = int.from_bytes(head[at + 4 : at + 8], "big"), at + 8
        at += 4 * (flags & 1)
        counted = int.from_bytes(head[at : at + 4], "big") if flags & 2 else 0
    elif (at := head.find(b"VBRI")) >= 0:
        counted = int.from_bytes(head[at + 10 : at + 14], "big")
    return bool(info.frame_offset + counted > size + _SLACK_OF_MP3)


def _mp4(file: _File, _: Any) -> bool:
    """By the atom that holds the sound; by its lack, where it should follow."""
    size, at, fragments = file.seek(0, io.SEEK_END), 0, False
    for _number in range(_MOST):
        file.seek(at)
        head = file.read(16)
        name, length = head[4:8], int.from_bytes(head[:4], "big")
        if length == 1:
            length = int.from_bytes(head[8:16], "big")
        if name == b"mdat":
            return at + length > size
        fragments = fragments or name == b"moof"
        if length < 8 or at + length >= size:  # noqa: PLR2004
            break
        at += length
    return at + length == size and name == b"moov" and not fragments


def _chunks(mark: bytes, order: Any) -> Callable[[_File, Any], bool]:
    def verdict(file: _File, _: Any) -> bool:
        size, at = file.seek(0, io.SEEK_END), 12
        for _number in range(_MOST):
            file.seek(at)
            head = file.read(8)
            length = int.from_bytes(head[4:8], order)
            if len(head) < 8 or head[:4] == mark:  # noqa: PLR2004
                return head[:4] == mark and size < at + 8 + length < _UNKNOWN_SIZE
            at += 8 + length + length % 2
        return False

    return verdict


_VERDICTS: dict[str, Callable[[Any, Any], bool]] = {
    **dict.fromkeys(("ogg", "opus", "spx"), _ogg),
    "aiff": _chunks(b"SSND", "big"),
    "flac": _flac,
    "m4a": _mp4,
    "mp3": _mp3,
    "wav": _chunks(b"data", "little"),
}
