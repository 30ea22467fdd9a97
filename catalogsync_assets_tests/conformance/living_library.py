"""A library is renamed, swapped, moved, copied, retagged and deleted from in one night.

One scan and one upload later everything is as a person would want it, and nothing was sent but what
is new.
"""

import pytest

from catalogsync_assets.core.catalog.scope import EVERYTHING
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.library.forget import Request, forget, plan
from catalogsync_assets.core.restore.restore import restore
from catalogsync_assets_tests.support.audio_files import tagged
from catalogsync_assets_tests.support.database import change, rows
from catalogsync_assets_tests.support.living import Living

ENTRIES = "SELECT playlist_id, position, song_id FROM playlist_entries ORDER BY 1, 2"
PLACES = """
SELECT l.absolute_path, f.id, f.song_id FROM file_locations l
JOIN storage_backends b ON b.id = l.backend_id AND b.backend_type = 'local'
JOIN file_assets f ON f.id = l.file_asset_id WHERE l.status = 'active'
"""


class LivingLibrary:
    """On a store whose objects follow their files."""

    @pytest.mark.parametrize("count", [120, pytest.param(5_000, marks=pytest.mark.thorough)])
    def test_a_library_lives_and_nothing_is_lost_or_sent_again(
        self, tmp_path, scanned, uploaded, catalog, backend, remote, count
    ):
        cloud = backend(layout="path")
        other = tmp_path / "other"
        other.mkdir()
        living = Living(tmp_path / "music", other, count)
        tagged(other / "Here before.mp3", "mp3 id3", title=["Here before"])
        roots = (living.root, living.other)
        scanned(*roots)
        _make_playlists(catalog)
        assert uploaded(cloud).failed == 0
        before = {place: (asset, song) for place, asset, song in rows(catalog, PLACES)}
        entries = rows(catalog, ENTRIES)
        songs = rows(catalog, "SELECT COUNT(*) FROM songs")

        copies = living.live()
        report = scanned(*roots)
        sent = uploaded(cloud)

        assert (report.missing, report.suspected) == (len(living.deleted), 0)
        assert (report.new, report.changed) == (copies, len(living.retagged))
        now = {place: (asset, song) for place, asset, song in rows(catalog, PLACES)}
        retagged = set(living.retagged)
        for old, new in living.now.items():
            asset, song = before[str(old)]
            assert now[str(new)][1] == song, new
            assert (now[str(new)][0] == asset) == (old not in retagged), new
        assert sent.failed == 0
        assert sent.bytes == sum(living.now[file].stat().st_size for file in living.retagged)
        assert rows(catalog, ENTRIES) == entries
        assert rows(catalog, "SELECT COUNT(*) FROM songs") == songs

        contents = living.contents()
        held = remote(cloud).contents()
        assert {path: held.get(path) for path in contents} == contents
        local, store = backend_status(catalog)
        assert (store.songs, store.songs_partial, store.songs_absent) == (store.songs_total, 0, 0)
        assert (local.missing, store.pending) == (len(living.deleted), 0)

        request = Request(gone=False, days=None, paths=tuple(map(str, living.deleted)))
        assert forget(catalog, plan(catalog, request)).files == len(living.deleted)
        target = tmp_path / "restored"
        restore(catalog, target, scope=EVERYTHING, backend=cloud)
        restored = {str(p.relative_to(target)): p for p in target.rglob("*") if p.is_file()}
        assert {path: p.read_bytes() for path, p in restored.items()} == contents


def _make_playlists(catalog):
    change(catalog, "INSERT INTO playlists (id, name) VALUES (1, 'every third'), (2, 'backwards')")
    for playlist, order in ((1, "id"), (2, "-id")):
        which = "WHERE id % 3 = 0" if playlist == 1 else ""
        change(
            catalog,
            "INSERT INTO playlist_entries (playlist_id, position, song_id)"
            f" SELECT {playlist}, ROW_NUMBER() OVER (ORDER BY {order}), id FROM songs {which}",
        )
        change(
            catalog,
            "INSERT INTO playlist_songs (playlist_id, song_id, position)"
            f" SELECT {playlist}, song_id, position FROM playlist_entries"
            f" WHERE playlist_id = {playlist}",
        )
