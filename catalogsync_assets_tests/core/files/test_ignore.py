"""What is left out of a library: the folders of other programs, and what patterns name."""

import os
import unicodedata

import pytest

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.files.names import safe_name
from catalogsync_assets.core.library.walk import FoundFile, LeftOut, Problem, walk


def found(library):
    """The files of the library, but for those of rules, which come along."""
    files = [item.path for item in walk(library.root) if isinstance(item, FoundFile)]
    return [path for path in files if not path.endswith(".catalogsyncignore")]


def left_out(library):
    return [item.path for item in walk(library.root) if isinstance(item, LeftOut)]


def problems(library):
    return [item for item in walk(library.root) if isinstance(item, Problem)]


SERVICE = [
    *("#recycle", "@Recycle", ".recycle", ".Recycle.Bin", "$RECYCLE.BIN", "RECYCLER"),
    *(".Trashes", ".Trash", ".Trash-1000", "#snapshot", "@Recently-Snapshot", ".snapshots"),
    *(".snapshot", "~snapshot", ".zfs", "@GMT-2026.01.31-12.00.00", "@eaDir", ".@__thumb"),
    *("@Transcode", ".SynologyWorkingDirectory", "@tmp", ".AppleDouble", ".Spotlight-V100"),
    *(".TemporaryItems", "System Volume Information", "lost+found", "FOUND.000"),
    *(".git", ".hg", ".svn", ".stversions", ".stfolder", ".sync", ".dropbox.cache", ".~tmp~"),
    *("@__thumb", ".insync-trash", "files_trashbin", "files_versions", ".trashcan", ".ckpt"),
    *("_gsdata_", ".unwanted", ".mutagen-temporary-1", "RecycleBin.ffs_tmp"),
]


@pytest.mark.parametrize("name", SERVICE)
def test_folders_of_other_programs_are_left_out_however_they_are_written(library, name):
    for folder in {name, name.lower(), name.upper()}:
        library.add(f"x/{folder}/y/a.mp3")
    library.add("x/a.mp3")

    assert found(library) == ["x/a.mp3"]
    assert f"x/{name}/" in left_out(library)
    assert safe_name(name) not in {name, name.rstrip(".")}  # no download is hidden by its name


def test_contents_of_git_annex_are_left_out_wherever_it_keeps_them(library):
    """In a bare repository, and in a special remote of folders, names are those of keys."""
    digest = "0123456789abcdef" * 4
    for key in (f"SHA256E-s31337--{digest}.flac", "WORM-s3-m1289672605--a b.mp3"):
        library.add(f"music.git/annex/objects/1a2/b3c/{key}/{key}")
        library.add(f"chunks/{key}")
        assert safe_name(key) != key
    library.add("SHA256 - s1/a--b.mp3")

    assert found(library) == ["SHA256 - s1/a--b.mp3"]


def test_albums_with_names_alike_are_not(library):
    names = ["Recycle", "Trash", "snapshots", "Recycler Blues", "sync", "git", "Trash-1000", "@"]
    for name in names:
        library.add(f"{name}/a.mp3")

    assert found(library) == sorted(f"{name}/a.mp3" for name in names)


def test_files_of_other_programs_are_left_out_and_ours_never_show(library):
    for name in ("._a.mp3", ".trashed-1700000000-a.mp3", ".pending-1-a.mp3", "a.mp3"):
        library.add(name)
    library.add(".catalogsync/x.mp3")
    library.add(".catalogsync-offload-1.mp3")
    library.add(".catalogsyncignore", b"!.catalogsync*\n")

    assert found(library) == ["a.mp3"]
    assert left_out(library) == ["._a.mp3", ".pending-1-a.mp3", ".trashed-1700000000-a.mp3"]


@pytest.mark.parametrize(
    ("patterns", "kept"),
    [
        ("B/\n", ["#recycle.mp3", "A/1.flac", "A/1.mp3"]),
        ("*.mp3\n!/A/*.mp3\n", ["A/1.flac", "A/1.mp3", "B/A/2.flac"]),
        ("*\n!*/\n!*.flac\n", ["A/1.flac", "B/A/2.flac"]),
        ("# a comment\r\n/A/\r\n", ["#recycle.mp3", "B/A/2.flac", "B/A/2.mp3"]),
        ("\ufeffA/\n", ["#recycle.mp3"]),
        ("B/*\n!B/A/\n", ["#recycle.mp3", "A/1.flac", "A/1.mp3", "B/A/2.flac", "B/A/2.mp3"]),
        ("!\\#recycle/\n*.flac\n[AB]/\n", ["#recycle.mp3", "#recycle/3.mp3"]),
        # Nothing below a folder that is left out comes back, as with git.
        ("A/\n!A/1.mp3\n", ["#recycle.mp3"]),
    ],
)
def test_an_ignore_file_is_understood_as_git_does(library, patterns, kept):
    for name in (
        "A/1.mp3",
        "A/1.flac",
        "B/A/2.mp3",
        "B/A/2.flac",
        "#recycle/3.mp3",
        "#recycle.mp3",
    ):
        library.add(name)
    library.add(".catalogsyncignore", patterns.encode())

    assert found(library) == kept


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_an_ignore_file_is_read_as_editors_and_shells_write_it(library, encoding, end):
    """`echo Björk/ > .catalogsyncignore` is UTF-16 in Windows PowerShell."""
    for name in ("Björk/1.mp3", "B/1.wav", "B/1.mp3"):
        library.add(name)
    library.add(".catalogsyncignore", f"Björk/{end}*.wav{end}".encode(encoding))

    assert found(library) == ["B/1.mp3"]
    assert problems(library) == []


def test_patterns_hold_below_their_folder_and_inner_ones_decide(library, monkeypatch):
    monkeypatch.setenv("CATALOGSYNC_IGNORE", "*.wav:Demos/\n\\#private/")
    library.add("A/.catalogsyncignore", b"/Live/\n!*.wav\n")
    for name in (
        "1.wav",
        "A/1.wav",
        "A/Live/1.mp3",
        "B/Live/1.mp3",
        "A/Demos/1.mp3",
        "#private/1.mp3",
    ):
        library.add(name)

    assert found(library) == ["A/1.wav", "B/Live/1.mp3"]
    assert left_out(library) == ["#private/", "1.wav", "A/Demos/", "A/Live/"]


def test_composed_and_decomposed_names_mean_the_same(library):
    for form in ("NFC", "NFD"):
        library.add(unicodedata.normalize(form, "Björk/Début/") + f"{form}.mp3")
        library.add(unicodedata.normalize(form, "Ä/") + f"{form}.mp3")
    library.add(unicodedata.normalize("NFD", "Ä/.catalogsyncignore"), b"*.mp3\n")
    library.add(".catalogsyncignore", "Björk/\n".encode())

    assert found(library) == ["Ä/NFC.mp3"]


def test_an_ignore_file_that_cannot_be_read_is_one_warning(library, tmp_path):
    library.add("a/1.mp3")
    library.add("b/1.mp3")
    library.add("c/1.mp3")
    (tmp_path / "patterns").write_text("*\n")
    (library.root / ".catalogsyncignore").symlink_to(tmp_path / "patterns")
    os.mkfifo(library.root / "a" / ".catalogsyncignore")
    library.add("b/.catalogsyncignore", b"*\n\0\0\0\0")
    library.add("c/.catalogsyncignore", b"!\n*.flac\n[z-a]\n")

    assert found(library) == ["a/1.mp3", "b/1.mp3", "c/1.mp3"]
    assert [(p.path, p.reason) for p in problems(library)] == [
        (".catalogsyncignore", "its patterns are ignored: it is a link"),
        ("a/.catalogsyncignore", "its patterns are ignored: not a regular file"),
        ("b/.catalogsyncignore", "its patterns are ignored: it is not text in UTF-8"),
        ("c/.catalogsyncignore", "line 1 is not a pattern: !"),
        ("c/.catalogsyncignore", "line 3 is not a pattern: [z-a]"),
    ]


def test_a_setting_that_is_no_pattern_is_wrong_use(library, monkeypatch):
    monkeypatch.setenv("CATALOGSYNC_IGNORE", "*.wav:!")

    with pytest.raises(ConfigurationError, match="CATALOGSYNC_IGNORE: '!' is not a pattern"):
        found(library)


def test_the_file_of_rules_is_kept_as_the_files_beside_the_music_are(library):
    library.add("a/.catalogsyncignore", b"x/\n")
    library.add("b/.catalogsyncignore", b".catalogsyncignore\n")
    library.add("a/.catalogsyncignored", b"")
    kept = [f for f in walk(library.root) if isinstance(f, FoundFile)]
    assert [(f.path, f.companion) for f in kept] == [("a/.catalogsyncignore", "rules")]
