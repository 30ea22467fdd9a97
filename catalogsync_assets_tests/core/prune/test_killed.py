"""A prune that is killed at any moment: no row is false, nothing but old weight is gone, and the
next one comes to the same end."""

import signal

import pytest

from catalogsync_assets.core.library import forget
from catalogsync_assets_tests.support.database import rows
from catalogsync_assets_tests.support.files import sha256
from catalogsync_assets_tests.support.kills import DYING
from catalogsync_assets_tests.support.proxy import refusal

_CLAIMS = """
SELECT l.locator, f.sha256 FROM file_locations l JOIN file_assets f ON f.id = l.file_asset_id
WHERE l.backend_id = ? AND l.status = 'active'
"""
_STATES = "SELECT locator, status FROM file_locations WHERE backend_id = ? ORDER BY 1, 2"


@pytest.mark.parametrize(
    "step", [pytest.param(1, marks=pytest.mark.thorough), 19], ids=["many", "few"]
)
def test_killed_at_any_moment_it_costs_nothing(
    catalog, library, proxy, backend, scanned, synced, start_python, remote, step
):
    through = backend(layout="path", endpoint=proxy.endpoint)
    for name in "abcdefghijkl":
        library.add(f"{name}.mp3")
    synced(through)
    for name in "abcijk":
        (library.root / f"{name}.mp3").rename(library.root / f"{name}{name}.mp3")
    library.add("d.mp3")
    for name in "ef":
        (library.root / f"{name}.mp3").unlink()
    synced(through)
    request = forget.Request(paths=tuple(str(library.root / f"{name}.mp3") for name in "ef"))
    assert forget.forget(catalog, forget.plan(catalog, request), count=2).files == 2
    old = (
        len(remote(through).keys()) + len(remote(through).keys(kept=True)) - len(library.contents())
    )
    assert old == 9
    command = ("prune", "--db", catalog.path, "--backend", "cloud", "--older-than", "0h")
    kills = finished = 0
    while not finished:
        commit = 1 + kills // 2 if kills % 2 else 0
        process = start_python(DYING, commit, *command, "--delete", "--workers", 1)
        came = 0

        def kill(_, process=process, last=1 + step * (kills // 2), commit=commit, kills=kills):
            nonlocal came
            came += 1
            if commit or came < last:
                return None
            if came == last:
                process.kill()
                process.wait()
            return None if came == last and kills % 4 else refusal(0)

        proxy.before[:] = [kill]
        _, errors = process.communicate()
        proxy.start_anew()  # once what was on its way has been dealt with
        assert process.returncode in (0, -signal.SIGKILL), errors
        finished = process.returncode == 0 and not commit
        kills += not finished
        found = remote(through).contents()
        for key, digest in rows(catalog, _CLAIMS, through.id):
            assert sha256(found[key.removeprefix(through.key_prefix)]) == digest
        assert library.contents().items() <= found.items()

    assert kills >= (20 if step == 1 else 4), kills
    assert found == library.contents()
    assert remote(through).keys(kept=True) == []
    gone = [key for key, status in rows(catalog, _STATES, through.id) if status == "removed"]
    assert len(gone) == old
    assert synced(through).queued == 0
