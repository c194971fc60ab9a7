"""The media of one call: reserved by what the telephone says, opened by what the far side says."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from sallyport import api, limits
from sallyport.filters.sip.descriptions import UNSET, Ports
from sallyport.filters.sip.flows import SipFlow
from sallyport.wire.sdp import SessionDescription


@dataclass(frozen=True, slots=True)
class FarStream:
    """What the far side says about one stream."""

    peers: frozenset[api.IpAddress]
    """The hosts that its media may come from."""
    is_muxed: bool
    """Whether it takes RTCP at the port of RTP (RFC 5761)."""


@dataclass(slots=True)
class SipCall:
    """One call of a telephone, known by its Call-ID and the telephone's tag.

    Its ports end with its bundle, whichever conversation speaks of it.
    """

    bundle: api.Bundle
    session_filter: api.SessionFilter
    far: api.IpAddress
    """The host outside that it was begun with."""
    own_tag: bytes
    """The telephone's; empty until it has said it."""
    is_own: bool
    """Whether the telephone has begun it."""
    is_established: bool = False
    is_ending: bool = False
    """Whether one side has said BYE."""
    silent_seconds: float = 0.0
    ending_seconds: float = 0.0
    _bindings: dict[Ports, api.Binding] = field(default_factory=dict)
    _wanted: dict[int, Ports] = field(default_factory=dict)
    """The streams of the latest description of the telephone."""
    _agreed: dict[int, Ports] = field(default_factory=dict)
    """Those that both sides have agreed on."""
    _far: dict[bytes, dict[int, FarStream]] = field(default_factory=dict)
    """What the far side says, by its tag: before the answer there may be several (P12)."""
    _carried: int = 0

    def is_between(self, own_tag: bytes, far_tag: bytes) -> bool:
        """Whether a request of the far side belongs to it: only who knows the dialog does (P12).

        Outside a dialog that is the request that began it, and each repetition.
        """
        is_known = not self._far or far_tag in self._far
        if own_tag:
            return own_tag == self.own_tag and is_known
        return not self.is_own and is_known

    def has_answer_of(self, far_tag: bytes) -> bool:
        """Whether this far side is the one that is left."""
        return self.is_established and far_tag in self._far

    async def wants(self, flow: SipFlow, streams: dict[int, Ports]) -> dict[int, api.Endpoint]:
        """Return the gateway's places for what the telephone takes; those known before stay.

        Raises BindError; then the call is as it was.
        """
        made: list[Ports] = []
        try:
            for ports in streams.values():
                known = self._bindings.get(ports)
                if known is None or known.state is api.State.CLOSED:
                    self._bindings[ports] = await self._reserve(flow, ports)
                    made.append(ports)
        except BaseException:
            for ports in made:
                self._bindings.pop(ports).kill("refused")
            raise
        self._wanted = streams
        return {number: self._bindings[ports].proxy_address for number, ports in streams.items()}

    async def _reserve(self, flow: SipFlow, ports: Ports) -> api.Binding:
        return await flow.primary.session.bind_for_client(
            [api.Endpoint(flow.own.address, port) for port in ports],
            transport=api.Transport.UDP,
            protocol=flow.primary.protocol,
            # The far side is known by its address alone: its port may be any (RFC 4961), and a
            # single place would be taken by the first forged datagram.
            flags=api.BindFlags.BIDIRECTIONAL | api.BindFlags.ALLOW_MULTIPLE,
            session_filter=self.session_filter,
            ip_filter=api.IpFilter.of(flow.far.address),
            primary=flow.primary,
            bundle=self.bundle,
            armed=False,
        )

    def answers(
        self, flow: SipFlow, tag: bytes, said: SessionDescription, but: Iterable[int] = ()
    ) -> bool:
        """Take what the far side says; return whether it named a host that may not send.

        `but`: streams that reach the telephone without us. Of more branches than any call has, the
        later ones are not heard.
        """
        if tag not in self._far and len(self._far) >= limits.MAX_SIP_BRANCHES:
            return False
        known, is_refused = self._far.setdefault(tag, {}), False
        for number, section in enumerate(said.media):
            address = None if section.connection is None else said.address(section.connection)
            if not section.port or address is None or address in UNSET or number in but:
                continue  # on hold: who was known before may come back
            peers = flow.media_peers(address)
            if peers:
                known[number] = FarStream(peers, b"rtcp-mux" in section.attributes)
            else:
                is_refused = True
        return is_refused

    async def open(self) -> None:
        """Let those in who are known, to what the telephone wants; raises BindError."""
        for number, ports in self._wanted.items():
            binding = self._bindings[ports]
            far = [one[number] for one in self._far.values() if number in one]
            if binding.state is api.State.CLOSED:
                continue  # its media were ended, by the operator or a rule; the words go on
            if not far and binding.state is api.State.RESERVED:
                continue
            peers = api.IpFilter.of(*frozenset[api.IpAddress]().union(*(one.peers for one in far)))
            if binding.ip_filter != peers:
                await binding.set_peers(peers)
            if binding.state is api.State.RESERVED:
                await binding.arm()
                if all(one.is_muxed for one in far) and len(ports) == 2:
                    binding.connections[1].kill("rtcp-is-muxed")

    async def agree(self, tag: bytes) -> None:
        """Take note that both sides agree: of several far sides one is left; raises BindError."""
        if self.is_established and tag in self._far:
            self._far = {tag: self._far[tag]}
        self._agreed = self._wanted
        self._prune()
        await self.open()

    def is_one_of_several(self, tag: bytes) -> bool:
        """Whether a far side has rung and not answered, and others may answer yet."""
        return not self.is_established and tag in self._far and len(self._far) > 1

    async def loses(self, tag: bytes) -> None:
        """Take note that a far side is gone before the call was answered; raises BindError."""
        if not self.is_established:
            self._far.pop(tag, None)
            await self.open()
            self._cut_off()

    def settle(self) -> None:
        """End the media of far sides that have lost, and of hosts that the call has moved from."""
        if self.is_established:
            self._cut_off()

    def _cut_off(self) -> None:
        for binding in self._bindings.values():
            binding.cut_off()

    def disagree(self) -> None:
        """Take note that a change was refused: all stays as it was (RFC 3261 section 14.1)."""
        self._wanted = self._agreed
        self._prune()

    def begin_to_watch(self) -> None:
        """Look now and then whether the call, or a branch of it, is over."""
        self.bundle.call_later(limits.SIP_LOOK_SECONDS, self._look)

    async def _look(self) -> None:
        """End it when its BYE was not answered, or when neither words nor media have come.

        An ACK may go another way than by us: what has lost ends now.
        """
        self.settle()
        seconds = limits.SIP_LOOK_SECONDS
        carried = sum(
            sum(port.traffic()[1:])
            for binding in self._bindings.values()
            for port in binding.connections
        )
        self.silent_seconds = 0.0 if carried != self._carried else self.silent_seconds + seconds
        self._carried = carried
        self.ending_seconds += seconds if self.is_ending else 0.0
        if self.ending_seconds >= limits.SIP_ANSWER_SECONDS:
            self.bundle.end("bye-unanswered")
        elif self.silent_seconds >= limits.SIP_DEAD_CALL_SECONDS:
            self.bundle.end("call-is-silent")
        else:
            self.begin_to_watch()

    def _prune(self) -> None:
        for ports in [ports for ports in self._bindings if ports not in self._wanted.values()]:
            self._bindings.pop(ports).kill("replaced")
