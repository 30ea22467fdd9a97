"""Reports an upload to Dagster, where DAGSTER_HOME is set.

Dagster takes seconds to load, so only once something was uploaded. An upload never fails because
it cannot be reported: the sensor `catalog_partitions` finds it in the catalog.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING

from catalogsync_assets.cli import output

if TYPE_CHECKING:
    from catalogsync_assets.core.catalog.database import Catalog
    from catalogsync_assets.core.catalog.scope import Scope
    from catalogsync_assets.core.stores.backend import ObjectBackend
    from catalogsync_assets.core.upload.report import UploadReport

#: Characters of a reason; Dagster's may be pages.
_LONGEST = 200


def cell_reporter(
    catalog: Catalog, backend: ObjectBackend, scope: Scope, *, by: str
) -> Callable[[UploadReport], None]:
    """Made before an upload, as only then it can be seen which batches it is about.

    Args:
        scope: of the upload.
        by: the command, as it is called in the report.

    Returns:
        What, after the upload, reports the cells that are whole then, and says why in one line on
        stderr if it cannot.
    """
    from catalogsync_assets.core.catalog.cells import waiting_batches

    home = os.environ.get("DAGSTER_HOME")
    batches = waiting_batches(catalog, backend, scope) if home else []

    def report_cells(report: UploadReport) -> None:
        if not (home and batches and report.succeeded + report.adopted + report.copied):
            return
        # Without what Dagster has to say of its own affairs: a missing `dagster.yaml`, beta APIs.
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                from catalogsync_assets.assets.filled_cells import report_whole_cells

                report_whole_cells(catalog, backend, batches, home=home, by=by)
        except Exception as error:  # whatever is wrong, the upload has not failed
            why = (str(error).strip().partition("\n")[0] or type(error).__name__)[:_LONGEST]
            output.message("warning", f"Dagster was not told: DAGSTER_HOME {home}: {why}")
        finally:
            logging.disable(before)

    return report_cells
