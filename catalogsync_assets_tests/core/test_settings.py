"""Settings: all in one place, and each in the tables of the documentation."""

import ast
import re
from pathlib import Path

from catalogsync_assets.core import settings

ROOT = Path(settings.__file__).parents[2]
VARIABLES = {
    value
    for name, value in vars(settings).items()
    if name.endswith("_VARIABLE") and value.startswith("CATALOGSYNC_")
}


def documented(page):
    """The variables in the first or last column of a page's tables, and their defaults."""
    rows = re.findall(r"^\| (.*) \|$", (ROOT / page).read_text(), re.M)
    cells = [[cell.strip() for cell in row.split(" | ")] for row in rows]
    return {row[0].strip("`"): row[-1] for row in cells if row[0].startswith("`CATALOGSYNC_")}


def test_the_readme_and_the_page_on_alerts_list_every_setting():
    alerts = (ROOT / "docs/alerts.md").read_text()
    for_notifiers = {
        name for name in VARIABLES if f"export {name}=" in alerts or f"`{name}`" in alerts
    }

    assert set(documented("README.md")) | for_notifiers == VARIABLES
    assert {name for name in VARIABLES if "_ALERT_" not in name} == set(documented("README.md"))


def test_the_documented_defaults_are_those_of_the_code():
    readme, alerts = documented("README.md"), documented("docs/alerts.md")

    assert readme["CATALOGSYNC_DB"] == f"`{settings.DEFAULT_CATALOG}`"
    assert readme["CATALOGSYNC_ALERTS"] == f"`{settings.DEFAULT_NOTIFIER}`"
    assert readme["CATALOGSYNC_UI_URL"] == f"`{settings.DEFAULT_UI}`"
    assert {name: readme.get(name, default) for name, default in alerts.items()} == alerts


def test_no_other_module_names_a_variable():
    """Text for people may, and the demo's credentials have a prefix of their own."""
    named = [
        (path.name, node.value)
        for path in (ROOT / "catalogsync_assets").rglob("*.py")
        if path != Path(settings.__file__)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and re.fullmatch("CATALOGSYNC_[A-Z_]+", str(node.value))
    ]

    assert named == [("run.py", "CATALOGSYNC_DEMO")]
