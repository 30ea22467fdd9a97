"""What becomes of what a scan has met where it did not expect it, and of what it has missed.

Called once every root has been walked. In this order, so that a kill at any moment leaves what the
next scan sees and does again: moved files get their new places, then new and changed ones are
recorded, then what was found nowhere is marked.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from catalogsync_assets.core.catalog import files as rows
from catalogsync_assets.core.catalog import locations
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import FileFacts, KnownFile, Seen
from catalogsync_assets.core.catalog.moved_files import (
    Moved,
    give_way,
    is_anothers_song,
    is_same_song,
    local_places,
    record_moved_unread,
    record_moves,
    record_replaced,
    stand_ins,
)
from catalogsync_assets.core.catalog.song_matching import follow_tags
from catalogsync_assets.core.files.digests import sha256_of
from catalogsync_assets.core.files.opening import FileStat
from catalogsync_assets.core.library.moves import Arrived, Lost, Moves
from catalogsync_assets.core.library.tags import CUT_OFF, read_facts
from catalogsync_assets.core.library.walk import Problem, printable

if TYPE_CHECKING:
    from catalogsync_assets.core.library.scan_report import ScanReport

#: Changes recorded in one transaction: short enough to leave others room to write.
_CHUNK = 500
#: Bytes of files that one scan reads because a move has left them unread.
UNREAD_AT_A_TIME = 2 * 1024**3
#: So many are read at once; after more were renamed, later scans read them.
_FEW = 1_000
#: Of moves, which take less.
_MOVES = 5_000
_SUSPECTED = (
    "it seems damaged, and is not uploaded: {why}. If it is as it should be, `catalogsync scan"
    " --accept` with its path, or with a folder above it, takes it"
)
_OTHER_BYTES = "its bytes have changed, but not its time, nor what its tags say"
_UNTOUCHED = "its bytes have changed, though nothing has written to it"
_NO_AUDIO = "it could be read as audio before, and cannot any more"
_STILL = "it was found damaged before, and what it holds now is not what it held before that"
#: The statuses of files that are not there, and are wanted, or may be once more.
_NOT_THERE = ("missing", "offloaded", "forgotten")
_T = TypeVar("_T")


def follow(
    catalog: Catalog,
    moves: Moves,
    report: ScanReport,
    accept: Collection[str],
    progress: Callable[[ScanReport], None],
    *,
    left_out: Collection[int] = (),
) -> None:
    """Record what has moved, is new, has changed, or is gone.

    Args:
        report: is brought up to date.
        accept: absolute paths of files that shall be taken as they are.
        progress: called with the report after each transaction.
        left_out: locations that were left out of the library, and stay so if they are not found.
    """
    _Follow(catalog, moves, report, accept, progress, left_out).execute()


@dataclass(eq=False)
class _Follow:
    _catalog: Catalog
    _moves: Moves
    _report: ScanReport
    _accept: Collection[str]
    _progress: Callable[[ScanReport], None]
    _left_out: Collection[int]

    def __post_init__(self) -> None:
        last = "SELECT COALESCE(MAX(id), 0) FROM file_assets"
        self._last_asset = int(self._catalog.scalar(last))
        self._moved: list[Moved] = []
        self._seen: list[tuple[str, Seen]] = []
        self._facts: list[tuple[str, FileFacts]] = []
        self._suspected: list[tuple[int, FileStat]] = []
        self._replaced: list[tuple[int, int, int]] = []
        self._gone: list[Lost] = []
        self._given_way: list[tuple[str, KnownFile]] = []

    def execute(self) -> None:
        self._moves.pair(_digest)
        touched, size = self._moves.touched()
        few = touched <= _FEW and size <= UNREAD_AT_A_TIME
        self._follow_moved(few)
        for arrived, known in self._moves.not_moved():
            if known is None:
                self._take_new(arrived)
            else:
                self._judge(arrived, known)
        self._flush()
        for lost in self._moves.not_found():
            stays = lost.known.location_id in self._left_out
            if lost.known.status in ("active", "damaged", "excluded") and not stays:
                self._keep(self._gone, lost)
        self._flush()

    def _follow_moved(self, few: bool) -> None:
        """What is elsewhere now; a few that were touched are read at once."""
        for plain in self._moves.plain(unread=not few):
            record_moved_unread(self._catalog, plain)
            self._report.moved += len(plain)
            self._report.moved_unread += sum(file.touched for file in plain)
            self._progress(self._report)
        for arrived, lost, how, over in self._moves.moved(unread=not few):
            if over is not None:
                self._make_way(arrived, over, lost.known)
            if arrived.location_id == lost.known.location_id:
                self._find_as_it_was(arrived, lost.known)
            elif how == "read":
                self._move(arrived, lost.known, arrived.sha256)
            elif arrived.stat.ctime_ns == lost.known.ctime_ns:
                self._move(arrived, lost.known, None)
            elif few:
                self._move_and_read(arrived, lost.known)
            else:
                self._report.moved_unread += 1
                self._move(arrived, lost.known, None)
        self._flush()

    def _make_way(self, arrived: Arrived, over: KnownFile, by: KnownFile) -> None:
        """A known file has come over another's path: that one is no more, if it was there."""
        if over.status in _NOT_THERE and over.song_id != by.song_id:
            self._keep(self._given_way, (arrived.root, over))
        else:
            self._keep(self._replaced, (over.location_id, over.file_asset_id, by.file_asset_id))

    def _find_as_it_was(self, arrived: Arrived, known: KnownFile) -> None:
        """It was read: its content is the one that it had."""
        if known.present or known.status == "damaged":
            self._report.unchanged += 1
            self._report.touched += 1
        else:
            self._report.returned += 1
        self._keep(self._seen, (arrived.root, Seen(known, arrived.stat, arrived.sha256)))

    def _move_and_read(self, arrived: Arrived, known: KnownFile) -> None:
        """An inode has told; but it was renamed itself, or edited under its old mtime."""
        sha256 = _digest(arrived.root, arrived.path)
        if sha256 is None or sha256 == known.sha256:
            self._move(arrived, known, sha256)
            return
        facts = self._read(arrived, None, sha256)
        says_the_same = facts.tags_digest == known.tags_digest
        if not says_the_same and facts.tags_digest is not None:
            self._change(arrived, replace(facts, replaces=known))
        elif says_the_same and known.sha256 is None:
            self._move(arrived, known, sha256)
        else:
            self._move(arrived, known, None)
            why = _OTHER_BYTES if says_the_same else _NO_AUDIO
            self._suspect(arrived, known, _STILL if known.seems_damaged else why)

    def _move(self, arrived: Arrived, known: KnownFile, sha256: str | None) -> None:
        self._report.moved += 1
        there = Moved(known, arrived.root, arrived.path, arrived.stat, sha256)
        self._keep(self._moved, there, _MOVES)

    def _take_new(self, arrived: Arrived) -> None:
        """No known file is the same. It may be one that was edited and renamed in one go."""
        lost = self._moves.by_inode(arrived)
        facts = self._read(arrived, None)
        music = arrived.companion is None
        if lost is not None and music and is_same_song(self._catalog, lost.known, facts):
            self._moves.take(arrived, lost)
            if _has_lost_its_end(arrived, lost.known, facts):
                return self._move_damaged(arrived, lost.known)
            facts = replace(facts, replaces=lost.known)
            self._report.changed += 1
        else:
            self._report.new += 1
        self._record(arrived, facts)
        return None

    def _move_damaged(self, arrived: Arrived, known: KnownFile) -> None:
        """With the size that it had: whoever is killed before it is marked finds another."""
        before = FileStat(
            known.size_bytes or 0,
            known.mtime_ns or 0,
            known.ctime_ns,
            known.inode,
            known.file_system,
        )
        self._move(arrived._replace(stat=before), known, None)
        self._suspect(arrived, known, CUT_OFF)

    def _judge(self, arrived: Arrived, known: KnownFile) -> None:
        """A known path holds something else than before: an edit, or damage."""
        if _is_first_met(arrived, known):
            self._report.unchanged += 1
            self._keep(self._seen, (arrived.root, Seen(known, arrived.stat, arrived.sha256)))
            return None
        sha256 = arrived.sha256
        if arrived.place not in self._accept:
            if known.seems_damaged:
                return self._look_at_damaged(arrived, known)
            if arrived.quiet and sha256 is None:
                sha256 = _digest(arrived.root, arrived.path)
                if sha256 is None:
                    return self._note(Problem(printable(arrived.path), "cannot be read"))
                if known.sha256 is None:
                    return self._judge_unread(arrived, known, sha256)
        facts = self._read(arrived, known, sha256)
        why = _damage(arrived, known, facts)
        if arrived.place not in self._accept and why is not None:
            return self._suspect(arrived, known, why)
        return self._take_edited(arrived, known, facts)

    def _take_edited(self, arrived: Arrived, known: KnownFile, facts: FileFacts) -> None:
        """What lies at a known path is whole: new content of the file, or another file."""
        if self._is_another_file(known, facts):
            self._keep(self._given_way, (arrived.root, known))
            self._report.new += 1
            self._record(arrived, replace(facts, replaces=None))
            return
        over = self._moves.by_inode(arrived) if arrived.companion is None else None
        if over is not None and self._came_from(over.known, known, facts):
            self._moves.take(arrived, over)
            self._make_way(arrived, known, over.known)
            facts = replace(facts, replaces=over.known)
        self._change(arrived, facts)

    def _is_another_file(self, known: KnownFile, facts: FileFacts) -> bool:
        """Whether what is at the path of a file that is not there is no new content of it.

        What was removed on purpose may be nowhere but on backends: something must speak for an
        edit. Of what is gone nothing may speak against it.
        """
        if known.companion is not None:
            return known.status in _NOT_THERE and known.status != "missing"
        if known.status == "missing":
            return is_anothers_song(self._catalog, known, facts)
        return known.status in _NOT_THERE and not is_same_song(
            self._catalog, known, facts, length_alone=False
        )

    def _came_from(self, lost: KnownFile, known: KnownFile, facts: FileFacts) -> bool:
        """Whether what is at a known path is a file that was renamed over it, and edited."""
        return is_same_song(self._catalog, lost, facts) and not (
            lost.song_id == known.song_id
            or is_same_song(self._catalog, known, facts, length_alone=False)
        )

    def _look_at_damaged(self, arrived: Arrived, known: KnownFile) -> None:
        """It has changed again: it may have been brought back, at the size that it once had."""
        sha256 = known.sha256 and (arrived.sha256 or _digest(arrived.root, arrived.path))
        if sha256 and sha256 == known.sha256:
            self._find_as_it_was(arrived._replace(sha256=sha256), known)
        else:
            self._suspect(arrived, known, _STILL)

    def _judge_unread(self, arrived: Arrived, known: KnownFile, sha256: str) -> None:
        """The content was never read whole: only its tags can tell whether it is the same."""
        facts = self._read(arrived, known, sha256)
        if facts.tags_digest == known.tags_digest:
            self._find_as_it_was(arrived._replace(sha256=sha256), known)
        else:
            self._change(arrived, facts)

    def _change(self, arrived: Arrived, facts: FileFacts) -> None:
        self._report.changed += 1
        self._record(arrived, facts)

    def _suspect(self, arrived: Arrived, known: KnownFile, why: str) -> None:
        self._report.suspect(arrived.place)
        self._note(Problem(printable(arrived.path), _SUSPECTED.format(why=why)))
        self._keep(self._suspected, (known.location_id, arrived.stat))

    def _read(
        self, arrived: Arrived, replaces: KnownFile | None, sha256: str | None = None
    ) -> FileFacts:
        return read_facts(
            Path(arrived.root),
            arrived.path,
            arrived.stat,
            companion=arrived.companion,
            replaces=replaces,
            sha256=sha256 or arrived.sha256,
        )

    def _record(self, arrived: Arrived, facts: FileFacts) -> None:
        if facts.tags_error:
            self._note(Problem(arrived.path, facts.tags_error))
        self._keep(self._facts, (arrived.root, facts))

    def _note(self, problem: Problem) -> None:
        self._report.note(problem)

    def _keep(self, collected: list[_T], item: _T, most: int = _CHUNK) -> None:
        collected.append(item)
        if len(collected) >= most:
            self._flush()

    def _flush(self) -> None:
        catalog = self._catalog
        if self._given_way:  # first: a path has one file
            give_way(catalog, self._given_way)
        if self._replaced:  # then: whoever has taken a path is to have its key
            record_replaced(catalog, self._replaced)
        if self._moved:
            record_moves(catalog, self._moved)
        for root, seen in _by_root(self._seen):
            rows.mark_seen(catalog, root, seen)
        for root, facts in _by_root(self._facts):
            rows.record_files(catalog, root, facts)
        if self._suspected:
            locations.mark_suspected(catalog, self._suspected)
        if self._gone:
            self._mark_gone()
        for collected in (self._moved, self._seen, self._facts, self._suspected):
            collected.clear()
        self._replaced.clear()
        self._gone.clear()
        self._given_way.clear()
        self._progress(self._report)

    def _mark_gone(self) -> None:
        """What is gone, but for what a new file of the same song and format stands in for."""
        known = [lost.known for lost in self._gone]
        instead = stand_ins(self._catalog, known, after=self._last_asset)
        replaced = [
            (k.location_id, k.file_asset_id, instead[k.location_id].file_asset_id)
            for k in known
            if k.location_id in instead
        ]
        record_replaced(self._catalog, replaced)
        self._call_songs_by([asset for *_, asset in replaced])
        as_new = sum(not stand_in.is_edit for stand_in in instead.values())
        self._report.new -= as_new
        self._report.changed += as_new
        gone = [lost for lost in self._gone if lost.known.location_id not in instead]
        for root, k in gone:
            self._report.miss(f"{root.rstrip('/')}/{k.path}")
        locations.mark(self._catalog, [lost.known.location_id for lost in gone], "gone")

    def _call_songs_by(self, file_assets: Collection[int]) -> None:
        """Songs whose only files have come in the stead of others are called what these say.

        Their tags are read again: when they were recorded, nobody knew that the others are gone.
        """
        if not file_assets:
            return
        facts = {
            asset: read_facts(Path(root), path, FileStat(0, 0))
            for asset, root, path in local_places(self._catalog, file_assets)
        }
        with self._catalog.transaction() as connection:
            follow_tags(connection, {i: f for i, f in facts.items() if f.tags_error is None})


def _is_first_met(arrived: Arrived, known: KnownFile) -> bool:
    """Whether this is a row of another program that says nothing against the file on disk."""
    if known.mtime_ns is not None or known.has_key:
        return False
    return known.sha256 is None and known.size_bytes in (None, arrived.stat.size_bytes)


def _damage(arrived: Arrived, known: KnownFile, facts: FileFacts) -> str | None:
    """Why another content is no edit, by all that can be told; None if it is one.

    An edit leaves other tags, or at least another mtime, and a whole file that can be read.
    """
    if _has_lost_its_end(arrived, known, facts):
        return CUT_OFF
    if known.tags_digest is not None and facts.tags_digest is None and facts.tags_error:
        return _NO_AUDIO  # a tagger that crashed, or worse
    if not arrived.quiet:
        return None
    if arrived.companion is not None:
        return _OTHER_BYTES  # nothing in it tells an edit from damage, but its mtime
    if arrived.stat[2:4] == (known.ctime_ns, known.inode) and known.verified_by != "inode":
        return _UNTOUCHED
    same_tags = known.tags_digest is not None and known.tags_digest == facts.tags_digest
    return _OTHER_BYTES if same_tags else None


def _has_lost_its_end(arrived: Arrived, known: KnownFile, facts: FileFacts) -> bool:
    size = arrived.stat.size_bytes
    return size < (known.size_bytes or 0) and (size == 0 or facts.tags_error == CUT_OFF)


def _by_root(items: list[tuple[str, _T]]) -> list[tuple[str, list[_T]]]:
    groups: dict[str, list[_T]] = {}
    for root, item in items:
        groups.setdefault(root, []).append(item)
    return list(groups.items())


def _digest(root: str, path: str) -> str | None:
    try:
        return sha256_of(Path(root) / path)
    except OSError:
        return None  # reading its tags will report it
