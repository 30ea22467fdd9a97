"""How many files a scan will meet is found out beside it, and only for scans that take long."""

import threading

import pytest

from catalogsync_assets.core.library import expected
from catalogsync_assets.core.library.expected import Expected
from catalogsync_assets_tests.support.waiting import until


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(expected, "PATIENCE", 0.0)


def test_of_a_known_root_it_is_what_the_catalog_knows(library, catalog, scanned, at_once):
    paths = library.fill(5)
    scanned()
    paths[0].unlink()
    of_known = Expected(catalog, [library.root])

    until(lambda: of_known.total(0) == 5)


def test_of_another_root_the_files_are_counted_that_a_scan_takes(library, catalog, at_once):
    library.fill(3)
    library.add("cover.jpg")
    library.add("film.mkv")
    of_new = Expected(catalog, [library.root])

    until(lambda: of_new.total(0) == 4)
    assert of_new.total(4) == 4
    assert of_new.total(5) is None  # more have come


def test_a_scan_that_is_soon_over_counts_nothing(library, catalog):
    running = threading.active_count()

    assert Expected(catalog, [library.root]).total(0) is None
    assert threading.active_count() == running
