from catalogsync_assets_tests.support.packages import *  # noqa: F403
