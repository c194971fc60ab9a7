"""A filter in the place of whoever would connect to a bound port (`emulate_for_bind`)."""

import asyncio
import socket

import pytest
from tests.contract.bench import Owner, Witness
from tests.contract.conftest import Build
from tests.contract.lab_bench import LabBench
from tests.contract.setups import REAL, REAL_TCP, Setup

from sallyport.addresses import Endpoint
from sallyport.core.model.binding import Binding
from sallyport.core.model.events import BindTcp, BindUdp, Event
from sallyport.core.model.filter import DataFilter
from sallyport.core.model.hooks import Hooks, Scope
from sallyport.core.pinholes.lifecycle import State
from sallyport.flags import BindFlags, Transport


class Taking(Witness):
    """Takes every bind over."""

    async def on_event(self, event: Event) -> None:
        """See `SessionFilter`."""
        assert isinstance(event, BindTcp | BindUdp)
        event.connection.emulate_for_bind()


class Taker(Owner):
    """A filter that plays every peer."""

    name = "taker"
    protocols = ()
    hooks = Hooks.of(BindTcp, BindUdp, scope=Scope.ANY_PROTOCOL)

    def __init__(self) -> None:
        super().__init__()
        self.witness = Taking()


class Player(DataFilter):
    """Says hello, and answers in capitals."""

    def __init__(self) -> None:
        self.detached = 0

    async def started(self) -> None:
        """See `DataFilter`."""
        self.client.send(b"hello")

    async def from_client(self, data: bytes) -> None:
        """See `DataFilter`."""
        self.client.send(data.upper())

    async def client_closed(self) -> None:
        """See `DataFilter`."""
        self.client.shutdown()

    def detach(self) -> None:
        """See `DataFilter`."""
        self.detached += 1


class Play:
    """A bind that was taken over, and a peer that is played to its client."""

    def __init__(self, build: Build) -> None:
        made = build(Taker())
        assert isinstance(made, LabBench)
        self.bench = made
        client = self.bench.client()
        self.bench.serve(client)
        is_udp = self.bench.transport is Transport.UDP
        self.binding: Binding = self.bench.bind(
            client, flags=BindFlags.BIDIRECTIONAL if is_udp else BindFlags.NONE
        )
        (self.connection,) = self.binding.connections
        self.peer = Endpoint(self.bench.way.server, 4711)
        self.player = Player()

    def deliver(self) -> tuple[socket.socket, Endpoint]:
        """Let the peer come; give the client's socket, and whom it sees."""
        self.bench.run(self.connection.emulate_connection(self.player, self.peer))
        is_tcp = self.bench.transport is Transport.TCP
        inner, seen = self.bench.run(self.bench.arrival_of(b"" if is_tcp else b"hello"))
        self.bench.until(lambda: self.bench.witness.kinds() == ["EstablishedConnection"])
        return inner, seen

    def read(self, inner: socket.socket, size: int) -> bytes:
        """Read so many bytes at the client, or what comes before the end."""

        async def read() -> bytes:
            got = b""
            while len(got) < size and (
                piece := await asyncio.get_running_loop().sock_recv(inner, size - len(got))
            ):
                got += piece
            return got

        return self.bench.run(read())


@REAL
def test_the_client_talks_to_the_filter_as_if_the_peer_had_come(build: Build, setup: Setup) -> None:
    play = Play(build)
    bench = play.bench
    inner, seen = play.deliver()

    if bench.keeps_peer_address:
        assert seen == play.peer
    if setup.is_tcp:
        inner.sendall(b"abc")
        # The bench's hosts greet whoever comes with "!".
        assert play.read(inner, 9) == b"hello!ABC"
    else:
        inner.sendto(b"abc", (str(seen.address), seen.port))
        bench.run(bench.arrival_of(b"ABC"))


@REAL
@pytest.mark.usefixtures("setup")
def test_nobody_gets_in_by_a_port_that_was_taken_over(build: Build) -> None:
    play = Play(build)

    assert play.bench.is_refused(play.bench.way.server, play.binding.proxy_address)
    assert play.binding.state is State.ARMED


@REAL_TCP
@pytest.mark.usefixtures("setup")
def test_when_the_client_has_closed_the_port_is_given_back(build: Build) -> None:
    play = Play(build)
    inner, _ = play.deliver()
    inner.shutdown(socket.SHUT_WR)

    assert play.read(inner, 100) == b"hello!"
    play.bench.until(lambda: play.binding.state is State.CLOSED)
    assert play.player.detached == 1
    assert not play.bench.gateway.held


@REAL_TCP
@pytest.mark.usefixtures("setup")
def test_kill_resets_the_client(build: Build) -> None:
    play = Play(build)
    inner, _ = play.deliver()
    assert play.read(inner, 6) == b"hello!"

    play.connection.kill()

    with pytest.raises(ConnectionResetError):
        play.read(inner, 1)
    assert play.player.detached == 1


@REAL_TCP
@pytest.mark.usefixtures("setup")
def test_a_client_that_does_not_listen_is_told_and_may_be_dialled_again(build: Build) -> None:
    play = Play(build)
    bench = play.bench
    nobody = bench.client()
    (connection,) = bench.bind(nobody).connections
    bench.run(connection.emulate_connection(play.player, play.peer))
    bench.until(lambda: bench.witness.kinds() == ["ConnectionRefused"])
    assert play.player.detached == 1

    bench.serve(nobody)
    play.player = Player()
    bench.run(connection.emulate_connection(play.player, play.peer))
    bench.until(lambda: bench.witness.kinds()[1:] == ["EstablishedConnection"])
