"""What a person sees and clicks in the web UI. The only place that knows how Dagster draws it.

Things are found by the words on them, as a person finds them. Nothing here sleeps: Playwright
waits until what is expected is there.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from playwright.sync_api import Locator, Page, TimeoutError, ViewportSize, expect

# --- the names that are looked for ---------------------------------------------------------------

LIBRARY = "downloaded_files"
PLAN = "pending_uploads"
CELLS = "remote_locations"
PRESENCE = "backend_presence"
AUDIT = "backend_audit"
#: Metadata of a cell.
UPLOADED, SIZE, RATE, BY_FORMAT = "uploaded", "size (MiB)", "rate (MiB/s)", "by format"
SAMPLE, VERIFIED, THROUGHPUT = "sample object", "verified, newest", "throughput"
#: Metadata of a backend's presence; the size has the same name.
COMPLETE, COMPLETE_SHARE, ABSENT = "songs complete", "complete (%)", "songs absent"
FILES, FAILED, FAILURES = "files", "failed", "failures"
EVERYWHERE = "everywhere"
OLDEST = "verified, oldest"
#: Metadata of an audit.
LISTED, MISSING, FOREIGN, HISTORY = "objects listed", "missing", "foreign", "history"
#: The step of a cell that fails if a file could not be uploaded.
UPLOAD_STEP = "remote_locations.upload_chunk"

#: How often something is clicked that may have been too early, and how many milliseconds each time.
_TRIES, _SHORTLY = 20, 5_000
#: A window in which the whole graph is large enough for its nodes to show what they know.
_WIDE: ViewportSize = {"width": 2400, "height": 900}
#: A partition's dot, and its colours.
_DOT = "[style*='border-radius: 100%']"
_COLOURS = {"materialized": "green", "failed": "red", "missing": "gray"}


def _exactly(text: str) -> re.Pattern[str]:
    return re.compile(rf"^\s*{re.escape(text)}\s*$")


@dataclass(frozen=True)
class WebUI:
    """A page of the browser on a web UI."""

    page: Page
    url: str

    # --- looking around --------------------------------------------------------------------------

    def open(self, path: str) -> None:
        self.page.goto(self.url + path)

    def open_graph(self) -> None:
        """The asset graph, with all its groups open."""
        self.page.set_viewport_size(_WIDE)
        self.open("/asset-groups")
        self.page.locator("button:has([aria-label='settings'])").nth(1).click()
        self.page.get_by_text("Expand all groups").filter(visible=True).first.click()
        self.page.wait_for_url("**expanded=**")
        self.page.reload()  # fits the graph into the window

    def node(self, asset: str) -> Locator:
        """An asset in the graph."""
        node = self.page.locator("foreignObject").filter(has_text=asset).filter(has_text="Latest")
        return node.filter(visible=True).first

    def group(self, name: str) -> Locator:
        """The head of an open group in the graph."""
        return self.page.locator("foreignObject").get_by_text(name, exact=True).first

    def open_asset(self, asset: str, tab: str = "Overview") -> None:
        self.open(f"/assets/{asset}")
        self.open_tab(tab)

    def open_tab(self, tab: str) -> None:
        self.page.get_by_role("tab", name=tab, exact=True).click()

    def open_partition(self, asset: str, key: str) -> None:
        """A partition of an asset, by its address; `choose` goes there by clicks."""
        self.open(f"/assets/{asset}?view=partitions&partition={quote(key, safe='')}")
        # What is there is painted before it is known how many there are of each status, and the
        # page moves when it is.
        expect(self.status("Materialized")).to_be_visible()
        expect(self.page.get_by_text("Latest materialization")).to_be_visible()

    # --- partitions ------------------------------------------------------------------------------

    def partition(self, key: str) -> Locator:
        """The row of a key in a list of partitions; elsewhere keys have no dots."""
        row = self.page.get_by_title(key, exact=True).locator("xpath=../..")
        return row.filter(has=self.page.locator(_DOT))

    def choose(self, *keys: str) -> None:
        """Click on a key of each dimension in turn."""
        for key in keys:
            self.partition(key).click()
        expect(self.page.get_by_text("|".join(keys), exact=True).first).to_be_visible()

    def dots(self, key: str) -> Locator:
        """The dots of a row: one for each status that one of its partitions has."""
        return self.partition(key).locator(_DOT)

    def expect_dots(self, key: str, *statuses: str) -> None:
        """A row has just these statuses."""
        dots = self.dots(key)
        expect(dots).to_have_count(len(statuses))
        for status in statuses:
            expect(
                self.partition(key).locator(f"[style*='accent-{_COLOURS[status]}']")
            ).to_be_visible()

    def status(self, name: str) -> Locator:
        """The box above a list of partitions that says how many are, say, `Failed`."""
        return self.page.get_by_text(re.compile(rf"^{name} \(\d[\d,]*\)$"))

    def filter_batches(self, text: str) -> None:
        """Show only batches whose key contains a text."""
        self.page.get_by_placeholder("Filter by batch").fill(text)

    def scroll_batches(self, keys: list[str], number: int) -> None:
        """Scroll the list of batches, at whose top these keys are, down by some."""
        first, second = (self.partition(key).bounding_box() for key in keys[:2])
        assert first
        assert second
        self.partition(keys[0]).hover()
        self.page.mouse.wheel(0, number * (second["y"] - first["y"]))

    # --- metadata --------------------------------------------------------------------------------

    def metadata(self, name: str) -> Locator:
        """The value of a metadata entry of the partition or event that is open."""
        key = self.page.locator(":scope > td:first-child", has_text=_exactly(name))
        return self.page.locator("tr").filter(has=key).locator(":scope > td").nth(1)

    def number(self, name: str) -> float:
        """A metadata entry that is a number."""
        value = self.metadata(name)
        expect(value).to_be_visible()
        return float(value.inner_text().replace(",", ""))

    def link(self, name: str) -> str:
        """The address of a metadata entry that is a link."""
        address = self.metadata(name).get_by_role("link").first.get_attribute("href")
        assert address
        return address

    def picture(self, name: str) -> Locator:
        """The picture of a metadata entry in Markdown, which opens in a window of its own."""
        self.metadata(name).get_by_text("Show Markdown").click()
        return self.page.get_by_role("dialog").locator("img")

    def open_plots(self) -> None:
        """The numbers of an asset's materializations as Dagster plots them."""
        self.page.get_by_role("button", name="Plots").click()

    def chart(self, name: str) -> Locator:
        """Dagster's plot of a number."""
        title = self.page.get_by_text(name, exact=True).filter(visible=True)
        return title.locator("xpath=ancestor::div[.//canvas][1]//canvas").first

    # --- runs ------------------------------------------------------------------------------------

    def materialize(self) -> str:
        """Materialize the partition that is open, by the dialog, with what it proposes.

        Returns:
            The run's id.
        """
        self._materialize_button().click()
        self.page.get_by_role("button", name="Launch 1 run").click()
        return self._launched()

    def materialize_from_launchpad(self, key: str) -> str:
        """Materialize a partition of the asset that is open, with the launchpad's configuration.

        Returns:
            The run's id.
        """
        self._materialize_button().locator("xpath=following::button[1]").click()
        self.page.get_by_role("menuitem", name="Open launchpad").click()
        dialog = self.page.get_by_role("dialog")
        expect(dialog.get_by_text("No errors")).to_be_visible()
        self._choose_in_launchpad(key)
        dialog.get_by_role("button", name="Materialize").click()
        self.page.wait_for_url("**/runs/*")
        return self._run_of_page()

    def _choose_in_launchpad(self, key: str) -> None:
        """Until the keys have come, the field forgets what is typed into it."""
        field = self.page.get_by_placeholder("Partition")
        for _ in range(_TRIES):
            field.fill("")
            field.fill(key)
            with suppress(TimeoutError):
                self.page.get_by_role("menuitem", name=key).click(timeout=_SHORTLY)
                return
        raise AssertionError(f"the launchpad does not offer {key}")

    def _materialize_button(self) -> Locator:
        return self.page.get_by_role("button", name="Materialize").first

    def _launched(self) -> str:
        """The run of which a message says that it was launched."""
        address = self.page.get_by_role("link", name="View", exact=True).get_attribute("href")
        assert address
        return address.rsplit("/", 1)[1]

    def _run_of_page(self) -> str:
        return urlsplit(self.page.url).path.rsplit("/", 1)[1]

    def open_run(self, run: str) -> None:
        self.open(f"/runs/{run}")

    def run_status(self, status: str) -> Locator:
        """The status in the head of a run's page."""
        return self.page.get_by_text(status, exact=True).first

    def open_failed_runs(self) -> None:
        self.open("/runs")
        self.page.get_by_role("tab", name="Failed", exact=True).click()

    def run_link(self, run: str) -> Locator:
        """Where a page leads to a run."""
        return self.page.locator(f"a[href*='/runs/{run}']").filter(visible=True).first

    def step(self, name: str) -> Locator:
        """A step of a run in the list of those that have failed, or are at work."""
        return self.page.get_by_text(re.compile(rf"^{re.escape(name)}\b")).filter(visible=True).last

    def show_step(self, name: str) -> None:
        """Show only the events of a step."""
        self.step(name).click()

    def full_message(self) -> Locator:
        """The window with all that the failed step says."""
        self.page.get_by_text("View full message").filter(visible=True).first.click()
        return self.page.get_by_role("dialog")

    def re_execute_from_failure(self) -> str:
        """Run again what has failed or was not reached.

        Returns:
            The new run's id.
        """
        before = self._run_of_page()
        self.open_re_execute_menu().click()
        self.page.wait_for_url(lambda url: "/runs/" in url and before not in url)
        return self._run_of_page()

    def open_re_execute_menu(self) -> Locator:
        """Open what lies behind the arrow at `Re-execute`.

        Returns:
            The entry that tries again what has failed, and what was not reached.
        """
        button = self.page.get_by_role("button", name="Re-execute")
        button.locator("xpath=following::button[1]").click()
        entry = self.page.get_by_role("menuitem", name=re.compile("From failure$"))
        expect(entry).to_be_enabled()
        return entry
