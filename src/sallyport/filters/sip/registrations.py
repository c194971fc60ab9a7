"""For how long a registration is asked for and granted; pure."""

from collections.abc import Container
from dataclasses import dataclass, field

from sallyport import api, limits
from sallyport.wire.messages import TextMessage
from sallyport.wire.sip import uri

# RFC 3261 section 10.2.1.1 and 20.19: seconds are 0 to 2^32 - 1.
_MAX_EXPIRES = 2**32


@dataclass(slots=True)
class Registrations:
    """What is registered by one way to a telephone, and for how many seconds yet.

    Each has a name: a PBX registers many lines by one way, and gives up one of them.
    """

    _seconds: dict[bytes, float] = field(default_factory=dict)

    @property
    def longest(self) -> float:
        """Seconds for which the way is needed; 0 when it is not."""
        return max(self._seconds.values(), default=0.0)

    def lasts(self, name: bytes, seconds: float) -> None:
        """Set how long one of them lasts; 0: it is over."""
        self._seconds.pop(name, None)
        if seconds > 0:
            self._seconds[name] = seconds
        if len(self._seconds) > limits.MAX_SIP_REGISTRATIONS:
            del self._seconds[min(self._seconds, key=lambda one: self._seconds[one])]

    def passes_time(self, seconds: float) -> None:
        """Note that time has passed."""
        for name, left in tuple(self._seconds.items()):
            self.lasts(name, left - seconds)


def name_of_registration(request: TextMessage) -> bytes:
    """Return what a request and its renewals have in common: the address of record, or the dialog.

    RFC 3261 section 10.2, RFC 6665 section 4.1.2. Raises ProtocolError.
    """
    if request.start.method == b"REGISTER":
        return b"REGISTER " + uri.NameAddress.read(request.get(b"to") or b"").target
    return b"SUBSCRIBE " + (request.get(b"call-id") or b"")


def granted_seconds(
    request: TextMessage, response: TextMessage, told: Container[api.Endpoint] | None, most: int
) -> float | None:
    """Return how long the way to the telephone stays open: what both sides say, at most `most`.

    `told` are the places that the telephone registers there; None: it is outside, and any counts.
    What neither says is an hour (RFC 3261 section 10.2.1.1), and so at most `most`. A request that
    names no place changes nothing: None.
    """
    if not request.all(b"contact"):
        return None
    said = (expires(request, told), expires(response, told), most)
    seconds = min(one for one in said if one is not None)
    return seconds + limits.SIP_ANSWER_SECONDS if seconds else 0.0


def expires(message: TextMessage, told: Container[api.Endpoint] | None) -> int | None:
    """Return for how long our Contact is, or shall be, registered; None when nothing says it.

    A parameter of the Contact comes before the header. What is no number of seconds counts as not
    said. Raises ProtocolError for a Contact that cannot be read.
    """
    for value in message.all(b"contact"):
        for one in uri.read_name_addresses(value):
            if one.target == b"*":
                return 0
            said, own = one.uri(), one.get(b"expires")
            is_ours = told is None or (said is not None and said.endpoint in told)
            if is_ours and own is not None:
                return _seconds(own)
    return _seconds(message.get(b"expires"))


def _seconds(said: bytes | None) -> int | None:
    if said is None or not said.isdigit() or len(said) > 10 or int(said) >= _MAX_EXPIRES:
        return None
    return int(said)
