"""TFTP dialogues of a published server: what it may open to its client outside, and how it ends."""

from dataclasses import dataclass

import pytest

from sallyport import limits
from sallyport.addresses import Endpoint
from sallyport.core.policy.rules import PublishingRule
from sallyport.filters.tftp import TFTP_SERVER, TftpFilter
from sallyport.flags import Transport
from sallyport.testing import Dialogue

RRQ = b"\0\x01pxelinux.0\0octet\0"
WRQ = b"\0\x02router.cfg\0netascii\0"
ACK, DATA = b"\0\x04\0\x01", b"\0\x03\0\x01" + b"d" * 512


@dataclass(frozen=True, slots=True)
class Way:
    """One way to publish. `seen` is how the server knows its client: there it sends its answers."""

    listen: str
    server: str
    tid: str
    other_tid: str
    client: str
    seen: str
    is_proxied: bool = False

    @property
    def rule(self) -> PublishingRule:
        """The rule that publishes the server."""
        return PublishingRule(
            "our tftp server",
            TFTP_SERVER.name,
            Endpoint.parse(self.listen),
            Endpoint.parse(self.server),
            transport=Transport.UDP,
            full_proxy=self.is_proxied,
        )

    @property
    def pinhole(self) -> str:
        """What is open for the server, and for it alone."""
        return f"{self.seen} -> {self.client} from {Endpoint.parse(self.server).address}"


NAT = Way(
    "203.0.113.1:69",
    "10.0.0.8:69",
    "10.0.0.8:32769",
    "10.0.0.8:32770",
    "203.0.113.9:50000",
    "203.0.113.9:50000",
)
PROXIED = Way(
    "203.0.113.1:69",
    "10.0.0.8:69",
    "10.0.0.8:32769",
    "10.0.0.8:32770",
    "203.0.113.9:50000",
    "10.0.0.1:40271",
    is_proxied=True,
)
ROUTED = Way(
    "[fd00:a::8]:69",
    "[fd00:a::8]:69",
    "[fd00:a::8]:32769",
    "[fd00:a::8]:32770",
    "[2001:db8::9]:50000",
    "[2001:db8::9]:50000",
)
every_way = pytest.mark.parametrize("way", [NAT, PROXIED, ROUTED], ids=["nat", "proxied", "routed"])


def talk(way: Way) -> Dialogue:
    return Dialogue(TftpFilter(), published=way.rule, client=way.client)


def asked(way: Way, request: bytes = RRQ) -> Dialogue:
    """Return a dialogue in which a request has reached the server."""
    return talk(way).client_says(request).gateway_sends(request, way.seen, way.server)


@every_way
@pytest.mark.parametrize("request_", [RRQ, WRQ], ids=["read", "write"])
def test_a_request_leaves_unchanged_in_the_name_of_where_its_answer_may_go(
    way: Way, request_: bytes
) -> None:
    asked(way, request_).nothing_more().pinholes(way.pinhole).still_open()


@every_way
def test_the_answer_from_a_port_of_the_servers_choice_reaches_the_client_and_can_be_answered(
    way: Way,
) -> None:
    dialogue = asked(way).datagram_arrives(way.tid, way.seen).answer_arrives(way.seen, way.tid)

    dialogue.transfers(way.tid)


@every_way
def test_x01_the_request_does_not_leave_before_the_way_back_is_open(way: Way) -> None:
    dialogue = talk(way)
    dialogue.data_path.is_slow = True
    dialogue.client_says(RRQ).nothing_more().pinholes()

    dialogue.waiting_ends().pinholes(way.pinhole).gateway_sends(RRQ, way.seen, way.server)


@every_way
def test_t03_the_first_port_of_the_server_that_answers_is_the_only_one(way: Way) -> None:
    dialogue = asked(way).datagram_arrives(way.tid, way.seen)

    dialogue.datagram_is_lost(way.other_tid, way.seen).datagram_arrives(way.tid, way.seen)


@every_way
def test_no_other_host_inside_gets_out_by_it(way: Way) -> None:
    other = way.tid.replace("0.8:", "0.9:").replace("::8]", "::9]")

    asked(way).datagram_is_lost(other, way.seen).datagram_arrives(way.tid, way.seen)


@every_way
def test_a_server_that_answers_from_its_own_port_hears_what_follows(way: Way) -> None:
    dialogue = asked(way).client_says(ACK).datagram_arrives(way.server, way.seen, DATA)

    dialogue.gateway_sends(ACK, way.seen, way.server).client_says(ACK)
    dialogue.gateway_sends(ACK, way.seen, way.server).nothing_more().still_open()


@every_way
def test_two_transfers_between_the_same_two_ports_follow_each_other(way: Way) -> None:
    dialogue = asked(way).datagram_arrives(way.server, way.seen, DATA).client_says(WRQ)

    again = way.seen.replace("40271", "40582")
    dialogue.transfers().gateway_sends(WRQ, again, way.server)
    dialogue.datagram_arrives(way.server, again, ACK)


@every_way
def test_a_request_after_an_answer_is_a_new_one_and_the_old_transfer_may_finish(way: Way) -> None:
    dialogue = asked(way).datagram_arrives(way.tid, way.seen).client_says(RRQ)

    dialogue.gateway_sends(RRQ, way.seen.replace("40271", "40582"), way.server)
    dialogue.transfers(way.tid).still_open()


@every_way
def test_a_client_that_never_answers_is_given_up_however_often_its_server_repeats_itself(
    way: Way,
) -> None:
    dialogue = asked(way)
    for _ in range(limits.TFTP_SILENT_LOOKS + 1):
        dialogue.still_open().datagram_arrives(way.tid, way.seen, DATA)
        dialogue.time_passes(limits.TFTP_LOOK_SECONDS)

    dialogue.pinholes().transfers().ended("idle")
    assert not list(dialogue.gateway.sessions)
    assert dialogue.data_path.reserved == set()


@every_way
def test_a_transfer_whose_client_answers_goes_on_and_leaves_the_quota_when_it_is_over(
    way: Way,
) -> None:
    dialogue = asked(way)
    for _ in range(3 * limits.TFTP_SILENT_LOOKS):
        dialogue.datagram_arrives(way.tid, way.seen, DATA).answer_arrives(way.seen, way.tid, ACK)
        dialogue.time_passes(limits.TFTP_LOOK_SECONDS).still_open()

    dialogue.time_passes((limits.TFTP_STALLED_LOOKS + 6) * limits.TFTP_LOOK_SECONDS)
    dialogue.pinholes().ended("finished")


@every_way
def test_a_transfer_that_comes_by_us_goes_on_as_long_as_its_client_speaks(way: Way) -> None:
    dialogue = asked(way).datagram_arrives(way.server, way.seen, DATA)
    for _ in range(3 * limits.TFTP_SILENT_LOOKS):
        dialogue.client_says(ACK).gateway_sends(ACK, way.seen, way.server)
        dialogue.time_passes(limits.TFTP_LOOK_SECONDS).still_open()

    dialogue.time_passes((limits.TFTP_STALLED_LOOKS + 6) * limits.TFTP_LOOK_SECONDS)
    dialogue.ended("finished")


@every_way
def test_a_client_that_speaks_from_a_service_port_is_refused(way: Way) -> None:
    # Its name may be forged: what is answered there would reach another service.
    client = way.client.replace("50000", "69")
    dialogue = Dialogue(TftpFilter(), published=way.rule, client=client).client_says(RRQ)

    dialogue.client_hears(b"\0\x05\0\x02Refused by the gateway.\0").pinholes()
    dialogue.ended("server-port-below-minimum")


def test_rules_know_the_server_as_udp_port_69() -> None:
    assert (TFTP_SERVER.transport, TFTP_SERVER.port) == (Transport.UDP, 69)
