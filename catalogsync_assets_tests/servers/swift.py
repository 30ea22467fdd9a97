"""OpenStack Swift with its S3 interface: a proxy, one server each of accounts, containers, objects.

All of it listens on this machine's loopback alone and keeps its files below a folder, which must
lie on a file system with extended attributes.
"""

import getpass
import gzip
import json
import os
import struct
import sys
from array import array
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

_KINDS = ("account", "container", "object")
REQUIREMENT = Requirement(
    ("swift-proxy-server", *(f"swift-{kind}-server" for kind in _KINDS), "memcached"),
    "apt-get install --no-install-recommends swift-proxy swift-account swift-container"
    " swift-object memcached",
)  # fmt: skip
#: What a request passes on its way, the S3 interface among it.
_PIPELINE = (
    "catch_errors gatekeeper healthcheck cache listing_formats bulk s3api tempauth copy slo dlo"
    " versioned_writes symlink proxy-server"
)
_MEMORY = "memory"
_PART_POWER = 4


@contextmanager
def swift(folder: Path) -> Iterator[S3Server]:
    """A proxy with one bucket. Takes some seconds to start."""
    with started(folder, _start) as server:
        yield server


def _start(servers: Servers, folder: Path) -> S3Server:
    port, cache_port, *backends = free_ports(2 + len(_KINDS))
    server = S3Server(
        f"http://{HOST}:{port}", "music", "tests:tests", "a-secret-that-nobody-may-see"
    )
    (folder / "node" / "disk").mkdir(parents=True)
    (folder / "swift.conf").write_text(
        ini({
            "swift-hash": {"swift_hash_path_prefix": "a", "swift_hash_path_suffix": "b"},
            "storage-policy:0": {"name": "only", "default": "yes"},
            # As S3 has them.
            "swift-constraints": {"max_file_size": 5 * 1024**3 + 2, "max_meta_value_length": 2048},
        })
    )  # fmt: skip
    cache = ("-u", getpass.getuser(), "-l", HOST, "-p", cache_port, "-m", 32)
    servers.start(_MEMORY, find_program("memcached"), *cache)
    for kind, backend_port in zip(_KINDS, backends, strict=True):
        _write_ring(folder / f"{kind}.ring.gz", backend_port)
        _start_one(servers, folder, kind, backend_port, {
            "pipeline:main": {"pipeline": f"{kind}-server"},
            f"app:{kind}-server": {"use": f"egg:swift#{kind}"},
        })  # fmt: skip
    filters = {name: {"use": f"egg:swift#{name}"} for name in _PIPELINE.split()[:-1]}
    filters["cache"] = {"use": "egg:swift#memcache", "memcache_servers": f"{HOST}:{cache_port}"}
    filters["s3api"] |= {"s3_acl": "true", "location": "us-east-1", "auth_pipeline_check": "false",
                         "dns_compliant_bucket_names": "false"}  # fmt: skip
    filters["tempauth"] |= {"user_tests_tests": f"{server.secret_access_key} .admin"}
    filters["versioned_writes"] |= {"allow_versioned_writes": "true",
                                    "allow_object_versioning": "true"}  # fmt: skip
    _start_one(servers, folder, "proxy", port, {
        "pipeline:main": {"pipeline": _PIPELINE},
        "app:proxy-server": {"use": "egg:swift#proxy", "account_autocreate": "true"},
        **{f"filter:{name}": options for name, options in filters.items()},
    })  # fmt: skip
    servers.until(lambda: answers(f"{server.endpoint}/healthcheck"), "an answer of the proxy")
    for backend_port in backends:
        there = f"http://{HOST}:{backend_port}/healthcheck"
        servers.until(lambda there=there: answers(there), f"an answer at {there}")
    ensure_bucket(server)
    return server


def _write_ring(path: Path, port: int) -> None:
    """Say that all partitions are on the one disk, as `swift-ring-builder` does it in seconds."""
    where = {"ip": HOST, "port": port, "replication_ip": HOST, "replication_port": port}
    disk = {"id": 0, "region": 1, "zone": 1, "weight": 1.0, "device": "disk", "meta": "", **where}
    shape = {"part_shift": 32 - _PART_POWER, "replica_count": 1, "byteorder": sys.byteorder}
    ring = {"devs": [disk], **shape}
    head = json.dumps(ring, sort_keys=True).encode("ascii")
    with gzip.open(path, "wb") as file:
        file.write(b"R1NG" + struct.pack("!HI", 1, len(head)) + head)
        file.write(array("H", [0] * 2**_PART_POWER).tobytes())


def _start_one(
    servers: Servers, folder: Path, kind: str, port: int, more: dict[str, dict[str, object]]
) -> None:
    settings = folder / f"{kind}.conf"
    common = {
        "bind_ip": HOST,
        "bind_port": port,
        # In one process: a child would outlive a server that is killed.
        "workers": 0,
        "user": getpass.getuser(),
        "swift_dir": folder,
        "devices": folder / "node",
        "mount_check": "false",
        "fallocate_reserve": 0,
        "disable_fallocate": "true",
        # Later than this an object is listed only once a daemon, which does not run, has done it.
        "container_update_timeout": 60,
        "log_name": kind,
        "log_level": "WARNING",
    }
    settings.write_text(ini({"DEFAULT": common, **more}))
    program = find_program(f"swift-{kind}-server")
    # Else it goes by the folder in /etc.
    servers.start(kind, program, settings, "-v", **os.environ, SWIFT_DIR=str(folder))
