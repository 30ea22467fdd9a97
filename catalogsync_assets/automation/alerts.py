"""Alerts: what has failed, told once and together to whom `CATALOGSYNC_ALERTS` names.

Two sensors, so that each can be switched off: one for runs that failed, one for asset checks that
did not pass, which in Dagster do not make a run fail. How an alert reaches a person is not decided
here; see `notifications`.

Dagster's own `run_failure_sensor` is called for each run and takes five of them a tick: a backend
whose credentials have expired would be a thousand alerts by the morning, spread over hours. These
sensors read the same events by a cursor of their own, put what a tick finds into one alert, and
then are silent for `QUIET_SECONDS`.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import dagster as dg

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.redaction import redact
from catalogsync_assets.notifications.notifiers import Alert, Notifiers, Severity

UI_VARIABLE = "CATALOGSYNC_UI_URL"
DEFAULT_UI = "http://127.0.0.1:3000"
CHECKS_VARIABLE = "CATALOGSYNC_ALERT_CHECKS"
#: After an alert: what fails meanwhile is told together.
QUIET_SECONDS = 300
#: Runs whose events a tick looks into. On SQLite each has a file of its own, which costs 30 ms to
#: open for the first time; a tick has 60 s, on a machine that may be busy.
_MAX_READ = 100
#: Runs that a tick is told of, which costs next to nothing; the next tick goes on from there.
_PAGE = 1_000
#: What one alert shows in detail.
_MAX_SHOWN = 20
_MAX_FILES = 5
_MAX_CHARACTERS = 500

_PARTITION_TAG = "dagster/partition"
_WILL_RETRY_TAG = "dagster/will_retry"


@dataclass(frozen=True)
class _Finding:
    """Something that failed.

    Attributes:
        what: the asset or job, and the partition.
        reason: why, with what to do about it; perhaps with a list of files.
        link: where to look.
    """

    what: str
    reason: str
    link: str
    severity: Severity = "error"
    fields: Mapping[str, str] = field(default_factory=dict)


@dataclass
class _Cursor:
    """How far a sensor has read.

    Attributes:
        events: Dagster's cursor, by type of event.
        sent: when the last alert went out, seconds since the epoch.
    """

    events: dict[str, str]
    sent: float = 0.0

    @classmethod
    def parse(cls, text: str | None) -> _Cursor | None:
        try:
            data = json.loads(text or "")
            return cls(dict(data["events"]), float(data["sent"]))
        except (ValueError, KeyError, TypeError):
            return None

    def __str__(self) -> str:
        return json.dumps({"events": self.events, "sent": self.sent})


@dg.sensor(
    name="alert_failed_runs",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells whom CATALOGSYNC_ALERTS names which runs have failed, and why.",
)
def alert_failed_runs(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Runs that failed and are not retried by themselves; canceled ones are none of them."""
    watch = _Watch(context, [dg.DagsterEventType.RUN_FAILURE], _PAGE)
    failed = [run for run in watch.ended if run.tags.get(_WILL_RETRY_TAG) != "true"]
    found = [_of_run(context.instance, run) for run in failed[:_MAX_READ]]
    found += [_of_run(None, run) for run in failed[_MAX_READ:]]
    return watch.tell(found, "runs failed")


@dg.sensor(
    name="alert_failed_checks",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells whom CATALOGSYNC_ALERTS names which asset checks did not pass.",
)
def alert_failed_checks(context: dg.SensorEvaluationContext) -> dg.SensorResult:
    """Checks of runs that have ended; those of severity WARN only if `CATALOGSYNC_ALERT_CHECKS` is
    `warn`."""
    least = _least_severity()
    ends = [dg.DagsterEventType.RUN_SUCCESS, dg.DagsterEventType.RUN_FAILURE]
    watch = _Watch(context, ends, _MAX_READ)
    found = [f for run in watch.ended for f in _of_checks(context.instance, run)]
    return watch.tell([f for f in found if f.severity in least], "asset checks did not pass")


ALERTS: list[dg.SensorDefinition] = [alert_failed_runs, alert_failed_checks]


class _Watch:
    """One tick: which runs have ended since the last one, and telling what is found in them.

    Args:
        most: events of a kind to read in a tick.

    Attributes:
        ended: the runs of this code location, in the order in which they ended; none while it is
            quiet after an alert.
    """

    def __init__(
        self, context: dg.SensorEvaluationContext, kinds: Sequence[dg.DagsterEventType], most: int
    ) -> None:
        self._context = context
        self._most = most
        self._cursor = _Cursor.parse(context.cursor)
        self._pause = ""
        self.ended: list[dg.DagsterRun] = []
        if self._cursor is None:
            self._pause = "what fails from now on is told"
            newest = {k.value: _newest(context.instance, k) for k in kinds}
            self._cursor = _Cursor(newest)
            return
        left = self._cursor.sent + QUIET_SECONDS - time.time()
        if 0 < left <= QUIET_SECONDS:  # more: the clock was set back
            self._pause = f"an alert was sent; the next one, with all since, in {left:.0f} s"
            return
        for kind in kinds:
            self.ended += self._read(kind)

    def _read(self, kind: dg.DagsterEventType) -> list[dg.DagsterRun]:
        assert self._cursor is not None
        instance, cursors = self._context.instance, self._cursor.events
        found = instance.fetch_run_status_changes(
            kind, limit=self._most, cursor=cursors.get(kind.value), ascending=True
        )
        cursors[kind.value] = found.cursor
        ids = list(dict.fromkeys(record.run_id for record in found.records))
        if not ids:
            return []
        runs = {run.run_id: run for run in instance.get_runs(dg.RunsFilter(run_ids=ids))}
        return [runs[i] for i in ids if i in runs and self._is_ours(runs[i])]

    def _is_ours(self, run: dg.DagsterRun) -> bool:
        """Not of another code location. What a command line has started has none."""
        of_run, here = run.remote_job_origin, self._context.code_location_origin
        if of_run is None or here is None:
            return True
        origin = of_run.repository_origin.code_location_origin
        return origin.location_name == here.location_name

    def tell(self, findings: Sequence[_Finding], what: str) -> dg.SensorResult:
        """Send one alert of all that is found, if anything is.

        A notifier that fails is logged, and no reason to try the tick again: the others would get
        the alert twice.

        Raises:
            ConfigurationError: no notifier can be used; nothing is passed over, the tick is tried
                again until one can.
        """
        assert self._cursor is not None
        notifiers = Notifiers()
        if not notifiers.names:
            raise ConfigurationError("; ".join(notifiers.problems.values()))
        said = [f"{name} is not used: {why}" for name, why in notifiers.problems.items()]
        if findings:
            alert = _alert(findings, what)
            failed = notifiers.send(alert)
            self._cursor.sent = time.time()
            taken = [name for name in notifiers.names if name not in failed]
            said.append(f"{alert.subject}: sent by {', '.join(taken) or 'none'}")
            said += [f"not by {name}: {why}" for name, why in failed.items()]
            if not taken:  # then it is here, at least
                self._context.log.error(f"{alert.subject}\n{alert.body}")
            for line in said:
                self._context.log.warning(line)
        else:
            said.append(self._pause or "nothing has failed")
        return dg.SensorResult(skip_reason="; ".join(said), cursor=str(self._cursor))


def _newest(instance: dg.DagsterInstance, kind: dg.DagsterEventType) -> str:
    return instance.fetch_run_status_changes(kind, limit=1).cursor


def _least_severity() -> tuple[Severity, ...]:
    value = os.environ.get(CHECKS_VARIABLE, "error").strip().lower() or "error"
    if value not in ("error", "warn"):
        raise ConfigurationError(f"{CHECKS_VARIABLE} is {value!r}", hint="set it to error or warn")
    return ("error",) if value == "error" else ("error", "warning")


# --- what is found ------------------------------------------------------------------------------


def _of_run(instance: dg.DagsterInstance | None, run: dg.DagsterRun) -> _Finding:
    """A run that failed; without the instance, not why."""
    reasons = ["one of many; the run says why"]
    if instance is not None:
        reasons = list(dict.fromkeys(_of_steps(instance, run))) or _of_the_end(instance, run)
    return _Finding(
        _named(run),
        redact("\n".join(reasons[:_MAX_FILES]) or "it does not say why"),
        f"{_ui()}/runs/{run.run_id}",
        fields={"run": run.run_id, "job": run.job_name}
        | ({"partition": key} if (key := run.tags.get(_PARTITION_TAG)) else {}),
    )


def _named(run: dg.DagsterRun) -> str:
    """The assets of the run, or its job where it names none, and the partition."""
    assets = sorted(key.to_user_string() for key in run.asset_selection or ())
    return " ".join(
        [", ".join(assets) or run.job_name, *filter(None, [run.tags.get(_PARTITION_TAG)])]
    )


def _of_steps(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[str]:
    """Why each step failed: our own sentence with the first files, or the error's last line."""
    for entry in instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE):
        if (event := entry.dagster_event) is None:
            continue
        data = event.step_failure_data
        if (said := data.user_failure_data) is not None:
            yield _cut(said.description or "") + "".join(_details(said.metadata))
        elif data.error is not None:
            yield _cut((data.error.cause or data.error).message)


def _details(metadata: Mapping[str, dg.MetadataValue]) -> Iterator[str]:
    """The first rows of the tables that say which files failed."""
    for value in metadata.values():
        if isinstance(value, dg.TableMetadataValue):
            columns = [column.name for column in value.schema.columns]
            for record in value.records[:_MAX_FILES]:
                cells = [str(record.data.get(name) or "") for name in columns]
                yield "\n  - " + _cut(": ".join(filter(None, cells)))
            if (more := len(value.records) - _MAX_FILES) > 0:
                yield f"\n  - and {more} more"


def _of_the_end(instance: dg.DagsterInstance, run: dg.DagsterRun) -> list[str]:
    """Why a run failed of which no step did: its process died, or never began."""
    entries = instance.all_logs(run.run_id, of_type=dg.DagsterEventType.RUN_FAILURE)
    events = [entry.dagster_event for entry in entries if entry.dagster_event]
    reasons = []
    for event in events:
        data = event.event_specific_data
        error = getattr(data, "error", None)
        reasons.append(_cut(event.message or (error.message if error else "")))
    return [reason for reason in reasons if reason]


def _of_checks(instance: dg.DagsterInstance, run: dg.DagsterRun) -> Iterator[_Finding]:
    kind = dg.DagsterEventType.ASSET_CHECK_EVALUATION
    for entry in instance.all_logs(run.run_id, of_type=kind):
        data = entry.dagster_event and entry.dagster_event.event_specific_data
        if not isinstance(data, dg.AssetCheckEvaluation) or data.passed:
            continue
        asset = data.asset_key.to_user_string()
        partition = data.partition or run.tags.get(_PARTITION_TAG)
        figures = "".join(
            f"\n  - {name}: {_cut(str(value.value))}"
            for name, value in data.metadata.items()
            if isinstance(value.value, str | int | float)
        )
        is_error = data.severity == dg.AssetCheckSeverity.ERROR
        yield _Finding(
            " ".join([f"{data.check_name} of {asset}", *filter(None, [partition])]),
            redact(_cut(data.description or "it does not say why") + figures),
            f"{_ui()}/assets/{'/'.join(data.asset_key.path)}?view=checks",
            "error" if is_error else "warning",
            {"asset": asset, "check": data.check_name, "run": run.run_id},
        )


def _cut(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 1] + "…"


# --- what is told -------------------------------------------------------------------------------


def _alert(findings: Sequence[_Finding], what: str) -> Alert:
    """One alert of all that a tick has found."""
    errors = any(f.severity == "error" for f in findings)
    severity: Severity = "error" if errors else "warning"
    retry = (
        "To try again: open the run, then Re-execute, From failure. What is done is not repeated."
    )
    if len(findings) == 1:
        (one,) = findings
        verb = "failed" if "runs" in what else "did not pass"
        text = f"{one.reason}\n\n{retry}" if "runs" in what else one.reason
        subject = f"catalogsync: {one.what} {verb}"
        return Alert(subject, text, severity, one.link, dict(one.fields))
    return Alert(
        f"catalogsync: {len(findings)} {what}",
        "\n\n".join([*_by_reason(findings), *([retry] if "runs" in what else [])]),
        severity,
        f"{_ui()}/runs" + ("?q[0]=status:FAILURE" if "runs" in what else ""),
        {"count": str(len(findings))},
    )


def _by_reason(findings: Iterable[_Finding]) -> Iterator[str]:
    """What failed, grouped by why; the most frequent reason first."""
    findings = list(findings)
    counts = Counter(f.reason for f in findings)
    for reason, count in counts.most_common(_MAX_SHOWN):
        names = [f.what for f in findings if f.reason == reason]
        shown = ", ".join(names[:_MAX_FILES])
        more = f" and {count - _MAX_FILES} more" if count > _MAX_FILES else ""
        yield f"{shown}{more}:\n{reason}"
    if len(counts) > _MAX_SHOWN:
        yield f"and {len(counts) - _MAX_SHOWN} more reasons"


def _ui() -> str:
    """Where the web UI is. Dagster itself does not know."""
    return redact(os.environ.get(UI_VARIABLE, "").strip() or DEFAULT_UI).rstrip("/")
