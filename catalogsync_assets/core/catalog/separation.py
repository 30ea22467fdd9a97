"""Which backends are proven to be different stores: only then do they hold different copies.

One bucket can be registered under several names: by another host name, through a proxy, with
another prefix. Endpoints do not tell; the stores do, when an object that was put through one
backend is looked for through the other (`backends.separation`). The verdict is kept in the config
of both backends with the settings of both: other settings make it void.

What is not proven counts as the same. Nothing here speaks to a store.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from functools import cached_property
from itertools import combinations
from typing import Any, Literal

from catalogsync_assets.core.catalog.backends import (
    OBJECT_STORES,
    BackendRow,
    from_row,
    read_config,
    settings_of,
    write_config,
)
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.stores.backend import ObjectBackend

#: `apart`: an object put through the one is not seen through the other, in both directions.
#: `same`: it was seen.
Verdict = Literal["apart", "same"]
Pair = frozenset[int]

_CONFIG_KEY = "separation"


@dataclass(frozen=True)
class Separation:
    """What is known of some backends: which are stores of their own."""

    names: Mapping[int, str]  #: the backends, by id
    verdicts: Mapping[Pair, Verdict]  #: of pairs of them; a pair without one is unproven

    @classmethod
    def presumed(cls, backends: Iterable[ObjectBackend]) -> Separation:
        """As if each were a store of its own: for what is asked before the stores are."""
        names = {b.id: b.name for b in backends}
        return cls(names, {frozenset(pair): "apart" for pair in combinations(names, 2)})

    def among(self, ids: Collection[int]) -> Separation:
        """The same of these backends only."""
        names = {id_: name for id_, name in self.names.items() if id_ in ids}
        return replace(self, names=names)

    def updated(self, found: Mapping[Pair, Verdict | None]) -> Separation:
        """With what was found out now in place of what was known; None: nothing is proven."""
        merged = {**self.verdicts, **found}
        return replace(self, verdicts={pair: v for pair, v in merged.items() if v is not None})

    @cached_property
    def groups(self) -> dict[int, int | None]:
        """Where each backend counts: those of one group hold one copy together.

        Those of different groups are proven apart, each from each. A backend that may be the same
        as two that are proven apart has None, and adds nothing to other copies.
        """
        doubts: dict[frozenset[int], set[frozenset[int]]] = {store: set() for store in self._stores}
        for one, other in self._in_doubt:
            doubts[one].add(other)
            doubts[other].add(one)
        counted = set(self._stores)
        while between := [
            one
            for one in counted
            if any(b not in doubts[a] for a, b in combinations(doubts[one] & counted, 2))
        ]:
            counted.remove(max(between, key=lambda s: (len(doubts[s] & counted), max(s))))
        return {
            id_: min(map(min, (doubts[store] & counted) | {store})) if store in counted else None
            for store in self._stores
            for id_ in store
        }

    @property
    def all_apart(self) -> bool:
        """Whether each backend counts for itself."""
        return all(group == id_ for id_, group in self.groups.items())

    @property
    def most_copies(self) -> int:
        """Of a file that all of them hold."""
        return self.copies(self.names)

    @property
    def stores(self) -> int:
        """How many stores these backends are, as far as none is proven to be another."""
        return len(self._stores)

    def copies(self, ids: Iterable[int]) -> int:
        """How many copies it makes if these backends hold something."""
        found = {self.groups[id_] for id_ in ids}
        return max(len(found - {None}), min(len(found), 1))

    def copies_sql(self, backend_id: str) -> str:
        """The same in SQL: an aggregate over the rows' `backend_id`; NULL counts as none."""
        if self.all_apart:
            return f"COUNT(DISTINCT {backend_id})"
        whens = " ".join(
            f"WHEN {id_} THEN {group}" for id_, group in self.groups.items() if group is not None
        )
        counted = f"COUNT(DISTINCT CASE {backend_id} {whens} END)"
        return f"CASE WHEN {counted} = 0 AND COUNT({backend_id}) > 0 THEN 1 ELSE {counted} END"

    @property
    def same(self) -> list[list[str]]:
        """The names of backends that are proven to be one store, together."""
        return [sorted(self.names[i] for i in store) for store in self._stores if len(store) > 1]

    @property
    def unproven(self) -> list[tuple[str, str]]:
        """Pairs of backends of which it is not proven whether they are one store."""
        return [(self.names[min(one)], self.names[min(other)]) for one, other in self._in_doubt]

    @cached_property
    def _stores(self) -> list[frozenset[int]]:
        """The backends, those together that are proven the same."""
        stores = [frozenset((id_,)) for id_ in sorted(self.names)]
        for pair, verdict in self.verdicts.items():
            if verdict == "same" and pair <= self.names.keys():
                touched = [store for store in stores if store & pair]
                joined = frozenset(id_ for store in touched for id_ in store)
                stores = [*(store for store in stores if store not in touched), joined]
        return sorted(stores, key=min)

    @property
    def _in_doubt(self) -> list[tuple[frozenset[int], frozenset[int]]]:
        """Pairs of stores that may be one."""
        apart = {pair for pair, verdict in self.verdicts.items() if verdict == "apart"}
        return [
            (one, other)
            for one, other in combinations(self._stores, 2)
            if not any(frozenset((a, b)) in apart for a in one for b in other)
        ]


def separation(catalog: Catalog) -> Separation:
    """What is known of all registered object stores."""
    rows = [BackendRow(*row) for row in catalog.rows(OBJECT_STORES)]
    backends = {row.id: from_row(row) for row in rows}
    verdicts: dict[Pair, Verdict] = {}
    for row in rows:
        for other_id, told in _kept(settings_of(row.config)).items():
            other = backends.get(int(other_id)) if other_id.isdecimal() else None
            valid = other is not None and told == _entry(
                told.get("verdict"), told.get("at"), backends[row.id], other
            )
            if other is not None and valid and told["verdict"] in ("apart", "same"):
                verdicts[frozenset((row.id, other.id))] = told["verdict"]
    return Separation({id_: b.name for id_, b in backends.items()}, verdicts)


def keep_verdicts(
    catalog: Catalog, found: Sequence[tuple[ObjectBackend, ObjectBackend, Verdict]]
) -> None:
    """Remember what was found of pairs of backends, with the settings it was found with."""
    if not found:
        return
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    told: dict[int, dict[str, Any]] = {}
    for one, other, verdict in found:
        told.setdefault(one.id, {})[str(other.id)] = _entry(verdict, now, one, other)
        told.setdefault(other.id, {})[str(one.id)] = _entry(verdict, now, other, one)
    with catalog.transaction() as connection:
        for id_, news in told.items():
            config = read_config(connection, id_)
            write_config(connection, id_, {**config, _CONFIG_KEY: {**_kept(config), **news}})


def _kept(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found = config.get(_CONFIG_KEY)
    if not isinstance(found, dict):
        return {}
    return {id_: told for id_, told in found.items() if isinstance(told, dict)}


def _entry(verdict: Any, at: Any, one: ObjectBackend, other: ObjectBackend) -> dict[str, Any]:
    return {"verdict": verdict, "at": at, "settings": [_place(one), _place(other)]}


def _place(backend: ObjectBackend) -> list[str | None]:
    """The settings that decide where an object goes: some services have buckets per account."""
    return [
        *(backend.endpoint, backend.bucket, backend.base_prefix, backend.region),
        *(backend.addressing_style, backend.credential_env_prefix),
    ]


def backends_with_files(catalog: Catalog) -> set[int]:
    """The backends that hold any file, as far as the catalog says."""
    statement = (
        "SELECT b.id FROM storage_backends b WHERE EXISTS (SELECT 1 FROM song_backend_presence p"
        " WHERE p.backend_id = b.id AND p.files_present > 0)"
    )
    return {row[0] for row in catalog.rows(statement)}
