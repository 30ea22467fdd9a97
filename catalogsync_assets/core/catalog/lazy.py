"""SQLAlchemy and the tables, loaded when they are first used.

They take two thirds of the time of a command that only asks (`status`, `whereis`, an `upload` with
nothing to do), and those ask by `Catalog.rows` and `Catalog.view`, which do without. The modules of
the catalog take them from here, and use them inside their functions, not when they are loaded.
"""

from __future__ import annotations

import functools
import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import sqlalchemy as sa

    from catalogsync_assets.core.catalog import schema
else:

    class _OnFirstUse:
        def __init__(self, name: str) -> None:
            self._name = name

        def __getattr__(self, name: str) -> Any:
            found = getattr(importlib.import_module(self._name), name)
            setattr(self, name, found)
            return found

    sa = _OnFirstUse("sqlalchemy")
    schema = _OnFirstUse("catalogsync_assets.core.catalog.schema")

__all__ = ["sa", "sa_text", "schema"]


@functools.lru_cache(maxsize=256)
def sa_text(statement: str, *lists: str) -> sa.TextClause:
    """A statement as SQLAlchemy takes it. Finding the parameters in a text costs as much as
    inserting a row, so what was made once is kept.

    Args:
        lists: parameters that stand for several values, as in `id IN :ids`.
    """
    made = sa.text(statement)
    several: list[sa.BindParameter[Any]] = [sa.bindparam(name, expanding=True) for name in lists]
    return made.bindparams(*several) if several else made
