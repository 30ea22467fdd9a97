from catalogsync_assets_tests.support.proxy import *  # noqa: F403
