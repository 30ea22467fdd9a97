"""What a person asks who has never seen the code, answered from the web UI alone."""

import pytest
from playwright.sync_api import expect

from catalogsync_assets_tests.ui import pages, states

pytestmark = pytest.mark.ui

OFFSITE, VAULT = states.IN_TROUBLE


def test_whether_everything_is_on_a_backend(ui, demo):
    ui.open_asset(pages.PRESENCE, "Partitions")
    ui.choose(states.HEALTHY)

    assert ui.number(pages.COMPLETE_SHARE) == 100
    assert ui.number(pages.ABSENT) == 0
    assert ui.number(pages.FAILED) == 0


def test_that_not_everything_is_on_a_backend(ui, demo, failed_runs):
    ui.open_run(failed_runs[OFFSITE])
    expect(ui.run_status("Failure")).to_be_visible()
    ui.open_asset(pages.PRESENCE, "Partitions")
    ui.choose(OFFSITE)

    ui.open_run(ui.materialize())

    expect(ui.run_status("Success")).to_be_visible()
    ui.open_partition(pages.PRESENCE, OFFSITE)
    assert 0 < ui.number(pages.COMPLETE_SHARE) < 100
    assert ui.number(pages.ABSENT) > 0
    assert ui.number(pages.FAILED) == 1
    expect(ui.metadata(pages.FAILURES)).to_contain_text(demo.refused)
    expect(ui.metadata(pages.FAILURES)).to_contain_text("another object is stored")


def test_how_full_a_backend_is(ui):
    ui.open_partition(pages.PRESENCE, states.HEALTHY)

    assert ui.number(pages.FILES) >= states.SONGS
    assert ui.number(pages.SIZE) > 0
    expect(ui.metadata(pages.EVERYWHERE)).to_contain_text(states.HEALTHY)


def test_when_a_batch_was_last_verified_on_a_backend(ui, demo):
    ui.open_partition(pages.CELLS, f"{states.HEALTHY}|{demo.first}")
    expect(ui.metadata(pages.SIZE)).to_be_visible()

    assert ui.metadata(pages.VERIFIED).count() == 1


def test_when_a_backend_was_last_verified(ui):
    ui.open_partition(pages.PRESENCE, states.HEALTHY)
    expect(ui.metadata(pages.FILES)).to_be_visible()

    assert ui.metadata(pages.OLDEST).count() == 1


def test_whether_a_backend_still_holds_what_it_should(ui):
    ui.open_partition(pages.AUDIT, states.HEALTHY)

    assert ui.number(pages.LISTED) >= states.SONGS
    assert ui.number(pages.MISSING) == 0
    expect(ui.metadata(pages.HISTORY)).to_contain_text("listing")


def test_what_has_failed_and_why(ui, demo, failed_runs):
    run = failed_runs[OFFSITE]
    ui.open_run(run)
    expect(ui.run_status("Failure")).to_be_visible()

    ui.open_failed_runs()
    ui.run_link(run).click()
    ui.show_step(pages.UPLOAD_STEP)
    message = ui.full_message()

    expect(message).to_contain_text(f"1 of {states.SONGS} files could not be uploaded")
    table = message.get_by_role("table")
    expect(table.last).to_contain_text(demo.refused)
    expect(table.last).to_contain_text("another object is stored")
    expect(message).to_contain_text("nothing was overwritten; move it away")


def test_a_red_cell_leads_to_the_run_that_has_failed(ui, demo, failed_runs):
    run = failed_runs[OFFSITE]
    ui.open_run(run)
    expect(ui.run_status("Failure")).to_be_visible()

    ui.open_asset(pages.CELLS, "Partitions")
    ui.choose(OFFSITE, demo.first)

    ui.expect_dots(demo.first, "failed")
    expect(ui.run_link(run)).to_be_visible()


def test_what_has_failed_is_retried_and_only_that(ui, demo, failed_runs):
    ui.open_run(failed_runs[VAULT])
    expect(ui.run_status("Failure")).to_be_visible()
    demo.remove_the_stranger(VAULT)

    ui.re_execute_from_failure()

    expect(ui.run_status("Success")).to_be_visible()
    ui.open_partition(pages.CELLS, f"{VAULT}|{demo.first}")
    ui.expect_dots(demo.first, "materialized")
    assert ui.number(pages.UPLOADED) == 1
