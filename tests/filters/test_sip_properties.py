"""Whatever both sides of a telephone say, in whatever order: who gets in, and where."""

from dataclasses import dataclass
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st
from tests.filters.sip_talk import FAR, HOST, OWN, both_families, message, phone, sdp

from sallyport import limits
from sallyport.testing import Dialogue

_OUTSIDE = {4: [FAR[4], b"198.51.100.7"], 6: [FAR[6], b"2001:db8::77"]}
_INSIDE = {4: [b"10.0.0.9", b"203.0.113.1", b"127.0.0.1"], 6: [b"fd00:a::9", b"fd00:a::1", b"::1"]}
_CODES = (b"100 Trying", b"183 Progress", b"200 OK", b"401 No", b"487 Terminated", b"488 No")


@dataclass(frozen=True)
class Word:
    """One message of either side in one of two calls, with their tags or those of others."""

    is_own: bool
    first: bytes
    method: bytes
    number: int
    call: int
    tags: tuple[bytes, bytes]
    host: int
    """Which address the description names; none without a description."""
    port: int

    def text(self, version: int) -> bytes:
        own, far = self.tags
        hosts = [HOST[version], *_OUTSIDE[version], *_INSIDE[version]]
        body = b"" if self.host >= len(hosts) else sdp(hosts[self.host], b"%d" % self.port)
        sender, reader = b"From: <sip:kim@x>", b"To: <sip:lee@x>"
        if self.is_own is not self.first.endswith(b"SIP/2.0"):  # who asks stands in From
            own, far = far, own
        return message(
            self.first,
            b"<sip:kim@" + OWN[version] + b">" if self.is_own else b"",
            body,
            method=self.method,
            cseq=self.number,
            call=b"call@%d" % self.call,
            via=b"SIP/2.0/UDP x;branch=z9hG4bK%d" % self.number,
            own=sender + (b";tag=" + own if own else b""),
            far=reader + (b";tag=" + far if far else b""),
        )


_TAGS = st.sampled_from([b"", b"mine", b"far", b"third"])
_METHODS = st.sampled_from([b"INVITE", b"UPDATE", b"ACK", b"BYE", b"CANCEL", b"PRACK"])


@st.composite
def words(draw: st.DrawFn) -> Word:
    method = draw(_METHODS)
    request, answer = method + b" sip:a@b SIP/2.0", b"SIP/2.0 " + draw(st.sampled_from(_CODES))
    return Word(
        is_own=draw(st.booleans()),
        first=draw(st.sampled_from([request, answer])),
        method=method,
        number=draw(st.integers(1, 3)),
        call=draw(st.integers(1, 2)),
        tags=(draw(_TAGS), draw(_TAGS)),
        host=draw(st.integers(0, 7)),
        port=draw(st.sampled_from([4000, 4002, 4001, 22, 0])),
    )


_INVITE = b"INVITE sip:a@b SIP/2.0"
_CALL_OUT = Word(True, _INVITE, b"INVITE", 1, 1, (b"mine", b""), 0, 4000)
_CALL_IN = Word(False, _INVITE, b"INVITE", 2, 2, (b"", b"far"), 1, 7000)


@st.composite
def answers(draw: st.DrawFn) -> Word:
    """An answer that belongs to one of the two calls."""
    code, port = draw(st.sampled_from(_CODES[1:])), draw(st.sampled_from([4000, 7000]))
    number, host, far = draw(st.integers(1, 2)), draw(st.integers(0, 7)), draw(_TAGS)
    tags = (b"mine", far if number == 1 else b"far")
    return Word(number == 2, b"SIP/2.0 " + code, b"INVITE", number, number, tags, host, port)


CONVERSATIONS = st.lists(
    st.one_of(words(), answers(), st.just(_CALL_OUT), st.just(_CALL_IN)), max_size=12
).map(lambda said: [_CALL_OUT, _CALL_IN, *said])


def check(dialogue: Dialogue, version: int, said: list[Word]) -> None:
    """Check that only named hosts outside get in, and only to what the telephone has offered."""
    own = [one for one in said if one.is_own and one.host == 0]
    offered = {one.port + i for one in own for i in (0, 1)}
    far = [one for one in said if not one.is_own and one.host in (1, 2)]
    named = {ip_address(_OUTSIDE[version][one.host - 1].decode()) for one in far}
    for pinhole in dialogue.data_path.pinholes.values():
        assert pinhole.target is not None
        assert pinhole.target.address == ip_address(HOST[version].decode())
        assert pinhole.target.port in offered
        assert pinhole.target.port >= 1024
        assert pinhole.sources is not None
        for host in (*_OUTSIDE[version], *_INSIDE[version]):
            address = ip_address(host.decode())
            assert address not in pinhole.sources or address in named
        assert far, "it opened on one side's word"


@both_families
@given(said=CONVERSATIONS)
def test_only_hosts_that_the_far_side_names_get_in_and_only_to_what_the_telephone_offers(
    version: int, said: list[Word]
) -> None:
    dialogue = phone(version)
    for i, word in enumerate(said):
        (dialogue.client_says if word.is_own else dialogue.server_says)(word.text(version))
        check(dialogue, version, said[: i + 1])
    dialogue.still_open()

    silent = limits.SIP_DEAD_CALL_SECONDS + 2 * limits.SIP_LOOK_SECONDS
    dialogue.time_passes(silent).pinholes()
    assert not dialogue.connection.session.bindings
    assert "filter.failed" not in dialogue.world.journal.events()
