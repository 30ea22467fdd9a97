"""Batches: every file in exactly one, in order, within limits."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from catalogsync_assets.core.catalog.batches import Group, group

SIZES = st.lists(st.integers(0, 200), max_size=60)
GAPS = st.integers(1, 5)


@given(SIZES, st.integers(1, 10), st.integers(1, 400), GAPS)
def test_groups_cover_all_files_in_order_within_the_limits(sizes, max_files, max_bytes, gap):
    files = [(1 + i * gap, size) for i, size in enumerate(sizes)]

    groups = list(group(files, max_files=max_files, max_bytes=max_bytes))

    left = list(files)
    for one in groups:
        members, left = left[: one.files], left[one.files :]
        assert one == Group(
            first_id=members[0][0],
            last_id=members[-1][0],
            files=len(members),
            size_bytes=sum(size for _, size in members),
        )
        assert one.files <= max_files
        assert one.size_bytes <= max_bytes or one.files == 1
    assert left == []


@given(SIZES, st.integers(1, 10), st.integers(1, 400))
def test_a_group_ends_only_where_the_next_file_would_break_a_limit(sizes, max_files, max_bytes):
    groups = list(group(enumerate(sizes), max_files=max_files, max_bytes=max_bytes))

    for one, following in pairwise(groups):
        next_size = sizes[following.first_id]
        assert one.files == max_files or one.size_bytes + next_size > max_bytes


def test_no_files_make_no_group():
    assert list(group([], max_files=1, max_bytes=1)) == []


def test_files_are_taken_as_they_come():
    """A library of any size is grouped without holding it."""
    endless = ((i, 1) for i in iter(int, 1))

    assert next(group(endless, max_files=2, max_bytes=10)).files == 2
