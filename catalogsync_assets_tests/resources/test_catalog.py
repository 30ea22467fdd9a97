"""The catalog as a Dagster resource."""

import psutil
import pytest

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.errors import CatalogError
from catalogsync_assets.resources import CatalogResource


@pytest.fixture
def other(tmp_path):
    path = tmp_path / "other.db"
    Catalog.initialise(path)[0].close()
    return path


def test_it_opens_the_catalog_that_the_environment_names_when_it_is_opened(
    catalog, other, monkeypatch
):
    resource = CatalogResource()
    for path in (catalog.path, other):
        monkeypatch.setenv("CATALOGSYNC_DB", str(path))
        with resource.open() as opened:
            assert opened.path == path


def test_a_location_of_its_own_comes_before_the_environment(catalog, other, monkeypatch):
    monkeypatch.setenv("CATALOGSYNC_DB", str(catalog.path))

    for location in (str(other), f"sqlite:///{other}"):
        with CatalogResource(location=location).open() as opened:
            assert opened.path == other


def test_nothing_of_it_is_open_after_the_block_even_if_that_fails(other):
    def open_files():
        return [f.path for f in psutil.Process().open_files() if f.path.startswith(str(other))]

    with (
        pytest.raises(RuntimeError, match="stop"),
        CatalogResource(location=str(other)).open() as opened,
        opened.read() as connection,
    ):
        connection.exec_driver_sql("SELECT 1 FROM songs")
        assert open_files()
        raise RuntimeError("stop")

    assert open_files() == []


def test_a_missing_catalog_is_not_made(tmp_path):
    with (
        pytest.raises(CatalogError, match="there is no catalog"),
        CatalogResource(location=str(tmp_path / "absent.db")).open(),
    ):
        pass

    assert list(tmp_path.iterdir()) == []
