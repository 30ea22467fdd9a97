"""A value that cannot stand in its column is told with its row."""

from __future__ import annotations

import pytest

from catalogsync_assets.core.catalog.invalid_rows import explain, explained
from catalogsync_assets.core.errors import CatalogError, UsageError
from catalogsync_assets.resources.catalog import CatalogResource
from catalogsync_assets_tests.support.database import change, rows


@pytest.fixture
def spoilt(library, scanned, cloud, catalog):
    """`spoilt("file_assets.size_bytes", "'abc'")`: in one row of a catalog with three files."""
    library.fill(3)
    scanned()

    def spoil(column, value):
        table, name = column.split(".")
        last = f"(SELECT MAX(rowid) FROM {table})"
        change(catalog, f"UPDATE {table} SET {name} = {value} WHERE rowid = {last}")
        catalog.close()
        return catalog

    return spoil


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("file_assets.size_bytes", "'abc'", "id 3: size_bytes is 'abc', which is not a whole num"),
        ("file_locations.mtime_ns", "x'00'", r"id 3: mtime_ns is b'\\x00', which is not a whole"),
        ("file_locations.verified_at", "'soon'", "id 3: verified_at is 'soon', which is not a tim"),
        ("file_locations.verified_at", "2026", "id 3: verified_at is 2026, which is not a time"),
        ("file_assets.duration_seconds", "9e999", "id 3: duration_seconds is inf, which is not a"),
        ("songs.title", "x'ff'", r"id 3: title is b'\\xff', which is not text in UTF-8"),
        ("songs.title", "CAST(x'ff' AS TEXT)", r"id 3: title is '\\\\xff', which is not text in"),
        (
            "file_assets.size_bytes",
            "-5",
            "id 3: size_bytes is -5, which is not a whole number from 0 on",
        ),
        ("file_assets.sha256", "'xyz'", "id 3: sha256 is 'xyz', which is not 64 hexadecimal"),
        ("file_assets.sha256", "x'ab'", r"id 3: sha256 is b'\\xab', which is not 64 hexadecimal"),
        ("storage_backends.config", "'{'", "id 2: config is '{', which is not JSON"),
    ],
)
def test_the_row_of_an_impossible_value_is_named(spoilt, column, value, said):
    catalog = spoilt(column, value)

    expected = pytest.raises(
        CatalogError, match=f"table {column.partition('.')[0]}, row with {said}"
    )
    with expected, explained(catalog):
        raise TypeError("unsupported operand")


def test_other_errors_stay_what_they_are(spoilt):
    catalog = spoilt("file_assets.size_bytes", "12")

    assert explain(TypeError("ours"), catalog) is None
    catalog = spoilt("file_assets.size_bytes", "'abc'")
    for error in (UsageError("no"), CatalogError("locked"), RuntimeError("x"), OSError("x")):
        assert explain(error, catalog) is None


def test_a_command_names_the_row(cli, spoilt, library):
    spoilt("file_assets.size_bytes", "'abc'")

    result = cli("restore", "--all", "--to", library.root.parent / "new", "--dry-run", "--json")

    assert result.code == 1
    assert "table file_assets, row with id 3: size_bytes is 'abc'" in result.json["error"]


def test_a_step_of_the_pipeline_names_the_row(spoilt):
    catalog = spoilt("file_assets.size_bytes", "'abc'")
    resource = CatalogResource(location=str(catalog.path))

    with pytest.raises(CatalogError, match="table file_assets, row with id 3"), resource.open():
        raise ValueError("not a number")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("{", "is '{'"),
        ("[1]", "is not a JSON object"),
        ('{"endpoint": 5}', "has 5 as endpoint, which is not text"),
    ],
)
def test_a_backend_whose_settings_cannot_be_read_does_not_pass_for_one_of_aws(
    cli, catalog, cloud, config, said
):
    change(catalog, f"UPDATE storage_backends SET config = '{config}' WHERE name = 'cloud'")
    catalog.close()

    for arguments in (("backends",), ("upload", "--backend", "cloud"), ("plan",)):
        result = cli(*arguments)

        assert result.code == 1
        assert f"table storage_backends, row with id 1: config {said}" in result.err


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("file_assets", "size_bytes", "-5"),
        ("file_assets", "sha256", "'xyz'"),
        ("file_assets", "sha256", "x'ab'"),
        ("file_assets", "sha256", "CAST(x'ab' AS TEXT)"),
        ("file_locations", "size_bytes", "'abc'"),
    ],
)
def test_no_command_judges_an_object_by_a_size_or_digest_that_cannot_be(
    cli, catalog, library, scanned, cloud, backend, tmp_path, table, column, value
):
    library.fill(2)
    scanned()
    backend("spare")
    assert cli("upload", "--backend", "cloud").code == 0
    change(catalog, f"UPDATE {table} SET {column} = {value}")
    catalog.close()
    said = f"table {table}, row with id "
    wrong = []
    for command in (
        "verify --backend cloud",
        "verify --backend cloud --level full",
        f"restore --all --to {tmp_path}/new",
        "offload --keep-copies 1",
        "offload --keep-copies 1 --delete",
        "upload --backend spare",
        "export catalog --output all.csv",
    ):
        result = cli(*command.split())
        if result.code != 1 or said not in result.err or f": {column} is " not in result.err:
            wrong.append((command, result))
    change(catalog, f"DELETE FROM file_locations WHERE backend_id = {cloud.id}")
    result = cli("adopt", "--backend", "cloud")

    assert wrong == []
    assert said in result.err
    assert set(rows(catalog, "SELECT status FROM file_locations")) == {"active"}
    assert len(list(library.contents())) == 2


def test_a_digest_in_capitals_is_one(cli, catalog, library, scanned, cloud, tmp_path):
    library.fill(2)
    scanned()
    cli("upload", "--backend", "cloud")
    change(catalog, "UPDATE file_assets SET sha256 = UPPER(sha256)")
    catalog.close()

    assert cli("verify", "--backend", "cloud", "--level", "full").code == 0
    assert cli("restore", "--all", "--to", tmp_path / "new").code == 0
    assert cli("offload", "--keep-copies", "1", "--delete").code == 0
    assert list(library.contents()) == []
