"""From the asset graph to a batch that is on a backend, by clicks."""

import urllib.request

import pytest
from playwright.sync_api import expect

from catalogsync_assets.definitions import defs
from catalogsync_assets_tests.ui import pages, states

pytestmark = pytest.mark.ui


def test_the_asset_graph_shows_every_asset_in_its_group(ui):
    specs = list(defs.resolve_all_asset_specs())

    ui.open_graph()

    for spec in specs:
        expect(ui.node(spec.key.to_user_string())).to_be_visible()
        assert spec.group_name
        expect(ui.group(spec.group_name)).to_be_visible()
    expect(ui.node(pages.CELLS)).to_contain_text("filled")


def test_a_batch_is_materialized_from_the_launchpad(ui, demo):
    ui.open_asset(pages.CELLS, "Partitions")
    ui.choose(states.HEALTHY, demo.second)
    ui.expect_dots(demo.second, "missing")

    ui.materialize_from_launchpad(f"{states.HEALTHY}|{demo.second}")

    expect(ui.run_status("Success")).to_be_visible()
    ui.open_asset(pages.CELLS, "Partitions")
    ui.expect_dots(states.HEALTHY, "materialized")
    ui.choose(states.HEALTHY, demo.second)
    ui.expect_dots(demo.second, "materialized")
    assert ui.number(pages.UPLOADED) == states.NEW_SONGS
    assert ui.number(pages.SIZE) > 0
    assert ui.number(pages.RATE) > 0
    expect(ui.metadata(pages.BY_FORMAT)).to_contain_text("flac")
    with urllib.request.urlopen(ui.link(pages.SAMPLE)) as answer:
        assert answer.headers["Content-Type"].startswith("audio/")


def test_figures_of_the_materializations_are_plotted(ui):
    ui.open_asset(pages.CELLS)

    ui.open_plots()

    for name in (pages.SIZE, pages.RATE):
        expect(ui.chart(name)).to_be_visible()


def test_the_throughput_of_a_cell_is_a_picture(ui, demo):
    ui.open_partition(pages.CELLS, f"{states.HEALTHY}|{demo.first}")
    expect(ui.metadata(pages.SIZE)).to_be_visible()
    assert ui.metadata(pages.THROUGHPUT).count() == 1

    picture = ui.picture(pages.THROUGHPUT)

    expect(picture).to_be_visible()
    expect(picture).not_to_have_js_property("naturalWidth", 0)
