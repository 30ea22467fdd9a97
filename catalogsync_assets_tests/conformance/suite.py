"""The one suite that every store runs; see `test_ceph` for how a store is added."""

from catalogsync_assets_tests.conformance.audits import Audits
from catalogsync_assets_tests.conformance.copies import Copies
from catalogsync_assets_tests.conformance.disasters import Disasters
from catalogsync_assets_tests.conformance.living_library import LivingLibrary
from catalogsync_assets_tests.conformance.old_weight import OldWeight
from catalogsync_assets_tests.conformance.uploads import Uploads
from catalogsync_assets_tests.conformance.whole_way import WholeWay


class Suite(Uploads, Audits, Copies, LivingLibrary, OldWeight, Disasters, WholeWay):
    """All that is asked of a store."""
