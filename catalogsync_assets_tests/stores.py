from catalogsync_assets_tests.support.stores import *  # noqa: F403
