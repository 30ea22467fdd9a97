"""By which clock schedules go."""

from zoneinfo import ZoneInfo

import pytest

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.settings import TIMEZONE_VARIABLE, timezone

SHOW = "from catalogsync_assets.core.settings import timezone; print(timezone())"


def test_the_environment_says_which_clock(monkeypatch):
    monkeypatch.setenv(TIMEZONE_VARIABLE, "Europe/Vienna")

    assert timezone() == "Europe/Vienna"


@pytest.mark.parametrize("name", ["Mars/Base", "../etc/passwd", "Europe", "/etc/localtime"])
def test_a_zone_that_is_none_is_refused_with_what_one_looks_like(monkeypatch, name):
    monkeypatch.setenv(TIMEZONE_VARIABLE, name)

    with pytest.raises(ConfigurationError, match="which is not a time zone") as refused:
        timezone()

    assert "Europe/Vienna" in str(refused.value)


@pytest.mark.parametrize("machine", ["Europe/Vienna", ":Europe/Vienna"])
def test_without_it_the_machine_does(run_python, machine):
    done = run_python(SHOW, TZ=machine)

    assert (done.code, done.out.strip(), done.err) == (0, "Europe/Vienna", "")


def test_a_machine_whose_rules_have_no_name_gets_one_that_exists(run_python):
    done = run_python(SHOW, TZ="CET-1CEST,M3.5.0,M10.5.0/3")

    assert (done.code, done.err) == (0, "")
    assert ZoneInfo(done.out.strip())
