"""Memory for the content of files."""

import pytest

from catalogsync_assets.core.upload.buffers import Buffers

MIB = 1024 * 1024


def test_a_buffer_is_used_again():
    buffers = Buffers(100 * MIB)
    first = buffers.take(8 * MIB)
    buffers.give_back(first)

    assert buffers.take(7 * MIB) is first


@pytest.mark.parametrize("size", [4 * MIB, 8 * MIB + 1])
def test_a_buffer_that_is_far_too_large_or_too_small_is_not(size):
    buffers = Buffers(100 * MIB)
    first = buffers.take(8 * MIB)
    buffers.give_back(first)

    other = buffers.take(size)

    assert other is not first
    assert size <= len(other) <= size + MIB


def test_two_files_never_share_a_buffer():
    buffers = Buffers(100 * MIB)

    assert buffers.take(MIB) is not buffers.take(MIB)


def test_unused_buffers_make_room_for_others():
    buffers = Buffers(10 * MIB)
    kept = [buffers.take(4 * MIB), buffers.take(5 * MIB)]
    for buffer in kept:
        buffers.give_back(buffer)

    buffers.take(2 * MIB)

    assert buffers.held_bytes == 7 * MIB
    assert buffers.take(5 * MIB) is kept[1]


def test_a_buffer_that_somebody_may_still_read_is_not_used_again():
    buffers = Buffers(100 * MIB)
    first = buffers.take(8 * MIB)
    buffers.forget(first)

    assert buffers.take(8 * MIB) is not first
    assert buffers.held_bytes == 8 * MIB
