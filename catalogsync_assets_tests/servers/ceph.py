"""Ceph's RADOS gateway: one monitor, one store of objects in memory, one gateway.

All of it listens on this machine's loopback alone, trusts whoever asks there, and keeps its files
below a folder.
"""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from catalogsync_assets_tests.servers.processes import (
    HOST,
    Requirement,
    S3Server,
    Servers,
    free_ports,
    ini,
    started,
)
from catalogsync_assets_tests.support.programs import find_program
from catalogsync_assets_tests.support.stores import answers, ensure_bucket

REQUIREMENT = Requirement(
    ("ceph", "ceph-mon", "ceph-osd", "monmaptool", "radosgw", "radosgw-admin"),
    "apt-get install --no-install-recommends radosgw ceph-mon ceph-osd ceph-common ceph-base",
)
_GIB = 1024**3


@contextmanager
def ceph(folder: Path) -> Iterator[S3Server]:
    """A gateway with one bucket. Takes 10 to 20 seconds to start."""
    with started(folder, _start) as server:
        yield server


def _start(servers: Servers, folder: Path) -> S3Server:
    port, monitor_port = free_ports(2)
    server = S3Server(f"http://{HOST}:{port}", "music", "demo", "a-secret-that-nobody-may-see")
    cluster = str(uuid.uuid4())
    settings = folder / "ceph.conf"
    settings.write_text(ini(_settings(folder, cluster, port, monitor_port)))
    for name in ("monitor", "osd", "gateway", "run"):
        (folder / name).mkdir()

    own = ("--conf", settings)
    address = f"[v1:{HOST}:{monitor_port}]"
    members = ("--create", "--clobber", "--fsid", cluster, "--addv", "a", address)
    servers.run(find_program("monmaptool"), *members, folder / "monmap")
    monitor = (find_program("ceph-mon"), *own, "--id", "a")
    servers.run(*monitor, "--mkfs", "--monmap", folder / "monmap")
    servers.start("monitor", *monitor, "--foreground")

    identity = str(uuid.uuid4())
    servers.run(find_program("ceph"), *own, "--connect-timeout", 60, "osd", "new", identity)
    osd = (find_program("ceph-osd"), *own, "--id", "0")
    servers.run(*osd, "--mkfs", "--osd-uuid", identity)
    servers.start("osd", *osd, "--foreground")

    gateway = (*own, "--name", "client.gateway")
    servers.start("gateway", find_program("radosgw"), *gateway, "--foreground")
    servers.until(lambda: answers(server.endpoint), "an answer of the gateway")
    keys = ("--access-key", server.access_key_id, "--secret-key", server.secret_access_key)
    user = ("user", "create", "--uid", "tests", "--display-name", "tests")
    servers.run(find_program("radosgw-admin"), *gateway, *user, *keys)
    ensure_bucket(server)
    return server


def _settings(
    folder: Path, cluster: str, port: int, monitor_port: int
) -> dict[str, dict[str, object]]:
    return {
        "global": {
            "fsid": cluster,
            "mon host": f"v1:{HOST}:{monitor_port}",
            "mon initial members": "a",
            "ms bind msgr2": "false",
            "ms bind ipv6": "false",
            "public network": "127.0.0.0/8",
            "auth cluster required": "none",
            "auth service required": "none",
            "auth client required": "none",
            # One copy of each object, on the one server that there is.
            "osd pool default size": 1,
            "osd pool default min size": 1,
            "osd pool default pg num": 2,
            "osd pool default pgp num": 2,
            "osd pool default pg autoscale mode": "off",
            "osd crush chooseleaf type": 0,
            "osd crush initial weight": 1,
            "mon allow pool size one": "true",
            "mon max pg per osd": 4_000,
            "osd objectstore": "memstore",
            "memstore device bytes": 8 * _GIB,
            "run dir": folder / "run",
            "admin socket": "",
            "log file": folder / "out" / "$name.log",
        },
        "mon.a": {"mon data": folder / "monitor", "host": "localhost"},
        "osd.0": {
            "osd data": folder / "osd",
            "host": "localhost",
            "public addr": HOST,
            "cluster addr": HOST,
        },
        "client.gateway": {
            "rgw frontends": f"beast endpoint={HOST}:{port}",
            "rgw data": folder / "gateway",
            "rgw thread pool size": 64,
            "rgw enable usage log": "false",
        },
    }
