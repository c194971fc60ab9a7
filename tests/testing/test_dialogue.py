import pytest

from sallyport.addresses import Endpoint
from sallyport.core.model.events import ConnectTcp, Event
from sallyport.core.model.filter import ApplicationFilter, SessionFilter
from sallyport.core.model.session import Session
from sallyport.core.policy.rules import PublishingRule
from sallyport.errors import OutOfResources
from sallyport.filters.ftp import FTP, FtpFilter
from sallyport.filters.tftp import TftpFilter
from sallyport.testing import Dialogue, make_gateway, make_policy

READY = b"220 ready\r\n"
PORT = b"PORT 10,0,0,8,6,17\r\n"
PINHOLE = "203.0.113.1:40271 -> 10.0.0.8:1553 from 203.0.113.9"
RRQ = b"\0\x01pxelinux.0\0octet\0"
LISTEN, PEER = "203.0.113.1:40271", "203.0.113.9:20"


class Told(SessionFilter):
    """Does nothing about what it is told."""

    async def on_event(self, event: Event) -> None:
        assert isinstance(event, ConnectTcp)


class Silent(ApplicationFilter):
    """Attaches nothing, so that the connection passes everything."""

    name = "silent"
    protocols = (FTP,)

    def attach_to_session(self, session: Session) -> SessionFilter:
        assert session.client_address.is_private
        return Told()


def opened() -> Dialogue:
    dialogue = Dialogue(FtpFilter()).server_says(READY).client_says(PORT).server_says(b"200 ok\r\n")
    dialogue.client_end.heard.clear()
    dialogue.server_end.heard.clear()
    return dialogue


def test_a_connection_without_a_data_filter_passes_everything_and_both_ends() -> None:
    dialogue = Dialogue(Silent()).client_says(b"a", b"b").server_hears(b"ab")
    dialogue.server_says(b"c").client_hears(b"c").nothing_more().client_closes()

    dialogue.server_hears_end().still_open()


def test_what_was_heard_differently_is_shown_with_what_happened_last() -> None:
    dialogue = Dialogue(Silent()).client_says(b"hello")

    with pytest.raises(AssertionError, match=r"server heard b'hello', not b'bye'.*connect\.accept"):
        dialogue.server_hears(b"bye")
    with pytest.raises(AssertionError, match="client heard b'', not b'x'"):
        dialogue.client_hears(b"x")


def test_hearing_consumes_and_leftovers_are_found() -> None:
    dialogue = Dialogue(Silent()).client_says(b"hello")

    with pytest.raises(AssertionError, match="server heard b'hello', not b''"):
        dialogue.nothing_more()
    dialogue.server_hears(b"hello").nothing_more()


def test_a_check_of_the_end_tells_closing_from_resetting() -> None:
    reset = Dialogue(Silent()).client_resets().was_reset("client-reset")
    closed = Dialogue(FtpFilter()).server_closes().ended("server-closed")

    with pytest.raises(AssertionError, match="it is reset"):
        reset.ended("client-reset")
    with pytest.raises(AssertionError, match="it is closed"):
        closed.was_reset("server-closed")
    with pytest.raises(AssertionError, match="server-closed"):
        closed.ended("another-reason")
    with pytest.raises(AssertionError, match="the connection has ended"):
        closed.still_open()
    with pytest.raises(AssertionError, match="it is open"):
        Dialogue(Silent()).ended("server-closed")


def test_an_end_that_was_not_passed_on_is_found() -> None:
    with pytest.raises(AssertionError, match="has not ended"):
        Dialogue(Silent()).server_hears_end()


def test_bytes_after_a_fin_are_a_fault_of_the_filter() -> None:
    dialogue = Dialogue(Silent()).client_closes()

    with pytest.raises(AssertionError, match="b'late' was sent after the end"):
        dialogue.server_end.send(b"late")


def test_who_has_closed_says_no_more() -> None:
    with pytest.raises(AssertionError, match="the client has closed"):
        Dialogue(Silent()).client_closes().client_says(b"late")
    with pytest.raises(AssertionError, match="the server has closed"):
        Dialogue(Silent()).server_closes().server_says(b"late")


def test_nothing_is_delivered_and_nothing_heard_after_the_end() -> None:
    dialogue = Dialogue(Silent()).server_resets().client_says(b"late").server_says(b"late")

    dialogue.client_end.send(b"late")

    dialogue.nothing_more().was_reset("server-reset")


def test_open_pinholes_are_checked_exactly() -> None:
    dialogue = opened().pinholes(PINHOLE)

    with pytest.raises(AssertionError, match=r"open: \['203\.0\.113\.1:40271 -> "):
        dialogue.pinholes()


def test_peers_connect_through_pinholes_only() -> None:
    dialogue = opened().cannot_connect("198.51.100.7:20", LISTEN)
    with pytest.raises(AssertionError, match=r"198\.51\.100\.7:20 cannot reach"):
        dialogue.connects("198.51.100.7:20", LISTEN)

    dialogue.attempts(PEER, LISTEN).connects(PEER, LISTEN).transfers(PEER)
    with pytest.raises(AssertionError, match="running"):
        dialogue.transfers()
    dialogue.finishes(PEER).transfers().pinholes()


def test_a_peer_that_should_not_have_reached_the_client_is_shown() -> None:
    with pytest.raises(AssertionError, match=r"reached 10\.0\.0\.8:1553"):
        opened().cannot_connect(PEER, LISTEN)


def test_time_moves_when_told() -> None:
    opened().time_passes(59).pinholes(PINHOLE).time_passes(1).pinholes()


def test_the_next_bind_can_be_made_to_fail_and_to_wait() -> None:
    dialogue = opened().next_bind_fails(OutOfResources("full")).client_says(PORT)
    dialogue.pinholes().noted("binding.refused", "full")

    dialogue.data_path.is_slow = True
    dialogue.client_says(PORT).pinholes().waiting_ends()
    assert len(dialogue.data_path.pinholes) == 1


def test_a_dialogue_beside_another_shares_its_gateway() -> None:
    first = opened()
    second = Dialogue(FtpFilter(), client="10.0.0.9:50000", beside=first)

    assert second.gateway is first.gateway
    second.pinholes(PINHOLE)


def test_a_policy_may_be_given() -> None:
    dialogue = Dialogue(FtpFilter(), policy=make_policy(max_bindings_per_client=0))

    dialogue.server_says(READY).client_says(PORT).noted("binding.refused", "too-many-bindings")


def asked_by_udp() -> Dialogue:
    policy = make_policy(protocols=frozenset({"tftp"}))
    dialogue = Dialogue(TftpFilter(), server="203.0.113.9:69", policy=policy)
    return dialogue.client_says(RRQ)


def test_a_datagram_of_the_gateway_is_checked_once_and_leftovers_are_found() -> None:
    dialogue = asked_by_udp()

    with pytest.raises(AssertionError, match="datagrams were sent"):
        dialogue.nothing_more()
    with pytest.raises(AssertionError, match="sent: "):
        dialogue.gateway_sends(b"other", LISTEN, "203.0.113.9:69")
    dialogue.gateway_sends(RRQ, LISTEN, "203.0.113.9:69").nothing_more()


def test_datagrams_arrive_through_a_pinhole_and_are_answered_to_their_sender_only() -> None:
    dialogue = asked_by_udp().datagram_is_lost("203.0.113.66:2000", LISTEN)

    dialogue.datagram_arrives("203.0.113.9:2000", LISTEN)
    dialogue.answer_arrives(LISTEN, "203.0.113.9:2000")
    with pytest.raises(AssertionError, match=r"cannot answer 203\.0\.113\.66:2000"):
        dialogue.answer_arrives(LISTEN, "203.0.113.66:2000")
    with pytest.raises(AssertionError, match=r"cannot reach 203\.0\.113\.1:40271"):
        dialogue.datagram_arrives("203.0.113.66:2000", LISTEN)
    with pytest.raises(AssertionError, match=r"reached 10\.0\.0\.8:50000"):
        dialogue.datagram_is_lost("203.0.113.9:2000", LISTEN)


def test_a_published_server_is_inside_and_its_client_outside() -> None:
    rule = PublishingRule(
        "ours",
        "ftp-server",
        listen=Endpoint.parse("203.0.113.1:21"),
        server=Endpoint.parse("10.0.0.8:21"),
        full_proxy=True,
    )

    connection = Dialogue(FtpFilter(), published=rule).connection

    assert str(connection.session.client_address) == "10.0.0.8"
    assert str(connection.peer) == "203.0.113.9:50000"
    assert (connection.gateway_address, connection.server) == (rule.listen, rule.server)
    assert str(connection.inside_address) == "10.0.0.1:50001"


def test_a_connection_is_over_when_both_streams_have_ended() -> None:
    Dialogue(Silent()).client_closes().still_open().server_closes().ended("closed")


def test_a_gateway_may_be_given_instead_of_a_new_one() -> None:
    within = make_gateway([Silent()])

    dialogue = Dialogue(Silent(), within=within)

    assert (dialogue.gateway, dialogue.data_path, dialogue.world) == within


def test_the_protocols_of_every_filter_are_allowed_and_the_first_ones_port_is_dialled() -> None:
    dialogue = Dialogue(TftpFilter(), others=[FtpFilter()])

    assert str(dialogue.connection.server) == "203.0.113.9:69"
    Dialogue(FtpFilter(), beside=dialogue).still_open()
