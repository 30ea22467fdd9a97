"""Parts: what may be gone on from, who holds them, and in which order a file gets its name."""

import json
import os
from pathlib import Path

import pytest

from catalogsync_assets.core.errors import DownloadError, SourceUnavailableError
from catalogsync_assets.core.files import partial
from catalogsync_assets.core.files.partial import FOLDER, Notes, PartialFile

BEGINNING = b"fLaC" + bytes(100)


@pytest.fixture
def begun(tmp_path):
    """`begun(**notes)`: a part that was left in the middle, opened again."""

    def make(**notes):
        first = PartialFile(tmp_path, "catalog-1")
        first.open()
        first.begin(Notes(**notes))
        first.append(BEGINNING)
        first.close()
        again = PartialFile(tmp_path, "catalog-1")
        again.open()
        return again

    return make


def machine_was_started_anew(root: Path) -> None:
    (notes,) = (root / FOLDER).glob("*.json")
    notes.write_text(json.dumps({**json.loads(notes.read_text()), "boot": "another"}))


def test_a_part_is_gone_on_from_with_what_is_known_of_it(begun):
    part = begun(validator='"one"', total=200, name="x.flac")

    resume = part.resume(checked=False)

    assert (resume.offset, resume.validator) == (len(BEGINNING), '"one"')
    assert part.notes.name == "x.flac"
    assert part.resumed
    assert not part.is_whole(checked=False)


def test_without_a_validator_only_a_digest_allows_to_go_on(begun):
    part = begun(total=200)

    assert part.resume(checked=False) is None
    assert part.resume(checked=True).offset == len(BEGINNING)


def test_what_was_written_before_the_machine_went_down_is_not_trusted_without_a_digest(
    begun, tmp_path
):
    """It may have a hole where the system had not yet written."""
    begun(validator='"one"', total=len(BEGINNING)).close()
    machine_was_started_anew(tmp_path)
    part = PartialFile(tmp_path, "catalog-1")
    part.open()

    assert part.resume(checked=False) is None
    assert not part.is_whole(checked=False)
    assert part.resume(checked=True) is not None
    assert part.is_whole(checked=True)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"unknown": 1}', '"x"'])
def test_notes_that_cannot_be_read_are_none(begun, tmp_path, text):
    begun(validator='"one"').close()
    (notes,) = (tmp_path / FOLDER).glob("*.json")
    notes.write_text(text)
    part = PartialFile(tmp_path, "catalog-1")
    part.open()

    assert part.notes == Notes()
    assert part.resume(checked=False) is None


def test_a_part_is_held_by_one(begun, tmp_path):
    part = begun()

    with pytest.raises(SourceUnavailableError, match="another process"):
        PartialFile(tmp_path, "catalog-1").open()

    assert part.path.read_bytes() == BEGINNING
    part.close()
    PartialFile(tmp_path, "catalog-1").open()


def test_an_empty_part_leaves_nothing(tmp_path):
    part = PartialFile(tmp_path, "catalog-1")
    part.open()
    part.begin(Notes(validator='"one"'))
    part.close()
    part.close()

    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_place_of_a_part_is_not_followed(tmp_path):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "catalog-1.part").symlink_to(victim)

    with pytest.raises(OSError, match="symbolic"):
        PartialFile(tmp_path, "catalog-1").open()

    assert victim.read_text() == "mine"


def test_a_file_is_on_the_disk_before_it_has_its_name_and_its_folder_before_its_row(
    web, queue_downloads, downloaded, monkeypatch
):
    order = []
    fsync, link, record = os.fsync, os.link, partial.remove

    def note_fsync(fd):
        order.append(f"sync {Path(f'/proc/self/fd/{fd}').readlink().suffix or 'folder'}")
        fsync(fd)

    def note_link(source, target):
        order.append("name")
        link(source, target)

    def note_removal(root, name):
        order.append("notes go")
        record(root, name)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "link", note_link)
    monkeypatch.setattr(partial, "remove", note_removal)
    queue_downloads(web.add("/x.flac"))

    downloaded()

    assert order == ["sync .part", "name", "sync folder", "notes go"]


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda path: path.symlink_to("nowhere"), id="a link that leads nowhere"),
        pytest.param(Path.touch, id="a file"),
        pytest.param(os.mkfifo, id="a fifo"),
    ],
)
def test_what_has_the_name_of_the_folder_and_is_none_is_said(tmp_path, make):
    make(tmp_path / FOLDER)

    with pytest.raises(DownloadError, match="is not a folder") as refused:
        PartialFile(tmp_path, "catalog-1").open()

    assert refused.value.code == "NameTaken"
