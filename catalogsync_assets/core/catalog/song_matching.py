"""Which song a file belongs to.

A file whose content is new at a known path keeps the song that the path had, unless sound or tags
speak against it: other names with another length, or the names of a song whose file has changed
places with it. Any other file is found a song. What tells that two files are of one recording,
the strongest first:

1. MusicBrainz's id of this track of this release;
2. the digest of the sound, where the container keeps one;
3. MusicBrainz's id of the recording, within the same album;
4. artist, album, disc, track and title, and a length that differs by `SAME_LENGTH` at most. Where
   both lengths are unknown the names alone decide, as nothing speaks against them; where one is,
   the files are of two songs. A song that has no file yet, as an import makes it, takes any length.

Where several songs would do, it is the oldest. What a path held before tells of its song by its
sound, and by its ids as long as the song has no other file: files may have changed places. No rule
makes one song of two that exist, and none takes a file from the song that a person gave it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from catalogsync_assets.core.catalog.lazy import sa
from catalogsync_assets.core.catalog.legacy import insert_each, insert_row, update_row
from catalogsync_assets.core.catalog.schema import file_assets, songs
from catalogsync_assets.core.catalog.songs import COMPANIONS_KEY, fill_gaps, link_artists

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.files import FileFacts, KnownFile

#: Seconds by which two files of one recording may differ in length: encoders pad, rippers cut.
SAME_LENGTH = 3.0
#: Seconds: less than what MP3 and AAC code at a time.
_A_FRAME = 0.02


class SongOf(NamedTuple):
    """Where a file belongs."""

    song_id: int
    decided: bool  #: whether a person has said so


def songs_of(connection: sa.Connection, files: Sequence[FileFacts]) -> list[SongOf]:
    """The song of each file, which is made where there is none; songs follow their files' tags.

    A file finds the songs of those before it, as if each had been recorded by itself.

    Args:
        connection: one of `Catalog.transaction`.
        files: what is to be recorded next, each with the content that it replaces.
    """
    music = [f for f in files if f.companion is None]
    found = iter(_songs_of_music(connection, music) if music else ())
    beside = SongOf(_of_companions(connection), False) if len(music) < len(files) else None
    return [beside if beside and f.companion else next(found) for f in files]


def _of_companions(connection: sa.Connection) -> int:
    """The reserved row, which is made once."""
    key = {"match_key": COMPANIONS_KEY}
    statement = sa.select(sa.func.min(songs.c.id)).where(songs.c.match_key == COMPANIONS_KEY)
    there = connection.scalar(statement)
    if there is None:
        there = insert_row(connection, "songs", {"title": "(files beside the music)", **key})
    return int(there)


def _songs_of_music(connection: sa.Connection, files: Sequence[FileFacts]) -> list[SongOf]:
    known = _Known(connection, files)
    found: list[tuple[_Song, bool]] = []
    for f in files:
        old = known.replaced.get(f.replaces.file_asset_id) if f.replaces else None
        decided = False
        if f.song_id is not None:
            song = known.songs.get(f.song_id) or _Song(f.song_id)
            known.fill(song, f)
        elif old is not None and _keeps(old, f) and not known.has_changed_places(old, f):
            song, decided = old.song, old.decided
            if decided and song.contents and _differ(f.song["match_key"], song.match_key):
                # What a person put together is not called what the last edited of it is called.
                known.fill(song, f)
            else:
                known.rename(song, f)
        else:
            song = known.find(f) or known.make(f)
        known.add(song, f)
        found.append((song, decided))
    known.insert_made()
    ids = [song.id for song, _ in found]
    link_artists(connection, sorted(set(ids)), artists_of(zip(ids, files, strict=True)))
    return [SongOf(song.id, decided) for song, decided in found]


def tell_the_same(
    connection: sa.Connection,
    pairs: Sequence[tuple[KnownFile, FileFacts]],
    *,
    length_alone: bool = True,
) -> list[bool]:
    """Whether each file is of the song of a known one, by what can be told of the two alone.

    For a file that may be the known one, moved and with other tags, as its inode proposes:
    something must speak for it, if only that it is exactly as long.

    Args:
        length_alone: whether that is enough.
    """
    known = _Known(connection, [replace(f, replaces=k) for k, f in pairs])
    return [
        (old := known.replaced.get(k.file_asset_id)) is not None
        and (_speaks_for(old, f) or (length_alone and _is_exactly_as_long(old, f)))
        for k, f in pairs
    ]


def keep_their_songs(
    connection: sa.Connection, pairs: Sequence[tuple[KnownFile, FileFacts]]
) -> list[bool]:
    """Whether each file, at the path of a known one, would be given its song; see the module."""
    known = _Known(connection, [replace(f, replaces=k) for k, f in pairs])
    return [
        (old := known.replaced.get(k.file_asset_id)) is None
        or (_keeps(old, f) and not known.has_changed_places(old, f))
        for k, f in pairs
    ]


def follow_tags(connection: sa.Connection, files: Mapping[int, FileFacts]) -> None:
    """Songs are called what files say that have come in the stead of all that they had.

    Args:
        files: by file asset. A song that has others, which are current, is left as it is.
    """
    asset = file_assets.c
    rows = connection.execute(
        sa.select(asset.id, asset.song_id).where(asset.id.in_(files)).order_by(asset.id)
    )
    of_song: dict[int, list[int]] = {}
    for file_id, song_id in rows:
        of_song.setdefault(song_id, []).append(file_id)
    others = sa.select(asset.song_id).where(
        asset.song_id.in_(of_song), asset.superseded_by_id.is_(None), asset.id.not_in(files)
    )
    alone = of_song.keys() - set(connection.scalars(others))
    for song_id in alone:
        update_row(connection, "songs", song_id, files[of_song[song_id][0]].song)
    told = [(song_id, files[i]) for song_id in alone for i in of_song[song_id]]
    link_artists(connection, sorted(alone), artists_of(told))


def artists_of(files: Iterable[tuple[int, FileFacts]]) -> dict[int, dict[str, None]]:
    """By song, the artists that its files name."""
    found: dict[int, dict[str, None]] = {}
    for song_id, facts in files:
        found.setdefault(song_id, {}).update(dict.fromkeys(facts.artists))
    return found


# --- the rules ----------------------------------------------------------------------------------


@dataclass(eq=False)
class _Song:
    """A song, and the current files that say what it is."""

    id: int
    match_key: str | None = None
    album: str | None = None
    seconds: float | None = None
    contents: list[_Content] = field(default_factory=list)
    #: Those that the files in hand are about to replace.
    replaced: list[_Content] = field(default_factory=list)


@dataclass(eq=False)
class _Content:
    """What a file tells of its song, besides names."""

    song: _Song
    seconds: float | None
    audio_digest: str | None
    recording_id: str | None
    release_track_id: str | None
    decided: bool = False
    #: Whether its path has newer content by now, or one of the files in hand replaces it.
    past: bool = False

    @property
    def counts(self) -> bool:
        """Whether its tags still speak for its song: a past content's may have been corrected."""
        return not (self.past and self.song.contents)


def _keeps(old: _Content, f: FileFacts) -> bool:
    """Whether new content of a path is still the song that the path had."""
    song = old.song
    if old.decided or any(
        _equal(getattr(old, name), getattr(f, name))
        for name in ("audio_digest", "release_track_id", "recording_id")
    ):
        return True
    if _differ(old.release_track_id, f.release_track_id):
        return False
    seconds = f.song["duration_seconds"]
    is_other = _differ(f.song["match_key"], song.match_key)
    if is_other and _too_far(old.seconds, seconds):
        return False  # tags are edited, a length is not
    if _differ(old.audio_digest, f.audio_digest) and (is_other or _too_far(old.seconds, seconds)):
        return False
    # A playlist keeps its song, whatever its only file is called now.
    return not song.contents or not (
        is_other or all(_too_far(c.seconds, seconds) for c in (old, *song.contents))
    )


def _speaks_for(old: _Content, f: FileFacts) -> bool:
    """Whether something tells that two are of one recording; see the module."""
    return (
        _equal(old.release_track_id, f.release_track_id)
        or _equal(old.audio_digest, f.audio_digest)
        or (_equal(old.recording_id, f.recording_id) and _same_album(old.song, f))
        or (_equal(old.song.match_key, f.song["match_key"]) and _is_called_alike(old.song, f, old))
    )


def _is_exactly_as_long(old: _Content, f: FileFacts) -> bool:
    """Whether sound and ids do not speak against it, and the length is the same to the frame."""
    if any(_differ(getattr(old, name), getattr(f, name)) for name in _IDS):
        return False
    seconds = f.song["duration_seconds"]
    return None not in (old.seconds, seconds) and abs(old.seconds - seconds) < _A_FRAME


def _is_called_alike(song: _Song, f: FileFacts, *contents: _Content) -> bool:
    """Whether nothing but a shared name speaks for a song, and length and ids do not speak against.

    Args:
        contents: what the song says besides.
    """
    if not contents:
        return not _too_far(song.seconds, f.song["duration_seconds"])
    for name in ("release_track_id", "recording_id"):
        ids = {getattr(c, name) for c in contents} - {None}
        if ids and getattr(f, name) not in (None, *ids):
            return False
    return any(_same_length(c.seconds, f.song["duration_seconds"]) for c in contents)


def _equal(one: object, other: object) -> bool:
    return one is not None and one == other


def _differ(one: object, other: object) -> bool:
    return one is not None and other is not None and one != other


def _same_length(one: float | None, other: float | None) -> bool:
    return one is other is None or not (one is None or other is None or _too_far(one, other))


def _too_far(one: float | None, other: float | None) -> bool:
    return one is not None and other is not None and abs(one - other) > SAME_LENGTH


def _same_album(song: _Song, f: FileFacts) -> bool:
    return bool(song.album) and _folded(song.album) == _folded(f.song["album"])


def _folded(text: str | None) -> str:
    return unicodedata.normalize("NFC", (text or "").casefold().strip())


# --- what is known ------------------------------------------------------------------------------

_IDS = ("release_track_id", "audio_digest", "recording_id")
#: Behind all ids that there are: of several songs the oldest counts.
_NOT_YET = 2**63
_SONG = ("id", "match_key", "album", "duration_seconds")


class _Known:
    """The songs that some files may belong to, kept as the files are given theirs."""

    def __init__(self, connection: sa.Connection, files: Sequence[FileFacts]) -> None:
        self._connection = connection
        self.songs: dict[int, _Song] = {}
        #: What the files replace, by file asset.
        self.replaced: dict[int, _Content] = {}
        self._met: dict[int, _Content] = {}
        self._by_id: dict[tuple[str, str], list[_Content]] = {}
        self._by_key: dict[str, list[_Song]] = {}
        self._made: list[tuple[_Song, FileFacts]] = []
        replaced = {f.replaces.file_asset_id for f in files if f.replaces}
        of_songs = {f.song_id for f in files} | {f.replaces.song_id for f in files if f.replaces}
        keys = {f.song["match_key"] for f in files}
        asset, song = file_assets.c, songs.c
        by_id: list[_Wanted] = [(asset.id, replaced)]
        by_id += [(asset[name], {getattr(f, name) for f in files}) for name in _IDS]
        for row in self._songs(((song.id, of_songs), (song.match_key, keys))):
            self._song(row)
        for row in self._contents(by_id):
            self._add_row(row, is_replaced=row["asset_id"] in replaced)
        # Of songs that are called alike, or had one of the files, what is current now tells.
        current = asset.superseded_by_id.is_(None)
        had = of_songs | {c.song.id for c in self._met.values() if c.past}
        for row in self._contents([(asset.song_id, had), (song.match_key, keys)], current):
            self._add_row(row, is_replaced=False)

    def _songs(self, wanted: Iterable[_Wanted]) -> Iterator[sa.RowMapping]:
        return self._rows(sa.select(*(songs.c[name] for name in _SONG)), wanted)

    def _contents(
        self, wanted: Iterable[_Wanted], *conditions: sa.ColumnElement[bool]
    ) -> Iterator[sa.RowMapping]:
        """Files of songs, with their songs."""
        asset = file_assets.c
        of_files = (asset[name] for name in (*_IDS, "song_decided", "superseded_by_id"))
        statement = (
            sa.select(
                *(songs.c[name] for name in _SONG),
                asset.id.label("asset_id"),
                asset.duration_seconds.label("seconds"),
                *of_files,
            )
            .join_from(file_assets, songs, songs.c.id == asset.song_id)
            .where(*conditions)
        )
        return self._rows(statement, wanted)

    def _rows(
        self, statement: sa.Select[Any], wanted: Iterable[_Wanted]
    ) -> Iterator[sa.RowMapping]:
        """What has one of the values in a column. A statement for each, as each has its index."""
        for column, values in wanted:
            if values := {value for value in values if value}:
                found = self._connection.execute(statement.where(column.in_(values)))
                yield from found.mappings()

    def _song(self, row: sa.RowMapping | Mapping[str, Any]) -> _Song:
        song = self.songs.get(row["id"])
        if song is None:
            song = _Song(row["id"], album=row["album"], seconds=row["duration_seconds"])
            self.songs[song.id] = song
            self._call(song, row["match_key"])
        return song

    def _add_row(self, row: sa.RowMapping | Mapping[str, Any], *, is_replaced: bool) -> None:
        if row["asset_id"] in self._met:
            return
        song = self._song(row)
        self._met[row["asset_id"]] = content = _Content(
            song,
            row["seconds"],
            *(row["audio_digest"], row["recording_id"], row["release_track_id"]),
            bool(row["song_decided"]),
            past=is_replaced or row["superseded_by_id"] is not None,
        )
        self._index(content)
        if is_replaced:
            self.replaced[row["asset_id"]] = content
            song.replaced.append(content)
        elif not content.past:
            song.contents.append(content)

    def _index(self, content: _Content) -> None:
        for name in _IDS:
            if value := getattr(content, name):
                self._by_id.setdefault((name, value), []).append(content)

    def _call(self, song: _Song, match_key: str | None) -> None:
        if song.match_key:
            self._by_key[song.match_key].remove(song)
        song.match_key = match_key or None
        if match_key:
            self._by_key.setdefault(match_key, []).append(song)

    def find(self, f: FileFacts) -> _Song | None:
        """The song that a file belongs to, by its own tags and sound."""
        seconds, key = f.song["duration_seconds"], f.song["match_key"]
        by_id = {name: self._by_id.get((name, getattr(f, name) or ""), []) for name in _IDS}
        for found in (
            [c for c in by_id["release_track_id"] if c.counts],
            # An encoder that was broken off may have left the digest of nothing.
            [c for c in by_id["audio_digest"] if not _too_far(c.seconds, seconds)],
            [c for c in by_id["recording_id"] if c.counts and _same_album(c.song, f)],
        ):
            if found:
                return min(found, key=lambda c: (c.past, c.song.id)).song
        alike = (
            song
            for song in self._by_key.get(key or "", ())
            if _is_called_alike(song, f, *(song.contents or song.replaced))
        )
        return min(alike, key=lambda song: song.id, default=None)

    def has_changed_places(self, old: _Content, f: FileFacts) -> bool:
        """Whether a path holds the song now of which another path was, as after a swap."""
        if old.decided or not _differ(f.song["match_key"], old.song.match_key):
            return False
        other = self.find(f)
        return other is not None and other is not old.song and not other.contents

    def make(self, f: FileFacts) -> _Song:
        """A new song of a file's tags, whose row comes with `insert_made`."""
        song = self._song({**f.song, "id": _NOT_YET + len(self._made)})
        self._made.append((song, f))
        return song

    def insert_made(self) -> None:
        """The new songs get their rows, and their ids."""
        ids = insert_each(self._connection, "songs", [f.song for _, f in self._made])
        for (song, _), id_ in zip(self._made, ids, strict=True):
            song.id = id_

    def rename(self, song: _Song, f: FileFacts) -> None:
        """A song is called what a file of it says."""
        update_row(self._connection, "songs", song.id, f.song)
        song.album, song.seconds = f.song["album"], f.song["duration_seconds"]
        self._call(song, f.song["match_key"])

    def fill(self, song: _Song, f: FileFacts) -> None:
        """A song gets from a file what it lacks."""
        fill_gaps(self._connection, song.id, f.song)
        song.album = song.album or f.song["album"]
        song.seconds = song.seconds or f.song["duration_seconds"]
        self._call(song, song.match_key or f.song["match_key"])

    def add(self, song: _Song, f: FileFacts) -> None:
        """A file has been given its song."""
        content = _Content(
            song,
            f.song["duration_seconds"],
            *(f.audio_digest, f.recording_id, f.release_track_id),
        )
        song.contents.append(content)
        self._index(content)


_Wanted = tuple[sa.ColumnElement[Any], set[Any]]
