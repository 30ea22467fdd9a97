"""The command `prune`: what a person or a program sees of it."""

from __future__ import annotations

import pytest

from catalogsync_assets.core.catalog.backends import keep_answers
from catalogsync_assets_tests.support.database import change


@pytest.fixture
def renamed(catalog, library, backend, synced):
    """A file that has moved, and left its object under the old key."""
    cloud = backend(layout="path")
    library.add("a.mp3")
    synced(cloud)
    (library.root / "a.mp3").rename(library.root / "b.mp3")
    synced(cloud)
    change(catalog, "UPDATE file_locations SET status_since = datetime(status_since, '-31 days')")
    catalog.close()
    return cloud


def test_without_delete_it_says_what_would_go_and_why(cli, renamed, remote):
    done = cli("prune", "--backend", "cloud")

    assert done.code == 0
    first, reason, listed = done.out.splitlines()
    assert first == "1 object, 300 bytes would be deleted from cloud"
    assert reason == "  1 object, 300 bytes: the file is under another key there"
    assert listed.startswith(f"  {renamed.key_prefix}a.mp3 (moved since ")
    assert "nothing was deleted; --delete deletes them" in done.err
    assert remote(renamed).keys() == ["a.mp3", "b.mp3"]


def test_with_delete_it_deletes_and_status_says_so_before_and_after(cli, renamed, remote):
    asked = "cloud: `catalogsync prune --backend cloud` would delete 1 object, 300 bytes"
    assert asked in cli("status").err
    figures = {"files": 1, "bytes": 300, "whole": True}
    assert cli("status", "--json").json["old_weight"] == {"cloud": figures}

    done = cli("prune", "--backend", "cloud", "--delete")

    assert done.code == 0
    assert done.out.splitlines()[0] == "1 object, 300 bytes deleted from cloud"
    assert remote(renamed).keys() == ["b.mp3"]
    assert "prune" not in cli("status").err


def test_one_kind_alone_can_be_asked_for(cli, renamed):
    found = cli("prune", "--backend", "cloud", "--forgotten", "--json").json
    assert (found["candidates"], found["dry_run"]) == (0, True)

    found = cli("prune", "--backend", "cloud", "--superseded", "--json").json
    assert found["reasons_to_go"] == {"moved": {"files": 1, "bytes": 300}}


def test_what_stays_is_told(cli, renamed, remote):
    remote(renamed).put("a.mp3", b"theirs")

    done = cli("prune", "--backend", "cloud", "--delete")

    assert done.code == 1
    assert "another object is there by now; this is told once" in done.err
    assert cli("prune", "--backend", "cloud", "--delete").code == 0


def test_what_is_not_old_enough_is_told(cli, renamed):
    assert cli("prune", "--backend", "cloud", "--older-than", "90d").err.startswith(
        "1 object, 300 bytes stays: not long enough so"
    )


def test_a_store_without_conditions_takes_an_option_that_says_what_the_risk_is(
    cli, catalog, renamed, remote
):
    keep_answers(catalog, renamed, {"conditional_delete": False})
    catalog.close()

    done = cli("prune", "--backend", "cloud", "--delete")

    assert done.code == 2
    assert "what another program puts at a key" in done.err
    assert "add --unconditional" in done.err
    assert remote(renamed).keys() == ["a.mp3", "b.mp3"]
    assert cli("prune", "--backend", "cloud", "--delete", "--unconditional").code == 0
    assert remote(renamed).keys() == ["b.mp3"]
