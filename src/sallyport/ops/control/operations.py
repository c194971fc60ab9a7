"""What the admin API offers: each operation by its name, its HTTP method and path; pure.

The application's routes, its OpenAPI document, the command line's client and docs/reference are
made of this one table.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Literal

from msgspec import Struct

from sallyport.ops.control.schema import (
    Bindings,
    DrainBegun,
    Explained,
    Filters,
    Killed,
    LoggedRecord,
    Reasons,
    Reloaded,
    Rules,
    Sessions,
    Status,
    TakeoverBegun,
    Transfers,
    UpgradeBegun,
)

Handler = Callable[[Mapping[str, object]], object]
"""Takes an operation's arguments, gives what msgspec can encode, or an awaitable of that; a
SallyportError is an answer too."""

Tell = Callable[[object], None]
"""Send a document, which msgspec can encode, to the reader of a stream; never waits."""

Stream = Callable[[Mapping[str, object], Tell], Callable[[], None]]
"""Begin to tell, by a stream's arguments; returns what ends it. A SallyportError is an answer."""


CONFLICT: Final = 409
"""The status of an answer that says why nothing has changed (RFC 9110 section 15.5.10): what the
gateway was to go by is not as it must be. A script sees it without reading the answer."""


class Access(IntEnum):
    """What a caller may do at the admin API; who may change may also read."""

    READ = 1
    CHANGE = 2


@dataclass(frozen=True, slots=True)
class Parameter:
    """One argument of an operation: in the path where that names it, else in the query."""

    name: str
    meaning: str
    kind: type[str] | type[int] = str
    is_required: bool = False


@dataclass(frozen=True, slots=True)
class Operation:
    """One thing that can be asked for."""

    name: str
    """What workers and handlers call it: `sessions.list`."""
    method: Literal["GET", "POST", "DELETE"]
    path: str
    answer: type[Struct]
    """The document that answers; of a stream, that of each event."""
    summary: str
    parameters: tuple[Parameter, ...] = ()
    is_stream: bool = False
    """Whether it goes on for as long as it is read: server-sent events."""
    may_conflict: bool = False
    """Whether the answer, if it is not `valid`, comes with the status CONFLICT."""

    @property
    def access(self) -> Access:
        """What it takes to ask for it."""
        return Access.READ if self.method == "GET" else Access.CHANGE


def _id(of: str) -> tuple[Parameter, ...]:
    return (Parameter("id", f"The id of the {of}.", is_required=True),)


_QUESTION = (
    Parameter("client", "The address of the client inside.", is_required=True),
    Parameter("server", "ADDRESS or ADDRESS:PORT of the server.", is_required=True),
    Parameter("protocol", "The name of the protocol, such as ftp.", is_required=True),
    Parameter("bind", "A port that peers would be let in to.", int),
    Parameter("peer", "The address that would connect; by default the far end."),
    Parameter("user", "The user whom a front end has authenticated."),
    Parameter("frontend", "How the client asks; by default the usual way for the protocol."),
    Parameter("at", 'A moment of the week, such as "tue 14:30"; by default now.'),
)

_ALL = (
    Operation("status", "GET", "/v1/status", Status, "The gateway as a whole."),
    Operation("sessions.list", "GET", "/v1/sessions", Sessions, "All sessions."),
    Operation(
        "sessions.show", "GET", "/v1/sessions/{id}", Sessions, "One session.", _id("session")
    ),
    Operation(
        "sessions.kill",
        "DELETE",
        "/v1/sessions/{id}",
        Killed,
        "End a session: its control connections, bindings and transfers.",
        (Parameter("id", "The id of the session, or the address of a client.", is_required=True),),
    ),
    Operation("bindings.list", "GET", "/v1/bindings", Bindings, "All bindings."),
    Operation(
        "bindings.show", "GET", "/v1/bindings/{id}", Bindings, "One binding.", _id("binding")
    ),
    Operation(
        "bindings.kill",
        "DELETE",
        "/v1/bindings/{id}",
        Killed,
        "Close a binding and reset its connections.",
        _id("binding"),
    ),
    Operation("transfers.list", "GET", "/v1/transfers", Transfers, "All transfers that run."),
    Operation(
        "transfers.kill",
        "DELETE",
        "/v1/transfers/{id}",
        Killed,
        "Reset a transfer at both ends; its control connection goes on.",
        _id("transfer"),
    ),
    Operation("rules.show", "GET", "/v1/rules", Rules, "The policy in force."),
    Operation("filters.list", "GET", "/v1/filters", Filters, "The protocol filters."),
    Operation("reasons.list", "GET", "/v1/reasons", Reasons, "Every reason code, in words."),
    Operation(
        "reasons.show",
        "GET",
        "/v1/reasons/{id}",
        Reasons,
        "One reason code, in words.",
        _id("reason"),
    ),
    Operation(
        "explain",
        "GET",
        "/v1/explain",
        Explained,
        "What would be decided about a connection and a bind, and why.",
        _QUESTION,
    ),
    Operation(
        "events",
        "GET",
        "/v1/events",
        LoggedRecord,
        "Every record as it is made, of any level, and the supervisor's own.",
        is_stream=True,
    ),
    Operation(
        "trace",
        "GET",
        "/v1/trace",
        LoggedRecord,
        "What clients and servers say to each other, and what follows from it, as it happens.",
        (
            Parameter("client", "The address of the client to follow; by default all."),
            Parameter("session", "The id of the session to follow."),
            Parameter("protocol", "The name of the protocol, such as ftp."),
        ),
        is_stream=True,
    ),
    Operation(
        "reload",
        "POST",
        "/v1/reload",
        Reloaded,
        "Read the configuration file again; a file with mistakes changes nothing.",
        may_conflict=True,
    ),
    Operation(
        "drain",
        "POST",
        "/v1/drain",
        DrainBegun,
        "Stop the gateway when its running transfers have finished.",
    ),
    Operation(
        "takeover",
        "POST",
        "/v1/takeover",
        TakeoverBegun,
        "Hand over to the gateway that waits beside the control socket; `run --takeover` asks.",
    ),
    Operation(
        "upgrade",
        "POST",
        "/v1/upgrade",
        UpgradeBegun,
        "Start the release that is installed now, which takes over.",
    ),
)

OPERATIONS: Mapping[str, Operation] = {one.name: one for one in _ALL}
"""Every operation, by its name."""
