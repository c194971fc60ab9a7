"""Session descriptions: which streams the telephone takes itself, and what is told instead."""

from collections.abc import Mapping
from ipaddress import ip_address

from sallyport import api
from sallyport.filters.sip.flows import SipFlow
from sallyport.wire.messages import TextMessage
from sallyport.wire.sdp import MediaSection, SessionDescription
from sallyport.wire.sip.bodies import place_of_description

Ports = tuple[int, ...]
"""Where the telephone takes one stream: RTP and RTCP, of several layers one after another."""

UNSET = frozenset({ip_address("0.0.0.0"), ip_address("::")})  # noqa: S104 - RFC 2543's hold
_MAX_PORT = 65535


def description_of(message: TextMessage) -> SessionDescription | None:
    """Return the session description in a message; None without one.

    Raises ProtocolError as `SessionDescription` and `place_of_description` do.
    """
    place = place_of_description(message)
    return None if place is None else SessionDescription(message.body[place])


def with_description(message: TextMessage, text: bytes) -> TextMessage:
    """Return a message with another description in the place of its own."""
    place = place_of_description(message)
    assert place is not None  # noqa: S101 - it was read from there
    body = message.body
    return message.with_body(body[: place.start] + text + body[place.stop :])


def own_streams(said: SessionDescription, flow: SipFlow) -> dict[int, Ports]:
    """Return the ports of each stream that a telephone takes at its own address, by its number.

    A description that is already another's, of STUN or a public address, has none and is left
    alone, and so is one with candidates unless the settings say so. Raises ProtocolError:
    `media-without-address` (P14), `media-to-another-host` (P06), `not-an-even-pair` (P07),
    `media-not-over-udp`.
    """
    own = flow.own.address
    found: dict[int, Ports] = {}
    if said.is_ice and flow.settings.ice == "alone":
        return found
    for number, section in enumerate(said.media):
        if not section.port:
            continue
        address = None if section.connection is None else said.address(section.connection)
        if address is None:
            raise api.ProtocolError("media-without-address")
        if address == own:
            found[number] = _ports(said, section, own)
        elif address not in UNSET and address != flow.told.address and not flow.is_outside(address):
            raise api.ProtocolError("media-to-another-host")
    return found


def _ports(said: SessionDescription, section: MediaSection, own: api.IpAddress) -> Ports:
    if section.profile.upper().startswith((b"TCP", b"TLS", b"DTLS/SCTP")):
        raise api.ProtocolError("media-not-over-udp")
    is_rtp = section.profile.upper().startswith((b"RTP/", b"UDP/TLS/RTP"))
    count = 2 * section.count if is_rtp else section.count
    rtcp = said.rtcp_port(section)
    if rtcp is not None and section.rtcp is not None:
        if said.address(section.rtcp) not in (None, own):
            raise api.ProtocolError("media-to-another-host")  # attack P11
        if rtcp not in (section.port, section.port + 1):
            return section.port, rtcp
    if (is_rtp and section.port % 2) or section.port + count - 1 > _MAX_PORT:
        raise api.ProtocolError("not-an-even-pair")
    return tuple(range(section.port, section.port + count))


def neighbours_in(said: SessionDescription, flow: SipFlow) -> dict[int, api.Endpoint]:
    """Return where the streams are taken that a far side says to be at ports of the gateway.

    Two telephones of one network that call each other by a provider outside hear of each other so;
    their media stay inside. Empty unless it holds for every stream: a description that is half
    about us is not one of a neighbour's.
    """
    found: dict[int, api.Endpoint] = {}
    for number, section in enumerate(said.media):
        if said.is_ice or not section.port:
            continue
        address = None if section.connection is None else said.address(section.connection)
        owner = None if address is None else _neighbour(flow, api.Endpoint(address, section.port))
        if owner is None:
            return {}
        found[number] = owner
    return found


def _neighbour(flow: SipFlow, at: api.Endpoint) -> api.Endpoint | None:
    if at.version != flow.own.version:
        return None
    primary = flow.primary
    return primary.session.neighbour_at(primary.protocol, api.Transport.UDP, at)


def rewritten(
    said: SessionDescription, places: Mapping[int, api.Endpoint], own: api.IpAddress
) -> bytes:
    """Return the description with other places in the place of `own`, by number of stream."""
    changes: dict[int, bytes] = {}
    for number, place in places.items():
        section = said.media[number]
        changes[section.line] = said.with_port(section.line, place.port)
        if section.connection is not None:
            changes[section.connection] = said.with_address(section.connection, place.address)
        if section.rtcp is not None:
            is_same = said.rtcp_port(section) == section.port
            changed = said.with_port(section.rtcp, place.port + (not is_same))
            said_there = said.address(section.rtcp)
            if said_there is not None:
                changed = changed.replace(str(said_there).encode(), str(place.address).encode())
            changes[section.rtcp] = changed
    if places and said.origin is not None and said.address(said.origin) == own:
        place = next(iter(places.values()))
        changes[said.origin] = said.with_address(said.origin, place.address)
    return said.rewritten(changes)
