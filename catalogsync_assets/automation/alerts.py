"""Alerts: what has failed, reported once and together to the notifiers in `CATALOGSYNC_ALERTS`.

Two sensors, so that each can be switched off: one for runs that failed, one for asset checks that
did not pass, which in Dagster do not make a run fail. Why a run failed is read from its events, and
which files of a cell from the catalog. How an alert reaches a person: see `notifications`.

Dagster's own `run_failure_sensor` is called for each run and takes five of them a tick: a backend
whose credentials have expired would be a thousand alerts by the morning, spread over hours. These
sensors read the same events by a cursor of their own, put what a tick finds into one alert, and
then are silent for `QUIET_SECONDS`.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any

import dagster as dg

from catalogsync_assets.core.catalog.cells import failures
from catalogsync_assets.core.catalog.database import Catalog
from catalogsync_assets.core.errors import CatalogError, CatalogSyncError, ConfigurationError
from catalogsync_assets.core.redaction import redact
from catalogsync_assets.core.settings import alerts_warn, ui_url
from catalogsync_assets.notifications.notifiers import Alert, Notifiers
from catalogsync_assets.resources import CatalogResource

#: After an alert: what fails meanwhile is reported together.
QUIET_SECONDS = 300
#: Runs whose events a tick looks into. On SQLite each has a file of its own, which costs 30 ms to
#: open for the first time; a tick has 60 s, on a machine that may be busy.
_MAX_READ = 100
#: Runs that a tick reads, which costs next to nothing; the next tick goes on from there.
_PAGE = 1_000
#: Seconds after which an alert goes out without what a locked or slow catalog has not yet said.
_CATALOG_SECONDS = 5.0
#: What one alert shows in detail.
_MAX_SHOWN = 20
_MAX_FILES = 5
_MAX_CHARACTERS = 500

_PARTITION_TAG = "dagster/partition"
_BACKEND_TAG, _BATCH_TAG = f"{_PARTITION_TAG}/backend", f"{_PARTITION_TAG}/batch"
_WILL_RETRY_TAG = "dagster/will_retry"
_RETRY = "To try again: open the run, then Re-execute, From failure. What is done is not repeated."


@dg.sensor(
    name="alert_failed_runs",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the notifiers in CATALOGSYNC_ALERTS which runs have failed, and why.",
)
def alert_failed_runs(
    context: dg.SensorEvaluationContext, catalog: CatalogResource
) -> dg.SensorResult:
    """Runs that failed and are not retried by themselves; not canceled ones."""

    def find(ended: list[dg.RunRecord]) -> list[Alert]:
        failed = [r for r in ended if r.dagster_run.tags.get(_WILL_RETRY_TAG) != "true"]
        files = _files(context, catalog, failed[:_MAX_READ])
        runs = [r.dagster_run for r in failed]
        return [
            _of_run(run, _reasons(context.instance, run), files.get(run.run_id, ()))
            for run in runs[:_MAX_READ]
        ] + [_of_run(run, ["one of many; the run says why"]) for run in runs[_MAX_READ:]]

    return _tick(context, [dg.DagsterEventType.RUN_FAILURE], _PAGE, find)


@dg.sensor(
    name="alert_failed_checks",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells the notifiers in CATALOGSYNC_ALERTS which asset checks did not pass.",
)
def alert_failed_checks(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Checks of runs that have ended; those of severity WARN only if `CATALOGSYNC_ALERT_CHECKS` is
    `warn`."""
    warn = alerts_warn()

    def find(ended: list[dg.RunRecord]) -> list[Alert]:
        found = [a for r in ended for a in _of_checks(context.instance, r.dagster_run)]
        return [a for a in found if warn or a.severity == "error"]

    ends = [dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE]
    return _tick(context, ends, _MAX_READ, find)


ALERTS: list[dg.SensorDefinition] = [alert_failed_runs, alert_failed_checks]


def _tick(
    context: dg.SensorEvaluationContext,
    ends: Sequence[dg.DagsterEventType],
    most: int,
    find: Callable[[list[dg.RunRecord]], list[Alert]],
) -> dg.SensorResult:
    """Send one alert of all that is found in the runs that have ended since the last tick.

    A notifier that fails is logged; the tick is not tried again, as the others would get the alert
    twice.

    Args:
        ends: how the runs have ended.
        most: runs to read in a tick, of each kind of end.
        find: what to report of them, each as an alert of its own.

    Raises:
        ConfigurationError: no notifier can be used; nothing is passed over, the tick is tried
            again until one can.
    """
    notifiers = Notifiers()
    if not notifiers.names:
        raise ConfigurationError("; ".join(notifiers.problems.values()))
    said = [f"{name} is not used: {why}" for name, why in notifiers.problems.items()]
    cursor = _parsed(context.cursor)
    if cursor is None:
        newest = {e.value: context.instance.fetch_run_status_changes(e, 1).cursor for e in ends}
        cursor = {"events": newest, "sent": 0.0}
        said.append("failures from now on are reported")
    # More is left where the clock was set back.
    elif 0 < (left := cursor["sent"] + QUIET_SECONDS - time.time()) <= QUIET_SECONDS:
        said.append(f"an alert was sent; the next one, with all since then, in {left:.0f} s")
    elif not (found := find(_ended(context, cursor["events"], ends, most))):
        said.append("nothing has failed")
    else:
        alert = _together(found)
        failed = notifiers.send(alert)
        cursor["sent"] = time.time()
        taken = [name for name in notifiers.names if name not in failed]
        said.append(f"{alert.subject}: sent by {', '.join(taken) or 'none'}")
        said += [f"not by {name}: {why}" for name, why in failed.items()]
        if not taken:  # then it is here, at least
            context.log.error(f"{alert.subject}\n{alert.body}")
        for line in said:
            context.log.warning(line)
    return dg.SensorResult(skip_reason="; ".join(said), cursor=json.dumps(cursor))


def _parsed(cursor: str | None) -> dict[str, Any] | None:
    """How far a sensor has read: `events`, Dagster's cursor by type of event; `sent`, when the last
    alert went out, seconds since the epoch."""
    try:
        data = json.loads(cursor or "")
        return {"events": dict(data["events"]), "sent": float(data["sent"])}
    except (ValueError, KeyError, TypeError):
        return None


def _ended(
    context: dg.SensorEvaluationContext,
    cursors: dict[str, str],
    ends: Sequence[dg.DagsterEventType],
    most: int,
) -> list[dg.RunRecord]:
    """The runs of this code location, in the order in which they ended; moves the cursors on."""
    ended = []
    for end in ends:
        found = context.instance.fetch_run_status_changes(
            end, most, cursors.get(end.value), ascending=True
        )
        cursors[end.value] = found.cursor
        if ids := list(dict.fromkeys(record.run_id for record in found.records)):
            runs = {
                r.dagster_run.run_id: r
                for r in context.instance.get_run_records(dg.RunsFilter(run_ids=ids))
            }
            ended += [runs[i] for i in ids if i in runs and _is_ours(context, runs[i].dagster_run)]
    return ended


def _is_ours(context: dg.SensorEvaluationContext, run: dg.DagsterRun) -> bool:
    """Whether a run is of this code location. One started by a command line has none."""
    of_run, here = run.remote_job_origin, context.code_location_origin
    if of_run is None or here is None:
        return True
    return of_run.repository_origin.code_location_origin.location_name == here.location_name


# --- what is found ------------------------------------------------------------------------------


def _of_run(run: dg.DagsterRun, reasons: Sequence[str], files: Sequence[str] = ()) -> Alert:
    """A run that failed: its assets, or its job where it names none, and the partition."""
    assets = ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ()))
    partition = {"partition": key} if (key := run.tags.get(_PARTITION_TAG)) else {}
    lines = [_short(reason) for reason in reasons[:_MAX_FILES]] or ["it does not say why"]
    lines += [f"  - {_short(file)}" for file in files[:_MAX_FILES]]
    if len(files) > _MAX_FILES:
        lines.append(f"  - and {len(files) - _MAX_FILES} more")
    return Alert(
        " ".join([assets or run.job_name, *partition.values()]),
        "\n".join(lines),
        link=f"{_ui()}/runs/{run.run_id}",
        fields={"run": run.run_id, "job": run.job_name, **partition},
    )


def _files(
    context: dg.SensorEvaluationContext, catalog: CatalogResource, failed: Sequence[dg.RunRecord]
) -> dict[str, list[str]]:
    """Which files failed in the runs of cells, and why, by run id.

    Where the catalog cannot be read, the runs' own events are used.
    """
    of_cells = [r for r in failed if {_BACKEND_TAG, _BATCH_TAG} <= r.dagster_run.tags.keys()]
    found, deadline = {}, time.monotonic() + _CATALOG_SECONDS
    try:
        if of_cells:
            # Not by the resource: it waits longer than a tick may take.
            opened = Catalog.open(catalog.location, busy_timeout=_CATALOG_SECONDS)
            with closing(opened) as database:
                for record in of_cells:
                    if time.monotonic() > deadline:
                        raise CatalogError("the catalog is slow to answer")
                    cell = [record.dagster_run.tags[tag] for tag in (_BACKEND_TAG, _BATCH_TAG)]
                    rows = failures(database, *cell, since=record.start_time or time.time())
                    found[record.dagster_run.run_id] = [": ".join(filter(None, r)) for r in rows]
    except CatalogSyncError as error:
        context.log.warning(f"the alert does not name files: {error}")
    return found


def _reasons(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """Why a run failed: what its steps say, or, where none has failed, its end: the process died,
    or never began."""
    of_steps, of_end = [], []
    kinds = {dg.DagsterEventType.STEP_FAILURE, dg.DagsterEventType.RUN_FAILURE}
    for entry in instance.all_logs(run.run_id, of_type=kinds):
        if (event := entry.dagster_event) is None:
            continue
        if event.event_type == dg.DagsterEventType.RUN_FAILURE:
            of_end.append(event.message)
        elif (said := event.step_failure_data.user_failure_data) is not None:
            of_steps.append(said.description)
        elif (error := event.step_failure_data.error) is not None:
            of_steps.append((error.cause or error).message)
    return list(dict.fromkeys(filter(None, of_steps or of_end)))


def _of_checks(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[Alert]:
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    for entry in instance.all_logs(run.run_id, of_type=kind):
        data = entry.dagster_event and entry.dagster_event.event_specific_data
        if not isinstance(data, dg.AssetCheckEvaluation) or data.passed:
            continue
        asset = data.asset_key.to_user_string()
        partition = data.partition or run.tags.get(_PARTITION_TAG)
        figures = [
            f"\n  - {name}: {_short(str(value.value))}"
            for name, value in data.metadata.items()
            if isinstance(value.value, str | int | float)
        ]
        yield Alert(
            " ".join(filter(None, [f"{data.check_name} of {asset}", partition])),
            _short(data.description or "it does not say why") + "".join(figures),
            "error" if data.severity == dg.AssetCheckSeverity.ERROR else "warning",
            f"{_ui()}/assets/{'/'.join(data.asset_key.path)}?view=checks",
            {"asset": asset, "check": data.check_name, "run": run.run_id},
        )


def _short(text: str) -> str:
    """Without the secrets of addresses: first, as half an address would not be recognised."""
    text = redact(text.strip())
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"


# --- what is reported ---------------------------------------------------------------------------


def _together(found: Sequence[Alert]) -> Alert:
    """One alert of all that a tick has found."""
    what, verb, hint = "asset checks", "did not pass", ""
    if of_runs := "job" in found[0].fields:
        what, verb, hint = "runs", "failed", f"\n\n{_RETRY}"
    if len(found) == 1:
        (one,) = found
        return replace(one, subject=f"catalogsync: {one.subject} {verb}", text=one.text + hint)
    return Alert(
        f"catalogsync: {len(found)} {what} {verb}",
        "\n\n".join(_by_reason(found)) + hint,
        "error" if any(a.severity == "error" for a in found) else "warning",
        f"{_ui()}/runs" + ("?q[0]=status:FAILURE" if of_runs else ""),
        {"count": str(len(found))},
    )


def _by_reason(found: Sequence[Alert]) -> Iterator[str]:
    """What failed, grouped by why; the most frequent reason first."""
    counts = Counter(a.text for a in found)
    for reason, count in counts.most_common(_MAX_SHOWN):
        names = [a.subject for a in found if a.text == reason]
        shown = ", ".join(names[:_MAX_FILES])
        more = f" and {count - _MAX_FILES} more" if count > _MAX_FILES else ""
        yield f"{shown}{more}:\n{reason}"
    if len(counts) > _MAX_SHOWN:
        yield f"and {len(counts) - _MAX_SHOWN} more reasons"


def _ui() -> str:
    """Where the web UI is. Dagster itself does not know."""
    return redact(ui_url())
