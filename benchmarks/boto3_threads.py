"""What one writes in an afternoon: plain boto3 in a pool of threads. A peer of `upload.py`.

One client for all threads, with as many connections; `put_object` for files up to 64 MiB,
`upload_file` with its defaults for larger ones. boto3's own checksum (CRC32) is what the server
verifies; nothing is written down, and an object that is there is overwritten.

    python benchmarks/boto3_threads.py ENDPOINT BUCKET PREFIX FOLDER WORKERS
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import boto3
from botocore.config import Config

_SINGLE_PUT_BYTES = 64 * 1024 * 1024


def main() -> None:
    endpoint, bucket, prefix, folder, workers = sys.argv[1:]
    root = Path(folder)
    config = Config(max_pool_connections=int(workers), s3={"addressing_style": "path"})
    client = boto3.client("s3", endpoint_url=endpoint, config=config)

    def send(path: Path) -> None:
        key = f"{prefix}/{path.relative_to(root).as_posix()}"
        if path.stat().st_size > _SINGLE_PUT_BYTES:
            client.upload_file(str(path), bucket, key)
            return
        with path.open("rb") as file:
            client.put_object(Bucket=bucket, Key=key, Body=file)

    files = [path for path in root.rglob("*") if path.is_file()]
    with ThreadPoolExecutor(int(workers)) as pool:
        for _ in pool.map(send, files):
            pass


if __name__ == "__main__":
    main()
