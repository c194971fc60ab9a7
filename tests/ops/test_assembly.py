"""What is decided before anything is set up; the parts at work: tests/interop."""

import asyncio
import shutil
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from sallyport.addresses import Endpoint, PortRange
from sallyport.api import Firewall
from sallyport.errors import OperatorError, StartupError
from sallyport.filters.ftp import FtpFilter, FtpSettings
from sallyport.frontends.tproxy import publishing_socket
from sallyport.io.fair_poller import FairPoller
from sallyport.kernel import host
from sallyport.ops import assembly
from sallyport.ops.assembly import Assembly, Prepared, RestartNeeded, Share, assemble
from sallyport.ops.config.catalogue import FilterUnusable
from sallyport.ops.config.load import Configuration, parse
from sallyport.ops.config.settings import DataPathChoice
from sallyport.ops.world import AsyncWorld
from sallyport.testing.world import MemoryJournal

TEXT = """\
[gateway]
data_path = "user"
[networks.internal]
interfaces = ["int0"]
addresses = ["10.0.0.0/24", "fd00:a::/64"]
[networks.external]
interfaces = ["ext0"]
[[network_rules]]
from = "internal"
to = "external"
ipv4 = "nat"
ipv6 = "route"
"""
RULE = """
[[publishing_rules]]
name = "ours"
protocol = "ftp-server"
listen = "{listen}"
server = "{server}"
full_proxy = {full_proxy}
"""
LACK = "CAP_NET_ADMIN is missing; run as root or in unshare -Urnm"


@pytest.fixture(autouse=True)
def unprivileged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "_effective_capabilities", lambda: 0)
    monkeypatch.setattr(host, "_kernel_version", lambda _release: (6, 1))
    monkeypatch.setattr(shutil, "which", lambda program: f"/usr/sbin/{program}")
    ours = frozenset({ip_address("203.0.113.1")})
    monkeypatch.setattr(assembly, "local_addresses", lambda: ours)


def start(configuration: Configuration) -> MemoryJournal:
    journal = MemoryJournal()

    async def scenario() -> None:
        with ExitStack() as undo:
            poller = FairPoller(asyncio.get_running_loop())
            undo.callback(poller.close)
            async with asyncio.TaskGroup() as tasks:
                prepared = Prepared.of(configuration)
                assemble(prepared, {}, AsyncWorld(journal, tasks), tasks, poller, undo=undo)

    failures: list[Exception] = []
    try:
        asyncio.run(scenario())
    except* OperatorError as group:
        failures.extend(group.exceptions)
    for failure in failures:  # raised out here: before Python 3.11.4 except* wraps it again
        raise failure
    return journal


def rule(listen: str, server: str, *, full_proxy: bool) -> str:
    return RULE.format(listen=listen, server=server, full_proxy=str(full_proxy).lower())


def test_without_privileges_and_without_a_published_server_there_is_nothing_to_do() -> None:
    with pytest.raises(StartupError, match=f"no server is published: {LACK}"):
        start(parse(TEXT, "f"))


@pytest.mark.parametrize(
    ("listen", "server"),
    [("203.0.113.1:21", "10.0.0.20:21"), ("[fd00:a::20]:21", "[fd00:a::20]:21")],
)
def test_without_privileges_a_server_cannot_see_its_clients(listen: str, server: str) -> None:
    text = TEXT + rule(listen, server, full_proxy=False)

    with pytest.raises(StartupError, match=r"'ours' needs interception.*write full_proxy = true"):
        start(parse(text, "f"))


def test_an_address_that_is_not_ours_is_told_before_anything_is_set_up() -> None:
    text = TEXT + rule("203.0.113.99:21", "10.0.0.20:21", full_proxy=True)

    with pytest.raises(StartupError, match=r"203\.0\.113\.99 is no address of this host"):
        start(parse(text, "f"))


@pytest.fixture
def published(monkeypatch: pytest.MonkeyPatch) -> Configuration:
    """Give a configuration that starts without privileges: one server, at any port of loopback."""
    monkeypatch.setattr(assembly, "local_addresses", lambda: frozenset({ip_address("127.0.0.1")}))
    return publishing(parse(TEXT + rule("203.0.113.1:21", "10.0.0.20:21", full_proxy=True), "f"))


def publishing(
    configuration: Configuration,
    *listen: str,
    **changes: Any,  # noqa: ANN401 - any field of GatewaySettings
) -> Configuration:
    (published,) = configuration.policy.publishing_rules
    rules = tuple(
        replace(published, name=place, listen=Endpoint.parse(place))
        for place in listen or ("127.0.0.1:0",)
    )
    policy = replace(configuration.policy, publishing_rules=rules)
    return replace(configuration, policy=policy, gateway=replace(configuration.gateway, **changes))


def test_without_privileges_full_proxy_starts_and_says_what_is_missing(
    published: Configuration,
) -> None:
    start(published)

    assert Prepared.of(published).lack == LACK


# -- another configuration for a running gateway ------------------------------------------------


def free_place() -> Endpoint:
    """Return a place on loopback where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return Endpoint.parse(f"127.0.0.1:{taken.getsockname()[1]}")


def opened(prepared: Prepared) -> dict[str, socket.socket]:
    """Make the sockets of what is published, as the supervisor does."""
    rules = prepared.published()
    return {str(rule.listen): publishing_socket(rule.listen, rule.name) for rule in rules}


def is_listening(place: Endpoint) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((str(place.address), place.port)) == 0


def running(configuration: Configuration, act: Callable[[Assembly], None]) -> None:
    """Start a gateway, do something to it, stop it."""

    async def scenario() -> None:
        with ExitStack() as undo:
            poller = FairPoller(asyncio.get_running_loop())
            undo.callback(poller.close)
            async with asyncio.TaskGroup() as tasks:
                prepared, world = Prepared.of(configuration), AsyncWorld(MemoryJournal(), tasks)
                sockets = opened(prepared)
                act(assemble(prepared, sockets, world, tasks, poller, undo=undo))

    asyncio.run(scenario())


def test_a_running_gateway_listens_where_the_next_configuration_says(
    published: Configuration,
) -> None:
    before, after = free_place(), free_place()
    first, second = (publishing(published, str(place)) for place in (before, after))

    def act(assembly: Assembly) -> None:
        assert (is_listening(before), is_listening(after)) == (True, False)
        prepared = Prepared.of(second)

        assembly.replace(prepared, opened(prepared))

        assert (is_listening(before), is_listening(after)) == (False, True)
        assert assembly.configuration.policy is second.policy
        assert [rule.listen for rule in assembly.gateway.policy.publishing_rules] == [after]

    running(first, act)
    assert not is_listening(after)


def test_a_gateway_that_follows_its_host_keeps_the_filters_it_has(
    published: Configuration, monkeypatch: pytest.MonkeyPatch
) -> None:
    def act(assembly: Assembly) -> None:
        filters = assembly.gateway.roster.current
        monkeypatch.setattr(
            "sallyport.ops.assembly.local_addresses", lambda: frozenset({ip_address("10.0.0.1")})
        )
        now = Prepared.of(assembly.configuration, is_in_force=True)

        assembly.replace(now, opened(now))

        assert assembly.gateway.roster.current is filters
        assert assembly.gateway.policy.gateway_addresses == {ip_address("10.0.0.1")}

    running(published, act)


class Unstartable(FtpFilter):
    def start(self, _firewall: Firewall) -> None:
        raise ValueError("no disk")


def with_unstartable(configuration: Configuration) -> Configuration:
    filters = (replace(configuration.filters[0], running=Unstartable(FtpSettings())),)
    return replace(configuration, filters=filters)


def test_a_filter_that_does_not_start_is_told_in_one_line(published: Configuration) -> None:
    with pytest.raises(FilterUnusable) as caught:
        start(with_unstartable(published))

    assert str(caught.value) == "the start of a filter fails: ValueError: no disk (filter 'ftp')"


def test_a_reload_with_a_filter_that_does_not_start_leaves_no_socket_behind(
    published: Configuration,
) -> None:
    before, after = free_place(), free_place()
    first = publishing(published, str(before))

    def act(assembly: Assembly) -> None:
        policy = assembly.gateway.policy
        other = Prepared.of(with_unstartable(publishing(published, str(before), str(after))))
        sockets = {str(after): publishing_socket(after, "ours")}

        with pytest.raises(FilterUnusable, match="no disk"):
            assembly.replace(other, sockets)

        assert assembly.gateway.policy is policy
        assert is_listening(before)
        assert sockets[str(after)].fileno() == -1
        assert assembly.configuration.policy is first.policy

    running(first, act)


@pytest.mark.parametrize(
    ("key", "value", "again"),
    [
        ("port_range", PortRange(30000, 31000), "40000-59999"),
        ("data_path", DataPathChoice.KERNEL, "user"),
        ("masquerade", False, "True"),
        ("control_socket", Path("/run/other.sock"), "/run/sallyport/control.sock"),
    ],
)
def test_what_only_a_start_can_do_is_named(
    key: str, value: object, again: str, published: Configuration
) -> None:
    other = Prepared.of(publishing(published, **{key: value}))

    with pytest.raises(RestartNeeded) as caught:
        other.require_same(publishing(published))

    assert str(caught.value) == (
        f"[gateway] {key} cannot change while the gateway runs; restart it, or write"
        f" {again!r} again"
    )


def test_other_interfaces_need_a_restart(published: Configuration) -> None:
    inside, outside = published.policy.networks
    networks = (replace(inside, interfaces=("int0", "int1")), outside)
    other = replace(published, policy=replace(published.policy, networks=networks))

    with pytest.raises(RestartNeeded, match="write ext0, int0 again"):
        Prepared.of(other).require_same(published)


@pytest.mark.parametrize("workers", [1, 2, 3, 7, 8])
def test_every_port_belongs_to_one_worker(workers: int) -> None:
    whole = PortRange(40000, 59999)
    shares = [Share(number=n + 1, workers=workers).ports(whole) for n in range(workers)]

    assert [port for one in shares for port in range(one.first, one.last + 1)] == list(
        range(whole.first, whole.last + 1)
    )
