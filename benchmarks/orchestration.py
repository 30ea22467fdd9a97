"""What Dagster costs: the same files uploaded by the command line and as a cell of the pipeline.

Three whole processes, in turn, in each round:

a  `catalogsync upload --backend bench`
b  `dagster asset materialize -m catalogsync_assets.definitions --select remote_locations
   --partition 'bench|BATCH'`, of all the files, with the DAGSTER_HOME of `catalogsync dev`
c  `dagster asset materialize` of an asset that does nothing: the floor of such a command

Both uploads run as they come: 16 workers, b in chunks of at most 5,000 files or 4 GiB of which two
run at a time. Each has a new server, a copy of the same scanned catalog, and b a new DAGSTER_HOME;
none of that is timed. Printed are b / a, and b - a - c: what is left to pay for steps and events.

    python benchmarks/orchestration.py [--files 1000] [--size 8388608] [--rounds 3]
        [--directory FOLDER]
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from datasets import DataSet, make_of, uniform
from peers import catalogsync, dagster, environment, outer_environment
from processes import Usage, clean_up_on_sigterm, run
from report import machine, spread
from stores import FAILURES, check_objects, check_rows, fresh_catalog, new_store, scan

from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.catalog.files import batch_keys
from catalogsync_assets.demo.run import prepare_dagster_home

_PROJECT = Path(__file__).resolve().parents[1]
_NOTHING = """\
import dagster as dg


@dg.asset
def nothing() -> None:
    return None


defs = dg.Definitions(assets=[nothing])
"""


def one_batch(database: Path) -> str:
    """The key of the batch that holds all files of a catalog."""
    catalog = Catalog.open(database)
    keys = batch_keys(catalog)
    catalog.close()
    if len(keys) != 1:
        sys.exit(f"the files make {len(keys)} batches: at most 5,000 files, 8 GiB go into one cell")
    return keys[0]


def new_home(scratch: Path, database: Path | None) -> Path:
    """A DAGSTER_HOME as `catalogsync dev` makes it, which knows the catalog's partitions."""
    import dagster as dg

    from catalogsync_assets.assets.partitions import register_keys

    home = Path(tempfile.mkdtemp(prefix="dagster_home", dir=scratch))
    prepare_dagster_home(home)  # sets DAGSTER_HOME here as well
    if database:
        catalog = Catalog.open(database)
        with dg.DagsterInstance.get() as instance:
            register_keys(catalog, instance)
        catalog.close()
    return home


def command_line(scratch: Path, data: DataSet, scanned: Path) -> Usage:
    """a: the upload as one command."""
    with new_store(scratch, data.size_bytes) as store:
        env = environment(store, scratch)
        database = fresh_catalog(scanned, scratch, store, "command-line", env)
        command = catalogsync("upload", "--db", str(database), "--backend", "bench")
        usage = run(command, env, log=scratch / "run.log")
        check_objects(store, "command-line", data)
        check_rows(database, env, scratch, data)
    return usage


def pipeline(scratch: Path, data: DataSet, scanned: Path) -> Usage:
    """b: the same as a cell."""
    with new_store(scratch, data.size_bytes) as store:
        env = environment(store, scratch)
        database = fresh_catalog(scanned, scratch, store, "pipeline", env)
        env |= {
            "CATALOGSYNC_DB": str(database),
            "CATALOGSYNC_LIBRARY_ROOTS": str(data.root),
            "DAGSTER_HOME": str(new_home(scratch, database)),
        }
        cell = ("--select", "remote_locations", "--partition", f"bench|{one_batch(database)}")
        command = dagster("asset", "materialize", "-m", "catalogsync_assets.definitions", *cell)
        usage = run(command, env, log=scratch / "run.log", cwd=_PROJECT)
        check_objects(store, "pipeline", data)
        check_rows(database, env, scratch, data)
    return usage


def nothing(scratch: Path) -> Usage:
    """c: a materialization without work."""
    module = scratch / "nothing.py"
    module.write_text(_NOTHING)
    env = outer_environment() | {"DAGSTER_HOME": str(new_home(scratch, None))}
    command = dagster("asset", "materialize", "-f", str(module), "--select", "nothing")
    return run(command, env, log=scratch / "run.log", cwd=scratch)


def one_round(scratch: Path, data: DataSet, scanned: Path, number: int) -> dict[str, Usage]:
    """Each once; in every other round the pipeline goes first."""
    data.read()
    runs = {
        "a": lambda: command_line(scratch, data, scanned),
        "b": lambda: pipeline(scratch, data, scanned),
        "c": lambda: nothing(scratch),
    }
    done = {}
    for name in "abc" if number % 2 else "bac":
        done[name] = runs[name]()
        print(f"round {number} {name}: {done[name].seconds:.2f} s", file=sys.stderr, flush=True)
    return done


def print_table(data: DataSet, rounds: list[dict[str, Usage]]) -> None:
    """Medians; in brackets the lowest and the highest of a round."""
    print(f"\n{data.files:,} files, {data.size_bytes / 1e6:,.0f} MB, one cell")
    print(f"{'':34}{'seconds':>24}{'MB/s':>9}{'CPU s':>9}")
    titles = {
        "a": "a  catalogsync upload",
        "b": "b  dagster asset materialize, cell",
        "c": "c  the same of a no-op asset",
    }
    for name, title in titles.items():
        seconds = [r[name].seconds for r in rounds]
        rate = data.size_bytes / statistics.median(seconds) / 1e6
        cpu = statistics.median(r[name].cpu_seconds for r in rounds)
        shown = f"{'':9}" if name == "c" else f"{rate:9,.1f}"
        print(f"{title:34}{spread(seconds)}{shown}{cpu:9.2f}")
    ratios = [r["b"].seconds / r["a"].seconds for r in rounds]
    rest = [r["b"].seconds - r["a"].seconds - r["c"].seconds for r in rounds]
    print(f"{'b / a':34}{spread(ratios)}")
    print(f"{'b - a - c, seconds':34}{spread(rest)}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=int, default=1_000)
    parser.add_argument("--size", type=int, default=8 * 1024 * 1024, help="of each file, bytes")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--directory", type=Path, help="keeps the files there for the next time")
    options = parser.parse_args()
    clean_up_on_sigterm()
    print(f"{machine()}; {options.rounds} rounds")
    if options.directory:
        options.directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=options.directory) as folder:
        scratch = Path(folder).resolve()
        sizes = dict(uniform(options.files, options.size))
        kept = (options.directory or scratch).resolve()
        data = make_of("cell", "one cell", kept, sizes)
        scanned, _ = scan(data, scratch, outer_environment())
        one_batch(scanned)
        numbers = range(1, options.rounds + 1)
        try:
            rounds = [one_round(scratch, data, scanned, number) for number in numbers]
        except FAILURES as error:
            sys.exit(f"error: {error}")
    print_table(data, rounds)


if __name__ == "__main__":
    main()
