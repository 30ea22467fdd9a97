"""Sources are plug-ins: found by entry point, chosen by task, and never the end of a run."""

from importlib import metadata
from pathlib import Path

import pytest

from catalogsync_assets.core import plugins
from catalogsync_assets.core.download import sources
from catalogsync_assets.core.download.http import HttpSource
from catalogsync_assets.core.download.sources import Sources, installed
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.packages import importable, install

MODULE = '''
"""A source of tapes: `tape:17` is the 17th, and some are damaged."""

import hashlib
import itertools
from contextlib import contextmanager

from catalogsync_assets.core.download.sources import Content
from catalogsync_assets.core.errors import DownloadError, NoRoomError, SourceUnavailableError

PIECE = 1000
broken = set()


def content(number):
    return b"fLaC" + b"".join(
        hashlib.sha256(f"{number}/{i}".encode()).digest() for i in range(500)
    )


class Tapes:
    closed = 0

    @contextmanager
    def open(self, item, resume):
        number = item.url.partition(":")[2]
        if number == "exits":
            raise SystemExit(3)
        if number == "odd":
            yield None
            return
        if number == "greedy":
            raise NoRoomError("the plug-in's own disk is full")
        if number == "careless":
            raise DownloadError("nothing at https://u:hunter2@h/x?sig=hunter2", code="Nothing")
        if number == "lost":
            raise DownloadError("tape is lost", code="Lost", hint="look under the shelf")
        whole = content(number)
        start = resume.offset if resume else 0
        pieces = (whole[i : i + PIECE] for i in range(start, len(whole), PIECE))
        if number == "damaged":
            pieces = itertools.chain(itertools.islice(pieces, 2), self.tear(RuntimeError()))
        elif number == "worn" and number not in broken:
            broken.add(number)
            torn = SourceUnavailableError("tape is torn", code="Torn")
            pieces = itertools.chain(itertools.islice(pieces, 5), self.tear(torn))
        elif number == "talkative":
            url = "https://u:hunter2@h/x?sig=hunter2"
            pieces = self.tear(ValueError(f"cannot read {url}"))
        yield Content(pieces, start, len(whole), validator="tape-" + number, name=number + ".flac")

    def tear(self, error):
        raise error
        yield

    def close(self):
        Tapes.closed += 1
        raise OSError("the drawer is stuck")


class Unplugged:
    def __init__(self):
        raise OSError("no tape deck is connected")
'''
PLUG_INS = {
    "tape": "catalogsync_tapes:Tapes",
    "unplugged": "catalogsync_tapes:Unplugged",
    "gone": "catalogsync_no_such_module:Gone",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder into which pip has installed a package with three sources."""
    folder = tmp_path_factory.mktemp("tapes")
    return install(folder, "catalogsync_tapes", MODULE, "catalogsync.sources", PLUG_INS)


@pytest.fixture
def tapes(site):
    """The package, as if its folder were the interpreter's own."""
    with importable(site, "catalogsync_tapes") as module:
        yield module


def test_a_source_of_another_package_is_chosen_by_the_task(
    tapes, web, queue_downloads, downloaded, library
):
    url = web.add("/x.flac")
    queue_downloads({"url": "tape:17", "source": "tape"}, {"url": url})

    report = downloaded()

    assert library.contents() == {
        "17.flac": tapes.content("17"),
        "x.flac": web.files["/x.flac"].content,
    }
    assert {name: (t.done, t.failed) for name, t in report.sources.items()} == {
        "tape": (1, 0),
        "http": (1, 0),
    }
    assert report.sources["tape"].bytes == len(tapes.content("17"))
    assert installed() == ["gone", "http", "tape", "unplugged"]
    assert tapes.Tapes.closed == 1


def test_a_source_is_asked_for_the_rest_after_it_broke_off(
    tapes, queue_downloads, downloaded, library
):
    queue_downloads({"url": "tape:worn", "source": "tape"})

    report = downloaded()

    assert (report.succeeded, report.resumed) == (1, 1)
    assert report.received == len(tapes.content("worn"))
    assert library.contents() == {"worn.flac": tapes.content("worn")}


#: What is raised for a tape, by the code of the failure and a piece of its reason.
RAISED = {
    "exits": ("SystemExit", "3"),
    "odd": ("AttributeError", ""),
    "greedy": ("NoRoomError", "own disk"),
    "lost": ("Lost", "look under the shelf"),
    "careless": ("Nothing", "nothing at https://h/x"),
    "damaged": ("RuntimeError", "failed without a message"),
    "talkative": ("ValueError", "https://h/x"),
}


@pytest.mark.parametrize("number", RAISED)
def test_whatever_a_source_raises_is_the_failure_of_one_file(
    tapes, queue_downloads, downloaded, catalog, number
):
    code, said = RAISED[number]
    queue_downloads(
        {"url": f"tape:{number}", "source": "tape"},
        *({"url": f"tape:{i}", "source": "tape"} for i in range(5)),
    )

    report = downloaded(workers=1)

    assert (report.succeeded, report.failed) == (5, 1)
    assert report.failures[0].code == code
    assert said in report.failures[0].reason
    assert "hunter2" not in repr(report)
    assert rows(catalog, "SELECT error_code FROM download_tasks WHERE status = 'failed'") == [code]


def test_an_unknown_source_is_said_with_what_to_install_and_stays_queued(
    web, queue_downloads, downloaded, catalog
):
    """Another program that shares the catalog may know it."""
    queue_downloads({"url": "disc:1", "source": "disc"}, {"url": web.add("/x.flac")})

    report = downloaded()

    assert (report.succeeded, report.failed) == (1, 1)
    failure = report.failures[0]
    assert failure.code == "UnknownSource"
    assert "no source 'disc' is installed" in failure.reason
    assert "install the package" in failure.reason
    assert sources.GROUP in failure.reason
    assert rows(catalog, "SELECT status, last_error = ? FROM download_tasks", failure.reason) == [
        ("pending", 1),
        ("succeeded", None),
    ]


def test_a_queue_of_an_unknown_source_costs_no_more_than_a_statement(
    web, queue_downloads, downloaded, catalog
):
    """As another program may have left it. Neither claimed nor counted as tried."""
    queue_downloads(
        *({"url": f"disc:{i}", "source": "disc"} for i in range(1_500)), web.add("/x.flac")
    )

    report = downloaded(limit=1)

    assert (report.queued, report.succeeded, report.failed) == (1_501, 1, 1_500)
    assert len(report.failures) == 1_000
    assert rows(
        catalog,
        "SELECT status, attempts, error_code, COUNT(*) FROM download_tasks WHERE source = 'disc'",
    ) == [("pending", 0, "UnknownSource", 1_500)]


@pytest.mark.parametrize(
    ("name", "said"), [("unplugged", "no tape deck"), ("gone", "catalogsync_no_such_module")]
)
def test_a_source_that_cannot_be_loaded_is_said(tapes, queue_downloads, downloaded, name, said):
    queue_downloads({"url": "x", "source": name})

    report = downloaded()

    assert report.failures[0].code == "BrokenSource"
    assert said in report.failures[0].reason


def test_the_built_in_source_needs_no_metadata(monkeypatch):
    """That of an editable install may be older than the code."""
    monkeypatch.setattr(plugins, "entry_points", lambda **_: metadata.EntryPoints())

    assert isinstance(Sources().get("http"), HttpSource)
    assert installed() == ["http"]


def test_the_packages_metadata_name_the_built_in_source():
    from configparser import ConfigParser

    setup = ConfigParser()
    setup.read(Path(__file__).parents[3] / "setup.cfg")
    line = setup["options.entry_points"][sources.GROUP].strip()

    point = metadata.EntryPoint("http", line.partition("=")[2].strip(), sources.GROUP)

    assert line.startswith("http =")
    assert point.load() is HttpSource
