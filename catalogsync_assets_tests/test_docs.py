"""The documents say what is there."""

import re
from pathlib import Path
from typing import get_args

import click
import pytest

from catalogsync_assets.cli import main
from catalogsync_assets.core.catalog.locations import TRANSITIONS, Status
from catalogsync_assets.core.catalog.schema import metadata

PROJECT = Path(__file__).parents[1]
DOCUMENTS = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
NAMES = [path.name for path in DOCUMENTS]
#: Options of other programs that the documents name.
OF_OTHERS = {"--select", "--partition", "--assets", "--config-json"}
_PROGRAM = click.Context(main)
TOP = {name: main.get_command(_PROGRAM, name) for name in main.list_commands(_PROGRAM)}
#: By the words that a person types: `upload`, `backend test`.
COMMANDS: dict[str, click.Command] = {
    " ".join(words): command
    for name, top in TOP.items()
    for words, command in (
        ((name,), top),
        *(((name, sub), c) for sub, c in getattr(top, "commands", {}).items()),
    )
}


def options_of(command: click.Command) -> set[str]:
    return {
        text
        for option in command.params
        if isinstance(option, click.Option)
        for text in (*option.opts, *option.secondary_opts)
    }


OPTIONS = {"--help", "--version"}.union(*(options_of(c) for c in COMMANDS.values()))


def options_in(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*[a-z]", text))


def test_every_command_is_in_the_manual():
    manual = (PROJECT / "docs" / "command-line.md").read_text("utf-8")

    assert [name for name in COMMANDS if f"`catalogsync {name}" not in manual] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_command_named_exists(document):
    text = document.read_text("utf-8")

    # At the start of a line of code, after a prompt's sign, or in code.
    named = set(re.findall(r"(?:^|`|&& |\| )catalogsync ([a-z][a-z-]+)", text, re.M))

    assert named - set(TOP) == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_option_named_exists(document):
    assert options_in(document.read_text("utf-8")) - OPTIONS - OF_OTHERS == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_every_option_in_a_command_line_is_one_of_that_command(document):
    text = document.read_text("utf-8").replace("\\\n", " ")
    for name, rest in re.findall(r"(?:^|`|&& )catalogsync ([a-z-]+)([^`\n&#]*)", text, re.M):
        words = f"{name} {rest.split()[0]}" if rest.split() else name
        known = options_of(COMMANDS.get(words, TOP[name])) | {"--help"}
        assert options_in(rest) <= known, f"catalogsync {name}{rest}"


@pytest.mark.parametrize("document", [*DOCUMENTS, PROJECT / "CHANGELOG.md"], ids=lambda p: p.name)
def test_every_relative_link_leads_to_a_file(document):
    targets = re.findall(r"\]\(([^)\s]+)\)", document.read_text("utf-8"))
    relative = [t.partition("#")[0] for t in targets if "://" not in t and not t.startswith("#")]

    assert [t for t in relative if not (document.parent / t).exists()] == []


def test_every_table_is_in_the_catalogs_document():
    text = (PROJECT / "docs" / "catalog.md").read_text("utf-8")

    assert [name for name in metadata.tables if f"`{name}`" not in text] == []


@pytest.mark.parametrize("table", sorted(metadata.tables))
def test_every_column_named_in_the_catalogs_document_exists(table):
    """Of tables that have a row of their own there; words that are no columns are listed."""
    text = (PROJECT / "docs" / "catalog.md").read_text("utf-8")
    rows = re.findall(rf"^\| `{table}` \| (.*) \|$", text, re.M)
    words = {"local", "pending", "running", "succeeded", "failed", "complete", "interrupted"}
    words |= {"missing", "size", "content", "unreadable", "foreign"}

    named = {word for row in rows for word in re.findall(r"`(\w+)`", row)} - words

    assert named - set(metadata.tables[table].columns.keys()) == set()


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md"])
def test_no_path_of_one_machine_is_in_a_document(name):
    text = (PROJECT / name).read_text("utf-8")

    assert re.findall(r"(?:/home/|/root/|/Users/|/tmp/|/var/|[A-Z]:\\)\S*", text) == []


def architecture():
    return (PROJECT / "docs" / "architecture.md").read_text("utf-8")


def test_every_path_in_the_architecture_exists():
    ends = r"/|\.py|\.yaml|\.toml|\.cfg|\.md"
    named = set(re.findall(rf"`((?:[\w.-]+/)*[\w.-]*(?:{ends}))`", architecture()))
    # The packages of the second table, without a slash at the end.
    named |= set(re.findall(r"^\| `([\w/]+)` \|", architecture().split("## The way")[0], re.M))
    roots = [PROJECT / folder for folder in ("", "catalogsync_assets", "catalogsync_assets_tests")]

    missing = [
        name
        for name in sorted(named)
        if not any((root / name).exists() or (root / f"{name}.py").exists() for root in roots)
    ]

    assert len(named) > 50
    assert missing == []


def test_the_layers_in_the_architecture_are_those_that_are_linted():
    settings = (PROJECT / "pyproject.toml").read_text("utf-8")
    linted = [
        re.findall(r'"(.+?)"', layers)
        for layers in re.findall(r"^layers = \[\n(.+?)^\]", settings, re.M | re.S)
    ]
    picture = architecture().split("```")[1].strip().splitlines()

    outer = [line for line in picture if not line.startswith(" ")]
    inner = [re.sub(r"^ [├└]─ |  .*$", "", line) for line in picture if line.startswith(" ")]

    assert [outer, inner] == linted


def test_the_states_in_the_architecture_are_those_of_the_code():
    befores = ["new", *get_args(Status), "other"]
    code = [["event", "becomes", *befores, "meaning"]]
    for event, step in TRANSITIONS.items():
        may = [b for b in befores if b not in step.but]
        marks = [
            "●" if b in may and (step.before is None or b in step.before) else "" for b in befores
        ]
        code.append([f"`{event}`", f"`{step.after}`", *marks, step.meaning])
    section = architecture().split("## The states of a location")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]

    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines] == code
