"""Python's garbage collection is as it was once the last run has ended."""

import gc

from catalogsync_assets.core.runner.garbage import seldom_collected


def test_runs_that_overlap_leave_the_collector_as_it_was():
    before, frozen = gc.get_threshold(), gc.get_freeze_count()
    first, second = seldom_collected(), seldom_collected()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert gc.get_threshold()[0] > before[0]
    second.__exit__(None, None, None)
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() <= frozen
