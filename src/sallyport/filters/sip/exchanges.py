"""Requests whose answers count: those of the telephone, or those of one host outside."""

from dataclasses import dataclass, field

from sallyport import api, limits
from sallyport.filters.sip.ports import SignallingPort
from sallyport.wire.messages import TextMessage
from sallyport.wire.sip.messages import MessageNames

# Their answers are about what they have said: media, or the time of a registration.
_KEPT_WHOLE = frozenset({b"INVITE", b"UPDATE", b"PRACK", b"REGISTER", b"SUBSCRIBE"})

# What a request and its answers have in common (attack P03).
_Key = tuple[bytes, int, bytes, bytes]


@dataclass(slots=True)
class SipExchange:
    """A request whose answers count, for 32 seconds after the last one (RFC 3261 section 17)."""

    request: TextMessage | None
    """As it was passed on; None where nothing of it is needed any more."""
    ports: tuple[SignallingPort, ...] = ()
    """Those that it names, which open when it is accepted."""
    is_heard: bool = True
    """Whether its media count: it belongs to the call that it names."""
    is_final: bool = False
    seconds: float = 0.0

    @property
    def size(self) -> int:
        """How many bytes it takes."""
        return 0 if self.request is None else len(self.request.head) + len(self.request.body)


@dataclass(slots=True)
class SipExchanges:
    """The requests of one side, by what their answers repeat."""

    _known: dict[_Key, SipExchange] = field(default_factory=dict)
    _bytes: int = 0
    """What the requests take that are kept whole."""

    def __len__(self) -> int:
        return len(self._known)

    def add(self, names: MessageNames, exchange: SipExchange) -> None:
        """Keep a request for its answers, a repeated one once; raises QuotaExceeded (P08)."""
        key = _key(names)
        if key in self._known:
            return
        if exchange.request is not None and names.method not in _KEPT_WHOLE:
            exchange.request = None
        size = exchange.size
        if size > limits.MAX_SIP_TRANSACTION_BYTES:
            raise api.QuotaExceeded("too-many-transactions")
        while (
            len(self._known) >= limits.MAX_SIP_TRANSACTIONS
            or self._bytes + size > limits.MAX_SIP_TRANSACTION_BYTES
        ):
            # What is answered is kept for repetitions alone, and goes first.
            answered = next((one for one, known in self._known.items() if known.is_final), None)
            if answered is None:
                raise api.QuotaExceeded("too-many-transactions")
            self._forget(answered)
        self._known[key] = exchange
        self._bytes += size

    def find(self, names: MessageNames) -> SipExchange | None:
        """Return the request that a message answers; None when there is none."""
        return self._known.get(_key(names))

    def passes_time(self, seconds: float) -> None:
        """Forget what no answer is due to any more: a call may ring for minutes."""
        for key, one in tuple(self._known.items()):
            one.seconds += seconds
            is_ringing = key[2] == b"INVITE" and not one.is_final
            most = limits.SIP_DEAD_CALL_SECONDS if is_ringing else limits.SIP_ANSWER_SECONDS
            if one.seconds >= most:
                self._forget(key)

    def _forget(self, key: _Key) -> None:
        self._bytes -= self._known.pop(key).size


def _key(names: MessageNames) -> _Key:
    return names.call_id, names.cseq, names.method, names.branch
