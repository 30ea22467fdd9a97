"""Between the run and its workers: what is handed out, and what comes back."""

import threading
from collections.abc import Callable

import pytest

from catalogsync_assets.core.runner import dispatch as module
from catalogsync_assets.core.runner.dispatch import Dispatch, Job

Number = Job[int, str]
Numbers = Dispatch[int, str]


def of_numbers(max_bytes: int = 10**9) -> Numbers:
    """Tasks are numbers, and need as many bytes."""
    return Dispatch(max_bytes, lambda n: n)


def take(dispatch: Numbers) -> Number:
    job = dispatch.take()
    assert job is not None
    return job


def taken(dispatch: Numbers) -> Callable[[], Number | None]:
    """Takes in a thread; the call waits for what was taken."""
    result = []
    thread = threading.Thread(target=lambda: result.append(dispatch.take()))
    thread.start()

    def wait() -> Number | None:
        thread.join(10)
        return result[0]

    return wait


def outcomes(dispatch: Numbers, *, at_least: int = 1, low_water: int = -1) -> list[object]:
    found = dispatch.outcomes(at_least=at_least, low_water=low_water, timeout=60)
    return [(job.task, job.outcome) for job in found]


def test_tasks_go_out_in_the_order_in_which_they_came():
    dispatch = of_numbers()
    dispatch.add([3, 1, 2])

    assert [take(dispatch).task for _ in range(3)] == [3, 1, 2]
    assert (dispatch.waiting, dispatch.in_hand) == (0, 3)


def test_a_task_waits_until_there_is_memory_for_it():
    dispatch = of_numbers(max_bytes=100)
    dispatch.add([60, 41])
    first = take(dispatch)
    second = taken(dispatch)

    assert dispatch.waiting == 1
    dispatch.done(first, "there")
    assert take(dispatch).task == 41
    dispatch.close()
    assert second() is None


def test_memory_that_one_task_gives_back_is_enough_for_several():
    dispatch = of_numbers(max_bytes=100)
    dispatch.add([90, 50, 40])
    first = take(dispatch)
    other = taken(dispatch)

    dispatch.done(first, "there")

    assert {take(dispatch).task, other().task} == {50, 40}


def test_a_task_of_more_than_all_memory_goes_alone():
    dispatch = of_numbers(max_bytes=100)
    dispatch.add([500])

    assert take(dispatch).task == 500


def test_outcomes_come_together():
    dispatch = of_numbers()
    dispatch.add([1, 2])
    for _ in range(2):
        job = take(dispatch)
        dispatch.done(job, f"did {job.task}")

    assert outcomes(dispatch, at_least=10) == [(1, "did 1"), (2, "did 2")]
    assert dispatch.idle


def test_a_failure_is_told_at_once():
    """The run may have to stop: the others would meet the same."""
    dispatch = of_numbers()
    dispatch.add([1, 2])
    refused = OSError("refused")
    dispatch.done(take(dispatch), refused)

    assert outcomes(dispatch, at_least=10) == [(1, refused)]


def test_the_run_is_woken_before_the_workers_have_nothing_to_do():
    dispatch = of_numbers()
    dispatch.add([1, 2, 3])
    dispatch.take()

    assert outcomes(dispatch, at_least=10, low_water=2) == []


def test_nothing_is_handed_out_after_the_end():
    dispatch = of_numbers()
    waiting = taken(dispatch)

    dispatch.close()

    assert waiting() is None
    assert dispatch.take() is None


# --- stragglers ---------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(module, "STRAGGLER_SECONDS", 0.0)
    monkeypatch.setattr(module, "_STRAGGLER_FACTOR", 0.0)


def one_late() -> tuple[Numbers, Number]:
    """Task 1 is in hand, task 2 has come through."""
    dispatch = of_numbers()
    dispatch.add([1, 2])
    late = take(dispatch)
    dispatch.done(take(dispatch), "there")
    return dispatch, late


@pytest.mark.usefixtures("impatient")
def test_a_straggler_is_handed_out_once_more():
    dispatch, late = one_late()

    assert [dispatch.repeat_stragglers(lambda _: True) for _ in range(2)] == [1, 0]
    assert dispatch.take() is late
    assert dispatch.repeat_stragglers(lambda _: True) == 0


@pytest.mark.usefixtures("impatient")
def test_whoever_brings_a_straggler_first_counts():
    dispatch, late = one_late()
    dispatch.repeat_stragglers(lambda _: True)
    dispatch.take()

    dispatch.done(late, "the second was faster")
    assert outcomes(dispatch, at_least=2)[-1] == (1, "the second was faster")
    assert dispatch.idle

    dispatch.done(late, "late")
    assert outcomes(dispatch) == []


@pytest.mark.usefixtures("impatient")
def test_a_straggler_that_comes_in_time_is_not_repeated():
    dispatch, late = one_late()
    dispatch.repeat_stragglers(lambda _: True)

    dispatch.done(late, "there")

    assert dispatch.waiting == 0


@pytest.mark.usefixtures("impatient")
def test_what_must_not_go_twice_does_not():
    dispatch, _ = one_late()

    assert dispatch.repeat_stragglers(lambda task: task != 1) == 0


@pytest.mark.usefixtures("impatient")
def test_nothing_is_repeated_while_something_waits_or_nothing_has_come_through():
    dispatch, _ = one_late()
    dispatch.add([3])
    fresh = of_numbers()
    fresh.add([1])
    fresh.take()

    assert dispatch.repeat_stragglers(lambda _: True) == 0
    assert fresh.repeat_stragglers(lambda _: True) == 0


def test_what_takes_about_as_long_as_others_is_no_straggler(monkeypatch):
    monkeypatch.setattr(module, "STRAGGLER_SECONDS", 0.0)
    monkeypatch.setattr(module, "_STRAGGLER_FACTOR", 1_000_000.0)

    assert one_late()[0].repeat_stragglers(lambda _: True) == 0


def test_no_more_go_out_than_are_allowed_now():
    allowed = 1
    dispatch: Numbers = Dispatch(10**9, lambda n: n, lambda: allowed)
    dispatch.add([1, 2, 3])
    first = take(dispatch)
    other = taken(dispatch)

    allowed = 2
    dispatch.done(first, "there")

    assert {take(dispatch).task, other().task} == {2, 3}


def test_it_is_short_of_workers_while_one_more_would_get_a_task():
    dispatch = of_numbers(max_bytes=100)
    dispatch.add([40, 50, 60])

    assert dispatch.is_short
    take(dispatch)
    assert dispatch.is_short
    take(dispatch)
    assert not dispatch.is_short


def test_memory_is_lent_while_no_task_waits_for_it():
    dispatch = of_numbers(max_bytes=100)
    dispatch.add([40])
    take(dispatch)

    assert dispatch.borrow(60)
    assert not dispatch.borrow(1)
    dispatch.add([10])
    dispatch.give_back(60)
    assert not dispatch.borrow(1)
    assert take(dispatch).task == 10
    assert dispatch.borrow(50)
