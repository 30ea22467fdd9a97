"""A backup that is killed at any moment leaves a backend whose snapshots are whole."""

import itertools
import sqlite3
from contextlib import closing
from datetime import datetime, timezone

import pytest

from catalogsync_assets.core.backup import backup, sending
from catalogsync_assets.core.backup.backup import back_up
from catalogsync_assets.core.backup.snapshots import fetch_snapshot, list_snapshots, snapshot_name
from catalogsync_assets.core.catalog.backends import catalog_id
from catalogsync_assets.core.stores.client import StoreClient
from catalogsync_assets.core.upload.journal import abort_abandoned
from catalogsync_assets_tests.support.database import change, rows

# Forks a child for each number that it is told, which backs up and is killed at that moment: before
# and after whatever is asked of the store, written down or put on the disk. (A child of this very
# process would inherit the threads of its clients.)
_DYING = """
import datetime, os, signal, sys, traceback
import sqlalchemy as sa
from catalogsync_assets.core.backup import backup, making, retention, sending
from catalogsync_assets.core.catalog.backends import object_backends
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.stores import sdk
from catalogsync_assets.core.stores.client import StoreClient
import boto3
sending._SINGLE_BYTES = 1_000_000
sending.part_bytes = lambda _: 5 * 1024 * 1024

def child(moment, second):
    at = datetime.datetime(2030, 1, 1, tzinfo=datetime.timezone.utc)
    backup.utc_now = lambda: at + datetime.timedelta(seconds=second)
    count = 0
    def may_die(*_):
        nonlocal count
        count += 1
        if count == moment:
            os.kill(os.getpid(), signal.SIGKILL)
    def dying(owner, name):
        real = getattr(owner, name)
        def wrapped(*args, **named):
            may_die()
            result = real(*args, **named)
            may_die()
            return result
        setattr(owner, name, wrapped)
    for name in ("call", "put", "head", "list_pages"):
        dying(StoreClient, name)
    dying(making, "_copy")
    dying(backup, "seal")
    sa.event.listen(sa.Engine, "commit", may_die)
    catalog = Catalog.open(sys.argv[1])
    (report,) = backup.back_up(catalog, object_backends(catalog), attempts=1)
    print(report.status, count, flush=True)

for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        try:
            child(*map(int, line.split()))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    print("ended", os.waitpid(pid, 0)[1], flush=True)
"""


def enlarge(catalog):
    """Have the catalog become so large that its snapshot goes in two parts."""
    with catalog.transaction() as connection:
        connection.exec_driver_sql(
            "CREATE TABLE of_another_tool AS WITH RECURSIVE n(i) AS"
            " (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5400)"
            " SELECT i, randomblob(1000) AS content FROM n"
        )


@pytest.mark.parametrize(("in_parts", "how_many"), [(False, 14), (True, 6)])
def test_a_kill_at_any_moment_leaves_whole_snapshots(
    catalog, cloud, start_python, s3, remote, tmp_path, monkeypatch, in_parts, how_many
):
    if in_parts:
        enlarge(catalog)
    monkeypatch.setattr(sending, "part_bytes", lambda _: 5 * 1024 * 1024)
    monkeypatch.setenv("CATALOGSYNC_SNAPSHOTS", "1,1,0")
    long_ago = datetime(2020, 1, 1, tzinfo=timezone.utc)
    old = cloud.key_prefix + snapshot_name(catalog_id(catalog), long_ago, encrypted=False)
    (first,) = back_up(catalog, [cloud])
    body = remote(cloud).get(first.key.removeprefix(cloud.key_prefix))
    metadata = s3.head_object(Bucket=cloud.bucket, Key=first.key)["Metadata"]
    catalog.close()
    process = start_python(_DYING, catalog.path)

    seconds = itertools.count()

    def backed_up(moment):
        change(catalog, "INSERT INTO playlists (name) VALUES (?)", str(moment))
        s3.put_object(Bucket=cloud.bucket, Key=old, Body=body, Metadata=metadata)
        process.stdin.write(f"{moment} {next(seconds)}\n")
        process.stdin.flush()
        said = []
        while not said or not said[-1].startswith("ended"):
            said.append(process.stdout.readline())
        return said

    whole, _ = backed_up(1_000_000)
    status, count = whole.split()
    assert status == "made"
    moments = sorted({1 + int(count) * i // how_many for i in range(how_many)})
    assert len(moments) == how_many
    client = StoreClient(cloud)
    known = {}
    for moment in moments:
        assert backed_up(moment) == ["ended 9\n"], moment
        digests = set()
        for snapshot in list_snapshots(client):
            if snapshot.key not in known:
                fetch_snapshot(client, snapshot, tmp_path / "back.db", None)
                with closing(sqlite3.connect(tmp_path / "back.db")) as back:
                    assert back.execute("PRAGMA quick_check").fetchone() == ("ok",)
                (tmp_path / "back.db").unlink()
            known[snapshot.key] = snapshot.sha256
            digests.add(snapshot.sha256)
        assert digests, moment
        sql = "SELECT snapshot_digest FROM storage_backends WHERE id = ?"
        (digest,) = rows(catalog, sql, cloud.id)
        assert digest in digests, moment
        noted = rows(catalog, "SELECT upload_id FROM multipart_uploads")
        begun = s3.list_multipart_uploads(Bucket=cloud.bucket, Prefix=cloud.key_prefix)
        for upload in begun.get("Uploads", []):
            key, upload_id = upload["Key"].removeprefix(cloud.key_prefix), upload["UploadId"]
            assert upload_id in noted or not remote(cloud).parts(key, upload_id), moment

    monkeypatch.setattr(backup, "utc_now", lambda: datetime(2031, 1, 1, tzinfo=timezone.utc))
    (last,) = back_up(catalog, [cloud])
    assert last.status in ("made", "unchanged")
    assert [p.name for p in catalog.path.parent.glob("*.snapshot-*")] == []
    abort_abandoned(catalog, client)
    assert rows(catalog, "SELECT COUNT(*) FROM multipart_uploads") == [0]
