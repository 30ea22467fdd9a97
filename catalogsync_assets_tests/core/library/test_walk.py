"""Walking a root: order, and names that nobody would choose."""

import errno
import os
import unicodedata
from contextlib import contextmanager
from pathlib import Path

import pytest

from catalogsync_assets.core.errors import LibraryError
from catalogsync_assets.core.files.opening import FileStat
from catalogsync_assets.core.library.walk import FoundFile, Problem, walk
from catalogsync_assets_tests.support.files import unprivileged


def found(root: Path) -> list[str]:
    return [item.path for item in walk(root) if isinstance(item, FoundFile)]


def problems(root: Path) -> list[Problem]:
    return [item for item in walk(root) if isinstance(item, Problem)]


def test_files_come_sorted_by_their_bytes(library):
    names = [
        *("b.mp3", "a.mp3", "a/z.mp3", "a b/c.mp3", "a-/c.mp3", "A.mp3", "é.mp3", "𝄞.mp3"),
        *("ﬀ.mp3", "Ä.mp3", unicodedata.normalize("NFD", "Ä.mp3")),
        *("x" * 251 + ".mp3", "ü" * 125 + ".mp3"),
    ]
    for name in names:
        library.add(name)

    assert found(library.root) == sorted(names, key=str.encode)


def test_only_audio_files_and_what_belongs_to_them_are_found(library):
    for name in ("a.mp3", "b.FLAC", "cover.jpg", "notes.TXT", "ogg", "c.opus.part", "._a.mp3"):
        library.add(name)

    assert found(library.root) == ["a.mp3", "b.FLAC", "cover.jpg", "notes.TXT"]
    assert problems(library.root) == []


def test_sizes_and_times_are_those_of_the_disk(library):
    path = library.add("a.mp3", b"x" * 123)

    (file,) = walk(library.root)
    status = path.stat()
    assert (file.path, file.stat) == ("a.mp3", FileStat.of(status))
    assert file.stat[:4] == (123, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


@pytest.mark.parametrize(
    "name",
    [
        *(" lead.mp3", "trail .mp3", "a\\b.mp3", "%41.mp3", "a#?&=.mp3", "~.mp3", "'\"`.mp3"),
        "…mp3.mp3",
    ],
)
def test_an_unusual_name_is_still_a_file(library, name):
    library.add(name)

    assert found(library.root) == [name]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"\xff\xfe.mp3", r"\xff\xfe.mp3"),
        (b"line\nbreak.mp3", r"line\nbreak.mp3"),
        (b"bell\x07.mp3", r"bell\x07.mp3"),
        (b"del\x7f.mp3", r"del\x7f.mp3"),
    ],
)
@pytest.mark.parametrize("of_a_folder", [False, True])
def test_a_name_that_no_store_would_take_is_reported_and_the_rest_found(
    library, name, shown, of_a_folder
):
    library.add("a.mp3")
    library.add("zz.mp3")
    path = os.fsencode(library.root) + b"/" + name
    if of_a_folder:
        Path(os.fsdecode(path)).mkdir()
        shown += "/"
        path += b"/song.mp3"
    Path(os.fsdecode(path)).write_bytes(b"")

    assert found(library.root) == ["a.mp3", "zz.mp3"]
    (problem,) = problems(library.root)
    assert problem.path == shown
    assert "rename it" in problem.reason
    assert problem.path.encode().decode().isprintable()


def deep_folder(root: Path, levels: int, name: str) -> list[Path]:
    """Folders in each other, outermost first."""
    folders = [root]
    for _ in range(levels):
        folders.append(folders[-1] / name)
        folders[-1].mkdir()
    return folders[1:]


def remove(folders: list[Path]) -> None:
    """Innermost first: what else cleans up after a test may not go so deep."""
    for folder in reversed(folders):
        for file in folder.glob("*.mp3"):
            file.unlink()
        folder.rmdir()


def test_a_very_deep_folder_is_walked_to_its_end(library):
    library.add("zz.mp3")
    folders = deep_folder(library.root, 700, "d")
    try:
        (folders[-1] / "deepest.mp3").touch()

        assert found(library.root) == ["d/" * 700 + "deepest.mp3", "zz.mp3"]
    finally:
        remove(folders)


def test_a_path_that_is_too_long_for_the_system_is_reported(library):
    library.add("zz.mp3")
    at_first = os.open(library.root, os.O_RDONLY)
    opened = [at_first]
    try:
        # Deeper than any path can name: each folder is made from within the last.
        for _ in range(20):
            os.mkdir("d" * 250, dir_fd=opened[-1])
            opened.append(os.open("d" * 250, os.O_RDONLY, dir_fd=opened[-1]))

        assert found(library.root) == ["zz.mp3"]
        (problem,) = problems(library.root)
        assert "cannot be listed" in problem.reason
        assert problem.hides is not None
    finally:
        for inner in reversed(opened[:-1]):
            os.rmdir("d" * 250, dir_fd=inner)
        for descriptor in opened:
            os.close(descriptor)


def test_a_link_to_a_folder_is_reported_and_not_entered(library, another_library):
    elsewhere = another_library("elsewhere")
    elsewhere.add("a.mp3")
    library.add("b.mp3")
    (library.root / "link").symlink_to(elsewhere.root)

    assert found(library.root) == ["b.mp3"]
    (problem,) = problems(library.root)
    assert problem.path == "link"


def test_links_in_a_circle_are_harmless(library):
    library.add("x/a.mp3")
    (library.root / "x" / "up").symlink_to(library.root)
    (library.root / "self").symlink_to("self")
    (library.root / "self.mp3").symlink_to("self.mp3")

    assert found(library.root) == ["x/a.mp3"]


def test_a_link_to_a_file_is_that_file(library, tmp_path):
    (tmp_path / "real.mp3").write_bytes(b"x" * 77)
    (library.root / "link.mp3").symlink_to(tmp_path / "real.mp3")
    (library.root / "broken.mp3").symlink_to(tmp_path / "no such file")

    (file,) = (item for item in walk(library.root) if isinstance(item, FoundFile))
    assert (file.path, file.status.st_size) == ("link.mp3", 77)
    assert [problem.hides for problem in problems(library.root)] == ["broken.mp3"]


def test_what_only_looks_like_a_file_is_reported(library):
    os.mkfifo(library.root / "pipe.mp3")
    library.add("folder.mp3/a.mp3")

    assert found(library.root) == ["folder.mp3/a.mp3"]
    assert [problem.path for problem in problems(library.root)] == ["pipe.mp3"]


def test_a_folder_that_may_not_be_read_is_reported(public_folder):
    for name in ("a", "closed", "z"):
        (public_folder / name).mkdir()
        (public_folder / name / "song.mp3").touch()
    (public_folder / "closed").chmod(0o000)

    with unprivileged():
        assert found(public_folder) == ["a/song.mp3", "z/song.mp3"]
        (problem,) = problems(public_folder)

    assert (problem.path, problem.hides) == ("closed/", "closed/")


@pytest.mark.parametrize("what", ["missing", "file"])
def test_a_root_that_is_no_folder_is_one_clear_error(tmp_path, what):
    (tmp_path / "file").touch()

    with pytest.raises(LibraryError, match="cannot be read") as caught:
        list(walk(tmp_path / what))

    assert "mounted" in (caught.value.hint or "")


def test_an_entry_that_cannot_be_looked_at_hides_itself_alone(library, monkeypatch):
    """As on a file system whose listings do not say what is a folder, with a bad block."""

    class Bad:
        def __init__(self, entry):
            self.name, self.path, self._entry = entry.name, entry.path, entry

        def is_dir(self, **options):
            if self.name.startswith("bad"):
                raise OSError(errno.EIO, "Input/output error")
            return bool(self._entry.is_dir(**options))

        def __getattr__(self, name):
            return getattr(self._entry, name)

        def __fspath__(self):
            return str(self.path)

    @contextmanager
    def scandir(folder):
        with real(folder) as found:
            yield [Bad(entry) for entry in found]

    for name in ("a.mp3", "bad/b.mp3", "bad.mp3", "c/d.mp3"):
        library.add(name)
    real = os.scandir
    monkeypatch.setattr(os, "scandir", scandir)

    assert found(library.root) == ["a.mp3", "c/d.mp3"]
    assert [problem.hides for problem in problems(library.root)] == ["bad.mp3", "bad/"]
