"""A catalog with a playlist, made by hand: exports read rows, and no file is opened."""

from typing import Any

import pytest

from catalogsync_assets.core.catalog.backends import local_backend_id
from catalogsync_assets.core.catalog.database import Catalog


class Shelf:
    """Fills a catalog with songs, files and places."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        with catalog.transaction() as connection:
            self._local = local_backend_id(connection)

    def sql(self, statement: str, *values: Any) -> int:
        with self._catalog.transaction() as connection:
            return int(connection.exec_driver_sql(statement, values).lastrowid or 0)

    def song(self, title: str, **values: Any) -> int:
        columns = {"title": title, **values}
        marks = ", ".join("?" for _ in columns)
        return self.sql(
            f"INSERT INTO songs ({', '.join(columns)}) VALUES ({marks})", *columns.values()
        )

    def file(self, song, path=None, *, status="active", size=100, on=None, **values):
        """A file of a song, at a path below /music and under keys of backends."""
        columns = {"song_id": song, "size_bytes": size, "format": "mp3", **values}
        marks = ", ".join("?" for _ in columns)
        file = self.sql(
            f"INSERT INTO file_assets ({', '.join(columns)}) VALUES ({marks})", *columns.values()
        )
        if path is not None:
            self.sql(
                "INSERT INTO file_locations (file_asset_id, backend_id, locator, absolute_path,"
                " library_root, library_path, status) VALUES (?, ?, ?, ?, '/music', ?, ?)",
                *(file, self._local, path, f"/music/{path}", path, status),
            )
        for backend, key in (on or {}).items():
            self.sql(
                "INSERT INTO file_locations (file_asset_id, backend_id, container_name, locator,"
                " verified_at) SELECT ?, id, container_name, ?, '2026-01-02 03:04:05'"
                " FROM storage_backends WHERE id = ?",
                *(file, key, backend),
            )
        return file

    def playlist(self, name: str, *songs: int) -> int:
        playlist = self.sql("INSERT INTO playlists (name) VALUES (?)", name)
        for position, song in enumerate(songs, 1):
            self.sql("INSERT INTO playlist_songs VALUES (?, ?, ?)", playlist, song, position)
        return playlist


@pytest.fixture
def shelf(catalog):
    return Shelf(catalog)


@pytest.fixture
def exported(catalog):
    """`exported(export_playlist, "Evening", kind="csv", places=local())`: what is written."""
    import io

    def run(export, *arguments, **options):
        stream = io.BytesIO()
        export(catalog, *arguments, stream, **options)
        return stream.getvalue()

    return run
