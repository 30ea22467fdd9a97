"""Three backends × 1,000 batches. How long they take to show: `benchmarks/ui.py`."""

import pytest
from playwright.sync_api import expect

from catalogsync_assets_tests.ui import pages, states

pytestmark = pytest.mark.ui


@pytest.fixture
def ui(open_ui, matrix_url):
    return open_ui(matrix_url)


def test_the_matrix_says_how_many_cells_are_there_failed_or_missing(ui):
    there = sum(len(cells) for cells, _ in states.MATRIX.values())
    failed = sum(len(cells) for _, cells in states.MATRIX.values())
    missing = states.BATCHES * len(states.MATRIX) - there - failed

    ui.open_asset(pages.CELLS, "Partitions")

    expect(ui.status("Materialized")).to_have_text(f"Materialized ({there})")
    expect(ui.status("Failed")).to_have_text(f"Failed ({failed})")
    expect(ui.status("Missing")).to_have_text(f"Missing ({missing})")


def test_each_backend_shows_what_its_cells_are(ui):
    ui.open_asset(pages.CELLS, "Partitions")

    for backend, (there, failed) in states.MATRIX.items():
        missing = len(there) + len(failed) < states.BATCHES
        statuses = {"materialized": bool(there), "failed": bool(failed), "missing": missing}
        ui.expect_dots(backend, *(status for status, some in statuses.items() if some))


def test_a_cell_is_found_among_thousands(ui, matrix):
    ((backend, failed),) = ((b, cells) for b, (_, cells) in states.MATRIX.items() if cells)
    batch = matrix.batches[failed[0]]
    ui.open_asset(pages.CELLS, "Partitions")
    ui.choose(backend)

    ui.filter_batches(batch[-6:])
    ui.partition(batch).click()

    expect(ui.page.get_by_text(f"{backend}|{batch}", exact=True).first).to_be_visible()
    ui.expect_dots(batch, "failed")
