"""Intercepted datagrams: which conversation each belongs to, and when one begins and ends.

The sockets with foreign addresses are shown at work in tests/interop/test_tftp.py.
"""

import asyncio
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from ipaddress import ip_address
from itertools import pairwise

import pytest

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.engine.gateway import Gateway
from sallyport.core.model.connection import PrimaryConnection
from sallyport.core.model.events import Event, UdpDestination
from sallyport.core.model.filter import ApplicationFilter, DataFilter, SessionFilter
from sallyport.core.model.session import Session
from sallyport.core.policy.hosts import Hosts
from sallyport.core.policy.protocols import Direction, ProtocolDefinition
from sallyport.core.policy.rules import PublishingRule
from sallyport.errors import StartupError
from sallyport.flags import Transport
from sallyport.frontends import datagram_conversation, sockets, udp
from sallyport.frontends.udp import DatagramInterceptor, publishing_datagram_socket
from sallyport.io.interception import original_destination
from sallyport.testing.memory import pause
from sallyport.testing.world import VirtualWorld, make_gateway, make_policy

CLIENT = Endpoint.parse("10.0.0.8:50000")
SERVER = Endpoint.parse("203.0.113.9:7")
ECHO = ProtocolDefinition("echo", Transport.UDP, 7)
ECHO_SERVER = ProtocolDefinition("echo-server", Transport.UDP, 7, Direction.INBOUND)
OUTSIDE = Endpoint.parse("198.51.100.7:50000")
PUBLISHED = PublishingRule(
    "our echo server",
    "echo-server",
    listen=Endpoint.parse("203.0.113.1:7"),
    server=Endpoint.parse("10.0.0.20:7"),
    transport=Transport.UDP,
)


class Recorder(DataFilter):
    """Writes down what it hears, answers what it is told to, and can be made to wait."""

    def __init__(self, heard: list[bytes]) -> None:
        self.heard = heard

    async def from_client(self, data: bytes) -> None:
        if data == b"wait":
            await pause()
        self.heard.append(b"client: " + data)
        if data == b"bye":
            assert isinstance(self.connection, PrimaryConnection)
            self.connection.close("client-said-so")
        if data.startswith(b"pass "):
            self.server.send(data)

    async def from_server(self, data: bytes) -> None:
        self.heard.append(b"server: " + data)
        self.client.send(data)
        self.client.shutdown()
        self.server.shutdown()


class Recording(SessionFilter):
    """Attaches a recorder to every conversation, unless it denies it."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.waits_first = False
        self.denies = False
        self.emulates = False

    async def on_event(self, event: Event) -> None:
        assert isinstance(event, UdpDestination)
        if self.waits_first:
            await pause()
        if self.denies:
            event.connection.deny()
            return
        event.connection.attach_data_filter(Recorder(self.heard))
        assert isinstance(event.connection, PrimaryConnection)
        event.connection.is_emulated = self.emulates


class EchoFilter(ApplicationFilter):
    """Has one session filter for everybody."""

    name = "echo"
    api_version = 1
    protocols = (ECHO, ECHO_SERVER)

    def __init__(self, one: SessionFilter) -> None:
        self._one = one

    def attach_to_session(self, session: Session) -> SessionFilter:
        return self._one


class Bench:
    """An interceptor over a gateway in memory; the server outside is a socket on loopback."""

    def __init__(self, protocol: str = "echo", *published: PublishingRule) -> None:
        self.filter = Recording()
        self.gateway: Gateway
        self.world: VirtualWorld
        policy = make_policy(protocols=frozenset({protocol}))
        self.gateway, _, self.world = make_gateway(
            [EchoFilter(self.filter)], policy=replace(policy, publishing_rules=published)
        )
        self.interceptor = DatagramInterceptor(self.gateway, {7: ECHO})

    def says(self, data: bytes, client: Endpoint = CLIENT, server: Endpoint = SERVER) -> None:
        self.interceptor.received(client, server, data)

    @property
    def primaries(self) -> list[PrimaryConnection]:
        return [one for s in self.gateway.sessions for one in s.primaries.values()]


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Send to one socket on loopback, whatever server is named; no socket is transparent."""

    def refuse(_made: socket.socket) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(sockets, "make_transparent", refuse)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        name = server.getsockname()

        def towards(_primary: PrimaryConnection) -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.setblocking(False)
            made.connect(name)
            opened.append(made)
            return made

        opened: list[socket.socket] = []
        monkeypatch.setattr(datagram_conversation, "_socket_towards_server", towards)
        yield server
        for made in opened:  # of conversations that a test left alone
            made.close()


@pytest.mark.usefixtures("outside")
def test_what_one_port_says_to_one_server_is_one_conversation() -> None:
    bench = Bench()
    bench.says(b"one")
    bench.says(b"two")

    assert bench.filter.heard == [b"client: one", b"client: two"]
    assert [(p.client, p.server) for p in bench.primaries] == [(CLIENT, SERVER)]


@pytest.mark.usefixtures("outside")
def test_another_port_or_another_server_is_another_conversation() -> None:
    bench = Bench()
    bench.says(b"a")
    bench.says(b"b", client=CLIENT.with_port(50001))
    bench.says(b"c", server=Endpoint.parse("203.0.113.10:7"))

    assert len(bench.primaries) == 3


@pytest.mark.usefixtures("outside")
def test_the_gateways_address_towards_the_server_is_known_to_the_filter() -> None:
    bench = Bench()
    bench.says(b"one")

    (primary,) = bench.primaries
    assert primary.gateway_address is not None
    assert primary.gateway_address.address == ip_address("127.0.0.1")


@pytest.mark.usefixtures("outside")
def test_a_conversation_that_ended_begins_anew_with_the_next_datagram() -> None:
    bench = Bench()
    bench.says(b"bye")
    assert bench.primaries == []
    assert bench.interceptor.conversations == {}

    bench.says(b"again")

    assert len(bench.primaries) == 1


@pytest.mark.usefixtures("outside")
def test_a_conversation_ends_when_the_client_is_silent_for_two_minutes() -> None:
    bench = Bench()
    bench.says(b"one")
    bench.world.pass_time(bench.gateway, limits.DATAGRAM_IDLE_SECONDS - 1)
    bench.says(b"two")
    bench.world.pass_time(bench.gateway, limits.DATAGRAM_IDLE_SECONDS - 1)
    assert len(bench.primaries) == 1

    bench.world.pass_time(bench.gateway, 1)

    assert bench.primaries == []
    assert bench.interceptor.conversations == {}
    assert bench.world.journal.reasons("connect.closed") == ["idle"]


@pytest.mark.usefixtures("outside")
def test_a_conversation_whose_filter_waited_at_its_start_ends_like_any_other() -> None:
    bench = Bench()
    bench.filter.waits_first = True
    bench.says(b"one")
    bench.world.resume()
    assert len(bench.primaries) == 1

    bench.world.pass_time(bench.gateway, limits.DATAGRAM_IDLE_SECONDS)

    assert bench.filter.heard == [b"client: one"]
    assert bench.interceptor.conversations == {}


@pytest.mark.usefixtures("outside")
def test_a_conversation_that_a_filter_denies_leaves_nothing_behind() -> None:
    bench = Bench()
    bench.filter.denies = True
    bench.says(b"one")

    assert bench.filter.heard == []
    assert bench.primaries == []
    assert bench.interceptor.conversations == {}


def test_a_port_that_is_closed_proves_that_our_address_is_here(
    outside: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        bench = Bench()
        bench.says(b"pass one")
        outside.close()
        bench.says(b"pass two")
        monkeypatch.setattr(datagram_conversation, "endpoint_of", None)  # no address is looked for
        bench.says(b"pass three")

        assert len(bench.primaries) == 1
        assert bench.world.journal.events().count("datagram.lost") == 1
        bench.primaries[0].kill()

    asyncio.run(scenario())


def test_an_emulated_conversation_is_played_by_its_filter(outside: socket.socket) -> None:
    bench = Bench()
    bench.filter.emulates = True
    bench.says(b"pass to nobody")

    assert bench.filter.heard == [b"client: pass to nobody"]
    outside.setblocking(False)
    with pytest.raises(BlockingIOError):
        outside.recv(100)


@pytest.mark.usefixtures("outside")
def test_what_comes_while_the_filter_waits_is_heard_afterwards_in_its_order() -> None:
    bench = Bench()
    for data in (b"wait", b"one", b"wait", b"two"):
        bench.says(data)
    assert bench.filter.heard == []

    bench.world.resume()
    assert bench.filter.heard == [b"client: wait", b"client: one"]
    bench.says(b"three")
    bench.world.resume()

    assert bench.filter.heard[2:] == [b"client: wait", b"client: two", b"client: three"]


@pytest.mark.usefixtures("outside")
@pytest.mark.parametrize(
    ("flood", "heard"),
    [
        ([b"%d" % n for n in range(40)], limits.MAX_WAITING_DATAGRAMS),
        ([b"x" * 60_000, b"y" * 6_000, b"z"], 2),
    ],
)
def test_more_than_a_few_are_lost_with_a_record(flood: list[bytes], heard: int) -> None:
    bench = Bench()
    for data in (b"wait", *flood):
        bench.says(data)
    bench.world.resume()

    assert len(bench.filter.heard) == 1 + heard
    assert set(bench.world.journal.reasons("datagram.dropped")) == {"too-many-datagrams-wait"}


@pytest.mark.usefixtures("outside")
def test_what_waits_is_not_heard_by_a_filter_that_has_ended_the_conversation() -> None:
    bench = Bench()
    for data in (b"wait", b"bye", b"late"):
        bench.says(data)
    bench.world.resume()

    assert bench.filter.heard == [b"client: wait", b"client: bye"]
    assert bench.interceptor.conversations == {}


@pytest.mark.usefixtures("outside")
def test_g1_a_filter_keeps_a_conversation_while_both_sides_are_silent() -> None:
    bench = Bench()
    bench.says(b"register")
    (primary,) = bench.primaries
    assert primary.keep(3600) == 3600

    bench.world.pass_time(bench.gateway, 3599)
    assert bench.primaries == [primary]
    assert primary.keep(60) == 60
    bench.world.pass_time(bench.gateway, 59)
    assert bench.primaries == [primary]

    bench.world.pass_time(bench.gateway, 1)
    assert bench.primaries == []
    assert bench.world.journal.reasons("connect.closed") == ["idle"]


@pytest.mark.usefixtures("outside")
def test_what_no_rule_allows_leaves_nothing_behind() -> None:
    bench = Bench(protocol="other")
    bench.says(b"one")

    assert bench.world.journal.reasons("connect.refused") == ["no-rule-matched"]
    assert not list(bench.gateway.sessions)
    assert bench.interceptor.conversations == {}


@pytest.mark.usefixtures("outside")
def test_a_port_of_no_protocol_is_not_served() -> None:
    bench = Bench()
    bench.says(b"one", server=SERVER.with_port(8))

    assert not list(bench.gateway.sessions)


@pytest.mark.usefixtures("outside")
def test_t04_spoofed_sources_share_one_bound_and_are_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_DATAGRAM_CONVERSATIONS", 3)
    bench = Bench()
    for number in range(5):
        bench.says(b"spoofed", client=Endpoint(ip_address(f"10.0.0.{number + 20}"), 50000))

    assert len(bench.primaries) == len(bench.interceptor.conversations) == 3
    assert bench.world.journal.reasons("connect.refused") == ["too-many-conversations"] * 2
    bench.world.pass_time(bench.gateway, limits.DATAGRAM_IDLE_SECONDS)
    bench.says(b"honest")
    assert [primary.client for primary in bench.primaries] == [CLIENT]


@pytest.mark.usefixtures("outside")
def test_t04_one_clients_conversations_are_bounded_beside_everybody_elses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_CONTROLS_PER_CLIENT", 2)
    bench = Bench()
    for number in range(4):
        bench.says(b"flood", client=CLIENT.with_port(50000 + number))
    bench.says(b"honest", client=Endpoint.parse("10.0.0.9:50000"))

    assert len(bench.primaries) == 3
    assert bench.filter.heard[-1] == b"client: honest"


def asks_from_outside(
    bench: Bench, client: Endpoint = OUTSIDE, data: bytes = b"ask", interface: str = ""
) -> list[bytes]:
    """Let a client outside speak to the published address; give what it hears."""
    heard: list[bytes] = []
    came_in = (lambda: interface) if interface else None
    bench.interceptor.received(client, PUBLISHED.listen, data, came_in, heard.append)
    return heard


@pytest.mark.usefixtures("outside")
def test_the_session_of_a_published_conversation_is_its_servers() -> None:
    bench = Bench("echo", PUBLISHED)
    heard = asks_from_outside(bench)

    (primary,) = bench.primaries
    assert bench.filter.heard == [b"client: ask"]
    assert (primary.client, primary.server, primary.peer) == (OUTSIDE, PUBLISHED.server, OUTSIDE)
    assert primary.session.client_address == PUBLISHED.server.address
    assert primary.direction is Direction.INBOUND
    assert primary.gateway_address == PUBLISHED.listen
    assert primary.inside_address is not None
    assert primary.inside_address.address == ip_address("127.0.0.1")
    primary.chain.from_dialled(b"answer")
    assert heard == [b"answer"]


@pytest.mark.usefixtures("outside")
def test_a_published_conversation_is_forgotten_when_it_is_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_PUBLISHED_CONVERSATIONS", 1)
    bench = Bench("echo", PUBLISHED)
    for _ in range(3):
        asks_from_outside(bench, data=b"bye")
        assert bench.interceptor.conversations == {}

    asks_from_outside(bench)
    assert len(bench.primaries) == 1


@pytest.mark.usefixtures("outside")
def test_clients_outside_never_take_the_conversations_that_clients_inside_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_PUBLISHED_CONVERSATIONS", 2)
    bench = Bench("echo", PUBLISHED)
    for number in range(4):
        spoofed = Endpoint(ip_address(f"198.51.100.{number + 20}"), 50000)
        assert asks_from_outside(bench, spoofed) == []
    bench.says(b"honest")

    assert bench.world.journal.reasons("connect.refused") == ["too-many-conversations"] * 2
    assert [primary.client for primary in bench.primaries][-1] == CLIENT


@pytest.mark.usefixtures("outside")
def test_one_outside_client_takes_no_more_than_its_part(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CONTROLS_PER_PEER", 2)
    bench = Bench("echo", PUBLISHED)
    for number in range(4):
        assert asks_from_outside(bench, OUTSIDE.with_port(50000 + number)) == []
    asks_from_outside(bench, Endpoint.parse("198.51.100.8:50000"))

    assert len(bench.primaries) == 3
    assert bench.world.journal.reasons("connect.refused") == ["too-many-controls"] * 2


@pytest.mark.usefixtures("outside")
def test_a_client_outside_hears_nothing_of_a_refusal_and_one_inside_does() -> None:
    told = replace(ECHO, refusal=b"refused"), replace(ECHO_SERVER, refusal=b"refused")
    bench = Bench("other", replace(PUBLISHED, sources=Hosts.of("internal")))
    bench.interceptor.speak({7: told[0]})

    assert asks_from_outside(bench) == []
    assert asks_from_outside(bench, CLIENT) == [b"refused"]
    assert bench.world.journal.reasons("connect.refused") == [
        "client-is-not-published-to",
        "peer-is-gateway",
    ]


@pytest.mark.usefixtures("outside")
def test_x08_who_forges_a_source_outside_from_inside_reaches_no_published_server() -> None:
    bench = Bench("echo", PUBLISHED)

    asks_from_outside(bench, interface="int0")
    assert bench.world.journal.reasons("connect.refused") == ["source-not-of-its-interface"]
    asks_from_outside(bench, interface="ext0")
    assert len(bench.primaries) == 1


@pytest.mark.usefixtures("outside")
def test_an_answer_that_cannot_be_sent_is_lost_and_ends_nothing() -> None:
    bench = Bench("echo", PUBLISHED)

    def fail(_data: bytes) -> None:
        raise OSError(9, "Bad file descriptor")

    bench.interceptor.received(OUTSIDE, PUBLISHED.listen, b"ask", None, fail)
    (primary,) = bench.primaries
    primary.chain.from_dialled(b"answer")

    assert primary.is_open


def test_a_published_socket_hears_where_each_datagram_was_going() -> None:
    listener = publishing_datagram_socket(Endpoint.parse("127.0.0.1:0"), "ours")
    with listener, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as speaker:
        listener.settimeout(5)
        speaker.sendto(b"ask", listener.getsockname())
        data, ancillary, _flags, sender = listener.recvmsg(100, 200)

    assert (data, sender) == (b"ask", sender)
    found = original_destination(ancillary)
    assert found is not None
    assert str(found.address) == "127.0.0.1"


def test_a_port_that_is_taken_cannot_be_published_at() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as theirs:
        theirs.bind(("127.0.0.1", 0))
        taken = Endpoint.parse(f"127.0.0.1:{theirs.getsockname()[1]}")
        with pytest.raises(StartupError, match=r"ours: cannot listen at .*; free the port"):
            publishing_datagram_socket(taken, "ours")


def test_a_server_without_a_route_ends_the_conversation_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unreachable(_primary: PrimaryConnection) -> socket.socket:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(datagram_conversation, "_socket_towards_server", unreachable)
    bench = Bench()
    bench.says(b"one")

    assert bench.world.journal.reasons("connect.closed") == ["no-route-to-server"]
    assert not list(bench.gateway.sessions)
    assert bench.interceptor.conversations == {}


def test_the_filter_speaks_to_the_server_and_hears_its_answers(outside: socket.socket) -> None:
    async def converse() -> None:
        bench = Bench()
        bench.says(b"pass 1")
        data, gateway = outside.recvfrom(100)
        assert data == b"pass 1"
        outside.sendto(b"answer", gateway)
        await until(lambda: b"server: answer" in bench.filter.heard)
        bench.says(b"pass 2")
        assert outside.recvfrom(100) == (b"pass 2", gateway)
        # The filter has passed the answer on, but may not use the server's address.
        assert "datagram.lost" in bench.world.journal.events()
        bench.gateway.shut_down("test-over")
        assert bench.interceptor.conversations == {}

    asyncio.run(asyncio.wait_for(converse(), 5))


def test_a_server_where_nobody_listens_harms_nothing(outside: socket.socket) -> None:
    async def converse() -> None:
        bench = Bench()
        outside.close()
        bench.says(b"pass 1")  # the host's ICMP error comes back
        bench.says(b"pass 2")
        bench.says(b"three")
        await asyncio.sleep(0)
        assert bench.filter.heard[-1] == b"client: three"
        bench.gateway.shut_down("test-over")

    asyncio.run(asyncio.wait_for(converse(), 5))


@pytest.mark.usefixtures("outside")
def test_a_listener_is_read_in_turns_and_until_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_DATAGRAMS_PER_TURN", 2)
    # A plain socket: without TPROXY the datagrams say nowhere where they were going.
    monkeypatch.setattr(udp, "original_destination", lambda _ancillary: SERVER)
    monkeypatch.setattr(udp, "endpoint_of", lambda _name: CLIENT)

    async def listen() -> None:
        bench = Bench()
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
        ):
            listener.setblocking(False)
            listener.bind(("127.0.0.1", 0))
            for number in range(5):
                client.sendto(b"%d" % number, listener.getsockname())
            bench.interceptor.serve(listener)
            turns: list[int] = []

            def count() -> bool:
                turns.append(len(bench.filter.heard))
                return len(bench.filter.heard) == 5

            await until(count)
            assert all(later - earlier <= 2 for earlier, later in pairwise(turns))
            bench.interceptor.close()
            bench.interceptor.close()
            client.sendto(b"late", listener.getsockname())
            for _ in range(3):  # one turn to notice a reader, one to call it, one to spare
                await asyncio.sleep(0)
        assert bench.filter.heard == [b"client: %d" % number for number in range(5)]

    asyncio.run(asyncio.wait_for(listen(), 5))


@pytest.mark.usefixtures("outside")
def test_empty_datagrams_of_many_sources_take_room_too(monkeypatch: pytest.MonkeyPatch) -> None:
    room = 3 * limits.QUEUED_DATAGRAM_COST
    monkeypatch.setattr(limits, "MAX_QUEUED_DATAGRAM_BYTES", room)
    monkeypatch.setattr(udp, "original_destination", lambda _ancillary: SERVER)
    monkeypatch.setattr(udp, "endpoint_of", lambda _name: CLIENT)

    async def listen() -> None:
        bench = Bench()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
            listener.setblocking(False)
            listener.bind(("127.0.0.1", 0))

            def send(data: bytes, source: str) -> None:
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                    sender.bind((source, 0))
                    sender.sendto(data, listener.getsockname())

            for number in range(10):
                send(b"", f"127.0.1.{number}")
            bench.interceptor.serve(listener)
            await until(lambda: bool(bench.filter.heard))
            send(b"last", "127.0.2.1")
            await until(lambda: b"client: last" in bench.filter.heard)
            bench.interceptor.close()
        assert bench.filter.heard == [b"client: "] * 3 + [b"client: last"]

    asyncio.run(asyncio.wait_for(listen(), 10))


async def until(condition: Callable[[], bool]) -> None:
    """Let the loop turn until something has happened; the caller has the deadline."""
    while not condition():  # noqa: ASYNC110 - what is asked is a protocol double without events
        await asyncio.sleep(0)
