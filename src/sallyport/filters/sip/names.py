"""Where messages name the telephone, and what is written there instead.

Pure. Changed are Contact, Record-Route and the topmost Via of what the telephone says, and they are
put back in what it hears; never From, To, Call-ID or a digest, even where they contain the address.
A message that carries a signature of its headers (RFC 8224) is not touched at all.
"""

from collections.abc import Callable

from sallyport import api, limits
from sallyport.wire.messages import TextMessage
from sallyport.wire.sip import uri, via
from sallyport.wire.sip.messages import MessageNames
from sallyport.wire.sip.uri import NameAddress
from sallyport.wire.sip.via import Via

_NAMING = (b"contact", b"record-route")
_NAMED = (*_NAMING, b"route")


def is_signed(message: TextMessage) -> bool:
    """Whether a signature covers what would be changed."""
    return message.get(b"identity") is not None


class SipNames:
    """One telephone as it names itself, and as its server knows it."""

    def __init__(self, own: api.Endpoint, told: api.Endpoint) -> None:
        """`own` is the telephone's port, `told` the one of the gateway that speaks for it."""
        self._own = own
        self._told = told
        self._contacts: dict[bytes, bytes] = {}
        """The URIs that the telephone wrote, by what was told instead."""
        self._vias: dict[bytes, bytes] = {}
        """Its own first piece of Via where it was changed, by branch."""

    def outwards(self, message: TextMessage) -> TextMessage:
        """Return what the server shall read of the telephone's message; raises ProtocolError."""
        if message.start.is_request:
            message = self._with_via(message, self._tell_via)
        return self._with_names(message, _NAMING, self._tell)

    def inwards(self, message: TextMessage) -> TextMessage:
        """Return what the telephone shall read of the server's message; raises ProtocolError."""
        if message.start.is_request:
            target = self._restored(message.start.target)
            if target != message.start.target:
                message = message.with_target(target)
        else:
            message = self._with_via(message, self._restore_via)
        return self._with_names(message, _NAMED, self._restore)

    # -- names --------------------------------------------------------------------------------

    def _with_names(
        self,
        message: TextMessage,
        names: tuple[bytes, ...],
        change: Callable[[NameAddress], NameAddress],
    ) -> TextMessage:
        for i, header in enumerate(message.headers):
            if header.name in names:
                listed = uri.read_name_addresses(header.value)
                changed = [change(one) for one in listed]
                if changed != listed:
                    message = message.with_header(i, uri.write_name_addresses(changed))
        return message

    def _tell(self, one: NameAddress) -> NameAddress:
        said = one.uri()
        if said is None or said.endpoint != self._own:
            return one
        told = one.at(self._told)
        self._contacts.pop(told.target, None)
        self._contacts[told.target] = one.target
        if len(self._contacts) > limits.MAX_SIP_CONTACTS:
            del self._contacts[next(iter(self._contacts))]
        return told

    def _restore(self, one: NameAddress) -> NameAddress:
        return NameAddress(one.before, self._restored(one.target), one.after)

    def _restored(self, target: bytes) -> bytes:
        if target in self._contacts:
            return self._contacts[target]
        said = NameAddress(b"", target, b"").uri()
        return target if said is None or said.endpoint != self._told else bytes(said.at(self._own))

    # -- hops ---------------------------------------------------------------------------------

    def _with_via(self, message: TextMessage, change: Callable[[Via], Via]) -> TextMessage:
        """Change the topmost hop."""
        for i, header in enumerate(message.headers):
            if header.name == b"via":
                hops = via.read_vias(header.value)
                changed = change(hops[0])
                if changed is not hops[0]:
                    message = message.with_header(i, via.write_vias([changed, *hops[1:]]))
                break
        return message

    def _tell_via(self, hop: Via) -> Via:
        # RFC 3581 section 3: with rport the server answers to where the request came from.
        if hop.has_rport or hop.endpoint != self._own or hop.branch is None:
            return hop
        self._vias[hop.branch] = hop.parameters.pieces[0]
        if len(self._vias) > limits.MAX_SIP_TRANSACTIONS:
            del self._vias[next(iter(self._vias))]
        return hop.at(self._told)

    def _restore_via(self, hop: Via) -> Via:
        pieces = hop.parameters.pieces
        if hop.branch is not None and hop.endpoint == self._told and hop.branch in self._vias:
            hop = Via.read(b";".join((self._vias[hop.branch], *pieces[1:])))
        # What it reads about its own address must be what it believes: a telephone that finds
        # another one registers anew, for ever.
        parameters = hop.parameters
        for name, own in ((b"received", str(self._own.address)), (b"rport", str(self._own.port))):
            if parameters.get(name):
                parameters = parameters.saying(name, own.encode())
        return hop if parameters == hop.parameters else Via.read(bytes(parameters))


def answer(request: TextMessage, code: int, reason: bytes) -> bytes:
    """Return an answer of ours to a request (RFC 3261 section 8.2.6)."""
    copied = (b"via", b"from", b"call-id", b"cseq")
    lines = [b"SIP/2.0 %d %s\r\n" % (code, reason)]
    for header in request.headers:
        if header.name in copied:
            lines.append(header.raw)
        elif header.name == b"to":
            tag = b"" if _is_tagged(header.value) else b";tag=refused-by-gateway"
            lines.append(b"To: " + header.value + tag + b"\r\n")
    if code == 503:
        lines.append(b"Retry-After: 30\r\n")
    return b"".join((*lines, b"Content-Length: 0\r\n\r\n"))


def _is_tagged(to: bytes) -> bool:
    """Return whether a To header has a tag; `tag=` may also stand in its name or its URI."""
    try:
        return NameAddress.read(to).get(b"tag") is not None
    except api.ProtocolError:
        return False


def transaction(names: MessageNames) -> tuple[bytes, int, bytes, bytes]:
    """Return what a request and its answers have in common (attack P03)."""
    return names.call_id, names.cseq, names.method, names.branch
