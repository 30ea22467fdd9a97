"""How long the partition matrix of 3 backends × 1,000 batches takes in the browser.

`catalogsync dev` runs on a DAGSTER_HOME in which all 3,000 cells have events, its daemon at work as
always. From the navigation until the three backends, their dots, the first batches and the number
of cells of each status are painted:

first   the page by its address, the first time since the web server was started
cold    the page by its address, in a new browser profile
click   a click on the tab `Partitions` of the asset's page, in a new profile

    python -m benchmarks.ui [--rounds 5]

Needs `pip install -e '.[ui]'` and Chromium.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import BrowserContext, Page

from benchmarks.report import machine, median_and_range
from catalogsync_assets_tests.ui import pages, states
from catalogsync_assets_tests.ui.browser import chromium
from catalogsync_assets_tests.ui.pages import WebUI
from catalogsync_assets_tests.ui.server import web_ui

_CELLS: states.Cells = {
    "archive": (range(1000), range(0)),
    "cloud": (range(994), range(994, 1000)),
    "offsite": (range(1000), range(0)),
}
# In the browser itself, at each frame: what Playwright's own waiting adds would count.
_PAINTED = """wanted => {
    const seen = document.body.innerText;
    const dots = document.querySelectorAll("[style*='border-radius: 100%']").length;
    return wanted.every(text => seen.includes(text)) && dots >= 7 ? performance.now() : null;
}"""


def painted(page: Page, batches: list[str]) -> float:
    """Milliseconds from the page's navigation until the matrix is there."""
    there = sum(len(cells) for cells, _ in _CELLS.values())
    wanted = [*_CELLS, *batches[:3], f"Materialized ({there})", "Failed (6)"]
    return float(page.wait_for_function(_PAINTED, arg=wanted, polling="raf").json_value())


def by_address(context: BrowserContext, url: str, batches: list[str]) -> float:
    """Seconds of a load of the page."""
    page = context.new_page()
    page.goto(f"{url}/assets/{pages.CELLS}?view=partitions", wait_until="commit")
    return painted(page, batches) / 1000


def by_click(context: BrowserContext, url: str, batches: list[str]) -> float:
    """Seconds from a click on the tab."""
    ui = WebUI(context.new_page(), url)
    ui.open_asset(pages.CELLS)
    ui.page.wait_for_load_state("networkidle")
    before = float(ui.page.evaluate("performance.now()"))
    ui.open_tab("Partitions")
    return (painted(ui.page, batches) - before) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{machine()}; {options.rounds} rounds")
    with tempfile.TemporaryDirectory() as scratch:
        started = time.monotonic()
        made = states.matrix(Path(scratch), _CELLS)
        print(f"3,000 cells recorded in {time.monotonic() - started:.0f} s", file=sys.stderr)
        seconds: dict[str, list[float]] = {"first": [], "cold": [], "click": []}
        with web_ui(folder=made.folder, **made.variables) as url:
            for number in range(options.rounds + 1):
                with chromium() as context:
                    name = "cold" if number else "first"
                    seconds[name].append(by_address(context, url, made.batches))
                if number:
                    with chromium() as context:
                        seconds["click"].append(by_click(context, url, made.batches))
    print(f"\n{'until the matrix is painted':34}{'seconds':>24}")
    for name, values in seconds.items():
        print(f"{name:34}{median_and_range(values):>24}")


if __name__ == "__main__":
    main()
