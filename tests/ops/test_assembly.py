"""What is decided before anything is set up; the parts at work: tests/interop."""

import asyncio
import shutil
from contextlib import ExitStack
from dataclasses import replace
from ipaddress import ip_address

import pytest

from sallyport.addresses import Endpoint
from sallyport.errors import StartupError
from sallyport.kernel import host
from sallyport.ops import assembly
from sallyport.ops.assembly import assemble
from sallyport.ops.config import parse
from sallyport.ops.settings import Configuration
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
            async with asyncio.TaskGroup() as tasks:
                await assemble(configuration, AsyncWorld(journal, tasks), tasks, undo)

    try:
        asyncio.run(scenario())
    except* StartupError as group:
        raise group.exceptions[0] from None
    return journal


def rule(listen: str, server: str, *, full_proxy: bool) -> str:
    return RULE.format(listen=listen, server=server, full_proxy=str(full_proxy).lower())


@pytest.mark.parametrize("data_path", ["auto", "kernel"])
def test_without_privileges_the_kernel_path_does_not_start(data_path: str) -> None:
    text = TEXT.replace('"user"', f'"{data_path}"')

    with pytest.raises(StartupError, match=LACK):
        start(parse(text, "f"))


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


def test_without_privileges_full_proxy_starts_and_says_what_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(assembly, "local_addresses", lambda: frozenset({ip_address("127.0.0.1")}))
    configuration = parse(TEXT + rule("203.0.113.1:21", "10.0.0.20:21", full_proxy=True), "f")
    (published,) = configuration.policy.publishing_rules
    here = replace(published, listen=Endpoint.parse("127.0.0.1:0"))  # any port: a test's own
    policy = replace(configuration.policy, publishing_rules=(here,))

    journal = start(replace(configuration, policy=policy))

    (limited,) = [fields for event, fields in journal.records if event == "gateway.limited"]
    assert limited == {"level": "warning", "to": "published servers", "lack": LACK}
