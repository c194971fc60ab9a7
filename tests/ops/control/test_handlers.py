"""The gateway's objects as the control socket shows them."""

import asyncio
from dataclasses import replace

import pytest
from tests.core.test_published import RULE

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.filters.ftp import FTP, FtpFilter
from sallyport.flags import BindFlags, Transport
from sallyport.ops.config.catalogue import Catalogue
from sallyport.ops.config.load import Configuration, defaults
from sallyport.ops.config.settings import GatewaySettings
from sallyport.ops.control.handlers import Handlers
from sallyport.ops.logs import EventJournal
from sallyport.testing.memory import MemoryDataPath
from sallyport.testing.world import make_gateway, make_policy

CLIENT, SERVER = Endpoint.parse("10.0.0.8:50000"), Endpoint.parse("203.0.113.9:21")
PROXY = Endpoint.parse("203.0.113.1:40271")


class Told(Handlers):
    """The answers of a gateway in memory with one control connection."""

    def __init__(self) -> None:
        self.gateway, self.data_path, self.world = make_gateway([FtpFilter()])
        self.primary = self.gateway.admit_primary(FTP, CLIENT, SERVER)
        filters = defaults(Catalogue.installed())
        configuration = Configuration(
            GatewaySettings(), self.gateway.policy, filters, (FTP,), ("irc",)
        )
        super().__init__(self.gateway, EventJournal(), lambda: configuration)

    def bind(self, transport: Transport, client: str, flags: BindFlags = BindFlags.NONE) -> None:
        """Bind one port of the gateway for the client."""
        asyncio.run(
            self.primary.session.bind_for_client(
                [Endpoint.parse(client)],
                transport=transport,
                protocol=FTP,
                proxy_address=PROXY,
                flags=flags,
                primary=self.primary,
            )
        )


def test_a_binding_says_what_it_is() -> None:
    told = Told()
    told.bind(Transport.UDP, "10.0.0.8:1553", BindFlags.BIDIRECTIONAL | BindFlags.TIMEOUT)

    (row,) = told.bindings({}).bindings

    assert (row.transport, row.proxy_address) == ("udp", "203.0.113.1:40271")
    assert (row.client_address, row.peers) == ("10.0.0.8:1553", None)
    assert sorted(row.flags) == ["BIDIRECTIONAL", "TIMEOUT"]
    assert row.primary == "10.0.0.8:50000 > 203.0.113.9:21"


def test_a_binding_with_a_time_limit_says_when_it_ends() -> None:
    told = Told()
    told.bind(Transport.TCP, "10.0.0.8:1553", BindFlags.TIMEOUT)
    told.world.seconds += 10

    assert told.bindings({}).bindings[0].expires_in == 50


def test_a_client_address_that_is_not_known_yet_is_none() -> None:
    told = Told()
    told.bind(Transport.TCP, "0.0.0.0:0")

    assert told.bindings({}).bindings[0].client_address is None
    assert told.bindings({}).bindings[0].expires_in is None


def test_the_usual_data_path_is_the_fastest_there_is() -> None:
    told = Told()
    assert told.status({}).data_path == told.data_path.kind.value

    told.gateway.data_paths = {
        kind: MemoryDataPath([], kind=kind) for kind in (DataPathKind.USER, DataPathKind.KERNEL)
    }
    assert told.status({}).data_path == "kernel"


def test_a_filter_that_failed_too_often_is_shown_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told()
    assert [(row.name, row.state) for row in told.filters({}).filters[:2]] == [
        ("ftp", "on"),
        ("tftp", "on"),
    ]

    monkeypatch.setattr(told.gateway.roster, "off", lambda: {"ftp": "it failed 8 clients"})

    row = told.filters({}).filters[0]
    assert (row.name, row.state, row.reason) == ("ftp", "switched-off", "it failed 8 clients")


def test_everything_of_a_client_inside_ends_by_its_address() -> None:
    told = Told()
    told.bind(Transport.TCP, "10.0.0.8:1553")

    killed = told.kill_session({"id": "10.0.0.8"})

    assert (len(killed.sessions), len(killed.bindings)) == (1, 1)
    assert not told.primary.is_open
    assert told.sessions({}).sessions == []
    assert told.kill_session({"id": "10.0.0.8"}).sessions == []


def test_of_a_published_server_one_client_outside_ends_by_its_address() -> None:
    policy = replace(make_policy(), publishing_rules=(RULE,))
    gateway, _data_path, _world = make_gateway([FtpFilter()], policy=policy)
    told = Handlers(gateway, EventJournal(), lambda: Configuration(GatewaySettings(), policy))
    one, other = (
        gateway.admit_published(RULE, Endpoint.parse(f"198.51.100.{number}:50000"))
        for number in (7, 8)
    )

    killed = told.kill_session({"id": "198.51.100.7"})

    assert killed.controls == [f"198.51.100.7:50000 > {RULE.server}"]
    assert (one.is_open, other.is_open) == (False, True)
    (session,) = told.sessions({}).sessions
    assert [control.client for control in session.controls] == ["198.51.100.8:50000"]
