"""Filters without code: a TOML file that says which lines of a text protocol name a port.

    name = "talk"
    api_version = 1

    [protocol]
    name = "talk"
    port = 5005

    [[rules]]
    from = "client"
    pattern = '(?i)^CALL ME AT (?P<address>[0-9.]+) (?P<port>[0-9]+)$'
    bind = { transport = "tcp" }

A rule is asked about complete lines only, wherever segments cut them; of several rules the first
that matches from the line's beginning decides. `bind` opens the ports that the line names, for the
client that said it, and writes where they really are into the line; `refuse` lets no such line
pass; `unread` ends all reading: from there on both directions pass as they come and open nothing.
What no rule matches passes byte for byte.

This form is for protocols that are lines throughout. Anything that counts bytes, or prompts without
ending the line while lines of the server are read, wants a filter in Python. A pattern is the
operator's code: what makes one take for ever is refused where it is easy to see, and lines are
short; for the rest there is the watchdog over all filter code.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce
from operator import or_

from sallyport.api import (
    ApplicationFilter,
    BindError,
    BindFlags,
    Binding,
    ConnectTcp,
    DataFilter,
    Endpoint,
    Event,
    IpFilter,
    Line,
    LineReader,
    PrimaryConnection,
    ProtocolDefinition,
    ProtocolError,
    Session,
    SessionFilter,
    State,
    Transport,
    foreign_protocol,
)
from sallyport.filters.declaration import BindShape, Declaration, Rule, read_declaration
from sallyport.wire import patterns
from sallyport.wire.interjection import Interjector

_FLAGS = {
    "timeout": BindFlags.TIMEOUT,
    "allow-multiple": BindFlags.ALLOW_MULTIPLE,
    "bidirectional": BindFlags.BIDIRECTIONAL,
    "no-kernel-mode": BindFlags.NO_KERNEL_MODE,
}
_TRANSPORTS = {"tcp": Transport.TCP, "udp": Transport.UDP}


def load_declarative(text: str, file_name: str) -> ApplicationFilter:
    """Build the filter that `text` declares; `file_name` is for its description only.

    Raises DeclarationError at the first mistake; its `key` says where in the document.
    """
    declaration, rules = read_declaration(text)
    return DeclarativeFilter(declaration, rules, file_name)


class DeclarativeFilter(ApplicationFilter):
    """The filter that a file declares."""

    def __init__(self, declaration: Declaration, rules: tuple[Rule, ...], file_name: str) -> None:
        self.name = declaration.name
        self.api_version = declaration.api_version
        words = declaration.protocol.refusal
        self.protocol = ProtocolDefinition(
            declaration.protocol.name,
            Transport.TCP,
            declaration.protocol.port,
            refusal=b"" if words is None else words.encode() + b"\r\n",
        )
        self.protocols = (self.protocol,)
        self.declaration = declaration
        self.rules = rules
        self.__doc__ = f"Declared in {file_name}."

    def attach_to_session(self, session: Session) -> SessionFilter:
        """Make the memory for one client."""
        return DeclarativeSession(self, session)


class DeclarativeSession(SessionFilter):
    """Attaches a dialogue to every control connection of a client."""

    def __init__(self, application: DeclarativeFilter, session: Session) -> None:
        self.application = application
        self.session = session

    async def on_event(self, event: Event) -> None:
        """Take one event of the session."""
        if isinstance(event, ConnectTcp) and isinstance(event.connection, PrimaryConnection):
            event.connection.attach_data_filter(DeclarativeDialogue(self, event.connection))


@dataclass(frozen=True, slots=True)
class _Bound:
    """A binding, and the line it was made for: what stood in the groups."""

    rule: Rule
    wanted: list[Endpoint]
    said: dict[str, bytes]
    binding: Binding


class DeclarativeDialogue(DataFilter):
    """One control connection, read by the rules."""

    def __init__(self, session_filter: DeclarativeSession, primary: PrimaryConnection) -> None:
        self._session_filter = session_filter
        self._primary = primary
        declaration = session_filter.application.declaration
        self._client_rules = self._rules_for("client")
        self._server_rules = self._rules_for("server")
        self._restoring = tuple(r for r in session_filter.application.rules if r.shape.restore)
        self._max_line = declaration.max_line
        self._closes_long_lines = declaration.on_long_line == "close"
        self._client_lines = LineReader(self._max_line)
        self._server_lines = LineReader(self._max_line)
        self._is_first = True
        self._is_unread = False
        self._bound: list[_Bound] = []
        self._to_client = Interjector()

    async def from_client(self, data: bytes) -> None:
        """Pass lines on, those that bind with other ports in them."""
        self._client_lines.feed(data)
        if self._is_first and not self._is_unread:
            # A client that begins like a browser can bind nothing later (attacks H01, H03, H07).
            opening = foreign_protocol(self._client_lines.pending, self._max_line)
            if opening.is_foreign:
                self._read_no_more(f"foreign-{opening}")
        while not self._is_unread and (line := self._client_lines.take()):
            self._is_first = False
            if not self._is_too_long(line):
                await self._client_line(line)
            if not self._primary.is_open:
                return
        if self._is_unread:
            self.server.send(self._client_lines.take_rest())

    async def from_server(self, data: bytes) -> None:
        """Pass lines on, those that repeat a port of ours with the client's own in them."""
        if not self._server_rules and not self._restoring:
            self._pass_on(data)  # no rule reads its lines: nothing is held back
            return
        self._server_lines.feed(data)
        while not self._is_unread and (line := self._server_lines.take()):
            if not self._is_too_long(line):
                self._server_line(line)
            if not self._primary.is_open:
                return
        if self._is_unread:
            self._pass_on(self._server_lines.take_rest())

    async def client_closed(self) -> None:
        """Pass on what the client began to say, then the end."""
        self.server.send(self._client_lines.take_rest())
        self.server.shutdown()

    async def server_closed(self) -> None:
        """Pass on what the server began to say, then the end."""
        self._pass_on(self._server_lines.take_rest())
        self.client.shutdown()

    def _rules_for(self, sender: str) -> tuple[Rule, ...]:
        rules = self._session_filter.application.rules
        return tuple(rule for rule in rules if rule.shape.sender == sender)

    def _is_too_long(self, line: Line) -> bool:
        if line.is_whole or not self._closes_long_lines:
            return False
        self._primary.kill("line-too-long")
        return True

    async def _client_line(self, line: Line) -> None:
        found = _first(self._client_rules, line)
        if found is None:
            self.server.send(line.raw)
            return
        rule, match = found
        if rule.shape.bind is not None:
            await self._bind(rule, rule.shape.bind, match, line)
        elif rule.shape.action == "refuse":
            self._refuse(rule, "refused-by-rule")
        else:
            self.server.send(line.raw)
            self._read_no_more("rule")

    def _server_line(self, line: Line) -> None:
        found = _first(self._server_rules, line)
        if found is not None and found[0].shape.action == "refuse":
            self._refuse(found[0], "refused-by-rule")
            return
        self._pass_on(self._restored(line))
        if found is not None:
            self._read_no_more("rule")

    async def _bind(self, rule: Rule, bind: BindShape, match: re.Match[bytes], line: Line) -> None:
        """Open what the line asks for before the server can hear of it (attack X01)."""
        try:
            wanted = rule.wanted(bind, match, self._primary.client)
            binding = self._standing(rule, wanted) or await self._new(rule, bind, match, wanted)
        except (ProtocolError, BindError) as refusal:
            is_recorded = isinstance(refusal, BindError) and refusal.is_recorded
            self._refuse(rule, refusal.reason, is_recorded=is_recorded)
            return
        told = patterns.splice(match, rule.written(binding.proxy_address))
        self.server.send(told + line.raw[len(match.string) :])

    def _standing(self, rule: Rule, wanted: list[Endpoint]) -> Binding | None:
        """Find what was opened for the same ports already: a request repeated with a password."""
        for bound in self._bound:
            is_same = bound.rule is rule and bound.wanted == wanted
            if is_same and bound.binding.state is State.ARMED:
                return bound.binding
        return None

    async def _new(
        self, rule: Rule, bind: BindShape, match: re.Match[bytes], wanted: list[Endpoint]
    ) -> Binding:
        binding = await self._session_filter.session.bind_for_client(
            wanted,
            transport=_TRANSPORTS[bind.transport],
            protocol=self._primary.protocol,
            flags=reduce(or_, (_FLAGS[name] for name in bind.flags), BindFlags.NONE),
            session_filter=self._session_filter,
            ip_filter=None if bind.peers == "anyone" else IpFilter.of(self._primary.server.address),
            primary=self._primary,
        )
        said = {name: text for name, text in match.groupdict().items() if text is not None}
        # What has ended is forgotten: there are never more than the client's quota.
        self._bound = [b for b in self._bound if b.binding.state is not State.CLOSED]
        self._bound.append(_Bound(rule, wanted, rule.written(wanted[0]) | said, binding))
        return binding

    def _restored(self, line: Line) -> bytes:
        """Return the server's line with what the client said, where it repeats what we told it."""
        if line.text is None:
            return line.raw
        for bound in self._bound:
            match = bound.rule.pattern.match(line.text) if bound.rule.shape.restore else None
            if match is None:
                continue
            told, found = bound.rule.written(bound.binding.proxy_address), match.groupdict()
            if all(text in (None, told[name]) for name, text in found.items()):
                return patterns.splice(match, bound.said) + line.raw[len(line.text) :]
        return line.raw

    def _refuse(self, rule: Rule, reason: str, *, is_recorded: bool = False) -> None:
        """Drop a line, and answer it in the way the rule has chosen."""
        if is_recorded:  # a refusal is one record: here is only what became of the line
            self._primary.note("line.dropped", level="debug", reason=reason)
        else:
            self._primary.note("line.refused", level="warning", reason=reason)
        if rule.shape.reply is not None:
            self.client.send(self._to_client.insert(rule.shape.reply.encode("ascii") + b"\r\n"))
        if rule.shape.on_refusal == "close":
            self._primary.close(reason)

    def _pass_on(self, data: bytes) -> None:
        """Send the client what the server said."""
        self.client.send(self._to_client.carry(data))

    def _read_no_more(self, reason: str) -> None:
        self._primary.note("stream.opaque", reason=reason)
        self._is_unread = True
        self.server.send(self._client_lines.take_rest())
        self._pass_on(self._server_lines.take_rest())


def _first(rules: Iterable[Rule], line: Line) -> "tuple[Rule, re.Match[bytes]] | None":
    """Find the first rule that matches a line."""
    if line.text is not None:
        for rule in rules:
            if match := rule.pattern.match(line.text):
                return rule, match
    return None
