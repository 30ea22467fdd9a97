"""The pictures of `docs/images`, made anew by `make screenshots` from the states of the tests.

python -m catalogsync_assets_tests.ui.screenshots docs/images
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import BrowserContext, FloatRect, Locator, Page, ViewportSize, expect

from catalogsync_assets_tests.ui import pages, states
from catalogsync_assets_tests.ui.browser import SIZE, chromium
from catalogsync_assets_tests.ui.pages import WebUI
from catalogsync_assets_tests.ui.server import web_ui

OFFSITE = states.IN_TROUBLE[0]
#: A window for long tables.
TALL: ViewportSize = {"width": 1400, "height": 1150}
#: Around what is cut out, in pixels.
_MARGIN = 24
#: How wide the navigation is, which is left out, and how high the head of a run's page is.
_NAVIGATION, _HEAD = 240, 372

# Icons are masks, which come a moment after what they are on.
_ICONS = """() => Promise.all(
    [...document.querySelectorAll("[style*='--icon-image-path']")].map(icon => {
        const picture = new Image();
        picture.src = icon.style.getPropertyValue("--icon-image-path").match(/url\\((.*)\\)/)[1];
        return picture.decode();
    })
)"""


def beside_navigation(size: ViewportSize, height: int | None = None) -> FloatRect:
    """The page without the navigation, perhaps only its upper part."""
    width = size["width"] - _NAVIGATION
    return {"x": _NAVIGATION, "y": 0, "width": width, "height": height or size["height"]}


def around(*shown: Locator) -> FloatRect:
    """The part of the page that all of these take, and a margin."""
    boxes = [box for locator in shown for one in locator.all() if (box := one.bounding_box())]
    left = min(box["x"] for box in boxes) - _MARGIN
    top = min(box["y"] for box in boxes) - _MARGIN
    right = max(box["x"] + box["width"] for box in boxes) + _MARGIN
    bottom = max(box["y"] + box["height"] for box in boxes) + _MARGIN
    return {"x": left, "y": top, "width": right - left, "height": bottom - top}


class Album:
    """Where the pictures go."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder

    def add(self, name: str, page: Page, clip: FloatRect | None = None) -> None:
        path = self._folder / f"{name}.png"
        page.evaluate(_ICONS)
        page.screenshot(path=path, clip=clip, animations="disabled")
        sys.stdout.write(f"{path}  {path.stat().st_size // 1000} kB\n")


def of_demo(album: Album, context: BrowserContext, scratch: Path) -> None:
    """The graph, a cell, a failed run, the way to try it again, a backend."""
    with (
        states.demo(scratch, seconds=2.0) as demo,
        web_ui("--directory", demo.directory, folder=scratch) as url,
    ):
        ui = WebUI(context.new_page(), url)
        ui.open_partition(pages.CELLS, f"{OFFSITE}|{demo.first}")
        failed = ui.materialize()
        ui.open_partition(pages.CELLS, f"{states.HEALTHY}|{demo.second}")
        uploaded = ui.materialize()
        for run, status in ((failed, "Failure"), (uploaded, "Success")):
            ui.open_run(run)
            expect(ui.run_status(status)).to_be_visible()
        ui.open_partition(pages.PRESENCE, OFFSITE)
        ui.open_run(ui.materialize())
        expect(ui.run_status("Success")).to_be_visible()

        cell(album, ui, f"{states.HEALTHY}|{demo.second}")
        failure(album, ui, failed)
        presence(album, ui)
        audit(album, ui)
        graph(album, ui)
        ui.page.close()


def graph(album: Album, ui: WebUI) -> None:
    ui.open_graph()
    expect(ui.node(pages.CELLS)).to_contain_text("1 failed")
    expect(ui.page.get_by_text("Loading...")).to_have_count(0)
    expect(ui.node(pages.PRESENCE)).not_to_contain_text("Materializing")  # by automation
    album.add("asset-graph", ui.page, around(ui.page.locator("foreignObject").filter(visible=True)))


def cell(album: Album, ui: WebUI, key: str) -> None:
    ui.page.set_viewport_size(TALL)
    ui.open_partition(pages.CELLS, key)
    expect(ui.metadata(pages.BY_FORMAT)).to_be_visible()
    album.add("cell", ui.page, beside_navigation(TALL))
    ui.page.set_viewport_size(SIZE)
    if ui.metadata(pages.THROUGHPUT).count():
        picture = ui.picture(pages.THROUGHPUT)
        expect(picture).to_be_visible()
        album.add("throughput", ui.page, around(picture))
    ui.open_asset(pages.CELLS)
    ui.open_plots()
    expect(ui.chart(pages.RATE)).to_be_visible()
    album.add("plots", ui.page, beside_navigation(SIZE))


def failure(album: Album, ui: WebUI, run: str) -> None:
    ui.open_run(run)
    ui.show_step(pages.UPLOAD_STEP)
    message = ui.full_message()
    table = message.get_by_role("table").last
    expect(table).to_be_visible()
    # Down to the table only: Dagster's own stack follows, of which nobody learns anything.
    head = message.get_by_text("could not be uploaded").first
    album.add("failed-run", ui.page, around(head, table))
    ui.open_run(run)
    expect(ui.step(pages.UPLOAD_STEP)).to_be_visible()
    ui.open_re_execute_menu()
    album.add("retry", ui.page, beside_navigation(SIZE, _HEAD))


def presence(album: Album, ui: WebUI) -> None:
    ui.page.set_viewport_size(TALL)
    ui.open_partition(pages.PRESENCE, OFFSITE)
    expect(ui.metadata(pages.FAILURES)).to_be_visible()
    album.add("backend-presence", ui.page, beside_navigation(TALL))
    ui.page.set_viewport_size(SIZE)


def audit(album: Album, ui: WebUI) -> None:
    """On a backend where a stranger's object is in the way, and nobody has put it there for us."""
    ui.open_partition(pages.AUDIT, OFFSITE)
    ui.open_run(ui.materialize())
    expect(ui.run_status("Success")).to_be_visible()
    ui.page.set_viewport_size(TALL)
    ui.open_partition(pages.AUDIT, OFFSITE)
    expect(ui.metadata(pages.HISTORY)).to_be_visible()
    album.add("backend-audit", ui.page, beside_navigation(TALL))
    ui.page.set_viewport_size(SIZE)


def of_matrix(album: Album, context: BrowserContext, scratch: Path) -> None:
    """Three backends × 1,000 batches, where one of them ends and another has failed."""
    made = states.matrix(scratch, states.LARGE_MATRIX)
    with web_ui(folder=scratch, **made.variables) as url:
        ui = WebUI(context.new_page(), url)
        ui.open_asset(pages.CELLS, "Partitions")
        ui.choose("cloud")
        failed = states.LARGE_MATRIX["cloud"][1]
        expect(ui.partition(made.batches[1])).to_be_visible()
        ui.scroll_batches(made.batches, failed[0] - 5)
        ui.partition(made.batches[failed[0]]).click()
        expect(ui.page.get_by_text("did not materialize")).to_be_visible()
        album.add("partition-matrix", ui.page, beside_navigation(SIZE))
        ui.page.close()


def main(folder: Path) -> None:
    album = Album(folder)
    with tempfile.TemporaryDirectory(prefix="catalogsync-") as scratch, chromium() as context:
        for name, part in (("demo", of_demo), ("matrix", of_matrix)):
            (Path(scratch) / name).mkdir()
            part(album, context, Path(scratch) / name)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
