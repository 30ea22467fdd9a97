"""The local files that the catalog knows are looked for, one by one."""

from catalogsync_assets.core.library.check import check_local_files
from catalogsync_assets.core.library.scan import scan


def test_files_that_are_gone_or_of_another_size_are_named(catalog, tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    for number in range(5):
        (music / f"{number}.mp3").write_bytes(bytes(1000))
    scan(catalog, [music])
    assert check_local_files(catalog).absent == 0

    (music / "1.mp3").unlink()
    (music / "3.mp3").write_bytes(bytes(999))
    found = check_local_files(catalog)

    assert (found.checked, found.absent) == (5, 2)
    assert found.examples == [
        (str(music / "1.mp3"), "No such file or directory"),
        (str(music / "3.mp3"), "999 bytes, 1,000 when it was scanned"),
    ]


def test_all_are_counted_and_some_are_named(catalog, tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    for number in range(5):
        (music / f"{number}.mp3").write_bytes(bytes(10))
    scan(catalog, [music])
    music.rename(tmp_path / "unplugged")

    found = check_local_files(catalog, examples=2)

    assert (found.checked, found.absent, len(found.examples)) == (5, 5, 2)


def test_a_file_that_a_scan_has_missed_already_is_not_looked_for(catalog, tmp_path):
    music = tmp_path / "music"
    music.mkdir()
    for number in range(2):
        (music / f"{number}.mp3").write_bytes(bytes(10))
    scan(catalog, [music])
    (music / "0.mp3").unlink()
    scan(catalog, [music])

    assert (check_local_files(catalog).checked, check_local_files(catalog).absent) == (1, 0)
