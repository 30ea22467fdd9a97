"""Four processes write to one catalog at once."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.status import backend_status
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets_tests.support.database import rows

#: Files before the processes begin; scans of one of them while they work, files new in each.
KNOWN, ROUNDS, NEW = 400, 10, 10
TOTAL = KNOWN + ROUNDS * NEW

# Claims and records until nothing is left and nothing more will come; every fifth file fails.
# Prints how often it failed at which task, and which it did.
WRITER = """
import json, pathlib, sys
from catalogsync_assets.core.catalog.backends import backend_by_name
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.upload_queue import UploadLease
from catalogsync_assets.core.catalog.upload_queue import Failed, Uploaded, record
from catalogsync_assets.core.catalog.scope import EVERYTHING
from catalogsync_assets.core.catalog.upload_plan import enqueue
from catalogsync_assets.core.library.scan import scan

path, root, end, rounds, new = sys.argv[1:]
root, end, rounds, new = pathlib.Path(root), pathlib.Path(end), int(rounds), int(new)
catalog = Catalog.open(path)
cloud = backend_by_name(catalog, "cloud")
lease = UploadLease(catalog, cloud)
done, failed = [], []
print("ready", flush=True)
sys.stdin.readline()

def work():
    tasks = lease.claim(EVERYTHING, 7)
    results = []
    for task in tasks:
        if task.file_asset_id % 5 == 0:
            results.append(Failed(task, "SlowDown", "later"))
            failed.append(task.id)
        else:
            digest = f"{task.file_asset_id:064x}"
            results.append(Uploaded(task, digest, None, "head", adopted=False))
            done.append(task.id)
    if results:
        record(catalog, cloud, lease.owner, results)
    return len(tasks)

for turn in range(rounds):
    for number in range(new):
        file = root / f"round {turn}" / f"{number}.mp3"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(bytes([turn, number]) * 150)
    scan(catalog, [root])
    enqueue(catalog, cloud)
    work()
if rounds:
    end.touch()
while True:
    over = end.exists()
    if not work() and over:
        break
print(json.dumps({"done": done, "failed": failed}))
"""


def test_four_writers_do_everything_once_and_the_figures_add_up(
    catalog, cloud, library, scanned, start_python
):
    library.fill(KNOWN)
    scanned()
    enqueue(catalog, cloud)
    end = library.root.parent / "end"

    processes = [
        start_python(WRITER, catalog.path, library.root, end, rounds, NEW)
        for rounds in (ROUNDS, 0, 0, 0)
    ]
    for process in processes:
        assert process.line() == "ready\n", process.stderr.read()
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda p: p.communicate("go\n", timeout=60), processes))

    assert [(p.returncode, err) for p, (_, err) in zip(processes, ended, strict=True)] == [
        (0, "")
    ] * 4
    told = [json.loads(out) for out, _ in ended]
    done = Counter(task for each in told for task in each["done"])
    failed = Counter(task for each in told for task in each["failed"])
    # The work was shared, else nothing was tried.
    assert sum(bool(each["done"] or each["failed"]) for each in told) >= 3
    assert set(done.values()) == {1}
    assert (len(done), len(failed)) == (TOTAL - TOTAL // 5, TOTAL // 5)

    tasks = dict(rows(catalog, "SELECT status, COUNT(*) FROM upload_tasks GROUP BY 1"))
    assert tasks == {"succeeded": len(done), "failed": len(failed)}
    tries = dict(rows(catalog, "SELECT id, attempts FROM upload_tasks"))
    # A task that failed may be planned anew, and dropped and made again, but is never lost.
    assert tries == dict(done + failed)
    assert rows(catalog, "SELECT COUNT(*) FROM upload_tasks WHERE lease_owner IS NOT NULL") == [0]
    places = "SELECT COUNT(*), COUNT(DISTINCT file_asset_id) FROM file_locations"
    assert rows(catalog, f"{places} WHERE backend_id = ?", cloud.id) == [(len(done), len(done))]
    assert rows(catalog, f"{places} WHERE backend_id <> ?", cloud.id) == [(TOTAL, TOTAL)]
    assert rows(
        catalog,
        "SELECT SUM(files_total), SUM(files_present), SUM(bytes_present)"
        " FROM song_backend_presence WHERE backend_id = ?",
        cloud.id,
    ) == [(TOTAL, len(done), len(done) * 300)]
    figures = {b.name: (b.files, b.pending, b.failed) for b in backend_status(catalog)}
    assert figures == {"local": (TOTAL, 0, 0), "cloud": (len(done), 0, len(failed))}
    assert rows(catalog, "PRAGMA integrity_check") == ["ok"]


# Reads, and closes the last connection that its process has.
VISITOR = """
import sqlite3, sys
visitor = sqlite3.connect(sys.argv[1])
print(visitor.execute("SELECT COUNT(*) FROM songs").fetchone()[0])
visitor.close()
"""


def test_a_catalog_that_is_opened_twice_keeps_its_locks(catalog, run_python):
    """Or another process takes itself for the last one, and removes the write-ahead log."""
    with catalog.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO songs (title) VALUES ('one')")

    Catalog.open(catalog.path).close()
    Catalog.initialise(catalog.path)[0].close()
    assert run_python(VISITOR, catalog.path).out.strip() == "1"
    assert catalog.path.with_name(f"{catalog.path.name}-wal").exists()
    with catalog.transaction() as connection:
        connection.exec_driver_sql("INSERT INTO songs (title) VALUES ('two')")
    assert rows(catalog, "SELECT title FROM songs ORDER BY id") == ["one", "two"]
