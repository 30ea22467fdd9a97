"""What Dagster has not been told yet is remembered until it has been."""

from __future__ import annotations

import json
from dataclasses import replace

from catalogsync_assets.core.catalog.backends import register
from catalogsync_assets.core.catalog.untold import note, told, untold
from catalogsync_assets_tests.support.database import bytes_of, change, rows


def noted(catalog):
    return [(backend.name, batches, why) for backend, batches, why in untold(catalog)]


def test_batches_are_noted_until_they_are_told(catalog, backend):
    one, two = backend("one"), backend("two")
    note(catalog, one, ["b", "a"])
    note(catalog, one, ["c", "a"])
    note(catalog, two, ["a"])
    assert noted(catalog) == [("one", ["a", "b", "c"], ""), ("two", ["a"], "")]

    told(catalog, one, ["a", "c", "another"])
    assert noted(catalog) == [("one", ["b"], ""), ("two", ["a"], "")]

    told(catalog, one, ["b"])
    told(catalog, two, ["a"])
    assert noted(catalog) == []
    configs = map(json.loads, rows(catalog, "SELECT config FROM storage_backends"))
    assert not any("untold" in config for config in configs)


def test_why_it_could_not_be_told_is_kept_until_it_can(catalog, cloud):
    note(catalog, cloud, ["a"])
    told(catalog, cloud, ["a"], why_not="no room")
    note(catalog, cloud, ["b"])
    assert noted(catalog) == [("cloud", ["a", "b"], "no room")]

    told(catalog, cloud, ["a"])
    assert noted(catalog) == [("cloud", ["b"], "")]


def test_what_is_noted_already_is_not_written_again(catalog, cloud):
    note(catalog, cloud, ["a"])
    before = bytes_of(catalog.path)

    note(catalog, cloud, ["a"])
    note(catalog, cloud, [])

    assert bytes_of(catalog.path) == before


def test_settings_that_change_leave_the_notes_and_what_others_left_is_no_note(catalog, cloud):
    note(catalog, cloud, ["a"])
    register(catalog, replace(cloud, workers=3))
    assert noted(catalog) == [("cloud", ["a"], "")]

    change(catalog, "UPDATE storage_backends SET config = '{\"untold\": [1]}' WHERE name = 'cloud'")
    assert noted(catalog) == []
