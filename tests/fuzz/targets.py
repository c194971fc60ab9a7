"""Every parser, as a fuzz target: what it is fed, what it may raise, and what must hold after it.

A target takes the segments of one input and returns what came out. Whatever segments cut the
input, the same must come out; a parser of whole messages is given them joined.
"""

import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from sallyport.addresses import Endpoint, PortRange
from sallyport.core.runtime.environment import Level
from sallyport.errors import ConfigErrors, DeclarationError, ProtocolError
from sallyport.filters.declarative import load_declarative
from sallyport.ops.config.catalogue import Catalogue
from sallyport.ops.config.load import parse as parse_configuration
from sallyport.wire import (
    api,
    conntrack,
    guard,
    irc,
    lines,
    messages,
    natpmp,
    netlink,
    patterns,
    pcp,
    rtnetlink,
    rtsp,
    ruleset,
    sdp,
    socks,
    tftp,
)
from sallyport.wire.api import Lines
from sallyport.wire.ftp import formats, replies
from sallyport.wire.interjection import Interjector
from sallyport.wire.sip import messages as sip_messages
from sallyport.wire.sip import uri
from sallyport.wire.socks import NotSocks, Reading, SocksRefusal
from sallyport.wire.telnet import with_plain_head, without_commands
from sallyport.wire.tls import RecordTracker

Segments = Iterable[bytes]

PROXY4 = Endpoint.parse("203.0.113.1:40271")
PROXY6 = Endpoint.parse("[2001:db8::1]:40271")


@dataclass(frozen=True)
class Target:
    """One parser under fuzz."""

    name: str
    run: Callable[[Segments], object]
    raises: tuple[type[Exception], ...] = ()
    calls_per_byte: int = 50
    """How many function calls, of Python and of C, one byte of input may cost."""
    calls_at_rest: int = 2_000
    """How many more an input costs whatever its length."""


# -- FTP -----------------------------------------------------------------------------------------


def ftp_command(segments: Segments) -> object:
    """Read a command and its argument; what can be written again reads back the same."""
    command = formats.parse_command(b"".join(segments))
    assert command.verb == command.verb.upper()
    assert b"\r" not in (command.argument or b"")
    assert b"\n" not in (command.argument or b"")
    return command


def ftp_port(segments: Segments) -> object:
    """Read the argument of PORT."""
    argument = b"".join(segments)
    endpoint = formats.parse_port_argument(argument)
    # Its numbers in decimal, and no other reading of them.
    octets = b",".join(b"%d" % int(number) for number in argument.split(b","))
    assert formats.format_port_argument(endpoint) == octets
    return endpoint


def ftp_eprt(segments: Segments) -> object:
    """Read the argument of EPRT."""
    endpoint = formats.parse_eprt_argument(b"".join(segments))
    assert endpoint.port > 0
    assert formats.parse_eprt_argument(formats.format_eprt_argument(endpoint)) == endpoint
    return endpoint


def ftp_epsv(segments: Segments) -> object:
    """Read the argument of EPSV."""
    return formats.parse_epsv_argument(b"".join(segments))


def ftp_227(segments: Segments) -> object:
    """Find the endpoint of a 227, and put ours in its place."""
    text = b"".join(segments)
    found = formats.read_pasv_reply(text)
    if found is None:
        return None
    ours = formats.splice(text, found.span, formats.format_port_argument(PROXY4))
    again = formats.read_pasv_reply(ours)
    assert again is not None
    assert again.endpoint == PROXY4
    return found


def ftp_229(segments: Segments) -> object:
    """Find the port of a 229, and put ours in its place."""
    text = b"".join(segments)
    found = formats.read_epsv_reply(text)
    ours = formats.splice(text, found.span, b"40271")
    assert formats.read_epsv_reply(ours).port == PROXY4.port
    return found


def ftp_replies(segments: Segments) -> object:
    """Read a server's replies, with limits small enough to be met."""
    reader, fed = replies.ReplyReader(line_limit=64), b""
    found: list[replies.ReplyLine] = []
    for data in segments:
        fed += data
        reader.feed(data)
        while (line := reader.take()) is not None:
            found.append(line)
            if line.is_whole and line.raw.endswith(b"2\r\n"):  # wherever segments cut
                reader.client_goes_on()
    raw = b"".join(line.raw for line in found)
    rest = reader.take_rest()
    assert raw + rest == fed
    assert len(rest) < 64
    # The parts of a long line depend on the segments; what they say does not.
    return [line for line in found if line.is_whole or line.is_first], len(fed)


# -- what several text protocols share -----------------------------------------------------------


def split_lines(segments: Segments) -> object:
    """Cut a stream into lines of at most 32 bytes."""
    reader = lines.LineReader(32)
    found: list[bytes] = []
    for data in segments:
        reader.feed(data)
        while line := reader.take():
            if line.is_whole:
                found.append(line.raw)
        assert len(reader.pending) < 32
    for raw in found:
        assert len(raw) <= 32
        # Whole and without a fault means: one CRLF or LF, at the end.
        if lines.fault_of(raw) is None:
            assert re.fullmatch(rb"[^\r\0\n]*\r?\n", raw)
    return found


def cut_pieces(segments: Segments) -> object:
    """Cut a stream into the pieces that patterns see; no byte is lost."""
    cutter = lines.LineReader(32)
    fed, taken, seen = b"", b"", []
    for data in segments:
        fed += data
        cutter.feed(data)
        while piece := cutter.take():
            taken += piece.raw
            if piece.text is not None:
                seen.append(piece.text)
        assert len(cutter.pending) < 32
    assert taken + cutter.take_rest() == fed
    return seen


def interject(segments: Segments) -> object:
    """Carry a stream with a line put in after its first segment: never inside a line."""
    carrier, carried, original = Interjector(), b"", b""
    for number, data in enumerate(segments):
        original += data
        carried += carrier.carry(data)
        if number == 0:
            carried += carrier.insert(b"500 ours\n")
    before, ours, after = carried.partition(b"500 ours\n")
    assert before + after == original or b"500 ours\n" in original
    assert not ours or not before or before.endswith(b"\n") or b"500 ours\n" in original
    return original


def first_of_client(segments: Segments) -> object:
    """Judge the first bytes of a client; a decision never changes."""
    return _judged(segments, lambda data: guard.foreign_protocol(data, 64))


def first_of_server(segments: Segments) -> object:
    """Judge the first bytes of a server; decided after five bytes."""
    return _judged(segments, guard.foreign_server)


def _judged(segments: Segments, judge: Callable[[bytes], object]) -> object:
    data, decided = b"", None
    for segment in segments:
        data += segment
        judged = str(judge(data))
        assert decided in {None, judged}
        decided = None if judged == "undecided" else judged
    return str(judge(data))


def telnet(segments: Segments) -> object:
    """Take Telnet commands out; doing so twice changes nothing, and an argument stays as it was."""
    line = b"".join(segments)
    text = without_commands(line)
    assert without_commands(text) == text
    passed = with_plain_head(line)
    assert without_commands(passed) == text
    assert with_plain_head(passed) == passed
    return text


def tls(segments: Segments) -> object:
    """Cut a stream into TLS records and the plain text behind them; no byte is lost."""
    tracker, ciphered, plain, fed = RecordTracker(), b"", b"", b""
    for data in segments:
        fed += data
        if plain:
            plain += data
            continue
        records, plain = tracker.feed(data)
        ciphered += records
    kept_back = len(fed) - len(ciphered) - len(plain)
    assert fed == ciphered + fed[len(ciphered) : len(ciphered) + kept_back] + plain
    assert kept_back < 5
    return ciphered, plain


# -- whole messages ------------------------------------------------------------------------------


def tftp_request(segments: Segments) -> object:
    """Read a request; what is accepted and ended is written again byte for byte."""
    packet = b"".join(segments)
    request = tftp.parse_request(packet)
    assert request.packet() == packet or request.oddity == "no-terminator"
    return request


def pcp_request(segments: Segments) -> object:
    """Read a PCP request; whatever it is, it has an answer of a legal length."""
    packet = b"".join(segments)
    if not pcp.is_request(packet):
        return None
    try:
        return pcp.parse(packet)
    except pcp.Refusal as refusal:
        answer = pcp.refuse(packet, refusal.result, lifetime=30, epoch=0)
        assert 24 <= len(answer) <= pcp.MAX_BYTES
        assert len(answer) % 4 == 0
        return refusal.result


def natpmp_request(segments: Segments) -> object:
    """Read a NAT-PMP request; an unknown one has an answer."""
    packet = b"".join(segments)
    if not pcp.is_request(packet):
        return None
    try:
        return natpmp.parse(packet)
    except ValueError:
        return natpmp.refuse(packet, natpmp.NatPmpResult.UNSUPP_OPCODE, 0)


def api_request(segments: Segments) -> object:
    """Read lines of the local API, each a request or none."""
    lines, found = Lines(), list[object]()
    for segment in segments:
        for line in lines.feed(segment):
            try:
                found.append(api.read_request(line))
            except api.UNREADABLE:
                found.append(api.id_of(line))
    return found


def socks_messages(segments: Segments) -> object:
    """Read a client's whole half of a handshake; no byte is read twice, and none beyond the end."""
    data = memoryview(b"".join(segments))
    found: list[object] = []

    def read(reading: Reading[object]) -> object:
        nonlocal data
        try:
            wanted = next(reading)
            while True:
                assert wanted > 0
                if len(data) < wanted:
                    raise NotSocks
                piece, data = bytes(data[:wanted]), data[wanted:]
                wanted = reading.send(piece)
        except StopIteration as done:
            return done.value

    try:
        found.append(version := read(socks.read_version()))
        if version == 5:
            found.append(methods := read(socks.read_methods()))
            assert isinstance(methods, frozenset)
            if 2 in methods:
                found.append(read(socks.read_credentials()))
            found.append(read(socks.read_request()))
        else:
            found.append(read(socks.read_request_4()))
    except SocksRefusal as refusal:
        found.append(socks.answer(refusal.version, refusal.reply))
    return found


def socks_datagram(segments: Segments) -> object:
    """Read a datagram of an association; one to an address reads the same when it is written."""
    data = b"".join(segments)
    read = socks.parse_datagram(data)
    if not isinstance(read.host, str) and not read.fragment:
        assert socks.write_datagram(Endpoint(read.host, read.port), read.payload) == data
    return read


def irc_offer(segments: Segments) -> object:
    """Read a DCC offer; with our address in it, it reads as ours."""
    text = b"".join(segments)
    offer = irc.parse_offer(text)
    if offer is None:
        return None
    proxy = PROXY4 if offer.address.version == 4 else PROXY6
    ours = irc.parse_offer(offer.naming(proxy))
    assert ours is not None
    assert (ours.address, ours.port) == (proxy.address, proxy.port)
    return offer.address, offer.port


def netlink_datagram(segments: Segments) -> object:
    """Read the messages of a datagram, and the attributes of each."""
    data = b"".join(segments)
    netlink.verdict(data, 7)
    found = []
    for message in netlink.messages(data):
        found.append((message, message.errno))
        if message.kind not in {netlink.TYPE_ERROR, netlink.TYPE_DONE}:
            for _kind, payload in netlink.attributes(message.payload[netlink.GENERIC_SIZE :]):
                assert len(payload) <= len(data)
    return found


def link_report(segments: Segments) -> object:
    """Read a datagram about interfaces and routes."""
    messages = list(netlink.messages(b"".join(segments)))
    return [(rtnetlink.read_link(one), rtnetlink.is_local_route(one)) for one in messages]


def conntrack_report(segments: Segments) -> object:
    """Read a report about a flow, wherever it begins; never raises."""
    data = b"".join(segments)
    found = [conntrack.read_report(data, start) for start in (0, 4, len(data))]
    return found, conntrack.read_counters(data), conntrack.read_seconds_left(data)


def conntrack_tuple(segments: Segments) -> object:
    """Read one tuple; what can be read names its source twice alike."""
    raw = b"".join(segments)
    flow = conntrack.read_tuple(raw)
    assert conntrack.read_source(raw) == flow.source
    original = conntrack.write_tuple(flow)
    assert conntrack.read_tuple(original) == flow
    return flow


def nft_table(segments: Segments) -> object:
    """Read who owns a table."""
    return ruleset.table_owner(b"".join(segments))


def address(segments: Segments) -> object:
    """Read `ADDRESS:PORT` or `FIRST-LAST`; what is written again reads back the same."""
    text = b"".join(segments).decode("latin-1")
    found = (PortRange if "-" in text else Endpoint).parse(text)
    assert type(found).parse(str(found)) == found
    return found


# -- RTSP and SIP --------------------------------------------------------------------------------


def text_messages(segments: Segments) -> object:
    """Cut a stream of RTSP; what comes out is the stream, and no segment changes the messages."""
    reader, fed = messages.MessageReader(max_head=256, max_headers=6, is_interleaved=True), b""
    found: list[messages.TextMessage] = []
    raw, reason = b"", ""
    for data in segments:
        fed += data
        reader.feed(data)
        try:
            while not reason and (one := reader.take()) is not None:
                raw += bytes(one)
                if isinstance(one, messages.TextMessage):
                    found.append(one)
        except ProtocolError as error:
            reason = error.reason
    assert raw + reader.take_rest() == fed
    return found, reason


def sip_datagram(segments: Segments) -> object:
    """Read a message of SIP; what it is made of writes it back."""
    data = b"".join(segments)
    message = sip_messages.read_datagram(data)
    assert data.startswith(bytes(message))
    assert sip_messages.is_sip(data)
    for header in message.headers:
        if header.name in (b"contact", b"route"):
            listed = uri.read_name_addresses(header.value)
            assert uri.write_name_addresses(listed) == header.value
    names = sip_messages.names_of(message)
    longer = message.with_body(message.body + b"x")
    assert sip_messages.read_datagram(bytes(longer)) == longer
    return names


def rtsp_transport(segments: Segments) -> object:
    """Read a Transport header; a port that is replaced is the one that is read then."""
    text = b"".join(segments)
    specs = rtsp.read_transports(text)
    assert rtsp.write_transports(specs) == text
    found = [spec.ports(b"client_port") for spec in specs]
    for spec, ports in zip(specs, found, strict=True):
        if ports:
            ours = spec.saying(b"client_port", b"40000-40001")
            assert rtsp.TransportSpec.read(bytes(ours)).ports(b"client_port") == (40000, 40001)
        spec.addresses(b"dest_addr")
    return found


def session_description(segments: Segments) -> object:
    """Read a description; addresses and ports that are replaced are those that are read then."""
    text = b"".join(segments)
    said = sdp.SessionDescription(text)
    assert bytes(said) == text
    changes = {}
    for media in said.media:
        changes[media.line] = said.with_port(media.line, PROXY4.port)
        if media.connection is not None:
            changes[media.connection] = said.with_address(media.connection, PROXY4.address)
    again = sdp.SessionDescription(said.rewritten(changes))
    assert [one.port for one in again.media] == [PROXY4.port] * len(said.media)
    assert all(
        again.address(one.connection) == PROXY4.address
        for one in again.media
        if one.connection is not None
    )
    return said.media


# -- what operators write ------------------------------------------------------------------------


def pattern(segments: Segments) -> object:
    """Compile a pattern, NUL, a line: match it, read the ports, put others in their place."""
    text, _, line = b"".join(segments).partition(b"\0")
    compiled = patterns.compile_pattern(text.decode("latin-1"))
    # A short line: the time is a power of its length, and the power is the operator's choice.
    found = compiled.match(line[:24])
    if found is None:
        return None
    assert patterns.splice(found, {}) == line[:24]
    return patterns.ports_of(found)


def declaration(segments: Segments) -> object:
    """Read a filter's declaration."""
    text = b"".join(segments).decode("utf-8", "replace")
    return load_declarative(text, "file.toml").name


CATALOGUE = Catalogue.installed()


# The first file that a process reads fills caches of the shapes of tables.
with suppress(ConfigErrors):
    parse_configuration("", "/sallyport.toml", CATALOGUE)


def configuration(segments: Segments) -> object:
    """Read a configuration; every mistake has a line of the text."""
    text = b"".join(segments).decode("utf-8", "replace")
    try:
        return parse_configuration(text, "/sallyport.toml", CATALOGUE).gateway
    except ConfigErrors as caught:
        lines = [error.line for error in caught.errors]
        assert lines
        assert all(1 <= line <= text.count("\n") + 1 for line in lines)
        raise


class _Journal:
    def record(self, event: str, /, *, level: Level = "info", **fields: object) -> None:
        """Allow nothing worth an entry: a request is no fault of the daemon's."""
        raise AssertionError(event, level, fields)


TARGETS = (
    Target("ftp-command", ftp_command, (ProtocolError,)),
    Target("ftp-port", ftp_port, (ProtocolError,)),
    Target("ftp-eprt", ftp_eprt, (ProtocolError,)),
    Target("ftp-epsv", ftp_epsv, (ProtocolError,)),
    Target("ftp-227", ftp_227, (ProtocolError,)),
    Target("ftp-229", ftp_229, (ProtocolError,)),
    Target("ftp-replies", ftp_replies, (ProtocolError,)),
    Target("lines", split_lines),
    Target("pieces", cut_pieces),
    Target("interjection", interject),
    Target("first-of-client", first_of_client),
    Target("first-of-server", first_of_server),
    Target("telnet", telnet, (ProtocolError,)),
    Target("tls", tls),
    Target("tftp", tftp_request, (ProtocolError,)),
    Target("pcp", pcp_request),
    Target("natpmp", natpmp_request),
    Target("api", api_request),
    Target("socks", socks_messages, (NotSocks,)),
    Target("socks-datagram", socks_datagram, (ProtocolError,)),
    Target("irc", irc_offer, (ProtocolError,)),
    Target("text-messages", text_messages),
    Target("sip", sip_datagram, (ProtocolError,), calls_per_byte=100),
    Target("rtsp-transport", rtsp_transport, (ProtocolError,)),
    Target("sdp", session_description, (ProtocolError,), calls_per_byte=100),
    Target("netlink", netlink_datagram, (ProtocolError,)),
    Target("link", link_report, (ProtocolError,)),
    Target("conntrack-report", conntrack_report),
    Target("conntrack-tuple", conntrack_tuple, (ProtocolError,)),
    Target("nft-table", nft_table, (ProtocolError,)),
    Target("address", address, (ValueError,)),
    Target("pattern", pattern, (ValueError, ProtocolError)),
    Target("declaration", declaration, (DeclarationError,)),
    Target(
        "configuration", configuration, (ConfigErrors,), calls_per_byte=200, calls_at_rest=20_000
    ),
)
