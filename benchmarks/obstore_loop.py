"""The floor: a bare loop of puts with obstore, in threads. A peer of the uploads.

Sends what catalogsync sends (a SHA-256 for the server to check, the condition that nothing is there
yet, the digest as metadata) and does nothing else: no catalog, no look at what is there, no second
try.

    python -m benchmarks.obstore_loop ENDPOINT BUCKET PREFIX FOLDER WORKERS
"""

from __future__ import annotations

import hashlib
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import obstore
from obstore.store import S3Store


def main() -> None:
    endpoint, bucket, prefix, folder, workers = sys.argv[1:]
    root = Path(folder)
    store = S3Store(
        bucket,
        endpoint=endpoint,
        virtual_hosted_style_request=False,
        checksum_algorithm="SHA256",
        unsigned_payload=True,
        client_options={"allow_http": True, "pool_max_idle_per_host": workers},
    )

    def send(path: Path) -> None:
        content = path.read_bytes()
        obstore.put(
            store,
            f"{prefix}/{path.relative_to(root).as_posix()}",
            content,
            attributes={"sha256": hashlib.sha256(content).hexdigest()},
            use_multipart=False,
            mode="create",
        )

    with ThreadPoolExecutor(int(workers)) as pool:
        for _ in pool.map(send, (path for path in root.rglob("*") if path.is_file())):
            pass


if __name__ == "__main__":
    main()
