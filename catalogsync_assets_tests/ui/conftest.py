"""The web UI in a browser, on states that are made once.

Not part of `make test`: `make test-ui` runs these, and fails where there is no Chromium. Nothing
here imports Playwright before a test wants it.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from catalogsync_assets_tests.ui import browser, server, states

if TYPE_CHECKING:
    from catalogsync_assets_tests.ui.pages import WebUI


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Where these tests are not wanted, Playwright need not be there."""
    unwanted = "not ui" in config.getoption("markexpr")
    return True if unwanted and find_spec("playwright") is None else None


@pytest.fixture(scope="session")
def chromium():
    """The browser."""
    with browser.chromium() as running:
        yield running


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """What `catalogsync demo` leaves, with two backends that are in trouble."""
    with states.demo(tmp_path_factory.mktemp("demo")) as made:
        yield made


@pytest.fixture(scope="session")
def demo_url(demo):
    """The web UI on the demo, as `make dev` opens it."""
    with server.web_ui("--directory", demo.directory, folder=demo.directory.parent) as url:
        yield url


@pytest.fixture(scope="session")
def matrix(tmp_path_factory):
    """Three backends × 1,000 batches."""
    return states.matrix(tmp_path_factory.mktemp("matrix"))


@pytest.fixture(scope="session")
def matrix_url(matrix):
    """The web UI on them, as one opens it on one's own catalog."""
    with server.web_ui(folder=matrix.folder, **matrix.variables) as url:
        yield url


@pytest.fixture
def open_ui(chromium):
    """`open_ui(url)`: a page of the browser, closed in the end."""
    from catalogsync_assets_tests.ui.pages import WebUI

    opened: list[WebUI] = []

    def make(url):
        opened.append(WebUI(chromium.new_page(), url))
        return opened[-1]

    yield make
    for ui in opened:
        ui.page.close()


@pytest.fixture(scope="session")
def failed_runs(chromium, demo, demo_url):
    """By backend in trouble, the run that was to bring it the first batch."""
    from catalogsync_assets_tests.ui.pages import CELLS, WebUI

    ui = WebUI(chromium.new_page(), demo_url)
    runs = {}
    for backend in states.IN_TROUBLE:
        ui.open_partition(CELLS, f"{backend}|{demo.first}")
        runs[backend] = ui.materialize()
    ui.page.close()
    return runs


@pytest.fixture
def ui(open_ui, demo_url, failed_runs):
    """A page on the demo. The runs that fail are at work by then, beside the first tests."""
    return open_ui(demo_url)
