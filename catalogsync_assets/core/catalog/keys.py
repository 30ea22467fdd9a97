"""Which key a file has in a bucket."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa


def rename(connection: sa.Connection, moved: Sequence[tuple[int, str, str]]) -> None:
    """Give moved files the keys of their new paths."""
