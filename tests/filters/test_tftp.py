"""TFTP dialogues: what opens the way back for an answer, for whom, and what does not."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sallyport import limits
from sallyport.core.pinholes.datapath import Pinhole
from sallyport.core.policy.protocols import Direction
from sallyport.core.policy.rules import Policy
from sallyport.errors import OutOfResources, ProtocolError
from sallyport.filters.tftp import TFTP, TftpFilter, TftpSettings
from sallyport.flags import BindFlags, Transport
from sallyport.testing import Dialogue
from sallyport.testing.world import make_policy
from sallyport.wire.tftp import parse_request

RRQ = b"\0\x01pxelinux.0\0octet\0"
WRQ = b"\0\x02router.cfg\0netascii\0"
OPTIONS = b"\0\x01big\0octet\0blksize\x001428\0tsize\x000\0windowsize\x0016\0timeout\x002\0"


@dataclass(frozen=True, slots=True)
class Family:
    """One IP version's lab: IPv4 is translated, IPv6 routed. Port 69 hears, `tid` answers."""

    version: int
    client: str
    listen: str
    server: str
    tid: str
    other_tid: str
    stranger: str
    pinhole: str


IPV4 = Family(
    4,
    "10.0.0.8:50000",
    "203.0.113.1:40271",
    "203.0.113.9:69",
    "203.0.113.9:32769",
    "203.0.113.9:32770",
    "203.0.113.66:32769",
    "203.0.113.1:40271 -> 10.0.0.8:50000 from 203.0.113.9",
)
IPV6 = Family(
    6,
    "[fd00:a::8]:50000",
    "[fd00:a::8]:50000",
    "[2001:db8::9]:69",
    "[2001:db8::9]:32769",
    "[2001:db8::9]:32770",
    "[2001:db8::66]:32769",
    "[fd00:a::8]:50000 -> [fd00:a::8]:50000 from 2001:db8::9",
)
both_families = pytest.mark.parametrize("family", [IPV4, IPV6], ids=["ipv4", "ipv6"])


def office(**rule: object) -> Policy:
    return make_policy(protocols=frozenset({"tftp"}), **rule)


def talk(family: Family, *, policy: Policy | None = None, client: str | None = None) -> Dialogue:
    return Dialogue(
        TftpFilter(),
        version=family.version,
        client=client or family.client,
        server=family.server,
        policy=policy or office(),
    )


def asked(family: Family) -> Dialogue:
    """Return a dialogue in which RRQ has reached the server."""
    return talk(family).client_says(RRQ).gateway_sends(RRQ, family.listen, family.server)


def is_request(packet: bytes) -> bool:
    try:
        request = parse_request(packet)
    except ProtocolError:
        return False
    return not request.asks_for(b"multicast")


def only_pinhole(dialogue: Dialogue) -> Pinhole:
    (pinhole,) = dialogue.data_path.pinholes.values()
    return pinhole


@both_families
@pytest.mark.parametrize("request_", [RRQ, WRQ, OPTIONS], ids=["read", "write", "options"])
def test_a_request_leaves_unchanged_from_the_port_where_its_answer_may_come(
    family: Family, request_: bytes
) -> None:
    dialogue = talk(family).client_says(request_)

    dialogue.gateway_sends(request_, family.listen, family.server)
    dialogue.nothing_more().pinholes(family.pinhole).still_open()


@both_families
def test_the_answer_from_a_port_of_the_servers_choice_arrives_and_can_be_answered(
    family: Family,
) -> None:
    dialogue = asked(family)

    dialogue.datagram_arrives(family.tid, family.listen).answer_arrives(family.listen, family.tid)
    dialogue.transfers(family.tid)


@both_families
def test_the_binding_is_for_one_source_both_ways_and_ends_by_itself(family: Family) -> None:
    dialogue = asked(family)

    (binding,) = dialogue.connection.session.bindings.values()
    pinhole = only_pinhole(dialogue)
    assert binding.flags == BindFlags.BIDIRECTIONAL | BindFlags.TIMEOUT
    assert (pinhole.transport, pinhole.single, pinhole.is_answered) == (Transport.UDP, True, True)
    assert pinhole.idle_seconds is not None
    assert binding.primary is dialogue.connection


@both_families
def test_x01_the_request_does_not_leave_before_the_way_back_is_open(family: Family) -> None:
    dialogue = talk(family)
    dialogue.data_path.is_slow = True
    dialogue.client_says(RRQ).nothing_more().pinholes()

    dialogue.waiting_ends().pinholes(family.pinhole)
    dialogue.gateway_sends(RRQ, family.listen, family.server)


@both_families
def test_t02_no_other_host_can_answer(family: Family) -> None:
    dialogue = asked(family).datagram_is_lost(family.stranger, family.listen)

    # Neither does the attempt use up the place of the server.
    dialogue.datagram_arrives(family.tid, family.listen)


@both_families
def test_t03_the_first_port_that_answers_is_the_only_one(family: Family) -> None:
    dialogue = asked(family).datagram_arrives(family.tid, family.listen)

    dialogue.datagram_is_lost(family.other_tid, family.listen)
    dialogue.datagram_arrives(family.tid, family.listen)


@both_families
@pytest.mark.parametrize(
    ("packet", "reason"),
    [
        (b"\0\x01", "no-mode"),
        (b"\0\x01pxelinux.0", "no-mode"),
        (b"\0\x01pxelinux.0\0binary\0", "unknown-mode"),
        (b"\0\x02\0octet\0", "bad-file-name"),
    ],
)
def test_t01_half_a_request_is_answered_with_error_4_and_opens_nothing(
    family: Family, packet: bytes, reason: str
) -> None:
    dialogue = talk(family).client_says(packet).noted("request.refused", reason)

    dialogue.client_hears(b"\0\x05\0\x04Illegal TFTP operation.\0")
    dialogue.nothing_more().pinholes().ended(reason)


@both_families
@pytest.mark.parametrize(
    "packet", [b"", b"\0", b"\0\x03\0\x01data", b"\0\x04\0\0", b"\0\x05\0\0no\0", b"GET / HTTP/1.1"]
)
def test_t01_what_is_no_request_is_dropped_without_an_answer(family: Family, packet: bytes) -> None:
    dialogue = talk(family).client_says(packet).noted("datagram.dropped", "not-a-request")

    dialogue.nothing_more().pinholes().ended("not-a-request")


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.tuples(st.sampled_from([b"\0\x01", b"\0\x02"]), st.binary(max_size=40)).map(
                b"".join
            ),
            st.sampled_from([RRQ, WRQ, RRQ[:-1], RRQ + b"\0", OPTIONS]),
        ),
        max_size=4,
    )
)
def test_t01_whatever_a_client_says_only_whole_requests_leave_and_as_they_are(
    said: list[bytes],
) -> None:
    dialogue = talk(IPV4)
    leaving: list[bytes] = []
    for packet in said:
        if not dialogue.connection.is_open:
            break
        dialogue.client_says(packet)
        if is_request(packet):
            leaving.append(packet)

    assert [data for _, _, data in dialogue.data_path.sent] == leaving
    assert len(dialogue.data_path.pinholes) == bool(leaving)


@both_families
def test_t01_noise_beside_a_transfer_does_it_no_harm(family: Family) -> None:
    dialogue = asked(family).datagram_arrives(family.tid, family.listen)

    dialogue.client_says(b"\0\x03\0\x01data").nothing_more().still_open().transfers(family.tid)


@both_families
def test_t04_multicast_is_refused_with_error_8_and_opens_nothing(family: Family) -> None:
    dialogue = talk(family).client_says(b"\0\x01image\0octet\0MULTICAST\0\0")

    dialogue.client_hears(b"\0\x05\0\x08Multicast is refused.\0")
    dialogue.nothing_more().pinholes().ended("multicast")


@both_families
def test_t04_a_flood_of_requests_is_refused_to_the_flooder_only(family: Family) -> None:
    # The neighbour in IPv6 is of the same /64, which one host has for itself by default.
    policy = replace(office(max_bindings_per_client=2), ipv6_host_prefix=128)
    first = talk(family, policy=policy)
    client, host = first.connection.client, str(first.connection.client).rpartition(":")[0]
    neighbour = host.replace("8", "7", 1) if family.version == 4 else host.replace("::8", "::7")

    def another(client: str) -> Dialogue:
        return Dialogue(
            TftpFilter(), client=client, server=family.server, beside=first
        ).client_says(RRQ)

    first.client_says(RRQ)
    another(f"{host}:{client.port + 1}")
    flooding = another(f"{host}:{client.port + 2}")
    other = another(f"{neighbour}:50000")

    flooding.client_hears(b"\0\x05\0\x03Refused by the gateway.\0").ended("too-many-bindings")
    other.client_hears(b"").still_open()
    assert len(first.data_path.pinholes) == 3


@both_families
def test_a_request_from_a_service_port_is_refused(family: Family) -> None:
    client = f"{family.client.rpartition(':')[0]}:69"
    dialogue = talk(family, client=client).client_says(RRQ)

    dialogue.client_hears(b"\0\x05\0\x02Refused by the gateway.\0")
    dialogue.nothing_more().pinholes().ended("client-port-below-minimum")


@both_families
def test_when_the_kernel_has_no_room_the_client_hears_of_it(family: Family) -> None:
    dialogue = talk(family).next_bind_fails(OutOfResources("table-full")).client_says(RRQ)

    dialogue.client_hears(b"\0\x05\0\x03Refused by the gateway.\0").pinholes().ended("table-full")


@both_families
def test_a_repeated_request_uses_the_port_of_the_first(family: Family) -> None:
    dialogue = asked(family).client_says(RRQ, RRQ)

    dialogue.gateway_sends(RRQ, family.listen, family.server)
    dialogue.gateway_sends(RRQ, family.listen, family.server)
    dialogue.nothing_more().pinholes(family.pinhole)


def test_another_request_from_the_same_port_gets_a_port_of_its_own() -> None:
    dialogue = asked(IPV4).client_says(WRQ).gateway_sends(WRQ, "203.0.113.1:40582", IPV4.server)

    dialogue.pinholes("203.0.113.1:40582 -> 10.0.0.8:50000 from 203.0.113.9")
    dialogue.still_open().nothing_more()


def test_a_request_after_an_answer_is_a_new_one_and_the_old_transfer_may_finish() -> None:
    dialogue = asked(IPV4).datagram_arrives(IPV4.tid, IPV4.listen).client_says(RRQ)

    dialogue.gateway_sends(RRQ, "203.0.113.1:40582", IPV4.server)
    dialogue.datagram_arrives(IPV4.other_tid, "203.0.113.1:40582")
    dialogue.transfers(IPV4.tid, IPV4.other_tid)
    dialogue.finishes(IPV4.tid).still_open()
    dialogue.finishes(IPV4.other_tid).ended("idle")


def test_a_routed_port_serves_one_transfer_after_another() -> None:
    dialogue = asked(IPV6).datagram_arrives(IPV6.tid, IPV6.listen).client_says(WRQ)

    dialogue.gateway_sends(WRQ, IPV6.listen, IPV6.server).pinholes(IPV6.pinhole)
    dialogue.datagram_arrives(IPV6.other_tid, IPV6.listen)


@both_families
def test_a_finished_transfer_ends_the_conversation_and_leaves_nothing(family: Family) -> None:
    dialogue = asked(family).datagram_arrives(family.tid, family.listen).finishes(family.tid)

    dialogue.pinholes().ended("idle")
    assert not list(dialogue.gateway.sessions)
    assert dialogue.data_path.reserved == set()


@both_families
def test_a_request_nobody_answers_is_forgotten_after_a_minute(family: Family) -> None:
    dialogue = asked(family).time_passes(limits.ACCEPT_TIMEOUT_SECONDS - 1).still_open()

    dialogue.time_passes(1).pinholes().ended("timed-out")
    assert not list(dialogue.gateway.sessions)


@both_families
def test_when_the_conversation_ends_a_transfer_under_way_may_finish(family: Family) -> None:
    dialogue = asked(family).datagram_arrives(family.tid, family.listen)
    dialogue.connection.close("idle")

    dialogue.transfers(family.tid).answer_arrives(family.listen, family.tid)
    dialogue.finishes(family.tid).pinholes().ended("idle")


PADDED = b"\0\x01boot.bin\0octet\0" + b"\0" * 40


@both_families
@pytest.mark.parametrize(
    ("packet", "oddity"),
    [
        (PADDED, "padding"),
        (b"\0\x01boot.bin\0octet", "no-terminator"),
        (b"\0\x01boot.bin\0octet\0vendor\0" + b"1" * 600 + b"\0", "longer-than-512-bytes"),
        (b"\0\x02pxelinux.0\0octet\0blksize\0", "option-without-value"),
        (b"\0\x01a\0octet\0tsize\x000\0tsize\x000\0", "option-given-twice"),
    ],
)
def test_odd_requests_open_what_plain_ones_open_and_leave_as_they_came(
    family: Family, packet: bytes, oddity: str
) -> None:
    dialogue = talk(family).client_says(packet).noted("request.odd", oddity)

    dialogue.gateway_sends(packet, family.listen, family.server).pinholes(family.pinhole)


ACK, DATA, ERROR = b"\0\x04\0\x01", b"\0\x03\0\x01" + b"d" * 512, b"\0\x05\0\0stop\0"


@both_families
@pytest.mark.parametrize("packet", [ACK, DATA, ERROR, b"\0\x06blksize\x00512\0"])
def test_what_goes_on_at_port_69_is_passed_to_it(family: Family, packet: bytes) -> None:
    dialogue = asked(family).datagram_arrives(family.server, family.listen, DATA)

    for _ in range(5):
        dialogue.client_says(packet).gateway_sends(packet, family.listen, family.server)
        dialogue.datagram_arrives(family.server, family.listen, DATA)
    dialogue.nothing_more().still_open()


@both_families
def test_an_acknowledgement_that_is_quicker_than_the_news_of_the_answer_is_not_lost(
    family: Family,
) -> None:
    dialogue = asked(family).client_says(ACK).nothing_more()

    dialogue.datagram_arrives(family.server, family.listen, DATA)
    dialogue.gateway_sends(ACK, family.listen, family.server).nothing_more()


@both_families
def test_t01_to_a_server_that_answers_from_elsewhere_nothing_more_is_said(family: Family) -> None:
    dialogue = asked(family).client_says(*[ACK] * 20).nothing_more()

    dialogue.datagram_arrives(family.tid, family.listen).nothing_more()
    dialogue.client_says(ACK).nothing_more().noted("datagram.dropped", "not-a-request")


@both_families
def test_a_finished_transfer_leaves_the_quota_soon(family: Family) -> None:
    dialogue = asked(family).datagram_arrives(family.tid, family.listen, SHORT)
    dialogue.answer_arrives(family.listen, family.tid, ACK)
    flow = dialogue.data_path.flows
    assert flow

    looks = limits.TFTP_SILENT_LOOKS + 2
    dialogue.time_passes(looks * limits.TFTP_LOOK_SECONDS).pinholes().ended("finished")
    assert not list(dialogue.gateway.sessions)


@both_families
def test_a_client_that_writes_its_flash_meanwhile_is_heard_again(family: Family) -> None:
    # tftpd-hpa repeats itself after 1, 2, 4 ... 32 s.
    dialogue = asked(family).datagram_arrives(family.tid, family.listen, DATA)
    for seconds in (1, 2, 4, 8, 16, 32):
        dialogue.time_passes(seconds).datagram_arrives(family.tid, family.listen, DATA)

    dialogue.answer_arrives(family.listen, family.tid, ACK).time_passes(32)
    dialogue.datagram_arrives(family.tid, family.listen, DATA).still_open()


@both_families
def test_a_transfer_that_was_broken_off_is_given_up(family: Family) -> None:
    dialogue = asked(family).datagram_arrives(family.tid, family.listen, DATA)
    dialogue.answer_arrives(family.listen, family.tid, ACK)

    looks = limits.TFTP_STALLED_LOOKS + 4
    dialogue.time_passes(looks * limits.TFTP_LOOK_SECONDS).pinholes().ended("finished")


@both_families
def test_a_server_that_answers_outside_the_binding_is_not_heard(family: Family) -> None:
    dialogue = asked(family).server_says(b"\0\x03\0\x01data").client_hears(b"")

    dialogue.noted("datagram.dropped", "answer-outside-the-binding").still_open()


def test_rules_know_the_protocol_as_udp_port_69() -> None:
    assert (TFTP.name, TFTP.transport, TFTP.port) == ("tftp", Transport.UDP, 69)


@both_families
def test_a_client_that_may_only_read_is_refused_a_write(family: Family) -> None:
    dialogue = Dialogue(TftpFilter(TftpSettings(read_only=True)), version=family.version)
    dialogue.client_says(WRQ).client_hears(b"\0\x05\0\x02Read-only access.\0").pinholes()
    dialogue.noted("request.refused", "rule-is-read-only")

    reading = Dialogue(TftpFilter(TftpSettings(read_only=True)), version=family.version)
    reading.client_says(RRQ).pinholes(family.pinhole)


def test_a_rule_may_say_so_for_what_it_allows() -> None:
    policy = make_policy(protocols=frozenset({"tftp"}))
    rules = tuple(replace(r, filters={"tftp": {"read_only": True}}) for r in policy.access_rules)
    for rule, said in ((rules[0], 1), (policy.access_rules[0], 0)):
        remarks = TftpFilter().remarks(rule, Direction.OUTBOUND, is_translated=True)
        assert len(remarks) == said
    dialogue = Dialogue(TftpFilter(), policy=replace(policy, access_rules=rules))

    dialogue.client_says(WRQ).client_hears(b"\0\x05\0\x02Read-only access.\0").pinholes()


SHORT = b"\0\x03\0\x01" + b"d" * 100
FULL_UP = make_policy(protocols=frozenset({"tftp"}), max_bindings_per_client=3)


ASKING = b"\0\x01pxelinux.0\0octet\0blksize\x001468\0tsize\x000\0"
OACK = b"\0\x06blksize\x001428\0tsize\x001528\0timeout\x002\0"


def fetched(
    dialogue: Dialogue,
    family: Family,
    number: int,
    *,
    acknowledged: bool = True,
    agreed: bytes = b"",
) -> None:
    """Play a whole transfer at the latest port that was opened.

    It is one short block, or, with options that are `agreed`, one that is full and a short one.
    """
    listen = str([*dialogue.data_path.pinholes.values()][-1].listen)
    tid = f"{family.tid.rpartition(':')[0]}:{33000 + number}"
    packets = [agreed, b"\0\x03\0\x01" + bytes(1428)] if agreed else []
    for packet in packets:
        dialogue.datagram_arrives(tid, listen, packet).answer_arrives(listen, tid, ACK)
    dialogue.datagram_arrives(tid, listen, SHORT)
    if acknowledged:
        dialogue.answer_arrives(listen, tid, ACK)


@both_families
@pytest.mark.parametrize(
    ("asked_for", "agreed"),
    [(RRQ, b""), (ASKING, OACK), (ASKING, b"")],
    ids=["plain", "options", "ignored"],
)
def test_hundreds_of_small_files_take_no_more_places_than_there_are(
    family: Family, asked_for: bytes, agreed: bytes
) -> None:
    dialogue = None
    host = family.client.rpartition(":")[0]
    for number in range(200):
        dialogue = Dialogue(
            TftpFilter(),
            version=family.version,
            client=f"{host}:{50000 + number}",
            policy=FULL_UP,
            beside=dialogue,
        ).client_says(asked_for)
        assert not dialogue.client_end.heard
        dialogue.data_path.sent.clear()
        fetched(dialogue, family, number, agreed=agreed)
        assert len(dialogue.data_path.pinholes) <= 3
    assert dialogue is not None
    assert "binding.refused" not in [event for event, _ in dialogue.world.journal.records]


@both_families
@pytest.mark.parametrize(
    ("request_", "agreed", "acknowledged"),
    [
        (RRQ, b"", False),
        (OPTIONS, b"", False),
        (ASKING, OACK, False),
        # Of several blocks that are acknowledged together it is not certain that none is missing.
        (OPTIONS, OACK + b"windowsize\x0016\0", True),
    ],
    ids=["plain", "ignored", "options", "windows"],
)
def test_a_transfer_that_is_not_over_keeps_its_place(
    family: Family, request_: bytes, agreed: bytes, *, acknowledged: bool
) -> None:
    first: Dialogue | None = None
    host = family.client.rpartition(":")[0]
    for number in range(3):
        first = Dialogue(
            TftpFilter(),
            version=family.version,
            client=f"{host}:{50000 + number}",
            policy=FULL_UP,
            beside=first,
        ).client_says(request_)
        fetched(first, family, number, acknowledged=acknowledged, agreed=agreed)
    fourth = Dialogue(
        TftpFilter(),
        version=family.version,
        client=f"{host}:50009",
        policy=FULL_UP,
        beside=first,
    ).client_says(request_)

    fourth.client_hears(b"\0\x05\0\x03Refused by the gateway.\0")
    fourth.noted("request.answered", "too-many-bindings")
    # Silent for a look, each may be over: the next one gets a place.
    fourth.time_passes(2 * limits.TFTP_LOOK_SECONDS)
    fifth = Dialogue(
        TftpFilter(),
        version=family.version,
        client=f"{host}:50010",
        policy=FULL_UP,
        beside=first,
    ).client_says(request_)
    fifth.client_hears(b"")
    assert len(fifth.data_path.pinholes) == 3


def test_a_transfer_whose_end_is_told_as_one_asks_about_it_gives_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    latest: Dialogue | None = None
    for number in range(3):
        latest = Dialogue(
            TftpFilter(), client=f"10.0.0.8:{50000 + number}", policy=FULL_UP, beside=latest
        ).client_says(RRQ)
        fetched(latest, IPV4, number, acknowledged=False)
    assert latest is not None
    path = latest.data_path
    known = path.first_datagram

    def first_datagram(pinhole_id: int) -> bytes:
        for peer in [*path.flows.get(pinhole_id, {})]:
            path.finish(peer)
        return known(pinhole_id)

    monkeypatch.setattr(path, "first_datagram", first_datagram)
    fourth = Dialogue(TftpFilter(), client="10.0.0.8:50009", policy=FULL_UP, beside=latest)
    fourth.client_says(RRQ).client_hears(b"")

    assert "filter.failed" not in [event for event, _ in fourth.world.journal.records]
    # One place was enough: the two others go on.
    assert len(path.pinholes) == 3
