"""Requests whose answers count: those of the telephone, or those of one host outside."""

from dataclasses import dataclass, field

from sallyport import api, limits
from sallyport.filters.sip.ports import SignallingPort
from sallyport.wire.messages import TextMessage
from sallyport.wire.sip.messages import MessageNames

# What a request and its answers have in common (attack P03).
_Key = tuple[bytes, int, bytes, bytes]


@dataclass(slots=True)
class SipExchange:
    """A request whose answers count, for 32 seconds after the last one (RFC 3261 section 17)."""

    request: TextMessage
    """As it was passed on."""
    ports: tuple[SignallingPort, ...] = ()
    """Those that it names, which open when it is accepted."""
    is_final: bool = False
    seconds: float = 0.0


@dataclass(slots=True)
class SipExchanges:
    """The requests of one side, by what their answers repeat."""

    _known: dict[_Key, SipExchange] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self._known)

    def add(self, names: MessageNames, exchange: SipExchange) -> None:
        """Keep a request for its answers, a repeated one once; raises QuotaExceeded (P08)."""
        key = _key(names)
        if key not in self._known and len(self._known) >= limits.MAX_SIP_TRANSACTIONS:
            # What is answered is kept for repetitions alone, and goes first.
            answered = next((one for one in self._known if self._known[one].is_final), None)
            if answered is None:
                raise api.QuotaExceeded("too-many-transactions")
            del self._known[answered]
        self._known.setdefault(key, exchange)

    def drop(self, names: MessageNames) -> None:
        """Forget a request that was not passed on."""
        self._known.pop(_key(names), None)

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
                del self._known[key]


def _key(names: MessageNames) -> _Key:
    return names.call_id, names.cseq, names.method, names.branch
