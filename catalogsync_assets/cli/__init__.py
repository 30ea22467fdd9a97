"""The `catalogsync` command.

Each command reads its arguments, calls the core, and prints what came back; what it does is in
`core`. The module of a command is loaded when it is called, and modules of the core inside the
commands, so that none pays for another; Dagster only by `demo` and `dev`. Data goes to stdout,
everything else to stderr.
"""

from catalogsync_assets.cli.options import main

__all__ = ["main"]

#: The modules, and the commands that each adds to `main`.
_MODULES = {
    "adopt": ("adopt",),
    "alerts": ("alerts",),
    "audit": ("verify",),
    "backend_changes": ("backend",),
    "backends": ("backends", "register-object-backend"),
    "catalog": ("catalog",),
    "downloads": ("import", "run"),
    "export": ("export",),
    "forget": ("forget",),
    "library": ("init", "scan", "whereis"),
    "local": ("demo", "dev"),
    "offload": ("offload",),
    "policy": ("policy",),
    "prune": ("prune",),
    "rebuild": ("rebuild",),
    "restore": ("restore",),
    "roots": ("root", "roots"),
    "songs": ("songs",),
    "status": ("status",),
    "uploads": ("failures", "plan", "upload"),
}
main.modules = {name: module for module, names in _MODULES.items() for name in names}
