"""A library's whole way to a store and back, by the program itself, killed in the middle."""

import hashlib
import itertools
import json
import os
import random
import subprocess
from pathlib import Path
from typing import Any

import pytest

from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets_tests.conformance.uploads import ODD_NAMES, answered_parts
from catalogsync_assets_tests.support.files import flipped
from catalogsync_assets_tests.support.processes import Process
from catalogsync_assets_tests.support.programs import find_program
from catalogsync_assets_tests.support.proxy import Gate, refusal

MIB = 1024 * 1024
FILES = 80
# The first that is sent: it is under way while the others are.
LARGE = "00/a concert.flac"
PARTS = 9  # of 8 MiB; a smaller file would go in one piece
#: So much arrives before the kill.
PUTS_BEFORE, PARTS_BEFORE = 30, 4
# Of everything: on a machine that does other things besides, the servers among them.
SECONDS = 600


class WholeWay:
    """What a person does, on every store."""

    @pytest.fixture
    def catalogsync(self, catalog, monkeypatch):
        """`catalogsync("status")`: the JSON that the program prints; it must end well."""
        monkeypatch.setenv("CATALOGSYNC_DB", str(catalog.path))

        def run(*arguments):
            command = [find_program("catalogsync") or "catalogsync", *map(str, arguments), "--json"]
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=SECONDS, check=False
            )
            assert done.returncode == 0, f"{arguments}: {done.stdout}{done.stderr}"
            return json.loads(done.stdout)

        return run

    def test_the_whole_way_on_a_real_store(
        self, library, catalog, catalogsync, store, proxy, remote, held
    ):
        """The store is never tested; what it does is learned on the way."""
        content = random.Random(1)  # noqa: S311
        folders = itertools.cycle(ODD_NAMES)
        for number in range(FILES):
            folder, name = next(folders), ODD_NAMES[-1 - number // 7 % len(ODD_NAMES)]
            library.add(f"{folder}/{number} {name}"[:240] + ".mp3", content.randbytes(37 * number))
        library.add(LARGE, b"".join(content.randbytes(MIB) for _ in range(8 * PARTS)))
        wanted = digests(library.root)
        assert len(wanted) == FILES + 1
        catalogsync("scan", "--library-root", library.root)
        catalogsync(
            *("register-object-backend", "--name", "cloud", "--bucket", store.bucket),
            *("--endpoint", proxy.endpoint, "--base-prefix", "whole way/é"),
            *("--credential-env-prefix", "CLOUD"),
        )
        cloud = backend_by_name(catalog, "cloud")
        there = remote(cloud)

        kill_in_the_middle(proxy)

        before = len(held(cloud))
        assert before <= PUTS_BEFORE
        assert len(there.keys()) >= before

        # What had arrived is not sent again.
        told = catalogsync("upload", "--backend", "cloud")
        assert (told["failed"], told["succeeded"] + told["adopted"]) == (0, FILES + 1 - before)
        assert sorted(answered_parts(proxy)) == [*range(PARTS_BEFORE + 1, PARTS + 1)]
        assert sorted(held(cloud).values()) == sorted(wanted.values())
        assert there.unfinished() == []

        # A change: our older version is replaced.
        changed = sorted(path for path in wanted if path != LARGE)[::20]
        for path in changed:
            library.add(path, content.randbytes(500))
        wanted = digests(library.root)
        catalogsync("scan")
        assert catalogsync("upload", "--backend", "cloud")["succeeded"] == len(changed)
        assert sorted(held(cloud).values()) == sorted(wanted.values())

        # A deletion, a corruption and an object of somebody else's.
        keys = there.keys()
        deleted, spoilt, cut = (
            next(key for key in keys if f"/{number} " in key) for number in (20, 45, 70)
        )
        there.delete(deleted)
        there.put(spoilt, flipped(there.get(spoilt)))
        there.put(cut, there.get(cut)[:-1])
        there.put("theirs.txt", b"theirs")
        found = catalogsync("verify", "--backend", "cloud", "--level", "full", "--repair")
        assert (found["missing"], found["size"], found["content"]) == (1, 1, 1)
        assert (found["repaired"], found["open"]) == (3, 0)
        assert catalogsync("verify", "--backend", "cloud", "--level", "full")["ok"] == FILES + 1
        assert there.get("theirs.txt") == b"theirs"
        assert sorted(held(cloud).values()) == sorted(wanted.values())

        # The library is lost.
        library.root.rename(library.root.with_name("lost"))
        catalogsync("restore", "--all", "--to", library.root, "--allow-empty")
        assert digests(library.root) == wanted
        assert catalogsync("scan")["unchanged"] == FILES + 1
        assert catalogsync("upload", "--backend", "cloud")["queued"] == 0


def kill_in_the_middle(proxy: Any) -> None:
    """Begin to upload, and kill it while the large file and small ones are on their way."""

    def is_small(request: Any) -> bool:
        ours = request.method == "PUT" and ".catalogsync" not in request.key
        return ours and request.part is None

    until_killed = {"answer": refusal(0)}
    small = Gate(proxy, is_small, passing=PUTS_BEFORE, **until_killed)
    large = Gate(proxy, lambda r: (r.part or 0) > PARTS_BEFORE, **until_killed)
    with Process(
        [find_program("catalogsync") or "catalogsync", "upload", "--backend", "cloud"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            small.wait_for()
            proxy.wait_until(lambda: len(answered_parts(proxy)) == PARTS_BEFORE)
            large.wait_for()
        finally:
            process.kill()
    # What was still being read when the process died does not pass, either.
    proxy.before.insert(0, lambda _: refusal(0))
    small.open()
    large.open()
    proxy.start_anew()


def digests(root: Path) -> dict[str, str]:
    """The digest of each file by its path below a root."""
    files = (path for path in root.rglob("*") if path.is_file())
    return {
        os.fspath(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }
