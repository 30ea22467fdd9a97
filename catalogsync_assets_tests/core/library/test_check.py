"""The local files that the catalog knows are looked for, one by one."""

from catalogsync_assets.core.library.check import check_local_files


def test_files_that_are_gone_or_of_another_size_are_named(catalog, library, scanned):
    _, gone, _, other, _ = library.fill(5, size=1000)
    scanned()
    assert check_local_files(catalog).absent == 0

    gone.unlink()
    other.write_bytes(bytes(999))
    found = check_local_files(catalog)

    assert (found.checked, found.absent) == (5, 2)
    assert found.examples == [
        (str(gone), "No such file or directory"),
        (str(other), "999 bytes, 1,000 when it was scanned"),
    ]


def test_all_are_counted_and_some_are_named(catalog, library, scanned, tmp_path):
    library.fill(5)
    scanned()
    library.root.rename(tmp_path / "unplugged")

    found = check_local_files(catalog, examples=2)

    assert (found.checked, found.absent, len(found.examples)) == (5, 5, 2)


def test_a_file_that_a_scan_has_missed_already_is_not_looked_for(catalog, library, scanned):
    gone, _ = library.fill(2)
    scanned()
    gone.unlink()
    scanned()

    assert (check_local_files(catalog).checked, check_local_files(catalog).absent) == (1, 0)
