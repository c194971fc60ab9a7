"""The verbs of the user-mode data path, on loopback with real sockets."""

import errno
import resource
import socket

import pytest
from msgspec.structs import replace
from tests.relay.loopback import TCP, UDP, bench, descriptors, endpoint_of, name, run

from sallyport.addresses import Endpoint
from sallyport.core.pinholes.datapath import DataPath, DataPathKind
from sallyport.errors import AddressInUse, AddressNotAvailable, OutOfResources
from sallyport.flags import Transport
from sallyport.ipfilter import IpFilter
from sallyport.relay import sockets
from sallyport.relay.datapath import UserDataPath


def test_it_is_a_data_path_of_its_kind() -> None:
    async def scenario() -> None:
        async with bench() as b:
            path: DataPath = b.path

            assert path.kind is DataPathKind.USER

    run(scenario())


@pytest.mark.parametrize("transport", [TCP, UDP])
def test_a_port_is_reserved_once_and_free_after_release(transport: Transport) -> None:
    async def scenario() -> None:
        async with bench() as b:
            at = b.reserved(transport)
            with pytest.raises(AddressInUse, match="already"):
                b.path.reserve(transport, at)

            b.path.release(transport, at)
            b.path.release(transport, at)

            b.path.reserve(transport, at)

    run(scenario())


def test_a_port_of_a_local_program_is_in_use_and_a_foreign_address_not_available() -> None:
    async def scenario() -> None:
        async with bench() as b:
            with pytest.raises(AddressInUse, match="local-program"):
                b.path.reserve(TCP, endpoint_of(b.client()))
            with pytest.raises(AddressNotAvailable, match="not-on-this-host"):
                b.path.reserve(TCP, Endpoint.parse("192.0.2.1:2000"))

    run(scenario())


def test_a_pinhole_at_a_foreign_address_says_that_it_needs_transparency() -> None:
    async def scenario() -> None:
        async with bench() as b:
            target = endpoint_of(b.client())
            routed = replace(b.pinhole(b.client()), listen=target, target=target)

            with pytest.raises(AddressNotAvailable, match="needs-transparency"):
                await b.path.open([routed])

    run(scenario())


def test_all_pinholes_open_or_none() -> None:
    async def scenario() -> None:
        async with bench() as b:
            first, second = b.pinhole(b.client()), b.pinhole(b.client())
            foreign = replace(second, listen=Endpoint.parse("192.0.2.1:2000"))
            with pytest.raises(AddressNotAvailable):
                await b.path.open([first, foreign])

            with pytest.raises(ConnectionRefusedError):
                b.peer(first)
            assert b.path.live_pinholes == 0
            await b.path.open([first, second])
            assert b.path.live_pinholes == 2

    run(scenario())


def test_two_pinholes_for_the_same_peers_at_one_place_are_refused() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            first = await b.opened(b.pinhole(client))

            with pytest.raises(AddressInUse, match="pinhole-exists"):
                await b.path.open([replace(first, id=77)])
            await b.flow(client, first)

    run(scenario())


@pytest.mark.parametrize("transport", [TCP, UDP])
def test_reserving_without_descriptors_is_out_of_resources(transport: Transport) -> None:
    async def scenario() -> None:
        async with bench() as b:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                with pytest.raises(OutOfResources):
                    b.reserved(transport)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    run(scenario())


def test_nobody_gets_in_until_the_target_is_known() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(None))
            with pytest.raises(ConnectionRefusedError):
                b.peer(pinhole)

            await b.path.retarget(pinhole.id, endpoint_of(client))
            peer, _ = await b.flow(client, pinhole)

            assert b.told.established == [(pinhole.id, endpoint_of(peer))]

    run(scenario())


def test_a_target_that_could_not_be_set_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_arguments: object) -> None:
        raise OSError(errno.ENOBUFS, "no room")

    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(None))
            with monkeypatch.context() as patch:
                patch.setattr(sockets, "listen", refuse)
                with pytest.raises(OutOfResources):
                    await b.path.retarget(pinhole.id, endpoint_of(client))

            assert b.path._openings[pinhole.id].pinhole == pinhole
            with pytest.raises(ConnectionRefusedError):
                b.peer(pinhole)
            await b.path.retarget(pinhole.id, endpoint_of(client))
            await b.flow(client, pinhole)

    run(scenario())


def test_datagrams_that_came_before_the_target_was_known_are_lost() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, peer = b.new(UDP), b.new(UDP)
            pinhole = await b.opened(b.pinhole(None, UDP))
            peer.sendto(b"early", name(pinhole.listen))
            await b.path.retarget(pinhole.id, endpoint_of(client))
            peer.sendto(b"in time", name(pinhole.listen))

            assert await b.loop.sock_recv(client, 100) == b"in time"

    run(scenario())


def test_new_sources_hold_for_new_flows_only() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client, single=False))
            peer, accepted = await b.flow(client, pinhole)

            await b.path.set_peers([pinhole.id], IpFilter.of("127.0.0.2"), None)

            assert b.ignores(pinhole)
            await b.loop.sock_sendall(peer, b"old friend")
            assert await b.read(accepted, 10) == b"old friend"
            friend = b.peer(pinhole, host="127.0.0.2")
            await b.told.until(lambda: len(b.told.established) == 2)
            assert b.told.established[1] == (pinhole.id, endpoint_of(friend))

    run(scenario())


def test_a_used_up_pinhole_stays_used_up_whatever_its_sources() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client()
            pinhole = await b.opened(b.pinhole(client))
            await b.flow(client, pinhole)

            await b.path.set_peers([pinhole.id], None, None)

            with pytest.raises(ConnectionRefusedError):
                b.peer(pinhole)

    run(scenario())


def test_a_peer_that_is_no_longer_allowed_is_reset_while_its_client_is_dialled() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client = b.client(backlog=0)
            b.new().connect_ex(client.getsockname())  # its accept queue is full: it never answers
            pinhole = await b.opened(b.pinhole(client))
            peer = b.peer(pinhole)
            await b.turn()

            await b.path.set_peers([pinhole.id], IpFilter.of("127.0.0.2"), None)

            assert await b.is_reset(peer)
            assert b.told.established == []

    run(scenario())


def test_verbs_on_what_is_gone_do_nothing() -> None:
    async def scenario() -> None:
        async with bench() as b:
            pinhole = await b.opened(b.pinhole(b.client()))
            b.path.close([pinhole.id])

            b.path.close([pinhole.id])
            b.path.kill([pinhole.id])
            await b.path.retarget(pinhole.id, pinhole.listen)
            await b.path.set_peers([pinhole.id], None, None)

            assert b.path.counters(pinhole.id) == []
            with pytest.raises(ConnectionRefusedError):
                b.peer(pinhole)

    run(scenario())


def test_stopping_resets_every_flow_and_leaves_no_descriptor() -> None:
    async def scenario() -> None:
        async with bench() as b:
            client, listener = b.client(), b.new(UDP)
            before = descriptors()
            path = UserDataPath(b.loop, b.poller)
            path.attach(b.told)
            b.path.stop()
            b.path = path
            pinhole = await b.opened(b.pinhole(client, single=False))
            datagrams = await b.opened(b.pinhole(listener, UDP))
            peer, accepted = await b.flow(client, pinhole)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
                sender.sendto(b"one", name(datagrams.listen))
                assert await b.loop.sock_recv(listener, 100) == b"one"

            path.stop()
            path.stop()

            assert await b.is_reset(peer)
            assert await b.is_reset(accepted)
            assert len(b.told.ended) == 2
            peer.close()
            accepted.close()
            assert descriptors() <= before

    run(scenario())
