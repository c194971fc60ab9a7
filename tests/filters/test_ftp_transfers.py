"""A filter that looks into FTP transfers knows the command; its verdict reaches the user."""

from collections.abc import Callable
from functools import partial

import pytest
from tests.filters.published import NAT, PROXIED, ROUTED, Way
from tests.filters.talk import IPV4, IPV6, OK, READY, Family

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.api import (
    AcceptedConnection,
    ApplicationFilter,
    ConnectTcp,
    DataFilter,
    Event,
    Hooks,
    Priority,
    Scope,
    Session,
    SessionFilter,
)
from sallyport.core.pinholes.datapath import DataPathKind
from sallyport.filters.ftp import FtpFilter, FtpTransfer
from sallyport.testing import Dialogue, MemoryDataPath
from sallyport.testing.flows import MemoryFlow

DONE = b"226 Done.\r\n"
INFECTED = b"451 Infected: a\r\n"


class Scanner(ApplicationFilter, SessionFilter):
    """Looks into every secondary connection; whoever says `EICAR` there is cut off."""

    name = "scanner"
    api_version = 1
    hooks = Hooks.of(ConnectTcp, AcceptedConnection, scope=Scope.SECONDARY | Scope.ANY_PROTOCOL)

    def attach_to_session(self, session: Session) -> SessionFilter:
        return self

    async def on_event(self, event: Event) -> None:
        if event.is_secondary and isinstance(event, ConnectTcp | AcceptedConnection):
            event.connection.attach_data_filter(Scan())


class Recorder(ApplicationFilter, SessionFilter, DataFilter):
    """Records what passes it on the control connection."""

    name = "recorder"
    api_version = 1
    hooks = Hooks.of(ConnectTcp, scope=Scope.ANY_PROTOCOL)

    def __init__(self) -> None:
        self.heard = self.said = b""

    def attach_to_session(self, session: Session) -> SessionFilter:
        return self

    async def on_event(self, event: Event) -> None:
        if isinstance(event, ConnectTcp):
            event.connection.attach_data_filter(self, Priority.INTERNAL)

    def detach(self) -> None:
        pass

    async def from_client(self, data: bytes) -> None:
        self.heard += data
        self.server.send(data)

    async def from_server(self, data: bytes) -> None:
        self.said += data
        self.client.send(data)


class Scan(DataFilter):
    async def from_client(self, data: bytes) -> None:
        self.server.send(self._judged(data))

    async def from_server(self, data: bytes) -> None:
        self.client.send(self._judged(data))

    def _judged(self, data: bytes) -> bytes:
        transfer = self.connection.context
        assert isinstance(transfer, FtpTransfer)
        if b"EICAR" in data:
            self.connection.kill("infected", f"Infected: {transfer.argument}")
        return data


def retrieving(dialogue: Dialogue, agree: bytes, agreed: bytes) -> Dialogue:
    """Return a dialogue that has agreed on a data connection and begun a transfer."""
    dialogue.server_says(READY).client_says(agree).server_says(agreed)
    dialogue.client_says(b"RETR a\r\n").server_says(b"150 Here\r\n")
    dialogue.client_end.take()
    dialogue.server_end.take()
    return dialogue


def connected(dialogue: Dialogue, peer: str, listen: str) -> MemoryFlow:
    """Let `peer` connect, and give what the scanner looks into."""
    user_path = dialogue.gateway.data_paths[DataPathKind.USER]
    assert isinstance(user_path, MemoryDataPath)
    assert user_path.connect(Endpoint.parse(peer), Endpoint.parse(listen)) is not None
    (flow,) = user_path.filtered.values()
    return flow


def outbound(family: Family, *, is_active: bool) -> tuple[Dialogue, MemoryFlow]:
    dialogue = Dialogue(FtpFilter(), version=family.version, others=[Scanner()])
    if is_active:
        retrieving(dialogue, family.ask, OK)
        return dialogue, connected(dialogue, family.server, family.listen)
    retrieving(dialogue, family.ask_passive, family.reply_passive)
    return dialogue, connected(dialogue, family.client, family.passive)


def inbound(way: Way, *, is_active: bool) -> tuple[Dialogue, MemoryFlow]:
    dialogue = Dialogue(FtpFilter(), published=way.rule, others=[Scanner()])
    if is_active:
        retrieving(dialogue, way.ask, OK)
        return dialogue, connected(dialogue, way.server, way.active)
    retrieving(dialogue, way.ask_passive, way.reply_passive)
    return dialogue, connected(dialogue, way.client, way.passive)


Case = tuple[Dialogue, MemoryFlow]

every_transfer = pytest.mark.parametrize(
    "begin",
    [
        pytest.param(partial(make, is_active=is_active), id=f"{name} {mode}")
        for mode, is_active in (("active", True), ("passive", False))
        for name, make in (
            ("outbound IPv4", partial(outbound, IPV4)),
            ("outbound IPv6", partial(outbound, IPV6)),
            ("published behind NAT", partial(inbound, NAT)),
            ("published in full proxy", partial(inbound, PROXIED)),
            ("published routed", partial(inbound, ROUTED)),
        )
    ],
)


@every_transfer
def test_a_clean_transfer_is_told_when_it_has_ended(begin: Callable[[], Case]) -> None:
    dialogue, flow = begin()
    flow.peer_says(b"clean")
    assert flow.dialled.take() == b"clean"
    flow.peer_closes()
    dialogue.server_says(DONE).client_hears(b"")

    flow.target_closes()
    dialogue.client_hears(DONE).still_open()


@every_transfer
def test_a_failure_is_told_when_the_transfer_has_ended(begin: Callable[[], Case]) -> None:
    dialogue, flow = begin()
    dialogue.server_says(b"426 Lost.\r\n").client_hears(b"")

    flow.abort()
    dialogue.client_hears(b"426 Lost.\r\n").still_open()


@every_transfer
def test_a_verdict_names_the_file_and_replaces_the_reply(begin: Callable[[], Case]) -> None:
    dialogue, flow = begin()
    dialogue.server_says(DONE)
    flow.peer_says(b"EICAR")

    assert flow.is_reset
    assert flow.dialled.take() == b""
    dialogue.client_hears(INFECTED).still_open()


@every_transfer
def test_a_verdict_comes_before_the_news_of_its_consequences(begin: Callable[[], Case]) -> None:
    dialogue, flow = begin()
    flow.target_says(b"EICAR")

    dialogue.client_hears(b"").server_says(b"426 Connection lost.\r\n").client_hears(INFECTED)


def test_a_transfer_that_nobody_makes_is_told_when_its_time_is_up() -> None:
    dialogue = Dialogue(FtpFilter(), others=[Scanner()])
    retrieving(dialogue, IPV4.ask, OK).server_says(DONE).client_hears(b"")

    dialogue.time_passes(limits.ACCEPT_TIMEOUT_SECONDS).client_hears(DONE)


def test_a_control_connection_that_ends_leaves_the_transfer_to_finish() -> None:
    dialogue, flow = outbound(IPV4, is_active=True)
    dialogue.server_says(DONE).client_resets()
    flow.peer_says(b"EICAR")

    assert flow.is_reset
    assert "filter.failed" not in dialogue.world.journal.events()


def test_where_nobody_looks_a_transfer_is_told_at_once() -> None:
    dialogue = retrieving(Dialogue(FtpFilter()), IPV4.ask, OK)

    dialogue.connects(IPV4.server, IPV4.listen).server_says(DONE).client_hears(DONE)


def test_the_ftp_filter_sees_what_the_client_says_before_any_other() -> None:
    seen = Recorder()
    dialogue = Dialogue(FtpFilter(), others=[seen]).server_says(READY).client_says(IPV4.ask)

    assert seen.heard == IPV4.heard
    assert seen.said == READY
    dialogue.server_hears(IPV4.heard)
