"""Debian's chromium, or any other, driven by Playwright.

Run as a program, it says which one is used, or what to do where there is none.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, ViewportSize

#: Chromium's names in PATH, the first that is there is used.
_NAMES = ("chromium", "chromium-browser", "google-chrome")
#: It asks for nothing beyond this machine, and needs neither a sandbox (which root cannot have)
#: nor a graphics card.
_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
#: Of the window.
SIZE: ViewportSize = {"width": 1400, "height": 900}
#: Milliseconds that Playwright waits for what is expected. A run takes about ten seconds, of which
#: it waits up to five in Dagster's queue; on a busy machine it takes a minute.
PATIENCE = 180_000


def find_chromium() -> str:
    """The program.

    Raises:
        FileNotFoundError: there is none; the message says how to get one.
    """
    if given := os.environ.get("CHROMIUM"):
        if found := shutil.which(given):
            return found
        raise FileNotFoundError(f"CHROMIUM is set to {given!r}, which is no program")
    for name in _NAMES:
        if found := shutil.which(name):
            return found
    raise FileNotFoundError(
        "the tests of the web UI need Chromium, and there is none in PATH; install it with"
        " `apt-get install chromium`, or with `playwright install chromium` and name it:"
        " CHROMIUM=/path/to/chrome make test-ui"
    )


@contextmanager
def chromium() -> Iterator[BrowserContext]:
    """A browser without a window. Each page that is opened in it shares its cache."""
    from playwright.sync_api import expect, sync_playwright

    program = find_chromium()
    expect.set_options(timeout=PATIENCE)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=list(_FLAGS))
        context = browser.new_context(viewport=SIZE, timezone_id="UTC", locale="en-GB")
        context.set_default_timeout(PATIENCE)
        try:
            yield context
        finally:
            context.close()
            browser.close()


if __name__ == "__main__":
    try:
        sys.stdout.write(f"Chromium: {find_chromium()}\n")
    except FileNotFoundError as error:
        sys.exit(f"error: {error}")
