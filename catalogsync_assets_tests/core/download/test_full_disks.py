"""Disks that fill up: before a file, and in the middle of one. Real ones, of some MiB each."""

import errno
import os
import subprocess
import threading
from pathlib import Path

import pytest

from catalogsync_assets.core.download.disks import Disks, Question, remembered_roots
from catalogsync_assets.core.errors import LibraryError, NoRoomError, RunAborted
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.files import remains
from catalogsync_assets_tests.support.waiting import PATIENCE
from catalogsync_assets_tests.support.web import flac_like

KIB = 1024
MIB = 1024 * KIB


@pytest.fixture
def disk(tmp_path):
    """`disk(name, size)`: a file system of its own with so many bytes of room."""
    mounted = []

    def make(name, size):
        place = tmp_path / name
        place.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if done.returncode != 0:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True, timeout=PATIENCE)


def files_below(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def nobody(_question: Question) -> Path | None:
    raise AssertionError("there was room, and nothing to ask")


class Person:
    """Answers questions, and sees whether two are put at once."""

    def __init__(self, *answers: Path | None) -> None:
        self.questions: list[Question] = []
        self._answers = list(answers)
        self._lock = threading.Lock()

    def __call__(self, question: Question) -> Path | None:
        assert self._lock.acquire(blocking=False), "two questions at once"
        try:
            self.questions.append(question)
            return self._answers.pop(0)
        finally:
            self._lock.release()


# --- before a file ------------------------------------------------------------------------------


def test_a_file_that_does_not_fit_goes_to_the_next_root(web, queue_downloads, downloaded, disk):
    small, large = disk("small", 256 * KIB), disk("large", 8 * MIB)
    queue_downloads(
        web.add("/big.flac", flac_like("b", MIB)), web.add("/little.flac", flac_like("l", 64 * KIB))
    )

    assert downloaded(small, large, workers=1, ask=nobody).succeeded == 2
    assert files_below(small) == ["little.flac"]
    assert files_below(large) == ["big.flac"]
    assert web.of("/big.flac")[0].sent < MIB or len(web.of("/big.flac")) == 2


def test_a_size_that_the_manifest_knows_costs_no_request(web, queue_downloads, downloaded, disk):
    small, large = disk("small", 256 * KIB), disk("large", 8 * MIB)
    queue_downloads(web.add("/big.flac", flac_like("b", MIB)), size=MIB)

    assert downloaded(small, large).received == MIB
    assert len(web.requests) == 1


def test_a_reserve_is_left_free(web, queue_downloads, downloaded, disk):
    one, two = disk("one", MIB), disk("two", 8 * MIB)
    queue_downloads(*(web.add(f"/{i}.flac", flac_like(i, 100 * KIB)) for i in range(6)))

    downloaded(one, two, workers=1, reserve=600 * KIB)

    assert len(files_below(one)) == 4
    assert os.statvfs(one).f_bavail * os.statvfs(one).f_frsize >= 600 * KIB


def test_what_is_promised_to_others_counts_as_taken(web, queue_downloads, downloaded, disk):
    """Four that would each fit alone, begun at once: none is begun in vain."""
    one, two = disk("one", 1200 * KIB), disk("two", 8 * MIB)
    queue_downloads(*(web.add(f"/{i}.flac", flac_like(i, 500 * KIB)) for i in range(4)))
    web.pace = lambda _: web.wait_until(lambda: web.most_at_once >= 4)

    report = downloaded(one, two)

    assert (len(files_below(one)), len(files_below(two))) == (2, 2)
    assert report.retries == 0


# --- in the middle of one -----------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 4])
def test_a_disk_that_fills_up_in_the_middle_hands_over_to_the_next(
    web, queue_downloads, downloaded, disk, catalog, workers
):
    """No sizes are known beforehand; only writing tells."""
    one, two = disk("one", MIB), disk("two", 16 * MIB)
    for number in range(8):
        web.add(f"/{number}.flac", flac_like(number, 300 * KIB), length="chunked")
    queue_downloads(*(web.url + path for path in web.files))

    report = downloaded(one, two, workers=workers)

    assert (report.succeeded, report.failures) == (8, [])
    found = {
        f"/{path.name}": path.read_bytes() for root in (one, two) for path in root.glob("*.flac")
    }
    assert found == {path: file.content for path, file in web.files.items()}
    assert files_below(one)
    assert files_below(two)
    assert remains(one) == remains(two) == []
    assert rows(
        catalog, "SELECT library_root, COUNT(*) FROM file_locations GROUP BY 1 ORDER BY 1"
    ) == [(str(one), len(files_below(one))), (str(two), len(files_below(two)))]


def test_a_quota_counts_as_a_full_disk(web, queue_downloads, downloaded, tmp_path, monkeypatch):
    """statvfs knows nothing of quotas. Without one at hand, the system's answer is given here."""
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    write = os.write

    def refuse(fd, data):
        if str(Path(f"/proc/self/fd/{fd}").readlink()).startswith(str(one)):
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        return write(fd, data)

    monkeypatch.setattr(os, "write", refuse)
    queue_downloads(web.add("/x.flac"), web.add("/y.flac"))

    assert downloaded(one, two, ask=nobody).succeeded == 2
    assert files_below(one) == []
    assert files_below(two) == ["x.flac", "y.flac"]


# --- all full -----------------------------------------------------------------------------------


def test_a_person_is_asked_once_and_all_workers_go_on_in_that_folder(
    web, queue_downloads, downloaded, disk, tmp_path, catalog
):
    full = disk("full", 256 * KIB)
    queue_downloads(*(web.add(f"/{i}.flac", flac_like(i, 200 * KIB)) for i in range(12)))
    more = tmp_path / "a" / "new" / "folder"
    person = Person(more)

    assert downloaded(full, ask=person).succeeded == 12
    assert len(person.questions) == 1
    assert person.questions[0].full == [full]
    assert 0 < person.questions[0].needed <= 200 * KIB
    assert len(files_below(full)) == 1
    assert len(files_below(more)) == 11
    assert remembered_roots(catalog) == [more]


def test_a_later_run_goes_on_in_the_folder_without_asking(
    web, queue_downloads, downloaded, disk, tmp_path
):
    full = disk("full", 256 * KIB)
    queue_downloads(web.add("/a.flac", flac_like("a", 300 * KIB)))
    downloaded(full, ask=Person(tmp_path / "more"))
    queue_downloads(web.add("/b.flac", flac_like("b", 300 * KIB)))

    assert downloaded(full, ask=nobody).succeeded == 1
    assert files_below(tmp_path / "more") == ["a.flac", "b.flac"]


def test_a_folder_that_will_not_do_is_asked_about_again_with_the_reason(
    web, queue_downloads, downloaded, disk, tmp_path
):
    full, tiny = disk("full", 256 * KIB), disk("tiny", 256 * KIB)
    (tmp_path / "file").write_text("not a folder")
    queue_downloads(web.add("/a.flac", flac_like("a", 300 * KIB)))
    person = Person(full / "inside", full, tmp_path / "file", tiny, tmp_path / "good")

    assert downloaded(full, ask=person).succeeded == 1

    troubles = [question.trouble or "" for question in person.questions]
    for part, trouble in zip(
        ("", "lies inside", "is full, too", "cannot be written", "is full, too"),
        troubles,
        strict=True,
    ):
        assert part in trouble


@pytest.mark.parametrize("ask", [None, "declines"])
def test_with_nobody_to_name_a_folder_the_run_stops_and_the_rest_stays_queued(
    web, queue_downloads, downloaded, disk, catalog, ask
):
    full = disk("full", 256 * KIB)
    queue_downloads(*(web.add(f"/{i}.flac", flac_like(i, 200 * KIB)) for i in range(6)))
    person = Person(None)

    with pytest.raises(RunAborted) as caught:
        downloaded(full, ask=person if ask else None)

    assert isinstance(caught.value.cause, NoRoomError)
    assert str(full) in caught.value.message
    assert "--library-root" in (caught.value.hint or "")
    assert caught.value.exit_code == 1
    assert caught.value.report.succeeded == len(files_below(full)) == 1
    assert len(person.questions) <= 1
    assert remains(full) == []
    assert rows(
        catalog, "SELECT status, COUNT(*), MAX(lease_owner) FROM download_tasks GROUP BY 1"
    ) == [("pending", 5, None), ("succeeded", 1, None)]


def test_a_file_that_has_its_room_may_finish_when_there_is_none_for_others(
    web, queue_downloads, downloaded, disk
):
    """It is held until the run has heard that nobody names another folder."""
    full = disk("full", 256 * KIB)
    queue_downloads(*(web.add(f"/{i}.flac", flac_like(i, 200 * KIB)) for i in range(4)))
    heard = threading.Event()
    asked = Person(None)
    web.pace = lambda r: heard.wait(PATIENCE) if r.sent else None

    with pytest.raises(RunAborted) as caught:
        downloaded(full, ask=asked, progress=lambda _: asked.questions and heard.set())

    assert caught.value.report.succeeded == len(files_below(full)) == 1


def test_room_that_has_been_made_is_used_by_the_next_run(web, queue_downloads, downloaded, disk):
    full = disk("full", 512 * KIB)
    (full / "ballast").write_bytes(bytes(400 * KIB))
    queue_downloads(web.add("/a.flac", flac_like("a", 300 * KIB), length="chunked"))
    with pytest.raises(RunAborted):
        downloaded(full)
    (full / "ballast").unlink()

    assert downloaded(full).succeeded == 1


def test_a_root_that_looks_unmounted_gets_nothing(
    web, queue_downloads, downloaded, library, scanned, catalog
):
    """Else the next scan would take all that was there for deleted."""
    file = library.add("old.flac")
    scanned()
    file.unlink()
    queue_downloads(web.add("/x.flac"))

    with pytest.raises(LibraryError, match="mounted"):
        downloaded()

    assert web.requests == []
    Disks(catalog, [library.root], allow_empty=True)


def test_a_root_that_cannot_be_written_to_ends_the_run_with_the_tasks_queued(
    web, queue_downloads, downloaded, disk, catalog
):
    root = disk("read-only", MIB)
    subprocess.run(["mount", "-o", "remount,ro", str(root)], check=True, timeout=PATIENCE)
    queue_downloads(web.add("/x.flac"))

    with pytest.raises(RunAborted, match="Read-only"):
        downloaded(root)

    assert rows(catalog, "SELECT status FROM download_tasks") == ["pending"]


# --- file systems that lack something -----------------------------------------------------------


@pytest.mark.parametrize("code", [errno.EPERM, errno.EOPNOTSUPP])
def test_without_hard_links_no_file_is_overwritten_either(
    web, queue_downloads, downloaded, library, monkeypatch, code
):
    """As on exFAT, which answers so."""

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "link", refuse)
    mine = library.add("x.flac").read_bytes()
    queue_downloads(web.add("/x.flac"))

    assert downloaded().succeeded == 1
    assert library.contents() == {"x.flac": mine, "x (2).flac": web.files["/x.flac"].content}
    assert remains(library.root) == []


def test_a_folder_on_another_disk_is_said(
    web, queue_downloads, downloaded, disk, library, tmp_path
):
    (library.root / "A").symlink_to(disk("other", MIB))
    queue_downloads(web.add("/x.flac"), title="T", artist="A", album="B")

    assert downloaded().failures[0].code == "AnotherDisk"


def test_a_file_where_a_folder_should_be_is_said_and_kept(
    web, queue_downloads, downloaded, library
):
    (library.root / "A").write_text("mine")
    queue_downloads(web.add("/x.flac"), title="T", artist="A", album="B")

    assert downloaded().failures[0].code == "NameTaken"
    assert library.contents() == {"A": b"mine"}
