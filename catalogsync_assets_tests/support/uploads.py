"""What tests of uploads say in the same words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from catalogsync_assets.core.catalog.upload_queue import Uploaded, UploadTask
from catalogsync_assets.core.errors import RunAborted
from catalogsync_assets.core.upload.upload import UploadReport

#: Of the large file, which goes in two parts of 5 MiB and a rest.
SIZE = 12 * 1024 * 1024 + 345
#: Of what `done` tasks are said to hold.
DIGEST = "ab" * 32


def done(task: UploadTask) -> Uploaded:
    """What became of a task, where no store is asked."""
    return Uploaded(task, DIGEST, '"etag"', "server-digest", adopted=False)


def aborted(run: Callable[..., UploadReport], *arguments: Any, **options: Any) -> RunAborted:
    """What an upload that does not come to its end says."""
    with pytest.raises(RunAborted) as caught:
        run(*arguments, **options)
    return caught.value


def codes(report: Any) -> list[str]:
    """Why files have failed, in order."""
    return sorted(failure.code for failure in report.failures)
