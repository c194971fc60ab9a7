"""What a declarative filter's file may say (`sallyport.filters.declarative` is what it does).

Every mistake is told with the place in the document and what to write instead.
"""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Self, get_args

import msgspec
from msgspec import Meta, Struct

from sallyport import limits
from sallyport.api import DeclarationError, Endpoint, ProtocolError
from sallyport.wire import patterns
from sallyport.wire.patterns import AddressFormat

# Keys are strings, elements of arrays are integers: ("rules", 0, "from").
KeyPath = tuple[str | int, ...]

# Enough of a wrong value to recognise it in one line of an error message.
_SHOWN = 60

_Name = Annotated[
    str,
    Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$", description="1 to 32 small letters, digits or -"),
]
_Port = Annotated[int, Meta(ge=1, le=65535, description="a port number from 1 to 65535")]
_Count = Annotated[
    int,
    Meta(
        ge=1,
        le=limits.MAX_ADDRESSES_PER_CALL,
        description=f"a number from 1 to {limits.MAX_ADDRESSES_PER_CALL}",
    ),
]
_LineLimit = Annotated[
    int,
    Meta(
        ge=64,  # below this no line names an IPv6 address and a port
        le=limits.MAX_DECLARED_LINE,
        description=f"a number of bytes from 64 to {limits.MAX_DECLARED_LINE}",
    ),
]
_OneLine = Annotated[
    str,
    # A reply of two lines could say anything to the client in the server's name.
    Meta(pattern=r"^[\x20-\x7e]{1,200}$", description="1 to 200 printable ASCII characters"),
]


class ProtocolShape(Struct, frozen=True):
    """`[protocol]`: what access rules name, and where its control connections go."""

    name: _Name
    port: _Port
    transport: Annotated[Literal["tcp"], Meta(description='"tcp"')] = "tcp"
    refusal: _OneLine | None = None
    """What a client hears whose connection policy refuses; None: it is reset."""


class BindShape(Struct, frozen=True):
    """`bind = { … }`: what is opened for a line, and to whom."""

    transport: Annotated[Literal["tcp", "udp"], Meta(description='"tcp" or "udp"')]
    count: _Count | None = None
    """So many consecutive ports, the first a multiple of it; None: one for each port group."""
    peers: Annotated[Literal["server", "anyone"], Meta(description='"server" or "anyone"')] = (
        "server"
    )
    flags: Annotated[
        tuple[Literal["timeout", "allow-multiple", "bidirectional", "no-kernel-mode"], ...],
        Meta(
            description='a list of "timeout", "allow-multiple", "bidirectional", "no-kernel-mode"'
        ),
    ] = ("timeout",)


class RuleShape(Struct, frozen=True):
    """`[[rules]]`: one kind of line and what becomes of it; `bind` or `action`, not both."""

    sender: Annotated[Literal["client", "server"], Meta(description='"client" or "server"')] = (
        msgspec.field(name="from")
    )
    pattern: Annotated[str, Meta(description="a regular expression in single quotes")]
    bind: (
        Annotated[BindShape, Meta(description='a table, such as { transport = "tcp" }')] | None
    ) = None
    action: (
        Annotated[Literal["refuse", "unread"], Meta(description='"refuse" or "unread"')] | None
    ) = None
    address_format: Annotated[AddressFormat, Meta(description='"text" or "decimal"')] = (
        AddressFormat.TEXT
    )
    restore: Annotated[bool, Meta(description="true or false")] = False
    """Whether lines of the server that repeat what it was told are turned back for the client."""
    on_refusal: Annotated[Literal["drop", "close"], Meta(description='"drop" or "close"')] = "drop"
    """What a refused line costs: itself, or the connection."""
    reply: _OneLine | None = None
    """What the client hears of a refused line; None: nothing."""


class Declaration(Struct, frozen=True):
    """A whole file."""

    name: _Name
    api_version: Annotated[int, Meta(description="the version of the interface, such as 1")]
    protocol: Annotated[ProtocolShape, Meta(description="keys below [protocol]")]
    rules: Annotated[
        tuple[RuleShape, ...], Meta(min_length=1, description="keys below one or more [[rules]]")
    ]
    max_line: _LineLimit = limits.DECLARED_LINE
    on_long_line: Annotated[Literal["pass", "close"], Meta(description='"pass" or "close"')] = (
        "pass"
    )


_SHAPES: Mapping[tuple[str, ...], type[Struct]] = {
    (): Declaration,
    ("protocol",): ProtocolShape,
    ("rules",): RuleShape,
    ("rules", "bind"): BindShape,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of the file, checked and compiled."""

    shape: RuleShape
    pattern: re.Pattern[bytes]

    @classmethod
    def of(cls, shape: RuleShape, index: int) -> Self:
        """Check a rule; raises DeclarationError."""
        at = ("rules", index)
        try:
            pattern = patterns.compile_pattern(shape.pattern)
        except ValueError as error:
            raise DeclarationError((*at, "pattern"), f"pattern cannot be this: {error}") from None
        if (shape.bind is None) == (shape.action is None):
            raise DeclarationError(at, "a rule has bind or action; write one of them, not both")
        if shape.bind is not None:
            _check_bind(shape, shape.bind, pattern, at)
        elif shape.restore:
            raise DeclarationError(
                (*at, "restore"), "nothing is told without bind; leave restore out"
            )
        return cls(shape, pattern)

    def wanted(self, bind: BindShape, match: re.Match[bytes], client: Endpoint) -> list[Endpoint]:
        """Return where the client says it listens; raises ProtocolError."""
        address, said = client.address, match.groupdict().get(patterns.ADDRESS)
        if said is not None:
            address = self.shape.address_format.read(said)
        if address.version != client.version:
            # The other family may have another relation, under which this address would leak.
            raise ProtocolError("not-the-family-of-the-connection", match[0])
        named = patterns.ports_of(match)
        if "port" not in named:
            raise ProtocolError("no-port", match[0])
        count = bind.count
        ports = named.values() if count is None else patterns.aligned_run(named, count)
        return [Endpoint(address, port) for port in ports]

    def written(self, first: Endpoint) -> dict[str, bytes]:
        """Return what stands in the groups when the first port is at `first`, the others above."""
        names = [name for name in patterns.PORTS if name in self.pattern.groupindex]
        ports = {name: b"%d" % (first.port + i) for i, name in enumerate(names)}
        return {patterns.ADDRESS: self.shape.address_format.write(first.address), **ports}


def read_declaration(text: str) -> tuple[Declaration, tuple[Rule, ...]]:
    """Read a whole file; raises DeclarationError at its first mistake."""
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise DeclarationError((), f"this is not TOML: {error}") from None
    _check_keys(document)
    try:
        declaration = msgspec.convert(document, Declaration)
    except msgspec.ValidationError as error:
        raise _explained(document, str(error)) from None
    return declaration, tuple(Rule.of(shape, i) for i, shape in enumerate(declaration.rules))


def _check_bind(shape: RuleShape, bind: BindShape, pattern: re.Pattern[bytes], at: KeyPath) -> None:
    ports = sum(name in pattern.groupindex for name in patterns.PORTS)
    if shape.sender == "server":
        raise DeclarationError(
            (*at, "from"),
            'only a line of the client binds, or a server could open any port; write "client"',
        )
    if not ports:
        raise DeclarationError(
            (*at, "pattern"),
            "pattern has no group for the port; write (?P<port>[0-9]+) where it stands",
        )
    if bind.count is not None and ports > bind.count:
        raise DeclarationError(
            (*at, "bind", "count"),
            f"count cannot be {bind.count}, the pattern names {ports} ports; write {ports}",
        )
    if "bidirectional" in bind.flags and bind.transport == "tcp":
        raise DeclarationError(
            (*at, "bind", "flags"), 'flag "bidirectional" is for udp; leave it out'
        )
    if {"timeout", "allow-multiple"} <= {*bind.flags}:
        raise DeclarationError(
            (*at, "bind", "flags"),
            'flags "timeout" and "allow-multiple" exclude each other; leave one out',
        )


def _check_keys(document: Mapping[str, object]) -> None:
    """Check that every key is known, in every table that can have some."""
    for path, table in _tables(document):
        names = tuple(part for part in path if isinstance(part, str))
        known = _fields(names)
        for key in table if isinstance(table, dict) else ():
            if key not in known:
                title = names[-1] if names else "the file"
                problem = f"unknown key {key!r} in {title}; {_nearest(key, known)}"
                raise DeclarationError((*path, key), problem)


def _tables(document: Mapping[str, object]) -> Iterator[tuple[KeyPath, object]]:
    yield (), document
    yield ("protocol",), document.get("protocol")
    rules = document.get("rules")
    for i, rule in enumerate(rules if isinstance(rules, list) else ()):
        yield ("rules", i), rule
        yield ("rules", i, "bind"), rule.get("bind") if isinstance(rule, dict) else None


def _explained(document: object, message: str) -> DeclarationError:
    """Turn msgspec's sentence, such as "… - at `$.rules[0].from`", into ours."""
    sentence, _, place = message.partition(" - at `$")
    steps = re.findall(r"([a-z0-9_]+)|\[([0-9]+)\]", place)
    path: KeyPath = tuple(name or int(index) for name, index in steps)
    names = tuple(part for part in path if isinstance(part, str))
    title = names[-1] if names else "the file"
    if missing := re.fullmatch(r"Object missing required field `(.*)`", sentence):
        wanted = _accepted(_fields(names)[missing[1]])
        return DeclarationError(path, f"{title} has no key {missing[1]!r}; give it {wanted}")
    value: object = document
    for part in path:
        value = value[part]  # type: ignore[index]  # msgspec went this way before us
    try:
        shown = json.dumps(value, default=str)[:_SHOWN]
    except ValueError:
        # A hexadecimal literal may be longer than what Python agrees to print in decimal.
        shown = "a number of thousands of digits"
    wanted = _accepted(_fields(names[:-1])[names[-1]])
    return DeclarationError(path, f"{title} cannot be {shown}; write {wanted}")


def _fields(names: tuple[str, ...]) -> Mapping[str, object]:
    """Return the keys of the table at `names` with their types."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(_SHAPES[names])}


def _accepted(wanted: object) -> str:
    """Return the description that comes with a type; optional types carry it inside."""
    described = (part for part in get_args(wanted) if isinstance(part, Meta) and part.description)
    meta = next(described, None)
    return str(meta.description) if meta else _accepted(get_args(wanted)[0])


def _nearest(word: str, known: Iterable[str]) -> str:
    """Say what to write instead of `word`: the most similar of `known`, else all of them."""
    known = tuple(known)
    match = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"write {match[0]!r}" if match else f"write one of: {', '.join(known)}"
