"""TFTP (RFC 1350): lets the answer to a client's request come from the port the server chooses.

A request goes to port 69; the server answers from a fresh port, its transfer identifier. The first
port of the server that answers is the one, for this request and for good (attack T03); no other
host is let in (attack T02). The request leaves as the client wrote it. A server that answers from
port 69 itself has chosen that one; what the client goes on to say to it comes by way of us.

For a published server it is the same seen from the other side: the server may open one flow to the
client outside, from the first port that it chooses, and the request reaches it in the name of the
address where that flow begins.
"""

from collections import deque
from dataclasses import dataclass
from itertools import islice
from math import ceil

from sallyport import api, limits
from sallyport.wire import tftp
from sallyport.wire.tftp import ErrorCode

_REFUSED = "Refused by the gateway."

# Of a transfer that moves nothing has to be known soon.
_LOOKS_AT_WHAT_MOVES = 3

TFTP = api.ProtocolDefinition(
    "tftp", api.Transport.UDP, 69, refusal=tftp.error(ErrorCode.ACCESS_VIOLATION, _REFUSED)
)
"""The protocol as access rules know it."""


TFTP_SERVER = api.ProtocolDefinition("tftp-server", api.Transport.UDP, 69, api.Direction.INBOUND)
"""The protocol as publishing rules know it; a client outside hears nothing of a refusal."""

Way = api.SecondaryConnection | api.FutureConnection
"""How the answer comes: at a bound port, or, from a server inside, by a permission."""


@dataclass(frozen=True, slots=True)
class TftpSettings:
    """The keys of `[filters.tftp]`, which each rule may set otherwise."""

    read_only: bool = False
    """Whether clients may read files only."""


class TftpFilter(api.ApplicationFilter):
    """TFTP transfers from the port that the server chooses (RFC 1350, 2347)."""

    name = "tftp"
    api_version = 1
    protocols = (TFTP, TFTP_SERVER)
    hooks = api.Hooks.of(api.UdpDestination)
    settings = TftpSettings

    def __init__(self, settings: TftpSettings | None = None) -> None:
        self._settings = settings or TftpSettings()

    def attach_to_session(self, session: api.Session) -> api.SessionFilter:
        """Make the memory for one client."""
        return TftpSession(session, self._settings)

    def remarks(
        self, rule: api.Rule, direction: api.Direction, *, is_translated: bool
    ) -> list[str]:
        """Implement `ApplicationFilter.remarks`."""
        if not is_read_only(self._settings, rule):
            return []
        return ["read_only: requests to write are refused with error 2"]


def is_read_only(settings: TftpSettings, rule: api.Rule) -> bool:
    """Whether clients may read only: by the rule's own settings, else by `settings`."""
    return bool(rule.filters.get("tftp", {}).get("read_only", settings.read_only))


class TftpSession(api.SessionFilter):
    """Attaches a dialogue to every port that asks for a file, and ends it with its transfer."""

    def __init__(self, session: api.Session, settings: TftpSettings) -> None:
        self.session = session
        self._settings = settings
        self._running: dict[TftpDialogue, None] = {}
        """The dialogues with a transfer, the oldest first."""

    async def on_event(self, event: api.Event) -> None:
        """Take one event of the session."""
        match event:
            case api.UdpDestination():
                dialogue = TftpDialogue(
                    self.session,
                    self,
                    is_read_only=is_read_only(self._settings, event.connection.rule),
                )
                event.connection.attach_data_filter(dialogue)
            case api.EstablishedConnection(context=TftpDialogue() as dialogue):
                dialogue.answered()
            case api.ConnectionTerminating(context=TftpDialogue() as dialogue):
                dialogue.transfer_over(event)

    def make_room(self, connection: api.PrimaryConnection) -> None:
        """Let a transfer that is over give up its place, when the client may hold no more."""
        if self._has_room_for(connection):
            return
        theirs = (one for one in self._running if one.connection.account == connection.account)
        # A list: to ask about one may bring the news that it has ended already.
        for dialogue in [*islice(theirs, limits.MAX_TFTP_LOOKS_FOR_ROOM)]:
            dialogue.end_if_over()
            if self._has_room_for(connection):
                return

    def _has_room_for(self, connection: api.PrimaryConnection) -> bool:
        return self.session.held_for(connection) < connection.rule.max_bindings_per_client

    def begins(self, dialogue: "TftpDialogue") -> None:
        """Take note that a dialogue has a transfer, the latest one."""
        self._running.pop(dialogue, None)
        self._running[dialogue] = None

    def ends(self, dialogue: "TftpDialogue") -> None:
        """Take note that a dialogue has no transfer any more."""
        self._running.pop(dialogue, None)


class TftpDialogue(api.DataFilter):
    """What one client port asks of one server; the transfers themselves pass it by."""

    connection: api.PrimaryConnection

    def __init__(
        self, session: api.Session, session_filter: TftpSession, *, is_read_only: bool = False
    ) -> None:
        self._is_read_only = is_read_only
        self._session = session
        self._session_filter = session_filter
        self._request = b""
        self._asked: tftp.Request | None = None
        self._way: Way | None = None
        self._early: deque[bytes] = deque(maxlen=limits.MAX_TFTP_EARLY)
        self._progress: tuple[int, ...] | None = None
        self._passed = 0
        """Bytes that came by us on their way to the port that answered."""
        self._silent_looks = 0
        self._looks_needed = limits.TFTP_SILENT_LOOKS

    async def from_client(self, data: bytes) -> None:
        """Pass a request on when the way back is open; anything else opens nothing (attack T01)."""
        try:
            if data == self._request and self._awaits_answer:
                self._send()  # RFC 1350 section 2: what is not answered is sent again
            else:
                await self._serve(data, tftp.parse_request(data))
        except tftp.NotARequest as error:
            if self._goes_to_port_69:
                self._pass(data)
            elif self._awaits_answer:
                # The kernel has passed the answer on, and its news of it is still on the way.
                self._early.append(data)
            else:
                self._drop(error.reason)
        except api.ProtocolError as error:
            self._refuse(ErrorCode.ILLEGAL_OPERATION, "Illegal TFTP operation.", error.reason)
        except api.BindError as refusal:
            is_full = isinstance(refusal, (api.QuotaExceeded, api.OutOfResources))
            code = ErrorCode.ALLOCATION_EXCEEDED if is_full else ErrorCode.ACCESS_VIOLATION
            text = "Refused by the gateway."
            self._refuse(code, text, refusal.reason, is_recorded=refusal.is_recorded)

    async def from_server(self, data: bytes) -> None:
        """Drop it: a server answers from a port of its own, by the binding."""
        self._drop("answer-outside-the-binding")

    def answered(self) -> None:
        """Pass on what the client has said to port 69 since the answer came from there."""
        early = [*self._early]
        self._early.clear()
        if self._goes_to_port_69:
            for data in early:
                self._pass(data)

    async def deadline_passed(self) -> None:
        """Look whether the transfer goes on; one that is over takes no place any more."""
        way = self._way
        if way is None or way.state is not api.State.LIVE:
            self.set_deadline(limits.TFTP_LOOK_SECONDS if self._awaits_answer else None)
            return
        progress, looks = self._progress_of(way), 1
        if progress == self._progress:
            self._silent_looks += 1
        else:
            looks = 1 if self._progress is None else _LOOKS_AT_WHAT_MOVES
            self._progress, self._silent_looks = progress, 0
        needed = self._looks_needed
        is_over = self._silent_looks == needed and self._needs_no_more(way)
        if is_over or self._silent_looks >= max(needed, limits.TFTP_STALLED_LOOKS):
            way.kill("finished" if progress[-1] else "idle")
        else:
            self.set_deadline(looks * limits.TFTP_LOOK_SECONDS)

    def end_if_over(self) -> None:
        """End the transfer if it is complete, or silent since the last look."""
        way = self._way
        if way is None:
            return
        is_complete = self._is_complete(way)
        if way.state is not api.State.LIVE:
            return
        is_silent = self._silent_looks > 0 and self._progress_of(way) == self._progress
        if is_complete or is_silent:
            way.kill("finished")

    def _needs_no_more(self, way: Way) -> bool:
        """Whether a transfer that is silent is complete, or was never one for its client."""
        return self._is_complete(way) or (self._is_published and not any(self._progress_of(way)))

    def _is_complete(self, way: Way) -> bool:
        """Whether a transfer is complete for sure; to ask may bring the news that it has ended."""
        first, asked = way.first_datagram(), self._asked
        if asked is None or way.state is not api.State.LIVE:
            return False
        return asked.is_complete(first, *self._said(way))

    def _said(self, way: Way) -> tuple[int, int]:
        """Return how many bytes server and client have said."""
        traffic = way.traffic()
        return traffic.from_peer_bytes, traffic.to_peer_bytes + self._passed

    def _progress_of(self, way: Way) -> tuple[int, ...]:
        """Return what grows while the transfer goes on.

        A client outside that does not answer may never have asked: its address can be forged, and
        its server repeats itself.
        """
        said = self._said(way)
        return said[1:] if self._is_published else said

    def transfer_over(self, event: api.ConnectionTerminating) -> None:
        """End with the latest transfer; earlier ones of this port may end before it."""
        if event.connection is self._way:
            self._session_filter.ends(self)
            self.connection.close(event.reason)

    def detach(self) -> None:
        """Implement `DataFilter.detach`."""
        self._session_filter.ends(self)

    def transcript(self, hop: api.Hop, *, is_running: bool) -> api.Transcript:
        """Implement `DataFilter.transcript`."""
        return _TftpTranscript()

    @property
    def _awaits_answer(self) -> bool:
        return self._way is not None and self._way.state is api.State.ARMED

    @property
    def _is_published(self) -> bool:
        return self.connection.direction is api.Direction.INBOUND

    @property
    def _goes_to_port_69(self) -> bool:
        """Whether the transfer is one with the port that the request went to."""
        way = self._way
        return (
            way is not None
            and way.state is api.State.LIVE
            and way.latest_peer == self.connection.server
        )

    async def _serve(self, data: bytes, request: tftp.Request) -> None:
        """Bind for a new request. A transfer under way from the same port may finish.

        A request repeated after an answer is a new one as well: its server starts again with a new
        identifier, and the client is who knows which of the two it wants.
        """
        if request.asks_for(b"multicast"):
            # RFC 2090: the data would come from elsewhere and go to a group (attack T04).
            self._refuse(ErrorCode.OPTION_REFUSED, "Multicast is refused.", "multicast")
            return
        if request.is_write and self._is_read_only:
            self._refuse(ErrorCode.ACCESS_VIOLATION, "Read-only access.", "rule-is-read-only")
            return
        if request.oddity is not None:
            self.connection.note("request.odd", reason=request.oddity)
        if self._way is not None:
            # Two transfers between the same two ports cannot be told apart.
            end = self._way.kill if self._goes_to_port_69 else self._way.withdraw
            self._way = None
            end("replaced")
        self._session_filter.make_room(self.connection)
        self._request, self._asked = data, request
        self._early.clear()
        self._progress, self._passed, self._silent_looks = None, 0, 0
        # Twice the time after which either side repeats what was lost (RFC 2349), if it says one.
        patience = 2 * (request.value_of(b"timeout") or 0)
        self._looks_needed = max(
            limits.TFTP_SILENT_LOOKS, ceil(patience / limits.TFTP_LOOK_SECONDS)
        )
        self.set_deadline(limits.TFTP_LOOK_SECONDS)
        self._way = await self._open()
        self._session_filter.begins(self)
        self._send()

    async def _open(self) -> Way:
        if self._is_published:
            return await self._session.allow_future_connect(
                self.connection.client,
                transport=api.Transport.UDP,
                protocol=TFTP_SERVER,
                session_filter=self._session_filter,
                context=self,
                primary=self.connection,
            )
        binding = await self._session.bind_for_client(
            [self.connection.client],
            transport=api.Transport.UDP,
            protocol=TFTP,
            flags=api.BindFlags.BIDIRECTIONAL | api.BindFlags.TIMEOUT,
            session_filter=self._session_filter,
            context=self,
            ip_filter=api.IpFilter.of(self.connection.server.address),
            primary=self.connection,
        )
        return binding.connections[0]

    def _send(self) -> None:
        """Send the request in the name of the opened port: there the server will answer."""
        self._say(self._request)

    def _pass(self, data: bytes) -> None:
        self._passed += len(data)
        self._say(data)

    def _say(self, data: bytes) -> None:
        if self._way is not None:
            self._way.send_to(self.connection.server, data)

    def _refuse(
        self, code: ErrorCode, text: str, reason: str, *, is_recorded: bool = False
    ) -> None:
        if is_recorded:  # a refusal is one record: here is only what the client was told
            self.connection.note("request.answered", level="debug", code=int(code), reason=reason)
        else:
            self.connection.note("request.refused", level="warning", code=int(code), reason=reason)
        self.client.send(tftp.error(code, text))
        self._end_if_idle(reason)

    def _drop(self, reason: str) -> None:
        self.connection.note("datagram.dropped", level="warning", reason=reason)
        self._end_if_idle(reason)

    def _end_if_idle(self, reason: str) -> None:
        """Noise leaves nothing behind; beside a transfer it does no harm to it."""
        if self._way is None:
            self.connection.close(reason)


class _TftpTranscript(api.Transcript):
    """Shows which file is asked for; all other packets are counted."""

    def lines(self, data: bytes) -> list[str]:
        """Implement `Transcript.lines`."""
        try:
            request = tftp.parse_request(data)
        except api.ProtocolError:
            return [api.counted(data)]
        words = (request.name, request.mode, *request.words)
        return [" ".join([request.opcode.name, *map(ascii, map(_decoded, words))])]


def _decoded(word: bytes) -> str:
    return word.decode("utf-8", "backslashreplace")
