"""What a run may do at a time."""

import pytest

from catalogsync_assets.core.errors import ConfigurationError
from catalogsync_assets.core.runner import dispatch
from catalogsync_assets.core.runner.level import BEGIN
from catalogsync_assets.core.upload import multipart
from catalogsync_assets.core.upload.limits import Limits
from catalogsync_assets_tests.support.proxy import refusal

MIB = 1024 * 1024


@pytest.fixture
def half_open(proxy):
    """A network that gives the code under test every chance to send more than it may."""

    def wait_for_more(request):
        if request.body:
            with proxy.lock:
                proxy.lock.wait(0.05)

    proxy.before.append(wait_for_more)


@pytest.mark.usefixtures("half_open")
def test_bytes_on_their_way_are_bounded(library, proxy, through_proxy, synced):
    library.fill(24, size=100_000)

    assert synced(through_proxy, workers=8, max_in_flight_bytes=300_000).succeeded == 24
    assert 100_000 < proxy.most_bytes_at_once <= 300_000


@pytest.mark.usefixtures("half_open")
def test_files_on_their_way_are_bounded(library, proxy, through_proxy, synced):
    library.fill(24)

    synced(through_proxy, workers=3)

    assert 1 < proxy.most_at_once <= 3


@pytest.mark.usefixtures("half_open")
def test_a_file_larger_than_the_bound_goes_alone(library, proxy, through_proxy, synced):
    library.fill(4, size=100)
    library.add("album/0001 large.mp3", size=500_000)

    assert synced(through_proxy, workers=4, max_in_flight_bytes=1_000).succeeded == 5
    assert proxy.most_bytes_at_once == 500_000


def test_workers_work_at_the_same_time(library, proxy, through_proxy, synced):
    """Each put waits until four are there: fewer workers would never get on."""
    library.fill(4)
    proxy.before.append(
        lambda r: proxy.wait_until(lambda: len(proxy.of("PUT")) == 4) if r.method == "PUT" else None
    )

    assert synced(through_proxy, workers=4).succeeded == 4


def test_more_files_go_at_a_time_while_that_brings_more(library, proxy, through_proxy, synced):
    """Over a line on which each takes a while, however many there are."""
    library.fill(120, size=10)

    def wait(request):
        if request.method == "PUT":
            with proxy.lock:
                proxy.lock.wait(0.05)

    proxy.before.append(wait)

    report = synced(through_proxy, workers=20)

    assert (report.succeeded, report.workers, report.at_once) == (120, 20, 20)
    assert BEGIN < proxy.most_at_once <= 20


@pytest.mark.usefixtures("small_parts")
def test_a_file_that_goes_alone_is_sent_in_as_many_parts_at_a_time_as_memory_holds(
    library, proxy, through_proxy, synced
):
    """Of 5 MiB, and one more, which is read while the others are on their way."""
    library.add("large.flac", size=50 * MIB)

    def wait_for_more(request):
        if request.part:
            with proxy.lock:
                proxy.lock.wait(0.05)

    proxy.before.append(wait_for_more)

    report = synced(through_proxy, workers=16, max_in_flight_bytes=42 * MIB)

    assert report.succeeded == 1
    assert 5 < proxy.most_at_once <= 7


@pytest.mark.usefixtures("half_open")
def test_a_store_that_complains_gets_fewer_requests_at_a_time(
    library, proxy, through_proxy, synced
):
    library.fill(12)
    proxy.refuse(8, refusal(503))
    of_first_wave = lambda: any(not r.status for r in proxy.of("PUT")[:8])  # noqa: E731
    proxy.before.insert(0, lambda _: proxy.forget_peaks() if of_first_wave() else None)

    report = synced(through_proxy, workers=8, attempts=6)

    assert (report.succeeded, report.failed) == (12, 0)
    assert proxy.most_at_once < 8


def test_a_request_that_hangs_does_not_hold_up_the_rest(
    library, proxy, through_proxy, synced, remote, monkeypatch
):
    """It ends only once the same file has come through by another request."""
    monkeypatch.setattr(dispatch, "STRAGGLER_SECONDS", 0.1)
    library.fill(8)
    hanging = "0005.mp3"

    def of_hanging():
        return [r for r in proxy.of("PUT") if r.key.endswith(hanging)]

    def hang(request):
        if any(request is first for first in of_hanging()[:1]):
            proxy.wait_until(lambda: len(of_hanging()) > 1 and of_hanging()[1].status)

    proxy.before.append(hang)

    report = synced(through_proxy, workers=4)

    assert (report.succeeded, report.failed) == (8, 0)
    assert len(of_hanging()) == 2
    assert remote(through_proxy).contents() == library.contents()


def test_a_run_keeps_to_its_bandwidth(library, through_proxy, synced):
    library.fill(6, size=50_000)

    report = synced(through_proxy, workers=6, bytes_per_second=500_000)

    assert report.succeeded == 6
    assert report.seconds >= 0.5  # the sixth file may begin after five tenths of a second


def test_the_memory_of_a_large_file_is_that_of_its_parts():
    small, large = 10 * MIB, 10_000 * MIB

    limits = Limits()

    assert limits.memory_needed(small) == small
    assert limits.memory_needed(large) == 6 * limits.part_bytes
    assert limits.single_put_bytes >= limits.part_bytes


@pytest.mark.parametrize("size", [1, 100 * MIB, 80_000 * MIB, 80_001 * MIB, 5 * MIB * MIB])
def test_parts_are_whole_mebibytes_and_at_most_ten_thousand(size):
    part = multipart.part_bytes(size)

    assert part % MIB == 0
    assert part >= 5 * MIB
    assert -(-size // part) <= 10_000


def test_the_cap_is_the_commands_else_the_backends_else_of_the_setting(unregistered, monkeypatch):
    assert Limits.of(unregistered()).workers == Limits().workers == 256

    for given, cap in (("12", 12), ("auto", 256), ("", 256)):
        monkeypatch.setenv("CATALOGSYNC_WORKERS", given)
        assert Limits.of(unregistered()).workers == cap

    monkeypatch.setenv("CATALOGSYNC_WORKERS", "12")
    assert Limits.of(unregistered(workers=20)).workers == 20
    assert Limits.of(unregistered(workers=20), workers=30).workers == 30


@pytest.mark.parametrize("given", ["0", "257", "many", "-1"])
def test_a_setting_that_is_no_number_of_workers_is_refused(unregistered, monkeypatch, given):
    monkeypatch.setenv("CATALOGSYNC_WORKERS", given)

    with pytest.raises(ConfigurationError, match=f"'{given}', which is not a number of workers"):
        Limits.of(unregistered())


def test_of_large_requests_there_are_at_most_thirty_two():
    limits = Limits(max_in_flight_bytes=1024 * MIB)

    assert limits.memory_needed(MIB) == MIB
    assert limits.memory_needed(2 * MIB) * 32 == 1024 * MIB
    assert limits.memory_needed(50 * MIB) == 50 * MIB
    assert limits.memory_needed(100 * MIB) * 32 == 1024 * MIB * 5  # parts at a time
