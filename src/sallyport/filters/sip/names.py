"""Where messages name the telephone, and what is written there instead.

Pure. Changed are Contact, Record-Route and the topmost Via of what the telephone says, and they are
put back in what it hears; never From, To, Call-ID or a digest, even where they contain the address.
A message that carries a signature of them (RFC 4474, S/MIME) is not touched at all; that of RFC
8224, which providers add to calls, covers neither.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from sallyport import api, limits
from sallyport.wire.messages import TextMessage
from sallyport.wire.sip import uri, via
from sallyport.wire.sip.uri import NameAddress, SipUri
from sallyport.wire.sip.via import Via

_NAMING = (b"contact", b"record-route")
_NAMED = (*_NAMING, b"route")
_SIGNED = (b"multipart/signed", b"application/pkcs7", b"application/x-pkcs7")


def is_signed(message: TextMessage) -> bool:
    """Whether a signature covers what would be changed."""
    kind = (message.get(b"content-type") or b"").lower()
    return message.get(b"identity-info") is not None or kind.startswith(_SIGNED)


Place = tuple[api.Transport, api.Endpoint]
"""Where a telephone is reached."""

_TRANSPORTS = {b"udp": api.Transport.UDP, b"tcp": api.Transport.TCP}


@dataclass(frozen=True, slots=True)
class SipPlaces:
    """What one message names, and what is told instead."""

    own: api.Endpoint
    """The telephone's end of the flow."""
    told: api.Endpoint
    """The gateway's address that stands for it there."""
    transport: api.Transport
    """Of the flow: what its Via means."""
    is_published: bool = False
    """Whether hosts outside know the telephone by an address that is its own name as well."""
    contacts: Mapping[Place, api.Endpoint] = field(default_factory=dict)
    """The telephone's places that the message names, and what is told of each."""

    def place_of(self, said: SipUri | None) -> Place | None:
        """Return where a URI leads; None for a name, and for TLS, where nothing can be read."""
        endpoint = None if said is None else said.endpoint
        if said is None or endpoint is None:
            return None
        # RFC 3263 section 4.1: a URI with an address and no transport means UDP, over whatever it
        # was told.
        transport = _TRANSPORTS.get(said.transport or b"udp")
        return None if transport is None else (transport, endpoint)


def places_in(message: TextMessage, places: SipPlaces) -> Iterator[Place]:
    """Yield where a telephone says that it is reached; raises ProtocolError."""
    for header in message.headers:
        for one in uri.read_name_addresses(header.value) if header.name in _NAMING else ():
            place = places.place_of(one.uri())
            if place is not None and place[1].address == places.own.address:
                yield place


class SipNames:
    """One telephone as it names itself, and as the hosts outside know it."""

    def __init__(self) -> None:
        self._contacts: dict[bytes, bytes] = {}
        """The URIs that the telephone wrote, by what was told instead."""
        self._places: dict[api.Endpoint, api.Endpoint] = {}
        """Its places, by what was told instead."""
        self._vias: dict[tuple[bytes, api.Endpoint], bytes] = {}
        """Its own first piece of Via where it was changed, by branch and what was told instead."""

    def outwards(self, message: TextMessage, places: SipPlaces) -> TextMessage:
        """Return what the far host shall read of a telephone's message; raises ProtocolError."""

        def tell(one: NameAddress) -> NameAddress:
            place = places.place_of(one.uri())
            told = None if place is None else places.contacts.get(place)
            return one if told is None else self._told(one, told)

        if message.start.is_request:
            message = _with_via(message, lambda hop: self._tell_via(hop, places))
        for (_, own), told in places.contacts.items():
            _remember(self._places, told, own, limits.MAX_SIP_NAMES)
        return _with_names(message, _NAMING, tell)

    def inwards(self, message: TextMessage, places: SipPlaces) -> TextMessage:
        """Return what the telephone shall read of a far host's message; raises ProtocolError."""
        if message.start.is_request:
            target = self._restored(message.start.target, places)
            if target != message.start.target:
                message = message.with_target(target)
        else:
            message = _with_via(message, lambda hop: self._restore_via(hop, places))
        return _with_names(
            message,
            _NAMED,
            lambda one: NameAddress(one.before, self._restored(one.target, places), one.after),
        )

    # -- names --------------------------------------------------------------------------------

    def _told(self, one: NameAddress, place: api.Endpoint) -> NameAddress:
        told = one.at(place)
        _remember(self._contacts, told.target, one.target, limits.MAX_SIP_NAMES)
        return told

    def _restored(self, target: bytes, places: SipPlaces) -> bytes:
        if target in self._contacts:
            return self._contacts[target]
        said = NameAddress(b"", target, b"").uri()
        endpoint = None if said is None else said.endpoint
        if said is None or endpoint is None or places.is_published:
            return target
        if endpoint in self._places:
            return bytes(said.at(self._places[endpoint]))
        return bytes(said.at(places.own)) if endpoint == places.told else target

    # -- hops ---------------------------------------------------------------------------------

    def _tell_via(self, hop: Via, places: SipPlaces) -> Via:
        # RFC 3581 section 3: with rport the server answers to where the request came from.
        endpoint = hop.endpoint
        if hop.has_rport or hop.branch is None or endpoint is None:
            return hop
        if endpoint.address != places.own.address:
            return hop
        told = places.contacts.get((places.transport, endpoint), places.told)
        own = hop.parameters.pieces[0]
        _remember(self._vias, (hop.branch, told), own, limits.MAX_SIP_TRANSACTIONS)
        return hop.at(told)

    def _restore_via(self, hop: Via, places: SipPlaces) -> Via:
        branch, endpoint = hop.branch, hop.endpoint
        if branch is not None and endpoint is not None and (branch, endpoint) in self._vias:
            own_piece = self._vias[branch, endpoint]
            hop = Via.read(b";".join((own_piece, *hop.parameters.pieces[1:])))
        # What it reads about its own address must be what it believes: a telephone that finds
        # another one registers anew, for ever.
        parameters, own = hop.parameters, places.own
        for name, believed in ((b"received", str(own.address)), (b"rport", str(own.port))):
            if parameters.get(name):
                parameters = parameters.saying(name, believed.encode())
        return hop if parameters == hop.parameters else Via.read(bytes(parameters))


def _with_names(
    message: TextMessage, names: tuple[bytes, ...], change: Callable[[NameAddress], NameAddress]
) -> TextMessage:
    for i, header in enumerate(message.headers):
        if header.name in names:
            listed = uri.read_name_addresses(header.value)
            changed = [change(one) for one in listed]
            if changed != listed:
                message = message.with_header(i, uri.write_name_addresses(changed))
    return message


def _with_via(message: TextMessage, change: Callable[[Via], Via]) -> TextMessage:
    """Change the topmost hop."""
    for i, header in enumerate(message.headers):
        if header.name == b"via":
            hops = via.read_vias(header.value)
            changed = change(hops[0])
            if changed is not hops[0]:
                message = message.with_header(i, via.write_vias([changed, *hops[1:]]))
            break
    return message


_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def _remember(known: dict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    """Keep the latest ones."""
    known.pop(key, None)
    known[key] = value
    if len(known) > most:
        del known[next(iter(known))]
