"""What is followed, and what is not; the kernel itself: tests/netns/test_followed_addresses.py."""

import asyncio
from collections.abc import Callable
from ipaddress import ip_address

import pytest
from tests.ops.processes.fleet_bench import NotingJournal

from sallyport import limits
from sallyport.errors import StartupError
from sallyport.ops.processes import address_follower
from sallyport.ops.processes.address_follower import AddressFollower

ONE, OTHER = ip_address("203.0.113.1"), ip_address("203.0.113.7")


class Host:
    """The addresses of a host, and a gateway that follows them."""

    def __init__(self) -> None:
        self.addresses = [ONE]
        self.followed: list[list[object]] = []
        self.error: StartupError | None = None
        self.meanwhile: Callable[[], None] = lambda: None

    async def follow(self) -> None:
        self.followed.append(list(self.addresses))
        self.meanwhile()
        if self.error is not None:
            raise self.error


def changing(
    host: Host, monkeypatch: pytest.MonkeyPatch, *changes: Callable[[], None]
) -> NotingJournal:
    """Let the kernel report each change, and wait until it has been dealt with."""
    monkeypatch.setattr(
        address_follower, "lasting_addresses", lambda: {"ext0": tuple(host.addresses)}
    )

    async def scenario() -> NotingJournal:
        journal = NotingJournal()
        follower = AddressFollower(host.follow, journal)
        for change in changes:
            change()
            follower._changed()
            while follower._following is not None:
                await follower._following
        follower.close()
        return journal

    return asyncio.run(scenario())


def test_an_address_that_comes_is_followed_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    journal = changing(host, monkeypatch, lambda: host.addresses.append(OTHER))

    assert host.followed == [[ONE, OTHER]]
    assert [fields for _event, fields in journal.records] == [
        {"level": "info", "addresses": "203.0.113.1, 203.0.113.7"}
    ]


def test_a_report_without_a_change_is_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host()
    changing(host, monkeypatch, lambda: None)

    assert host.followed == []


def test_what_changes_while_the_gateway_follows_is_followed_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = Host()

    def go() -> None:
        host.addresses.remove(ONE)
        host.meanwhile = lambda: None

    host.meanwhile = go
    changing(host, monkeypatch, lambda: host.addresses.append(OTHER))

    assert host.followed == [[ONE, OTHER], [OTHER]]


def test_what_could_not_be_followed_is_said_once_and_tried_until_it_can(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = Host()
    host.error = StartupError("no worker is serving")
    monkeypatch.setattr(limits, "FOLLOW_AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(
        address_follower, "lasting_addresses", lambda: {"ext0": tuple(host.addresses)}
    )

    def mend_the_third_time() -> None:
        if len(host.followed) == 3:
            host.error = None

    async def scenario() -> NotingJournal:
        journal = NotingJournal()
        follower = AddressFollower(host.follow, journal)
        host.meanwhile = mend_the_third_time
        host.addresses.append(OTHER)
        follower._changed()
        async with asyncio.timeout(10):
            await journal.awaited.setdefault("gateway.followed", asyncio.Event()).wait()
        follower.close()
        return journal

    assert asyncio.run(scenario()).events() == ["gateway.not_followed", "gateway.followed"]
    assert host.followed == [[ONE, OTHER]] * 3


def test_what_could_not_be_followed_is_said_and_tried_again_with_the_next_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    host = Host()
    host.error = StartupError("no port")

    def mend() -> None:
        host.error = None

    journal = changing(host, monkeypatch, lambda: host.addresses.append(OTHER), mend)

    assert journal.events() == ["gateway.not_followed", "gateway.followed"]
    assert host.followed == [[ONE, OTHER], [ONE, OTHER]]
