"""Whose a key is: given by path, given up by what moves, never shared."""

from __future__ import annotations

import itertools

import pytest

from catalogsync_assets.core.catalog import keys
from catalogsync_assets.core.catalog.keys import free_keys, is_anothers
from catalogsync_assets_tests.support.database import change, rows

KEYS = "SELECT object_key FROM file_assets ORDER BY id"


@pytest.fixture
def renamed(catalog, library):
    """`renamed({1: "b.mp3"})`: these file assets are at other paths now."""

    def run(moves, root=None):
        moved = [(asset, str(root or library.root), path) for asset, path in moves.items()]
        with catalog.transaction() as connection:
            keys.rename(connection, moved)
        return rows(catalog, KEYS)

    return run


@pytest.fixture
def files(library, scanned):
    """`files("a.mp3", …)`: the library has them, as file assets 1, 2, …"""

    def make(*paths):
        for path in paths:
            library.add(path)
        scanned()

    return make


@pytest.fixture
def free(catalog, library):
    """`free("a.mp3")`: the key for a new file at this path."""

    def ask(path, **options):
        with catalog.transaction() as connection:
            (key,) = free_keys(connection, str(library.root), [path], **options)
        return key

    return ask


@pytest.fixture
def located(catalog, cloud):
    """`located(1, "a.mp3", "active")`: the file has an object under this key."""

    def put(asset, key, status="active", backend=None):
        backend = backend or cloud
        change(
            catalog,
            "INSERT INTO file_locations"
            " (file_asset_id, backend_id, container_name, locator, status) VALUES (?, ?, ?, ?, ?)",
            *(asset, backend.id, backend.bucket, f"{backend.key_prefix}{key}", status),
        )

    return put


def is_suffixed(key, path):
    stem, _, extension = path.rpartition(".")
    return key.startswith(f"{stem}~") and key.endswith(f".{extension}")


def test_a_moved_file_gets_the_key_of_its_new_path(files, renamed):
    files("a.mp3", "b.mp3")

    assert renamed({1: "new/c.mp3"}) == ["new/c.mp3", "b.mp3"]


@pytest.mark.parametrize(
    "after",
    [
        *({1: a, 2: b, 3: c} for a, b, c in itertools.permutations(["a.mp3", "b.mp3", "c.mp3"])),
        {1: "b.mp3", 2: "c.mp3", 3: "d.mp3"},
        {3: "d.mp3", 2: "c.mp3", 1: "b.mp3"},
    ],
)
def test_what_changes_places_changes_keys_whatever_the_order(files, renamed, located, after):
    files("a.mp3", "b.mp3", "c.mp3")
    for asset, key in enumerate(["a.mp3", "b.mp3", "c.mp3"], 1):
        located(asset, key)

    assert renamed(after) == [after[asset] for asset in (1, 2, 3)]


def test_what_changes_places_changes_keys_also_if_one_is_told_of_later(
    catalog, files, library, renamed, located
):
    files("a.mp3", "b.mp3", "c.mp3")
    for asset, key in enumerate(["a.mp3", "b.mp3", "c.mp3"], 1):
        located(asset, key)
    change(catalog, "UPDATE file_locations SET library_path = 'b.mp3' WHERE id = 1")
    assert is_suffixed(renamed({1: "b.mp3"})[0], "b.mp3")

    renamed({2: "a.mp3"})
    assert keys.drop_suffixes(catalog) == 1

    assert rows(catalog, KEYS) == ["b.mp3", "a.mp3", "c.mp3"]


def test_a_file_that_is_renamed_in_case_or_form_alone_follows(files, renamed):
    files("a.mp3", "A\u0308.mp3")

    assert renamed({1: "A.mp3", 2: "\u00c4.mp3"}) == ["A.mp3", "\u00c4.mp3"]


def test_a_path_that_another_file_has_gives_a_key_with_a_suffix(files, renamed):
    files("a.mp3", "b.mp3")

    _, key = renamed({2: "A.mp3"})

    assert is_suffixed(key, "A.mp3")


def test_the_same_path_below_two_roots_is_two_keys(files, renamed):
    files("a.mp3", "b.mp3")

    one, other = renamed({2: "a.mp3"}, root="/elsewhere")

    assert one == "a.mp3"
    assert is_suffixed(other, "a.mp3")


@pytest.fixture
def anothers(catalog, cloud):
    """`anothers("a.mp3", 2)`: whether the key is another file's than this one's on the backend."""

    def ask(key, asset, backend=None):
        backend = backend or cloud
        with catalog.read() as connection:
            return is_anothers(connection, backend, f"{backend.key_prefix}{key}", asset)

    return ask


@pytest.mark.parametrize("status", ["active", "missing", "damaged", "superseded", "forgotten"])
def test_a_key_is_taken_where_the_object_of_a_file_that_moved_lies_there(
    files, renamed, located, free, anothers, backend, status
):
    elsewhere = backend("other")
    files("a.mp3", "x.mp3")
    located(1, "a.mp3", status)
    renamed({1: "b.mp3"})

    assert free("a.mp3") == "a.mp3"
    assert anothers("a.mp3", 2)
    assert not anothers("a.mp3", 2, elsewhere)


def test_a_key_is_free_once_its_object_is_removed(files, renamed, located, anothers):
    files("a.mp3", "x.mp3")
    located(1, "a.mp3", "removed")
    renamed({1: "b.mp3"})

    assert not anothers("a.mp3", 2)


def test_a_key_is_free_once_the_object_has_been_copied(files, renamed, located, anothers):
    files("a.mp3", "x.mp3")
    located(1, "a.mp3", "superseded")
    renamed({1: "b.mp3"})
    assert anothers("a.mp3", 2)

    located(1, "b.mp3")

    assert not anothers("a.mp3", 2)


def test_a_file_may_come_back_to_its_own_key(files, renamed, located):
    files("a.mp3")
    located(1, "a.mp3")
    renamed({1: "b.mp3"})

    assert renamed({1: "a.mp3"}) == ["a.mp3"]


def test_what_a_path_held_before_does_not_keep_its_key(files, library, scanned, catalog, renamed):
    files("a.mp3")
    library.add("a.mp3", b"newer")
    scanned()
    assert rows(catalog, KEYS) == ["a.mp3", "a.mp3"]

    assert renamed({2: "b.mp3"}) == ["a.mp3", "b.mp3"]
    assert renamed({2: "a.mp3"}) == ["a.mp3", "a.mp3"]


def test_another_file_is_one_whose_object_stands(files, located, anothers):
    files("a.mp3", "b.mp3")
    located(1, "x.mp3")

    assert anothers("x.mp3", 2)
    assert not anothers("x.mp3", 1)
    assert not anothers("x.mp3x", 2)


def test_settings_of_other_programs_do_not_stop_a_scan(catalog, cloud, files):
    change(catalog, "UPDATE storage_backends SET config = '{\"base_prefix\": 5}'")

    files("a.mp3")

    assert rows(catalog, KEYS) == ["a.mp3"]
