"""Answers that are spoilt on their way, or lack what is optional: no command believes one look."""

import os
from collections.abc import Callable

import pytest

from catalogsync_assets.core.adopt.adopt import adopt
from catalogsync_assets.core.catalog import locations
from catalogsync_assets.core.errors import CatalogSyncError, RunAborted
from catalogsync_assets.core.offload.offload import offload
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.files import flipped
from catalogsync_assets_tests.support.proxy import Answer, Request

FILES = 4
STATUSES = (
    "SELECT l.status FROM file_locations l JOIN storage_backends b ON b.id = l.backend_id"
    " WHERE b.backend_type = 'object_storage'"
)
PAGE = b"<!DOCTYPE html><html><body>Please log in</body></html>"
LOGIN = Answer(200, {"Content-Type": "text/html"}, PAGE)


# --- what may become of an answer -----------------------------------------------------------------


def field(answer: Answer, name: str) -> str | None:
    return next((each for each in answer.headers if each.lower() == name), None)


def without_etag(_: Request, answer: Answer) -> None:
    answer.headers.pop(field(answer, "etag") or "", None)


def without_length(request: Request, answer: Answer) -> None:
    answer.headers.pop(field(answer, "content-length") or "", None)
    answer.headers["Transfer-Encoding"] = "chunked"
    if request.method == "GET" and answer.body:
        answer.body = b"%x\r\n%s\r\n0\r\n\r\n" % (len(answer.body), answer.body)


def cut_time(_: Request, answer: Answer) -> None:
    answer.headers[field(answer, "last-modified") or "Last-Modified"] = "Wed, 21 O"


def cut_head(request: Request, answer: Answer) -> None:
    """Within the digits of the length; what would follow is lost."""
    if request.method == "HEAD":
        answer.headers = {
            "Content-Length": answer.headers[field(answer, "content-length") or ""][:1]
        }


def cut_length(_: Request, answer: Answer) -> None:
    """The body is taken for shorter, too."""
    length = len(answer.body) if answer.body else 300
    answer.headers[field(answer, "content-length") or "Content-Length"] = str(length)[:1]
    answer.headers["Connection"] = "close"
    answer.body = answer.body[: int(str(length)[:1])]


def cut_body(request: Request, answer: Answer) -> None:
    if request.method == "GET":
        answer.body = answer.body[:-10]
        answer.headers["Connection"] = "close"


def tipped(request: Request, answer: Answer) -> None:
    if request.method == "GET":
        answer.body = flipped(answer.body)


def page(_: Request, answer: Answer) -> None:
    answer.status, answer.body = 200, PAGE
    answer.headers = {"Content-Type": "text/html", "Content-Length": str(len(PAGE))}


def not_there(request: Request, answer: Answer) -> None:
    answer.status = 404
    answer.body = b"<Error><Code>NoSuchKey</Code><Message>no</Message></Error>"
    answer.headers = {"Content-Length": "0" if request.method == "HEAD" else str(len(answer.body))}


def each_time_other(request: Request, answer: Answer) -> None:
    if request.method == "GET" and answer.body:
        answer.body = os.urandom(len(answer.body))


Fault = Callable[[Request, Answer], None]


def of_music(fault: Fault) -> Fault:
    """The fault, in answers about music, as far as they are no errors."""

    def change(request: Request, answer: Answer) -> None:
        asked = request.key.endswith(".mp3") and request.method in ("GET", "HEAD")
        if asked and answer.status in (200, 206):
            fault(request, answer)

    return change


def once_each(fault: Fault) -> Fault:
    """The same, only in the first answer to each method and key."""
    met = set()

    def change(request: Request, answer: Answer) -> None:
        if (request.method, request.key) not in met:
            met.add((request.method, request.key))
            fault(request, answer)

    return of_music(change)


#: None of these is the object's fault, and each is overcome.
OVERCOME = {
    "no etag": of_music(without_etag),
    "no length": of_music(without_length),
    "a cut time": of_music(cut_time),
    "a cut head, always": of_music(cut_head),
    "a cut length, once": once_each(cut_length),
    "a cut body, once": once_each(cut_body),
    "a flipped byte, once": once_each(tipped),
    "a page, once": once_each(page),
    "not there, once": once_each(not_there),
}
#: These last: nothing can be said of an object.
LASTING = {
    "a page": of_music(page),
    "each time other bytes": of_music(each_time_other),
    "cut bodies": of_music(cut_body),
}


# --- the commands -----------------------------------------------------------------------------


@pytest.fixture
def full(library, through_proxy, synced):
    """A backend with the library's files."""
    library.fill(FILES)
    assert synced(through_proxy).succeeded == FILES
    return through_proxy


@pytest.fixture
def commands(catalog, full, verified, tmp_path, backend, uploaded, scanned, library):
    """Each reads all objects of `full`, and says of how many it was satisfied."""
    here = "DELETE FROM file_locations WHERE backend_id = ?"

    def restored():
        report = restore(catalog, tmp_path / "other", attempts=3, workers=1, reserve_bytes=0)
        return report.restored

    def adopted():
        change(catalog, here, full.id)
        report = adopt(catalog, full, may_read=True, attempts=3, workers=1)
        assert (report.differ, report.foreign, report.lacking) == (0, 0, FILES - report.adopted)
        return report.adopted

    def offloaded():
        report = offload(catalog, 1, dry_run=False, workers=1, attempts=3)
        assert (report.missing, report.damaged) == (0, 0)
        return report.removed

    def copied():
        for path in library.root.rglob("*.mp3"):
            path.unlink()
        scanned(allow_empty=True)
        report = uploaded(backend("second"), workers=1, attempts=3)
        return int(report.succeeded)

    def uploaded_again():
        change(catalog, here, full.id)
        report = uploaded(full, workers=1, attempts=3)
        assert not [f for f in report.failures if f.code in ("Conflict", "Corrupted")]
        return int(report.adopted + report.succeeded)

    levels = ("listing", "head", "full")
    verify = {f"verify {n}": (lambda n=n: verified(full, n, workers=1).ok) for n in levels}
    others = {
        "restore": restored,
        "adopt": adopted,
        "offload": offloaded,
        "copy": copied,
        "upload": uploaded_again,
    }
    return verify | others


COMMANDS = [
    *("verify listing", "verify head", "verify full"),
    *("restore", "adopt", "offload", "copy", "upload"),
]


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("fault", OVERCOME)
def test_a_spoilt_answer_is_overcome_and_marks_nothing(catalog, commands, proxy, command, fault):
    proxy.after.append(OVERCOME[fault])

    assert commands[command]() == FILES

    assert set(rows(catalog, STATUSES)) == {"active"}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("fault", LASTING)
def test_a_line_that_always_spoils_says_nothing_of_an_object(
    catalog, commands, proxy, command, fault
):
    proxy.after.append(LASTING[fault])

    try:
        commands[command]()
    except CatalogSyncError as error:
        assert error.hint

    assert set(rows(catalog, STATUSES)) <= {"active"}


@pytest.mark.parametrize("command", ["verify full", "restore"])
def test_what_two_reads_agree_on_is_damage(catalog, commands, proxy, command):
    proxy.after.append(of_music(tipped))

    commands[command]()

    assert set(rows(catalog, STATUSES)) == {"damaged"}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_login_page_in_place_of_the_store_is_one_clear_error(catalog, commands, proxy, command):
    proxy.answer(LOGIN)

    try:
        assert commands[command]() == 0
    except CatalogSyncError as error:
        assert "web page" in error.message
        assert "login page" in (error.hint or "")

    assert set(rows(catalog, STATUSES)) <= {"active"}


@pytest.mark.parametrize("provider", ["seaweedfs", "other"])
def test_a_put_that_a_login_page_answers_is_not_recorded(
    catalog, library, backend, synced, proxy, provider
):
    library.fill(FILES)
    cloud = backend(endpoint=proxy.endpoint, provider=provider)
    proxy.answer(LOGIN, lambda r: r.method == "PUT")

    with pytest.raises(RunAborted, match="the store has no such object") as aborted:
        synced(cloud)

    assert "login page" in (aborted.value.hint or "")
    assert rows(catalog, STATUSES) == []


@pytest.mark.parametrize("there", ["ours", "nothing"])
def test_nobody_is_asked_to_act_on_one_spoilt_head_and_one_spoilt_read(
    library, scanned, backend, uploaded, proxy, remote, there
):
    """Of a store of which nothing is known: neither a conflict, nor a damaged upload."""
    library.fill(FILES)
    scanned()
    cloud = backend(endpoint=proxy.endpoint, provider="other")
    if there == "ours":
        for key, content in library.contents().items():
            remote(cloud).put(key, content)
    proxy.after += [of_music(cut_head), once_each(tipped)]

    report = uploaded(cloud, workers=1)

    assert (report.adopted + report.succeeded, report.failures) == (FILES, [])
    assert remote(cloud).contents() == library.contents()


# --- damaged copies -----------------------------------------------------------------------------


@pytest.fixture
def marked(catalog, full):
    """All objects are marked damaged, and are whole."""
    ids = rows(catalog, "SELECT id FROM file_locations WHERE backend_id = ?", full.id)
    for each in ids:
        locations.mark(catalog, [each], "damaged", etag="")
    return full


def test_a_copy_that_was_found_damaged_is_the_last_resort_of_a_restore(
    catalog, marked, tmp_path, library, backend, uploaded
):
    def run(name):
        return restore(catalog, tmp_path / name, attempts=2, reserve_bytes=0)

    uploaded(backend("second"))
    change(catalog, "UPDATE file_locations SET verified_at = '2001-01-01' WHERE backend_id > 2")
    assert run("other").backends == {"second": FILES}
    change(catalog, "UPDATE file_locations SET status = 'missing' WHERE backend_id > 2")

    report = run("another")

    assert (report.restored, report.failures) == (FILES, [])
    assert report.backends == {"cloud": FILES}
    found = {p.name: p.read_bytes() for p in (tmp_path / "another").rglob("*.mp3")}
    assert found == {p.rpartition("/")[2]: c for p, c in library.contents().items()}
    how = "SELECT DISTINCT status, verified_by FROM file_locations WHERE backend_id = ?"
    assert rows(catalog, how, marked.id) == [("active", "read")]
    present = "SELECT SUM(files_present) FROM song_backend_presence WHERE backend_id = ?"
    assert rows(catalog, present, marked.id) == [FILES]


def test_a_copy_that_was_found_damaged_is_the_last_source_of_an_upload(
    catalog, marked, library, backend, uploaded, scanned, remote
):
    contents = library.contents()
    for path in library.root.rglob("*.mp3"):
        path.unlink()
    scanned(allow_empty=True)
    second = backend("second")

    assert uploaded(second).succeeded == FILES

    assert remote(second).contents() == contents
    assert set(rows(catalog, STATUSES)) == {"active"}
