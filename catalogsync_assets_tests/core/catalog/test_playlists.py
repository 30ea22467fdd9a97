"""Playlists take order, repetitions and removals from their lists; other programs' songs stay."""

import os
from pathlib import Path
from typing import Any

import pytest

from catalogsync_assets.core.catalog import playlists
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.scope import Scope, select
from catalogsync_assets.core.download import importing
from catalogsync_assets.core.download.importing import import_manifest
from catalogsync_assets.core.download.report import ImportReport
from catalogsync_assets.core.errors import CatalogError
from catalogsync_assets_tests.support.database import change

U = "http://a.example/"


def m3u(*songs: str, title: str | None = "P") -> str:
    head = "" if title is None else f"#PLAYLIST:{title}\n"
    return "#EXTM3U\n" + head + "".join(f"#EXTINF:1,{s}\n{U}{s}\n" for s in songs)


def table(*songs: str, playlist: str = "P") -> str:
    return "url,title,playlist\n" + "".join(f"{U}{s},{s},{playlist}\n" for s in songs)


def jsonl(*songs: str) -> str:
    return "".join(f'{{"url": "{U}{s}", "title": "{s}", "playlist": "P"}}\n' for s in songs)


def xspf(*songs: str) -> str:
    tracks = "".join(f"<track><location>{U}{s}</location><title>{s}</title></track>" for s in songs)
    return f"<playlist><title>P</title><trackList>{tracks}</trackList></playlist>"


class Shelf:
    """A catalog into which lists are imported."""

    def __init__(self, catalog: Catalog, folder: Path) -> None:
        self.catalog = catalog
        self._folder = folder

    def take(self, name: str, text: str, **options: Any) -> ImportReport:
        path = self._folder / name
        path.write_text(text)
        return import_manifest(self.catalog, path, **options)

    def sql(self, statement: str) -> list[Any]:
        with self.catalog.transaction() as connection:
            result = connection.exec_driver_sql(statement)
            return list(result) if result.returns_rows else []

    def order(self, name: str = "P") -> str:
        """The titles of a playlist as we read it."""
        (((number,),)) = self.sql(f"SELECT id FROM playlists WHERE name = '{name}'")
        titles = dict(self.sql("SELECT id, title FROM songs"))
        with self.catalog.read() as connection:
            return " ".join(titles[s] for s in playlists.song_ids(connection, number))

    def seen_by_others(self) -> str:
        """The same as another program reads it."""
        return " ".join(
            title
            for (title,) in self.sql(
                "SELECT s.title FROM playlist_songs x JOIN songs s ON s.id = x.song_id"
                " ORDER BY x.position"
            )
        )


@pytest.fixture
def shelf(catalog, tmp_path):
    return Shelf(catalog, tmp_path)


@pytest.fixture(params=[", PRIMARY KEY (playlist_id, song_id)", ""], ids=["key", "no-key"])
def adopted(tmp_path, request):
    """A catalog whose `playlist_songs` another program has made, with a column of its own."""
    path = tmp_path / "old.db"
    change(
        path,
        "CREATE TABLE playlist_songs (playlist_id INTEGER, song_id INTEGER, added_by TEXT"
        f" NOT NULL{request.param})",
    )
    return Shelf(Catalog.initialise(path)[0], tmp_path)


@pytest.mark.parametrize(
    ("name", "write"), [("p.m3u8", m3u), ("p.csv", table), ("p.jsonl", jsonl), ("p.xspf", xspf)]
)
def test_an_edited_list_gives_order_repetitions_and_removals(shelf, name, write):
    first = shelf.take(name, write("a", "b", "c", "a"))
    assert shelf.order() == shelf.seen_by_others() == "a b c a"
    again = shelf.take(name, write("a", "b", "c", "a"))
    edited = shelf.take(name, write("c", "a"))

    assert shelf.order() == shelf.seen_by_others() == "c a"
    assert [r.playlist_songs for r in (first, again, edited)] == [3, 0, 0]
    assert [r.removed for r in (first, again, edited)] == [0, 0, 1]
    assert shelf.take(name, write("b", "d", "b", "c")).playlist_songs == 2
    assert shelf.order() == shelf.seen_by_others() == "b d b c"


@pytest.mark.parametrize(("name", "write"), [("p.m3u8", m3u), ("p.xspf", xspf)])
def test_a_list_with_a_title_that_has_no_songs_any_more_empties_its_playlist(shelf, name, write):
    shelf.take(name, write("a", "b"))
    shelf.sql("INSERT INTO songs (title) VALUES ('other')")
    shelf.sql("INSERT INTO playlist_songs (playlist_id, song_id, position) SELECT 1, 3, 9")

    assert shelf.take(name, write()).removed == 2
    assert shelf.order() == "other"
    assert shelf.take(name, write()).removed == 0


@pytest.mark.parametrize(
    ("name", "write", "text"),
    [
        ("p.m3u8", m3u, ""),
        ("p.m3u8", m3u, "#EXTM3U\n"),
        ("p.m3u8", m3u, "#EXTM3U\n#PLAYLIST:\n"),
        ("p.m3u8", m3u, m3u() + "/a/path.mp3\n"),
        ("p.xspf", xspf, ""),
        ("p.xspf", xspf, "<playlist><title>P</title><trackList>"),
    ],
    ids=["nothing", "no-title", "empty-title", "bad-line", "empty-xml", "cut-xml"],
)
def test_a_list_of_which_something_may_be_lost_empties_no_playlist(shelf, name, write, text):
    shelf.take(name, write("a", "b"))

    assert shelf.take(name, text).removed == 0
    assert shelf.order() == "a b"


def test_an_emptied_list_that_was_put_elsewhere_is_emptied_there_only(shelf):
    shelf.take("p.m3u8", m3u("a"))
    shelf.take("q.m3u8", m3u("b"), playlist="Q")
    shelf.take("q.m3u8", m3u(), playlist="Q")

    assert (shelf.order("P"), shelf.order("Q")) == ("a", "")


def test_the_title_of_an_xspf_may_stand_behind_its_tracks(shelf):
    title = "<title>P</title>"
    late = xspf("a", "b").replace(title, "").replace("</playlist>", f"{title}</playlist>")
    shelf.take("other.m3u8", m3u("c"))

    assert shelf.take("late.xspf", late).removed == 1
    assert shelf.order() == "a b"
    assert shelf.sql("SELECT name FROM playlists") == [("P",)]


def test_a_list_whose_song_went_leaves_the_song_and_its_download(shelf):
    shelf.take("p.m3u8", m3u("a", "b"))
    shelf.take("p.m3u8", m3u("a"))

    assert shelf.sql("SELECT title FROM songs ORDER BY 1") == [("a",), ("b",)]
    assert shelf.sql("SELECT DISTINCT status FROM download_tasks") == [("pending",)]


def test_an_adopted_set_stays_a_set_and_the_entries_have_the_order(adopted):
    adopted.take("p.m3u8", m3u("a", "b", "c", "a"))
    assert (adopted.order(), adopted.seen_by_others()) == ("a b c a", "a b c")
    adopted.sql("UPDATE playlist_songs SET added_by = 'me'")

    adopted.take("p.m3u8", m3u("c", "d", "a", "d", "c"))

    assert (adopted.order(), adopted.seen_by_others()) == ("c d a d c", "c d a")
    assert adopted.sql("SELECT added_by FROM playlist_songs ORDER BY position") == [
        ("me",),
        ("",),
        ("me",),
    ]


def test_rows_that_another_program_has_twice_are_kept(adopted):
    adopted.take("p.m3u8", m3u("a", "b"))
    try:
        adopted.sql("INSERT INTO playlist_songs VALUES (1, 1, 'me', 9)")
    except CatalogError:
        return  # where there is a key, there are none

    adopted.take("p.m3u8", m3u("b", "a", "b"))

    assert adopted.order() == "b a b"
    assert adopted.sql("SELECT COUNT(*), MIN(added_by) FROM playlist_songs") == [(3, "")]


def test_what_another_program_adds_stays_and_what_it_takes_out_does_not_count(adopted):
    adopted.take("p.m3u8", m3u("a", "b", "a"))
    adopted.sql("INSERT INTO songs (id, title) VALUES (90, 'x')")
    adopted.sql("INSERT INTO playlist_songs VALUES (1, 90, 'me', NULL)")
    adopted.sql("DELETE FROM playlist_songs WHERE song_id = 1")
    assert adopted.order() == "b x"

    adopted.take("p.m3u8", m3u("c", "b"))

    assert (adopted.order(), adopted.seen_by_others()) == ("c b x", "c b x")
    adopted.take("p.m3u8", m3u("c"))
    assert adopted.order() == "c x"


def test_a_playlist_of_another_program_is_not_emptied_by_a_list_of_its_name(adopted):
    """Nor one that was imported before there was a table of entries: nobody knows whose it was."""
    adopted.sql("INSERT INTO playlists (id, name) VALUES (1, 'p')")
    for number, title in enumerate("xyz", 1):
        adopted.sql(f"INSERT INTO songs (id, title) VALUES ({number}, '{title}')")
        adopted.sql(f"INSERT INTO playlist_songs VALUES (1, {number}, 'me', {number})")

    adopted.take("p.csv", table("a"))
    assert adopted.order("p") == "x y z a"
    adopted.take("q.m3u8", m3u("b"))
    assert adopted.order("p") == "b x y z"


def test_two_tables_may_fill_one_playlist_and_each_removes_what_it_listed(shelf):
    shelf.take("one.csv", table("a", "b"))
    shelf.take("two.csv", table("c", "b"))
    assert shelf.order() == "a b c"

    shelf.take("one.csv", table("b", "d", "b"))

    assert shelf.order() == shelf.seen_by_others() == "b d b c"
    assert shelf.take("three.m3u8", m3u("e", "f"), playlist="p").removed == 0
    assert shelf.order() == "b d b c e f"
    assert shelf.take("three.m3u8", m3u("f"), playlist="p").removed == 1
    assert shelf.order() == "b d b c f"


def test_a_list_that_bears_the_playlists_name_is_the_truth_for_it(shelf):
    shelf.take("one.csv", table("a", "b"))

    assert shelf.take("other name.m3u8", m3u("c", "a")).removed == 1

    assert shelf.order() == "c a"
    shelf.take("yet another.m3u8", m3u("a", title="p"))
    assert shelf.order() == "a"


def test_lists_in_files_of_one_name_do_not_undo_each_other(shelf, tmp_path):
    """`playlist.m3u8` is what many programs call it."""
    (tmp_path / "x").mkdir()
    shelf.take("list.m3u8", m3u("a", title=None))
    shelf.take("x/list.m3u8", m3u("b", title=None))

    assert shelf.order("list") == "a b"


def test_a_bad_line_takes_no_song_out(shelf):
    shelf.take("p.m3u8", m3u("a", "b", "c"))

    report = shelf.take("p.m3u8", m3u("c", "a").replace(f"{U}a", "http://[::1/a"))

    assert (report.bad, report.removed) == (1, 0)
    assert shelf.order() == "c a b"


def test_what_comes_from_a_pipe_is_another_manifest_each_time(shelf):
    for songs in ("ab", "ca"):
        reading, writing = os.pipe()
        os.write(writing, table(*songs).encode())
        os.close(writing)
        import_manifest(shelf.catalog, Path(f"/dev/fd/{reading}"), kind="csv")
        os.close(reading)

    assert shelf.order() == "a b c"


def test_a_playlist_is_written_whole_or_not_at_all(shelf, monkeypatch):
    shelf.take("p.csv", table(*"abcdef"))
    monkeypatch.setattr(importing, "_CHUNK", 2)

    def stop(report):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shelf.take("p.csv", table(*"fedxyz"), progress=stop)
    assert shelf.order() == "a b c d e f"

    shelf.take("p.csv", table(*"fedxyz"))
    assert shelf.order() == "f e d x y z"


def test_one_manifest_may_fill_many_playlists(shelf, monkeypatch):
    monkeypatch.setattr(playlists, "_CHUNK", 5)
    lines = [f"{U}{i},{i},L{i % 7}" for i in range(40)]

    report = shelf.take("x.csv", "url,title,playlist\n" + "\n".join(lines))

    assert (report.playlists, report.playlist_songs) == (7, 40)
    for number in range(7):
        assert shelf.order(f"L{number}") == " ".join(map(str, range(number, 40, 7)))


def test_a_song_that_stands_twice_counts_once_where_sets_are_meant(shelf):
    shelf.take("p.m3u8", m3u("a", "b", "a"))
    shelf.sql("INSERT INTO file_assets (song_id, size_bytes) SELECT id, 1 FROM songs")
    clauses, values = Scope(selections=select(shelf.catalog, playlists=["P"])).sql()

    with shelf.catalog.read() as connection:
        statement = f"SELECT f.song_id FROM file_assets f WHERE 1 {clauses}"
        assert len(connection.exec_driver_sql(statement, values).all()) == 2


def test_deleting_a_song_or_a_playlist_takes_the_entries_along(shelf):
    """As another program does, which does not know their table."""
    shelf.take("p.m3u8", m3u("a", "b"))
    shelf.sql("DELETE FROM playlist_songs")
    shelf.sql("DELETE FROM download_tasks")

    shelf.sql("DELETE FROM songs WHERE title = 'a'")
    shelf.sql("DELETE FROM playlists")

    assert shelf.sql("SELECT * FROM playlist_entries") == []
