"""How many backends must hold each file, and the songs of which fewer do.

A library root may have a policy of its own; the root '' stands for all others, and for files that
are on backends only. Without any policy, every registered backend must hold every file. The local
library is not counted: it is what the copies are for. Backends that are not proven to be different
stores count as one (`separation`); a policy asks of each store once, under however many names.

A song is under policy while any of its files that exist is on fewer backends than its library
asks for.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.catalog.presence import COUNTS
from catalogsync_assets.core.catalog.roots import known_roots
from catalogsync_assets.core.catalog.separation import Separation, separation
from catalogsync_assets.core.catalog.songs import COMPANIONS_KEY
from catalogsync_assets.core.catalog.status import BackendStatus, backend_status
from catalogsync_assets.core.errors import UsageError
from catalogsync_assets.core.stores.backend import LOCAL, OBJECT_STORAGE, ObjectBackend

#: The root that stands for all that have no policy of their own.
ALL_OTHERS = ""
#: As a number of required copies: on every registered backend, however many there are.
EVERY_BACKEND = -1

_SET = """
INSERT INTO library_policies (library_root, required_copies) VALUES (:root, :copies)
ON CONFLICT (library_root) DO UPDATE SET
    required_copies = excluded.required_copies, updated_at = CURRENT_TIMESTAMP
"""


@dataclass(frozen=True)
class Policy:
    """What holds for a library root."""

    library_root: str  #: '' for all that have no policy of their own
    required_copies: int  #: as set, `EVERY_BACKEND` included
    copies: int  #: the same as a number
    #: Whether it was set for this very root; else it follows from that of '' or is the default.
    own: bool


def set_policy(catalog: Catalog, root: str | os.PathLike[str], copies: int | None) -> None:
    """Say how many backends must hold each file below a library root.

    Args:
        root: one that the catalog knows; '' for all others.
        copies: a number, or `EVERY_BACKEND`; None takes the root's own policy away.

    Raises:
        UsageError: the catalog knows no such root; a policy for it would never apply.
    """
    name = os.path.abspath(os.path.expanduser(root)) if os.fspath(root) else ALL_OTHERS  # noqa: PTH100, PTH111
    known = known_roots(catalog)
    if name != ALL_OTHERS and name not in [*known, *_own(catalog)]:
        listed = ", ".join(known) or "none yet; scan it first"
        raise UsageError(f"the catalog knows no library root {name}", hint=f"known are: {listed}")
    with catalog.transaction() as connection:
        if copies is None:
            statement = "DELETE FROM library_policies WHERE library_root = :root"
            connection.execute(sa.text(statement), {"root": name})
        else:
            connection.execute(sa.text(_SET), {"root": name, "copies": copies})


def policies(catalog: Catalog) -> list[Policy]:
    """What holds for all others, then for each root that the catalog knows or has a policy for."""
    own, stores = _own(catalog), separation(catalog).stores
    found = []
    for root in [ALL_OTHERS, *sorted({*known_roots(catalog), *own} - {ALL_OTHERS})]:
        required = own.get(root, own.get(ALL_OTHERS, EVERY_BACKEND))
        found.append(Policy(root, required, _as_number(required, stores), root in own))
    return found


@dataclass(frozen=True)
class Required:
    """The policies, for statements that join `library_policies` themselves."""

    every: int  #: the number that `EVERY_BACKEND` stands for
    others: int  #: for roots without a policy of their own
    others_set: bool  #: whether somebody has set that; else it is the default
    by_root: bool  #: whether any root has a policy of its own


def required(catalog: Catalog, stores: int) -> Required:
    """What the libraries ask for, where there are so many different stores."""
    own = _own(catalog)
    others = _as_number(own.get(ALL_OTHERS, EVERY_BACKEND), stores)
    return Required(stores, others, ALL_OTHERS in own, bool(own.keys() - {ALL_OTHERS}))


@dataclass(frozen=True)
class PolicyStatus:
    """Whether there are as many copies as there should be."""

    songs: int  #: songs that exist
    songs_under_policy: int  #: of those, the ones with a file on too few backends
    companions_under_policy: int  #: files beside the music on too few backends
    backends: int  #: registered object stores
    required_copies: tuple[int, int]  #: the fewest and the most that any library asks for
    #: Backends that are proven to be one store, together: they count as one.
    same: list[list[str]] = field(default_factory=list)
    #: Pairs of backends, both with files, that count as one, as it is not proven that they are two
    #: stores.
    unproven: list[tuple[str, str]] = field(default_factory=list)


@dataclass(frozen=True)
class ShortSong:
    """A song that is under policy."""

    song_id: int
    artist: str | None
    title: str
    files: int  #: its files that are on too few backends
    #: Of the file that lacks most.
    copies: int
    required: int


# --- which songs are short ----------------------------------------------------------------------
#
# Answered in steps, each only where the one before does not settle it:
# 1. The sums per backend: nobody lacks anything, or every song lacks the same.
# 2. Per song, on how many backends it is not whole. A file is on at least as many backends as its
#    song is whole on, so only songs that are not whole on more than `backends - required` can be
#    short. If all libraries ask for the same, a song of one file is, too; and if they ask for
#    every backend, each of them is.
# 3. The files of the songs that are left, each with its own library's policy.
#
# CPU time of a million songs on three backends: nothing after `backend_status` where all backends
# are full, or only one is not; 0.6 s where one lacks half and another 1%; 1.5 s if two of three are
# required and one backend is empty; 8.5 s if libraries differ as well: every file is looked at.
#
# Where backends count together, a file that is missing on `n` of them is still on at least as many
# stores as there are less `n`: so the songs to look at are found in the same way, and only those
# steps are left out that take each backend for a copy.

_OF_OBJECT_STORES = (
    f"backend_id IN (SELECT id FROM storage_backends WHERE backend_type = '{OBJECT_STORAGE}')"
)
# By that index only the rows of songs that lack something are looked up.
_CANDIDATES = f"""
SELECT song_id FROM song_backend_presence INDEXED BY ix_song_backend_presence_backend
WHERE {_OF_OBJECT_STORES} AND files_present < files_total
GROUP BY song_id HAVING COUNT(*) > :spare
"""
_SINGLE = " AND MAX(files_total) = 1"
_SEVERAL = " AND MAX(files_total) > 1"
_ALL_SONGS = "SELECT DISTINCT song_id FROM song_backend_presence"
# A file of several local places is held to the strictest of their policies.
_SHORT_FILES = f"""
SELECT f.song_id, f.id, {{copies}} AS copies,
    COALESCE(MAX(CASE WHEN b.backend_type = '{LOCAL}'
                      THEN COALESCE(r.wanted, :otherwise) END), :otherwise) AS required
FROM ({{candidates}}) c
CROSS JOIN file_assets f ON f.song_id = c.song_id
CROSS JOIN file_locations l ON l.file_asset_id = f.id
CROSS JOIN storage_backends b ON b.id = l.backend_id
LEFT JOIN (SELECT key AS root, value AS wanted FROM json_each(:by_root)) r
    ON r.root = l.library_root
WHERE f.superseded_by_id IS NULL
  AND EXISTS (SELECT 1 FROM file_locations e WHERE e.file_asset_id = f.id AND {COUNTS})
GROUP BY f.song_id, f.id HAVING copies < required
"""
#: The backend of a location that counts.
_HOLDS = f"""
CASE WHEN l.status = 'active' AND b.backend_type = '{OBJECT_STORAGE}' THEN l.backend_id END
"""
_COUNT_SHORT = f"SELECT COUNT(DISTINCT song_id) FROM ({_SHORT_FILES})"
#: The row of `songs` that files beside the music hang on.
_BESIDE = f"SELECT id AS song_id FROM songs WHERE match_key = '{COMPANIONS_KEY}'"
_COUNT_BESIDE = f"SELECT COUNT(*) FROM ({_SHORT_FILES}) x"
_LIST_SHORT = f"""
SELECT s.id, s.artist, s.title, x.files, x.copies, x.required FROM (
    -- Of the file that lacks most: SQLite takes bare columns from the row of the maximum.
    SELECT song_id, COUNT(*) AS files, copies, required, MAX(required - copies)
    FROM ({_SHORT_FILES}) GROUP BY song_id ORDER BY song_id LIMIT :limit) x
JOIN songs s ON s.id = x.song_id ORDER BY s.id
"""


@dataclass(frozen=True)
class _Rules:
    """The policies as numbers of copies, and how copies are counted."""

    separation: Separation
    otherwise: int
    by_root: Mapping[str, int]

    @property
    def fewest(self) -> int:
        return min([self.otherwise, *self.by_root.values()])

    @property
    def most(self) -> int:
        return max([self.otherwise, *self.by_root.values()])

    @property
    def spare(self) -> int:
        """On so many backends every file may be lacking."""
        return self.separation.most_copies - self.most

    @property
    def alike(self) -> bool:
        """Whether all libraries ask for the same, and each backend is a copy of its own."""
        return self.fewest == self.most and self.separation.all_apart

    def of_files(self, statement: str, candidates: str) -> str:
        """A statement about the files that are short, of these songs."""
        return statement.format(candidates=candidates, copies=self.separation.copies_sql(_HOLDS))

    def values(self) -> dict[str, object]:
        by_root = json.dumps(self.by_root)
        return {"otherwise": self.otherwise, "by_root": by_root, "spare": self.spare}


def policy_status(catalog: Catalog, figures: Sequence[BackendStatus] | None = None) -> PolicyStatus:
    """How many songs have fewer copies than they should.

    Args:
        figures: of `backend_status`, where they are at hand: most catalogs are judged by them.
    """
    figures = backend_status(catalog) if figures is None else figures
    songs = max((b.songs_total for b in figures), default=0)
    stores = [b for b in figures if b.backend_type == OBJECT_STORAGE]
    rules = _rules(catalog)
    short = _by_sums(rules, stores, songs)
    if short is None:
        short = _count(catalog, rules)
    filled = {b.name for b in stores if b.files}
    unproven = [pair for pair in rules.separation.unproven if filled.issuperset(pair)]
    required = (rules.fewest, rules.most)
    beside = 0
    full = {b.name for b in stores if b.companions == b.companions_total}
    names = rules.separation.names.items()
    if rules.separation.copies(id_ for id_, name in names if name in full) < rules.most:
        beside = catalog.scalar(rules.of_files(_COUNT_BESIDE, _BESIDE), **rules.values())
    same = rules.separation.same
    return PolicyStatus(songs, short, int(beside), len(stores), required, same, unproven)


def songs_under_policy(catalog: Catalog, limit: int = 100) -> list[ShortSong]:
    """The first `limit` songs that have fewer copies than they should, by id."""
    rules = _rules(catalog)
    candidates = _candidates(rules)
    # Not more than are asked for, where each of them is short for certain.
    if rules.fewest == rules.most and rules.spare < (1 if rules.alike else 0):
        candidates += " ORDER BY song_id LIMIT :limit"
    statement = rules.of_files(_LIST_SHORT, candidates)
    return [ShortSong(*row) for row in catalog.rows(statement, **rules.values(), limit=limit)]


# Of the files that a backend holds.
_SHORT_WITHOUT = f"""
SELECT COUNT(DISTINCT CASE WHEN a.companion IS NULL THEN x.song_id END),
       COUNT(CASE WHEN a.companion IS NULL THEN 1 END), COUNT(a.companion)
FROM (
    {_SHORT_FILES} AND COUNT(CASE WHEN l.status = 'active' AND b.id = :without THEN 1 END) > 0) x
JOIN file_assets a ON a.id = x.id
"""
_SONGS_THERE = f"""
SELECT song_id FROM song_backend_presence WHERE backend_id = :without AND files_present > 0
UNION {_BESIDE}
"""


def short_without(catalog: Catalog, backend: ObjectBackend) -> tuple[int, int, int]:
    """How many songs, files of songs, and files beside the music of a backend would have fewer
    copies than required without it.

    Whose library asks for every backend is asked for one less then. Looks at each of its files.
    """
    others = separation(catalog)
    rules = _rules(catalog, others.among(others.names.keys() - {backend.id}))
    copies = rules.separation.copies_sql(_HOLDS.replace("THEN", "AND b.id <> :without THEN"))
    statement = _SHORT_WITHOUT.format(candidates=_SONGS_THERE, copies=copies)
    ((songs, files, beside),) = catalog.rows(statement, **rules.values(), without=backend.id)
    return int(songs), int(files), int(beside)


def _by_sums(rules: _Rules, stores: Sequence[BackendStatus], songs: int) -> int | None:
    """The answer, where the sums of the backends give it."""
    lacking = {b.name: b.songs_partial + b.songs_absent for b in stores}
    empty = {b.name for b in stores if b.songs_absent == songs}
    known = rules.separation
    of_every_file = known.copies(
        id_ for id_, name in known.names.items() if not lacking.get(name, 1)
    )
    of_any_file = known.copies(id_ for id_, name in known.names.items() if name not in empty)
    if of_every_file >= rules.most:
        return 0
    if rules.fewest == rules.most and of_any_file < rules.most:
        return songs
    if not rules.alike:
        return None
    counts = lacking.values()
    if rules.spare == 0 and (max(counts) == songs or sum(count > 0 for count in counts) == 1):
        return max(counts)
    return None


def _count(catalog: Catalog, rules: _Rules) -> int:
    def count(statement: str) -> int:
        return int(catalog.scalar(statement, **rules.values()))

    if not rules.alike:
        return count(rules.of_files(_COUNT_SHORT, _candidates(rules)))
    if rules.spare == 0:
        return count(f"SELECT COUNT(*) FROM ({_CANDIDATES})")
    several = rules.of_files(_COUNT_SHORT, _CANDIDATES + _SEVERAL)
    return count(f"SELECT COUNT(*) FROM ({_CANDIDATES}{_SINGLE})") + count(several)


def _candidates(rules: _Rules) -> str:
    return _CANDIDATES if rules.spare >= 0 else _ALL_SONGS


def _rules(catalog: Catalog, known: Separation | None = None) -> _Rules:
    known = known or separation(catalog)
    own = {root: _as_number(copies, known.stores) for root, copies in _own(catalog).items()}
    return _Rules(known, own.pop(ALL_OTHERS, known.stores), own)


def _own(catalog: Catalog) -> dict[str, int]:
    rows = catalog.rows("SELECT library_root, required_copies FROM library_policies")
    return {str(root): int(copies) for root, copies in rows}


def _as_number(copies: int, stores: int) -> int:
    return stores if copies == EVERY_BACKEND else copies
