"""Finding a song, and what is said of each of its files on each backend."""

import pytest

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.search import whereis
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.files import sha256

SONGS = {
    "davis/05.mp3": ("Blue in Green", "Miles Davis", "Kind of Blue"),
    "davis/02.mp3": ("Freddie Freeloader", "Miles Davis", "Kind of Blue"),
    "odd/100%_!.mp3": ("100% Pure_Love!", "Crystal", None),
    "odd/plain.mp3": ("100 Pure Love", "Crystal", None),
    "numbers/1999.mp3": ("1999", "Prince", "1999"),
}
IDS = {path: number for number, path in enumerate(sorted(SONGS), 1)}
DAVIS = [IDS["davis/02.mp3"], IDS["davis/05.mp3"]]


@pytest.fixture
def music(catalog, library, scanned):
    """The songs above, one file each."""
    for path in SONGS:
        library.add(path)
    scanned()
    for path, (title, artist, album) in SONGS.items():
        change(
            catalog,
            "UPDATE songs SET title = ?, artist = ?, album = ? WHERE id = (SELECT song_id"
            " FROM file_assets WHERE object_key = ?)",
            *(title, artist, album, path),
        )
    assert dict(rows(catalog, "SELECT object_key, song_id FROM file_assets")) == IDS
    return catalog


def songs(catalog: Catalog, query: str, **more: int) -> list[int]:
    return sorted({place.song_id for place in whereis(catalog, query, **more)})


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("blue in green", ["davis/05.mp3"]),
        ("GREEN miles kind", ["davis/05.mp3"]),
        ("kind davis", ["davis/02.mp3", "davis/05.mp3"]),
        ("  free   DAVIS ", ["davis/02.mp3"]),
        ("love crystal", ["odd/100%_!.mp3", "odd/plain.mp3"]),
        ("blue crystal", []),
    ],
)
def test_words_in_any_order_must_all_occur_in_title_artist_or_album(music, query, found):
    assert songs(music, query) == [IDS[path] for path in sorted(found)]


@pytest.mark.parametrize("number", IDS.values())
def test_a_number_is_the_id_of_a_song(music, number):
    assert songs(music, str(number)) == [number]


def test_a_number_that_is_a_title_finds_that_song(music):
    assert songs(music, "1999") == [IDS["numbers/1999.mp3"]]


def test_a_number_larger_than_any_id_finds_nothing(music):
    assert whereis(music, "9" * 40) == []


@pytest.mark.parametrize("query", ["davis/05", "AVIS/05.MP", "/davis/05.mp3"])
def test_a_part_of_the_path_finds_a_song(music, query):
    assert songs(music, query) == [IDS["davis/05.mp3"]]


def test_a_part_of_a_key_finds_a_song(music, library, uploaded, backend):
    cloud = backend(base_prefix="far/away")
    uploaded(cloud)

    assert songs(music, "far/away/davis/05") == [IDS["davis/05.mp3"]]
    assert songs(music, f"{library.root}/davis") == DAVIS


@pytest.mark.parametrize(
    ("query", "found"),
    [
        *(("100%", ["odd/100%_!.mp3"]), ("e_l", ["odd/100%_!.mp3"]), ("love!", ["odd/100%_!.mp3"])),
        *(("100%_!.mp3", ["odd/100%_!.mp3"]), ("dav_s/05", []), ("dav%05", [])),
        *(("%", ["odd/100%_!.mp3"]), ("'; DROP TABLE songs; --", []), (":word0", [])),
    ],
)
def test_special_characters_stand_for_themselves(music, query, found):
    assert songs(music, query) == [IDS[path] for path in found]


@pytest.mark.parametrize("query", ["", "   ", "nothing like that", "777", "4711"])
def test_nothing_found_is_an_empty_list(music, query):
    assert whereis(music, query) == []


def test_the_limit_counts_songs(music, backend):
    backend("one")
    backend("two")

    found = whereis(music, "mp3", limit=2)

    assert len({place.song_id for place in found}) == 2
    assert len(found) == 6


def test_a_backend_without_the_file_is_absent_and_active_once_it_is_there(
    music, cloud, uploaded, library
):
    before = whereis(music, "blue in green")

    uploaded(cloud)
    after = whereis(music, "blue in green")

    path = library.root / "davis/05.mp3"
    assert [(p.backend, p.status, p.locator) for p in before] == [
        ("local", "active", "davis/05.mp3"),
        ("cloud", "absent", None),
    ]
    assert (before[0].url, before[1].url) == (str(path), None)
    assert [(p.backend, p.status) for p in after] == [("local", "active"), ("cloud", "active")]
    assert after[1].locator == cloud.key_prefix + "davis/05.mp3"
    assert after[1].verified_at is not None
    assert after[1].sha256 == sha256(path.read_bytes())


def test_a_file_that_is_gone_from_the_disk_is_missing_there(
    music, cloud, uploaded, scanned, library
):
    uploaded(cloud)
    (library.root / "davis/05.mp3").unlink()
    scanned()

    found = whereis(music, "blue in green")

    assert [(p.backend, p.status) for p in found] == [("local", "missing"), ("cloud", "active")]


def test_of_a_file_that_changed_only_the_new_content_is_told(
    music, cloud, uploaded, scanned, library
):
    uploaded(cloud)
    library.add("davis/05.mp3", b"another content")
    scanned()

    found = whereis(music, "davis/05")

    assert [(p.backend, p.status, p.size_bytes) for p in found] == [
        ("local", "active", 15),
        ("cloud", "absent", 15),
    ]


def test_the_places_of_the_songs_found_are_looked_up_and_no_others(music, monkeypatch):
    asked = []
    ask = music.rows

    def noting(statement, /, **values):
        asked.append((statement, values))
        return ask(statement, **values)

    monkeypatch.setattr(music, "rows", noting)
    assert songs(music, "davis kind") == DAVIS

    statement, values = asked[-1]
    plan = [row[3] for row in ask(f"EXPLAIN QUERY PLAN {statement}", **values)]
    assert [step for step in plan if "AUTOMATIC" in step or step.startswith("SCAN")] == ["SCAN b"]
