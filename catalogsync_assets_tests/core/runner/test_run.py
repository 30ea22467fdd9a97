"""The loop that every job of many tasks shares."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from catalogsync_assets.core.errors import BucketMissingError, CatalogError, RunAborted
from catalogsync_assets.core.runner import run as module
from catalogsync_assets.core.runner.report import MOST_LISTED, Failure, RunReport
from catalogsync_assets.core.runner.run import Run, claims, limited, reporting

GONE = BucketMissingError("there is no bucket", code="NoSuchBucket")


@dataclass
class Report(RunReport[Failure]):
    workers: int


class Job:
    """Numbers are tasks; what became of each, and what was recorded, in which batches."""

    def __init__(self) -> None:
        self.report = Report(3)
        self.stop = threading.Event()
        self.recorded: list[list[Any]] = []

    def run(self, *pages: list[int], **options: Any) -> Run[int, Any, Any]:
        left = iter(pages)
        self.made: Run[int, Any, Any] = Run(
            self.report,
            **{
                "name": "test",
                "workers": 3,
                "stop": self.stop,
                "claim": lambda: next(left, None),
                "work": lambda number: number * 10,
                "take": lambda number, outcome: (number, outcome),
                "record": self.recorded.append,
                **options,
            },
        )
        return self.made

    def all_recorded(self) -> list[Any]:
        return [result for batch in self.recorded for result in batch]


@pytest.fixture
def job():
    return Job()


def test_every_task_is_claimed_worked_on_taken_and_recorded(job):
    job.run([1, 2], [], [3]).execute()

    assert sorted(job.all_recorded()) == [(1, 10), (2, 20), (3, 30)]


def test_without_tasks_nothing_is_recorded(job):
    job.run().execute()

    assert job.recorded == []


def test_what_comes_back_to_the_queue_is_done_once_all_else_is(job):
    given_back: list[list[int] | None] = [[1], None, [2], None, None]

    job.run(claim=lambda: given_back.pop(0)).execute()

    assert sorted(job.all_recorded()) == [(1, 10), (2, 20)]


def test_many_pages_are_not_claimed_before_they_are_needed(job):
    claimed, done, ahead = [], [], []

    def claim():
        ahead.append(len(claimed) - len(done))
        page = [0] * 100 if len(claimed) < 1_000 else []
        claimed.extend(page)
        return page or None

    job.run(claim=claim, work=done.append).execute()

    assert len(done) == 1_000
    assert max(ahead) <= 4 * 3 + 3  # those that wait for three workers, and are in their hands


def test_what_a_worker_raises_is_an_outcome_in_the_callers_thread(job):
    taken = []

    def work(number):
        raise KeyboardInterrupt

    def take(number, outcome):
        taken.append((number, type(outcome), threading.current_thread()))

    job.run([1], work=work, take=take).execute()

    assert taken == [(1, KeyboardInterrupt, threading.main_thread())]
    assert job.recorded == []


def test_a_task_is_taken_before_others_are_done(job):
    """No outcome waits for that of a task that takes long."""
    fast_is_taken = threading.Event()

    def work(number):
        return number if number else fast_is_taken.wait(10)

    def take(number, outcome):
        if number:
            fast_is_taken.set()
        return outcome

    job.run([0, 1], work=work, take=take).execute()

    assert job.all_recorded() == [1, True]


def test_in_order_each_outcome_waits_for_those_before_it(job):
    later_are_done = threading.Barrier(2)

    def work(number):
        if number in (0, 2):
            later_are_done.wait(10)
        return number

    job.run([0, 1, 2], take=lambda _, outcome: outcome, work=work, in_order=True).execute()

    assert job.all_recorded() == [0, 1, 2]


def test_in_order_no_more_is_claimed_than_is_remembered(job):
    """One that hangs must not keep all that comes behind it in memory."""
    pages = [[0], *([n] for n in range(1, 200))]
    claimed = []

    def claim():
        claimed.append(len(claimed))
        return pages.pop(0) if pages else None

    def work(number):
        if number == 0:
            until = threading.Event()
            while not until.wait(0.1):
                if (now := len(claimed)) == before[-1]:
                    return now
                before.append(now)
        return number

    before = [0]
    job.run(claim=claim, work=work, take=lambda _, outcome: outcome, in_order=True).execute()

    assert 10 < job.all_recorded()[0] < 100
    assert job.all_recorded()[1:] == list(range(1, 200))


def test_by_page_the_next_is_claimed_once_the_last_is_recorded(job):
    recorded_when_claimed = []
    pages = [[1, 2, 3], [4, 5]]

    def claim():
        recorded_when_claimed.append(len(job.recorded))
        return pages.pop(0) if pages else None

    job.run(claim=claim, take=lambda number, _: number, by_page=True).execute()

    assert job.recorded == [[1, 2, 3], [4, 5]]
    assert recorded_when_claimed == [0, 1, 2]


def test_by_page_what_is_incomplete_is_never_recorded(job):
    def work(number):
        if number == 2:
            raise OSError("unexpected")
        return number

    def take(number, outcome):
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    with pytest.raises(OSError, match="unexpected"):
        job.run([1, 2, 3], work=work, take=take, by_page=True).execute()

    assert job.recorded == []


def test_by_page_what_will_not_be_recorded_is_not_waited_for(job, monkeypatch):
    monkeypatch.setattr(module, "_GRACE_SECONDS", 60)
    hangs = threading.Event()

    def work(number):
        if number == 1:
            raise OSError("unexpected")
        hangs.wait(60)

    def take(_, outcome):
        raise outcome

    began = time.monotonic()
    with pytest.raises(OSError, match="unexpected"):
        job.run([1, 2], work=work, take=take, by_page=True).execute()
    hangs.set()

    assert time.monotonic() - began < 10


# --- ends ---------------------------------------------------------------------------------------


def test_a_run_that_is_ended_begins_nothing_more_and_says_why(job):
    begun = []

    def work(number):
        begun.append(number)
        job.stop.wait(0.01)
        raise GONE

    def take(number, outcome):
        job.made.end(GONE)
        job.made.end(CatalogError("a later one"))
        return outcome

    with pytest.raises(RunAborted, match="there is no bucket") as caught:
        job.run(list(range(1_000)), work=work, take=take).execute()

    assert (caught.value.cause, caught.value.report) == (GONE, job.report)
    assert job.stop.is_set()
    assert len(begun) < 1_000


@pytest.mark.parametrize("finish", [True, False])
def test_what_has_begun_may_finish_where_that_is_said(job, finish):
    both_begun = threading.Barrier(2)
    stopped = []

    def work(number):
        both_begun.wait(10)
        if number == 0:
            raise GONE
        return job.stop.wait(0.3)

    def take(number, outcome):
        if number == 0:
            job.made.end(outcome, finish=finish)
        else:
            stopped.append(outcome)

    with pytest.raises(RunAborted):
        job.run([0, 1], work=work, take=take).execute()

    assert stopped == [not finish]


def test_an_interrupt_records_what_is_done_and_what_comes_soon(job):
    both_begun = threading.Barrier(3)

    def tick():
        both_begun.wait(10)
        raise KeyboardInterrupt

    def work(number):
        both_begun.wait(10)
        return number if number == 0 else job.stop.wait(10)

    with pytest.raises(KeyboardInterrupt):
        job.run([0, 1], work=work, tick=tick, take=lambda _, outcome: outcome).execute()

    assert sorted(job.all_recorded()) == [0, 1]


@pytest.mark.parametrize("why", ["it hangs", "a person is asked"])
def test_the_end_does_not_wait_for_ever(job, monkeypatch, why):
    monkeypatch.setattr(module, "_GRACE_SECONDS", 0.1 if why == "it hangs" else 60)
    begun, let_go = threading.Event(), threading.Event()

    def work(number):
        begun.set()
        return let_go.wait(2)

    def tick():
        begun.wait(10)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        job.run([1], work=work, tick=tick, blocked=lambda: int(why != "it hangs")).execute()

    assert job.recorded == []
    let_go.set()


def test_a_batch_that_could_not_be_recorded_is_tried_once_more_with_what_came_meanwhile(job):
    def record(results):
        job.recorded.append(list(results))
        if len(job.recorded) == 1:
            raise CatalogError("the database is locked")

    with pytest.raises(CatalogError, match="locked"):
        job.run(list(range(2_400)), record=record).execute()

    assert job.recorded[0] == job.recorded[1][: len(job.recorded[0])]
    assert len(job.recorded) == 2


# --- around a run -------------------------------------------------------------------------------


def test_claims_are_limited():
    asked = []

    def claim(count):
        asked.append(count)
        return range(min(count, 4))

    next_page = claims(claim, page=4, limit=6)

    assert [len(next_page() or ()) for _ in range(3)] == [4, 2, 0]
    assert asked == [4, 2]
    assert claims(lambda _: [], page=4, limit=None)() is None


def test_what_waits_is_cut_to_the_limit():
    assert limited(10, 1_000, None) == limited(10, 1_000, 10) == (10, 1_000)
    assert limited(10, 1_000, 3) == (3, 300)
    assert limited(0, 0, 0) == (0, 0)


def test_a_store_that_refuses_aborts_and_the_report_is_shown_a_last_time(job):
    shown = []

    with (
        pytest.raises(RunAborted, match="there is no bucket"),
        reporting(job.report, lambda report: shown.append(report.seconds)),
    ):
        raise GONE

    assert shown == [job.report.seconds]
    assert job.report.seconds > 0


def test_reports_count_all_failures_and_list_a_thousand(job):
    for number in range(MOST_LISTED + 5):
        job.report.note_failure(Failure(f"{number}.mp3", "Gone" if number % 2 else "Odd", "why"))

    assert (job.report.failed, len(job.report.failures)) == (1_005, 1_000)
    assert job.report.reasons == {"Odd": 503, "Gone": 502}
