"""What is told of runs and checks that failed: once, together, and to whoever can be reached.

Most of the assets are toys; the runs, their events and the sensors are Dagster's own.
"""

import sqlite3
import time
from contextlib import closing
from importlib import resources
from typing import Any

import dagster as dg
import pytest

from catalogsync_assets.assets.ui.metadata import clear_failures, table
from catalogsync_assets.automation import alerts
from catalogsync_assets.core import settings
from catalogsync_assets.core.errors import StoreUnavailableError
from catalogsync_assets.definitions import build_defs, defs
from catalogsync_assets.notifications.webhook import WebhookNotifier
from catalogsync_assets.resources import CatalogResource, ObjectStoreResource
from catalogsync_assets_tests.receivers import Posts

BACKENDS = dg.StaticPartitionsDefinition(["cloud", "locked"])
BATCHES = dg.StaticPartitionsDefinition([f"b{i}" for i in range(8)])
CELLS = dg.MultiPartitionsDefinition({"backend": BACKENDS, "batch": BATCHES})
RUNS, CHECKS = "alert_failed_runs", "alert_failed_checks"


class Toy(dg.Config):
    fails: str = ""


@dg.asset(partitions_def=CELLS)
def cell(context: dg.AssetExecutionContext, config: Toy) -> None:
    if config.fails == "store":
        with clear_failures():
            raise StoreUnavailableError("cloud: timed out", code="Timeout", hint="try again later")
    if config.fails == "bug":
        raise ValueError("no such thing as https://me:hunter2@h/x?sig=hunter2")
    if config.fails:
        raise dg.Failure(config.fails)


@dg.asset_check(asset=cell)
def nothing_is_missing(context: dg.AssetCheckExecutionContext, config: Toy) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=config.fails not in ("error", "warn"),
        severity=dg.AssetCheckSeverity.WARN
        if config.fails == "warn"
        else dg.AssetCheckSeverity.ERROR,
        description="2 of 9 files are missing",
        metadata={"missing": 2, "files": table(("file",), [("a.mp3",)])},
    )


@dg.asset_check(asset=cell)
def all_is_well(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=True)


TOYS = dg.Definitions(
    assets=[cell],
    asset_checks=[nothing_is_missing, all_is_well],
    jobs=[dg.define_asset_job("toys", selection=dg.AssetSelection.assets(cell))],
)


class Watched:
    """An instance, and the alert sensors as their daemon would tick them."""

    def __init__(self, instance: dg.DagsterInstance, posts: Posts) -> None:
        self.instance = instance
        self.posts = posts
        self._cursors: dict[str, str | None] = {}
        self._heard = 0
        for name in (RUNS, CHECKS):
            self.tick(name)

    def run(self, partition: str = "cloud|b0", *, fails: str = "", check: str = "") -> str:
        result = TOYS.resolve_job_def("toys").execute_in_process(
            instance=self.instance,
            partition_key=partition,
            run_config={
                "ops": {
                    "cell": {"config": {"fails": fails}},
                    "cell_nothing_is_missing": {"config": {"fails": check}},
                }
            },
            asset_selection=[cell.key],
            raise_on_error=False,
        )
        assert result.success == (not fails)
        return result.run_id

    def tick(self, name: str) -> str:
        """What the tick says of itself. Raises what it raises, and then nothing is kept."""
        sensor = defs.resolve_sensor_def(name)
        with dg.build_sensor_context(
            self.instance,
            cursor=self._cursors.get(name),
            resources={"catalog": CatalogResource()},
        ) as context:
            answer = sensor.evaluate_tick(context)
        assert not answer.run_requests
        self._cursors[name] = answer.cursor
        return answer.skip_message or ""

    def told(self, name: str = RUNS) -> dict[str, Any]:
        """The one alert that a tick sends."""
        self.tick(name)
        (alert,) = self.heard()
        return alert

    def heard(self) -> list[dict[str, Any]]:
        """The alerts that have arrived since it was last asked."""
        came = [post.body for post in self.posts.came[self._heard :]]
        self._heard = len(self.posts.came)
        return came


@pytest.fixture
def posts(monkeypatch):
    with Posts().serving() as posts:
        monkeypatch.setenv(settings.ALERTS_VARIABLE, "webhook")
        monkeypatch.setenv(WebhookNotifier.variable, posts.url)
        yield posts


@pytest.fixture
def watched(posts):
    with dg.DagsterInstance.ephemeral() as instance:
        yield Watched(instance, posts)


@pytest.fixture
def upload(watched, catalog, cloud, monkeypatch):
    """`upload(batch)`: the job of the code location brings it to `cloud`, or fails."""
    monkeypatch.setenv("CATALOGSYNC_DB", str(catalog.path))
    stores = ObjectStoreResource(workers=4, attempts=1)
    job = build_defs({"object_stores": stores}).resolve_job_def("upload_batch")

    def run(batch, **config):
        for dimension, key in ("backend", cloud.name), ("batch", batch):
            watched.instance.add_dynamic_partitions(dimension, [key])
        job.execute_in_process(
            instance=watched.instance,
            partition_key=f"{cloud.name}|{batch}",
            run_config={"ops": {"remote_locations": {"config": config}}},
            raise_on_error=False,
        )

    return run


@pytest.fixture
def never_quiet(monkeypatch):
    monkeypatch.setattr(alerts, "QUIET_SECONDS", 0)


# --- runs ---------------------------------------------------------------------------------------


def test_a_run_that_fails_is_told_with_what_why_where_and_what_to_do(watched):
    run_id = watched.run("cloud|b7", fails="store")

    assert watched.tick(RUNS) == "catalogsync: cell cloud|b7 failed: sent by webhook"

    (alert,) = watched.heard()
    assert alert["subject"] == "catalogsync: cell cloud|b7 failed"
    assert alert["severity"] == "error"
    assert alert["text"].startswith("cloud: timed out (hint: try again later)\n")
    assert "Re-execute, From failure" in alert["text"]
    assert alert["link"] == f"http://127.0.0.1:3000/runs/{run_id}"
    assert alert["fields"] == {"run": run_id, "job": "toys", "partition": "cloud|b7"}


def test_the_first_files_that_failed_are_told(watched, upload, library, scanned, cloud):
    files = library.fill(9)
    (batch,) = scanned().batches
    for file in files[:8]:
        file.unlink()
    upload(batch)

    alert = watched.told()

    first, *lines, more = alert["text"].split("\n\n")[0].splitlines()
    assert first.startswith("8 of 9 files could not be uploaded (8 SourceMissing); the first: ")
    for file, line in zip(files[:5], lines, strict=True):
        key = f"{cloud.key_prefix}{file.relative_to(library.root)}"
        assert line.startswith(f"  - {key}: SourceMissing: {file} cannot be read")
    assert more == "  - and 3 more"


def test_what_an_audit_of_a_cell_has_found_is_told(
    watched, upload, library, scanned, remote, cloud
):
    library.fill(2)
    (batch,) = scanned().batches
    upload(batch)
    remote(cloud).delete("album/0001.mp3")
    upload(batch, audit_level="head")

    alert = watched.told()

    first, line = alert["text"].split("\n\n")[0].splitlines()
    assert first.startswith("1 of 2 objects of batch")
    assert line.startswith(
        f"  - {cloud.key_prefix}album/0001.mp3: missing: the store has no object"
    )


@pytest.mark.parametrize(
    ("state", "why"),
    [
        ("missing", "there is no catalog at"),
        ("locked", "database is locked"),
        ("newer", "was written by a newer catalogsync"),
    ],
)
def test_where_the_catalog_cannot_be_asked_the_run_is_told_all_the_same(
    watched, catalog, monkeypatch, capsys, state, why
):
    monkeypatch.setenv("CATALOGSYNC_DB", str(catalog.path))
    monkeypatch.setattr(alerts, "_CATALOG_SECONDS", 0.1)
    watched.run(fails="store")
    catalog.close()
    with closing(sqlite3.connect(catalog.path)) as other:
        if state == "missing":
            catalog.path.unlink()
        elif state == "locked":
            other.executescript("PRAGMA locking_mode = EXCLUSIVE; BEGIN IMMEDIATE;")
        else:
            other.execute("UPDATE catalogsync_schema_version SET version_num = '9999'")
            other.commit()
        began = time.monotonic()
        alert = watched.told()
        assert time.monotonic() - began < 30, "Dagster ends a tick after a minute"

    assert alert["text"].startswith("cloud: timed out (hint: try again later)\n\nTo try again:")
    assert why in capsys.readouterr().err


def test_an_error_that_nobody_foresaw_is_told_without_what_an_address_hides(watched):
    watched.run(fails="bug")

    alert = watched.told()

    assert "ValueError: no such thing as https://h/x" in alert["text"]
    assert "hunter2" not in str(alert)


def test_no_half_of_a_password_is_left_where_a_long_reason_is_cut(watched):
    watched.run(fails=f"{'x' * 480} https://me:hunter2@h/x")

    assert "hunter" not in str(watched.told())


def test_a_run_is_told_once(watched, never_quiet):
    watched.run(fails="store")
    watched.tick(RUNS)
    watched.heard()

    assert watched.tick(RUNS) == "nothing has failed"
    assert watched.heard() == []


def test_the_cells_of_a_night_that_fail_together_are_one_alert(watched):
    for i in range(8):
        watched.run(f"cloud|b{i}", fails="store")
    watched.run("locked|b0", fails="backend 'locked' has no credentials")

    alert = watched.told()

    assert alert["subject"] == "catalogsync: 9 runs failed"
    first, second, _ = alert["text"].split("\n\n")
    shown = ", ".join(f"cell cloud|b{i}" for i in range(5))
    assert first == f"{shown} and 3 more:\ncloud: timed out (hint: try again later)"
    assert second == "cell locked|b0:\nbackend 'locked' has no credentials"
    assert alert["link"] == "http://127.0.0.1:3000/runs?q[0]=status:FAILURE"


def test_of_very_many_runs_all_are_counted_and_some_looked_into(watched, monkeypatch):
    monkeypatch.setattr(alerts, "_MAX_READ", 2)
    for i in range(5):
        watched.run(f"cloud|b{i}", fails="store")

    alert = watched.told()

    assert alert["subject"] == "catalogsync: 5 runs failed"
    first, second, _ = alert["text"].split("\n\n")
    assert first.splitlines()[0] == "cell cloud|b2, cell cloud|b3, cell cloud|b4:"
    assert second.startswith("cell cloud|b0, cell cloud|b1:\ncloud: timed out")


def test_after_an_alert_it_is_quiet_for_a_while_and_then_tells_the_rest_together(
    watched, monkeypatch
):
    watched.run("cloud|b0", fails="store")
    watched.tick(RUNS)
    watched.heard()
    watched.run("cloud|b1", fails="store")
    assert "with all since" in watched.tick(RUNS)
    watched.run("cloud|b2", fails="store")
    assert "with all since" in watched.tick(RUNS)
    assert watched.heard() == []

    monkeypatch.setattr(alerts, "QUIET_SECONDS", 0)
    assert watched.told()["subject"] == "catalogsync: 2 runs failed"


def test_what_failed_before_the_sensor_was_first_started_is_not_told(watched):
    watched.run(fails="store")
    started_today = Watched(watched.instance, watched.posts)

    assert started_today.tick(RUNS) == "nothing has failed"


def test_a_canceled_run_is_no_alert(watched):
    run = watched.instance.create_run_for_job(
        TOYS.resolve_job_def("toys"), status=dg.DagsterRunStatus.STARTED
    )
    watched.instance.report_run_canceling(run)
    watched.instance.report_run_canceled(run)

    assert watched.tick(RUNS) == "nothing has failed"


def test_a_run_whose_process_died_is_told_when_it_is_not_retried_any_more(
    tmp_path, posts, never_quiet
):
    """On an instance with the settings of the project, in its files."""
    shipped = resources.files("catalogsync_assets.automation") / "dagster.yaml"
    (tmp_path / "dagster.yaml").write_text(shipped.read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        watched = Watched(instance, posts)

        def died(**tags):
            run = instance.create_run_for_job(
                TOYS.resolve_job_def("toys"), status=dg.DagsterRunStatus.STARTED, tags=tags
            )
            instance.report_run_failed(run, "Run process ended unexpectedly.")

        died()
        assert watched.tick(RUNS) == "nothing has failed"

        died(**{"dagster/max_retries": "0"})
        assert watched.tick(RUNS) == "catalogsync: toys failed: sent by webhook"
        assert "Run process ended unexpectedly." in watched.heard()[0]["text"]


def test_a_link_leads_to_where_the_web_ui_is(watched, monkeypatch):
    monkeypatch.setenv(settings.UI_VARIABLE, "https://me:hunter2@music.example/dagster/")
    run_id = watched.run(fails="store")
    watched.tick(RUNS)

    assert watched.heard()[0]["link"] == f"https://music.example/dagster/runs/{run_id}"


# --- checks -------------------------------------------------------------------------------------


def test_a_check_that_does_not_pass_is_told_although_its_run_succeeds(watched):
    run_id = watched.run("cloud|b3", check="error")

    assert watched.tick(RUNS) == "nothing has failed"

    alert = watched.told(CHECKS)

    assert alert["subject"] == "catalogsync: nothing_is_missing of cell cloud|b3 did not pass"
    assert alert["severity"] == "error"
    assert alert["text"] == "2 of 9 files are missing\n  - missing: 2"
    assert alert["link"] == "http://127.0.0.1:3000/assets/cell?view=checks"
    assert alert["fields"] == {"asset": "cell", "check": "nothing_is_missing", "run": run_id}


def test_checks_that_pass_are_no_alert(watched):
    watched.run()

    assert watched.tick(CHECKS) == "nothing has failed"


def test_a_check_that_only_warns_is_told_where_one_asks_for_it(watched, monkeypatch):
    watched.run(check="warn")
    assert watched.tick(CHECKS) == "nothing has failed"

    monkeypatch.setenv(settings.ALERT_CHECKS_VARIABLE, "warn")
    watched.run(check="warn")
    assert watched.told(CHECKS)["severity"] == "warning"


def test_a_check_is_told_once_a_run_and_those_of_a_tick_together(watched, never_quiet):
    for i in range(3):
        watched.run(f"cloud|b{i}", check="error")

    assert watched.told(CHECKS)["subject"] == "catalogsync: 3 asset checks did not pass"
    assert watched.tick(CHECKS) == "nothing has failed"


# --- notifiers ----------------------------------------------------------------------------------


def test_a_notifier_that_fails_neither_fails_the_sensor_nor_hides_the_others(
    watched, monkeypatch, caplog
):
    monkeypatch.setenv(settings.ALERTS_VARIABLE, "webhook,log")
    watched.posts.answers = [404]
    watched.run(fails="store")

    said = watched.tick(RUNS)

    assert "sent by log; not by webhook:" in said
    assert "HTTP 404" in said
    assert "cloud: timed out" in caplog.text
    assert "with all since" in watched.tick(RUNS)


def test_an_alert_that_nobody_takes_is_in_the_log_of_the_tick(watched, capsys):
    watched.posts.answers = [404]
    watched.run(fails="store")
    capsys.readouterr()

    assert "sent by none; not by webhook:" in watched.tick(RUNS)

    assert "cloud: timed out (hint: try again later)" in capsys.readouterr().err


def test_a_name_that_is_none_is_said_at_each_tick_with_those_there_are(watched, monkeypatch):
    monkeypatch.setenv(settings.ALERTS_VARIABLE, "webhook,pigeon")

    said = watched.tick(RUNS)

    assert "no notifier 'pigeon' is installed" in said
    assert "email, log, slack, webhook" in said


def test_where_no_notifier_can_be_used_the_tick_fails_and_nothing_is_lost(watched, monkeypatch):
    watched.run(fails="store")
    monkeypatch.setenv(settings.ALERTS_VARIABLE, "pigeon")
    with pytest.raises(Exception, match="no notifier 'pigeon' is installed"):
        watched.tick(RUNS)

    monkeypatch.setenv(settings.ALERTS_VARIABLE, "webhook")
    watched.tick(RUNS)

    assert len(watched.heard()) == 1


def test_a_cursor_that_cannot_be_read_begins_anew(watched):
    watched._cursors[RUNS] = "{}"

    assert watched.tick(RUNS) == "failures from now on are reported"
